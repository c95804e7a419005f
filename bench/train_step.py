"""One training step of a decoder-only language model, ours and the peers'.

A step is forward, mean cross entropy, backward, fused AdamW, zero_grad; no clipping, no dropout, no data loading. The
tokens are random, the same for everybody, and the same at every step: this measures speed and memory, not learning.
On a GPU there is one row, GPT-2 124M compiled in bfloat16, with the share of the GPU's peak that it reaches.
"""

import os
import statistics
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from bench.harness import OURS, Build, Candidate, Facts, installed, measure
from bench.machine import has_bfloat16
from bench.ratios import best_of_its_family, compare, lines_of, target_lines

TITLE = "one training step of a decoder-only model: shape, precision, eager or compiled"
ROUNDS = 5

# layers, d_model, heads, context, batch, vocabulary
SHAPES = {
    "small": (6, 256, 8, 256, 16, 8192),
    "slice": (4, 768, 12, 512, 2, 50_257),  # four layers of GPT-2 124M
    "quick": (2, 64, 4, 32, 4, 512),
    "gpt2": (12, 768, 12, 1024, 16, 50_304),  # GPT-2 124M, its vocabulary rounded up to a multiple of 128, on a GPU
}
PRECISIONS = ("float32", "bfloat16")
MODES = ("eager", "compiled")
WARMUP = 3
# The workers inherit this: each compiles by itself and not from a cache, so that the cost is counted for all alike.
COMPILER = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
# Dense bfloat16 operations a second by the datasheet.
PEAKS = {"NVIDIA H100": 989.4e12, "NVIDIA H200": 989.4e12, "NVIDIA A100": 312e12}
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
SIZE_TOLERANCE = 0.02  # between architectures; within one the numbers of parameters are equal

# The package that each peer needs; nanoGPT is a checkout.
PEERS: dict[str, str | None] = {
    "huggingface-gpt2": "transformers",
    "huggingface-llama": "transformers",
    "x-transformers": "x-transformers",
    "litgpt": "litgpt",
    "llms-from-scratch": "llms-from-scratch",
    "torch": None,
    "nanogpt": None,
}
QUICK_PEERS = ("huggingface-gpt2", "huggingface-llama", "torch", "nanogpt")  # nothing beyond requirements.txt
OURS_AGAIN = f"{OURS}-again"  # the same in a second process: what a difference means
OURS_LLAMA = f"{OURS}-llama"
OURS_CHUNKED = f"{OURS}-chunked"  # on a GPU; on the CPU all of ours are
# Candidates of one architecture have the same weights, so their losses must agree with the first one's.
Families = tuple[tuple[str, ...], ...]
FAMILIES: Families = (
    (OURS, OURS_AGAIN, OURS_CHUNKED, "huggingface-gpt2", "llms-from-scratch", "torch", "nanogpt"),
    (OURS_LLAMA, "huggingface-llama", "litgpt"),
)


def rows(options: Namespace) -> list[str]:
    """Without instructions for bfloat16 the row would time plain loops, twenty times slower: it is left out."""
    if options.device == "cuda":
        return ["gpt2 bfloat16 compiled"]
    if options.quick:
        return ["quick float32 eager"]
    precisions = PRECISIONS if has_bfloat16() else PRECISIONS[:1]
    return [f"{shape} {precision} {mode}" for shape in ("small", "slice") for precision in precisions for mode in MODES]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Measure ours against the peers in one shape, precision and mode: the raw record and the ratios."""
    shape, precision, mode = row.split()
    if options.device == "cpu":
        os.environ |= COMPILER
    peers, left_out = installed(PEERS, options.peers or (QUICK_PEERS if options.quick else None))
    if "nanogpt" in peers and not options.nanogpt:
        peers.remove("nanogpt")
        left_out.append("nanogpt")
    own = [OURS, OURS_AGAIN, OURS_LLAMA] if options.device == "cpu" else [OURS, OURS_CHUNKED, OURS_LLAMA]
    candidates = {name: Candidate(prepare, (name, options.nanogpt, shape, precision, mode)) for name in (*own, *peers)}
    record = measure(candidates, rounds=options.rounds, steps=options.steps, warmup=WARMUP, threads=options.threads)
    check_equal_work(record, TOLERANCE[precision])
    if mode == "compiled" and options.device == "cpu":
        for facts in record.values():
            if "failed" not in facts:
                usual = statistics.median(facts["cpu_seconds"])
                facts["compile_cpu_seconds"] = sum(facts["warmup_cpu_seconds"]) - WARMUP * usual
    _, _, _, context, batch, _ = SHAPES[shape]
    row_facts = {"row": row, "tokens_per_step": batch * context, "left_out": left_out}
    row_facts |= compare(record, threads=options.threads, device=options.device, like=alike(record))
    row_facts["targets"] = best_of_its_family(row_facts, options.threads, options.device)
    if options.device == "cuda":
        row_facts["utilisation"] = utilisation(record, shape)
    return row_facts


def alike(record: dict[str, Facts]) -> dict[str, str | None]:
    """Which of ours has the architecture of each peer, if one has."""
    family = {name: names[0] for names in FAMILIES for name in names}
    return {name: family.get(name) for name in record}


def utilisation(record: dict[str, Facts], shape: str) -> dict[str, float]:
    """Model FLOP utilisation of each candidate: 6 N + 12 layers context d_model operations a token, over the peak.

    N are the parameters without the position table (Chowdhery et al. 2022, appendix B). Empty if the peak is unknown.
    """
    import torch

    layers, width, _, context, batch, _ = SHAPES[shape]
    peak = next((peak for name, peak in PEAKS.items() if torch.cuda.get_device_name().startswith(name)), None)
    found = {}
    for name, facts in record.items():
        if peak and "failed" not in facts:
            flops = 6 * facts["matrix_parameters"] + 12 * layers * context * width
            found[name] = batch * context * flops / statistics.median(facts["wall_seconds"]) / peak
    return found


def lines(record: dict[str, Any]) -> str:
    """Tokens per second, memory and ratios, and how much of a GPU's peak is used."""
    used = [f"  {name:28} {100 * share:.1f} % of the peak" for name, share in record.get("utilisation", {}).items()]
    return "\n".join([lines_of(record, record["tokens_per_step"]), *used, *target_lines(record["targets"])])


