"""Beam search against a search in plain Python without a cache, against all texts there are, and against greedy."""

import itertools
import math
from functools import partial
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import CONFIG, integers, randomise, rejects
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.generation import Conditioned, beam_search, generate, pad_left
from transformer_lib.generation import beam as searching
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.kept_slots import keep_slots

MODEL = randomise(DecoderLM(CONFIG))
TRANSLATOR = randomise(Seq2Seq(Seq2SeqConfig(encoder=CONFIG, decoder=CONFIG)))
SOURCE, SOURCE_VALID = integers(13, 3, 6, seed=5), torch.arange(6) < torch.tensor([[6], [2], [4]])
Text = tuple[int, ...]


def next_log_probs(prompt: list[int], texts: list[Text]) -> list[list[float]]:
    return MODEL(torch.tensor([[*prompt, *text] for text in texts]))[:, -1].log_softmax(-1).tolist()


def plain_search(prompt: list[int], beams: int, new: int, stops: set[int], penalty: float) -> list[tuple[Text, float]]:
    """The definition, one text at a time: the best closed texts with their scores, best first."""
    opened: list[tuple[Text, float]] = [((), 0.0)]
    closed: list[tuple[Text, float]] = []
    for _ in range(new):
        steps = next_log_probs(prompt, [text for text, _ in opened])
        longer = [
            ((*text, token), total + step)
            for (text, total), row in zip(opened, steps, strict=True)
            for token, step in enumerate(row)
        ]
        longer.sort(key=lambda item: -item[1])
        closed += [(text, total) for text, total in longer[:beams] if text[-1] in stops]
        opened = [(text, total) for text, total in longer if text[-1] not in stops][:beams]
        if len(closed) >= beams:
            break
    else:
        closed += opened
    scored = [(text, total / len(text) ** penalty) for text, total in closed]
    return sorted(scored, key=lambda item: -item[1])[:beams]


def assert_plain_search(rows: list[list[int]], beams: int, new: int, stops: set[int], penalty: float) -> None:
    prompts, valid = pad_left(rows)
    settings = {"beams": beams, "max_new_tokens": new, "stop_ids": stops, "length_penalty": penalty}
    found = beam_search(MODEL, prompts, valid=valid, **settings)
    for index, row in enumerate(rows):
        expected = plain_search(row, beams, new, stops, penalty)
        texts = [tuple(t[:n].tolist()) for t, n in zip(found.tokens[index], found.lengths[index], strict=True)]
        assert texts == [text for text, _ in expected]
        scores = torch.tensor([score for _, score in expected], dtype=torch.float64)
        totals = scores * found.lengths[index].double() ** penalty
        torch.testing.assert_close(found.scores[index], scores, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.log_probs[index], totals, rtol=0, atol=1e-9)


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sets(st.integers(0, 12), max_size=3),
    st.sampled_from([0.0, 0.6, 1.0]),
)
def test_it_is_the_plain_search(rows: list[list[int]], beams: int, new: int, stops: set[int], penalty: float) -> None:
    assert_plain_search(rows, beams, new, stops, penalty)


@pytest.mark.parametrize("beams", [2, 4])
def test_texts_that_close_at_once_leave_their_places_to_others(beams: int) -> None:
    for token in range(13):
        (first,) = next_log_probs([token], [()])
        likely = torch.tensor(first).argsort(descending=True).tolist()
        assert_plain_search([[token]], beams, 5, set(likely[1:3]), 1.0)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_with_as_many_beams_as_tokens_nothing_is_missed_over_two_steps(penalty: float) -> None:
    (first,) = next_log_probs([3, 1], [()])
    second = next_log_probs([3, 1], [(a,) for a in range(13)])
    everything = {(0,): first[0]} | {
        (a, b): first[a] + second[a][b] for a, b in itertools.product(range(1, 13), range(13))
    }
    scores = {text: total / len(text) ** penalty for text, total in everything.items()}
    found = beam_search(MODEL, torch.tensor([[3, 1]]), beams=13, max_new_tokens=2, stop_ids={0}, length_penalty=penalty)
    best = sorted(scores, key=lambda text: -scores[text])[:13]
    assert [tuple(t[:n].tolist()) for t, n in zip(found.tokens[0], found.lengths[0], strict=True)] == best


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=6), min_size=1, max_size=4), st.sets(st.integers(0, 12))
)
def test_one_beam_is_greedy(rows: list[list[int]], stops: set[int]) -> None:
    prompts, valid = pad_left(rows)
    settings = {"valid": valid, "max_new_tokens": 6, "stop_ids": stops}
    assert beam_search(MODEL, prompts, beams=1, **settings).best() == generate(MODEL, prompts, **settings).rows()


