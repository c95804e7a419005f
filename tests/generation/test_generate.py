"""Cached generation against the plain definition: run the whole text again for every new token."""

import dataclasses
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Learned,
    ModelConfig,
    NoPositions,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
    SwiGlu,
)
from transformer_lib.generation import (
    Conditioned,
    beam_search,
    generate,
    greedy,
    pad_left,
    room,
    sample,
    speculate,
    stop_at,
    stream,
)
from transformer_lib.models import DecoderLM, Seq2Seq

CONFIG = ModelConfig(
    vocab_size=17,
    d_model=16,
    num_layers=2,
    max_length=64,
    attention=AttentionConfig(num_heads=4, num_kv_heads=2),
    feedforward=SwiGlu(d_ff=24),
    positions=Rope(),
)


def make_model(config: ModelConfig = CONFIG) -> DecoderLM:
    torch.manual_seed(0)
    model = DecoderLM(config).double().eval()
    with torch.no_grad():  # larger weights, so that the choices differ from step to step
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    return model


def uncached(model: DecoderLM, prompt: list[int], new: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(new):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


MODEL = make_model()
prompts = st.lists(st.lists(st.integers(0, 16), min_size=1, max_size=9), min_size=1, max_size=4)


@given(prompts)
def test_a_batch_gives_what_each_prompt_gives_alone_without_a_cache(rows: list[list[int]]) -> None:
    tokens, valid = pad_left(rows)
    found = generate(MODEL, tokens, valid=valid, max_new_tokens=7).rows()
    assert found == [uncached(MODEL, row, 7) for row in rows]


@pytest.mark.parametrize("positions", [NoPositions(), Sinusoidal(), Learned(), Rope(), Alibi()], ids=repr)
@pytest.mark.parametrize("window", [None, 3])
def test_every_kind_of_position_and_window(positions: object, window: int | None) -> None:
    attention = dataclasses.replace(CONFIG.attention, window=window)
    model = make_model(dataclasses.replace(CONFIG, positions=positions, attention=attention))
    rows = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    tokens, valid = pad_left(rows)
    assert generate(model, tokens, valid=valid, max_new_tokens=9).rows() == [uncached(model, row, 9) for row in rows]


def test_log_probs_are_the_models_own() -> None:
    prompt = torch.tensor([[3, 1, 4], [1, 5, 9]])
    pick = partial(sample, temperature=0.3, top_k=3, generator=torch.Generator().manual_seed(0))
    found = generate(MODEL, prompt, max_new_tokens=5, pick=pick)
    full = MODEL(torch.cat([prompt, found.tokens], dim=1)).log_softmax(-1)[:, 2:-1]
    expected = full.gather(-1, found.tokens[..., None]).squeeze(-1)
    torch.testing.assert_close(found.log_probs, expected, atol=1e-10, rtol=0)


def test_stop_ids_end_a_row_and_leave_the_others_alone() -> None:
    rows = [[1, 2, 3], [4, 5, 6], [7, 8]]
    tokens, valid = pad_left(rows)
    free = generate(MODEL, tokens, valid=valid, max_new_tokens=12).rows()
    stop = free[0][3]
    found = generate(MODEL, tokens, valid=valid, max_new_tokens=12, stop_ids=[stop])
    for row, whole in zip(found.rows(), free, strict=True):
        assert row == (whole[: whole.index(stop) + 1] if stop in whole else whole)
    for log_probs, length in zip(found.log_probs, found.lengths, strict=True):
        assert (log_probs[length:] == 0).all()


def test_generation_ends_when_every_row_has_stopped() -> None:
    calls: list[int] = []

    def pick(logits: Tensor) -> Tensor:
        calls.append(1)
        return torch.full((len(logits),), 16 if len(calls) == 3 else 2)

    found = generate(MODEL, torch.tensor([[1, 2]]), max_new_tokens=50, pick=pick, stop_ids={16})
    assert len(calls) == 3
    assert found.rows() == [[2, 2, 16]]


def test_a_stream_gives_the_same_tokens_as_they_come() -> None:
    tokens, valid = pad_left([[1, 2, 3], [4]])
    whole = generate(MODEL, tokens, valid=valid, max_new_tokens=6)
    asked: list[int] = []

    def pick(logits: Tensor) -> Tensor:
        asked.append(1)
        return greedy(logits)

    for index, step in enumerate(stream(MODEL, tokens, valid=valid, max_new_tokens=6, pick=pick)):
        assert len(asked) == index + 1  # nothing is computed ahead
        assert torch.equal(step.tokens, whole.tokens[:, index]) and step.written.all()
        assert torch.equal(step.log_probs, whole.log_probs[:, index])
        assert not torch.is_inference_mode_enabled()
    assert len(asked) == 6


def test_a_stop_text_ends_a_row_even_across_tokens() -> None:
    rows = [[1, 2, 3], [4, 5, 6]]

    def decode(ids: list[int]) -> str:
        return "".join(chr(ord("a") + i) for i in ids)

    free = generate(MODEL, torch.tensor(rows), max_new_tokens=12).rows()
    text = decode(free[0][2:4])
    found = generate(MODEL, torch.tensor(rows), max_new_tokens=12, stop_when=stop_at(decode, [text, "no such text"]))
    for row, whole in zip(found.rows(), free, strict=True):
        end = decode(whole).find(text)
        assert decode(row) == (decode(whole)[: end + 2] if end >= 0 else decode(whole))
    assert found.lengths[0] < 12
    for texts in ([], [""]):
        with pytest.raises(ValueError, match="texts must hold at least one text, none of them empty"):
            stop_at(decode, texts)


def test_bad_input() -> None:
    tokens = torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match="max_new_tokens must be a whole number of at least 1, got 0"):
        generate(MODEL, tokens, max_new_tokens=0)
    with pytest.raises(ValueError, match="prompts must be a non-empty"):
        generate(MODEL, torch.empty(1, 0, dtype=torch.int64), max_new_tokens=1)
    with pytest.raises(ValueError, match="valid must end in a real token in every row"):
        generate(MODEL, tokens, max_new_tokens=1, valid=torch.tensor([[True, False]]))
    with pytest.raises(ValueError, match="model must be in eval mode"):
        generate(make_model().train(), tokens, max_new_tokens=1)
    with pytest.raises(ValueError, match="prompts must not be empty"):
        pad_left([[1], []])
    with pytest.raises(ValueError, match="tokens must be below vocab_size=17, got 17"):
        generate(MODEL, torch.tensor([[17]]), max_new_tokens=1)


