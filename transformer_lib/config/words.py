"""What a config says, in words: a line for each part of its layers, so that two models can be laid side by side.

Sizes are left out, and so are a base of `Rope` and an epsilon: two models of one architecture have the same lines.
"""

from collections.abc import Callable, Iterable

from transformer_lib.config.attention import AttentionConfig
from transformer_lib.config.experts import ClampedSwish, Experts
from transformer_lib.config.feedforward import Glu, Mlp, SwiGlu
from transformer_lib.config.mixers import GatedDelta, LatentAttention, LinearAttention
from transformer_lib.config.model import FeedForwardConfig, ModelConfig
from transformer_lib.config.positions import Alibi, Learned, NoPositions, Rope, Sinusoidal
from transformer_lib.contract import checked

_PLACES = {"pre": "before the part", "post": "after the sum", "part": "after the part", "both": "before and after it"}
_ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "gelu_tanh": "GELU (tanh)", "silu": "SiLU"}
_NONE = "none"


@checked
def in_words(config: ModelConfig) -> dict[str, str]:
    """The parts of a model and what each is, such as `{"norms": "RMSNorm", "biases": "q, k, v", ...}`.

    Where layers differ, a part says in how many of them it is what: "none in 9 of 36 layers, RoPE in 27".
    """
    said: dict[str, Callable[[ModelConfig], str]] = {
        "positions": _positions,
        "norms": _norms,
        "where they stand": _place,
        "attention": _attention,
        "QK-norm": lambda layer: _of_heads(layer, lambda heads: _qk_norm(heads)),
        "window": lambda layer: _of_heads(layer, lambda heads: f"{heads.window:,}" if heads.window else _NONE),
        "sinks": lambda layer: _of_heads(layer, lambda heads: "one a head" if heads.sinks else _NONE),
        "gate": lambda layer: _of_heads(layer, lambda heads: "sigmoid" if heads.gate else _NONE),
        "caps": _caps,
        "feed-forward": lambda layer: _feedforward(layer.feedforward),
        "biases": _biases,
        "head": lambda layer: "the embedding's weights" if layer.tie_embeddings else "weights of its own",
        "embeddings": _embeddings,
    }
    return {part: _over_layers(config, say) for part, say in said.items()}


def _over_layers(config: ModelConfig, say: Callable[[ModelConfig], str]) -> str:
    """What is said of all layers, or in how many of them each is said."""
    counts: dict[str, int] = {}
    for layer, count in config.tally:
        if text := say(layer):
            counts[text] = counts.get(text, 0) + count
    if len(counts) <= 1:
        return next(iter(counts), _NONE)
    ordered = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    (text, count), *others = ordered
    return ", ".join([f"{text} in {count} of {config.num_layers} layers", *(f"{a} in {b}" for a, b in others)])


def _of_heads(layer: ModelConfig, say: Callable[[AttentionConfig], str]) -> str:
    """What is said of softmax attention over keys and values; nothing of another mixer."""
    return say(layer.attention) if isinstance(layer.attention, AttentionConfig) else ""


def _positions(layer: ModelConfig) -> str:
    match layer.positions, layer.attention:
        case (NoPositions(), _) | (_, GatedDelta() | LinearAttention()):
            return _NONE
        case Sinusoidal(), _:
            return "sines, added"
        case Learned(), _:
            return "learned, added"
        case Alibi(), _:
            return "ALiBi"
        case Rope() as rope, mixer:
            part = " on one key for all heads" if isinstance(mixer, LatentAttention) else ""
            part += "" if rope.share == 1 else f" on {100 * rope.share:g} % of a head"
            return f"RoPE{part}" + ("" if rope.scaling is None else f" ({type(rope.scaling).__name__[:-7]})")


def _norms(layer: ModelConfig) -> str:
    if layer.norm.kind == "layer":
        return "LayerNorm" if layer.norm.bias else "LayerNorm without bias"
    return "RMSNorm, gain 1 + w" if layer.norm.centred else "RMSNorm"


def _place(layer: ModelConfig) -> str:
    return _PLACES[layer.norm_order] + ("" if layer.attention_norm else ", attention without")


def _attention(layer: ModelConfig) -> str:
    match layer.attention:
        case AttentionConfig() as heads:
            group = heads.num_heads // heads.kv_heads
            return "multi-head" if group == 1 else f"{group} queries a key"
        case LatentAttention():
            return "latent"
        case GatedDelta():
            return "gated delta rule"
        case LinearAttention():
            return "linear"


def _qk_norm(heads: AttentionConfig) -> str:
    return "all heads as one" if heads.qk_norm == "whole" else "per head" if heads.qk_norm else _NONE


def _caps(layer: ModelConfig) -> str:
    score = layer.attention.soft_cap if isinstance(layer.attention, AttentionConfig) else None
    return _listed(name for name, cap in (("scores", score), ("logits", layer.logit_cap)) if cap is not None)


def _feedforward(part: FeedForwardConfig) -> str:
    match part:
        case Mlp(activation=activation):
            return f"MLP, {_ACTIVATIONS[activation]}"
        case SwiGlu():
            return "gated, SiLU"
        case Glu(activation=activation):
            return f"gated, {_ACTIVATIONS[activation]}"
        case Experts() as experts:
            shared = "" if experts.shared is None else " and a shared one"
            gate = "clamped" if isinstance(experts.activation, ClampedSwish) else _ACTIVATIONS[experts.activation]
            balance = ", balanced by a bias" if experts.correction else ""
            chosen = f"{experts.top_k} of {experts.num_experts} experts{shared}"
            return f"{chosen} (gated, {gate}; {experts.router} router{balance})"


def _biases(layer: ModelConfig) -> str:
    mixer, part = layer.attention, layer.feedforward
    names = (
        ("q, k, v", isinstance(mixer, AttentionConfig) and mixer.qkv_bias),
        ("attention's output", isinstance(mixer, AttentionConfig) and mixer.out_bias),
        ("latents", isinstance(mixer, LatentAttention) and mixer.bias),
        ("experts" if isinstance(part, Experts) else "feed-forward", part.bias),
        ("router", isinstance(part, Experts) and part.router_bias),
        ("logits", layer.head_bias),
    )
    return _listed(name for name, has in names if has)


def _embeddings(layer: ModelConfig) -> str:
    names = (("times sqrt(d)", layer.scale_embeddings), ("normalised", layer.embedding_norm))
    return _listed(name for name, has in names if has) if any(has for _, has in names) else "as they are"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or _NONE
