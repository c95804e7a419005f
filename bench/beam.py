"""Beam search with an encoder-decoder as large as a small Marian, ours and Hugging Face's, on the CPU.

One step reads all sources of the batch and writes a text for each; no text stops early. Both have the same weights, so
the best texts must be equal: the same beams were kept. With one beam it is greedy decoding, for which ours has its
plain loop, and its step is compiled too: beams would have every length compiled anew.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from bench.decode import OURS_COMPILED, agreement
from bench.harness import OURS, Build, Candidate, Facts, installed, measure
from bench.ratios import clock_of, compare, lines_of, target_lines

TITLE = "beam search with an encoder-decoder: batch, beams and precision"
ROUNDS = 5
WARMUP = 2

# layers on each side, d_model, heads, vocabulary, batch, source and new tokens, beams
SIZES = {
    "batch 16 beams 4 float32": (3, 256, 8, 8192, 16, 25, 40, 4),
    "batch 1 beams 1 float32": (3, 256, 8, 8192, 1, 25, 40, 1),
    "batch 16 beams 1 float32": (3, 256, 8, 8192, 16, 25, 40, 1),
    "batch 2 beams 3 float32": (1, 64, 4, 256, 2, 9, 12, 3),
    "batch 2 beams 1 float32": (1, 64, 4, 256, 2, 9, 12, 1),
}
GREEDY = "beams 1 float32"
HF_COMPILED = "huggingface-compiled"
PEERS: dict[str, str | None] = {
    "huggingface-dynamic": "transformers",
    "huggingface-static": "transformers",
    HF_COMPILED: "transformers",
    "ctranslate2": "ctranslate2",
    "ctranslate2-int8": "ctranslate2",
}
QUICK_PEERS = ("huggingface-dynamic", "huggingface-static", "ctranslate2", "ctranslate2-int8")
ROUNDED = ("ctranslate2-int8",)  # to 8 bits: its texts may be others (bench.quality)
OF_HUGGINGFACE = {True: 1.3, False: 1.5}  # the least of its speed that ours shall have, greedily and with beams
# And of CTranslate2's, by the batch: a longer step hides more of Python.
OF_CTRANSLATE2 = {"1": 0.65, "2": 0.65, "16": 0.75}


def rows(options: Namespace) -> list[str]:
    """Beams, and greedily one text and many at a time; with `quick` tiny ones."""
    return [row for row in SIZES if row.startswith("batch 2 ") == bool(options.quick)]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure ours against Hugging Face's Marian with each of its caches, and against an engine."""
    peers, left_out = installed(PEERS, options.peers or (QUICK_PEERS if options.quick else None))
    if not row.endswith(GREEDY):
        peers = [name for name in peers if name != HF_COMPILED]
    own = [OURS, OURS_COMPILED] if HF_COMPILED in peers else [OURS]
    candidates = {name: Candidate(prepare, (name, row)) for name in (*own, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=options.steps, warmup=WARMUP, threads=options.threads)
    check_equal_work(record, row)
    *_, batch, _, new, _ = SIZES[row]
    facts = {"row": row, "tokens_per_step": batch * new, "left_out": left_out}
    like = {name: None if name in ROUNDED else OURS_COMPILED if name == HF_COMPILED else OURS for name in record}
    facts |= compare(record, threads=options.threads, like=like)
    reached = {
        name: over[clock_of(options.threads, "cpu")]["median"] for name, over in facts["theirs_over_ours"].items()
    }
    return facts | {"targets": targets(reached, row)}


def targets(reached: dict[str, float], row: str) -> list[Facts]:
    """What ours shall reach: times the speed of Hugging Face with its default and its best cache, part of an engine's.

    Where ours is compiled, its best counts against their best and against the engine.
    """
    best_of_ours = min(1, reached.get(OURS_COMPILED, 1))
    least, found = OF_HUGGINGFACE[row.endswith(GREEDY)], []
    if "huggingface-dynamic" in reached:
        found.append({"over": "huggingface-dynamic", "at_least": least, "is": reached["huggingface-dynamic"]})
    if caches := [name for name in reached if name.startswith("huggingface")]:
        best = min(caches, key=lambda name: reached[name])
        over = f"its best cache ({best}), the best of ours"
        found.append({"over": over, "at_least": least, "is": reached[best] / best_of_ours})
    if "ctranslate2" in reached:
        least = OF_CTRANSLATE2[row.split()[1]]
        found.append({"over": "ctranslate2", "at_least": least, "is": reached["ctranslate2"] / best_of_ours})
    return [{"target": f">= {aim['at_least']} x the speed of {aim['over']}"} | aim for aim in found]


def lines(record: dict[str, Any]) -> str:
    """Written tokens (of the best texts) per second of processor time, memory and ratios, and how the target stands."""
    return "\n".join([lines_of(record, record["tokens_per_step"]), *target_lines(record["targets"])])


def prepare(peer: str, row: str) -> Build:
    """The build of one candidate; runs in its worker."""
    import os

    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that outlive the compiling
    import torch

    from bench import peers_engines, peers_generation

    makers = {
        OURS: peers_generation.our_beams,
        OURS_COMPILED: lambda: peers_generation.our_beams(compiled=True),
        "huggingface-dynamic": peers_generation.marian_beams,
        "huggingface-static": lambda: peers_generation.marian_beams(cache="static"),
        HF_COMPILED: lambda: peers_generation.marian_beams(cache="compiled"),
        "ctranslate2": peers_engines.ctranslate2_beams,
        "ctranslate2-int8": lambda: peers_engines.ctranslate2_beams(int8=True),
    }
    make = makers[peer]()

    def build() -> tuple[Callable[[], list[list[int]]], Facts]:
        task = peers_generation.Translation(*SIZES[row])
        model, write = make(task)
        source = peers_generation.sources_of(task)

        def step() -> list[list[int]]:
            with torch.inference_mode():
                return write(source).tolist()

        if isinstance(model, int):
            return step, {"parameters": model}
        own = (parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return step, {"parameters": sum(own)}

    return build


def check_equal_work(record: dict[str, Facts], row: str) -> None:
    """Replace each candidate's texts by the share of tokens equal to ours; who did other work counts as failed.

    Of who rounds to 8 bits, that share is recorded and not judged.
    """
    *_, batch, _, new, _ = SIZES[row]
    texts = {name: facts.pop("values") for name, facts in record.items() if "failed" not in facts}
    if OURS not in texts:
        return
    for name, turns in texts.items():
        lengths, reason = [len(text) for text in turns[-1]], ""
        if lengths != [new] * batch:
            reason = f"texts of {lengths} tokens, not {batch} of {new}"
        elif name in ROUNDED:
            record[name]["tokens_as_" + OURS] = agreement(turns[-1], texts[OURS][-1])
        elif any(turn != texts[OURS][-1] for turn in turns):
            reason = f"another text: {agreement(turns[-1], texts[OURS][-1]):.3f} of the tokens are as ours"
        if not reason and record[name]["parameters"] != record[OURS]["parameters"]:
            reason = f"{record[name]['parameters']:,} parameters, not {record[OURS]['parameters']:,}"
        if reason:
            record[name] = {"failed": f"other work: {reason}"}
