"""Latent attention: expanded = absorbed, any split = one pass, and the layer of DeepSeek-V3."""

import dataclasses
import math
from typing import Any, Literal

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek

from tests.nn.theirs import difference, redraw, wholly_in
from tests.oracles import bits, close, normal, randomise, rejects
from transformer_lib.config import YarnScaling
from transformer_lib.config.mixers import LatentAttention
from transformer_lib.nn.latent import LatentMixer
from transformer_lib.nn.masks import causal_mask, padding_mask
from transformer_lib.nn.positions import Rotation, rope_rotation

WIDTH, TIME = 12, 9
PLAIN = LatentAttention(num_heads=3, head_dim=6, rope_dim=4, value_dim=5, kv_rank=8)
FULL = dataclasses.replace(PLAIN, q_rank=7, bias=True, pairs="interleaved", score_factor=1.3)
CONFIGS = [PLAIN, FULL, dataclasses.replace(PLAIN, kv_rank=3, rope_dim=2, pairs="interleaved")]
FORMS: list[Literal["expanded", "absorbed"]] = ["expanded", "absorbed"]


def make(config: LatentAttention = FULL) -> LatentMixer:
    return randomise(LatentMixer(WIDTH, config))


def places(config: LatentAttention, start: int = 0, time: int = TIME, **more: Any) -> Rotation:
    return rope_rotation(torch.arange(start, start + time)[None], config.rope_dim, dtype=torch.float64, **more)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("padded", [False, True])
def test_absorbed_is_expanded(config: LatentAttention, padded: bool) -> None:
    mine, x, rotation = make(config), normal(2, TIME, WIDTH), places(config)
    steps = torch.arange(TIME)[None]
    mask = causal_mask(steps, steps) & padding_mask(bits(2, TIME)) if padded else "causal"
    outs, gradients = [], []
    for form in FORMS:
        mine.zero_grad()
        outs.append(mine(x, mask=mask, rotation=rotation, form=form))
        outs[-1].square().sum().backward()
        gradients.append([weight.grad for weight in mine.parameters()])
    close(*outs)
    for expanded, absorbed in zip(*gradients, strict=True):
        assert expanded is not None and absorbed is not None
        close(absorbed / absorbed.abs().max().clamp(min=1), expanded / absorbed.abs().max().clamp(min=1))


@given(st.sampled_from(CONFIGS), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([None, *FORMS]))
def test_any_split_of_a_text_gives_the_same(config: LatentAttention, pieces: list[int], form: Any) -> None:
    mine, time = make(config), sum(pieces)
    x, valid = normal(2, time, WIDTH), bits(2, time)
    steps = torch.arange(time)[None]
    mask = causal_mask(steps, steps) & padding_mask(valid)
    whole = mine(x, mask=mask, rotation=places(config, time=time), form="expanded")
    state, outs, start = mine.new_state(2, time + 1), [], 0
    with torch.no_grad():
        for piece in x.split(pieces, dim=1):
            end = start + piece.shape[1]
            rotation = places(config, start, end - start)
            outs.append(mine(piece, mask=mask[:, :, start:end, :end], rotation=rotation, state=state, form=form))
            start = end
    close(torch.cat(outs, dim=1), whole)
    assert state.length == time


@given(st.permutations(range(4)))
def test_rows_do_not_feel_each_other(rows: list[int]) -> None:
    mine, x, rotation = make(), normal(4, TIME, WIDTH), places(FULL)
    close(mine(x[rows], mask="causal", rotation=rotation), mine(x, mask="causal", rotation=rotation)[rows])


def test_padding_changes_nothing() -> None:
    mine, x, steps = make(), normal(2, TIME, WIDTH), torch.arange(TIME)[None]
    valid = torch.arange(TIME)[None] < torch.tensor([[TIME], [5]])
    padded = mine(x, mask=causal_mask(steps, steps) & padding_mask(valid), rotation=places(FULL))
    close(padded[1:, :5], mine(x[1:, :5], mask="causal", rotation=places(FULL, time=5)))


