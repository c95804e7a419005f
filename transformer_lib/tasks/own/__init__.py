"""Training on a reader's own data: a recipe for each task, whose settings follow the size of the data."""
