"""The baseline that a neural language model has to beat: counting, with modified Kneser-Ney smoothing.

An n-gram model predicts a token from the n - 1 before it. Each order k takes a discount off every count and gives the
mass so gained to the next shorter history, down to the uniform distribution over the vocabulary:

    P_k(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + (discounts taken after h) / c(h) * P_{k-1}(w | h'),  P_0 = 1 / V

where h' is h without its oldest token. The longest order counts occurrences. Shorter ones are reached only when longer
ones fail, and count in how many different histories a gram was seen (Kneser and Ney 1995). The discounts D(1), D(2),
D(3 or more) of each order come in closed form from how many grams were seen once, twice, three and four times (Chen
and Goodman 1998), so nothing is tuned by hand and nothing on held-out text.

A stream is read straight through its separators. Texts of equal length can be given as rows, and no gram then reaches
from one row into the next.

Left out: pruning, and any treatment of documents.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.packing import integer_tokens

Ids = NDArray[np.int64]
Probabilities = NDArray[np.float64]
MOST_WORDS = 1 << 24  # of a vocabulary; a gram is numbered by a row, below 2**39, times this


@checked
class NGram:
    """An n-gram model of `order` n, fitted to a stream of tokens in 0..vocab_size-1, or to rows counted apart."""

    def __init__(self, tokens: Int[Tensor, "*rows time"], *, order: int, vocab_size: int) -> None:
        require_positive(order=order, vocab_size=vocab_size)
        require(vocab_size <= MOST_WORDS, "vocab_size", f"must be at most {MOST_WORDS}", vocab_size)
        self.vocab_size = vocab_size
        require(tokens.ndim in (1, 2), "tokens", "must have one dimension, or two", tuple(tokens.shape))
        rows, length = (1, *tokens.shape)[-2:]
        words = self._words(tokens.reshape(-1)).reshape(rows, length)
        require(rows > 0, "tokens", "must have at least one row", rows)
        require(length >= order, "tokens", f"must hold at least order={order} tokens", length)
        tables: list[tuple[Ids, Ids]] = []
        grams = np.zeros((rows, length + 1), dtype=np.int64)  # the empty gram, before every word and after the last
        for k in range(order):
            longer = grams[:, :-1] * vocab_size + words[:, k:]
            keys, first, places, counts = np.unique(
                longer.ravel(), return_index=True, return_inverse=True, return_counts=True
            )
            if tables:  # what was the longest order is not: count the different grams that end with each of its rows
                below = tables[-1][0]
                tables[-1] = below, np.bincount(grams[:, 1:].ravel()[first], minlength=len(below))
            tables.append((keys, counts))
            grams = places.reshape(longer.shape)
        histories = [1] + [len(keys) for keys, _ in tables]
        self._levels = [_Level(*table, size, vocab_size) for table, size in zip(tables, histories, strict=False)]

    def log_probs(self, tokens: Int[Tensor, "time"]) -> Float[Tensor, "next"]:
        """ln P of every token but the first, in nats, given up to n - 1 tokens before it (float64)."""
        words = self._words(tokens)
        require(len(words) >= 2, "tokens", "must hold at least two tokens", len(words))
        p = np.full(len(words), 1 / self.vocab_size)
        for level, histories in zip(self._levels, self._histories(words), strict=True):
            p = level.interpolate(histories[:-1], words, p)
        return torch.from_numpy(np.log(p[1:]))

    def next_probs(self, tokens: Int[Tensor, "time"]) -> Float[Tensor, "vocab"]:
        """The distribution of the token after these, of which there may be none (float64)."""
        every = np.arange(self.vocab_size)
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for level, histories in zip(self._levels, self._histories(self._words(tokens)), strict=True):
            p = level.interpolate(np.full(self.vocab_size, histories[-1]), every, p)
        return torch.from_numpy(p)

    def _histories(self, words: Ids) -> list[Ids]:
        """For each order, the row of the history before each word and after the last; -1 where it was never seen."""
        histories = [np.zeros(len(words) + 1, dtype=np.int64)]
        for level in self._levels[:-1]:
            histories.append(np.append(-1, level.find(histories[-1][:-1], words)))
        return histories

    def _words(self, tokens: Int[Tensor, "time"]) -> Ids:
        words = integer_tokens(tokens, "tokens").cpu().numpy()
        outside = words[(words < 0) | (words >= self.vocab_size)]
        require(len(outside) == 0, "tokens", f"must be in 0..{self.vocab_size - 1}", outside[:1].tolist())
        return words


class _Level:
    """The counts of one order: row i is the gram (row of its history in the order below, word).

    Rows are found by `keys[i] = history * vocab_size + word`, which are sorted. Every array that is read by row has a
    zero at its end, which is what a row of -1 reads.
    """

    def __init__(self, keys: Ids, counts: Ids, histories: int, vocab_size: int) -> None:
        self.keys, self.vocab_size = keys, vocab_size
        taken = _discounts(counts)[np.minimum(counts, 3)]
        self.left = np.append(counts - taken, 0.0)
        rows = keys // vocab_size
        self.total = np.bincount(rows, counts, minlength=histories + 1)
        self.taken = np.bincount(rows, taken, minlength=histories + 1)

    def find(self, histories: Ids, words: Ids) -> Ids:
        """The row of each gram; -1 where it, or its history, was never seen."""
        wanted = histories * self.vocab_size + words
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[rows] == wanted, rows, -1)

    def interpolate(self, histories: Ids, words: Ids, shorter: Probabilities) -> Probabilities:
        """P_k from P_{k-1}; after a history that was never seen, P_{k-1} itself."""
        total = self.total[histories]
        p = (self.left[self.find(histories, words)] + self.taken[histories] * shorter) / np.maximum(total, 1)
        return np.where(total > 0, p, shorter)


def _discounts(counts: Ids) -> Probabilities:
    """D(0) = 0, D(1), D(2), D(3 or more).

    One is added to each count of counts, so that a small table divides by nothing, and D(2) and D(3) are held between
    D(1) and the count, so that some mass always goes to the shorter history.
    """
    n1, n2, n3, n4 = (int((counts == c).sum()) + 1 for c in (1, 2, 3, 4))
    first = n1 / (n1 + 2 * n2)
    second = 2 - 3 * first * n3 / n2
    third = 3 - 4 * first * n4 / n3
    return np.array([0.0, first, np.clip(second, first, 2), np.clip(third, first, 3)])
