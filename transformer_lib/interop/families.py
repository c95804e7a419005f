"""The families of Hugging Face's: what each calls its classes and its weights, and what it stores that ours compute."""

from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import ModelConfig, Rope, Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.interop.layouts import halves
from transformer_lib.interop.llama_names import MIXED, llama_like, projections
from transformer_lib.interop.names import Config, Family
from transformer_lib.nn.positions import rope_frequencies, sinusoidal

# What they store and ours compute: whether a tensor is the expected one ----------------------------------------------


def _is_causal(stored: Tensor, config: Config) -> bool:
    return stored.ndim >= 2 and torch.equal(stored, torch.ones_like(stored).tril())


def _is_minus_infinity(stored: Tensor, config: Config) -> bool:
    """What they added to the score of a token that may not be seen."""
    # -10,000 in any type, or what stands for minus infinity
    return stored.numel() == 1 and not stored.is_complex() and float(stored) < -9_900


def _counts(stored: Tensor, config: Config) -> bool:
    return stored.ndim == 2 and torch.equal(stored.double(), torch.arange(stored.shape[-1])[None].double())


def _is_frequencies(stored: Tensor, config: Config) -> bool:
    """With the scaling, or without: a linear one once divided the positions."""
    assert isinstance(config, ModelConfig) and isinstance(config.positions, Rope)
    if stored.shape != (config.head_dim // 2,) or not stored.is_floating_point():
        return False
    start, theta = torch.zeros(1, dtype=torch.long), config.positions.theta
    plain, scaled = (
        rope_frequencies(start, config.head_dim, theta, scaling, torch.float64).flatten()
        for scaling in (None, config.positions.scaling)
    )
    # Each to the digits that its type can hold: the slow ones, which tell two thetas apart, are 1e-5 and less.
    kind = torch.finfo(stored.dtype)
    rtol, atol = max(kind.eps, 1e-5), 2 * kind.smallest_normal * kind.eps
    return any(torch.allclose(stored.double(), wanted, rtol=rtol, atol=atol) for wanted in (plain, scaled))


def _is_sinusoids(stored: Tensor, config: Config) -> bool:
    if not isinstance(config, Seq2SeqConfig):
        return False
    if stored.ndim != 2 or stored.shape[1] != config.decoder.d_model or not stored.is_floating_point():
        return False
    waves = sinusoidal(torch.arange(len(stored)), config.decoder.d_model)
    wanted = torch.cat([waves[:, 0::2], waves[:, 1::2]], dim=1).double()
    error = 1e-2 if torch.finfo(stored.dtype).bits < 32 else 1e-3
    return torch.allclose(stored.double(), wanted, rtol=0, atol=error)


# Decoders, and Marian -------------------------------------------------------------------------------------------------


def _marian_names() -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {
        "encoder.embedding.tokens": ("model.shared",),
        "head.bias": ("final_logits_bias",),
    }
    for ours, theirs in (("encoder.blocks.*", "model.encoder.layers.*"), ("blocks.*", "model.decoder.layers.*")):
        names |= {
            f"{ours}.attention.to_qkv": projections(f"{theirs}.self_attn", "q_proj", "k_proj", "v_proj"),
            f"{ours}.attention.to_out": (f"{theirs}.self_attn.out_proj",),
            f"{ours}.attention_norm": (f"{theirs}.self_attn_layer_norm",),
            f"{ours}.cross_attention.to_qkv": projections(f"{theirs}.encoder_attn", "q_proj", "k_proj", "v_proj"),
            f"{ours}.cross_attention.to_out": (f"{theirs}.encoder_attn.out_proj",),
            f"{ours}.cross_norm": (f"{theirs}.encoder_attn_layer_norm",),
            f"{ours}.feedforward.to_hidden": (f"{theirs}.fc1",),
            f"{ours}.feedforward.to_out": (f"{theirs}.fc2",),
            f"{ours}.feedforward_norm": (f"{theirs}.final_layer_norm",),
        }
    return names


GPT2 = Family(
    model_type="gpt2",
    architectures={"GPT2LMHeadModel": "DecoderLM"},
    prefix="transformer.",
    names={
        "embedding.tokens": ("transformer.wte",),
        "embedding.positions": ("transformer.wpe",),
        "blocks.*.attention_norm": ("transformer.h.*.ln_1",),
        "blocks.*.attention.to_qkv": ("transformer.h.*.attn.c_attn",),
        "blocks.*.attention.to_out": ("transformer.h.*.attn.c_proj",),
        "blocks.*.feedforward_norm": ("transformer.h.*.ln_2",),
        "blocks.*.feedforward.to_hidden": ("transformer.h.*.mlp.c_fc",),
        "blocks.*.feedforward.to_out": ("transformer.h.*.mlp.c_proj",),
        "final_norm": ("transformer.ln_f",),
        "head": ("lm_head",),
    },
    tied={"lm_head.weight": "transformer.wte.weight"},
    computed={
        "transformer.h.*.attn.bias": _is_causal,
        "transformer.h.*.attn.masked_bias": _is_minus_infinity,
    },
    transposed=("c_attn", "c_proj", "c_fc"),
)
_TURNED = {"*.rotary_emb.inv_freq": _is_frequencies}
LLAMA = llama_like("llama", "LlamaForCausalLM", computed=_TURNED)
MISTRAL = llama_like("mistral", "MistralForCausalLM", computed=_TURNED)
QWEN2 = llama_like("qwen2", "Qwen2ForCausalLM", computed=_TURNED)
QWEN3 = llama_like("qwen3", "Qwen3ForCausalLM", computed=_TURNED)
MARIAN = Family(
    model_type="marian",
    architectures={"MarianMTModel": "Seq2Seq"},
    prefix="model.",
    names=_marian_names(),
    tied=dict.fromkeys(
        ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"),
        "model.shared.weight",
    ),
    computed={f"model.{side}.embed_positions.weight": _is_sinusoids for side in ("encoder", "decoder")},
    sines_first=True,
)

# Encoders -------------------------------------------------------------------------------------------------------------


def _encoder_family(
    model_type: str, theirs: str, masked: dict[str, tuple[str, ...]], sequence: dict[str, tuple[str, ...]], **parts: Any
) -> Family:
    """`masked` and `sequence` are the names in the two heads that differ from family to family."""
    heads = {"head": ("classifier",), "head.to_scores": ("qa_outputs",)}
    classes = {
        "Model": "Encoder",
        "ForMaskedLM": "MaskedLM",
        "ForSequenceClassification": "SequenceClassifier",
        "ForTokenClassification": "TokenClassifier",
        "ForQuestionAnswering": "SpanFinder",
    }
    parts["names"] = parts["names"] | masked | sequence | heads
    unused = parts.pop("unused", ())
    without = {theirs + kind: unused for kind in ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering")}
    architectures = {theirs + kind: ours for kind, ours in classes.items()} | parts.pop("more", {})
    return Family(model_type=model_type, architectures=architectures, unused=without, **parts)


def _bert_body(prefix: str) -> dict[str, tuple[str, ...]]:
    layer = f"{prefix}.encoder.layer.*"
    return {
        "embedding.tokens": (f"{prefix}.embeddings.word_embeddings",),
        "embedding.positions": (f"{prefix}.embeddings.position_embeddings",),
        "embedding.segments": (f"{prefix}.embeddings.token_type_embeddings",),
        "embedding.norm": (f"{prefix}.embeddings.LayerNorm",),
        "blocks.*.attention.to_qkv": projections(f"{layer}.attention.self", "query", "key", "value"),
        "blocks.*.attention.to_out": (f"{layer}.attention.output.dense",),
        "blocks.*.attention_norm": (f"{layer}.attention.output.LayerNorm",),
        "blocks.*.feedforward.to_hidden": (f"{layer}.intermediate.dense",),
        "blocks.*.feedforward.to_out": (f"{layer}.output.dense",),
        "blocks.*.feedforward_norm": (f"{layer}.output.LayerNorm",),
    }


def _distilbert_body() -> dict[str, tuple[str, ...]]:
    layer = "distilbert.transformer.layer.*"
    return {
        "embedding.tokens": ("distilbert.embeddings.word_embeddings",),
        "embedding.positions": ("distilbert.embeddings.position_embeddings",),
        "embedding.norm": ("distilbert.embeddings.LayerNorm",),
        "blocks.*.attention.to_qkv": projections(f"{layer}.attention", "q_lin", "k_lin", "v_lin"),
        "blocks.*.attention.to_out": (f"{layer}.attention.out_lin",),
        "blocks.*.attention_norm": (f"{layer}.sa_layer_norm",),
        "blocks.*.feedforward.to_hidden": (f"{layer}.ffn.lin1",),
        "blocks.*.feedforward.to_out": (f"{layer}.ffn.lin2",),
        "blocks.*.feedforward_norm": (f"{layer}.output_layer_norm",),
    }


def _roberta_like(model_type: str, theirs: str) -> Family:
    return _encoder_family(
        model_type,
        theirs,
        {
            "head.dense": ("lm_head.dense",),
            "head.norm": ("lm_head.layer_norm",),
            "head.to_vocab.bias": ("lm_head.bias",),
        },
        {"head.pooler.dense": ("classifier.dense",), "head.to_label": ("classifier.out_proj",)},
        prefix="roberta.",
        names=_bert_body("roberta"),
        tied={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
        computed={"roberta.embeddings.position_ids": _counts},
        unused=("roberta.pooler.*",),
        always_gelu=True,
    )


BERT = _encoder_family(
    "bert",
    "Bert",
    {
        "head.dense": ("cls.predictions.transform.dense",),
        "head.norm": ("cls.predictions.transform.LayerNorm",),
        "head.to_vocab.bias": ("cls.predictions.bias",),
    },
    {"head.pooler.dense": ("bert.pooler.dense",), "head.to_label": ("classifier",)},
    prefix="bert.",
    names=_bert_body("bert"),
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    computed={"bert.embeddings.position_ids": _counts},
    unused=("bert.pooler.*", "cls.seq_relationship.*"),
    more={"BertForPreTraining": "MaskedLM"},  # which also tells whether two sentences belong together: `drop` that
)
ROBERTA = _roberta_like("roberta", "Roberta")
XLM_ROBERTA = _roberta_like("xlm-roberta", "XLMRoberta")
DISTILBERT = _encoder_family(
    "distilbert",
    "DistilBert",
    {
        "head.dense": ("vocab_transform",),
        "head.norm": ("vocab_layer_norm",),
        "head.to_vocab.bias": ("vocab_projector.bias",),
    },
    {"head.pooler.dense": ("pre_classifier",), "head.to_label": ("classifier",)},
    prefix="distilbert.",
    names=_distilbert_body(),
    tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    computed={"distilbert.embeddings.position_ids": _counts},
    pooling="relu",
)
MODERNBERT = Family(
    model_type="modernbert",
    architectures={"ModernBertModel": "Encoder", "ModernBertForMaskedLM": "MaskedLM"},
    prefix="model.",
    names={
        "embedding.tokens": ("model.embeddings.tok_embeddings",),
        "embedding.norm": ("model.embeddings.norm",),
        "blocks.*.attention_norm": ("model.layers.*.attn_norm",),
        "blocks.*.attention.to_qkv": ("model.layers.*.attn.Wqkv",),
        "blocks.*.attention.to_out": ("model.layers.*.attn.Wo",),
        "blocks.*.feedforward_norm": ("model.layers.*.mlp_norm",),
        "blocks.*.feedforward.to_gate": ("model.layers.*.mlp.Wi.gate",),
        "blocks.*.feedforward.to_hidden": ("model.layers.*.mlp.Wi.hidden",),
        "blocks.*.feedforward.to_out": ("model.layers.*.mlp.Wo",),
        "final_norm": ("model.final_norm",),
        "head.dense": ("head.dense",),
        "head.norm": ("head.norm",),
        "head.to_vocab.bias": ("decoder.bias",),
    },
    tied={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    splits={
        f"model.layers.*.mlp.Wi.{kind}": halves(
            f"model.layers.*.mlp.Wi.gate.{kind}", f"model.layers.*.mlp.Wi.hidden.{kind}"
        )
        for kind in ("weight", "bias")
    },
    always_gelu=True,
)
_ALL = (GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, MARIAN, BERT, ROBERTA, XLM_ROBERTA, DISTILBERT, MODERNBERT, *MIXED)
FAMILIES = {family.model_type: family for family in _ALL}


@checked
def class_of(fields: dict[str, Any]) -> str:
    """The name of our class for what a `config.json` says, such as "TokenClassifier"; "" if it says none of them."""
    kind, named = fields.get("model_type", "bert"), fields.get("architectures")
    known = FAMILIES[kind].architectures if isinstance(kind, str) and kind in FAMILIES else {}
    found = named[0] if isinstance(named, list) and len(named) == 1 else None
    return known.get(found, "") if isinstance(found, str) else ""
