"""Shortcuts of translation, against counting by hand and against the dictionary's model as one dense table."""

import numpy as np
import pytest

from transformer_lib.data.examples import Pair
from transformer_lib.tasks.translation_shortcuts import cut_words, cutter, dictionary, memory

PAIRS = [
    Pair("das Haus", "the house"),
    Pair("das Buch", "the book"),
    Pair("ein Buch", "a book"),
    Pair("ein kleines Haus", "a small house"),
]


def test_words_are_cut_off_their_signs() -> None:
    assert cut_words("Don't run, Ada!") == ["don", "'", "t", "run", ",", "ada", "!"]


def test_a_memory_gives_the_nearest_pair() -> None:
    nearest = memory(PAIRS)
    assert nearest("ein Haus") == PAIRS[3]  # two words of three, where the others have one of three
    assert nearest("Das Buch?") == PAIRS[1]
    assert nearest("nichts davon") == PAIRS[0]
    assert nearest("das") == PAIRS[0], "of equals the first"


def dense_table(pairs: list[Pair], rounds: int) -> tuple[list[str], list[str], np.ndarray]:
    """The first model of Brown et al., as their paper writes it: one table over all words, pair by pair."""
    sources = [["", *dict.fromkeys(pair.source.lower().split())] for pair in pairs]
    targets = [pair.target.lower().split() for pair in pairs]
    rows, columns = (sorted({word for words in side for word in words}) for side in (sources, targets))
    table = np.ones((len(rows), len(columns)))
    for _ in range(rounds):
        counts = np.zeros_like(table)
        for source, target in zip(sources, targets, strict=True):
            for word in target:
                column = columns.index(word)
                total = sum(table[rows.index(each), column] for each in source)
                for each in source:
                    counts[rows.index(each), column] += table[rows.index(each), column] / total
        table = counts / counts.sum(1, keepdims=True)
    return rows, columns, table


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_dictionary_is_that_of_a_dense_table(rounds: int) -> None:
    rows, columns, table = dense_table(PAIRS, rounds)
    found = dictionary(PAIRS, rounds=rounds)
    for word, meaning in found.items():
        chances = table[rows.index(word)]
        assert chances[columns.index(meaning)] == pytest.approx(chances.max(), abs=1e-10)
    assert found.keys() == set(rows) - {""}


def test_a_dictionary_finds_what_words_mean() -> None:
    found = dictionary(PAIRS, rounds=20)
    assert {word: found[word] for word in ("das", "buch", "haus")} == {"das": "the", "buch": "book", "haus": "house"}


def test_text_without_spaces_is_cut_into_what_is_frequent() -> None:
    cut = cutter(["大象跑了", "大象走了", "大象"] * 4, 262)
    assert cut("大象跑") == ["大象", "跑"]
    assert "".join(cut("没见过的字")) == "没见过的字"


def test_nothing_to_learn_from_is_refused() -> None:
    for learn in (memory, dictionary):
        with pytest.raises(ValueError, match=r"^train must not be empty"):
            learn([])
    with pytest.raises(ValueError, match=r"^rounds must be a whole number of at least 1"):
        dictionary(PAIRS, rounds=0)
    with pytest.raises(ValueError, match=r"^vocab_size"):
        cutter(["大象"], 3000)