@pytest.mark.parametrize("new", [99_999_999_999, 2**62])
def test_a_text_that_no_memory_could_hold_is_refused_before_any_work(new: int) -> None:
    model = make_model()
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was asked"))
    prompt = torch.tensor([[1, 2]])
    for write in (generate, partial(beam_search, beams=2)):
        with pytest.raises(ValueError, match=f"max_new_tokens must leave the cache a size .*{new}.*GB of memory"):
            write(model, prompt, max_new_tokens=new)
    with pytest.raises(ValueError, match="max_new_tokens must leave the cache a size"):
        speculate(model, model, prompt, max_new_tokens=new)
    with pytest.raises(ValueError, match=f"beams and max_new_tokens must leave the cache a size .*{new}"):
        beam_search(model, prompt, beams=new, max_new_tokens=4)
    with pytest.raises(ValueError, match="max_new_tokens must be a whole number of at most 64 bits"):
        generate(model, prompt, max_new_tokens=2**63)


def test_wrong_ids_and_pickers_are_refused() -> None:
    write = partial(generate, MODEL, torch.tensor([[1, 2]]), max_new_tokens=3)
    for ids, words in (([999], "below the vocabulary of 17, got 999"), ([-1], "not be negative, got -1")):
        for name in ("stop_ids", "forbidden_ids"):
            with pytest.raises(ValueError, match=f"{name} must.* {words}"):
                write(**{name: ids})
        with pytest.raises(ValueError, match=f"forced_ids must.* {words}"):
            write(forced_ids={0: ids[0]})
    with pytest.raises(TypeError, match=r"stop_ids\[0\] must be a whole number, got 1.5 of type float"):
        write(stop_ids=[1.5])
    for number in (-1, 3):
        with pytest.raises(
            ValueError, match=f"forced_ids must number new tokens from 0 .*max_new_tokens=3, got {number}"
        ):
            write(forced_ids={number: 1})
    with pytest.raises(ValueError, match="forced_ids must not be forbidden at number 1, got 5"):
        write(forced_ids={1: 5}, forbidden_ids=[5])
    with pytest.raises(ValueError, match="forbidden_ids must leave a token of the vocabulary of 17"):
        write(forbidden_ids=range(17))
    for picked in (torch.zeros(1), torch.zeros(2, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)):
        with pytest.raises(ValueError, match="what pick gives must be one whole number for each of 1 rows"):
            write(pick=lambda logits, picked=picked: picked)
    with pytest.raises(ValueError, match="what pick gives must be below the vocabulary of 17, got 17"):
        write(pick=lambda logits: torch.tensor([17]))
    with pytest.raises(TypeError, match="what pick gives must be a Tensor, got 3 of type int"):
        write(pick=lambda logits: 3)
    for name in ("pick", "stop_when"):
        with pytest.raises(TypeError, match=f"{name} must be a function, got <class 'int'>"):
            write(**{name: int})


@given(prompts, st.sets(st.integers(0, 16), max_size=16), st.dictionaries(st.integers(0, 5), st.integers(0, 16)))
def test_forbidden_tokens_are_never_written_and_forced_ones_always(
    rows: list[list[int]], forbidden: set[int], forced: dict[int, int]
) -> None:
    forced = {number: token for number, token in forced.items() if token not in forbidden}
    tokens, valid = pad_left(rows)
    found = generate(MODEL, tokens, valid=valid, max_new_tokens=6, forbidden_ids=forbidden, forced_ids=forced)
    for row, written, log_probs in zip(rows, found.rows(), found.log_probs, strict=True):
        text = list(row)
        for number, (token, log_prob) in enumerate(zip(written, log_probs, strict=True)):
            logits = MODEL(torch.tensor([text]))[0, -1]
            allowed = [i for i in range(17) if i not in forbidden]
            assert token == forced.get(number, max(allowed, key=lambda i: logits[i].item()))
            expected = 0.0 if number in forced else logits.log_softmax(-1)[token].item()
            assert abs(log_prob.item() - expected) < 1e-10
            text.append(token)


