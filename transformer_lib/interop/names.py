"""Which weight of Hugging Face's is which of ours: one map per family, read in both directions.

A line of a map names one of our modules and the modules of theirs whose rows, one below the other, it consists of; `*`
is the number of a layer. What follows, `weight` or `bias`, is the same on both sides, or else stands in the line.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.config import ModelConfig, Rope, Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.nn.positions import rope_frequencies, sinusoidal

Named = dict[str, Tensor]
Config = ModelConfig | Seq2SeqConfig
Computed = Callable[[Tensor, Config], bool]  # whether a tensor that they store is what we compute


@checked
@dataclass(frozen=True, kw_only=True)
class Family:
    """The names of one `model_type`.

    `architectures` gives the class of ours for each of theirs. `prefix` begins the names of the bare model where it
    has a head, and is missing where it has none. `tied` are further names of a weight that has one already.
    """

    model_type: str
    architectures: dict[str, str]
    prefix: str
    names: dict[str, tuple[str, ...]]
    tied: dict[str, str]
    computed: dict[str, Computed] = field(default_factory=dict)
    transposed: tuple[str, ...] = ()  # modules of theirs whose weight is stored as (in, out)
    sines_first: bool = False  # their sinusoids are all sines, then all cosines; ours alternate (Vaswani et al. 2017)

    def theirs(self, name: str) -> list[str]:
        """Their names for what we call `name`."""
        pattern = re.sub(r"(?<=blocks\.)\d+", "*", name)
        layer = re.search(r"(?<=blocks\.)\d+", name)
        module, _, kind = pattern.rpartition(".")
        known = pattern in self.names or module in self.names
        require(known, "name", f"must be of a weight that {self.model_type!r} has a place for", name)
        found = self.names.get(pattern) or tuple(f"{part}.{kind}" for part in self.names[module])
        return [part.replace("*", layer.group()) if layer else part for part in found]


@checked
def to_theirs(tensors: Named, family: Family, config: Config) -> Named:
    """Our tensors under their names and in their layout."""
    found: Named = {}
    for name, tensor in tensors.items():
        parts = family.theirs(name)
        tensor = _reorder(name, tensor, _order(family, config, back=False))
        if len(parts) > 1:
            heads = _heads(name, config)
            require(tensor.shape[:1] == (sum(heads),), name, f"must have {sum(heads)} rows", tuple(tensor.shape))
            rows = tensor.split(heads)
        else:
            rows = (tensor,)
        found |= {part: _layout(part, piece, family) for part, piece in zip(parts, rows, strict=True)}
    return found


@checked
def to_ours(tensors: Named, family: Family, config: Config, names: Iterable[str]) -> Named:
    """Their tensors, of the right shapes, as ours of these names."""
    found: Named = {}
    for name in names:
        parts = family.theirs(name)
        missing = [part for part in parts if part not in tensors]
        require(not missing, "tensors", f"must hold all that {name} consists of; missing are", missing)
        rows = [_layout(part, tensors[part], family) for part in parts]
        shapes = [tuple(row.shape) for row in rows]
        fit = len({shape[1:] for shape in shapes}) == 1 and (len(rows) == 1 or all(shapes))
        require(fit, name, "must consist of tensors of the same width", shapes)
        whole = torch.cat(rows) if len(rows) > 1 else rows[0]
        found[name] = _reorder(name, whole, _order(family, config, back=True)).contiguous()
    return found


def _layout(part: str, tensor: Tensor, family: Family) -> Tensor:
    """Its own inverse."""
    if part == "final_logits_bias":
        fits = tensor.ndim == 1 or (tensor.ndim == 2 and len(tensor) == 1)
        require(fits, part, "must be one row of numbers", tuple(tensor.shape))
        return tensor[None] if tensor.ndim == 1 else tensor[0]
    swapped = tensor.ndim == 2 and part.split(".")[-2] in family.transposed
    return tensor.mT if swapped else tensor


def _heads(name: str, config: Config) -> list[int]:
    """The rows of queries, keys and values."""
    if isinstance(config, Seq2SeqConfig):
        config = config.encoder if name.startswith("encoder.") else config.decoder
    attention = config.attention
    return [heads * config.head_dim for heads in (attention.num_heads, attention.kv_heads, attention.kv_heads)]


def _order(family: Family, config: Config, *, back: bool) -> Tensor | None:
    if not (family.sines_first and isinstance(config, Seq2SeqConfig)):
        return None
    channels = torch.arange(config.decoder.d_model)
    order = torch.cat([channels[0::2], channels[1::2]])
    return order.argsort() if back else order


def _reorder(name: str, tensor: Tensor, order: Tensor | None) -> Tensor:
    """Nothing but the sinusoids knows an order of the stream's channels, so all that touches the stream can change."""
    if order is None or name == "head.bias":
        return tensor
    order = order.to(tensor.device)
    writes = "to_out" in name or "norm" in name
    if writes or name.endswith("weight"):
        channels = tensor.shape[:1] if writes else tensor.shape[1:2]
        require(channels == (len(order),), name, f"must have {len(order)} channels", tuple(tensor.shape))
    if writes:
        return tensor[order]
    return tensor[:, order] if name.endswith("weight") else tensor


