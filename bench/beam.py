"""Beam search with an encoder-decoder as large as a small Marian, ours and Hugging Face's, on the CPU.

One step reads all sources of the batch and writes a text for each; no text stops early. Both have the same weights, so
the best texts must be equal: the same beams were kept.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from bench.decode import agreement, target_lines
from bench.harness import OURS, Build, Candidate, Facts, compare, installed, lines_of, measure

TITLE = "beam search with an encoder-decoder: batch, beams and precision"
ROUNDS = 5
WARMUP = 2

# layers on each side, d_model, heads, vocabulary, batch, source and new tokens, beams
SIZES = {
    "batch 16 beams 4 float32": (3, 256, 8, 8192, 16, 25, 40, 4),
    "batch 2 beams 3 float32": (1, 64, 4, 256, 2, 9, 12, 3),
}
PEERS: dict[str, str | None] = {"huggingface-dynamic": "transformers", "huggingface-static": "transformers"}


def rows(options: Namespace) -> list[str]:
    """One row; with `quick` a tiny one."""
    return [list(SIZES)[bool(options.quick)]]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure ours against Hugging Face's Marian with each of its caches."""
    peers, left_out = installed(PEERS, options.peers)
    candidates = {name: Candidate(prepare, (name, row)) for name in (OURS, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=options.steps, warmup=WARMUP, threads=options.threads)
    check_equal_work(record, row)
    _, _, _, _, batch, _, new, _ = SIZES[row]
    facts = {"row": row, "tokens_per_step": batch * new, "left_out": left_out}
    facts |= compare(record, threads=options.threads)
    clock = "cpu_time" if options.threads == 1 else "wall_time"
    reached = {name: over[clock]["median"] for name, over in facts["theirs_over_ours"].items()}
    best = min(reached, key=lambda name: reached[name], default=None)
    return facts | {
        "targets": [{"over": f"its best cache ({best})", "at_least": 1.5, "is": reached[best]}] if best else []
    }


def lines(record: dict[str, Any]) -> str:
    """Written tokens (of the best texts) per second of processor time, memory and ratios, and how the target stands."""
    return "\n".join([lines_of(record, record["tokens_per_step"]), *target_lines(record["targets"])])


def prepare(peer: str, row: str) -> Build:
    """The build of one candidate; runs in its worker."""
    import torch

    from bench import peers_generation

    makers = {
        OURS: peers_generation.our_beams,
        "huggingface-dynamic": peers_generation.marian_beams,
        "huggingface-static": lambda: peers_generation.marian_beams(cache="static"),
    }
    make = makers[peer]()

    def build() -> tuple[Callable[[], list[list[int]]], Facts]:
        task = peers_generation.Translation(*SIZES[row])
        model, write = make(task)
        source = peers_generation.sources_of(task)

        def step() -> list[list[int]]:
            with torch.inference_mode():
                return write(source).tolist()

        return step, {
            "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        }

    return build


def check_equal_work(record: dict[str, Facts], row: str) -> None:
    """Replace each candidate's texts by the share of tokens equal to ours; who did other work counts as failed."""
    *_, batch, _, new, _ = SIZES[row]
    texts = {name: facts.pop("values") for name, facts in record.items() if "failed" not in facts}
    if OURS not in texts:
        return
    for name, turns in texts.items():
        lengths, reason = [len(text) for text in turns[-1]], ""
        if lengths != [new] * batch:
            reason = f"texts of {lengths} tokens, not {batch} of {new}"
        elif any(turn != texts[OURS][-1] for turn in turns):
            reason = f"another text: {agreement(turns[-1], texts[OURS][-1]):.3f} of the tokens are as ours"
        elif record[name]["parameters"] != record[OURS]["parameters"]:
            reason = f"{record[name]['parameters']:,} parameters, not {record[OURS]['parameters']:,}"
        if reason:
            record[name] = {"failed": f"other work: {reason}"}
