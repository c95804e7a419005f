"""Recording attention: true weights, unchanged outputs, and nothing left behind."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import unchecked
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    LatentAttention,
    LayerConfig,
    LinearAttention,
    Mlp,
    ModelConfig,
    Positions,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
    SwiGlu,
)
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.nn.attend import attend
from transformer_lib.nn.attention import Attention
from transformer_lib.viz.record import Look, record_attention

VOCAB, LAYERS, HEADS = 13, 2, 4


def config(positions: Positions, **attention: object) -> ModelConfig:
    return ModelConfig(
        vocab_size=VOCAB,
        d_model=16,
        num_layers=LAYERS,
        max_length=32,
        attention=AttentionConfig(num_heads=HEADS, **attention),
        feedforward=SwiGlu(d_ff=24) if attention else Mlp(d_ff=24),
        positions=positions,
    )


@pytest.fixture(autouse=True)
def float64() -> object:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def decoder() -> DecoderLM:
    return DecoderLM(config(Rope(), num_kv_heads=2, qk_norm=True, window=5)).eval()


def tokens(length: int, batch: int = 2) -> Tensor:
    return torch.randint(VOCAB, (batch, length))


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_decoder(decoder: DecoderLM) -> None:
    x = tokens(9)
    with record_attention(decoder) as looks:
        inside = decoder(x)
    same(inside, decoder(x))
    assert [look.name for look in looks] == ["blocks.0.attention", "blocks.1.attention"]
    positions = torch.arange(9)
    distance = positions[:, None] - positions
    allowed = (distance >= 0) & (distance < 5)
    for look in looks:
        assert look.weights.shape == (2, HEADS, 9, 9)
        same(look.weights.sum(-1), torch.ones(2, HEADS, 9))
        assert torch.equal(look.weights > 0, allowed.expand(2, HEADS, 9, 9))


def test_weights_against_multihead_attention() -> None:
    """PyTorch's own module, with copied projections, returns the weights that we record."""
    ours = Attention(16, AttentionConfig(num_heads=HEADS))
    theirs = nn.MultiheadAttention(16, HEADS, bias=False, batch_first=True)
    theirs.in_proj_weight, theirs.out_proj.weight = ours.to_qkv.weight, ours.to_out.weight
    x = torch.randn(2, 6, 16)
    blocked = ~torch.ones(6, 6).tril().bool()
    with record_attention(nn.ModuleDict({"a": ours})) as looks:
        found = ours(x, mask="causal")
    expected, weights = theirs(x, x, x, attn_mask=blocked, average_attn_weights=False)
    same(found, expected)
    assert looks[0].name == "a"
    same(looks[0].weights, weights)


def test_encoder_gives_padding_no_weight() -> None:
    model = Encoder(config(Alibi())).eval()
    x, valid = tokens(6), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    with record_attention(model) as looks:
        inside = model(x, valid=valid)
    same(inside, model(x, valid=valid))
    assert len(looks) == LAYERS
    for look in looks:
        assert torch.equal(look.weights > 0, valid[:, None, None, :].expand(2, HEADS, 6, 6))


def test_seq2seq_tells_self_from_cross() -> None:
    model = Seq2Seq(Seq2SeqConfig(encoder=config(Sinusoidal()), decoder=config(Sinusoidal()))).eval()
    source, target = tokens(7), tokens(5)
    with record_attention(model) as looks:
        inside = model(source, target)
    same(inside, model(source, target))
    shapes = [(look.name, look.weights.shape[-2:]) for look in looks]
    assert shapes == [
        *((f"encoder.blocks.{i}.attention", (7, 7)) for i in range(LAYERS)),
        *(
            (f"blocks.{i}.{kind}", (5, n))
            for i in range(LAYERS)
            for kind, n in [("attention", 5), ("cross_attention", 7)]
        ),
    ]


