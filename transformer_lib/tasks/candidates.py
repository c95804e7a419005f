"""Translations with what the model thinks of them: the best few of a beam search, each with its log-probability.

A byte-level model can write bytes that are no character, which every reader shows as U+FFFD. No translation holds one,
unless its source does: those that would stand behind the others, and what is left of them is given without it.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.generation.beam import Beams

REPLACEMENT = "\ufffd"
LENGTH_STEP = 16  # sentences are decoded with others whose length rounds up to the same multiple


@checked
class Translation(NamedTuple):
    """A translation, the logarithm of its probability given the source, and its number of tokens, the end included.

    The logarithm is the natural one, and is that of just these tokens; the text may have other spellings in tokens. A
    source without words has the translation "", of no token and log-probability 0.
    """

    text: str
    log_prob: float
    tokens: int

    @property
    def per_token(self) -> float:
        """The mean log-probability of its tokens: 0 is certain, -0.7 is one in two."""
        return self.log_prob / max(self.tokens, 1)


NOTHING = Translation("", 0.0, 0)


@checked
def best_of(
    beams: Beams, sources: Sequence[str], spell: Callable[[list[int]], str], *, n_best: int
) -> list[list[Translation]]:
    """Up to `n_best` different translations of each source, best first; `spell` makes the text of ids."""
    require_positive(n_best=n_best)
    beams = Beams(*beams)
    require(len(sources) == len(beams.tokens), "sources", f"must be {len(beams.tokens)} in number", len(sources))
    results = []
    for row, source in enumerate(sources):
        whole, broken = list[Translation](), list[Translation]()
        for ids, length, log_prob in zip(
            beams.tokens[row].tolist(), beams.lengths[row].tolist(), beams.log_probs[row].tolist(), strict=True
        ):
            if length:
                text = spell(ids[:length])
                lost = REPLACEMENT in text and REPLACEMENT not in source
                found = Translation(text.replace(REPLACEMENT, "") if lost else text, log_prob, length)
                (broken if lost else whole).append(found)
        different: dict[str, Translation] = {}
        for found in (*whole, *broken):
            different.setdefault(found.text, found)
        results.append(list(different.values())[:n_best])
    return results


@checked
def check_count(n_best: int, beams: int) -> None:
    """`ValueError` unless so many texts can be asked of so many beams."""
    require_positive(beams=beams, n_best=n_best)
    require(n_best <= beams, "n_best", f"must be at most the number of beams, {beams}", n_best)


@checked
def together(lengths: list[int], batch: int) -> list[tuple[int, list[int]]]:
    """The most tokens to write, and the numbers of up to `batch` sentences that are decoded together.

    The most depends on a sentence's own length alone: whom it shares a batch with must change nothing.
    """
    require_positive(batch=batch)
    groups = []
    order = sorted((i for i, length in enumerate(lengths) if length), key=lengths.__getitem__)
    for steps, group in groupby(order, key=lambda i: -(-lengths[i] // LENGTH_STEP)):
        rows = list(group)
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        groups += [(2 * steps * LENGTH_STEP + LENGTH_STEP, part) for part in parts]
    return groups
