"""The library from the command line: `python -m transformer_lib COMMAND`, where `--help` lists the commands.

Texts come from the arguments, from `--file` (one a line), or else from standard input. Exit codes: 0 if all went well;
1 if some texts could not be read (the others are delivered), or if `evaluate` found another score than the recorded
one; 2, with one line that says why, if nothing could begin or be finished; 130 after an interrupt. With `--json`,
standard output is one JSON value, or nothing if the exit code is 2; with `--jsonl`, one JSON object for each line.
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from transformer_lib.cli.arguments import parser
from transformer_lib.cli.lines import abandon_output, complain
from transformer_lib.extras import lacking

INTERRUPTED = 130  # what a shell gives for a program that an interrupt ended,
PIPE_CLOSED = 141  # and for one whose output nobody wants to read any more
# What a caller's mistake can end in; a message of theirs says what is wrong.
MISTAKES = (ValueError, OSError, ModuleNotFoundError, FloatingPointError, SyntaxError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    code = _run(arguments)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        abandon_output()
        code = code or _end(error)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    wants_traceback, recipe = False, None
    try:
        options = parser().parse_args(arguments)
        wants_traceback, recipe = options.traceback, getattr(options, "recipe", None)
        if sys.stdout is None:
            raise OSError("standard output is closed, so that no result could be seen")
        return int(options.command(options))
    except SystemExit as ended:  # --help, or a recipe that has had enough
        if isinstance(ended.code, str):
            complain(ended.code)
        return ended.code if isinstance(ended.code, int) else 2 * bool(ended.code)
    except BaseException as error:
        if sys.stderr is not None and (wants_traceback or _is_of(recipe, error)):
            traceback.print_exc()
        return _end(error, recipe)


def _end(error: BaseException, recipe: Path | None = None) -> int:
    """Say in one line how it ended, and give the exit code."""
    named = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    if _is_of(recipe, error):
        complain(f"error: the recipe {recipe} raised {named}")
    elif isinstance(error, ModuleNotFoundError) and error.name and str(error) == f"No module named {error.name!r}":
        complain(f"error: {lacking(error.name)}")
    elif isinstance(error, MISTAKES) or (recipe is not None and isinstance(error, TypeError)):
        complain(f"error: {error}")
    elif _lacks_memory(error):
        complain(f"error: not enough memory: {named}")
    elif type(error).__name__ == "PanicException":  # of the Rust in tokenizers, which has no better way
        complain(f"error: a library gave up: {named}")
    else:
        complain(f"error: {named}; that is a fault of transformer_lib, please report it with --traceback")
    return 2


def _is_of(recipe: Path | None, error: BaseException) -> bool:
    """Whether the recipe itself, and not the library that it called, did what raised the error."""
    if recipe is None or isinstance(error, KeyboardInterrupt):
        return False
    mine, library = os.path.abspath(recipe), os.path.dirname(os.path.abspath(__file__))
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return next((f == mine for f in reversed(files) if f == mine or f.startswith(library)), False)


def _lacks_memory(error: BaseException) -> bool:
    """Whether memory is what failed; torch says so by a `RuntimeError`."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


if __name__ == "__main__":
    sys.exit(main())
