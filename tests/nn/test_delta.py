"""The gated delta rule in three forms, and its layer against that of Qwen3-Next."""

import math
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.qwen3_next import modeling_qwen3_next as qwen3_next

from tests.nn.theirs import difference, redraw, wholly_in
from tests.oracles import bits, close, normal, randomise, rejects
from transformer_lib.config.mixers import GatedDelta
from transformer_lib.nn.delta import delta_chunked, delta_parallel, delta_recurrent
from transformer_lib.nn.delta_mixer import GatedDeltaMixer
from transformer_lib.nn.state import RecurrentState

WIDTH, TIME = 12, 70  # longer than a chunk
CONFIG = GatedDelta(num_heads=4, key_dim=6, value_dim=5, num_key_heads=2, conv=4)


def operands(time: int = TIME, *, held: bool = True, forget: float = 1.0) -> dict[str, Any]:
    """What a layer would pass: keys of length 1, decays of many sizes, writing from 0 to 1; and a memory if `held`."""
    k = normal(2, 3, time, 6, seed=1)
    return {
        **{"q": normal(2, 3, time, 6), "k": k / k.norm(dim=-1, keepdim=True), "v": normal(2, 3, time, 5, seed=2)},
        "log_decay": -forget * normal(2, 3, time, seed=3).exp(),
        "beta": normal(2, 3, time, seed=4).sigmoid(),
        "memory": normal(2, 3, 6, 5, seed=5) if held else None,
    }


@pytest.mark.parametrize("forget", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("held", [False, True])
def test_three_forms_of_one_rule(held: bool, forget: float) -> None:
    arguments = operands(held=held, forget=forget)
    out, memory = delta_recurrent(**arguments)
    for found in (delta_parallel(**arguments), delta_chunked(**arguments), delta_chunked(**arguments, chunk=7)):
        close(found[0], out)
        close(found[1], memory)


def test_the_forms_have_the_same_gradients() -> None:
    found = []
    for form in (delta_recurrent, delta_parallel, delta_chunked):
        arguments = {name: part.requires_grad_() for name, part in operands().items()}
        out, memory = form(**arguments)
        (out.square().sum() + memory.square().sum()).backward()
        found.append([part.grad for part in arguments.values()])
    for parallel, chunked, recurrent in zip(found[1], found[2], found[0], strict=True):
        close(parallel, recurrent)
        close(chunked, recurrent)


@pytest.mark.parametrize("time", [1, TIME])
def test_the_rule_of_transformers(time: int) -> None:
    arguments = operands(time)
    theirs = {name: arguments[name].transpose(1, 2) for name in ("q", "k", "v", "beta")}
    theirs = {"query": theirs["q"] * math.sqrt(6), "key": theirs["k"], "value": theirs["v"], "beta": theirs["beta"]}
    rest = {"g": arguments["log_decay"].transpose(1, 2), "initial_state": arguments["memory"]}
    for form in (qwen3_next.torch_recurrent_gated_delta_rule, qwen3_next.torch_chunk_gated_delta_rule):
        with wholly_in(torch.float64):
            out, memory = form(**theirs, **rest, output_final_state=True)
        for found in (delta_recurrent(**arguments), delta_chunked(**arguments)):
            close(found[0], out.transpose(1, 2))
            close(found[1], memory)


def test_a_key_that_comes_again_is_overwritten() -> None:
    k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]).double()[None, None]
    v = torch.tensor([[1.0], [2.0], [5.0]]).double()[None, None]
    all_kept, all_written = torch.zeros(1, 1, 3).double(), torch.ones(1, 1, 3).double()
    out, memory = delta_parallel(k, k, v, log_decay=all_kept, beta=all_written)
    close(out, v)
    assert memory.flatten().tolist() == [5.0, 2.0]  # linear attention would hold 6 and 2


def test_decays_keep_their_digits_after_a_token_that_forgets_all() -> None:
    arguments = operands(10)
    arguments["log_decay"][:, :, 3] = -1e5
    low = {name: part.float() for name, part in arguments.items()}
    close(delta_parallel(**low)[0], delta_recurrent(**low)[0])


# The layer ----------------------------------------------------------------------------------------------------------


