"""A mixture of experts: a feed-forward part with many networks, of which each token passes through a few.

The layer holds the weights of all experts and computes, for each token, those that the router chose: parameters grow
with the number of experts, work with `top_k` (Shazeer et al. 2017; Mixtral, Jiang et al. 2024).
Left out: experts on several machines.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from transformer_lib.config import Activation, FeedForwardConfig, Glu, Mlp, SwiGlu, require, require_positive
from transformer_lib.config.experts import ClampedSwish, Experts
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.feedforward import FeedForward, GatedFeedForward, activate
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.grouped import StackedLinear
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.router import Load, Router, Routing


@checked_once
class MixtureOfExperts(nn.Module):
    """sum over chosen e of weight_e * W_out,e (activation(W_gate,e x) * W_hidden,e x), plus the shared expert."""

    def __init__(self, d_model: int, config: Experts) -> None:
        super().__init__()
        require_positive(d_model=d_model)
        require_memory(12 * config.num_experts * d_model * config.d_ff, d_model=d_model, config=config)
        self.activation = config.activation
        self.router = Router(d_model, config)
        self.to_gate = StackedLinear(config.num_experts, d_model, config.d_ff, bias=config.bias)
        self.to_hidden = StackedLinear(config.num_experts, d_model, config.d_ff, bias=config.bias)
        self.to_out = StackedLinear(config.num_experts, config.d_ff, d_model, bias=config.bias)
        shared = config.shared
        self.shared = None if shared is None else GatedFeedForward(d_model, SwiGlu(d_ff=shared.d_ff))
        self.shared_gate = nn.Linear(d_model, 1, bias=False) if shared is not None and shared.gated else None

    def _check_tokens(self, x: Tensor, load: Load | None, valid: Tensor | None) -> None:
        require_fit("x", x, self.router.to_scores.weight)
        if load is not None:
            experts, given = self.router.config.num_experts, len(load.counts)
            require(given == experts, "load", f"must be that of {experts} experts", given)
            place = load.counts.device
            require(place == x.device, "load", f"must be on the device of x, {x.device}", str(place))

    @also(_check_tokens)
    def forward(
        self,
        x: Float[Tensor, "*batch d_model"],
        *,
        load: Load | None = None,
        valid: Bool[Tensor, "*batch"] | None = None,
    ) -> Float[Tensor, "*batch d_model"]:
        """Each vector by itself; `load` is told who was chosen, for the vectors that are `valid`."""
        tokens = x.reshape(-1, x.shape[-1])
        routing = self.router(tokens)
        if load is not None:
            load.add(routing, None if valid is None else valid.flatten())
        return (self._chosen(tokens, routing) + self._always(tokens)).view_as(x)

    @also(lambda self, x: require_fit("x", x, self.router.to_scores.weight))
    def explicit(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The same numbers for reading: every expert for every token, weighted by 0 where it was not chosen."""
        tokens = x.reshape(-1, x.shape[-1])
        chosen, weights, probabilities = self.router(tokens)
        shares = torch.zeros_like(probabilities).scatter(1, chosen, weights)
        outs = []
        for e, share in enumerate(shares.to(x.dtype).unbind(dim=1)):
            everyone = torch.full((len(tokens),), e, device=x.device)
            outs.append(share[:, None] * self._experts(tokens, everyone))
        return (torch.stack(outs).sum(dim=0) + self._always(tokens)).view_as(x)

    def _chosen(self, x: Float[Tensor, "tokens d_model"], routing: Routing) -> Float[Tensor, "tokens d_model"]:
        """Sort the pairs of token and expert by expert, compute, and add what belongs to one token."""
        chosen = routing.chosen.flatten()
        order = chosen.argsort(stable=True)
        token = order // routing.chosen.shape[1]
        out = self._experts(x[token], chosen[order]) * routing.weights.flatten()[order, None]
        return torch.zeros(x.shape, dtype=out.dtype, device=x.device).index_add(0, token, out).to(x.dtype)

    def _experts(self, x: Tensor, expert: Tensor) -> Tensor:
        return self.to_out(_gated(self.to_gate(x, expert), self.to_hidden(x, expert), self.activation), expert)

    def _always(self, x: Float[Tensor, "tokens d_model"]) -> Tensor | float:
        if self.shared is None:
            return 0.0
        out = self.shared(x)
        return out if self.shared_gate is None else out * self.shared_gate(x).sigmoid()


def _gated(gate: Tensor, hidden: Tensor, activation: Activation | ClampedSwish) -> Tensor:
    match activation:
        case ClampedSwish(limit=limit, slope=slope):
            gate = gate.clamp(max=limit)
            return gate * F.sigmoid(slope * gate) * (hidden.clamp(-limit, limit) + 1)
        case _:
            return activate(gate, activation) * hidden


@checked_once
def build_feedforward(d_model: int, config: FeedForwardConfig) -> FeedForward | GatedFeedForward | MixtureOfExperts:
    """The module that an `Mlp`, a `SwiGlu`, a `Glu` or `Experts` describe."""
    match config:
        case Mlp():
            return FeedForward(d_model, config)
        case SwiGlu() | Glu():
            return GatedFeedForward(d_model, config)
        case Experts():
            return MixtureOfExperts(d_model, config)
