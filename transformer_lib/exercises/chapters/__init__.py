"""The exercises of the book, a file for each chapter, named as its notebook."""
