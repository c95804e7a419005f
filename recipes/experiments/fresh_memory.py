"""How much of the lead of our training step is the price of fresh memory?

Each arm is a process of its own, on one thread, in which the same step is taken in turns by our model and by that of
Hugging Face with the same weights: a GPT-2 or a Llama of 2 layers, width 256 and 8,192 words, 5 texts of 256 tokens,
AdamW in one kernel, float32. The allocator is that of glibc: for everybody as it comes, or for everybody told through
the environment to keep what it was given. `Hugging Face` is the median over the rounds of its processor time over ours,
`whole logits` that of our own model with all its logits at once, and `again` that of our own step taken a second time
in the round, which says how much of a difference is noise. `faults, ...` are page faults of a step.

Left out: what other libraries, compiled steps and other sizes would show.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

from transformer_lib.runs.experiment import Experiment

BATCH, LENGTH, VOCAB, WIDTH, LAYERS, HEADS, ROUNDS = 5, 256, 8192, 256, 2, 8, 4
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**33)}
SEEDS = (0, 1, 2)
Step = Callable[[], None]


def theirs(family: str) -> Any:
    """A model of Hugging Face's, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    common: dict[str, Any] = {"vocab_size": VOCAB, "use_cache": False, "attn_implementation": "sdpa"}
    if family == "gpt2":
        nothing = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        sizes = {"n_positions": LENGTH, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
        return GPT2LMHeadModel(GPT2Config(**common, **sizes, **nothing, bos_token_id=0, eos_token_id=0))
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    sizes |= {"intermediate_size": 8 * WIDTH // 3, "max_position_embeddings": LENGTH}
    return LlamaForCausalLM(LlamaConfig(**common, **sizes, tie_word_embeddings=True))


def step_of(model: Any, loss: Callable[[], torch.Tensor]) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def steps_of(family: str) -> dict[str, Step]:
    """Ours, ours once more, ours with all logits at once, and theirs."""
    from transformer_lib.interop.huggingface import from_hf
    from transformer_lib.training import token_loss
    from transformer_lib.training.chunked import chunked_token_loss

    tokens = torch.randint(VOCAB, (BATCH, LENGTH + 1))
    x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
    other = theirs(family).train()
    with tempfile.TemporaryDirectory() as folder:
        other.save_pretrained(folder)
        ours, whole = from_hf(folder).train(), from_hf(folder).train()
    chunks = step_of(ours, lambda: chunked_token_loss(ours.hidden(x), ours.head.weight, y).mean())
    given = {"labels": y, "shift_labels": y}  # targets that are already shifted
    return {
        "ours": chunks,
        "again": chunks,
        "whole logits": step_of(whole, lambda: token_loss(whole(x), y).mean()),
        "Hugging Face": step_of(other, lambda: other(x, **given).loss),
    }


def raced(seed: int, family: str) -> dict[str, float]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    steps = steps_of(family)
    spent: dict[str, list[float]] = {name: [] for name in steps}
    faults: dict[str, list[int]] = {name: [] for name in steps}
    names = list(steps)
    for number in range(ROUNDS + 1):  # the first pays for what happens once
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
            steps[name]()
            spent[name].append(time.process_time() - start)
            faults[name].append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    measured: dict[str, float] = {}
    for name in names:
        ratios = [a / b for a, b in zip(spent[name][1:], spent["ours"][1:], strict=True)]
        measured |= {name: statistics.median(ratios)} if name != "ours" else {}
        measured[f"faults, {name}"] = statistics.median(faults[name][1:])
    return measured


@cache
def measured_alone(family: str, kept: bool) -> list[dict[str, float]]:
    """What a process measures that is started with this allocator, for each seed."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    settings |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | (KEPT if kept else {})
    command = [sys.executable, str(Path(__file__)), family]
    done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run(seed: int, family: str, kept: bool) -> dict[str, Any]:
    return measured_alone(family, kept)[seed]


EXPERIMENT = Experiment(
    arms={
        f"{name}, {'memory kept' if kept else 'as it comes'}": {"family": family, "kept": kept}
        for family, name in (("gpt2", "GPT-2"),)
        for kept in (False, True)
    },
    run=run,
    seeds=SEEDS,
)

if __name__ == "__main__":
    print(json.dumps([raced(seed, sys.argv[1]) for seed in SEEDS]))