def prepare(peer: str, nanogpt: str | None, shape: str, precision: str, mode: str) -> Build:
    """The build of one candidate; runs in its worker."""
    import torch

    from bench import peers, peers_llama

    if mode == "compiled":
        import torch._inductor.compile_fx  # here, so that it is not counted as the candidate's memory
    device = "cuda" if shape == "gpt2" else "cpu"
    loss = peers.whole_loss if device == "cuda" else peers.chunked_loss
    makers = {
        OURS: lambda: peers.ours(loss),
        OURS_AGAIN: lambda: peers.ours(loss),
        OURS_CHUNKED: peers.ours,
        OURS_LLAMA: lambda: peers_llama.ours_llama(loss),
        "huggingface-gpt2": peers.huggingface_gpt2,
        "huggingface-llama": peers_llama.huggingface_llama,
        "x-transformers": peers_llama.x_transformers,
        "litgpt": peers_llama.litgpt,
        "llms-from-scratch": peers.llms_from_scratch,
        "torch": peers.torch_encoder,
        "nanogpt": lambda: peers.nanogpt(nanogpt),
    }
    make = makers[peer]()

    def build() -> tuple[Callable[[], torch.Tensor], Facts]:
        torch.set_float32_matmul_precision("high" if device == "cuda" else "highest")
        size = peers.Shape(*SHAPES[shape])
        model, loss_of = make(size)
        model.to(device)
        if mode == "compiled":
            loss_of = torch.compile(loss_of)
        step = peers.stepper(model, loss_of, precision, device)
        stream = torch.randint(size.vocab, (size.batch, size.context + 1), generator=torch.Generator().manual_seed(1))
        tokens, targets = stream[:, :-1].contiguous().to(device), stream[:, 1:].contiguous().to(device)
        parameters = sum(weight.numel() for weight in model.parameters())
        positions = sum(weight.numel() for weight in model.parameters() if len(weight) == size.context)
        return lambda: step(tokens, targets), {"parameters": parameters, "matrix_parameters": parameters - positions}

    return build


def check_equal_work(record: dict[str, Facts], tolerance: float, families: Families = FAMILIES) -> None:
    """Who does other work counts as failed.

    Within a family, the numbers of parameters must be equal, and the losses before the first update and after all of
    them; between families, the numbers of parameters within `SIZE_TOLERANCE`.
    """
    for name, facts in record.items():
        first = next((family[0] for family in families if name in family), None)
        for other in {OURS, first or OURS}:
            if "failed" not in facts and "failed" not in record[other]:
                reason = _difference(facts, record[other], tolerance if other == first else None)
                if reason:
                    record[name] = {"failed": f"other work than {other}: {reason}"}


def _difference(facts: Facts, other: Facts, tolerance: float | None) -> str:
    """Why the two do not do equal work, or nothing; without a tolerance the architectures differ, and so may losses."""
    sizes = facts["parameters"], other["parameters"]
    if abs(sizes[0] - sizes[1]) > (SIZE_TOLERANCE * sizes[1] if tolerance is None else 0):
        return f"{sizes[0]:,} parameters, not {sizes[1]:,}"
    if tolerance is not None:
        for when, index in (("first", 0), ("last", -1)):
            loss, expected = facts["values"][index], other["values"][index]
            if not abs(loss - expected) <= tolerance * abs(expected):
                return f"the {when} loss is {loss:.6f}, not {expected:.6f}"
    return ""