@torch.no_grad()
def test_a_state_is_small_and_can_be_rewound_and_selected() -> None:
    mine, x = make(), normal(2, TIME, WIDTH)
    state = mine.new_state(2, TIME)
    assert state.bytes == 2 * TIME * (8 + 4) * 8  # heads do not count

    def step(at: int) -> Tensor:
        return mine(x[:, at : at + 1], rotation=places(FULL, at, 1), state=state)

    outs = [step(at) for at in range(TIME)]
    state.rewind(4)
    close(step(4), outs[4])
    state.select(torch.tensor([1, 1]))
    close(step(5)[0], step_of_row(mine, x))
    with rejects("length", "at most 6", "7"):
        state.rewind(7)


def step_of_row(mine: LatentMixer, x: Tensor) -> Tensor:
    """What row 0 of x gives at position 5 behind the past of row 1."""
    mixed = torch.cat([x[1:, :5], x[:1, 5:6]], dim=1)
    return mine(mixed, mask="causal", rotation=places(FULL, time=6))[0, 5:]


def test_scores_depend_on_distances_alone() -> None:
    mine, x = make(), normal(2, TIME, WIDTH)
    near, far = (mine(x, mask="causal", rotation=places(FULL, start)) for start in (0, 50))
    close(near, far)
    assert difference(near, mine(x, mask="causal")) > 1e-2


def test_the_form_is_chosen_by_counting_products() -> None:
    config = LatentAttention(num_heads=128, head_dim=128, rope_dim=64, value_dim=128, kv_rank=512)  # DeepSeek-V3

    def products(queries: int, keys: int, form: str) -> int:
        rank, out = config.kv_rank, config.head_dim + config.value_dim
        if form == "expanded":
            return keys * rank * out + queries * keys * (out + config.rope_dim)
        return queries * rank * out + queries * keys * (2 * rank + config.rope_dim)

    for queries, keys in ((1, 1), (1, 2), (1, 4096), (170, 10**6), (171, 10**6), (64, 64), (64, 128)):
        pays = products(queries, keys, "absorbed") < products(queries, keys, "expanded")
        assert config.absorbing_pays(queries, keys) == pays, (queries, keys)
    assert config.absorbing_pays(170, 10**6) and not config.absorbing_pays(171, 10**6)


# The layer of transformers ------------------------------------------------------------------------------------------

