"""AdamW (Loshchilov and Hutter 2019) with decay for matrices only, and torch's fused kernel where there is one."""

from typing import Any

from torch import nn
from torch.optim import AdamW

from transformer_lib.config import require


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: matrices (embeddings too) are decayed; biases and norm gains are not.

    Decay limits how large a map can grow; a norm's gain is meant to be near 1 and a bias is an offset, so pulling them
    to 0 has no such purpose. A tied parameter stands in its group once; a frozen one stands in none.
    """
    require(weight_decay >= 0, "weight_decay", "must not be negative", weight_decay)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    require(bool(trained), "model", "must have a parameter to train", type(model).__name__)
    return [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, *, weight_decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.95)) -> AdamW:
    """AdamW over `parameter_groups(model)`; the learning rate starts at 0 and is set before every step."""
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in model.parameters())
    return AdamW(parameter_groups(model, weight_decay=weight_decay), lr=0.0, betas=betas, fused=fused)
