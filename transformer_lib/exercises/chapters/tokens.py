"""What `book.check` knows of the exercises of `chapters/tokens.ipynb`."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made

END = "<|end|>"
MERGES = [("r", "e"), ("t", "h"), ("a", "r")]


# Cuts of a word ------------------------------------------------------------------------------------------------------


def _longest_fit(word: str, pieces: Sequence[str]) -> int:
    count, rest = 0, word
    while rest:
        rest = rest[max(n for n in range(1, len(rest) + 1) if rest[:n] in pieces) :]
        count += 1
    return count


def _fewest(word: str, pieces: Sequence[str]) -> int:
    best = [0]
    for end in range(1, len(word) + 1):
        best.append(1 + min(best[start] for start in range(end) if word[start:end] in pieces))
    return best[-1]


def _joined(parts: Sequence[str], pair: tuple[str, str], everywhere: bool) -> list[str]:
    made: list[str] = []
    done = False
    for part in parts:
        if made and (made[-1], part) == pair and not done:
            made[-1] += part
            done = not everywhere
        else:
            made.append(part)
    return made


def _by_rank(word: str, merges: Sequence[tuple[str, str]]) -> list[str]:
    parts = list(word)
    for pair in merges:
        parts = _joined(parts, pair, everywhere=True)
    return parts


def _from_the_left(word: str, merges: Sequence[tuple[str, str]]) -> list[str]:
    parts, known = list(word), set(merges)
    while pair := next((pair for pair in pairwise(parts) if pair in known), None):
        parts = _joined(parts, pair, everywhere=False)
    return parts


def _merges(answer: Any) -> list[tuple[str, str]]:
    return [(left, right) for left, right in answer[1]]


# Cuts at random ------------------------------------------------------------------------------------------------------

P = dict.fromkeys("sing", 0.1) | {"in": 0.15, "ing": 0.2, "sing": 0.25}


def _ends(word: str, p: Mapping[str, float], end: int) -> list[float]:
    """The probability of all ways to write the first letters, up to each place before the end."""
    before = [1.0]
    for j in range(1, end):
        before.append(sum(before[i] * p.get(word[i:j], 0) for i in range(j)))
    return before


def _draw_cut(word: str, p: Mapping[str, float], draw: random.Random, own: bool = True) -> list[str]:
    parts: list[str] = []
    end = len(word)
    while end:
        before = _ends(word, p, end)
        pieces = [word[i:end] for i in range(end)]
        weights = [w * (p.get(piece, 0) if own else piece in p) for w, piece in zip(before, pieces, strict=True)]
        [start] = draw.choices(range(end), weights)
        parts, end = [word[start:end], *parts], start
    return parts


def _draw_from_the_left(word: str, p: Mapping[str, float], draw: random.Random) -> list[str]:
    parts: list[str] = []
    start = 0
    while start < len(word):
        ends = range(start + 1, len(word) + 1)
        [end] = draw.choices(ends, [p.get(word[start:end], 0) for end in ends])
        parts, start = [*parts, word[start:end]], end
    return parts


def _draw_of_equals(word: str, p: Mapping[str, float], draw: random.Random) -> list[str]:
    return draw.choice([["sing"], ["s", "ing"], ["s", "in", "g"], ["s", "i", "n", "g"]])


def _shares(function: Callable[..., Any], times: int = 4000) -> dict[str, float]:
    draw = random.Random(0)
    found = Counter(" ".join(function("sing", dict(P), draw)) for _ in range(times))
    return {cut: found[cut] / times for cut in ("sing", "s ing", "s in g", "s i n g")}


EXERCISES: dict[str, Exercise] = {
    "ex-tok-merges": Made(
        laws={
            "Give two lists: the three pieces that the merges make, and the pieces of *ananas*.": lambda answer: (
                len(answer) == 2 and len(answer[0]) == 3
            ),
            "The first merge is that of the most frequent pair: `a` `n` stands twice in each of the three words.": (
                lambda answer: answer[0][0] == "an"
            ),
            "Now `b` `an` and `an` `a` are both there three times. The piece `an` was added at the *end* of the "
            "vocabulary, so it comes after `b`.": lambda answer: answer[0][1] == "ban",
            "Now the most frequent pair is `an` `a`: *banana* ends with it, and *bandana* too.": (
                lambda answer: answer[0][2] == "ana"
            ),
            "Replay the merges in order: `an` twice, and then `an` with the `a` behind it.": lambda answer: (
                list(answer[1]) == ["an", "ana", "s"]
            ),
        },
        example=lambda: (["an", "ban", "ana"], ["an", "ana", "s"]),
        wrong=lambda: [
            ["an", "ban", "ana"],
            (["na", "an", "ban"], ["an", "ana", "s"]),
            (["an", "ana", "ban"], ["an", "ana", "s"]),
            (["an", "ban", "anan"], ["an", "ana", "s"]),
            (["an", "ban", "ana"], ["ana", "n", "a", "s"]),
        ],
        why="Of equals the older piece wins, and replaying keeps the order.",
    ),
    "ex-tok-longest": Made(
        laws={
            "Give a word and a list of pieces.": lambda answer: len(answer) == 2 and isinstance(answer[0], str),
            "The vocabulary must have every letter of the word.": lambda answer: set(answer[0]) <= set(answer[1]),
            "The word is a piece itself, so the longest fit takes it whole.": lambda answer: answer[0] not in answer[1],
            "The longest fit needs no more than necessary. Let a long first piece leave a rest that fits nothing.": (
                lambda answer: _longest_fit(*answer) > _fewest(*answer)
            ),
        },
        example=lambda: ("singer", ["sin", "sing", "ger", *"singer"]),
        wrong=lambda: [
            "singer",
            ("singer", ["sin", "sing", "ger"]),
            ("singer", ["singer", "sin", *"singer"]),
            ("singer", ["sing", "er", *"singer"]),
        ],
        why="What is greedy cannot know what the rest will cost.",
    ),
    "ex-tok-order": Made(
        laws={
            "Give a word and the list of merges, each a pair.": lambda answer: (
                isinstance(answer[0], str) and len(_merges(answer)) > 0
            ),
            "In a word of one or two letters no two merges want the same letter.": lambda answer: len(answer[0]) > 2,
            "None of its pairs of letters is in the list, so nothing is joined at all.": lambda answer: any(
                pair in _merges(answer) for pair in pairwise(answer[0])
            ),
            "Both cut this word alike. Look for a letter that two merges want, the later of them on its left.": (
                lambda answer: _by_rank(answer[0], _merges(answer)) != _from_the_left(answer[0], _merges(answer))
            ),
        },
        example=lambda: ("are", MERGES),
        wrong=lambda: [("re", MERGES), ("xyz", MERGES), ("the", MERGES)],
        why="The rank of a merge decides who gets a letter that two pairs want.",
    ),
    "ex-tok-predict": Made(
        laws={
            "The smallest is the text that repeats itself most, in the vocabulary that was learned from it.": (
                lambda answer: tuple(answer[1]) == ("code", "code")
            ),
            "A text in its own vocabulary cannot be the longest: of the four, the longest is cut by the other one.": (
                lambda answer: answer[0][0] != answer[0][1]
            ),
            "It is close, by a single token. Code in the vocabulary of English finds hardly any of its pairs there.": (
                lambda answer: tuple(answer[0]) == ("code", "English")
            ),
            "With which of the two does German share pairs of letters?": lambda answer: answer[2] == "English",
        },
        example=lambda: [("code", "English"), ("code", "code"), "English"],
        wrong=lambda: [
            [("code", "English"), ("English", "English"), "English"],
            [("English", "English"), ("code", "code"), "English"],
            [("English", "code"), ("code", "code"), "English"],
            [("code", "English"), ("code", "code"), "code"],
        ],
        why="A vocabulary needs text: what is learned from one page is that page.",
    ),
    "ex-tok-sample": Made(
        laws={
            "The pieces that are drawn must make the word when they are joined.": lambda function: all(
                "".join(function("sing", dict(P), random.Random(seed))) == "sing" for seed in range(20)
            ),
            "It is always the same cut. The others have to come out as well, only more rarely.": lambda function: (
                sum(share > 0 for share in _shares(function, 400).values()) > 1
            ),
            "All cuts come out about equally often. Each has its own probability, the product of its pieces'.": (
                lambda function: _shares(function)["s i n g"] < 0.1
            ),
            "`sing` comes out too rarely. Who goes from the left and draws by the probability of a piece alone, "
            "forgets that some beginnings have no good end.": lambda function: _shares(function)["sing"] > 0.85,
            "Nearly: a last piece must be drawn in proportion to `before[i]` *times* the probability of the piece.": (
                lambda function: abs(_shares(function)["sing"] - 0.25 / 0.2716) < 0.017
            ),
        },
        example=lambda: _draw_cut,
        wrong=lambda: [
            lambda word, p, draw: _draw_cut(word, p, draw)[:-1],
            lambda word, p, draw: ["sing"],
            _draw_of_equals,
            _draw_from_the_left,
            lambda word, p, draw: _draw_cut(word, p, draw, own=False),
        ],
        why="No cut was listed, so a long word costs no more than its pieces.",
    ),
    "ex-tok-inject": Made(
        laws={
            "Give two texts, the one that gets through and the one that is harmed.": lambda texts: (
                len(texts) == 2 and all(isinstance(text, str) for text in texts)
            ),
            "The first has no `<|end|>` left when it has been cleaned. What if taking one away makes another?": (
                lambda texts: END in texts[0].replace(END, "")
            ),
            "The second is not changed at all. A harmless text that *speaks* of the token would be.": lambda texts: (
                END in texts[1]
            ),
            "The second becomes dangerous by the cleaning. Take one that only loses its subject.": lambda texts: (
                END not in texts[1].replace(END, "")
            ),
        },
        example=lambda: ("<|e<|end|>nd|>", "The token <|end|> ends a document."),
        wrong=lambda: [
            "<|e<|end|>nd|>",
            ("<|end|><|end|>", "The token <|end|> ends a document."),
            ("<|e<|end|>nd|>", "The end of a document."),
            ("<|e<|end|>nd|>", "<|e<|end|>nd|>"),
        ],
        why="Encoding as text needs no list, and changes nothing.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-tok-beat": "it asks for a tokeniser of one's own, measured on files that differ from Python to Python",
}
