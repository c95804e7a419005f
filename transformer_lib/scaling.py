"""How `Rope` is carried from the length it was trained for to longer texts, as data.

A channel pair turns by position * theta^(-2i / head_dim). Past the trained length the slow pairs reach angles that the
model has never seen; each scheme here slows some pairs down. The arithmetic is in `transformer_lib.nn.positions`.
Left out: LongRoPE, whose factors are found by search.
"""

from dataclasses import dataclass

from transformer_lib.checks import require, require_flags, require_numbers, require_positive
from transformer_lib.contract import checked


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearScaling:
    """Every position divided by `factor` (Chen et al. 2023)."""

    factor: float

    def __post_init__(self) -> None:
        _require_at_least_one(factor=self.factor)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class NtkScaling:
    """A theta that grows with a text once that is longer than `original_length` ("dynamic NTK", Peng et al. 2023)."""

    factor: float
    original_length: int

    def __post_init__(self) -> None:
        _require_at_least_one(factor=self.factor)
        require_positive(original_length=self.original_length)


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
        _require_at_least_one(factor=self.factor)
        require_positive(original_length=self.original_length)
        require_numbers(beta_fast=self.beta_fast, beta_slow=self.beta_slow)
        rule = f"must be greater than beta_slow={self.beta_slow}, which must be positive"
        require(self.beta_fast > self.beta_slow > 0, "beta_fast", rule, self.beta_fast)
        require_flags(truncate=self.truncate)
        if self.attention_factor is not None:
            require_numbers(attention_factor=self.attention_factor)
            require(self.attention_factor > 0, "attention_factor", "must be positive", self.attention_factor)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Llama3Scaling:
    """As `YarnScaling`, in turns from `low_turns` to `high_turns` and without the factor (Grattafiori et al. 2024)."""

    factor: float
    original_length: int
    low_turns: float = 1.0
    high_turns: float = 4.0

    def __post_init__(self) -> None:
        _require_at_least_one(factor=self.factor)
        require_positive(original_length=self.original_length)
        require_numbers(low_turns=self.low_turns, high_turns=self.high_turns)
        rule = f"must be greater than low_turns={self.low_turns}, which must be positive"
        require(self.high_turns > self.low_turns > 0, "high_turns", rule, self.high_turns)


RopeScaling = LinearScaling | NtkScaling | YarnScaling | Llama3Scaling


def _require_at_least_one(**fields: float) -> None:
    for name, value in fields.items():
        require_numbers(**{name: value})
        require(value >= 1, name, "must be at least 1", value)
