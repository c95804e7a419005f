"""Text without end: a cache of fixed size against a cache of everything, and against StreamingLLM in plain loops."""

import dataclasses
import math
from functools import partial
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import CONFIG, POSITIONS, close, integers, randomise, rejects, unchecked
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Learned,
    NoPositions,
    NtkScaling,
    Positions,
    Rope,
    Sinusoidal,
    YarnScaling,
)
from transformer_lib.generation import generate, pad_left, sample, stream
from transformer_lib.models import DecoderLM
from transformer_lib.nn import RollingCache

RELATIVE = [NoPositions(), Rope(), Alibi()]
seeds = st.integers(0, 2**32)


def decoder(positions: Positions, window: int | None = None) -> DecoderLM:
    attention = AttentionConfig(num_heads=4, num_kv_heads=2, window=window)
    return randomise(DecoderLM(dataclasses.replace(CONFIG, positions=positions, attention=attention)))


def rolling(model: DecoderLM, batch: int, window: int, sinks: int = 0) -> RollingCache:
    return RollingCache(model.config, batch, window=window, sinks=sinks, dtype=torch.float64)


def turned(x: Tensor, place: int) -> Tensor:
    """RoPE as a product of complex numbers (Su et al. 2021, equation 12)."""
    half = len(x) // 2
    angles = torch.tensor([place * 10_000.0 ** (-i / half) for i in range(half)], dtype=torch.float64)
    product = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([product.real, product.imag])


