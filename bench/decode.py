"""Greedy decoding: prompts go in, tokens come out one by one, ours and the peers', on the CPU or a GPU.

One step of a candidate writes all texts of the batch; reading the prompts is inside the time. In bfloat16 the weights
themselves are of that type. Everybody's texts must be greedy texts of the same weights, or the candidate counts as
failed; x-transformers has an architecture of its own, and only its size and the number of its tokens are checked.
"""

import multiprocessing
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from bench.harness import OURS, Build, Candidate, Facts, clock_of, compare, installed, lines_of, measure
from bench.machine import has_bfloat16

TITLE = "greedy decoding, cache and prompt included: batch and precision"
ROUNDS = 5
WARMUP = 2

# layers, d_model, heads, vocabulary; prompt and new tokens
SIZES = {
    "full": (6, 256, 8, 8192, 32, 200),
    "quick": (2, 64, 4, 512, 8, 24),
    "gpt2": (12, 768, 12, 50_304, 32, 200),  # on a GPU
}
# By how much a token's logit may lie below the highest one. Rounding to bfloat16 was seen to cost 0.008; the second
# likeliest token lies 0.16 below the first at the median.
REGRET = {"float32": 1e-4, "bfloat16": 0.03}
SIZE_TOLERANCE = 0.02

OURS_COMPILED, OURS_LLAMA = f"{OURS}-compiled", f"{OURS}-llama"
OURS_RECORDED = f"{OURS}-recorded"  # as a CUDA graph
PEERS: dict[str, str | None] = {
    "huggingface-dynamic": "transformers",
    "huggingface-static": "transformers",
    "huggingface-compiled": "transformers",
    "x-transformers": "x-transformers",
    "litgpt": "litgpt",
    "nanogpt": None,
}
QUICK_PEERS = ("huggingface-dynamic", "huggingface-static")
ONE_TEXT = ("litgpt", "nanogpt")  # litgpt's loop writes one text at a time; without a cache more would take minutes
LLAMAS = (OURS_LLAMA, "litgpt")
OTHERS = ("x-transformers",)  # with weights of their own


