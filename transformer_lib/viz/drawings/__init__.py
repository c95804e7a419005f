"""The drawings of the book: a file for each subject, a function for each drawing.

Each takes the things that run (a config, a module, tensors) and writes their sizes, so that it cannot say others.
"""
