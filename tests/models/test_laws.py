"""Laws that every configuration obeys, searched for counterexamples by hypothesis, in float64.

A batch is described by which of its slots hold real tokens: any pattern, so that padding on the left, on the right, in
between and rows without any are one case.
"""

import dataclasses
from functools import lru_cache
from itertools import pairwise
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import CONFIG, POSITIONS, bits, close, integers, randomise
from transformer_lib.config import Alibi, AttentionConfig, ModelConfig, NoPositions, Positions, Rope, Seq2SeqConfig
from transformer_lib.models import DecoderLM, Encoder, Seq2Seq
from transformer_lib.nn import FixedCache, KVCache, local

EVERY_POSITIONS = pytest.mark.parametrize("positions", POSITIONS, ids=lambda kind: type(kind).__name__)

sharing = st.sampled_from([1, 2, 4])  # key/value heads for 4 query heads: multi-query, grouped, multi-head
windows = st.none() | st.integers(1, 4)
seeds = st.integers(0, 2**32)
times = st.integers(1, 9)


def config(positions: Positions, kv_heads: int = 2, window: int | None = None) -> ModelConfig:
    attention = AttentionConfig(num_heads=4, num_kv_heads=kv_heads, window=window)
    return dataclasses.replace(CONFIG, positions=positions, attention=attention)


@lru_cache
def decoder(positions: Positions, kv_heads: int = 2, window: int | None = None) -> DecoderLM:
    return randomise(DecoderLM(config(positions, kv_heads, window)))


@lru_cache
def encoder(positions: Positions, window: int | None = None) -> Encoder:
    return randomise(Encoder(config(positions, window=window)))


@lru_cache
def seq2seq(positions: Positions) -> Seq2Seq:
    side = config(positions)
    return randomise(Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)))


@st.composite
def real_slots(draw: st.DrawFn) -> Tensor:
    rows, time = draw(st.integers(1, 3)), draw(times)
    if draw(st.booleans()):
        return torch.ones(rows, time, dtype=torch.bool)
    lengths = torch.tensor(draw(st.lists(st.integers(1, time), min_size=rows, max_size=rows)))
    match draw(st.sampled_from(["left", "right", "anywhere"])):
        case "left":
            return torch.arange(time) >= time - lengths[:, None]
        case "right":
            return torch.arange(time) < lengths[:, None]
        case _:
            return bits(rows, time, seed=draw(seeds))


def each_row_alone(model: DecoderLM | Encoder, tokens: Tensor, valid: Tensor) -> Tensor:
    """The outputs at the real tokens, each row run by itself without its padding and without a cache."""
    rows = [model(row[real][None])[0] for row, real in zip(tokens, valid, strict=True) if real.any()]
    return torch.cat(rows) if rows else torch.zeros(0)


def unless_full(valid: Tensor) -> Tensor | None:
    return None if valid.all() else valid


@pytest.mark.parametrize("kind", [KVCache, FixedCache])
@EVERY_POSITIONS
@given(
    valid=real_slots(),
    cuts=st.lists(times, max_size=4),
    kv_heads=sharing,
    window=windows,
    spare=st.integers(0, 2),
    seed=seeds,
)
def test_any_split_of_any_batch_through_the_cache_is_each_row_alone(
    positions: Positions,
    kind: type[KVCache],
    valid: Tensor,
    cuts: list[int],
    kv_heads: int,
    window: int | None,
    spare: int,
    seed: int,
) -> None:
    model = decoder(positions, kv_heads, window)
    rows, time = valid.shape
    tokens = integers(13, rows, time, seed=seed)
    with mock.patch.object(local, "SPARE", spare):  # so few that texts of this length are given up in part
        cache = kind(model.config, rows, time + seed % 3, dtype=torch.float64)
    borders = sorted({0, time, *(cut for cut in cuts if cut < time)})
    pieces = [
        model(tokens[:, start:end], valid=unless_full(valid[:, start:end]), cache=cache)
        for start, end in pairwise(borders)
    ]
    found = torch.cat(pieces, dim=1)
    assert found.isfinite().all()
    if valid.any():
        close(found[valid], each_row_alone(model, tokens, valid))


