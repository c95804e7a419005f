"""Candidates of the encoder-decoder benchmark, and the sentence pairs that they are trained on.

Ours, torch's and MarianMT are one architecture, that of Vaswani et al. (2017): layers normalised after the residual
sum, ReLU, one scaled embedding for source, target and head, sinusoids. They start from the same weights, and MarianMT's
table of sinusoids is overwritten by ours, since it orders the channels differently. T5 and x-transformers are their own
architectures of equal size, without the scaling and at their own initial weights.
"""

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORE = -100
PAIRS_FILE = "multi30k/train.{}.gz"


class Size(NamedTuple):
    """Of a model, its vocabulary and the set of sentence pairs; the longest sentence has `longest` tokens."""

    layers: int
    d_model: int
    heads: int
    vocab: int
    batch: int
    pairs: int
    longest: int


class Pairs(NamedTuple):
    """A padded batch; `valid` marks the source's real tokens, and a label of -100 is padding."""

    source: Tensor
    valid: Tensor
    target: Tensor
    labels: Tensor


Loss = Callable[[Pairs], Tensor]


def lengths(size: Size) -> list[tuple[int, int]]:
    """(source, target) lengths of sentence pairs: Multi30k's words if `$TRANSFORMER_DATA` holds it, otherwise drawn.

    Drawn: normal, so that two thirds of the positions of a random batch of 64 are real and the two sides are related.
    """
    folder = Path(os.environ.get("TRANSFORMER_DATA", ""), PAIRS_FILE).parent
    if os.environ.get("TRANSFORMER_DATA") and folder.is_dir():
        texts = [gzip.decompress((folder / f"train.{side}.gz").read_bytes()).decode() for side in ("de", "en")]
        sides = [[len(line.split()) + 1 for line in text.splitlines()] for text in texts]
        pairs = list(zip(*sides, strict=True))
        random.Random(0).shuffle(pairs)
        return [(min(s, size.longest), min(t, size.longest)) for s, t in pairs[: size.pairs]]
    draw = random.Random(0).gauss
    drawn = []
    for _ in range(size.pairs):
        source = draw(20, 4)
        drawn.append(tuple(min(max(round(x), 4), size.longest) for x in (source, source + draw(0, 2))))
    return drawn


def batch_of(size: Size, rows: list[int], sides: list[tuple[int, int]]) -> Pairs:
    """The pairs of these numbers as a padded batch of random tokens; number i has the same tokens in every batch."""
    sources, targets = [], []
    for row in rows:
        generator = torch.Generator().manual_seed(row)
        source, target = sides[row]
        sources.append(torch.randint(1, size.vocab, (source,), generator=generator))
        targets.append(torch.randint(1, size.vocab, (target + 1,), generator=generator))
    pad = nn.utils.rnn.pad_sequence
    source = pad(sources, batch_first=True)
    labels = pad([target[1:] for target in targets], batch_first=True, padding_value=IGNORE)
    return Pairs(source, source > 0, pad([target[:-1] for target in targets], batch_first=True), labels)


def random_batches(sides: list[tuple[int, int]], budget: int, seed: int) -> Iterator[list[int]]:
    """One epoch in a random order, cut into batches whose padded size, both sides together, keeps to the budget."""
    order = list(range(len(sides)))
    random.Random(seed).shuffle(order)
    batch: list[int] = []
    for row in order:
        longest = [max(sides[i][side] for i in [*batch, row]) for side in (0, 1)]
        if batch and (len(batch) + 1) * sum(longest) > budget:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def our_model(size: Size) -> nn.Module:
    from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Seq2SeqConfig, Sinusoidal
    from transformer_lib.models import Seq2Seq

    side = ModelConfig(
        vocab_size=size.vocab,
        d_model=size.d_model,
        num_layers=size.layers,
        max_length=size.longest,
        attention=AttentionConfig(num_heads=size.heads, bias=True),
        feedforward=Mlp(d_ff=4 * size.d_model, activation="relu"),
        positions=Sinusoidal(),
        norm_order="post",
        scale_embeddings=True,
    )
    torch.manual_seed(0)
    return Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side))


def ours() -> Callable[[Size], tuple[nn.Module, Loss]]:
    from transformer_lib.training.chunked import chunked_token_loss

    def make(size: Size) -> tuple[nn.Module, Loss]:
        model = our_model(size)

        def loss_of(pairs: Pairs) -> Tensor:
            hidden = model.hidden(pairs.target, model.encode(pairs.source, pairs.valid))
            return chunked_token_loss(hidden, model.head.weight, pairs.labels).mean()

        return model, loss_of

    return make