def test_what_is_forbidden_is_not_drawn_either() -> None:
    pick = partial(sample, temperature=5.0, generator=torch.Generator().manual_seed(0))
    found = generate(MODEL, torch.tensor([[1, 2]] * 8), max_new_tokens=40, pick=pick, forbidden_ids=range(3, 17))
    assert set(found.tokens.flatten().tolist()) == {0, 1, 2}


def test_a_text_beyond_the_position_table_is_refused_before_any_work() -> None:
    short = make_model(dataclasses.replace(CONFIG, positions=Learned(), max_length=4))
    short.register_forward_pre_hook(lambda *_: pytest.fail("the model was asked"))
    too_long = "prompts must have at most 4 tokens, the size of the position table, got {}"
    too_many = "max_new_tokens must be at most 2 after a prompt of 3 tokens, with a position table of 4, got {}"
    long_prompt = torch.arange(9)[None]
    for time, new, rule in ((5, 1, too_long.format(5)), (9, 200, too_long.format(9)), (3, 3, too_many.format(3))):
        prompt = long_prompt[:, :time]
        with pytest.raises(ValueError, match=rule):
            generate(short, prompt, max_new_tokens=new)
        with pytest.raises(ValueError, match=rule):
            beam_search(short, prompt, beams=2, max_new_tokens=new)
        for pair in ((short, MODEL), (MODEL, short)):
            with pytest.raises(ValueError, match=rule):
                speculate(*pair, prompt, max_new_tokens=new)
    encoder_decoder = Seq2Seq(Seq2SeqConfig(encoder=CONFIG, decoder=short.config)).eval()
    with pytest.raises(ValueError, match=too_long.format(9)):
        generate(Conditioned(encoder_decoder, long_prompt), long_prompt, max_new_tokens=1)


def test_room_is_what_can_be_written_and_never_negative() -> None:
    short = make_model(dataclasses.replace(CONFIG, positions=Learned(), max_length=4))
    assert [room(short, time) for time in (1, 4, 5, 200)] == [4, 1, 0, 0] and room(MODEL, 200) is None
    for time in (1, 4):
        prompt, most = torch.ones(1, time, dtype=torch.int64), room(short, time)
        assert generate(short, prompt, max_new_tokens=most).lengths.item() == most
        with pytest.raises(ValueError, match=f"max_new_tokens must be at most {most} after a prompt of {time}"):
            generate(short, prompt, max_new_tokens=most + 1)


def test_the_whole_position_table_can_be_used() -> None:
    short = make_model(dataclasses.replace(CONFIG, positions=Learned(), max_length=4))
    assert len(generate(short, torch.tensor([[1, 2]]), max_new_tokens=3).rows()[0]) == 3
    assert beam_search(short, torch.tensor([[1, 2]]), beams=2, max_new_tokens=3).lengths.tolist() == [[3, 3]]
    assert len(speculate(short, short, torch.tensor([[1, 2]]), max_new_tokens=3, lookahead=2).tokens) == 3


def test_the_newest_logits_are_the_last_of_all() -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(MODEL(tokens, newest=2), MODEL(tokens)[:, -2:], rtol=0, atol=1e-10)
    torch.testing.assert_close(MODEL(tokens, newest=4), MODEL(tokens), rtol=0, atol=1e-10)
    model = Conditioned(Seq2Seq(Seq2SeqConfig(encoder=CONFIG, decoder=CONFIG)).double().eval(), tokens)
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens, newest=1), model(tokens)[:, -1:], rtol=0, atol=1e-10)
    for reader in (MODEL, model):
        for newest in (0, -1, 5):
            with pytest.raises(ValueError, match=f"newest must be at least 1 and at most the 4 .*, got {newest}"):
                reader(tokens, newest=newest)


def test_beyond_its_length_a_row_repeats_its_last_token() -> None:
    """The picker would go on with other tokens in every row: 0, 1, 2, ... and 10, 11, 12, ..."""
    step = iter(range(10))

    def pick(logits: Tensor) -> Tensor:
        now = next(step)
        return torch.tensor([now, 10 + now])

    found = generate(MODEL, torch.tensor([[1, 2], [3, 4]]), max_new_tokens=5, pick=pick, stop_ids=[2])
    assert found.tokens.tolist() == [[0, 1, 2, 2, 2], [10, 11, 12, 13, 14]]
    assert found.lengths.tolist() == [3, 5] and found.log_probs[0, 3:].tolist() == [0, 0]