def theirs_and_mine(dtype: torch.dtype, zeroed: str = "") -> tuple[qwen3_next.Qwen3NextGatedDeltaNet, GatedDeltaMixer]:
    """Equal weights, redrawn; with `zeroed`, ours lacks that one tensor."""
    config = hf.Qwen3NextConfig(
        **{"hidden_size": WIDTH, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 6},
        **{"linear_value_head_dim": 5, "linear_conv_kernel_dim": 4, "num_hidden_layers": 1, "rms_norm_eps": 1e-4},
        layer_types=["linear_attention"],
    )
    theirs = redraw(qwen3_next.Qwen3NextGatedDeltaNet(config, 0), dtype, scale=2.0)
    with torch.no_grad():
        theirs.A_log -= 3.0  # so that heads remember
    mine = GatedDeltaMixer(WIDTH, CONFIG, norm_eps=1e-4).to(dtype)
    mine.load_state_dict({name: part * (name != zeroed) for name, part in converted(theirs).items()})
    return theirs, mine


def converted(theirs: qwen3_next.Qwen3NextGatedDeltaNet) -> dict[str, Tensor]:
    """Their weights under our names: they lay the rows of each key head together."""
    tensors = theirs.state_dict()
    by_head = tensors["in_proj_qkvz.weight"].unflatten(0, (2, -1)).split([6, 6, 2 * 5, 2 * 5], dim=1)
    q, k, v, z = (part.flatten(0, 1) for part in by_head)
    b, a = (part.flatten(0, 1) for part in tensors["in_proj_ba.weight"].unflatten(0, (2, -1)).chunk(2, dim=1))
    return {
        **{"to_qkv.weight": torch.cat([q, k, v]), "to_gate.weight": z, "to_rates.weight": torch.cat([b, a])},
        **{"conv.weight": tensors["conv1d.weight"], "log_rate": tensors["A_log"], "step_bias": tensors["dt_bias"]},
        **{"norm.weight": tensors["norm.weight"], "to_out.weight": tensors["out_proj.weight"]},
    }


