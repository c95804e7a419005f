"""Our library beside its peers: measures, prints a table, and writes the record after every finished row."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.machine import digest, environment

SUBJECTS = {
    "train": "bench.train_step",
    "profile": "bench.profile_step",
    "seq2seq": "bench.seq2seq",
    "decode": "bench.decode",
    "beam": "bench.beam",
    "quality": "bench.quality",
    "decoding_ways": "bench.ways",
    "attention": "bench.attention_op",
    "tokenise": "bench.tokenise",
    "start": "bench.start",
}
ON_A_GPU = ("train", "decode")
# Measured twice, since a program that gives memory back to the system pays for each page that it gets again: as glibc
# comes, and with an allocator that keeps what it once had, for everybody. These names stand in the environment of the
# workers, and in the name of the second record.
HELD = ("train", "seq2seq", "decode", "beam")
KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
ALLOCATORS = {"usual": None, "kept": KEPT}
TUNABLES = "GLIBC_TUNABLES"
RESULTS = Path(__file__).parent / "results"
ROUNDS, QUICK_ROUNDS = 6, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every row was measured, 1 if one failed, 130 if interrupted."""
    options = _options(arguments)
    failures = 0
    try:
        for allocator in options.allocators:
            for subject in options.subjects:
                if allocator == "usual" or (subject in HELD and options.device == "cpu"):
                    with _environment(ALLOCATORS[allocator]):
                        module = importlib.import_module(SUBJECTS[subject])
                        failures += _run_subject(subject, module, options, allocator)
    except KeyboardInterrupt:
        where = f"; finished rows are in {options.out}, --resume goes on" if options.out else ""
        print(f"interrupted{where}", file=sys.stderr)
        return 130
    return min(failures, 1)


@contextmanager
def _environment(tunables: str | None) -> Iterator[None]:
    """What the workers inherit; this process has read its own already."""
    before = os.environ.get(TUNABLES)
    if tunables is not None:
        os.environ[TUNABLES] = tunables
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(TUNABLES, None)
        else:
            os.environ[TUNABLES] = before


def _run_subject(subject: str, module: ModuleType, options: argparse.Namespace, allocator: str = "usual") -> int:
    """Measure the rows of one subject that are wanted and not there yet; the number of those that failed.

    A row fails if our own candidate does. Its message is recorded, the other rows go on, `--resume` tries it again.
    """
    given = vars(options)
    default = QUICK_ROUNDS if options.quick else getattr(module, "ROUNDS", ROUNDS)
    options = argparse.Namespace(**given | {"rounds": options.rounds or default})
    record = {"subject": subject, "title": module.TITLE} | environment(options.device)
    record |= {"settings": _settings(options) | {"allocator": allocator}, "rows": []}
    name = "-".join([subject, *(word for word in (options.device, allocator) if word not in ("cpu", "usual"))])
    path = options.out / f"{name}.json" if options.out else None
    if options.resume and path and path.exists():
        record["rows"] = _finished_rows(path, record)
    done = {row["row"] for row in record["rows"]}
    failures = 0
    kept = ", with an allocator that keeps its memory" if allocator == "kept" else ""
    print(f"{subject}: {module.TITLE}{kept}", flush=True)
    for row in module.rows(options):
        if row in done or not all(word in row.split() for word in options.rows):
            continue
        print(row, flush=True)
        try:
            measured = module.run(row, options)
            print(module.lines(measured), flush=True)
        except Exception as error:
            measured = {"row": row, "failed": f"{type(error).__name__}: {error}"}
            failures += 1
            print(f"  failed: {measured['failed']}", flush=True)
        record["rows"].append(measured)
        if path:
            _write(path, record)
    return failures


def _finished_rows(path: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier run, if it was of the same code on the same machine with the same settings."""
    earlier = json.loads(path.read_text())
    for key in ("machine", "versions", "commit", "code", "settings"):
        if earlier[key] != record[key]:
            raise SystemExit(f"--resume: {path} has {key} {earlier[key]!r}, this run {record[key]!r}; run without it")
    return [row for row in earlier["rows"] if "failed" not in row]


def _write(path: Path, record: dict[str, Any]) -> None:
    """All or nothing: who interrupts this finds the record of the row before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(part, path)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on; a checkout is named by the digest of its code, not by where it lies."""
    settings = {name: getattr(options, name) for name in ("rounds", "steps", "threads", "quick", "peers")}
    for name in ("nanogpt", "minbpe"):
        if folder := getattr(options, name):
            settings[name] = digest(Path(folder).glob("**/*.py"))
    return settings


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    choices = ", ".join(SUBJECTS)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"any of {choices}; default: all")
    parser.add_argument("--rows", nargs="+", default=[], metavar="WORD", help="only rows named with all these words")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="only these; default: all that are installed")
    parser.add_argument("--nanogpt", help="a checkout of github.com/karpathy/nanoGPT; without it that peer is left out")
    parser.add_argument("--minbpe", help="a checkout of github.com/karpathy/minbpe; without it that peer is left out")
    parser.add_argument("--rounds", type=_positive, help=f"default: the subject's own, or {ROUNDS}")
    parser.add_argument("--steps", type=_positive, default=1, help="steps of each candidate per round")
    parser.add_argument("--threads", type=_positive, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: for train and decode")
    text = "memory as glibc comes (usual), kept by everybody (kept, for " + ", ".join(HELD) + "); default: both"
    parser.add_argument("--allocators", nargs="+", choices=ALLOCATORS, metavar="NAME", help=text)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds: does it run at all?")
    parser.add_argument("--resume", action="store_true", help="keep the finished rows of the same code and settings")
    parser.add_argument("--out", type=Path, help="folder of the records; default bench/results, with --quick none")
    options = parser.parse_args(arguments)
    for subject in options.subjects:
        if subject not in SUBJECTS:
            parser.error(f"SUBJECT must be one of {choices}, got {subject!r}")
    for name, file in (("nanogpt", "model.py"), ("minbpe", "minbpe/__init__.py")):
        folder = getattr(options, name)
        if folder and not Path(folder, file).is_file():
            parser.error(f"--{name} must be a folder that holds {file}, got {folder!r}")
    if options.device == "cuda" and not _has_gpu():
        parser.error("--device cuda needs a GPU that torch can use, and there is none")
    options.subjects = options.subjects or list(SUBJECTS if options.device == "cpu" else ON_A_GPU)
    if options.device == "cuda" and not set(options.subjects) <= set(ON_A_GPU):
        parser.error(f"SUBJECT must be one of {', '.join(ON_A_GPU)} with --device cuda, got {options.subjects}")
    options.allocators = options.allocators or (["usual"] if options.quick else list(ALLOCATORS))
    if not options.quick:
        options.out = options.out or RESULTS
    return options


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
