"""Plant each known fault into a copy of the library, and see whether the tests notice.

A fault is an entry of a file in `tests/faults`: its name, the file it is planted in, the exact old text, which must
occur there once, the new text, and the tests that must fail:

    [[fault]]
    name = "causal mask hides the present"
    file = "transformer_lib/nn/masks.py"
    old = "<="
    new = "<"
    tests = ["tests/nn/test_masks.py::test_it_is_causal"]

Those tests first run without a fault and must pass. Then, for each fault, the library, its tests and its recipes are
copied to a temporary folder, the old text is replaced there, and its tests run. Said of each fault is

    caught           its tests fail, as they should
    SURVIVED         they pass: a test is missing
    red before       they fail without the fault, too, and tell nothing
    does not apply   the old text is not there, or there more than once, or the new one is no Python
    cannot run       pytest found no such test, or could not import it, or took longer than the limit

    python tools/plant.py [--list] [--only PATTERN] [--jobs N] [--limit SECONDS]

The exit status is 0 if all are caught, 1 if not, 2 if there was nothing to do. The checkout itself is never changed.
"""

import argparse
import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("transformer_lib", "tests", "recipes", "pyproject.toml")
CAUGHT, SURVIVED, RED, OUTDATED, BROKEN = "caught", "SURVIVED", "red before", "does not apply", "cannot run"
# Without plug-ins, which take longer than most of these tests, and so without the check of every shape at run time:
# what notices a fault is to be a test.
PLAIN = ("-o", "addopts=--import-mode=importlib")
MEMORY = 12 * 2**20  # KiB of addresses for each process: a fault may ask for tensors without end
PASSED, FAILED = 0, 1  # pytest's exit status; all others say that tests could not be run


@dataclass(frozen=True)
class Fault:
    """One change of one file, and the tests that must notice it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __post_init__(self) -> None:
        for field in ("name", "file", "old", "tests"):
            if not getattr(self, field):
                raise ValueError(f"{field} must not be empty, got {self}")

    def planted(self, text: str) -> str:
        """The text of the file with the fault; `ValueError` if it does not apply."""
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: the old text must occur once in {self.file}, got {count} times")
        changed = text.replace(self.old, self.new)
        if changed == text:
            raise ValueError(f"{self.name}: the new text must differ from the old one")
        try:
            compile(changed, self.file, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise ValueError(f"{self.name}: the new text must be Python: {error}") from error
        return changed


def read_faults(folder: Path) -> list[Fault]:
    """The faults of every file, in order; `ValueError` if two have one name."""
    faults = []
    for file in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["fault"]:
            faults.append(Fault(**(entry | {"tests": tuple(entry["tests"])})))
    twice = [name for name, count in Counter(fault.name for fault in faults).items() if count > 1]
    if twice:
        raise ValueError(f"names must be distinct, got {twice}")
    return faults


def try_fault(fault: Fault, root: Path, limit: float, red: Set[str] = frozenset()) -> tuple[str, str]:
    """What became of the fault, and a line that explains what is not as it should be."""
    if failing := red & set(fault.tests):
        return RED, " ".join(sorted(failing))
    try:
        planted = fault.planted((root / fault.file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return OUTDATED, str(error)
    with copy_of(root) as copy:
        (copy / fault.file).write_text(planted, encoding="utf-8")
        status, output = run_tests(copy, fault.tests, limit)
    if status == FAILED:
        return CAUGHT, ""
    if status == PASSED:
        return SURVIVED, f"green: {' '.join(fault.tests)}"
    return BROKEN, f"pytest's exit status was {status}: {output[-500:]}"


def red_without_fault(faults: Sequence[Fault], root: Path, limit: float) -> set[str]:
    """Of the tests of these faults, those that fail in the library as it is; `ValueError` if they cannot be run."""
    tests = sorted({test for fault in faults for test in fault.tests})
    with copy_of(root) as copy:
        status, output = run_tests(copy, tests, limit * len(faults), "--maxfail=1000", "-rfE")
    if status not in (PASSED, FAILED):
        raise ValueError(f"the tests cannot be run without a fault (pytest exits with {status}): {output[-3000:]}")
    red = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return {test for test in tests if any(name == test or name.startswith((f"{test}[", f"{test}::")) for name in red)}


@contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """The tested part of the tree in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for name in COPIED:
            if (root / name).exists():
                copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
                copy(root / name, Path(folder, name))
        yield Path(folder)


def run_tests(folder: Path, tests: Sequence[str], limit: float, *options: str) -> tuple[int, str]:
    """Pytest's exit status (that of a killed process if it took longer than the limit), and what it said."""
    command = ["sh", "-c", f'ulimit -v {MEMORY} && exec "$@"', "sh"]
    command += [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *PLAIN, *options, *tests]
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    environment.pop("PYTEST_ADDOPTS", None)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that the processes that a test started can be ended with it
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        output = f"no end after {limit:.0f} seconds"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, output


def plant(faults: Sequence[Fault], root: Path, *, jobs: int, limit: float) -> Counter[str]:
    """Try all faults, `jobs` at a time, and say what became of each."""
    print(f"the tests of {len(faults)} faults, without a fault", flush=True)
    red = red_without_fault(faults, root, limit)
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(jobs) as pool:
        begun = time.monotonic()
        running = {pool.submit(try_fault, fault, root, limit, red): fault for fault in faults}
        for number, done in enumerate(as_completed(running), start=1):
            outcome, why = done.result()
            outcomes[outcome] += 1
            seconds = time.monotonic() - begun
            print(f"[{number}/{len(faults)}, {seconds:.0f} s] {outcome:<14} {running[done].name}", flush=True)
            if why:
                print(f"    {why}", flush=True)
    return outcomes


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Plant known faults, and see whether the tests notice.")
    parser.add_argument("--list", action="store_true", help="name the faults and plant none")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="names to plant, * for any characters")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time (2)")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="for the tests of a fault (900)")
    options = parser.parse_args(arguments)
    faults = read_faults(root / "tests" / "faults")
    if options.only:
        faults = [fault for fault in faults if any(fnmatch.fnmatchcase(fault.name, word) for word in options.only)]
    if not faults:
        print("no fault has such a name")
        return 2
    if options.list:
        for fault in faults:
            print(f"{fault.file}: {fault.name}")
        return 0
    try:
        outcomes = plant(faults, root, jobs=options.jobs, limit=options.limit)
    except ValueError as error:
        print(error)
        return 1
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    return 0 if set(outcomes) == {CAUGHT} else 1


if __name__ == "__main__":
    sys.exit(main())
