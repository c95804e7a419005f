"""A mixture of experts, as data: many feed-forward networks of which each token uses a few.

A router scores the experts for each token, the `top_k` best are computed, and the sum of what they give, weighted by
their scores, is the layer's output (Shazeer et al. 2017). The module is in `transformer_lib.nn.experts`.
Left out: experts of unequal size, a limit to the tokens of one expert, and experts that choose their tokens.
"""

from dataclasses import dataclass
from typing import Literal

from transformer_lib.checks import MOST_SIZE, require, require_between, require_sizes
from transformer_lib.config.feedforward import Activation
from transformer_lib.contract import checked

LEAST_SCALE = 1e-6  # of weights and slopes; what is smaller is a layer that adds nothing


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class ClampedSwish:
    """The gate of gpt-oss, g sigmoid(slope g) (h + 1), with g at most `limit` and h between `-limit` and `limit`."""

    limit: float = 7.0
    slope: float = 1.702

    def __post_init__(self) -> None:
        require_between(LEAST_SCALE, MOST_SIZE, limit=self.limit, slope=self.slope)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class SharedExpert:
    """An expert that every token uses, whatever the router says (DeepSeekMoE, Dai et al. 2024).

    Several shared experts are one with the sum of their widths. `gated` multiplies what it gives by a sigmoid of its
    own (Qwen2-MoE, Qwen3-Next).
    """

    d_ff: int
    gated: bool = False

    def __post_init__(self) -> None:
        require_sizes(d_ff=self.d_ff)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """The experts stand in `number` groups, and a token chooses within its `top` best groups only.

    A group is as good as the sum of its `best` highest scores: 2 in DeepSeek-V3, 1 in DeepSeek-V2. Groups that live on
    different machines bound how many machines a token must be sent to.
    """

    number: int
    top: int
    best: int = 2

    def __post_init__(self) -> None:
        require_sizes(number=self.number, top=self.top, best=self.best)
        require(self.top <= self.number, "top", f"must be at most number={self.number}", self.top)


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """`num_experts` gated feed-forward networks of width `d_ff`, of which each token uses `top_k`.

    `router` makes scores of the router's logits: "softmax" over all experts (Mixtral, Qwen3, gpt-oss), or "sigmoid" for
    each by itself (DeepSeek-V3). The weights of the chosen experts are their scores, divided by their sum if
    `normalised`, times `scale`. `correction` adds one number per expert to the scores *for choosing only*; moved
    against the load, it balances the experts without a loss (Wang et al. 2024, DeepSeek-V3). `bias` gives one to every
    projection of an expert, `router_bias` to the logits (both gpt-oss).
    """

    num_experts: int
    top_k: int
    d_ff: int
    activation: Activation | ClampedSwish = "silu"
    bias: bool = False
    router: Literal["softmax", "sigmoid"] = "softmax"
    router_bias: bool = False
    normalised: bool = True
    scale: float = 1.0
    correction: bool = False
    groups: Groups | None = None
    shared: SharedExpert | None = None

    def __post_init__(self) -> None:
        require_sizes(num_experts=self.num_experts, top_k=self.top_k, d_ff=self.d_ff)
        require(self.top_k <= self.num_experts, "top_k", f"must be at most num_experts={self.num_experts}", self.top_k)
        require_between(LEAST_SCALE, MOST_SIZE, scale=self.scale)
        if self.groups is not None:
            self._check_groups(self.groups)
        alike = self.shared is None or self.activation == "silu"
        require(alike, "activation", "must be 'silu' beside a shared expert", self.activation)

    def _check_groups(self, groups: Groups) -> None:
        divides = self.num_experts % groups.number == 0
        require(divides, "groups.number", f"must divide num_experts={self.num_experts}", groups.number)
        size = self.num_experts // groups.number
        require(groups.best <= size, "groups.best", f"must be at most the {size} experts of a group", groups.best)
        within = groups.top * size
        rule = f"must be at most the {within} experts of the {groups.top} groups a token chooses in"
        require(self.top_k <= within, "top_k", rule, self.top_k)
