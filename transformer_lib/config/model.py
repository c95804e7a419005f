"""A stack of layers, as data, and the two stacks of an encoder-decoder.

Most models repeat one layer: its parts are fields of the `ModelConfig`. Where layers differ, `pattern` says in what.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from transformer_lib.checks import MOST_SIZE, require, require_between, require_eps, require_numbers, require_sizes
from transformer_lib.config.attention import LARGEST, LEAST, AttentionConfig
from transformer_lib.config.experts import Experts
from transformer_lib.config.feedforward import Glu, Mlp, SwiGlu
from transformer_lib.config.mixers import GatedDelta, LatentAttention, LinearAttention
from transformer_lib.config.positions import Alibi, NoPositions, Positions, Rope, Sinusoidal
from transformer_lib.contract import checked
from transformer_lib.later import LATER, fields_of

Mixer = AttentionConfig | LatentAttention | GatedDelta | LinearAttention
FeedForwardConfig = Mlp | SwiGlu | Glu | Experts
NormOrder = Literal["pre", "post", "both", "part"]


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Norm:
    """Layer normalisation (Ba et al. 2016) or root-mean-square normalisation (Zhang and Sennrich 2019).

    `bias=False` leaves out that of layer normalisation (ModernBERT). With `centred` the trained gains are what is added
    to 1, so that they begin at 0 (Gemma).
    """

    kind: Literal["layer", "rms"] = "layer"
    eps: float = 1e-5
    bias: bool = field(default=True, metadata=LATER)
    centred: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        require_eps(self.eps)
        require(self.bias or self.kind == "layer", "bias", "must be True unless kind is 'layer'", self.bias)
        require(not self.centred or self.kind == "rms", "centred", "must be False unless kind is 'rms'", self.centred)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerConfig:
    """What a layer has otherwise than its model says; None is as the model says.

    Positions that are added to the embeddings are those of the model: a layer can have `Rope`, `Alibi` or none.
    """

    attention: Mixer | None = None
    feedforward: FeedForwardConfig | None = None
    positions: NoPositions | Rope | Alibi | None = None
    norm_order: NormOrder | None = None
    attention_norm: bool | None = None


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One stack of Transformer blocks with its embedding.

    `scale_embeddings` multiplies them by sqrt(d_model) (Vaswani et al. 2017); `embedding_norm` normalises their sum
    and `segments` adds a trained vector per segment id (both BERT's); `head_bias` adds one number to the logits of each
    token (Marian's). `max_length` bounds a `Learned` position table
    and is the length the model is meant for otherwise.

    `norm_order` says where the norms stand: "pre" before each part, "post" after its sum with the stream, "part" after
    the part and before the sum (OLMo 2), "both" before and after the part (Gemma 3). `attention_norm=False` leaves out
    that of attention (ModernBERT's first layer). `residual_scale` multiplies what each part adds to the stream,
    `logit_cap=c` bends the logits to c tanh(logit / c).

    `pattern` is for layers that differ: layer i is `pattern[i % len(pattern)]`, so that three local layers and a global
    one are four `LayerConfig`s, however many layers the model has.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    max_length: int
    attention: Mixer
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
    attention_norm: bool = field(default=True, metadata=LATER)
    residual_scale: float = field(default=1.0, metadata=LATER)
    logit_cap: float | None = field(default=None, metadata=LATER)
    pattern: tuple[LayerConfig, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        require_sizes(
            vocab_size=self.vocab_size, d_model=self.d_model, num_layers=self.num_layers, max_length=self.max_length
        )
        require_numbers(dropout=self.dropout)
        require(0 <= self.dropout < 1, "dropout", "must be at least 0 and below 1", self.dropout)
        require(0 <= self.segments <= MOST_SIZE, "segments", f"must be from 0 to {MOST_SIZE}", self.segments)
        self._check_attention()
        if isinstance(self.positions, Sinusoidal):
            require(self.d_model % 2 == 0, "d_model", "must be even for Sinusoidal", self.d_model)
        require_between(LEAST, LARGEST, residual_scale=self.residual_scale)
        if self.logit_cap is not None:
            require_between(LEAST, LARGEST, logit_cap=self.logit_cap)
        possible = self.attention_norm or self.norm_order == "pre"
        require(possible, "attention_norm", "must be True unless norm_order is 'pre'", self.attention_norm)
        rule = f"must be at most num_layers={self.num_layers} layers"
        require(len(self.pattern) <= self.num_layers, "pattern", rule, len(self.pattern))
        for layer in self.pattern:
            self.with_layer(layer)  # which is checked as a model

    def _check_attention(self) -> None:
        """What attention says of itself fits the width of the model, and its positions."""
        match self.attention:
            case AttentionConfig(num_heads=heads, head_dim=width) | LinearAttention(num_heads=heads, head_dim=width):
                if width is None:
                    require(
                        self.d_model % heads == 0, "d_model", f"must be divisible by num_heads={heads}", self.d_model
                    )
                wide = heads * (width or self.d_model // heads)
            case LatentAttention() as latent:
                wide = latent.num_heads * (latent.head_dim + latent.rope_dim + latent.value_dim)
                possible = not isinstance(self.positions, Alibi)
                require(possible, "positions", "must not be Alibi for LatentAttention", self.positions)
                whole = not isinstance(self.positions, Rope) or self.positions.share == 1
                rule = "must have a share of 1 for LatentAttention, whose rope_dim says what is turned"
                require(whole, "positions", rule, self.positions)
            case GatedDelta() as delta:
                wide = delta.num_heads * (delta.key_dim + delta.value_dim)
        require(wide <= MOST_SIZE, "head_dim", f"must be at most {MOST_SIZE} / num_heads", wide)
        if isinstance(self.positions, Rope):
            self.rotated_dim  # noqa: B018 - it refuses what cannot be turned

    @property
    def rotated_dim(self) -> int:
        """How many channels of a head `Rope` turns; 0 where attention has no use for it."""
        match self.positions, self.attention:
            case Rope() as rope, AttentionConfig():
                return rope.rotated(self.head_dim)
            case Rope() as rope, LatentAttention() as latent:
                return rope.rotated(latent.rope_dim)
            case _:
                return 0

    def with_layer(self, layer: LayerConfig) -> ModelConfig:
        """The config of a model whose layers are all like this one."""
        own = {name: part for name, part in fields_of(layer).items() if part is not None}
        return dataclasses.replace(self, pattern=(), **own)

    @property
    def layers(self) -> tuple[ModelConfig, ...]:
        """Each layer, as the config of a model whose layers are all like it."""
        if not self.pattern:
            return (self,) * self.num_layers
        own = [self.with_layer(layer) for layer in self.pattern]
        return tuple(own[index % len(own)] for index in range(self.num_layers))

    @property
    def tally(self) -> tuple[tuple[ModelConfig, int], ...]:
        """The layers of the pattern, each with how often it comes in the stack; of millions, no list is made."""
        own = [self.with_layer(layer) for layer in self.pattern] or [self]
        whole, more = divmod(self.num_layers, len(own))
        return tuple((layer, whole + (index < more)) for index, layer in enumerate(own))

    @property
    def ends_normed(self) -> bool:
        """Whether the last layer is in post-norm order: its norm then stands where the final one would."""
        last = self.pattern[(self.num_layers - 1) % len(self.pattern)] if self.pattern else LayerConfig()
        return (last.norm_order or self.norm_order) == "post"

    @property
    def multihead(self) -> AttentionConfig:
        """The attention that all layers share; `ValueError` for a stack of several kinds, which has none."""
        require(not self.pattern, "pattern", "must be empty here: the layers must be alike", self.pattern)
        return self.heads

    @property
    def heads(self) -> AttentionConfig:
        """The attention, where it is the usual one; `ValueError` for what keeps something else than keys and values."""
        usual = isinstance(self.attention, AttentionConfig)
        require(usual, "attention", "must be an AttentionConfig here", type(self.attention).__name__)
        assert isinstance(self.attention, AttentionConfig)
        return self.attention

    @property
    def head_dim(self) -> int:
        """Width of one head, d_k, of the usual attention."""
        return self.heads.head_dim or self.d_model // self.heads.num_heads


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