RENAMED = {
    **{"q_proj": "to_q", "q_a_proj": "to_q_latent", "q_a_layernorm": "q_norm", "q_b_proj": "to_q"},
    **{"kv_a_proj_with_mqa": "to_latent", "kv_a_layernorm": "latent_norm", "kv_b_proj": "to_kv", "o_proj": "to_out"},
}
YARN = {
    **{"rope_type": "yarn", "rope_theta": 1e4, "factor": 40.0, "original_max_position_embeddings": 4},
    **{"beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
}


def outputs(
    mine: LatentAttention, dtype: torch.dtype, *, yarn: bool = False, zeroed: str = ""
) -> tuple[Tensor, Tensor]:
    """Both layers with equal, redrawn weights on a causal text; with `zeroed`, ours lacks that one tensor."""
    config = hf.DeepseekV3Config(
        **{"hidden_size": WIDTH, "num_attention_heads": 3, "num_key_value_heads": 3, "q_lora_rank": mine.q_rank},
        **{"kv_lora_rank": 8, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5},
        **{"attention_bias": mine.bias, "rope_interleave": mine.pairs == "interleaved", "max_position_embeddings": 160},
        rope_parameters=dict(YARN) if yarn else {"rope_type": "default", "rope_theta": 1e4},
        attn_implementation="eager",
    )
    x, steps = normal(2, TIME, WIDTH).to(dtype), torch.arange(TIME)[None]
    blocked = torch.full((TIME, TIME), -torch.inf, dtype=dtype).triu(1)[None, None]
    with wholly_in(dtype), torch.no_grad():
        theirs = redraw(deepseek.DeepseekV3Attention(config, 0), dtype, scale=2.0)
        turns = deepseek.DeepseekV3RotaryEmbedding(config)(x, steps)
        expected, _ = theirs(x, turns, blocked)
    layer = LatentMixer(WIDTH, mine).to(dtype)
    names = {name: f"{RENAMED[name.split('.')[0]]}.{name.split('.')[1]}" for name in theirs.state_dict()}
    layer.load_state_dict({names[n]: part * (names[n] != zeroed) for n, part in theirs.state_dict().items()})
    scaling = YarnScaling(factor=40.0, original_length=4, attention_factor=1.0) if yarn else None
    rotation = rope_rotation(steps, 4, scaling=scaling, dtype=dtype)
    return layer(x, mask="causal", rotation=rotation).detach(), expected


VARIANTS = [
    dataclasses.replace(PLAIN, bias=bias, q_rank=q_rank, pairs=pairs)
    for bias in (False, True)
    for q_rank in (None, 7)
    for pairs in ("half", "interleaved")
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", VARIANTS)
def test_the_layer_of_transformers(config: LatentAttention, dtype: torch.dtype) -> None:
    close(*outputs(config, dtype))


def test_the_layer_of_transformers_slowed_by_yarn() -> None:
    factor = 0.1 * math.log(40.0) + 1
    config = dataclasses.replace(PLAIN, q_rank=7, pairs="interleaved", score_factor=factor**2)
    close(*outputs(config, torch.float64, yarn=True))
    assert difference(*outputs(dataclasses.replace(config, score_factor=1.0), torch.float64, yarn=True)) > 1e-3


def test_every_tensor_counts() -> None:
    config = dataclasses.replace(PLAIN, bias=True, q_rank=7)
    for name in LatentMixer(WIDTH, config).state_dict():
        assert difference(*outputs(config, torch.float64, zeroed=name)) > 1e-3, name


def test_dropout_acts_in_training_only() -> None:
    mine, x = randomise(LatentMixer(WIDTH, PLAIN, dropout=0.5)), normal(2, TIME, WIDTH)
    assert torch.equal(mine(x), mine(x))
    mine.train()
    assert not torch.equal(mine(x), mine(x))


@pytest.mark.parametrize("form", FORMS)
def test_autocast(form: Literal["expanded", "absorbed"]) -> None:
    mine, x = make().float(), normal(2, TIME, WIDTH).float()
    rotation = rope_rotation(torch.arange(TIME)[None], 4)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        low = mine(x, mask="causal", rotation=rotation, form=form, state=mine.new_state(2, TIME))
    torch.testing.assert_close(low.float(), mine(x, mask="causal", rotation=rotation), rtol=0.1, atol=0.1)


def test_bad_input() -> None:
    with rejects("rope_dim", "even", "3"):
        dataclasses.replace(PLAIN, rope_dim=3)
    with rejects("score_factor", "0"):
        dataclasses.replace(PLAIN, score_factor=0.0)
    with rejects("q_rank", "at least 1", "0"):
        dataclasses.replace(PLAIN, q_rank=0)
    mine = LatentMixer(WIDTH, PLAIN)
    with rejects("x", "vectors of 12 numbers", "(2, 3, 13)"):
        mine(torch.zeros(2, 3, 13))
    with rejects("cos", "(2, 1, 3, 2)", "(1, 1, 3, 3)"):
        mine(torch.zeros(2, 3, WIDTH), rotation=rope_rotation(torch.arange(3)[None], 6))
    with rejects("state", "batch and width (2, 12)", "(1, 12)"):
        mine(torch.zeros(2, 3, WIDTH), state=mine.new_state(1, 4))
    with torch.no_grad(), rejects("state", "room for 4 more tokens of max_length=4", "5"):
        mine(torch.zeros(2, 5, WIDTH), state=mine.new_state(2, 4))
    with rejects("form", "expanded", "naive"):
        mine(torch.zeros(2, 3, WIDTH), form="naive")  # type: ignore[arg-type]
