"""How a model knows where a token stands, as data."""

from dataclasses import dataclass, field

from transformer_lib.checks import require, require_base, require_between
from transformer_lib.config.scaling import NtkScaling, RopeScaling
from transformer_lib.contract import checked
from transformer_lib.later import LATER


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

    `scaling` carries a trained model to longer texts. Of each head's channels the first `share` are rotated; the others
    do not know their position.
    """

    theta: float = 10_000.0
    scaling: RopeScaling | None = None
    share: float = field(default=1.0, metadata=LATER)

    def __post_init__(self) -> None:
        require_base("theta", self.theta)
        require_between(0, 1, share=self.share)

    def rotated(self, head_dim: int) -> int:
        """How many of a head's channels are rotated; `ValueError` unless they make pairs."""
        width = int(head_dim * self.share)
        rule = "must be even for Rope" if self.share == 1 else f"times share={self.share} must be even, and not 0"
        require(width % 2 == 0 and width > 0, "head_dim", rule, head_dim)
        wide = width > 2 or not isinstance(self.scaling, NtkScaling)
        require(wide, "head_dim", "must be above 2 for NtkScaling", head_dim)
        return width


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Alibi:
    """A penalty on each score that grows with distance, one slope per head (Press et al. 2021)."""


Positions = NoPositions | Sinusoidal | Learned | Rope | Alibi
