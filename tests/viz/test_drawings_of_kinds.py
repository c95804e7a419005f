"""Models of other kinds than the chapters have can be drawn too, and nothing overlaps."""

from dataclasses import replace

import pytest
import torch

from tests.viz.drawn.case import config
from tests.viz.layout import faults, texts
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Experts,
    GatedDelta,
    LatentAttention,
    LayerConfig,
    Learned,
    LinearAttention,
    ModelConfig,
    NoPositions,
    Norm,
    NormOrder,
    Rope,
    Seq2SeqConfig,
    SharedExpert,
    Sinusoidal,
    SwiGlu,
)
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.attention import Attention
from transformer_lib.viz.diagram import Drawing
from transformer_lib.viz.drawings.attention import draw_lookup
from transformer_lib.viz.drawings.block import draw_block, draw_norm_orders
from transformer_lib.viz.drawings.decoder import draw_decoder
from transformer_lib.viz.drawings.encoder_decoder import draw_encoder_decoder
from transformer_lib.viz.drawings.heads import draw_heads, draw_shapes, draw_sharing
from transformer_lib.viz.drawings.masks import draw_masks
from transformer_lib.viz.drawings.products import draw_products
from transformer_lib.viz.drawings.stream import draw_stream

KINDS: dict[str, ModelConfig] = {
    "plain": replace(config(1), positions=NoPositions()),
    "learned": replace(config(1), positions=Learned(), tie_embeddings=False),
    "ALiBi": replace(config(1), positions=Alibi()),
    "sinusoids, post-norm": replace(config(1), positions=Sinusoidal(), norm_order="post"),
    "RMSNorm, SwiGLU": replace(config(1), norm=Norm(kind="rms"), feedforward=SwiGlu(d_ff=14_336), positions=Rope()),
}


