"""Which tokens may be written: some never, some at their place in any case, and some end a text.

A model may have tokens that its texts never hold (padding), or that they always begin with (the language to translate
into). Such rules change what can be chosen, and not what the model finds likely.
"""

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.config import require
from transformer_lib.contract import checked


@checked
class Choices:
    """The tokens that may be written, by their number in the text from 0; ids are compared with the vocabulary later.

    `forbidden_ids` are never written; `forced_ids` says of the new token of a number which id it has. Raises
    `ValueError` for an id that is negative, forced and forbidden at once, or forced beyond `max_new_tokens`.
    """

    def __init__(
        self,
        forbidden_ids: Collection[int],
        forced_ids: Mapping[int, int],
        stop_ids: Collection[int],
        max_new_tokens: int | None,
    ) -> None:
        self.forced = dict(forced_ids)
        self.forbidden, self.stops = _whole("forbidden_ids", forbidden_ids), _whole("stop_ids", stop_ids)
        self._index = torch.tensor(self.forbidden, dtype=torch.int64)
        _whole("forced_ids", self.forced.values())
        self.free = not self.forbidden and not self.forced  # whether any token may be written at any place
        for number, token in self.forced.items():
            within = number >= 0 and (max_new_tokens is None or number < max_new_tokens)
            rule = f"must number new tokens from 0 and below max_new_tokens={max_new_tokens}"
            require(within, "forced_ids", rule, number)
            require(token not in self.forbidden, "forced_ids", f"must not be forbidden at number {number}", token)

    def check_vocabulary(self, vocab: int) -> None:
        """`ValueError` unless all ids are below it, and some token of it may be written."""
        for name, ids in (
            ("stop_ids", self.stops),
            ("forbidden_ids", self.forbidden),
            ("forced_ids", self.forced.values()),
        ):
            for token in ids:
                require(token < vocab, name, f"must be at least 0 and below the vocabulary of {vocab}", token)
        left = len(self.forbidden) < vocab
        require(left, "forbidden_ids", f"must leave a token of the vocabulary of {vocab}", self.forbidden)

    def apply(self, scores: Float[Tensor, "*rows vocab"], number: int) -> Float[Tensor, "*rows vocab"]:
        """The scores, logits or their logarithms, with -inf for each token that may not be the new one of this number.

        A forced token scores 0, since it is no choice: its probability is 1. Raises as `check_vocabulary`.
        """
        self.check_vocabulary(scores.shape[-1])
        if number in self.forced:
            only = torch.full_like(scores, -torch.inf)
            only[..., self.forced[number]] = 0.0
            return only
        if not self.forbidden:
            return scores
        self._index = self._index.to(scores.device)
        return scores.index_fill(-1, self._index, -torch.inf)


def _whole(name: str, ids: Collection[int]) -> list[int]:
    for token in ids:
        require(token >= 0, name, "must not be negative", token)
    return sorted(set(ids))
