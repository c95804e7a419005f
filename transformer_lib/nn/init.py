"""Starting weights: small, and smaller still where many layers add to the same stream (GPT-2)."""

import torch
from torch import nn

from transformer_lib.config import ModelConfig, require, require_numbers
from transformer_lib.contract import checked_once
from transformer_lib.nn.embedding import Embedding
from transformer_lib.nn.grouped import StackedLinear
from transformer_lib.nn.positions import LearnedPositions

MOST_STD = 1e3  # with which nothing can be learnt any more


@checked_once
@torch.no_grad()
def init_weights(model: nn.Module, config: ModelConfig, *, std: float = 0.02) -> None:
    """Draw the linear layers and tables of `model` anew: normal with `std`, biases zero (Radford et al. 2019).

    Everything else keeps the start that its own module gave it: gains, sinks, and rates and convolutions of
    `GatedDeltaMixer`.

    The projections that write into the residual stream (`to_out`) get std / sqrt(2 * num_layers), so that the stream's
    variance does not grow with depth. Scaled embeddings (`scale_embeddings`) get std d_model^-0.5, which the scale
    brings to 1 (Vaswani et al. 2017).
    """
    require_numbers(std=std)
    require(0 < std <= MOST_STD, "std", f"must be above 0 and at most {MOST_STD}", std)
    for name, module in model.named_modules():
        match module:
            case nn.Linear() | StackedLinear():
                depth = 2 * config.num_layers if name.endswith("to_out") else 1
                module.weight.normal_(0.0, std / depth**0.5)
                if module.bias is not None:
                    module.bias.zero_()
            case Embedding():
                module.tokens.weight.normal_(0.0, std if module.scale == 1.0 else 1 / module.scale)
                if module.segments is not None:
                    module.segments.weight.normal_(0.0, std)
            case LearnedPositions():
                module.weight.normal_(0.0, std)
            case _:
                pass
