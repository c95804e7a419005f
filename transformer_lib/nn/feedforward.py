"""The feed-forward network: what each position does with what attention brought it, alone.

Mixtures of such networks are in `experts.py`.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.config import Activation, Glu, Mlp, SwiGlu, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.memory import require_memory


@checked_once
class FeedForward(nn.Module):
    """activation(x W_1) W_2, widening to d_ff in between (Vaswani et al. 2017; GELU: Hendrycks and Gimpel 2016)."""

    def __init__(self, d_model: int, config: Mlp) -> None:
        super().__init__()
        _check(d_model, config.d_ff)
        self.activation = config.activation
        self.to_hidden = nn.Linear(d_model, config.d_ff, bias=config.bias)
        self.to_out = nn.Linear(config.d_ff, d_model, bias=config.bias)

    @also(lambda self, x: require_fit("x", x, self.to_hidden.weight))
    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.to_out(activate(self.to_hidden(x), self.activation))


@checked_once
class GatedFeedForward(nn.Module):
    """(SiLU(x W_gate) * x W_hidden) W_out: one branch decides how much of the other passes (Shazeer 2020).

    A `Glu` has another activation in the place of the SiLU.
    """

    def __init__(self, d_model: int, config: SwiGlu | Glu) -> None:
        super().__init__()
        _check(d_model, config.d_ff)
        self.activation: Activation = config.activation if isinstance(config, Glu) else "silu"
        self.to_gate = nn.Linear(d_model, config.d_ff, bias=config.bias)
        self.to_hidden = nn.Linear(d_model, config.d_ff, bias=config.bias)
        self.to_out = nn.Linear(config.d_ff, d_model, bias=config.bias)

    @also(lambda self, x: require_fit("x", x, self.to_hidden.weight))
    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.to_out(activate(self.to_gate(x), self.activation) * self.to_hidden(x))


def _check(d_model: int, d_ff: int) -> None:
    require_positive(d_model=d_model)
    require_memory(8 * d_model * d_ff, d_model=d_model, d_ff=d_ff)


@checked_once
def activate(x: Float[Tensor, "*axes"], activation: Activation) -> Float[Tensor, "*axes"]:
    """The non-linearity of this name, number by number."""
    match activation:
        case "relu":
            return F.relu(x)
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "silu":
            return F.silu(x)
