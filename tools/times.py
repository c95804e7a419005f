"""Measure what each chapter costs to run: processor time of a cold run, from the start of its kernel to the end.

    python tools/times.py chapters/attention.ipynb ...

`chapters/times.json` keeps the seconds; the head of a chapter says them in coarse steps, since another machine needs
more or less. Processor time and not the clock, so that a busy machine changes little. The notebooks stay as they are.
"""

import argparse
import json
import os
import resource
import sys
from pathlib import Path

import nbformat
from notebooks import ROOT, execute

TIMES = ROOT / "chapters" / "times.json"


def seconds(path: Path, timeout: int) -> float:
    """Processor time of the kernel that runs the notebook, and of the processes that it starts."""
    notebook = nbformat.read(path, as_version=4)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    execute(notebook, path.resolve().parent, timeout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the processor time of chapters.")
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--timeout", type=int, default=600, help="seconds a single cell may take")
    options = parser.parse_args(arguments)
    os.environ["TRANSFORMER_DEVICE"] = "cpu"
    times = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
    for path in options.notebooks:
        name = path.resolve().relative_to(ROOT).with_suffix("").as_posix()
        times[name] = round(seconds(path, options.timeout))
        print(f"{name}: {times[name]} s", flush=True)
        kept = {name: times[name] for name in sorted(times) if (ROOT / f"{name}.ipynb").exists()}
        TIMES.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
