"""The attention module against `nn.MultiheadAttention`, and against itself with other numbers of key/value heads."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import bits, carry_over, close, normal, randomise, rejects, rename, same_gradients
from transformer_lib.config import AttentionConfig
from transformer_lib.nn import Attention, apply_rope, attend, padding_mask, rope_rotation

WIDTH, HEADS = 12, 3
CONFIG = AttentionConfig(num_heads=HEADS, bias=True)
to_torch = rename({"to_qkv.": "in_proj_", "to_out": "out_proj"})
VALID = bits(2, 7, seed=1)


def make(config: AttentionConfig = CONFIG) -> Attention:
    return randomise(Attention(WIDTH, config))


def torch_attention(mine: Attention, bias: bool) -> nn.MultiheadAttention:
    return carry_over(mine, nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True), to_torch)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_self_attention_is_torchs(bias: bool, causal: bool, padded: bool) -> None:
    mine = make(dataclasses.replace(CONFIG, bias=bias))
    theirs = torch_attention(mine, bias)
    x = normal(2, 7, WIDTH)
    valid = VALID.clone() if padded else torch.ones_like(VALID)
    valid[:, 0] = True  # torch gives NaN to a query that may look at nothing
    future = torch.ones(7, 7, dtype=torch.bool).triu(1)
    mask: Tensor | str | None = "causal" if causal else None
    if padded:
        mask = padding_mask(valid) & ~future if causal else padding_mask(valid)
    expected, _ = theirs(x, x, x, key_padding_mask=~valid, attn_mask=future if causal else None)
    same_gradients(mine, theirs, to_torch, (mine(x, mask=mask), expected))


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_cross_attention_is_torchs(bias: bool, projected: bool) -> None:
    mine = make(dataclasses.replace(CONFIG, bias=bias))
    theirs = torch_attention(mine, bias)
    x, source = normal(2, 4, WIDTH), normal(2, 7, WIDTH, seed=1)
    expected, _ = theirs(x, source, source, key_padding_mask=~VALID)
    context = mine.keys_values(source) if projected else source
    same_gradients(mine, theirs, to_torch, (mine(x, context=context, mask=padding_mask(VALID)), expected))


def test_queries_keys_and_values_alone_can_have_a_bias() -> None:
    mine, whole = make(dataclasses.replace(CONFIG, bias="qkv")), Attention(WIDTH, CONFIG).double()
    assert mine.to_out.bias is None
    whole.load_state_dict(mine.state_dict() | {"to_out.bias": torch.zeros(WIDTH, dtype=torch.float64)})
    x = normal(2, 7, WIDTH)
    close(mine(x, mask="causal"), whole(x, mask="causal"))
    with rejects("bias", "'out'"):
        AttentionConfig(num_heads=2, bias="out")  # type: ignore[arg-type]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_queries_are_full_heads_with_repeated_keys_and_values(kv_heads: int) -> None:
    config = AttentionConfig(num_heads=4, num_kv_heads=kv_heads, head_dim=6, bias=True, qk_norm=True)
    grouped, full = make(config), make(dataclasses.replace(config, num_kv_heads=4))

    def repeat(weight: Tensor) -> Tensor:
        q, *kv = weight.split([heads * grouped.head_dim for heads in grouped.heads])
        return torch.cat(
            [q, *(part.unflatten(0, (kv_heads, 6)).repeat_interleave(4 // kv_heads, 0).flatten(0, 1) for part in kv)]
        )

    full.load_state_dict({n: repeat(w) if "to_qkv" in n else w for n, w in grouped.state_dict().items()})
    x, rotation = normal(2, 7, WIDTH), rope_rotation(torch.arange(7)[None], 6, dtype=torch.float64)
    close(grouped(x, mask="causal", rotation=rotation), full(x, mask="causal", rotation=rotation))


def test_as_many_key_heads_as_heads_is_multi_head_attention() -> None:
    same = make(dataclasses.replace(CONFIG, num_kv_heads=HEADS))
    x = normal(2, 7, WIDTH)
    assert torch.equal(same(x, mask="causal"), make()(x, mask="causal"))


def test_normalised_queries_and_keys_ignore_their_size() -> None:
    mine = make(AttentionConfig(num_heads=HEADS, qk_norm=True))
    x = normal(2, 7, WIDTH)
    before = mine(x)
    with torch.no_grad():
        mine.to_qkv.weight[: 2 * WIDTH] *= 1e4  # the queries' and the keys' part
    torch.testing.assert_close(mine(x), before, rtol=1e-3, atol=1e-3)  # the norm's eps is no longer felt


def test_dropout_acts_in_training_only() -> None:
    mine = randomise(Attention(WIDTH, CONFIG, dropout=0.5))
    x = normal(2, 7, WIDTH)
    assert torch.equal(mine(x), mine(x))
    mine.train()
    assert not torch.equal(mine(x), mine(x))


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with rejects("d_model", "divisible by num_heads=3", "10"):
        Attention(10, CONFIG)


def test_a_rotation_has_no_meaning_for_a_context() -> None:
    rotation = rope_rotation(torch.arange(4)[None], 4, dtype=torch.float64)
    with rejects("rotation", "context"):
        make()(normal(1, 4, WIDTH), context=normal(1, 4, WIDTH), rotation=rotation)


def test_a_context_is_normalised_as_x_itself_is() -> None:
    mine = make(AttentionConfig(num_heads=HEADS, num_kv_heads=1, qk_norm=True))
    x = normal(2, 7, WIDTH)
    close(mine(x, context=x), mine(x))
    before = mine(x, context=3 * x)
    with torch.no_grad():
        mine.to_qkv.weight[: WIDTH + WIDTH // HEADS] *= 1e4  # the queries' and the keys' part
    torch.testing.assert_close(mine(x, context=3 * x), before, rtol=1e-3, atol=1e-3)


def test_a_rotation_of_few_channels_turns_the_first_and_leaves_the_others() -> None:
    mine, x = make(), normal(2, 5, WIDTH)
    rotation = rope_rotation(torch.arange(5)[None], 2, dtype=torch.float64)
    q, k, v = (part.unflatten(-1, (HEADS, 4)).transpose(1, 2) for part in mine.to_qkv(x).chunk(3, dim=-1))
    q, k = (torch.cat([apply_rope(part[..., :2], rotation), part[..., 2:]], dim=-1) for part in (q, k))
    expected = mine.to_out(attend(q, k, v, mask="causal").transpose(1, 2).flatten(2))
    close(mine(x, mask="causal", rotation=rotation), expected)


def test_a_gate_and_sinks_are_the_modules_own() -> None:
    mine, x = make(dataclasses.replace(CONFIG, gate=True, sinks=True)), normal(2, 5, WIDTH)
    q, k, v = (part.unflatten(-1, (HEADS, 4)).transpose(1, 2) for part in mine.to_qkv(x).chunk(3, dim=-1))
    read = attend(q, k, v, mask="causal", sinks=mine.sinks).transpose(1, 2).flatten(2)
    close(mine(x, mask="causal"), mine.to_out(read * (x @ mine.to_gate.weight.T).sigmoid()))


def test_qk_norm_over_all_heads_as_one_vector() -> None:
    mine, x = make(dataclasses.replace(CONFIG, qk_norm="whole", num_kv_heads=1)), normal(2, 5, WIDTH)
    q, k, v = mine.to_qkv(x).split([WIDTH, 4, 4], dim=-1)
    q, k = (
        part * norm.weight / (part.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        for part, norm in ((q, mine.q_norm), (k, mine.k_norm))
    )
    q, k, v = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in (q, k, v))
    close(mine(x, mask="causal"), mine.to_out(attend(q, k, v, mask="causal").transpose(1, 2).flatten(2)))
