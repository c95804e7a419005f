"""What shapes run through a model: noted while it runs, so that a drawing never has to be told.

Left out: modules that give back no tensor, or several; what happens between modules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from transformer_lib.contract import checked


@checked
@contextmanager
def record_shapes(model: nn.Module) -> Iterator[dict[str, tuple[int, ...]]]:
    """A dict that holds, for each module that was called while the block lasts, the shape of what it gave back last.

    Modules go by their names in the model, such as 'blocks.0.attention'; the model itself is ''. A model on the device
    'meta' tells its shapes too, and computes nothing.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def noting(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        return note

    hooks = [module.register_forward_hook(noting(name)) for name, module in model.named_modules()]
    try:
        yield shapes
    finally:
        for hook in hooks:
            hook.remove()
