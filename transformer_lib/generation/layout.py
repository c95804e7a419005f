"""How weights lie in memory when one vector at a time goes through them.

A step of decoding for one text is a chain of products of a vector with a matrix, and each is as fast as the matrix can
be read. Whether the BLAS reads it faster by rows, as `nn.Linear` stores it, or by columns, as GPT-2's `Conv1D` does,
depends on processor and type: measure it (`python -m bench decode`). Left out: quantised weights.
"""

import torch
from torch import nn

from transformer_lib.contract import checked


@checked
def store_by_column(model: nn.Module) -> None:
    """Let every `nn.Linear` of the model keep its weight column by column; in place, for decoding only.

    Shapes, numbers, tied weights and the state dict stay; what changes is the order in memory, until the weight is
    replaced. A training step may become slower.
    """
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Linear):
                part.weight.data = part.weight.data.T.contiguous().T
