"""What a Transformer is made of, as data.

A model is described by one frozen `ModelConfig`, composed of small parts. Where there is a choice, the part is a sum
type (`Mlp | SwiGlu`, `Rope | Alibi | ...`), so that a mixture which makes no sense cannot be written, and the code
that builds it is one `match`. Every field is checked when the config is made, and `to_json` / `from_json` are exact
inverses. Nothing here imports torch.

Left out: anything about training (see `transformer_lib.training`) and about devices.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from transformer_lib.checks import MOST_SIZE, require_base, require_eps, require_sizes, wrong_kind
from transformer_lib.checks import require as require
from transformer_lib.checks import require_flags as require_flags
from transformer_lib.checks import require_numbers as require_numbers
from transformer_lib.checks import require_positive as require_positive
from transformer_lib.contract import checked
from transformer_lib.scaling import LinearScaling as LinearScaling
from transformer_lib.scaling import Llama3Scaling as Llama3Scaling
from transformer_lib.scaling import NtkScaling as NtkScaling
from transformer_lib.scaling import RopeScaling as RopeScaling
from transformer_lib.scaling import YarnScaling as YarnScaling

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]
NormOrder = Literal["pre", "post"]


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """Layer normalisation (Ba et al. 2016) or root-mean-square normalisation (Zhang and Sennrich 2019)."""

    kind: Literal["layer", "rms"] = "layer"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        require_eps(self.eps)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionConfig:
    """Multi-head attention; fewer key/value heads than query heads gives grouped-query or multi-query attention.

    `num_kv_heads=None` means as many as query heads, `head_dim=None` means `d_model / num_heads`. `window=w` lets a
    position look at itself and the `w - 1` before it. `qk_norm` normalises each query and key (Henry et al. 2020).
    `bias` adds a vector to what each projection makes; "qkv" gives one to queries, keys and values alone (Qwen2).
    """

    num_heads: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    bias: bool | Literal["qkv"] = False
    qk_norm: bool = False
    window: int | None = None

    def __post_init__(self) -> None:
        require_sizes(num_heads=self.num_heads, num_kv_heads=self.kv_heads)
        divides = self.num_heads % self.kv_heads == 0
        require(divides, "num_kv_heads", f"must divide num_heads={self.num_heads}", self.kv_heads)
        if self.head_dim is not None:
            require_sizes(head_dim=self.head_dim)
        if self.window is not None:
            require_sizes(window=self.window)

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self.bias in (True, "qkv")

    @property
    def out_bias(self) -> bool:
        """Whether the projection back to the stream has a bias."""
        return self.bias is True


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Mlp:
    """The feed-forward network of Vaswani et al. (2017): widen to `d_ff`, activate, return to `d_model`."""

    d_ff: int
    activation: Activation = "gelu"
    bias: bool = True

    def __post_init__(self) -> None:
        require_sizes(d_ff=self.d_ff)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class SwiGlu:
    """The gated feed-forward network of Shazeer (2020); equal parameters to an `Mlp` at two thirds of its `d_ff`."""

    d_ff: int
    bias: bool = False

    def __post_init__(self) -> None:
        require_sizes(d_ff=self.d_ff)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class NoPositions:
    """No positional information; only a causal mask, if any, tells positions apart."""


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Sinusoidal:
    """Fixed sines and cosines added to the embeddings (Vaswani et al. 2017)."""

    base: float = 10_000.0

    def __post_init__(self) -> None:
        require_base("base", self.base)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """A trained vector for each of `max_length` positions, added to the embeddings (GPT-2, BERT)."""


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Rope:
    """Queries and keys rotated by an angle proportional to their position (Su et al. 2021).

    `scaling` carries a trained model to longer texts.
    """

    theta: float = 10_000.0
    scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        require_base("theta", self.theta)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Alibi:
    """A penalty on each score that grows with distance, one slope per head (Press et al. 2021)."""


Positions = NoPositions | Sinusoidal | Learned | Rope | Alibi
FeedForwardConfig = Mlp | SwiGlu


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One stack of Transformer blocks with its embedding.

    `scale_embeddings` multiplies them by sqrt(d_model) (Vaswani et al. 2017); `embedding_norm` normalises their sum
    and `segments` adds a trained vector per segment id (both BERT's); `head_bias` adds one number to the logits of each
    token (Marian's). `max_length` bounds a `Learned` position table
    and is the length the model is meant for otherwise.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    max_length: int
    attention: AttentionConfig
    feedforward: FeedForwardConfig
    positions: Positions
    norm: Norm = Norm()
    norm_order: NormOrder = "pre"
    dropout: float = 0.0
    tie_embeddings: bool = True
    scale_embeddings: bool = False
    embedding_norm: bool = False
    segments: int = 0
    head_bias: bool = False

    def __post_init__(self) -> None:
        require_sizes(
            vocab_size=self.vocab_size, d_model=self.d_model, num_layers=self.num_layers, max_length=self.max_length
        )
        require_numbers(dropout=self.dropout)
        require(0 <= self.dropout < 1, "dropout", "must be at least 0 and below 1", self.dropout)
        require(0 <= self.segments <= MOST_SIZE, "segments", f"must be from 0 to {MOST_SIZE}", self.segments)
        if self.attention.head_dim is None:
            heads = self.attention.num_heads
            require(self.d_model % heads == 0, "d_model", f"must be divisible by num_heads={heads}", self.d_model)
        width = self.attention.num_heads * self.head_dim
        require(width <= MOST_SIZE, "head_dim", f"must be at most {MOST_SIZE} / num_heads", self.head_dim)
        if isinstance(self.positions, Rope):
            require(self.head_dim % 2 == 0, "head_dim", "must be even for Rope", self.head_dim)
            wide = self.head_dim > 2 or not isinstance(self.positions.scaling, NtkScaling)
            require(wide, "head_dim", "must be above 2 for NtkScaling", self.head_dim)
        if isinstance(self.positions, Sinusoidal):
            require(self.d_model % 2 == 0, "d_model", "must be even for Sinusoidal", self.d_model)

    @property
    def head_dim(self) -> int:
        """Width of one head, d_k."""
        return self.attention.head_dim or self.d_model // self.attention.num_heads


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Seq2SeqConfig:
    """An encoder and a decoder of equal width; `share_embeddings` gives both one table (and one vocabulary)."""

    encoder: ModelConfig
    decoder: ModelConfig
    share_embeddings: bool = True

    def __post_init__(self) -> None:
        same = self.encoder.d_model == self.decoder.d_model
        require(same, "decoder.d_model", f"must equal encoder.d_model={self.encoder.d_model}", self.decoder.d_model)
        if self.share_embeddings:
            same = self.encoder.vocab_size == self.decoder.vocab_size
            rule = f"must equal encoder.vocab_size={self.encoder.vocab_size} to share embeddings"
            require(same, "decoder.vocab_size", rule, self.decoder.vocab_size)


_PARTS = ModelConfig | Seq2SeqConfig | AttentionConfig | FeedForwardConfig | Positions | Norm | RopeScaling
_TYPES = {kind.__name__: kind for kind in get_args(_PARTS)}


@checked
def to_json(config: Any) -> str:
    """The config as JSON text; each part carries its type's name, so that `from_json` can rebuild it exactly.

    Another dataclass is written, too, if its fields are JSON values, but not rebuilt.
    """
    if not dataclasses.is_dataclass(config) or inspect.isclass(config):
        raise wrong_kind("config", "a config", config)
    try:
        return json.dumps(_to_tagged(config), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"config must hold JSON values: {error}") from error


@checked
def from_json(text: str) -> Any:
    """Rebuild what `to_json` wrote; a field with a default may be missing, so that older files can be read.

    Whatever is wrong within the text is a `ValueError`: no JSON, an unknown type or field, a missing field, a value
    that the field refuses.
    """
    try:
        tagged = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # json recurses into what is nested
        raise ValueError(f"config must be JSON text: {error}") from error
    require(isinstance(tagged, dict), "config", "must be a JSON object", tagged)
    try:
        return _from_tagged(tagged)
    except (TypeError, RecursionError) as error:  # here a wrong kind is a wrong value of the text
        raise ValueError(f"config must be what to_json writes: {error}") from error


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _to_tagged(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: _to_tagged(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"type": type(value).__name__} | fields


def _from_tagged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    require(isinstance(name, str) and name in _TYPES, "type", f"must be one of {sorted(_TYPES)}", name)
    kind = _TYPES[str(name)]
    fields = {key: _from_tagged(part) for key, part in value.items() if key != "type"}
    known = {field.name for field in dataclasses.fields(kind)}
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    rule = f"must be among {sorted(known)}, with none missing of {sorted(needed)}"
    require(needed <= fields.keys() <= known, f"fields of {name}", rule, sorted(fields))
    return kind(**fields)