def test_latent_attention_is_looked_at_and_a_recurrent_layer_passed_over() -> None:
    latent = LatentAttention(num_heads=HEADS, head_dim=4, rope_dim=2, value_dim=3, kv_rank=5)
    layers = (LayerConfig(attention=latent), LayerConfig(attention=LinearAttention(num_heads=2)))
    model, x = DecoderLM(dataclasses.replace(config(Rope()), num_layers=2, pattern=layers)).eval(), tokens(6)
    with record_attention(model) as looks:
        inside = model(x)
    same(inside, model(x))
    assert [look.name for look in looks] == ["blocks.0.attention"]
    same(looks[0].weights.sum(dim=-1), torch.ones(2, HEADS, 6))
    assert not looks[0].weights.triu(1).any()
    cache = model.new_cache(2, 6)
    with record_attention(model) as pieces:
        for piece in x.split([5, 1], dim=1):
            model(piece, cache=cache)
    same(pieces[1].weights, looks[0].weights[:, :, 5:])


def test_with_a_cache_the_rows_are_those_of_one_pass(decoder: DecoderLM) -> None:
    x = tokens(8)
    with record_attention(decoder) as whole:
        decoder(x)
    cache = decoder.new_cache(batch=2, max_length=8)
    with record_attention(decoder) as pieces:
        for piece in x.split([5, 1, 2], dim=1):
            decoder(piece, cache=cache)
    # of the tokens so far, those that a window of 5 shows to the new ones
    assert [tuple(look.weights.shape[-2:]) for look in pieces[::LAYERS]] == [(5, 5), (1, 5), (2, 6)]
    for layer in range(LAYERS):
        row = 0
        for look in pieces[layer::LAYERS]:
            new, keys = look.weights.shape[-2:]
            row += new
            same(look.weights, whole[layer].weights[:, :, row - new : row, row - keys : row])
            assert not whole[layer].weights[:, :, row - new : row, : row - keys].any()


def test_gradients_are_those_of_the_fused_path(decoder: DecoderLM) -> None:
    x = tokens(6)
    decoder(x).square().mean().backward()
    expected = decoder.embedding.tokens.weight.grad
    decoder.zero_grad()
    with record_attention(decoder) as looks:
        decoder(x).square().mean().backward()
    same(decoder.embedding.tokens.weight.grad, expected)
    assert not any(look.weights.requires_grad for look in looks)


def test_nothing_is_left_behind(decoder: DecoderLM) -> None:
    before = [copy.copy(vars(module)) for module in decoder.modules()]
    with pytest.raises(RuntimeError, match="mid-way"), record_attention(decoder) as looks:
        decoder(tokens(3))
        raise RuntimeError("mid-way")
    assert [vars(module).keys() for module in decoder.modules()] == [names.keys() for names in before]
    assert all(module.attend is attend for module in decoder.modules() if isinstance(module, Attention))
    decoder(tokens(3))
    assert len(looks) == LAYERS


def test_two_models_at_once(decoder: DecoderLM) -> None:
    other = Encoder(config(Sinusoidal()))
    with record_attention(decoder) as first, record_attention(other) as second:
        decoder(tokens(3))
        other(tokens(4))
    assert [look.weights.shape[-1] for look in first + second] == [3, 3, 4, 4]


def test_recording_twice_at_once(decoder: DecoderLM) -> None:
    with record_attention(decoder) as looks:
        with (
            pytest.raises(ValueError, match=r"model must not be recorded twice at once, got 'blocks\.0\.attention'"),
            record_attention(decoder),
        ):
            pass
        decoder(tokens(3))
    assert len(looks) == LAYERS  # the refusal did not end the first recording


def test_model_without_attention() -> None:
    with (
        pytest.raises(ValueError, match="model must hold attention modules, got 'Linear'"),
        record_attention(nn.Linear(2, 2)),
    ):
        pass


def test_wrong_kinds() -> None:
    with unchecked(), pytest.raises(TypeError, match="model must be a Module, got 'gpt2' of type str"):
        record_attention("gpt2")
    with unchecked(), pytest.raises(TypeError, match="weights must be a Tensor, got None"):
        Look("attention", None)
    with (
        unchecked(),
        pytest.raises(ValueError, match=r"weights must have the axes batch, heads, query, key, got \(2, 3\)"),
    ):
        Look(name="attention", weights=torch.ones(2, 3))
