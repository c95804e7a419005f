"""Call public functions with wrong and strange arguments, and report what breaks the contract of errors.

    python -m tests.contract.run --only nn --calls 2000

A wrong value is to be a `ValueError`, a wrong kind a `TypeError`, both raised by the library itself; `judge.py` says
what counts as a fault. First every valid call of the table is made as it stands, since nothing is learnt from a call
that was wrong to begin with; then as many changed ones as `--calls` says, each callable in turn. Each fault is one
line, which ends with what repeats it:

    python -m tests.contract.run --case "transformer_lib.nn.attend.attend q:None"

The calls are made in a process of their own, in an empty folder, with bounds on memory and on the processor time of
each call: one that exceeds them is a fault, and the rest go on in the next process. A folder's valid arguments stand in
`calls/FOLDER.py`: in CALLS, by dotted name, a function that makes them; in EXCUSED a reason for what has none.
"""

import argparse
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from typing import IO, Any

from tests.contract.callables import FOLDERS, folder_of, table
from tests.contract.draw import draw_cases
from tests.contract.judge import Case, Outcome, judge
from tests.contract.strange import MISSING, STRANGE

MEMORY = 4 << 30  # bytes that the calls may take together, beyond what the modules take
WAITING = 300  # seconds without a word, and without processor time, after which a call counts as stuck
HARNESS_FAILED = 70
FINE = ("accepted", "refused")


def main() -> int:
    """Run what the arguments ask for; 1 if there was a fault."""
    options = _options()
    if options.case:
        cases = [parsed(line) for line in options.case]
    else:
        names = {folder: sorted(table(folder).CALLS) for folder in options.only}
        cases = [Case(name) for folder in options.only for name in names[folder]]
        cases += draw_cases([name for folder in options.only for name in names[folder]], options.calls, options.seed)
    outcomes = run(cases, options.limit)
    faults = [(case, outcome) for case, outcome in zip(cases, outcomes, strict=True) if outcome.verdict not in FINE]
    if options.json:
        lines = [
            {"folder": folder_of(c.name), "case": str(c), "kind": o.verdict, "message": o.message} for c, o in faults
        ]
        print(json.dumps({"folders": counts(cases, outcomes), "faults": lines}, indent=1))
    else:
        for case, outcome in faults:
            print(f'{outcome.verdict}: {outcome.message} | --case "{case}"')
        if options.case and not faults:
            print(*outcomes, sep="\n")
        for folder, found in counts(cases, outcomes).items():
            print(f"{folder}: " + ", ".join(f"{count} {kind}" for kind, count in found.items()))
    return bool(faults)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=600, help="changed calls, over all folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(FOLDERS), metavar="FOLDER")
    parser.add_argument("--case", action="append", help="one call, as a line of the report ends with it")
    parser.add_argument("--limit", type=int, default=20, help="seconds of processor time for a call")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def parsed(line: str) -> Case:
    """The case that `str` wrote."""
    words = [*STRANGE, MISSING]
    name, _, rest = line.partition(" ")
    changes: list[tuple[str, str]] = []
    while rest:
        argument, _, rest = rest.partition(":")
        word = max((word for word in words if rest == word or rest.startswith(f"{word} ")), key=len)
        changes.append((argument, word))
        rest = rest[len(word) :].lstrip()
    return Case(name, tuple(changes))


def counts(cases: list[Case], outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """For each folder the number of calls and of each verdict."""
    found: dict[str, Counter[str]] = {}
    for case, outcome in zip(cases, outcomes, strict=True):
        found.setdefault(folder_of(case.name), Counter()).update(["calls", outcome.verdict])
    return {folder: dict(counter.most_common()) for folder, counter in found.items()}


def run(cases: list[Case], limit: int) -> list[Outcome]:
    """The outcome of each case, from as many processes as it takes."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        outcomes += _run_until_it_ends(cases[len(outcomes) :], limit)
    return outcomes


def _run_until_it_ends(cases: list[Case], limit: int) -> list[Outcome]:
    """The outcomes of a process of its own, the last of which may be how the process died."""
    folder = tempfile.TemporaryDirectory()
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "w") as answers:
                os.chdir(folder.name)
                _answer(cases, limit, answers)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(HARNESS_FAILED)  # whatever happened, what the parent process does is not for the child to do
    os.close(writing)
    outcomes = []
    with os.fdopen(reading) as answers:
        while len(outcomes) < len(cases):
            if not select.select([answers], [], [], WAITING)[0]:
                os.kill(child, signal.SIGKILL)
            line = answers.readline()
            if not line.endswith("\n"):
                break
            outcomes.append(Outcome(*json.loads(line)))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    folder.cleanup()
    if len(outcomes) < len(cases):
        if code == HARNESS_FAILED:
            raise RuntimeError("the harness itself failed, as the lines above say")
        killed = code in (-signal.SIGXCPU, -signal.SIGKILL)
        outcomes.append(Outcome("hang" if killed else "death", f"the process ended with {code}"))
    return outcomes


def _answer(cases: list[Case], limit: int, answers: IO[str]) -> None:
    """Judge the cases in turn, and write a line for each."""
    os.dup2(os.open(os.path.join(os.getcwd(), "output"), os.O_CREAT | os.O_WRONLY), 1)
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    for case in cases:
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + limit + 1, resource.RLIM_INFINITY))
        answers.write(json.dumps(_outcome(case)) + "\n")
        answers.flush()


def _outcome(case: Case) -> Outcome:
    try:
        valid: dict[str, Any] = table(folder_of(case.name)).CALLS[case.name]()
    except BaseException:
        return Outcome("no valid call", traceback.format_exc(limit=-1).replace("\n", " "))
    try:
        outcome = judge(case, valid)
    except (KeyboardInterrupt, SystemExit, MemoryError) as error:
        return Outcome(type(error).__name__, str(error))
    if not case.changes and outcome.verdict == "refused":
        return Outcome("valid call refused", outcome.message)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
