"""How `Rope` is carried from the length it was trained for to longer texts, as data.

A channel pair turns by position * theta^(-2i / head_dim). Past the trained length the slow pairs reach angles that the
model has never seen; each scheme here slows some pairs down. The arithmetic is in `transformer_lib.nn.positions`.
Left out: LongRoPE, whose factors are found by search.
"""

from dataclasses import dataclass

from transformer_lib.checks import MOST_SIZE, require, require_between, require_sizes
from transformer_lib.contract import checked

LEAST_TURNS = 1e-6  # from here to MOST_SIZE every formula stays far from the ends of float32


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearScaling:
    """Every position divided by `factor` (Chen et al. 2023)."""

    factor: float

    def __post_init__(self) -> None:
        require_between(1, MOST_SIZE, factor=self.factor)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class NtkScaling:
    """A theta that grows with a text once that is longer than `original_length` ("dynamic NTK", Peng et al. 2023)."""

    factor: float
    original_length: int

    def __post_init__(self) -> None:
        require_between(1, MOST_SIZE, factor=self.factor)
        require_sizes(original_length=self.original_length)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class YarnScaling:
    """Slow channels as in `LinearScaling`, fast ones left alone, and sharper scores (YaRN, Peng et al. 2023).

    A channel that turns `beta_fast` times or more within `original_length` is fast, one that turns `beta_slow` times
    or less is slow; `truncate` widens the ramp in between to whole channels. `attention_factor` multiplies queries and
    keys; None is the paper's 0.1 ln(factor) + 1.
    """

    factor: float
    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        require_between(1, MOST_SIZE, factor=self.factor)
        require_sizes(original_length=self.original_length)
        require_between(LEAST_TURNS, MOST_SIZE, beta_fast=self.beta_fast, beta_slow=self.beta_slow)
        rule = f"must be greater than beta_slow={self.beta_slow}"
        require(self.beta_fast > self.beta_slow, "beta_fast", rule, self.beta_fast)
        if self.attention_factor is not None:
            require_between(LEAST_TURNS, MOST_SIZE, attention_factor=self.attention_factor)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Llama3Scaling:
    """As `YarnScaling`, in turns from `low_turns` to `high_turns` and without the factor (Grattafiori et al. 2024)."""

    factor: float
    original_length: int
    low_turns: float = 1.0
    high_turns: float = 4.0

    def __post_init__(self) -> None:
        require_between(1, MOST_SIZE, factor=self.factor)
        require_sizes(original_length=self.original_length)
        require_between(LEAST_TURNS, MOST_SIZE, low_turns=self.low_turns, high_turns=self.high_turns)
        rule = f"must be greater than low_turns={self.low_turns}"
        require(self.high_turns > self.low_turns, "high_turns", rule, self.high_turns)


RopeScaling = LinearScaling | NtkScaling | YarnScaling | Llama3Scaling