def outputs(dtype: torch.dtype, zeroed: str = "") -> tuple[Tensor, Tensor]:
    theirs, mine = theirs_and_mine(dtype, zeroed)
    x = normal(2, TIME, WIDTH).to(dtype)
    with wholly_in(dtype), torch.no_grad():
        return mine(x).detach(), theirs(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_of_transformers(dtype: torch.dtype) -> None:
    close(*outputs(dtype))


def test_every_tensor_counts() -> None:
    for name in theirs_and_mine(torch.float64)[1].state_dict():
        assert difference(*outputs(torch.float64, zeroed=name)) > 1e-3, name


def test_padding_on_the_left_as_transformers_has_it() -> None:
    theirs, mine = theirs_and_mine(torch.float64)
    valid = torch.ones(2, 9, dtype=torch.bool)
    valid[0, :4] = False
    x = normal(2, 9, WIDTH)
    with wholly_in(torch.float64), torch.no_grad():
        close(mine(x, valid=valid)[valid], theirs(x, attention_mask=valid.long())[valid])


CONFIGS = [
    CONFIG,
    GatedDelta(num_heads=2, key_dim=4, value_dim=8, conv=1),
    GatedDelta(num_heads=3, key_dim=2, value_dim=3),
]


def make(config: GatedDelta = CONFIG) -> GatedDeltaMixer:
    mine = randomise(GatedDeltaMixer(WIDTH, config))
    with torch.no_grad():
        mine.log_rate -= 2.0
    return mine


@given(st.sampled_from(CONFIGS), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
def test_any_split_of_a_text_gives_the_same(config: GatedDelta, pieces: list[int], padded: bool) -> None:
    mine, time = make(config), sum(pieces)
    x, valid = normal(2, time, WIDTH), bits(2, time) if padded else None
    whole, state, outs = mine.new_state(2), mine.new_state(2), []
    expected = mine(x, valid=valid, state=whole)
    masks = [None] * len(pieces) if valid is None else valid.split(pieces, dim=1)
    for piece, mask in zip(x.split(pieces, dim=1), masks, strict=True):
        outs.append(mine(piece, valid=mask, state=state))
    seen = torch.ones(2, time, dtype=torch.bool) if valid is None else valid
    close(torch.cat(outs, dim=1)[seen], expected[seen])
    close(expected[seen], mine(x, valid=valid)[seen])
    close(state.memory, whole.memory)
    close(state.recent, whole.recent)
    assert state.length == whole.length == time


@given(st.integers(0, 2**12 - 1))
def test_padding_anywhere_changes_nothing(pattern: int) -> None:
    mine, x = make(), normal(1, 12, WIDTH)
    valid = torch.tensor([[bool(pattern >> i & 1) for i in range(12)]])
    padded, alone = mine.new_state(1), mine.new_state(1)
    out = mine(x, valid=valid, state=padded)
    assert bool(out.isfinite().all())
    if valid.any():
        close(out[valid][None], mine(x[valid][None], state=alone))
    close(padded.memory, alone.memory)
    close(padded.recent, alone.recent)


@given(st.permutations(range(4)))
def test_rows_do_not_feel_each_other(rows: list[int]) -> None:
    mine, x, valid = make(), normal(4, 6, WIDTH), bits(4, 6)
    state = mine.new_state(4)
    out = mine(x, valid=valid, state=state)
    close(mine(x[rows], valid=valid[rows]), out[rows])
    state.select(torch.tensor(rows))
    close(mine(x[:, :2], state=state)[:1], mine(x[:, :2], state=state_after(mine, x[rows], valid[rows]))[:1])


def state_after(mine: GatedDeltaMixer, x: Tensor, valid: Tensor) -> RecurrentState:
    state = mine.new_state(len(x))
    mine(x, valid=valid, state=state)
    return state


def test_gradients_pass_from_piece_to_piece() -> None:
    mine, x, found = make(), normal(2, 6, WIDTH), []
    for pieces in ([6], [2, 1, 3]):
        mine.zero_grad()
        state = mine.new_state(2)
        torch.cat([mine(piece, state=state) for piece in x.split(pieces, dim=1)], dim=1).square().sum().backward()
        found.append([weight.grad for weight in mine.parameters()])
    for whole, split in zip(*found, strict=True):
        assert whole is not None and split is not None
        close(split, whole)


def test_a_state_is_small_is_copied_and_not_rewound() -> None:
    mine = GatedDeltaMixer(WIDTH, CONFIG)
    state = mine.new_state(3)
    channels = 2 * 2 * 6 + 4 * 5
    assert state.bytes == 3 * 4 * (4 * 6 * 5 + channels * 3)
    mine(normal(3, 5, WIDTH).float(), state=state)
    before = state.copy()
    mine(normal(3, 2, WIDTH).float(), state=state)
    assert (state.length, before.length) == (7, 5)
    assert not torch.equal(state.memory, before.memory)
    state.rewind(7)
    with rejects("length", "0 or all 7 tokens", "cannot be rewound", "5"):
        state.rewind(5)
    state.rewind(0)
    assert not state.memory.any() and not state.recent.any() and state.length == 0


def test_a_new_layer_remembers() -> None:
    torch.manual_seed(0)
    mine = GatedDeltaMixer(WIDTH, GatedDelta(num_heads=64, key_dim=2, value_dim=2))
    log_decay, _ = mine._rates(torch.zeros(1, 1, WIDTH), None)
    assert 0.0 < float((-log_decay).min()) < 0.05 and float((-log_decay).max()) < 1.6


def test_autocast_and_bfloat16() -> None:
    mine, x = make().float(), normal(2, 5, WIDTH).float()
    expected = mine(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mine(x).float(), expected, rtol=0.1, atol=0.1)
    low = mine.bfloat16()
    state = low.new_state(2)
    torch.testing.assert_close(low(x.bfloat16(), state=state).float(), expected, rtol=0.1, atol=0.1)
    assert (state.memory.dtype, state.recent.dtype) == (torch.float32, torch.bfloat16)


def test_bad_input() -> None:
    with rejects("num_key_heads", "must divide num_heads=4", "3"):
        GatedDelta(num_heads=4, key_dim=2, value_dim=2, num_key_heads=3)
    with rejects("conv", "at least 1", "0"):
        GatedDelta(num_heads=4, key_dim=2, value_dim=2, conv=0)
    mine = GatedDeltaMixer(WIDTH, CONFIG)
    with rejects("x", "vectors of 12 numbers", "(2, 3, 13)"):
        mine(torch.zeros(2, 3, 13))
    with rejects("state.memory", "(2, 4, 6, 5)", "(3, 4, 6, 5)"):
        mine(torch.zeros(2, 3, WIDTH), state=mine.new_state(3))
    with rejects("rows", "below the batch of 3", "3"):
        mine.new_state(3).select(torch.tensor([0, 3]))
    with rejects("log_decay", "at most 0", "1"):
        delta_parallel(**{**operands(3), "log_decay": torch.ones(2, 3, 3).double()})
    with rejects("k", "torch.float64, as q", "torch.float32"):
        delta_recurrent(**{**operands(3), "k": operands(3)["k"].float()})
    with rejects("chunk", "at least 1", "0"):
        delta_chunked(**operands(3), chunk=0)