@EVERY_POSITIONS
@given(valid=real_slots(), window=windows, seed=seeds)
def test_padding_and_batch_mates_change_nothing(
    positions: Positions, valid: Tensor, window: int | None, seed: int
) -> None:
    tokens = integers(13, *valid.shape, seed=seed)
    for model in (decoder(positions, window=window), encoder(positions, window)):
        found = model(tokens, valid=valid)
        assert found.isfinite().all()
        if valid.any():
            close(found[valid], each_row_alone(model, tokens, valid))


@EVERY_POSITIONS
@given(source_valid=real_slots(), target_time=times, cuts=st.lists(times, max_size=3), seed=seeds)
def test_a_translation_knows_no_padding_no_batch_mates_and_no_splits(
    positions: Positions, source_valid: Tensor, target_time: int, cuts: list[int], seed: int
) -> None:
    model, rows = seq2seq(positions), len(source_valid)
    source, target = integers(13, *source_valid.shape, seed=seed), integers(13, rows, target_time, seed=seed + 1)
    memory, cache = model.encode(source, unless_full(source_valid)), model.new_cache(rows, target_time)
    borders = sorted({0, target_time, *(cut for cut in cuts if cut < target_time)})
    found = torch.cat([model.decode(target[:, i:j], memory, cache=cache) for i, j in pairwise(borders)], dim=1)
    for row, real in enumerate(source_valid):
        if real.any():
            close(found[row], model(source[row][real][None], target[row][None])[0])


@EVERY_POSITIONS
@given(parents=st.lists(st.integers(0, 9), min_size=1, max_size=7), cut=st.integers(1, 8), window=windows, seed=seeds)
def test_texts_that_part_ways_share_a_cache(
    positions: Positions, parents: list[int], cut: int, window: int | None, seed: int
) -> None:
    """A tree of tokens, read in two pieces, each token with its ancestors as its past: each path is as if alone."""
    model, paths = decoder(positions, window=window), [[0]]
    for child, parent in enumerate(parents, start=1):
        paths.append([*paths[parent % child], child])
    tokens = integers(13, 2, len(paths), seed=seed)
    depth = torch.tensor([[len(path) - 1 for path in paths]])
    past = torch.tensor([[slot in path for slot in range(len(paths))] for path in paths]).expand(2, -1, -1)
    cache = model.new_cache(2, len(paths))
    pieces = [
        model(tokens[:, part], positions=depth[:, part], cache=cache, past=past[:, part, : part.stop])
        for part in (slice(0, min(cut, len(paths))), slice(min(cut, len(paths)), len(paths)))
        if part.start < part.stop
    ]
    found = torch.cat(pieces, dim=1)
    for slot, path in enumerate(paths):
        close(found[:, slot], model(tokens[:, path])[:, -1])


@EVERY_POSITIONS
@given(time=st.integers(2, 9), data=st.data(), window=windows, padded=st.booleans(), seed=seeds)
def test_a_changed_future_token_changes_no_earlier_output(
    positions: Positions, time: int, data: st.DataObject, window: int | None, padded: bool, seed: int
) -> None:
    model, tokens = decoder(positions, window=window), integers(13, 2, time, seed=seed)
    valid = bits(2, time, seed=seed) if padded else None
    moment = data.draw(st.integers(1, time - 1))
    changed = tokens.clone()
    changed[:, moment:] = (changed[:, moment:] + 1) % 13
    before, after = model(tokens, valid=valid), model(changed, valid=valid)
    earlier = slice(None) if valid is None else valid[:, :moment]  # what padding gives is nobody's concern
    assert torch.equal(before[:, :moment][earlier], after[:, :moment][earlier])
    assert (before[:, moment] != after[:, moment]).any()