# The families ---------------------------------------------------------------------------------------------------------


def _is_causal(stored: Tensor, config: Config) -> bool:
    return stored.ndim >= 2 and torch.equal(stored, torch.ones_like(stored).tril())


def _is_minus_infinity(stored: Tensor, config: Config) -> bool:
    """What they added to the score of a token that may not be seen."""
    return stored.numel() == 1 and float(stored) < -9_900  # -10,000 in any type, or what stands for minus infinity


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
    assert isinstance(config, Seq2SeqConfig)
    if stored.ndim != 2 or stored.shape[1] != config.decoder.d_model or not stored.is_floating_point():
        return False
    waves = sinusoidal(torch.arange(len(stored)), config.decoder.d_model)
    wanted = torch.cat([waves[:, 0::2], waves[:, 1::2]], dim=1).double()
    error = 1e-2 if torch.finfo(stored.dtype).bits < 32 else 1e-3
    return torch.allclose(stored.double(), wanted, rtol=0, atol=error)


def _projections(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


def _llama_like(model_type: str, architecture: str) -> Family:
    layer = "model.layers.*"
    return Family(
        model_type=model_type,
        architectures={architecture: "DecoderLM"},
        prefix="model.",
        names={
            "embedding.tokens": ("model.embed_tokens",),
            "blocks.*.attention_norm": (f"{layer}.input_layernorm",),
            "blocks.*.attention.to_qkv": _projections(f"{layer}.self_attn", "q_proj", "k_proj", "v_proj"),
            "blocks.*.attention.q_norm": (f"{layer}.self_attn.q_norm",),
            "blocks.*.attention.k_norm": (f"{layer}.self_attn.k_norm",),
            "blocks.*.attention.to_out": (f"{layer}.self_attn.o_proj",),
            "blocks.*.feedforward_norm": (f"{layer}.post_attention_layernorm",),
            "blocks.*.feedforward.to_gate": (f"{layer}.mlp.gate_proj",),
            "blocks.*.feedforward.to_hidden": (f"{layer}.mlp.up_proj",),
            "blocks.*.feedforward.to_out": (f"{layer}.mlp.down_proj",),
            "final_norm": ("model.norm",),
            "head": ("lm_head",),
        },
        tied={"lm_head.weight": "model.embed_tokens.weight"},
        computed={"*.rotary_emb.inv_freq": _is_frequencies},
    )


def _marian_names() -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {
        "encoder.embedding.tokens": ("model.shared",),
        "head.bias": ("final_logits_bias",),
    }
    for ours, theirs in (("encoder.blocks.*", "model.encoder.layers.*"), ("blocks.*", "model.decoder.layers.*")):
        names |= {
            f"{ours}.attention.to_qkv": _projections(f"{theirs}.self_attn", "q_proj", "k_proj", "v_proj"),
            f"{ours}.attention.to_out": (f"{theirs}.self_attn.out_proj",),
            f"{ours}.attention_norm": (f"{theirs}.self_attn_layer_norm",),
            f"{ours}.cross_attention.to_qkv": _projections(f"{theirs}.encoder_attn", "q_proj", "k_proj", "v_proj"),
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
LLAMA = _llama_like("llama", "LlamaForCausalLM")
MISTRAL = _llama_like("mistral", "MistralForCausalLM")
QWEN3 = _llama_like("qwen3", "Qwen3ForCausalLM")
BERT = Family(
    model_type="bert",
    architectures={"BertModel": "Encoder", "BertForMaskedLM": "MaskedLM"},
    prefix="bert.",
    names={
        "embedding.tokens": ("bert.embeddings.word_embeddings",),
        "embedding.positions": ("bert.embeddings.position_embeddings",),
        "embedding.segments": ("bert.embeddings.token_type_embeddings",),
        "embedding.norm": ("bert.embeddings.LayerNorm",),
        "blocks.*.attention.to_qkv": _projections("bert.encoder.layer.*.attention.self", "query", "key", "value"),
        "blocks.*.attention.to_out": ("bert.encoder.layer.*.attention.output.dense",),
        "blocks.*.attention_norm": ("bert.encoder.layer.*.attention.output.LayerNorm",),
        "blocks.*.feedforward.to_hidden": ("bert.encoder.layer.*.intermediate.dense",),
        "blocks.*.feedforward.to_out": ("bert.encoder.layer.*.output.dense",),
        "blocks.*.feedforward_norm": ("bert.encoder.layer.*.output.LayerNorm",),
        "head.dense": ("cls.predictions.transform.dense",),
        "head.norm": ("cls.predictions.transform.LayerNorm",),
        "head.to_vocab.bias": ("cls.predictions.bias",),
    },
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    computed={"bert.embeddings.position_ids": _counts},
)
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
FAMILIES = {family.model_type: family for family in (GPT2, LLAMA, MISTRAL, QWEN3, BERT, MARIAN)}