def rows(options: Namespace) -> list[str]:
    """Without instructions for bfloat16 the row would time plain loops: it is left out."""
    if options.device == "cuda":
        return ["batch 1 bfloat16", "batch 16 bfloat16"]
    if options.quick:
        return ["batch 2 float32"]
    precisions = ("float32", "bfloat16") if has_bfloat16() else ("float32",)
    return [f"batch {batch} {precision}" for batch in (1, 16) for precision in precisions]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure ours against the peers at one batch size and precision."""
    _, batch, precision = row.split()
    size = "gpt2" if options.device == "cuda" else "quick" if options.quick else "full"
    *_, new = SIZES[size]
    peers, left_out = installed(PEERS, options.peers or (QUICK_PEERS if options.quick else None))
    for name in [name for name in peers if name in ONE_TEXT and batch != "1"]:
        peers.remove(name)
    if "nanogpt" in peers and not options.nanogpt:
        peers.remove("nanogpt")
        left_out.append("nanogpt")
    own = [OURS]
    own += [OURS_COMPILED] if "huggingface-compiled" in peers and options.device == "cpu" else []
    own += [OURS_LLAMA] if "litgpt" in peers else []
    own += [OURS_RECORDED, f"{OURS_RECORDED}-compiled"] if options.device == "cuda" else []
    task = (size, int(batch), precision)
    candidates = {name: Candidate(prepare, (name, options.nanogpt, *task)) for name in (*own, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=options.steps, warmup=WARMUP, threads=options.threads)
    check_equal_work(record, task, options.threads)
    facts = {"row": row, "tokens_per_step": int(batch) * new, "left_out": left_out}
    ours = OURS_RECORDED if options.device == "cuda" and "failed" not in record[OURS_RECORDED] else OURS
    facts |= compare(record, threads=options.threads, device=options.device, ours=ours)
    return facts | {"targets": targets(facts["theirs_over_ours"], clock_of(options.threads, options.device))}


def targets(ratios: dict[str, Facts], clock: str) -> list[Facts]:
    """How many times Hugging Face's speed ours shall be, and is: with its default cache, and with its best one.

    Its best may be a compiled step: there the best of ours counts too.
    """
    theirs = {name: over[clock]["median"] for name, over in ratios.items() if name.startswith("huggingface")}
    compiled = ratios[OURS_COMPILED][clock]["median"] if OURS_COMPILED in ratios else None
    found = []
    if "huggingface-dynamic" in theirs:
        dynamic = theirs["huggingface-dynamic"]
        found.append({"over": "huggingface-dynamic", "at_least": 1.5, "is": dynamic})
        if compiled is not None:
            found.append({"over": "huggingface-dynamic, ours compiled", "at_least": 1.5, "is": dynamic / compiled})
    if theirs:
        best = min(theirs, key=lambda name: theirs[name])
        over = f"its best cache ({best}), the best of ours"
        found.append({"over": over, "at_least": 1.3, "is": theirs[best] / min(1, compiled or 1)})
    return found


def lines(record: dict[str, Any]) -> str:
    """Written tokens per second of processor time, memory and ratios, and how the targets stand."""
    return "\n".join([lines_of(record, record["tokens_per_step"]), *target_lines(record["targets"])])


def target_lines(found: list[Facts]) -> list[str]:
    return [f"  target: {aim['at_least']} x {aim['over']}, reached: {aim['is']:.3f}" for aim in found]


def prepare(peer: str, nanogpt: str | None, size: str, batch: int, precision: str) -> Build:
    """The build of one candidate; runs in its worker."""
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # generate warns about it when it compiles
    if size != "gpt2":
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that outlive the compiling
    import torch

    from bench import peers_generation, peers_llama

    makers = {
        OURS: peers_generation.ours,
        OURS_COMPILED: lambda: peers_generation.ours(compiled=True),
        OURS_RECORDED: lambda: peers_generation.ours(recorded=True),
        f"{OURS_RECORDED}-compiled": lambda: peers_generation.ours(compiled=True, recorded=True),
        OURS_LLAMA: lambda: peers_generation.ours(peers_llama.ours_llama),
        "huggingface-dynamic": peers_generation.huggingface,
        "huggingface-static": lambda: peers_generation.huggingface(cache="static"),
        "huggingface-compiled": lambda: peers_generation.huggingface(cache="compiled"),
        "x-transformers": peers_generation.x_transformers,
        "litgpt": peers_generation.litgpt,
        "nanogpt": lambda: peers_generation.nanogpt(str(nanogpt)),
    }
    make = makers[peer]()

    def build() -> tuple[Callable[[], list[list[int]]], Facts]:
        task = task_of(size, batch, precision)
        model, write = make(task)
        prompts = peers_generation.prompts_of(task)

        def step() -> list[list[int]]:
            with torch.inference_mode():
                return write(prompts).tolist()

        parameters = {parameter.data_ptr(): parameter.numel() for parameter in model.parameters()}
        return step, {"parameters": sum(parameters.values())}

    return build


def task_of(size: str, batch: int, precision: str) -> Any:
    """The sizes of a row as the candidates take them."""
    import torch

    from bench.peers import Shape
    from bench.peers_generation import Task

    layers, width, heads, vocab, prompt, new = SIZES[size]
    shape, device = Shape(layers, width, heads, prompt + new, batch, vocab), "cuda" if size == "gpt2" else "cpu"
    return Task(shape, prompt, new, getattr(torch, precision), device)


def check_equal_work(record: dict[str, Facts], task: tuple[str, int, str], threads: int) -> None:
    """Replace each candidate's texts by what they show; who did other work counts as failed.

    Every text has its full length, every turn wrote the same, no token lies further below the likeliest one than
    rounding explains (`peers_generation.regrets`), and in float32 the tokens of a family are equal. Numbers of
    parameters must agree within `SIZE_TOLERANCE`.
    """
    texts = {name: facts.pop("values") for name, facts in record.items() if "failed" not in facts}
    families = [[name for name in texts if name in LLAMAS], [name for name in texts if name not in (*LLAMAS, *OTHERS)]]
    first = {name: family[0] for family in families for name in family}
    found = {}
    for family in families:
        found |= judged({name: texts[name][-1] for name in family}, task, threads) if family else {}
    for name, turns in texts.items():
        facts = record[name]
        if name in first:
            facts |= {"regret": found[name], "tokens_as_" + first[name]: agreement(turns[-1], texts[first[name]][-1])}
        if reason := _difference(facts, turns, record.get(OURS, facts), task):
            record[name] = {"failed": f"other work: {reason}"}


def _difference(facts: Facts, turns: list[list[list[int]]], ours: Facts, task: tuple[str, int, str]) -> str:
    """Why this is not the work that was asked for, or nothing."""
    size, batch, precision = task
    *_, new = SIZES[size]
    lengths = [len(row) for row in turns[-1]]
    if lengths != [new] * batch:
        return f"texts of {lengths} tokens, not {batch} of {new}"
    if size != "gpt2" and any(turn != turns[-1] for turn in turns):  # a GPU may add in another order each time
        return "another text at another turn"
    if "regret" in facts and not facts["regret"] <= REGRET[precision]:
        return f"a token whose logit is {facts['regret']:.4f} below the highest"
    if precision == "float32" and any(facts[key] < 1 for key in facts if key.startswith("tokens_as_")):
        return "another text from the same weights"
    sizes = facts["parameters"], ours.get("parameters", facts["parameters"])
    return f"{sizes[0]:,} parameters, not {sizes[1]:,}" if abs(sizes[0] - sizes[1]) > SIZE_TOLERANCE * sizes[1] else ""


def agreement(text: list[list[int]], other: list[list[int]]) -> float:
    """The share of tokens at which two batches of texts agree."""
    pairs = [pair for rows in zip(text, other, strict=True) for pair in zip(*rows, strict=True)]
    return sum(one == two for one, two in pairs) / len(pairs)


def judged(texts: dict[str, list[list[int]]], task: tuple[str, int, str], threads: int) -> dict[str, float]:
    """The regret of each text of one family, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_regrets, texts, task, threads).result()


def _regrets(texts: dict[str, list[list[int]]], task: tuple[str, int, str], threads: int) -> dict[str, float]:
    from bench import peers, peers_generation, peers_llama

    family = peers_llama.ours_llama if set(texts) <= set(LLAMAS) else peers.ours
    return peers_generation.regrets(family, task_of(*task), texts, threads)
