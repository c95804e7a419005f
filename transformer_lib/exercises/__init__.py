"""Questions and exercises that know the mistake: what is asked, what is right, and which wrong answer means what.

`book.ask` prints questions in a chapter, `book.check` judges an answer to a question or an exercise. The exercises of
each chapter stand in a file of their own in `chapters`. Left out: exercises that want a proof or a prediction.
"""