def words(drawing: Drawing) -> list[str]:
    assert faults(drawing.svg) == []
    return [text.words for text in texts(drawing.svg)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_and_its_block(kind: str) -> None:
    model = DecoderLM(KINDS[kind])
    drawn = words(draw_decoder(model, torch.tensor([[1, 2, 3]]), ["a", "b", "c"]))
    assert "RMSNorm" in drawn if kind.startswith("RMS") else "LayerNorm" in drawn
    assert {"learned": "learned", "plain": "no positions", "ALiBi": "ALiBi"}.get(kind, "softmax") in drawn
    words(draw_block(KINDS[kind]))


LATENT = LatentAttention(num_heads=4, head_dim=8, rope_dim=4, value_dim=8, kv_rank=20)
EXPERTS = Experts(num_experts=8, top_k=2, d_ff=48, shared=SharedExpert(d_ff=24))
OTHERS: dict[str, tuple[LayerConfig, list[str], str]] = {
    "latent": (
        LayerConfig(attention=LATENT),
        ["latent attention", "4 heads", "a token keeps", "20 + 4"],
        "20 + 4 numbers",
    ),
    "delta": (
        LayerConfig(attention=GatedDelta(num_heads=4, key_dim=8, value_dim=16, num_key_heads=2, conv=3)),
        ["gated delta rule", "4 heads", "a text keeps", "4 × 8 × 16"],
        "4 × 8 × 16 numbers",
    ),
    "linear": (
        LayerConfig(attention=LinearAttention(num_heads=2)),
        ["linear attention", "2 heads", "2 × 16 × 17"],
        "2 × 16 × 17 numbers",
    ),
    "experts": (
        LayerConfig(feedforward=EXPERTS),
        ["attention", "8 experts", "32 → 48 → 32", "2 for a token", "shared: 24"],
        "2 of 8 experts and a shared one",
    ),
    "large": (
        LayerConfig(
            attention=LatentAttention(num_heads=128, head_dim=128, rope_dim=64, value_dim=128, kv_rank=512),
            feedforward=replace(EXPERTS, num_experts=512, top_k=10, d_ff=14_336, shared=SharedExpert(d_ff=14_336)),
        ),
        ["512 + 64", "512 experts", "10 for a token", "shared: 14336"],
        "10 of 512 experts",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("order", ["pre", "post"])
def test_a_block_with_other_parts(kind: str, order: NormOrder) -> None:
    layer, labels, said = OTHERS[kind]
    block = replace(config(1), norm_order=order).with_layer(layer)
    drawing = draw_block(block)
    drawn = words(drawing)
    assert set(labels) <= set(drawn) and said in drawing.alt
    words(draw_norm_orders(block))


def test_a_small_vocabulary_stands_below_its_probabilities() -> None:
    model, names = DecoderLM(replace(config(1), vocab_size=4)), ["a", "b", "3", "5"]
    drawing = draw_decoder(model, torch.tensor([[0, 2, 0]]), ["a", "3", "a"], vocabulary=names)
    assert faults(drawing.svg) == [] and "over the names of the tokens" in drawing.alt
    found = texts(drawing.svg)
    level = min(text.top for text in found if text.words == "b")  # b is not in the text
    below = [text for text in found if text.top == level]
    assert [text.words for text in below] == names
    middles = [(text.left + text.right) / 2 for text in below]
    bars = [40, 100, 160, 220]  # of 240 pixels around the stream at 130
    assert middles == pytest.approx(bars)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_decoder(kind: str) -> None:
    both = Seq2SeqConfig(encoder=KINDS[kind], decoder=KINDS[kind])
    drawn = words(draw_encoder_decoder(both, ["one"], ["<s>", "ein", "zwei"]))
    assert "memory 1 × 32" in drawn and "3 × 20 logits" in drawn


def test_the_stream_of_a_post_norm_model_is_no_sum() -> None:
    with pytest.raises(ValueError, match="norms before its parts"):
        draw_stream(DecoderLM(KINDS["sinusoids, post-norm"]), torch.tensor([[1]]), "a")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_lookup_among_few_or_many(count: int) -> None:
    torch.manual_seed(0)
    keys = torch.randn(count, 6)
    drawn = words(
        draw_lookup(torch.randn(6), keys, torch.randn(count, 5), query_name="q", names=[f"k{i}" for i in range(count)])
    )
    assert f"k{count - 1}" in drawn and "softmax of score / √6" in drawn


@pytest.mark.parametrize("size", [(1, 4, 2, 2), (40, 768, 64, 64), (3, 3, 3, 3), (6, 8, 64, 2)])
def test_products_of_any_size_fit(size: tuple[int, int, int, int]) -> None:
    time, width, channels, value = size
    maps = [torch.ones(width, n) / width for n in (channels, channels, value)]
    assert str(time) in words(draw_products(torch.ones(time, width), *maps))


@pytest.mark.parametrize("heads", [1, 5])
def test_heads_and_who_shares_what(heads: int) -> None:
    drawn = words(draw_heads(Attention(8 * heads, AttentionConfig(num_heads=heads)), 200))
    assert f"Q{heads - 1}" in drawn and f"Q{heads}" not in drawn  # heads are counted from 0
    kinds = {"all": AttentionConfig(num_heads=heads), "one": AttentionConfig(num_heads=heads, num_kv_heads=1)}
    assert "one" in words(draw_sharing(kinds, 64 * heads))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 16), (3, 500, 4000), (1, 5, 1, 1), (2, 4, 30, 30)])
def test_shapes_of_three_axes_or_four(shape: tuple[int, ...]) -> None:
    drawn = words(draw_shapes({"one": torch.zeros(()).expand(shape)}))
    assert " × ".join(f"{size:,}" for size in shape) in drawn


def test_a_shape_of_two_axes_or_of_many_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="three axes or four"):
        draw_shapes({"one": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="at most 5 heads"):
        draw_shapes({"one": torch.zeros(1, 6, 2, 2)})


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (2, 8), (8, 3)])
def test_masks_of_any_shape(shape: tuple[int, int]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    drawn = words(draw_masks(dict.fromkeys(["one", "two", "three"][: shape[0]], mask)))
    assert f"{mask.numel()} of {mask.numel()} pairs" in drawn
