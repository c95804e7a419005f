"""The reader against its parts, the span search against all spans, thresholds against trying every one."""

import dataclasses
import itertools
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import CONFIG, close, normal, randomise, rejects, unchecked
from transformer_lib.data.examples import Answer, Question
from transformer_lib.models.heads import SpanScores
from transformer_lib.tasks.question_answering import (
    AnswerFound,
    QuestionAnswerer,
    Reader,
    best_span,
    best_threshold,
    reading_batches,
    reading_loss,
    score_answers,
)
from transformer_lib.tasks.reading import SPECIAL_TOKENS, Layout, ReadingBatch
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import TrainConfig, train

TOKENIZER = Tokenizer.from_bpe(BPE([], SPECIAL_TOKENS))
SMALL = dataclasses.replace(CONFIG, vocab_size=258, max_length=64)
PASSAGE = "Anna lives in Oslo. Boris lives in Rome."
QUESTIONS = [
    Question("1", PASSAGE, "Where does Anna live?", (Answer("Oslo", 14),)),
    Question("2", PASSAGE, "Where does Clara live?", ()),
    Question("3", "安娜住在奥斯陆。", "安娜住在哪里", (Answer("奥斯陆", 4),)),
]


def answerer(segments: int = 3, **settings: object) -> QuestionAnswerer:
    torch.manual_seed(0)
    reader = randomise(Reader(dataclasses.replace(SMALL, segments=segments)))
    return QuestionAnswerer(reader, TOKENIZER, **settings)  # type: ignore[arg-type]


@given(
    numbers=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=12),
    hidden=st.sets(st.integers(0, 11)),
    longest=st.integers(1, 14),
)
def test_the_best_span_is_that_of_trying_all(numbers: list[tuple[int, int]], hidden: set[int], longest: int) -> None:
    start, end = torch.tensor(numbers, dtype=torch.float64).T
    for i in hidden & set(range(len(numbers))):
        start[i] = end[i] = -torch.inf
    every = {
        (i, j): float(start[i] + end[j])
        for i, j in itertools.product(range(len(numbers)), repeat=2)
        if i <= j < i + longest
    }
    found = best_span(SpanScores(start[None], end[None]), longest)
    assert found.score.item() == max(every.values())
    assert every[int(found.start), int(found.end)] == found.score.item()


def test_the_best_span_of_each_row_is_its_own() -> None:
    scores = SpanScores(normal(5, 30, seed=1), normal(5, 30, seed=2))
    rows = [best_span(SpanScores(scores.start[i : i + 1], scores.end[i : i + 1]), 7) for i in range(5)]
    for part, whole in zip(zip(*rows, strict=True), best_span(scores, 7), strict=True):
        assert torch.equal(torch.cat(part), whole)
    with rejects("max_answer", "at least 1", "0"):
        best_span(scores, 0)


@pytest.mark.parametrize("segments", [0, 2, 3])
def test_the_reader_is_its_encoder_and_head_and_points_only_where_it_may(segments: int) -> None:
    reader = answerer(segments).reader
    layout = Layout(TOKENIZER, max_length=70)
    batch = layout.collate(layout.examples(QUESTIONS))
    shown = {0: None, 2: (batch.segments > 0).long(), 3: batch.segments}[segments]
    raw = reader.head(reader.encoder(batch.tokens, valid=batch.valid, segments=shown))
    for found, free in zip(reader(batch), raw, strict=True):
        allowed = batch.segments > 0
        allowed[:, 0] = True
        assert torch.all(found[~allowed] == -torch.inf)
        close(found[allowed], free[allowed])


def test_the_loss_is_torchs_cross_entropy_of_start_and_end() -> None:
    reader = answerer().reader
    layout = Layout(TOKENIZER, max_length=70)
    batch = layout.collate(layout.examples(QUESTIONS))
    loss = reading_loss(reader, batch)
    start, end = reader(batch)
    expected = F.cross_entropy(start, batch.targets[:, 0], reduction="sum")
    close(loss.total, expected + F.cross_entropy(end, batch.targets[:, 1], reduction="sum"))
    assert loss.count == 2 * len(batch.tokens)
    loss.total.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in reader.parameters())


def by_hand(found: QuestionAnswerer, question: str, passage: str) -> tuple[float, int, int]:
    """The best margin over all windows and spans, by trying them, with its characters."""
    pieces = found.layout.pieces(passage)
    best = (-torch.inf, 0, 0)
    for window in found.layout.windows(question, pieces):
        tokens = torch.tensor([window.tokens])
        asked = set(window.tokens[: window.body])
        segments = [0] * window.body + [2 if i in asked else 1 for i in window.tokens[window.body :]]
        x = found.reader.encoder(tokens, segments=torch.tensor([segments]))
        start, end = (side.detach() for side in found.reader.head(x))
        for i in range(window.body, len(window.tokens)):
            for j in range(i, min(i + found.max_answer, len(window.tokens))):
                margin = float(start[0, i] + end[0, j] - start[0, 0] - end[0, 0])
                shift = window.first - window.body
                best = max(best, (margin, *pieces.characters(i + shift, j + shift)))
    return best


