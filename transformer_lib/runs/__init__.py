"""Runs longer than a chapter: recipes, comparisons under several seeds, and the records of what they measured."""
