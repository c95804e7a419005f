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

from bench.harness import OURS, Build, Candidate, Facts, installed, measure, version_of
from bench.machine import has_bfloat16
from bench.ratios import clock_of, compare, lines_of, target_lines

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
    "huggingface-llama": "transformers",
    "litgpt": "litgpt",
    "nanogpt": None,
    "ctranslate2": "ctranslate2",
    "ctranslate2-int8": "ctranslate2",
    "ctranslate2-llama": "ctranslate2",
    "onnxruntime": "onnxruntime",
    "onnxruntime-int8": "onnxruntime",
}
QUICK_PEERS = ("huggingface-dynamic", "huggingface-static")
ONE_TEXT = ("litgpt", "nanogpt")  # litgpt's loop writes one text at a time; without a cache more would take minutes
LLAMAS = (OURS_LLAMA, "huggingface-llama", "litgpt", "ctranslate2-llama")
ROUNDED = ("ctranslate2-int8", "onnxruntime-int8")  # to 8 bits: their texts may be others (bench.quality)
# The least share of CTranslate2's speed that ours shall have, by the batch: a longer step hides more of Python.
OF_CTRANSLATE2 = {"1": 0.65, "2": 0.65, "16": 0.75}
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
    kept_out = _without_instructions(peers, precision, options.device)
    peers, left_out = [name for name in peers if name not in kept_out], left_out + kept_out
    own += [OURS_LLAMA] if {*LLAMAS} & {*peers} else []
    own += [OURS_RECORDED, f"{OURS_RECORDED}-compiled"] if options.device == "cuda" else []
    task = (size, int(batch), precision)
    candidates = {name: Candidate(prepare, (name, options.nanogpt, *task)) for name in (*own, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=options.steps, warmup=WARMUP, threads=options.threads)
    check_equal_work(record, task, options.threads)
    facts = {"row": row, "tokens_per_step": int(batch) * new, "left_out": left_out}
    ours = OURS_RECORDED if options.device == "cuda" and "failed" not in record[OURS_RECORDED] else OURS
    like = {name: alike(name, ours, record) for name in record}
    facts |= compare(record, threads=options.threads, device=options.device, ours=ours, like=like)
    return facts | {"targets": targets(facts["theirs_over_ours"], clock_of(options.threads, options.device), batch)}


def _without_instructions(peers: list[str], precision: str, device: str) -> list[str]:
    """Those engines that do not multiply numbers of this type here, or not on a GPU in this comparison."""
    engines = [name for name in peers if name.startswith(("ctranslate2", "onnxruntime"))]
    if device == "cuda":
        return engines
    if precision == "float32":
        return []
    from bench.peers_engines import has_bfloat16 as engine_has_bfloat16

    able = bool(engines) and version_of("ctranslate2") is not None and engine_has_bfloat16()
    return [name for name in engines if not (able and name in ("ctranslate2", "ctranslate2-llama"))]


def alike(name: str, ours: str, record: dict[str, Facts]) -> str | None:
    """Which of ours does the same work as this candidate: the same architecture, compiled where it is; or none."""
    if name in OTHERS or name in ROUNDED:
        return None
    if name in LLAMAS:
        return OURS_LLAMA
    return OURS_COMPILED if name == "huggingface-compiled" and OURS_COMPILED in record else ours


def targets(ratios: dict[str, Facts], clock: str, batch: str = "1") -> list[Facts]:
    """What ours shall reach: times the speed of Hugging Face with its default and its best cache, part of an engine's.

    Its best may be a compiled step: there the best of ours counts too.
    """
    theirs = {
        name: over[clock]["median"]
        for name, over in ratios.items()
        if name.startswith("huggingface") and name not in LLAMAS
    }
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
    if "ctranslate2" in ratios:
        least, reached = OF_CTRANSLATE2[batch], ratios["ctranslate2"][clock]["median"]
        found.append({"over": "ctranslate2", "at_least": least, "is": reached / min(1, compiled or 1)})
    rule = ">= {at_least} x the speed of {over}, batch {batch}"
    return [{"target": rule.format(**aim, batch=batch)} | aim for aim in found]


def lines(record: dict[str, Any]) -> str:
    """Written tokens per second of processor time, memory and ratios, and how the targets stand."""
    return "\n".join([lines_of(record, record["tokens_per_step"]), *target_lines(record["targets"])])


def prepare(peer: str, nanogpt: str | None, size: str, batch: int, precision: str) -> Build:
    """The build of one candidate; runs in its worker."""
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # generate warns about it when it compiles
    if size != "gpt2":
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that outlive the compiling
    import torch

    from bench import peers_engines, peers_generation, peers_llama

    makers = {
        OURS: peers_generation.ours,
        OURS_COMPILED: lambda: peers_generation.ours(compiled=True),
        OURS_RECORDED: lambda: peers_generation.ours(recorded=True),
        f"{OURS_RECORDED}-compiled": lambda: peers_generation.ours(compiled=True, recorded=True),
        OURS_LLAMA: lambda: peers_generation.ours(peers_llama.ours_llama),
        "huggingface-dynamic": peers_generation.huggingface,
        "huggingface-static": lambda: peers_generation.huggingface(cache="static"),
        "huggingface-compiled": lambda: peers_generation.huggingface(cache="compiled"),
        "huggingface-llama": lambda: peers_generation.huggingface(peers_llama.huggingface_llama),
        "ctranslate2": peers_engines.ctranslate2,
        "ctranslate2-int8": lambda: peers_engines.ctranslate2(int8=True),
        "ctranslate2-llama": lambda: peers_engines.ctranslate2(peers_llama.ours_llama),
        "onnxruntime": peers_engines.onnxruntime,
        "onnxruntime-int8": lambda: peers_engines.onnxruntime(int8=True),
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

        if isinstance(model, int):  # an engine's: there is no module whose parameters could be counted
            return step, {"parameters": model}
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
    parameters must agree within `SIZE_TOLERANCE`. Of who rounds to 8 bits, tokens and regret are recorded alone.
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
        if name in ROUNDED:
            found_regret = facts.pop("regret")
            agreed = facts.pop("tokens_as_" + first[name])
        if reason := _difference(facts, turns, record.get(OURS, facts), task):
            record[name] = {"failed": f"other work: {reason}"}
        elif name in ROUNDED:  # which is recorded, and not judged
            facts |= {"regret": found_regret, "tokens_as_" + first[name]: agreed}


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