def test_the_best_answer_is_that_of_trying_all_windows_and_spans() -> None:
    found = answerer(max_answer=5)
    pairs = [(q.question, q.context * times) for q in QUESTIONS for times in (1, 3)]
    for budget in (1, 100, 8192):
        for (question, passage), best in zip(pairs, found.best(pairs, token_budget=budget), strict=True):
            margin, start, end = by_hand(found, question, passage)
            assert best.score == pytest.approx(margin, abs=1e-10)
            assert (best.start, best.end, best.text) == (start, end, passage[start:end])


def test_dropout_is_off_when_answering_and_back_on_afterwards() -> None:
    torch.manual_seed(0)
    reader = Reader(dataclasses.replace(SMALL, dropout=0.5, segments=3))
    found = QuestionAnswerer(reader.train(), TOKENIZER)
    pairs = [(q.question, q.context) for q in QUESTIONS]
    assert found.best(pairs) == found.best(pairs) and reader.training
    reader.eval()
    found.best(pairs)
    assert not reader.training


def test_of_several_passages_the_best_is_taken_or_none() -> None:
    found = answerer()
    passages = [PASSAGE, "Clara lives in Riga.", "安娜住在奥斯陆。"]
    single = [found.best([("Who lives in Riga?", passage)])[0] for passage in passages]
    number = max(range(3), key=lambda i: single[i].score)
    low = dataclasses.replace(found, threshold=min(s.score for s in single) - 1)
    high = dataclasses.replace(found, threshold=single[number].score + 1e-9)
    for retrieve, expected in ((None, number), (1, 1)):  # the second passage shares most words
        answer = low("Who lives in Riga?", passages, retrieve=retrieve)
        assert (answer.passage, answer.start, answer.text) == (expected, single[expected].start, single[expected].text)
        assert answer.score == pytest.approx(single[expected].score, abs=1e-10)
    none = high("Who lives in Riga?", passages)
    assert none.abstained and none[:1] + none[2:] == ("", None, 0, 0, None)
    assert none.score == pytest.approx(single[number].score, abs=1e-10)


def test_a_reader_learns_and_its_answerer_comes_back_from_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader = Reader(dataclasses.replace(SMALL, segments=3, max_length=70))
    layout = Layout(TOKENIZER, max_length=70)
    batches = reading_batches(layout, QUESTIONS, token_budget=400, seed=0)
    train(reader, reading_loss, batches, TrainConfig(steps=60, learning_rate=constant, progress=False))
    found = QuestionAnswerer(reader, TOKENIZER, max_answer=12).with_threshold_from(QUESTIONS)
    result = found.evaluate(QUESTIONS)
    assert result["all"] == {"questions": 3, "exact_match": 100.0, "f1": 100.0}
    assert result["answered"] == pytest.approx(200 / 3)
    answers = found.answer_all(QUESTIONS)
    assert [a.text for a in answers] == ["Oslo", "", "奥斯陆"]
    found.save(tmp_path / "a", record={"all": 100.0})
    loaded = QuestionAnswerer.load(tmp_path / "a")
    assert loaded.answer_all(QUESTIONS) == answers
    assert dataclasses.replace(loaded, reader=reader) == dataclasses.replace(found, tokenizer=loaded.tokenizer)


def constant(step: int) -> float:
    return 3e-3


@given(pairs=st.lists(st.tuples(st.integers(-4, 4), st.sampled_from([-1.0, 0.0, 0.5, 1.0])), min_size=1, max_size=12))
def test_the_threshold_is_the_best_of_all(pairs: list[tuple[int, float]]) -> None:
    scores, gains = [float(s) for s, _ in pairs], [g for _, g in pairs]

    def worth(threshold: float) -> float:
        return sum(gain for at, gain in zip(scores, gains, strict=True) if at > threshold)

    tried = {t: worth(t) for t in [x / 4 for x in range(-24, 25)]}
    found = best_threshold(scores, gains)
    assert worth(found) == max(tried.values())
    assert all(worth(t) < worth(found) for t in tried if t > found and worth(t) != worth(found))


@unchecked()
def test_the_threshold_takes_the_f1_of_the_validation_questions() -> None:
    found = answerer()
    rng = random.Random(0)
    pool = [q._replace(question=rng.choice("abcdefg") + q.question) for q in QUESTIONS * 6]
    chosen = found.with_threshold_from(pool)
    best = chosen.evaluate(pool)["all"]["f1"]
    for other in (a.score for a in found.best([(q.question, q.context) for q in pool])):
        tried = dataclasses.replace(found, threshold=other).evaluate(pool)["all"]["f1"]
        assert tried <= best + 1e-9


