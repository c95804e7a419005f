"""What `book.check` knows of the exercises of `chapters/frontier/long.ipynb`."""

from transformer_lib.exercises.exercise import Exercise

EXERCISES: dict[str, Exercise] = {}
NOT_CHECKED: dict[str, str] = {}  # what cannot be judged here, and why
