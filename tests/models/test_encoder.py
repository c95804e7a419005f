"""Encoder and its masked-language-model head against Hugging Face's BERT, and Encoder against PyTorch's."""

import dataclasses

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel

from tests.models.huggingface import to_bert
from tests.oracles import (
    CONFIG,
    TORCH_ENCODER,
    Tensors,
    bits,
    carry_over,
    close,
    integers,
    randomise,
    rename,
    same_gradients,
)
from transformer_lib.config import Activation, Alibi, AttentionConfig, Learned, Mlp, NoPositions, Norm, NormOrder
from transformer_lib.models import Encoder, MaskedLMHead

LIKE_BERT = dataclasses.replace(
    CONFIG,
    attention=AttentionConfig(num_heads=4, bias=True),
    feedforward=Mlp(d_ff=24),
    positions=Learned(),
    norm=Norm(eps=1e-3),
    norm_order="post",
    dropout=0.1,
    embedding_norm=True,
    segments=2,
)
HF = BertConfig(
    vocab_size=13,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=24,
    layer_norm_eps=1e-3,
    pad_token_id=None,  # else token 0 would get no gradient
)
TOKENS, SEGMENTS = integers(13, 3, 9), integers(2, 3, 9, seed=1)
VALID = torch.arange(9) < torch.tensor([[9], [4], [1]])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("segmented", [False, True])
def test_an_encoder_is_hugging_faces_bert(dtype: torch.dtype, padded: bool, segmented: bool) -> None:
    convert = to_bert(LIKE_BERT)
    mine = randomise(Encoder(LIKE_BERT), dtype=dtype)
    theirs = carry_over(mine, BertModel(HF, add_pooling_layer=False), convert)
    found = mine(TOKENS, valid=VALID if padded else None, segments=SEGMENTS if segmented else None)
    expected = theirs(
        TOKENS,
        attention_mask=VALID.long() if padded else None,
        token_type_ids=SEGMENTS if segmented else None,
    ).last_hidden_state
    real = VALID if padded else torch.ones_like(VALID)
    same_gradients(mine, theirs, convert, (found[real], expected[real]))


@DTYPES
def test_the_masked_lm_head_is_hugging_faces(dtype: torch.dtype) -> None:
    encoder = Encoder(LIKE_BERT)
    mine = randomise(nn.ModuleDict({"encoder": encoder, "head": MaskedLMHead(LIKE_BERT, encoder.embedding.tokens)}))
    mine.to(dtype)
    head = rename(
        {
            "head.dense": "cls.predictions.transform.dense",
            "head.norm": "cls.predictions.transform.LayerNorm",
            "head.to_vocab": "cls.predictions",
        }
    )

    def convert(tensors: Tensors) -> Tensors:
        body = {name.removeprefix("encoder."): weight for name, weight in tensors.items() if "head" not in name}
        body = {f"bert.{name}": weight for name, weight in to_bert(LIKE_BERT)(body).items()}
        return body | head({name: weight for name, weight in tensors.items() if "head" in name})

    theirs = carry_over(mine, BertForMaskedLM(HF), convert)
    found = mine["head"](encoder(TOKENS, valid=VALID, segments=SEGMENTS))
    expected = theirs(TOKENS, attention_mask=VALID.long(), token_type_ids=SEGMENTS).logits
    same_gradients(mine, theirs, convert, (found[VALID], expected[VALID]))


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_is_torchs(order: NormOrder, activation: Activation) -> None:
    config = dataclasses.replace(LIKE_BERT, positions=NoPositions(), segments=0, embedding_norm=False, norm=Norm())
    config = dataclasses.replace(config, norm_order=order, feedforward=Mlp(d_ff=24, activation=activation))
    mine, valid = randomise(Encoder(config)), bits(3, 9)
    layer = nn.TransformerEncoderLayer(16, 4, 24, 0.0, activation, norm_first=order == "pre", batch_first=True)
    final = nn.LayerNorm(16) if order == "pre" else None
    theirs = nn.ModuleDict(
        {
            "embedding": nn.Embedding(13, 16),
            "body": nn.TransformerEncoder(layer, 2, final, enable_nested_tensor=False),
        }
    )
    names = {"blocks.": "body.layers.", "final_norm": "body.norm", "embedding.tokens": "embedding"} | TORCH_ENCODER
    carry_over(mine, theirs, rename(names))
    expected = theirs["body"](theirs["embedding"](TOKENS), src_key_padding_mask=~valid)
    same_gradients(mine, theirs, rename(names), (mine(TOKENS, valid=valid)[valid], expected[valid]))


@pytest.mark.parametrize("window", [1, 3, 20])
def test_a_window_reaches_equally_far_in_both_directions(window: int) -> None:
    config = dataclasses.replace(CONFIG, num_layers=1, attention=AttentionConfig(num_heads=4, window=window))
    model = randomise(Encoder(config))
    changed = TOKENS.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 13
    differs = (model(TOKENS) - model(changed)).abs().amax(dim=(0, 2)) > 0
    assert differs.tolist() == [abs(time - 4) < window for time in range(9)]


def test_unless_given_every_token_is_of_the_first_segment() -> None:
    model = randomise(Encoder(LIKE_BERT))
    assert torch.equal(model(TOKENS), model(TOKENS, segments=torch.zeros_like(TOKENS)))
    assert not torch.equal(model(TOKENS), model(TOKENS, segments=SEGMENTS))


def test_scaled_embeddings_are_multiplied_by_the_root_of_the_width() -> None:
    plain = randomise(Encoder(dataclasses.replace(CONFIG, positions=Learned())))
    scaled = randomise(Encoder(dataclasses.replace(CONFIG, positions=Learned(), scale_embeddings=True)))
    positions = torch.arange(9)[None]
    with torch.no_grad():
        scaled.embedding.tokens.weight /= 4
    close(scaled.embedding(TOKENS, positions), plain.embedding(TOKENS, positions))


@pytest.mark.parametrize("heads", [1, 4])
def test_an_encoder_with_alibi_is_torchs_with_a_bias_equal_in_both_directions(heads: int) -> None:
    """The bias -2^(-8 h / heads) |i - j| of head h, entry by entry: for keys after the query as for those before."""
    attention = AttentionConfig(num_heads=heads, bias=True)
    config = dataclasses.replace(LIKE_BERT, attention=attention, positions=Alibi(), segments=0, embedding_norm=False)
    config = dataclasses.replace(config, feedforward=Mlp(d_ff=24, activation="relu"), norm=Norm())
    mine = randomise(Encoder(config))
    layer = nn.TransformerEncoderLayer(16, heads, 24, 0.0, "relu", batch_first=True)
    body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    theirs = nn.ModuleDict({"embedding": nn.Embedding(13, 16), "body": body})
    carry_over(mine, theirs, rename({"blocks.": "body.layers.", "embedding.tokens": "embedding"} | TORCH_ENCODER))
    bias = torch.tensor(
        [[[-(2 ** (-8 * h / heads)) * abs(i - j) for j in range(9)] for i in range(9)] for h in range(1, heads + 1)],
        dtype=torch.float64,
    )
    expected = theirs["body"].train()(theirs["embedding"](TOKENS), mask=bias.repeat(3, 1, 1))
    close(mine(TOKENS), expected)
