"""Look inside a running model: keep the attention weights of every layer while a `with` block lasts.

The fused kernels never build the matrix of weights, so inside the block each attention module takes the explicit path
of `nn.attend`, which gives the same outputs. The model needs no flag for this, and keeps nothing of it afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.nn.attend import attend_explicit, attention_weights
from transformer_lib.nn.attention import Attention
from transformer_lib.nn.latent import LatentMixer

KINDS = (Attention, LatentMixer)  # of which each makes weights; what keeps a state has none


@checked
class Look(NamedTuple):
    """One call of one attention module, by the name the module has in the model, such as 'blocks.0.attention'.

    Each row of weights, before dropout, sums to 1, or to 0 where the mask allows no key; with a sink to less than 1.
    """

    name: str
    weights: Float[Tensor, "batch heads query key"]


@checked
@contextmanager
def record_attention(model: nn.Module) -> Iterator[list[Look]]:
    """A list that grows by one `Look` whenever one of the model's attention modules is called.

    Looks come in the order of the calls: layer by layer, and step by step when generating with a cache, where a step
    has as many queries as new tokens and as many keys as tokens so far, or the newest of them that its window reaches.
    Cross-attention is told by its name. The weights share no graph with the outputs. Recurrent layers, which have no
    weights, are passed over. `ValueError` if the model has no attention or is being recorded already.
    """
    looks: list[Look] = []
    modules = {name: module for name, module in model.named_modules() if isinstance(module, KINDS)}
    require(bool(modules), "model", "must hold attention modules", type(model).__name__)
    for name, module in modules.items():
        require("attend" not in vars(module), "model", "must not be recorded twice at once", name)
    try:
        for name, module in modules.items():
            vars(module)["attend"] = _Recorder(name, looks)
        yield looks
    finally:
        for module in modules.values():
            vars(module).pop("attend", None)


class _Recorder(NamedTuple):
    """Stands in for `attend` in one module."""

    name: str
    looks: list[Look]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0, **relations: Any) -> Tensor:
        self.looks.append(Look(self.name, attention_weights(q, k, **relations).detach()))
        return attend_explicit(q, k, v, dropout=dropout, **relations)