@pytest.mark.parametrize("beams", [1, 4])
def test_an_encoder_decoder_gives_each_source_what_it_gets_alone(beams: int) -> None:
    start = torch.ones(3, 1, dtype=torch.int64)
    search = partial(beam_search, beams=beams, max_new_tokens=7, stop_ids={2})
    together = search(Conditioned(TRANSLATOR, SOURCE, SOURCE_VALID), start)
    for row in range(3):
        source = SOURCE[row : row + 1, : SOURCE_VALID[row].sum()]
        alone = search(Conditioned(TRANSLATOR, source), start[:1])
        assert together.best()[row] == alone.best()[0]
        torch.testing.assert_close(together.scores[row], alone.scores[0], rtol=0, atol=1e-10)


def test_an_encoder_decoders_log_probs_are_those_of_teacher_forcing() -> None:
    start = torch.ones(3, 1, dtype=torch.int64)
    model = Conditioned(TRANSLATOR, SOURCE, SOURCE_VALID)
    assert (
        generate(model, start, max_new_tokens=5).rows() == beam_search(model, start, beams=1, max_new_tokens=5).best()
    )
    found = beam_search(model, start, beams=3, max_new_tokens=5)
    for beam in range(3):
        target = torch.cat([start, found.tokens[:, beam]], dim=1)
        logits = TRANSLATOR(SOURCE, target[:, :-1], source_valid=SOURCE_VALID)
        picked = logits.log_softmax(-1).gather(-1, target[:, 1:, None]).sum((1, 2))
        torch.testing.assert_close(found.log_probs[:, beam], picked, rtol=0, atol=1e-10)


def test_more_beams_find_a_likelier_text_where_greedy_is_led_astray() -> None:
    def total(beams: int) -> Tensor:
        prompts = torch.arange(13)[:, None]
        return beam_search(MODEL, prompts, beams=beams, max_new_tokens=6, length_penalty=0.0).log_probs[:, 0]

    assert (total(8) > total(1) + 0.01).sum() >= 3 and (total(8) - total(1)).mean() > 0


@pytest.mark.parametrize("rows", [[[3]], [[1, 2, 5], [7], [4, 4]]], ids=["alone", "padded"])
def test_slots_of_dead_texts_are_given_up_and_the_search_is_the_same(rows: list[list[int]]) -> None:
    """Looked for as soon as there are two of them; without giving up, the last step would see 4 more for each token."""
    lengths = []

    def kept(cache: KVCache, slots: Tensor) -> None:
        keep_slots(cache, slots)
        lengths.append(cache.length)

    with mock.patch.multiple(searching, LEAST_SLOTS=2, keep_slots=kept):
        assert_plain_search(rows, 4, 9, {5}, 1.0)
    assert len(lengths) >= 2 and max(lengths) < max(map(len, rows)) + 4 * 8


@pytest.mark.parametrize("penalty", [math.nan, math.inf, -math.inf, 1e308, 1000.0, -1000.0])
def test_a_length_penalty_that_leaves_nothing_of_the_scores_is_refused(penalty: float) -> None:
    with rejects("length_penalty", "must", str(penalty)):
        beam_search(MODEL, torch.tensor([[1, 2]]), beams=2, max_new_tokens=4, length_penalty=penalty)


@pytest.mark.parametrize("penalty", [-49.0, 49.0])
def test_the_largest_length_penalties_rank_by_length_alone(penalty: float) -> None:
    """Of texts of up to 4 tokens: a large one wants the longest texts, a very negative one the shortest."""
    stops = set(range(1, 13, 2))
    found = beam_search(
        MODEL, torch.tensor([[1, 2]]), beams=6, max_new_tokens=4, stop_ids=stops, length_penalty=penalty
    )
    lengths = found.lengths[0].tolist()
    assert found.scores.isfinite().all() and len(set(lengths)) > 1
    assert lengths == sorted(lengths, reverse=penalty > 0)


def test_where_there_are_fewer_texts_than_beams_the_rest_is_empty() -> None:
    found = beam_search(MODEL, torch.tensor([[1, 2]]), beams=3, max_new_tokens=1, forced_ids={0: 5})
    assert found.lengths.tolist() == [[1, 0, 0]] and found.best() == [[5]]
    assert found.log_probs.tolist() == [[0.0, -math.inf, -math.inf]]


def test_bad_input() -> None:
    prompt = torch.tensor([[1, 2]])
    with rejects("beams", "at most the vocabulary of 13", "14"):
        beam_search(MODEL, prompt, beams=14, max_new_tokens=2)
    with rejects("beams", "at least 1", "0"):
        beam_search(MODEL, prompt, beams=0, max_new_tokens=2)
    with rejects("max_new_tokens", "at least 1", "0"):
        beam_search(MODEL, prompt, beams=2, max_new_tokens=0)
    for name, ids in (("stop_ids", {13}), ("forbidden_ids", [13]), ("forced_ids", {0: 13})):
        with rejects(name, "below the vocabulary of 13", "13"):
            beam_search(MODEL, prompt, beams=2, max_new_tokens=2, **{name: ids})
    with rejects("prompts", "non-empty"):
        beam_search(MODEL, prompt[:, :0], beams=2, max_new_tokens=2)
    with rejects("model", "eval mode"):
        beam_search(DecoderLM(CONFIG).train(), prompt, beams=2, max_new_tokens=2)