@EVERY_POSITIONS
@given(valid=real_slots(), window=windows, seed=seeds)
def test_a_masked_token_has_no_influence_and_no_gradient(
    positions: Positions, valid: Tensor, window: int | None, seed: int
) -> None:
    tokens = integers(12, *valid.shape, seed=seed)
    padding = torch.full_like(tokens, 12)  # an id that no real token has
    for model in (encoder(positions, window), decoder(positions, window=window)):
        output = model.hidden if isinstance(model, DecoderLM) else model
        outputs = [output(torch.where(valid, tokens, other), valid=valid)[valid] for other in (tokens, padding)]
        assert torch.equal(*outputs)
        model.zero_grad()
        outputs[1].square().sum().backward()
        gradient = model.embedding.tokens.weight.grad
        assert gradient is not None and gradient.isfinite().all()
        assert gradient[12].count_nonzero() == 0


@EVERY_POSITIONS
@given(order=st.permutations(range(7)), window=windows, seed=seeds)
def test_only_positions_tell_the_order(positions: Positions, order: list[int], window: int | None, seed: int) -> None:
    """Tokens handed over in another order, each with its position, give the same logits in that order."""
    model, tokens, places = decoder(positions, window=window), integers(13, 2, 7, seed=seed), torch.arange(7)[None]
    close(model(tokens[:, order], positions=places[:, order]), model(tokens)[:, order])


@given(order=st.permutations(range(7)), seed=seeds)
def test_an_encoder_without_positions_does_not_see_the_order(order: list[int], seed: int) -> None:
    tokens = integers(13, 2, 7, seed=seed)
    model = encoder(NoPositions())
    close(model(tokens[:, order]), model(tokens)[:, order])


@EVERY_POSITIONS
def test_an_encoder_with_positions_does(positions: Positions) -> None:
    tokens, order = integers(13, 2, 7), [3, 0, 1, 2, 6, 5, 4]
    differs = (encoder(positions)(tokens[:, order]) - encoder(positions)(tokens)[:, order]).abs().max() > 0.01
    assert differs == (positions != NoPositions())


@pytest.mark.parametrize("positions", [kind for kind in POSITIONS if isinstance(kind, Rope | Alibi)])
@given(shift=st.integers(0, 1000), seed=seeds)
def test_relative_positions_do_not_feel_a_shift(positions: Positions, shift: int, seed: int) -> None:
    model, tokens = decoder(positions), integers(13, 2, 7, seed=seed)
    close(model(tokens, positions=torch.arange(7)[None] + shift), model(tokens))


def test_positions_go_on_from_the_last_one_given() -> None:
    model = decoder(Rope())
    tokens, given_positions = integers(CONFIG.vocab_size, 1, 5, seed=3), torch.tensor([[7, 8, 9]])
    cache = model.new_cache(1, 5)
    parts = [model(tokens[:, :3], positions=given_positions, cache=cache), model(tokens[:, 3:], cache=cache)]
    whole = model(tokens, positions=torch.arange(7, 12)[None])
    close(torch.cat(parts, dim=1), whole)
    assert cache.positions.tolist() == [[7, 8, 9, 10, 11]]


@EVERY_POSITIONS
def test_a_row_of_padding_only_is_finite_and_leaves_the_others_alone(positions: Positions) -> None:
    tokens, valid = integers(13, 3, 5), torch.tensor([[True] * 5, [False] * 5, [False, False, True, True, True]])
    both = seq2seq(positions)
    for mine, alone in (
        (encoder(positions)(tokens, valid=valid), encoder(positions)(tokens[:1])),
        (decoder(positions)(tokens, valid=valid), decoder(positions)(tokens[:1])),
        (both(tokens, tokens, source_valid=valid, target_valid=valid), both(tokens[:1], tokens[:1])),
    ):
        assert mine.isfinite().all()
        close(mine[:1], alone)
