"""The Transformer block: attention, then (in a decoder with a source) cross-attention, then the feed-forward network.

Each part reads the residual stream and adds to it. In pre-norm order a part reads a normalised copy and the stream
itself is never touched (Xiong et al. 2020); in post-norm order the sum is normalised (Vaswani et al. 2017). Others
normalise what a part adds, and nothing else (OLMo 2), or what it reads as well (Gemma 3).
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_lib.checks import wrong_kind
from transformer_lib.config import (
    AttentionConfig,
    GatedDelta,
    LatentAttention,
    LinearAttention,
    ModelConfig,
    require,
)
from transformer_lib.contract import also, checked_once, require_parts
from transformer_lib.nn.attention import Attention, KeyValues
from transformer_lib.nn.cache import LayerCache
from transformer_lib.nn.delta_mixer import GatedDeltaMixer
from transformer_lib.nn.dropout import Dropout
from transformer_lib.nn.experts import MixtureOfExperts, build_feedforward
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.latent import LatentMixer
from transformer_lib.nn.linear_attention import LinearMixer
from transformer_lib.nn.masks import Mask
from transformer_lib.nn.norm import build_norm
from transformer_lib.nn.relations import UNRESTRICTED, Relations
from transformer_lib.nn.router import Load
from transformer_lib.nn.state import LatentState, RecurrentState, State

Kept = LayerCache | State  # what a layer has of the text before


@checked_once
class Block(nn.Module):
    """One layer of an encoder or a decoder; with `cross_attention` it also looks at the encoder's output."""

    def __init__(self, config: ModelConfig, *, cross_attention: bool = False) -> None:
        super().__init__()
        self.norm_order, self.residual_scale = config.norm_order, config.residual_scale
        self.attention_norm = build_norm(config.norm, config.d_model) if config.attention_norm else nn.Identity()
        self.attention = build_mixer(config)
        self.cross_norm = build_norm(config.norm, config.d_model) if cross_attention else None
        self.cross_attention = _attention(config, config.heads) if cross_attention else None
        self.feedforward_norm = build_norm(config.norm, config.d_model)
        self.feedforward = build_feedforward(config.d_model, config.feedforward)
        both = config.norm_order == "both"
        self.attention_out_norm = build_norm(config.norm, config.d_model) if both else None
        self.feedforward_out_norm = build_norm(config.norm, config.d_model) if both else None
        require(not (both and cross_attention), "norm_order", "must not be 'both' with cross_attention", "both")
        self.dropout = Dropout(config.dropout)

    def _check_memory(self, x: Tensor, relations: Relations, memory: Tensor | KeyValues | None) -> None:
        require_parts(relations)
        if self.cross_attention is not None:
            self.cross_attention._check_context(x, memory)

    def _check_kept(self, x: Tensor, relations: Relations, cache: Kept | None) -> None:
        match self.attention, cache:
            case Attention() as mixer, LayerCache() | None as kept:
                mixer._check_place(x, relations.rotation, kept)
            case LatentMixer() as latent, LatentState() | None as kept:
                latent._check_place(x, relations.rotation, kept)
            case (GatedDeltaMixer() | LinearMixer()) as recurrent, RecurrentState() | None as kept:
                recurrent._check_state(x, kept)
            case mixer, _:
                raise wrong_kind("cache", f"what a {type(mixer).__name__} keeps", cache)

    @also(_check_memory, _check_kept)
    def forward(
        self,
        x: Float[Tensor, "batch time d_model"],
        *,
        relations: Relations = UNRESTRICTED,
        cache: Kept | None = None,
        memory: Float[Tensor, "batch source d_model"] | KeyValues | None = None,
        memory_mask: Mask = None,
        valid: Bool[Tensor, "batch time"] | None = None,
        load: Load | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """x is the residual stream; `memory` is what a decoder with cross-attention looks at.

        `cache` is what the layer keeps of the text before. `valid` marks real tokens, for layers that keep a state, and
        for `load`, which is told by a mixture of experts who was chosen.
        """
        matched = (memory is None) == (self.cross_attention is None)
        require(matched, "memory", "must be given to a block with cross_attention, and to no other", type(memory))
        mix = _followed_by(self.attention_out_norm, lambda h: self._mix(h, relations, cache, valid))
        x = self._add(x, self.attention_norm, mix)
        if self.cross_attention is not None and self.cross_norm is not None:
            look = self.cross_attention
            x = self._add(x, self.cross_norm, lambda h: look(h, context=memory, mask=memory_mask))
        alone: Callable[[Tensor], Tensor] = self.feedforward
        if load is not None and isinstance(self.feedforward, MixtureOfExperts):
            alone = partial(self.feedforward, load=load, valid=valid)
        return self._add(x, self.feedforward_norm, _followed_by(self.feedforward_out_norm, alone))

    def _mix(self, h: Tensor, relations: Relations, cache: Kept | None, valid: Tensor | None) -> Tensor:
        """What the positions bring each other; a recurrent layer has its order from the recurrence itself."""
        mask, bias, rotation = relations
        mixer = self.attention
        if isinstance(mixer, Attention):
            return mixer(h, mask=mask, bias=bias, rotation=rotation, cache=cache)
        if isinstance(mixer, LatentMixer):
            return mixer(h, mask=mask, rotation=rotation, state=cache)
        return mixer(h, valid=valid, state=cache)

    @also(lambda self, states: require_fit("states", states, self.feedforward_norm.weight))
    def project_memory(self, states: Float[Tensor, "batch source d_model"]) -> KeyValues:
        """The keys and values that this block's cross-attention will look at, to be made once for many steps."""
        require(self.cross_attention is not None, "cross_attention", "must be part of the block", None)
        assert self.cross_attention is not None
        k, v = self.cross_attention.keys_values(states)
        return KeyValues(k.contiguous(), v.contiguous())  # each head's own lie together, for the many steps that read

    def _add(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        order = self.norm_order
        change = part(norm(x) if order in ("pre", "both") else x)
        if order == "part":
            change = norm(change)
        if self.training:  # not otherwise: calling modules for nothing is what a step of decoding can spare
            change = self.dropout(change)
        if self.residual_scale != 1.0:
            change = change * self.residual_scale
        return norm(x + change) if order == "post" else x + change


def _followed_by(norm: nn.Module | None, part: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The part with a norm of what it gives, where there is one."""
    return part if norm is None else lambda h: norm(part(h))


@checked_once
def build_mixer(config: ModelConfig) -> Attention | LatentMixer | GatedDeltaMixer | LinearMixer:
    """The module by which the positions of such a layer look at each other."""
    match config.attention:
        case AttentionConfig() as heads:
            return _attention(config, heads)
        case LatentAttention() as latent:
            return LatentMixer(config.d_model, latent, dropout=config.dropout, norm_eps=config.norm.eps)
        case GatedDelta() as delta:
            return GatedDeltaMixer(config.d_model, delta, norm_eps=config.norm.eps)
        case LinearAttention() as linear:
            return LinearMixer(config.d_model, linear)


def _attention(config: ModelConfig, heads: AttentionConfig) -> Attention:
    norm = config.norm
    return Attention(config.d_model, heads, dropout=config.dropout, norm_eps=norm.eps, norm_centred=norm.centred)
