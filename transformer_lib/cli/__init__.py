"""The command line: what may be typed, where texts come from and where results go, and what each command does."""