def test_scores_by_hand() -> None:
    result = score_answers(["the Oslo!", "", "罗马"], QUESTIONS)
    assert result["all"]["exact_match"] == pytest.approx(200 / 3)
    assert result["answerable"] == {"questions": 2, "exact_match": 50.0, "f1": 50.0}
    assert result["unanswerable"] == {"questions": 1, "exact_match": 100.0, "f1": 100.0}
    assert result["answered"] == pytest.approx(200 / 3)
    chinese = score_answers(["奥斯"], QUESTIONS[2:], language="zh")
    assert chinese["answerable"]["f1"] == pytest.approx(100 * 2 * 2 / 5) and "unanswerable" not in chinese


@pytest.mark.parametrize("text", ["🙂🙂", "𐎀𐎁 𐎂", "Ω ≠ ∅", "\x00\x01", "a\r\nb\tc"])
def test_unknown_scripts_are_read_as_bytes(text: str) -> None:
    found = dataclasses.replace(answerer(), threshold=-1e9)(text[:4], [text, text * 20])
    assert found.text in text * 20
    assert found.abstained == (found.text == "")


def test_white_space_is_no_answer() -> None:
    assert answerer(threshold=-9.0)._decide(AnswerFound("", 5.0, 0, 3, 3)).abstained


def test_bad_input() -> None:
    found = answerer()
    for question in ("", "  "):
        with rejects("question must not be empty"):
            found(question, [PASSAGE])
    with rejects("passage must not be empty"):
        found("Who?", [PASSAGE, ""])
    with rejects("passages", "empty"):
        found("Who?", [])
    with pytest.raises(TypeError, match="passages must be a list of strings"):
        found("Who?", PASSAGE)
    with rejects("question must leave half of max_length=64"):
        found("Who? " * 9, [PASSAGE])
    assert found.unreadable(["Who?", "", "Who? " * 9, "\ud800", " "]) == {
        1: "must not be empty, got ''",
        2: f"must leave half of max_length=64 to the passage, got {'Who? ' * 9!r}",
        3: "must not hold a lone surrogate, got '\\ud800' at index 0",
        4: "must not be empty, got ' '",
    }
    with rejects("answers", "passage"):
        reading_batches(found.layout, [QUESTIONS[0]._replace(context="No such town.")], token_budget=99, seed=0)
    with rejects("questions", "empty"):
        found.evaluate([])
    with rejects("questions", "empty"):
        found.with_threshold_from([])
    with rejects("predicted", "1", "0"):
        score_answers([], QUESTIONS[:1])
    with rejects("language", "fr"):
        dataclasses.replace(found, language="fr")  # type: ignore[arg-type]
    with rejects("max_answer", "0"):
        dataclasses.replace(found, max_answer=0)
    with rejects("tokenizer", "258", "257"):
        dataclasses.replace(found, tokenizer=Tokenizer.from_bpe(BPE([], SPECIAL_TOKENS[:1])))


def test_loading_something_else(tmp_path: Path) -> None:
    from transformer_lib.tasks.saved import save_model

    found = answerer()
    save_model(tmp_path / "other", found.reader, TOKENIZER, task="translation", about={})
    with rejects("task", "question answering", "translation"):
        QuestionAnswerer.load(tmp_path / "other")
    save_model(tmp_path / "bare", found.reader, TOKENIZER, task="question answering", about={})
    with rejects("fields", "threshold"):
        QuestionAnswerer.load(tmp_path / "bare")


def test_a_batch_holds_every_window_once() -> None:
    layout = Layout(TOKENIZER, max_length=64)
    questions = [q._replace(context=q.context + " More." * 20) for q in QUESTIONS]
    batches: list[ReadingBatch] = list(reading_batches(layout, questions, token_budget=100, seed=0, epochs=1))
    assert all(batch.tokens.numel() <= 100 for batch in batches)
    assert sum(len(batch.tokens) for batch in batches) == len(layout.examples(questions))


def test_the_longest_span_by_hand() -> None:
    """The first start and the last end are the best, but four tokens apart; of three tokens, 1 + 9 is."""
    start, end = torch.tensor([[5.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 1.0, 9.0]])
    expected = {1: (3, 3, 9.0), 2: (2, 3, 9.0), 3: (1, 3, 10.0), 4: (0, 3, 14.0), 5: (0, 3, 14.0)}
    for longest, (first, last, score) in expected.items():
        found = best_span(SpanScores(start, end), longest)
        assert (int(found.end), float(found.score)) == (last, score), longest
        assert longest < 3 or int(found.start) == first  # with 1 and 2 two starts are equally good


def test_of_equally_good_thresholds_the_highest_is_taken() -> None:
    """One above the first score, midway between two, or one below the last."""
    assert best_threshold([1.0, 3.0, 2.0], [0.0, 0.0, 0.0]) == 4.0
    assert best_threshold([1.0, 3.0, 2.0], [0.0, 1.0, 0.0]) == 2.5
    assert best_threshold([1.0, 3.0, 2.0], [1.0, -1.0, 1.0]) == 0.0