def streaming(model: DecoderLM, text: list[int], sinks: int, window: int) -> Tensor:
    """Xiao et al. (2023): each token looks at what is kept, renumbered from 0; one head, one key at a time."""
    past: list[list[tuple[Tensor, Tensor]]] = [[] for _ in model.blocks]
    logits = []
    for now, token in enumerate(text):
        x = model.embedding.tokens.weight[token]
        kept = [i for i in range(now + 1) if i < sinks or i > now - window]
        for block, seen in zip(model.blocks, past, strict=True):
            q, k, v = block.attention.to_qkv(block.attention_norm(x)).split([16, 8, 8])
            seen.append((k, v))
            heads = []
            for head in range(4):
                mine, shared = slice(4 * head, 4 * head + 4), slice(4 * (head // 2), 4 * (head // 2) + 4)
                scores = []
                for place, index in enumerate(kept):
                    query, key = q[mine], seen[index][0][shared]
                    if isinstance(model.config.positions, Rope):
                        query, key = turned(query, len(kept) - 1), turned(key, place)
                    score = query @ key / 2
                    if isinstance(model.config.positions, Alibi):
                        score = score - 0.25 ** (head + 1) * (len(kept) - 1 - place)
                    scores.append(score)
                weights = torch.stack(scores).softmax(0)
                heads.append(sum(w * seen[index][1][shared] for w, index in zip(weights, kept, strict=True)))
            x = x + block.attention.to_out(torch.cat(heads))
            x = x + block.feedforward(block.feedforward_norm(x))
        logits.append(model.final_norm(x) @ model.head.weight.T)
    return torch.stack(logits)


@pytest.mark.parametrize("positions", RELATIVE, ids=lambda kind: type(kind).__name__)
@given(time=st.integers(1, 14), first=st.integers(1, 14), sinks=st.integers(0, 3), window=st.integers(1, 5), seed=seeds)
@unchecked()
def test_with_sinks_it_is_streaming_llm(
    positions: Positions, time: int, first: int, sinks: int, window: int, seed: int
) -> None:
    """A first piece of any length that the cache holds, then token by token."""
    model, tokens = decoder(positions), integers(13, 2, time, seed=seed)
    cache, first = rolling(model, 2, window, sinks), min(first, time, sinks + window)
    pieces = [tokens[:, :first], *tokens[:, first:].split(1, dim=1)]
    found = torch.cat([model(piece, cache=cache) for piece in pieces if piece.shape[1]], dim=1)
    for row in range(2):
        close(found[row], streaming(model, tokens[row].tolist(), sinks, window))


@pytest.mark.parametrize("positions", POSITIONS, ids=lambda kind: type(kind).__name__)
@given(
    rows=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    cuts=st.lists(st.integers(1, 20), max_size=6),
    window=st.integers(1, 6),
    spare=st.integers(0, 2),
    seed=seeds,
)
def test_a_model_with_a_window_needs_no_more_than_its_window(
    positions: Positions, rows: list[int], cuts: list[int], window: int, spare: int, seed: int
) -> None:
    """Any schedule of pieces, rows of unequal length: the logits are those without a cache."""
    model, time = decoder(positions, window), max(rows)
    tokens, valid = integers(13, len(rows), time, seed=seed), torch.arange(time) >= time - torch.tensor(rows)[:, None]
    cache = rolling(model, len(rows), window + spare)
    size = cache.keys.nbytes + cache.values.nbytes
    pieces = []
    for start, end in pairwise(sorted({0, time, *(cut for cut in cuts if cut < time)})):
        part = valid[:, start:end]
        pieces.append(model(tokens[:, start:end], valid=None if part.all() else part, cache=cache))
    close(torch.cat(pieces, dim=1)[valid], model(tokens, valid=valid)[valid])
    assert cache.keys.nbytes + cache.values.nbytes == size and cache.positions.shape[1] <= max(time, window + spare)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_sinks_are_turned_as_far_as_the_model_turns(share: float) -> None:
    """One layer, so that what is kept does not know what it was read with."""
    attention = AttentionConfig(num_heads=2, num_kv_heads=1)
    config = dataclasses.replace(CONFIG, positions=Rope(share=share), attention=attention, num_layers=1)
    model, tokens = randomise(DecoderLM(config)), integers(13, 1, 15)
    cache = rolling(model, 1, window=4, sinks=2)
    for now in range(15):
        found = model(tokens[:, now : now + 1], cache=cache)[:, -1]
        kept = [i for i in range(now + 1) if i < 2 or i > now - 4]
        close(found, model(tokens[:, kept])[:, -1])


def test_a_text_without_end_in_fixed_memory() -> None:
    model, prompt = decoder(Rope()), integers(13, 1, 9)
    cache = rolling(model, 1, window=4, sinks=2)  # the prompt is longer than the cache
    pick = partial(sample, generator=torch.Generator().manual_seed(0))
    steps = list(islice(stream(model, prompt, max_new_tokens=None, pick=pick, cache=cache), 60))
    assert cache.length == 9 + 59 and cache.keys.shape[3] == 6
    written = torch.cat([step.tokens for step in steps])
    assert len(set(written.tolist())) > 5
    laws = streaming(model, torch.cat([prompt[0], written]).tolist(), sinks=2, window=4).log_softmax(-1)
    close(torch.cat([step.log_probs for step in steps]), laws[8:-1].gather(1, written[:, None])[:, 0])


def test_a_window_writes_what_a_cache_of_everything_writes() -> None:
    model = decoder(Alibi(), window=5)
    prompts, valid = pad_left([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 3], [6], [7, 8, 9]])
    whole = generate(model, prompts, valid=valid, max_new_tokens=30)
    found = generate(model, prompts, valid=valid, max_new_tokens=30, cache=rolling(model, 3, 5))
    assert found.rows() == whole.rows()
    close(found.log_probs, whole.log_probs)


def test_a_conversation_goes_on_in_its_cache() -> None:
    model, tokens = decoder(Rope()), integers(13, 1, 5)
    cache = model.new_cache(1, 20)
    first = generate(model, tokens[:, :3], max_new_tokens=4, cache=cache)
    assert cache.length == 6  # its last word has not been read yet
    second = generate(model, torch.cat([first.tokens[:, -1:], tokens[:, 3:]], dim=1), max_new_tokens=4, cache=cache)
    whole = torch.cat([tokens[:, :3], first.tokens, tokens[:, 3:]], dim=1)
    assert second.rows() == generate(model, whole, max_new_tokens=4).rows()


def test_select_takes_the_sinks_along() -> None:
    model, tokens, rows = decoder(Rope()), integers(13, 3, 12), torch.tensor([2, 0, 0, 1])
    one, other = rolling(model, 3, window=3, sinks=2), rolling(model, 4, window=3, sinks=2)
    for moment in range(8):
        model(tokens[:, moment : moment + 1], cache=one)
        model(tokens[rows, moment : moment + 1], cache=other)
    one.select(rows)
    close(model(tokens[rows, 8:9], cache=one), model(tokens[rows, 8:9], cache=other))


def test_bad_input() -> None:
    model, tokens = decoder(Rope()), integers(13, 1, 9)
    for positions in (Learned(), Sinusoidal()):
        with rejects("sinks", "distances alone", type(positions).__name__):
            rolling(decoder(positions), 1, window=4, sinks=1)
    for scaling in (NtkScaling(factor=2.0, original_length=8), YarnScaling(factor=2.0, original_length=8)):
        with rejects("sinks", "turned and no more", type(scaling).__name__):
            rolling(decoder(Rope(scaling=scaling)), 1, window=4, sinks=1)
    with rejects("sinks + window", "at most the 24 tokens", "25"):
        rolling(model, 1, window=21, sinks=4)
    with rejects("sinks + window", "at most the 5 tokens", "6"):
        rolling(decoder(Rope(), window=5), 1, window=5, sinks=1)
    for name, value in (("window", 0), ("sinks", -1)):
        with rejects(name, "whole number", str(value)):
            RollingCache(CONFIG, 1, **({"window": 4} | {name: value}))
    with pytest.raises(TypeError, match="sinks must be a whole number, got True of type bool"):
        RollingCache(CONFIG, 1, window=4, sinks=True)
    cache = rolling(model, 1, window=4, sinks=2)
    with rejects("cache", "room for 6", "9"):
        model(tokens, cache=cache)
    with rejects("valid", "with sinks"):
        model(tokens[:, :3], valid=tokens[:, :3] >= 0, cache=cache)
    with rejects("positions", "own count"):
        model(tokens[:, :3], positions=torch.arange(3)[None], cache=cache)
    with rejects("valid", "on the left"):
        model(tokens[:, :3], valid=torch.tensor([[True, True, False]]), cache=rolling(model, 1, window=4))
    with rejects("tokens", "batch of 1", "2"):
        model(tokens[:, :3].expand(2, -1), valid=tokens[:, :3].expand(2, -1) >= 0, cache=rolling(model, 1, window=4))
    assert cache.length == 0
    for moment in range(7):
        model(tokens[:, moment : moment + 1], cache=cache)
    with rejects("cache", "given up", "7"):
        cache.rewind(3)
    with rejects("max_new_tokens", "only with a RollingCache", "None"):
        stream(model, tokens, max_new_tokens=None)
    with rejects("max_new_tokens", "without a position table", "None"):
        stream(decoder(Learned()), tokens, max_new_tokens=None, cache=rolling(decoder(Learned()), 1, window=4))
    with rejects("cache", "room for 11 more tokens", "10"):
        generate(model, tokens, max_new_tokens=3, cache=model.new_cache(1, 10))


def test_the_oracle_is_the_model_while_nothing_is_given_up() -> None:
    model, tokens = decoder(Alibi()), integers(13, 1, 7)
    close(streaming(model, tokens[0].tolist(), 3, 4), model(tokens)[0])
    assert math.isclose(float(turned(torch.tensor([1.0, 0.0]), 1)[0]), math.cos(1), rel_tol=1e-6)
