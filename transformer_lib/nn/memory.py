"""Whether a device could hold what is asked for: a matter of arithmetic, before anything is made.

Without it, a number with a few zeros too many would fill the machine for minutes, and end in an error of the allocator.
"""

import os
import sys
from typing import Any

import torch

from transformer_lib.config import (
    AttentionConfig,
    Experts,
    GatedDelta,
    LatentAttention,
    Learned,
    LinearAttention,
    Mlp,
    ModelConfig,
    require,
    require_numbers,
)
from transformer_lib.contract import checked, checked_once

ADDRESSES = 2**62  # bytes; what is larger cannot even be described, as on the device "meta", which holds no numbers
MODULES = 20_000  # bytes that the modules of a layer take besides its weights


@checked_once
def memory_of(device: torch.device | str) -> int:
    """Bytes that a process may have on this device altogether, used or not; `ValueError` if it is not to be had."""
    device = torch.device(device)
    if device.type == "meta":
        return ADDRESSES
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has a way of its own for each kind of device
        raise ValueError(f"device must be one that PyTorch finds on this machine, got {device}") from error
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if sys.platform == "win32":
        return ADDRESSES
    import resource  # Unix only

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return there if limit == resource.RLIM_INFINITY else min(there, limit)


@checked
def require_memory(size: Any, device: torch.device | str | None = None, **fields: object) -> None:
    """Raise `ValueError` unless `device`, by default torch's own, could hold `size` bytes; the fields ask for them.

    The size is a number, of bytes; a whole one may exceed 64 bits, since it is what is to be refused.
    """
    if type(size) is not int:
        require_numbers(size=size)
    device = torch.get_default_device() if device is None else torch.device(device)
    there = memory_of(device)
    if size > there:  # before any message is written
        value = next(iter(fields.values())) if len(fields) == 1 else fields
        rule = f"must not ask for more than the {there / 1e9:,.1f} GB of memory of {device}: this would take"
        require(False, " and ".join(fields), f"{rule} {size / 1e9:,.1f}", value)


@checked_once
def require_stack_memory(config: ModelConfig) -> None:
    """Raise `ValueError` unless the matrices of such a stack of blocks could be held in float32."""
    layers = sum(count * _layer_memory(layer) for layer, count in config.tally)
    rows = config.vocab_size + config.segments + config.max_length * isinstance(config.positions, Learned)
    require_memory(layers + 4 * rows * config.d_model, config=config)


def _layer_memory(layer: ModelConfig) -> int:
    """Bytes of one layer's matrices in float32, with what its modules take besides."""
    match layer.attention:
        case AttentionConfig() as usual:
            heads = 2 * (usual.num_heads + usual.kv_heads) + usual.num_heads * usual.gate
            attention = heads * layer.head_dim
        case LatentAttention() as latent:
            attention = latent.num_heads * latent.value_dim + latent.kv_rank  # the least of what it has
        case GatedDelta() as delta:
            attention = 2 * delta.key_heads * delta.key_dim + 3 * delta.num_heads * delta.value_dim
        case LinearAttention() as linear:
            attention = 4 * linear.num_heads * (linear.head_dim or layer.d_model // linear.num_heads)
    match layer.feedforward:
        case Experts(num_experts=experts, d_ff=d_ff, shared=shared):
            feedforward = 3 * (experts * d_ff + (shared.d_ff if shared else 0)) + experts
        case Mlp(d_ff=d_ff):
            feedforward = 2 * d_ff
        case part:
            feedforward = 3 * part.d_ff
    return 4 * layer.d_model * (attention + feedforward) + MODULES
