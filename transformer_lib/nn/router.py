"""The router of a mixture of experts: which few experts each token uses, and with what weights.

What the routers did is reported into a `Load` that the caller passes, never kept in the module. From it come the loss
that evens the experts out (Fedus et al. 2021) and the step that does so without a loss (Wang et al. 2024).
Left out: noise on the logits, and the z-loss.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import require, require_numbers, require_positive
from transformer_lib.config.experts import Experts, Groups
from transformer_lib.contract import also, checked_once, require_parts
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.memory import require_memory

LEAST_SUM = 1e-20  # sigmoids may all be 0, and their sum is a divisor
MOST_RATE = 1.0  # of a step of the correction: scores are at most 1


@checked_once
class Routing(NamedTuple):
    """What a router decided for each token; `probabilities` sum to 1 over the experts."""

    chosen: Int[Tensor, "tokens top_k"]
    weights: Float[Tensor, "tokens top_k"]
    probabilities: Float[Tensor, "tokens experts"]


@checked_once
class Load:
    """How the tokens of one or several forward passes spread over the experts, as sums.

    Made by the caller and passed to `MixtureOfExperts`, which adds to it. One `Load` for each layer tells the layers
    apart; one for all layers pools them, as the loss in transformers does. The probabilities carry gradients, so take a
    new one for each training step. Each of several processes counts its own tokens: before `rebalance`, their counts
    are to be summed (`training.parallel.sum_loads`), or the corrections drift apart.
    """

    def __init__(self, num_experts: int, *, device: torch.device | str = "cpu") -> None:
        require_positive(num_experts=num_experts)
        require_memory(16 * num_experts, device, num_experts=num_experts)
        self.counts: Int[Tensor, " experts"] = torch.zeros(num_experts, dtype=torch.int64, device=device)
        self.probabilities: Float[Tensor, " experts"] = torch.zeros(num_experts, device=device)
        self.tokens: Int[Tensor, ""] = torch.zeros((), dtype=torch.int64, device=device)

    def _check_routing(self, routing: Routing, valid: Tensor | None) -> None:
        require_parts(routing)
        experts, given = len(self.counts), routing.probabilities.shape[1]
        require(given == experts, "routing", f"must be among the load's {experts} experts", given)
        tokens, choices = len(routing.probabilities), tuple(routing.chosen.shape)
        require(choices[0] == tokens, "chosen", f"must have the {tokens} rows of probabilities", choices)
        inside = not choices[0] or bool(((routing.chosen >= 0) & (routing.chosen < experts)).all())
        require(inside, "chosen", f"must be at least 0 and below {experts}", choices)
        if valid is not None:
            require(len(valid) == tokens, "valid", f"must say of {tokens} tokens whether they are real", len(valid))

    @also(_check_routing)
    def add(self, routing: Routing, valid: Bool[Tensor, " tokens"] | None = None) -> None:
        """Count what a router decided, for real tokens only."""
        real = torch.ones_like(routing.chosen[:, 0], dtype=torch.bool) if valid is None else valid
        votes = real[:, None].expand_as(routing.chosen).flatten().to(self.counts.dtype)
        self.counts = self.counts.index_add(0, routing.chosen.flatten(), votes)
        self.probabilities = self.probabilities + (routing.probabilities * real[:, None]).sum(dim=0)
        self.tokens = self.tokens + real.sum()

    def balancing_loss(self) -> Float[Tensor, ""]:
        """experts * sum over e of (share of tokens that use e) * (mean probability of e): `top_k` if all are even.

        Fedus et al. (2021), equations 4 to 6, with `top_k` choices a token as in Mixtral. Only the probabilities have
        a gradient: it lowers those of the experts that are used most.
        """
        tokens = self.tokens.clamp(min=1)
        shares = self.counts.to(self.probabilities.dtype) / tokens
        return len(self.counts) * (shares * self.probabilities / tokens).sum()

    def violation(self) -> Float[Tensor, ""]:
        """By how much the busiest expert exceeds the mean, as a share of it; 0 if all are even (Wang et al. 2024)."""
        counts = self.counts.float()
        mean = counts.mean()
        return (counts.max() - mean) / mean.clamp(min=1 / len(counts))


@checked_once
class Router(nn.Module):
    """Scores of all experts from one linear layer, and the `top_k` best of them.

    `correction` is a buffer: no gradient reaches it, `rebalance` moves it.
    """

    correction: Tensor | None

    def __init__(self, d_model: int, config: Experts) -> None:
        super().__init__()
        require_positive(d_model=d_model)
        require_memory(4 * d_model * config.num_experts, d_model=d_model, config=config)
        self.config = config
        self.to_scores = nn.Linear(d_model, config.num_experts, bias=config.router_bias)
        self.register_buffer("correction", torch.zeros(config.num_experts) if config.correction else None)

    @also(lambda self, x: require_fit("x", x, self.to_scores.weight))
    def forward(self, x: Float[Tensor, "tokens d_model"]) -> Routing:
        """In float32 at least: near a tie, a rounded score is another expert (Fedus et al. 2021, section 2.4)."""
        wide = torch.promote_types(x.dtype, torch.float32)
        bias = self.to_scores.bias
        with torch.autocast(x.device.type, enabled=False):  # which would round them again
            logits = F.linear(x.to(wide), self.to_scores.weight.to(wide), None if bias is None else bias.to(wide))
        match self.config.router:
            case "softmax":
                scores = probabilities = logits.softmax(dim=-1)
            case "sigmoid":
                scores = logits.sigmoid()
                probabilities = scores / (scores.sum(dim=-1, keepdim=True) + LEAST_SUM)
        chosen = self._choose(scores.detach())
        weights = scores.gather(1, chosen)
        if self.config.normalised:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + LEAST_SUM)
        return Routing._make((chosen, weights * self.config.scale, probabilities))

    def _choose(self, scores: Float[Tensor, "tokens experts"]) -> Int[Tensor, "tokens top_k"]:
        if self.correction is not None:
            scores = scores + self.correction
        if self.config.groups is not None:
            scores = _within_best(scores, self.config.groups)
        return scores.topk(self.config.top_k, dim=-1).indices

    def _check_load(self, load: Load, rate: float) -> None:
        require_numbers(rate=rate)
        require(0 < rate <= MOST_RATE, "rate", f"must be above 0 and at most {MOST_RATE}", rate)
        require(self.correction is not None, "correction", "must be part of the router's config", None)
        experts = self.config.num_experts
        require(len(load.counts) == experts, "load", f"must be that of {experts} experts", len(load.counts))

    @also(_check_load)
    @torch.no_grad()
    def rebalance(self, load: Load, rate: float = 1e-3) -> None:
        """Raise the correction of each expert with fewer tokens than the mean by `rate`, lower that of each with more.

        Once after each training step, with the load of all that the step has seen (Wang et al. 2024).
        """
        assert self.correction is not None
        counts = load.counts.to(self.correction.dtype)
        self.correction += rate * (counts.mean() - counts).sign()


def _within_best(scores: Float[Tensor, "tokens experts"], groups: Groups) -> Float[Tensor, "tokens experts"]:
    """The scores, with -inf in the groups that a token may not choose in."""
    grouped = scores.unflatten(-1, (groups.number, -1))
    quality = grouped.topk(groups.best, dim=-1).values.sum(dim=-1)
    kept = torch.zeros_like(quality, dtype=torch.bool).scatter(1, quality.topk(groups.top, dim=-1).indices, True)
    return grouped.masked_fill(~kept[..., None], -torch.inf).flatten(1)