def torch_transformer() -> Callable[[Size], tuple[nn.Module, Loss]]:
    from transformer_lib.nn.positions import sinusoidal

    names = {"encoder.blocks.": "core.encoder.layers.", "cross_attention": "multihead_attn", "cross_norm": "norm2"}
    names |= {"blocks.": "core.decoder.layers.", "attention_norm": "norm1", "attention.to_qkv.": "self_attn.in_proj_"}
    names |= {"attention.to_out": "self_attn.out_proj", "multihead_attn.to_qkv.": "multihead_attn.in_proj_"}
    names |= {"multihead_attn.to_out": "multihead_attn.out_proj"}
    names |= {"feedforward.to_hidden": "linear1", "feedforward.to_out": "linear2"}

    class Model(nn.Module):
        def __init__(self, size: Size) -> None:
            super().__init__()
            d = size.d_model
            self.embedding = nn.Embedding(size.vocab, d)
            options = {"dropout": 0.0, "batch_first": True}
            self.core = nn.Transformer(d, size.heads, size.layers, size.layers, 4 * d, **options)
            self.core.encoder.norm = self.core.decoder.norm = None  # the last layer ends with one already
            self.core.encoder.enable_nested_tensor = False
            self.register_buffer("sinusoids", sinusoidal(torch.arange(size.longest), d), persistent=False)
            causal = nn.Transformer.generate_square_subsequent_mask(size.longest, dtype=torch.bool)
            self.register_buffer("causal", causal, persistent=False)

        def embed(self, tokens: Tensor) -> Tensor:
            x = self.embedding(tokens)
            return x * x.shape[-1] ** 0.5 + self.sinusoids[: x.shape[1]]

        def forward(self, pairs: Pairs) -> Tensor:
            padding, time = ~pairs.valid, pairs.target.shape[1]
            x = self.core(
                self.embed(pairs.source),
                self.embed(pairs.target),
                tgt_mask=self.causal[:time, :time],
                tgt_is_causal=True,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
            return F.linear(x, self.embedding.weight)

    def make(size: Size) -> tuple[nn.Module, Loss]:
        model = Model(size)
        state = {"embedding.weight": None}
        for name, tensor in our_model(size).state_dict().items():
            if name.endswith("tokens.weight") or name == "head.weight":
                state["embedding.weight"] = tensor
                continue
            decoder = not name.startswith("encoder.")
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            state[name.replace("feedforward_norm", "norm3" if decoder else "norm2")] = tensor
        model.load_state_dict(state)
        return model, lambda pairs: _cross_entropy(model(pairs), pairs)

    return make


def marian() -> Callable[[Size], tuple[nn.Module, Loss]]:
    from transformers import MarianConfig, MarianMTModel

    from transformer_lib.nn.positions import sinusoidal

    names = {"cross_attention.to_out": "encoder_attn.out_proj", "cross_norm": "encoder_attn_layer_norm"}
    names |= {"cross_attention": "encoder_attn", "attention.to_out": "self_attn.out_proj", "attention.": "self_attn."}
    names |= {"attention_norm": "self_attn_layer_norm", "feedforward_norm": "final_layer_norm"}
    names |= {"feedforward.to_hidden": "fc1", "feedforward.to_out": "fc2"}

    def make(size: Size) -> tuple[nn.Module, Loss]:
        sides = {"layers": size.layers, "attention_heads": size.heads, "ffn_dim": 4 * size.d_model}
        config = MarianConfig(
            vocab_size=size.vocab,
            d_model=size.d_model,
            **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
            max_position_embeddings=size.longest,
            activation_function="relu",
            dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            scale_embedding=True,
            use_cache=False,
            attn_implementation="sdpa",
            pad_token_id=0,
            eos_token_id=0,
            forced_eos_token_id=None,
            decoder_start_token_id=0,
        )
        model = MarianMTModel(config)
        state = model.state_dict()
        for name, tensor in our_model(size).state_dict().items():
            if name.endswith("tokens.weight") or name == "head.weight":
                state |= {key: tensor for key in state if key.endswith(("shared.weight", "embed_tokens.weight"))}
                state["lm_head.weight"] = tensor
                continue
            name = name.replace("blocks.", "layers.") if "encoder." in name else f"decoder.{name}"
            name = "model." + name.replace("blocks.", "layers.")
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            if "to_qkv" in name:
                parts = zip("qkv", tensor.chunk(3), strict=True)
                state |= {name.replace("to_qkv", f"{letter}_proj"): part for letter, part in parts}
            else:
                state[name] = tensor
        sinusoids = sinusoidal(torch.arange(size.longest), size.d_model)
        state |= {key: sinusoids for key in state if "embed_positions" in key}
        model.load_state_dict(state)
        return model, _huggingface_loss(model)

    return make


def t5() -> Callable[[Size], tuple[nn.Module, Loss]]:
    from transformers import T5Config, T5ForConditionalGeneration

    def make(size: Size) -> tuple[nn.Module, Loss]:
        config = T5Config(
            vocab_size=size.vocab,
            d_model=size.d_model,
            d_kv=size.d_model // size.heads,
            d_ff=4 * size.d_model,
            num_layers=size.layers,
            num_heads=size.heads,
            dropout_rate=0.0,
            use_cache=False,
            pad_token_id=0,
            decoder_start_token_id=0,
        )
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(config)
        return model, _huggingface_loss(model)

    return make


def x_transformers() -> Callable[[Size], tuple[nn.Module, Loss]]:
    from x_transformers import XTransformer

    def make(size: Size) -> tuple[nn.Module, Loss]:
        side = {"num_tokens": size.vocab, "depth": size.layers, "heads": size.heads, "max_seq_len": size.longest}
        side |= {"attn_dim_head": size.d_model // size.heads, "attn_flash": True}
        torch.manual_seed(0)
        options = {f"{name}_{key}": value for name in ("enc", "dec") for key, value in side.items()}
        model = XTransformer(dim=size.d_model, tie_token_emb=True, **options)
        decoder = model.decoder.net  # without the wrapper, which would take one token more
        decoder.to_logits = nn.Linear(size.d_model, size.vocab, bias=False)
        decoder.to_logits.weight = model.encoder.token_emb.emb.weight

        def loss_of(pairs: Pairs) -> Tensor:
            memory = model.encoder(pairs.source, mask=pairs.valid, return_embeddings=True)
            return _cross_entropy(decoder(pairs.target, context=memory, context_mask=pairs.valid), pairs)

        return model, loss_of

    return make


def _huggingface_loss(model: nn.Module) -> Loss:
    return lambda pairs: (
        model(
            input_ids=pairs.source, attention_mask=pairs.valid, decoder_input_ids=pairs.target, labels=pairs.labels
        ).loss
    )


def _cross_entropy(logits: Tensor, pairs: Pairs) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), pairs.labels.flatten(), ignore_index=IGNORE)
