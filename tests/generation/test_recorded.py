"""Steps of one shape: they write what the ordinary cache writes, and a recorded one, on a GPU, what the model does."""

import dataclasses

import pytest
import torch

from tests.oracles import CONFIG, POSITIONS, integers, randomise, rejects
from transformer_lib.config import Alibi, AttentionConfig, Learned
from transformer_lib.generation import Recorded, generate, pad_left
from transformer_lib.models import DecoderLM
from transformer_lib.nn import FixedCache

PROMPTS, VALID = pad_left([[3, 1, 4], [1], [5, 9]])
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="records steps on a CUDA device")


def decoder(positions: object, window: int | None = None) -> DecoderLM:
    attention = AttentionConfig(num_heads=4, num_kv_heads=2, window=window)
    return randomise(DecoderLM(dataclasses.replace(CONFIG, positions=positions, attention=attention)))


@pytest.mark.parametrize("positions", POSITIONS, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("window", [None, 4])
def test_texts_are_those_of_the_ordinary_cache(positions: object, window: int | None) -> None:
    model = decoder(positions, window)
    cache = FixedCache(model.config, 3, 12, dtype=torch.float64)
    expected = generate(model, PROMPTS, valid=VALID, max_new_tokens=8)
    for _ in range(2):
        found = generate(model, PROMPTS, valid=VALID, max_new_tokens=8, cache=cache)
        assert torch.equal(found.tokens, expected.tokens)
        torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-10, rtol=0)
        cache.rewind(0)


def test_forgetting_hides_what_was_written() -> None:
    model, tokens = decoder(Learned()), integers(13, 2, 9)
    cache = FixedCache(model.config, 2, 9, dtype=torch.float64)
    model(tokens, cache=cache)
    cache.rewind(4)
    assert cache.valid.sum() == 8 and cache.room == 5
    torch.testing.assert_close(model(tokens[:, 4:], cache=cache), model(tokens)[:, 4:], atol=1e-10, rtol=0)


def test_a_model_whose_steps_cannot_be_recorded_is_refused() -> None:
    with rejects("model", "CUDA", "cpu"):
        Recorded(decoder(Learned()))


@needs_gpu
@pytest.mark.parametrize("positions", [kind for kind in POSITIONS if not isinstance(kind, Alibi)], ids=repr)
@pytest.mark.parametrize("window", [None, 4])
def test_a_replayed_step_is_the_models(positions: object, window: int | None) -> None:
    model = decoder(positions, window).cuda()
    recorded, prompts, valid = Recorded(model), PROMPTS.cuda(), VALID.cuda()
    expected = generate(model, prompts, valid=valid, max_new_tokens=8)
    for _ in range(3):
        found = generate(recorded, prompts, valid=valid, max_new_tokens=8)
        assert torch.equal(found.tokens, expected.tokens)
        torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-10, rtol=0)
    other = generate(recorded, prompts[:1], max_new_tokens=5)
    assert torch.equal(other.tokens, generate(model, prompts[:1], max_new_tokens=5).tokens), "another size"


@needs_gpu
def test_a_recorded_step_needs_room_and_fixed_slopes() -> None:
    model = decoder(Learned()).cuda()
    recorded = Recorded(model)
    cache = recorded.new_cache(1, 3)
    recorded(PROMPTS[:1].cuda(), cache=cache)
    with rejects("cache", "room for 0", "max_length=3", "1"):
        recorded(PROMPTS[:1, :1].cuda(), cache=cache)
    with rejects("positions", "Alibi"):
        Recorded(decoder(Alibi()).cuda())
