"""Linear attention in three forms, against the paper's sums written out in NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import bits, close, normal, randomise, rejects
from transformer_lib.config.mixers import LinearAttention
from transformer_lib.nn.linear_attention import (
    LinearMixer,
    features,
    linear_chunked,
    linear_parallel,
    linear_recurrent,
)

WIDTH, TIME = 12, 70  # longer than a chunk
CONFIGS = [LinearAttention(num_heads=3), LinearAttention(num_heads=2, head_dim=5)]


def operands(time: int = TIME, *, held: bool = True) -> dict[str, Any]:
    memory = features(normal(2, 3, 4, 6, seed=3)) if held else None
    q, k = features(normal(2, 3, time, 4)), features(normal(2, 3, time, 4, seed=1))
    return {"q": q, "k": k, "v": normal(2, 3, time, 5, seed=2), "memory": memory}


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Equation 9 of the paper with a causal sum, query by query and key by key."""
    out = np.zeros(v.shape)
    for place in np.ndindex(*q.shape[:3]):
        row, head, t = place
        weights = [float(q[place] @ k[row, head, s]) for s in range(t + 1)]
        out[place] = sum(w * v[row, head, s].numpy() for s, w in enumerate(weights)) / sum(weights)
    return torch.from_numpy(out)


def test_features() -> None:
    x = normal(100) * 5
    close(features(x), torch.from_numpy(np.where(x.numpy() < 0, np.exp(np.minimum(x.numpy(), 0)), x.numpy() + 1)))


@pytest.mark.parametrize("form", [linear_recurrent, linear_parallel, linear_chunked])
def test_each_form_is_the_papers_sum(form: Any) -> None:
    arguments = operands(9, held=False)
    out, memory = form(**arguments)
    k, v = arguments["k"], arguments["v"]
    close(out, written_out(arguments["q"], k, v))
    close(memory, torch.cat([torch.einsum("bhtk,bhtv->bhkv", k, v), k.sum(dim=2)[..., None]], dim=-1))


@pytest.mark.parametrize("held", [False, True])
def test_three_forms_of_one_sum(held: bool) -> None:
    arguments = operands(held=held)
    out, memory = linear_recurrent(**arguments)
    for found in (linear_parallel(**arguments), linear_chunked(**arguments), linear_chunked(**arguments, chunk=7)):
        close(found[0], out)
        close(found[1], memory)


def test_the_layer_written_out() -> None:
    mine, x = make(CONFIGS[1]), normal(2, 6, WIDTH)
    q, k, v = (x @ weight.T for weight in mine.to_qkv.weight.detach().chunk(3))
    q, k, v = (part.reshape(2, 6, 2, 5).transpose(1, 2) for part in (q, k, v))
    out = written_out(features(q), features(k), v).transpose(1, 2).reshape(2, 6, 10)
    close(mine(x), out @ mine.to_out.weight.T)


def make(config: LinearAttention) -> LinearMixer:
    return randomise(LinearMixer(WIDTH, config))


@given(st.sampled_from(CONFIGS), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
def test_any_split_of_a_text_gives_the_same(config: LinearAttention, pieces: list[int], padded: bool) -> None:
    mine, time = make(config), sum(pieces)
    x, valid = normal(2, time, WIDTH), bits(2, time) if padded else None
    state, outs = mine.new_state(2), []
    masks = [None] * len(pieces) if valid is None else valid.split(pieces, dim=1)
    for piece, mask in zip(x.split(pieces, dim=1), masks, strict=True):
        outs.append(mine(piece, valid=mask, state=state))
    close(torch.cat(outs, dim=1), mine(x, valid=valid))
    assert state.length == time


@given(st.integers(0, 2**12 - 1))
def test_padding_anywhere_changes_nothing(pattern: int) -> None:
    mine, x = make(CONFIGS[0]), normal(1, 12, WIDTH)
    valid = torch.tensor([[bool(pattern >> i & 1) for i in range(12)]])
    out = mine(x, valid=valid)
    assert bool(out.isfinite().all())  # also where nothing was seen
    if valid.any():
        close(out[valid][None], mine(x[valid][None]))


@given(st.permutations(range(4)))
def test_rows_do_not_feel_each_other(rows: list[int]) -> None:
    mine, x, valid = make(CONFIGS[0]), normal(4, 6, WIDTH), bits(4, 6)
    close(mine(x[rows], valid=valid[rows]), mine(x, valid=valid)[rows])


def test_what_it_keeps() -> None:
    mine = LinearMixer(WIDTH, CONFIGS[1])
    state = mine.new_state(3)
    assert state.bytes == 3 * 2 * 5 * 6 * 4
    mine(normal(3, 4, WIDTH).float(), state=state)
    with rejects("length", "0 or all 4 tokens", "2"):
        state.rewind(2)


def test_autocast_and_bfloat16() -> None:
    mine, x = make(CONFIGS[0]).float(), normal(2, 5, WIDTH).float()
    expected = mine(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mine(x).float(), expected, rtol=0.1, atol=0.1)
    torch.testing.assert_close(mine.bfloat16()(x.bfloat16()).float(), expected, rtol=0.1, atol=0.1)


def test_bad_input() -> None:
    with rejects("d_model", "divisible by num_heads=3", "10"):
        LinearMixer(10, CONFIGS[0])
    with rejects("q", "none below 0", "-1"):
        linear_parallel(**{**operands(3), "q": -torch.ones(2, 3, 3, 4).double()})
    with rejects("memory", "6 columns", "(2, 3, 4, 5)"):
        linear_parallel(**{**operands(3), "memory": torch.ones(2, 3, 4, 5).double()})
    with rejects("state.memory", "(2, 3, 4, 5)", "(1, 3, 4, 5)"):
        LinearMixer(WIDTH, CONFIGS[0])(torch.zeros(2, 3, WIDTH), state=LinearMixer(WIDTH, CONFIGS[0]).new_state(1))
