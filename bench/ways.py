"""Ways to make decoding cheaper, those that bring something and those that bring nothing, each beside the library.

Unlike those of the other subjects, the candidates of a row take turns in one process: they are copies of one model with
one thing changed in each. Time is that of the processor, on one thread. A ratio below 1 says that the way
takes less than the library. Not for comparing memory, which a process has only once.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from bench import ways_of_a_step
from bench.harness import Facts
from bench.ratios import ratio

TITLE = "ways to decode cheaper, each beside the library: their processor time / ours"
ROUNDS = 7
WARMUP = 1
AS_IT_IS = "transformer_lib"
Work = Callable[[], Any]

# layers, d_model, heads, vocabulary; prompt and new tokens
SIZES = {"full": (6, 256, 8, 8192, 32, 60), "quick": (2, 64, 4, 512, 8, 12)}
VOCAB = {"full": 151_936, "quick": 2048}  # that of Qwen3
BEAMS = {"full": (8, (50, 200, 400)), "quick": (3, (12,))}  # beams, and new tokens


def rows(options: Namespace) -> list[str]:
    """A step of greedy decoding, the choice of a token, and beams over ever longer texts."""
    size = _size(options)
    steps = ["step batch 2"] if size == "quick" else ["step batch 1", "step batch 16"]
    return [*steps, "choice top_k", "choice top_p", *(f"beams {new} tokens" for new in BEAMS[size][1])]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """Race the ways of one row, on `options.threads` threads."""
    import torch

    torch.set_num_threads(options.threads)
    torch._dynamo.reset()  # each row compiles the same functions, and there is a limit to how often
    kind, *rest = row.split()
    size = _size(options)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # or a way would go on uncompiled
        match kind:
            case "step":
                works, facts = ways_of_a_step.works(SIZES[size], int(rest[1]), options.peers)
            case "choice":
                works, facts = _choices(rest[0], VOCAB[size]), {}
            case _:
                works, facts = _beams(int(rest[0]), size), {}
        return {"row": row, **race(works, options.rounds), "facts": facts}


def race(works: dict[str, Work], rounds: int) -> Facts:
    """Seconds of processor time of each work, in turns, and its ratio to the library, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        for _ in range(WARMUP):
            work()
    names = list(works)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begin = time.process_time()
            works[name]()
            seconds[name].append(time.process_time() - begin)
    over = {name: ratio(seconds[AS_IT_IS], spent) for name, spent in seconds.items() if name != AS_IT_IS}
    return {"cpu_seconds": seconds, "theirs_over_ours": over}


def lines(record: dict[str, Any]) -> str:
    """Each way's time over the library's, with quartiles, and what else is known of it."""
    found = []
    for name, over in record["theirs_over_ours"].items():
        more = ", ".join(f"{key} {value:.3f}" for key, value in record["facts"].get(name, {}).items())
        spread = f"{over['median']:.3f} ({over['lower_quartile']:.3f}-{over['upper_quartile']:.3f})"
        found.append(f"  {name:32} {spread}  {more}")
    return "\n".join(found)


def _size(options: Namespace) -> str:
    return "quick" if options.quick else "full"


def _choices(limit: str, vocab: int) -> dict[str, Work]:
    """The library's truncation, and the same by sorting the whole vocabulary; laws with a head, and flat ones."""
    import torch

    from transformer_lib.generation import truncate

    flat = torch.randn(1, vocab, generator=torch.Generator().manual_seed(0))
    peaked = 4 * flat
    value = {"top_k": 50, "top_p": 0.9}[limit]

    def by_sorting(logits: torch.Tensor) -> torch.Tensor:
        ranked = logits.argsort(dim=-1, descending=True, stable=True)
        probs = logits.softmax(dim=-1).gather(-1, ranked)
        ahead = torch.arange(vocab)[None] if limit == "top_k" else probs.cumsum(dim=-1) - probs
        keep = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, ranked, ahead < value)
        return logits.masked_fill(~keep, -torch.inf)

    for law in (peaked, flat):
        assert torch.equal(truncate(law, **{limit: value}), by_sorting(law))
    return {
        AS_IT_IS: partial(truncate, peaked, **{limit: value}),
        "whole sort": partial(by_sorting, peaked),
        "a flat law": partial(truncate, flat, **{limit: value}),
    }


def _beams(new: int, size: str) -> dict[str, Work]:
    """A search as it is, one that looks at the slots of dead texts too, and as many texts that share nothing."""
    import torch

    from transformer_lib.generation import beam, beam_search, generate

    beams, _ = BEAMS[size]
    layers, width, heads, vocab, prompt, _ = SIZES[size]
    model, prompts = ways_of_a_step.model_of((min(layers, 2), width, heads, vocab, prompt, new), 1)
    apart = prompts.expand(beams, -1)
    search = partial(beam_search, model, prompts, beams=beams, max_new_tokens=new)

    def with_dead() -> Any:
        with mock.patch.object(beam, "LEAST_SLOTS", 2**62):
            return search()

    assert torch.equal(search().tokens, with_dead().tokens)
    return {
        AS_IT_IS: search,
        "dead slots kept": with_dead,
        "greedy rows of their own": partial(generate, model, apart, max_new_tokens=new),
    }
