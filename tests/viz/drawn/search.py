"""The drawings of searches: the numbers of a small table of probabilities, and the counts of two small models."""

from typing import Any

import torch
from torch import Tensor

from tests.viz.drawn.case import Case, config
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.cache import KVCache
from transformer_lib.viz.drawings.search import draw_beam_search, draw_speculation


class Table:
    """A language in which only the last token counts."""

    training, context = False, None

    def __init__(self, rows: list[list[float]]) -> None:
        self.logits = torch.tensor(rows, dtype=torch.float64).log()

    def __call__(self, tokens: Tensor, *, newest: int | None = None, **rest: Any) -> Tensor:
        return self.logits[tokens][:, -(newest or 0) :]

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        return KVCache(config(1), batch, max_length)  # which stays empty


def fork(n: int) -> dict[str, Any]:
    """The first letter is likelier to be a, but the best text begins with b; `n` is how many texts are kept."""
    rows = [[0, 0.6, 0.4, 0], [0, 0.4, 0.3, 0.3], [0, 0.05, 0.05, 0.9], [0, 0.4, 0.3, 0.3]]
    return {"model": Table(rows), "prompt": torch.tensor([[0]]), "names": [" ", "a", "b", "c"], "beams": n, "steps": 2}


def drafted(n: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = DecoderLM(config(1)).eval()  # which has learned nothing, and repeats
    counting = Table([[float(j == (i + 1) % 20) for j in range(20)] for i in range(20)])
    names = [f"t{i}" for i in range(20)]
    prompt = torch.tensor([[1, 2, 3]])
    others = {"prompt": prompt, "names": names, "lookahead": 2, "max_new_tokens": 4}
    return {"model": model, "draft": [model, counting][n - 1], **others}


DRAWINGS = {
    "fig-draw-beam-search": Case(draw_beam_search, fork, lambda n: [["0.24"], ["0.36", "0.02"]][n - 1]),
    "fig-draw-speculation": Case(
        draw_speculation,
        drafted,
        lambda n: [
            ["4 tokens in 2 passes; 2 of 2 drafted are kept"],
            ["4 tokens in 4 passes; 0 of 3 drafted are kept"],
        ][n - 1],
    ),
}
