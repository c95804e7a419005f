"""`python -m bench`: measure, print a table, and write the record as JSON after every finished row."""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from bench.harness import environment, file_digest, has_bfloat16
from bench.train_step import OURS, SHAPES, run_cell

PRECISIONS = ["float32", "bfloat16"]
RESULTS = Path(__file__).parent / "results" / "train_step.json"


def main() -> None:
    options = _options()
    peers: dict[str, tuple[str, ...]] = {"huggingface": ()}
    if options.nanogpt:
        peers["nanogpt"] = (options.nanogpt,)
    settings = {"rounds": options.rounds, "steps": options.steps, "threads": options.threads}
    record: dict[str, Any] = environment(["torch", "transformers"])
    record |= {"settings": settings | {"precisions": options.precisions}, "rows": []}
    if options.nanogpt:
        record["versions"]["nanogpt model.py sha256"] = file_digest(f"{options.nanogpt}/model.py")
    print(TITLES)
    for shape in options.shapes:
        for precision in options.precisions:
            row = run_cell(shape, precision, peers, **settings)
            record["rows"].append(row)
            print(table(row), flush=True)
            if options.out:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(record, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--nanogpt", help="a checkout of github.com/karpathy/nanoGPT; without it that peer is left out")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["small", "slice"])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="default: those this processor computes in")
    parser.add_argument("--rounds", type=_positive, default=12)
    parser.add_argument("--steps", type=_positive, default=1, help="steps of each candidate per round")
    parser.add_argument("--threads", type=_positive, default=1)
    parser.add_argument("--quick", action="store_true", help="a tiny model and three rounds: does it run at all?")
    parser.add_argument("--out", type=Path, help=f"the JSON record; {RESULTS.name} in bench/results unless --quick")
    options = parser.parse_args()
    if options.nanogpt and not Path(options.nanogpt, "model.py").is_file():
        parser.error(f"--nanogpt must be a folder that holds model.py, got {options.nanogpt!r}")
    if options.precisions is None:
        options.precisions = PRECISIONS if has_bfloat16() else PRECISIONS[:1]
    if options.quick:
        options.shapes, options.precisions, options.rounds = ["quick"], ["float32"], 3
    elif options.out is None:
        options.out = RESULTS
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


TITLES = (
    f"{'shape':6} {'precision':9} {'candidate':16} {'parameters':>11} {'tokens/s':>9} {'MiB':>6}"
    "   their time / ours (quartiles), their memory / ours"
)


def table(row: dict[str, Any]) -> str:
    """One line per candidate; tokens per second of processor time."""
    lines = []
    for name, facts in row["candidates"].items():
        speed = row["tokens_per_step"] / statistics.median(facts["cpu_seconds"])
        memory = f"{facts['memory']['added_mib']:.0f}" if facts["memory"] else "-"
        line = f"{row['shape']:6} {row['precision']:9} {name:16} {facts['parameters']:11,} {speed:9,.0f} {memory:>6}"
        if name != OURS:
            over = row["theirs_over_ours"][name]
            time = over["cpu_time"]
            line += f"   {time['median']:.3f} ({time['lower_quartile']:.3f}-{time['upper_quartile']:.3f})"
            line += f"  {over['memory']:.3f}" if over["memory"] else ""
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
