"""Activation checkpointing: keep each block's input only, and run the block again on the way back (Chen et al. 2016).

Memory for the activations of one block instead of all, against one forward pass more. The gradient is the same, with
dropout too: the second run draws from the generators as they were at the first. Applied from outside; the model and its
state dict stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transformer_lib.config import require
from transformer_lib.contract import checked_once
from transformer_lib.nn.block import Block
from transformer_lib.nn.router import Load


@checked_once
def recompute_blocks(model: nn.Module) -> None:
    """Let every `Block` of the model be run again in the backward pass; call it before `compile()`.

    Raises `ValueError` for a model without blocks, or one whose blocks are recomputed already.
    """
    blocks = _blocks(model)
    done = [name for name, block in blocks.items() if _is_recomputed(block)]
    require(not done, "model", "must not be recomputed already; these blocks are", done)
    for block in blocks.values():
        # A partial, not a closure: a copy of the model is then recomputed with its own weights.
        block.forward = partial(_run, block.forward)  # type: ignore[method-assign]


@checked_once
def keep_blocks(model: nn.Module) -> None:
    """Undo `recompute_blocks`: keep what the backward pass needs, as torch does by itself."""
    for block in _blocks(model).values():
        require(_is_recomputed(block), "model", "must have been recomputed", type(model).__name__)
        del block.forward  # the instance's; the class's stands behind it


def _run(forward: Callable[..., Tensor], x: Tensor, **context: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(x, **context)  # spare it the copies of the generators' states
    load = context.get("load")
    if load is not None:
        context["context_fn"] = partial(_counted_once, load)
    return checkpoint(forward, x, use_reentrant=False, **context)


def _counted_once(load: Load) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the first run, and the second: that one sees the same tokens, which are counted already."""
    return nullcontext(), _unchanged(load)


@contextmanager
def _unchanged(load: Load) -> Iterator[None]:
    before = load.counts, load.probabilities, load.tokens
    try:
        yield
    finally:  # torch leaves the second run by an exception once it has what it needs
        load.counts, load.probabilities, load.tokens = before


def _blocks(model: nn.Module) -> dict[str, Block]:
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, Block)}
    require(bool(blocks), "model", "must have a Block", type(model).__name__)
    return blocks


def _is_recomputed(block: Block) -> bool:
    return "forward" in vars(block)
