"""What can be translated without reading: baselines that real sentence pairs hold out to any model.

A translation memory looks for the nearest sentence of training and hands out its translation. A dictionary is learned
from the pairs alone, by the first model of Brown et al. (1993), and puts one word for each, in the source's order.
Left out: phrases, and any order of words.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.text.tokenizer import Tokenizer

WORD = re.compile(r"\w+|[^\w\s]")
Cut = Callable[[str], Sequence[str]]


@checked
def cut_words(text: str) -> list[str]:
    """The words and signs of a text in a script with spaces, in lower case."""
    return WORD.findall(text.lower())


@checked
def cutter(texts: Sequence[str], vocab_size: int) -> Cut:
    """A function that cuts a text without spaces, as Chinese, into pieces that are frequent in `texts`: a small BPE.

    `ValueError` for a vocabulary that the texts are too small for.
    """
    tokenizer = Tokenizer.train(list(texts), vocab_size, ())

    def cut(text: str) -> list[str]:
        # A piece that ends within a character goes on to the next one.
        pieces, held = [], list[int]()
        for token in tokenizer.encode(text):
            held.append(token)
            piece = tokenizer.decode(held)
            if "\ufffd" not in piece:
                pieces.append(piece)
                held = []
        return [piece for piece in pieces if piece.strip()]

    return cut


@checked
def memory(train: Sequence[Pair]) -> Callable[[str], Pair]:
    """A function that finds the training pair whose source shares the largest part of its words with a text.

    The part is that of all words that either of the two has; of equals the first pair counts.
    """
    require(len(train) > 0, "train", "must not be empty", train)
    bags = [set(cut_words(each.source)) for each in train]
    owners: defaultdict[str, list[int]] = defaultdict(list)
    for number, bag in enumerate(bags):
        for word in bag:
            owners[word].append(number)

    def nearest(text: str) -> Pair:
        words = set(cut_words(text))
        shared = Counter(number for word in words for number in owners.get(word, ()))
        # The larger part first, then the earlier pair.
        best = min(shared, key=lambda i: (-shared[i] / (len(words) + len(bags[i]) - shared[i]), i), default=0)
        return train[best]

    return nearest


@checked
def dictionary(train: Sequence[Pair], cut: Cut = cut_words, *, rounds: int = 5) -> dict[str, str]:
    """For each source word the target word that it most likely stands for; none if that is no word at all.

    Expectation maximisation: each target word is shared out among the words of its source by what is believed so far,
    and what a word got is believed next. Each source also has an empty word, which takes what belongs to nobody.
    `cut` cuts the target, and `rounds` is how often.
    """
    require(len(train) > 0, "train", "must not be empty", train)
    require_positive(rounds=rounds)
    sources = [["", *dict.fromkeys(cut_words(each.source))] for each in train]
    targets = [list(cut(each.target)) for each in train]
    known, written = (
        {word: i for i, word in enumerate(dict.fromkeys(w for row in side for w in row))} for side in (sources, targets)
    )
    # One link for each source word with each target word of the same pair; `place` says which target word it shares.
    links, place, count = list[tuple[int, int]](), list[int](), 0
    for source, target in zip(sources, targets, strict=True):
        for word in target:
            links += [(known[each], written[word]) for each in source]
            place += [count] * len(source)
            count += 1
    both, of = torch.tensor(links), torch.tensor(place)
    entries, entry = torch.unique(both[:, 0] * len(written) + both[:, 1], return_inverse=True)
    owner = entries // len(written)
    believed = torch.ones(len(entries), dtype=torch.float64)
    for _ in range(rounds):
        weight = believed[entry]
        part = weight / torch.zeros(count, dtype=torch.float64).index_add_(0, of, weight)[of]
        got = torch.zeros(len(entries), dtype=torch.float64).index_add_(0, entry, part)
        believed = got / torch.zeros(len(known), dtype=torch.float64).index_add_(0, owner, got)[owner]
    return _likeliest(list(known), list(written), entries.tolist(), believed.tolist())


def _likeliest(known: list[str], written: list[str], entries: list[int], believed: list[float]) -> dict[str, str]:
    best: dict[str, tuple[float, str]] = {}
    for entry, share in zip(entries, believed, strict=True):
        source, target = known[entry // len(written)], written[entry % len(written)]
        if source and share > best.get(source, (0.0, ""))[0]:
            best[source] = (share, target)
    return {source: target for source, (_, target) in best.items()}
