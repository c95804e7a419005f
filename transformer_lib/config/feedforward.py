"""The feed-forward networks, as data: what each position does alone."""

from dataclasses import dataclass
from typing import Literal

from transformer_lib.checks import require, require_sizes
from transformer_lib.contract import checked

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]


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
class Glu:
    """A gated feed-forward network with another activation than `SwiGlu`: with "gelu" it is GEGLU (Shazeer 2020)."""

    d_ff: int
    activation: Activation = "gelu"
    bias: bool = False

    def __post_init__(self) -> None:
        require_sizes(d_ff=self.d_ff)
        require(self.activation != "silu", "activation", "must not be 'silu': that is a SwiGlu", self.activation)
