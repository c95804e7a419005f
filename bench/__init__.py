"""Benchmarks of the library side by side with its peers: `python -m bench --help`."""
