"""BM25 against a plain computation from its formula; dense vectors against a loop over tokens."""

import math
import unicodedata

import pytest
import torch

from tests.oracles import CONFIG, close, integers, randomise, rejects
from transformer_lib.models import Encoder
from transformer_lib.tasks.retrieval import (
    BM25,
    DenseIndex,
    mean_reciprocal_rank,
    mean_vectors,
    ranked,
    recall_at,
    words,
)

PASSAGES = [
    "The red lamp stands in the attic.",
    "Anna bought a lamp, a lamp and another lamp in Bremen.",
    "Boris lives in Bremen. He was born in 1950, and he married in 1980.",
    "中国的首都是北京。",
    "...",
]
QUESTIONS = ["Where is the lamp?", "Who lives in Bremen? In Bremen!", "北京在哪里", "Nobody knows", ""]


def plain_bm25(question: str, passages: list[str], k1: float, b: float) -> list[float]:
    split = [words(passage) for passage in passages]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for passage in split:
        score = 0.0
        for word in words(question):
            holding = sum(word in other for other in split)
            idf = math.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
            often = passage.count(word)
            score += idf * often * (k1 + 1) / (often + k1 * (1 - b + b * len(passage) / mean)) if often else 0.0
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.5), (2.0, 0.0), (0.5, 1.0)])
@pytest.mark.parametrize("question", QUESTIONS)
def test_bm25_is_its_formula(question: str, k1: float, b: float) -> None:
    expected = torch.tensor(plain_bm25(question, PASSAGES, k1, b), dtype=torch.float64)
    close(BM25(PASSAGES, k1=k1, b=b).scores(question), expected)


def test_words() -> None:
    assert words("It's 3 o'clock, Zoë_B!") == ["it", "s", "3", "o", "clock", "zoë", "b"]
    assert words("中国 China的") == ["中", "国", "china", "的"]
    assert words("?!…") == []


def test_the_spelling_of_an_accent_changes_no_score() -> None:
    """The passage says it with combining marks, as files from some systems do, and the question does not, or both."""
    passages = ["Café Zoë", "दिल्ली भारत की राजधानी है", "The red lamp"]
    composed, decomposed = ([unicodedata.normalize(form, text) for text in passages] for form in ("NFC", "NFD"))
    assert composed != decomposed
    for question in (*composed, *decomposed, "CAFÉ", "zoe\u0308"):
        scores = BM25(composed).scores(question)
        assert torch.equal(BM25(decomposed).scores(question), scores) and scores.max() > 0
    # Two words in one of two passages, of 2 and 3 words: 2 ln(2) 2.2 / (1 + 1.2 (0.25 + 0.75 * 2 / 2.5)).
    close(BM25(decomposed[::2]).scores("Café Zoë")[0], torch.tensor(2 * math.log(2) * 2.2 / 2.02, dtype=torch.float64))


def test_passages_without_words_score_nothing() -> None:
    assert BM25(["...", "!"]).scores("Who?").tolist() == [0.0, 0.0]


def test_mean_vectors_are_the_means_of_each_text_alone() -> None:
    encoder = randomise(Encoder(CONFIG))
    texts = [integers(13, length, seed=length).tolist() for length in (5, 1, 24, 7)]
    texts += [[], integers(13, 40).tolist()]
    found = mean_vectors(encoder, texts, token_budget=30)
    for vector, text in zip(found, texts, strict=True):
        tokens = torch.tensor([text[: CONFIG.max_length]])
        close(vector, encoder(tokens)[0].mean(dim=0) if text else torch.zeros_like(vector))
    assert mean_vectors(encoder, []).shape == (0, CONFIG.d_model)


def test_a_dense_index_gives_cosines() -> None:
    table = {"a": [3.0, 4.0], "b": [0.0, 2.0], "c": [-1.0, 0.0], "q": [1.0, 0.0], "": [0.0, 0.0]}
    index = DenseIndex(["a", "b", "c", ""], lambda texts: torch.tensor([table[text] for text in texts]))
    close(index.scores("q"), torch.tensor([0.6, 0.0, -1.0, 0.0]))
    close(index.scores(""), torch.zeros(4))


def test_ranked_prefers_the_earlier_of_equals() -> None:
    scores = torch.tensor([1.0, 3.0, 1.0, 3.0])
    assert ranked(scores) == [1, 3, 0, 2]
    assert ranked(scores, 3) == [1, 3, 0]


def test_recall_and_reciprocal_rank_by_hand() -> None:
    rankings, relevant = [[2, 0, 1], [1, 2, 0], [0, 1, 2]], [0, 1, 2]
    assert recall_at(1, rankings, relevant) == pytest.approx(1 / 3)
    assert recall_at(2, rankings, relevant) == pytest.approx(2 / 3)
    assert recall_at(9, rankings, relevant) == 1
    assert mean_reciprocal_rank(rankings, relevant) == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert mean_reciprocal_rank([[1], [0]], [0, 0]) == 0.5


def test_bad_input() -> None:
    with rejects("passages", "empty"):
        BM25([])
    for k1 in (-1.0, 1e308, math.inf):
        with rejects("k1", "from 0 to 1e12", str(k1)):
            BM25(["a"], k1=k1)
    with pytest.raises(TypeError, match="passages must be a list of strings, got 'abc'"):
        BM25("abc")
    for vectors in (torch.zeros(2, 3), torch.zeros(1), torch.ones(1, 3, dtype=torch.int64)):
        with rejects("embed", "must give 1 vectors"):
            DenseIndex(["a"], lambda texts, vectors=vectors: vectors)
    with pytest.raises(TypeError, match="embed must be a function that gives a tensor"):
        DenseIndex(["a"], lambda texts: [[1.0]])
    with rejects("b", "from 0 to 1", "1.5"):
        BM25(["a"], b=1.5)
    with rejects("passages", "empty"):
        DenseIndex([], lambda texts: torch.zeros(0, 1))
    with rejects("k must", "0"):
        ranked(torch.zeros(3), 0)
    with rejects("rankings", "2", "1"):
        recall_at(1, [[0]], [0, 1])
    with rejects("relevant", "empty"):
        mean_reciprocal_rank([], [])


def test_a_score_with_the_default_settings_by_hand() -> None:
    """k1 = 1.2 and b = 0.75: the word stands twice in a passage of two words, where the mean is one and a half."""
    found = BM25(["lamp lamp", "sun"]).scores("lamp")
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    length = 1 - 0.75 + 0.75 * 2 / 1.5
    close(found, torch.tensor([idf * 2 * 2.2 / (2 + 1.2 * length), 0.0], dtype=torch.float64))
