"""What runs through a model, noted while it runs, so that a drawing never has to be told a shape or a number.

Left out: modules that give back no tensor, or several; what happens between modules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.contract import checked


@checked
@contextmanager
def record_outputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dict that holds, for each module that was called while the block lasts, the tensor that it gave back last.

    Modules go by their names in the model, such as 'blocks.0.attention'; the model itself is ''. The block computes
    no gradients. A model on the device 'meta' tells its shapes, and computes nothing.
    """
    outputs: dict[str, Tensor] = {}

    def noting(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output

        return note

    hooks = [module.register_forward_hook(noting(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            yield outputs
    finally:
        for hook in hooks:
            hook.remove()
