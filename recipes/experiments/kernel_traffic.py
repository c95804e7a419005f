"""How many bytes does an attention kernel move for each size of its tiles, and is it exact?

Triton's interpreter runs `transformer_lib.nn.triton_attend` in NumPy: every load and every store passes through it, so
here they are counted. `moved` is the sum over all programs of the bytes that they load and store, `intensity` the
operations of the two products over those bytes, counted for all pairs or, under a causal mask, for the allowed ones.
`error` is the greatest difference from PyTorch's explicit attention in float64. It needs Triton (`make triton`):

    TRITON_INTERPRET=1 .venv-triton/bin/python -m transformer_lib experiment recipes/experiments/kernel_traffic.py
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from transformer_lib.nn.triton_attend import triton_attention
from transformer_lib.runs.experiment import Experiment

LENGTH, WIDTH, HEADS = 512, 32, 2


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """The bytes that interpreted kernels load and store."""
    from triton.runtime.interpreter import InterpreterBuilder as Builder

    load, store, found = Builder.create_masked_load, Builder.create_masked_store, {"loaded": 0, "stored": 0}

    def counting_load(self: Any, places: Any, mask: Any, *rest: Any) -> Any:
        values = load(self, places, mask, *rest)
        found["loaded"] += int(mask.data.sum()) * values.data.itemsize
        return values

    def counting_store(self: Any, places: Any, values: Any, mask: Any, *rest: Any) -> Any:
        found["stored"] += int(mask.data.sum()) * values.data.itemsize
        return store(self, places, values, mask, *rest)

    Builder.create_masked_load, Builder.create_masked_store = counting_load, counting_store
    try:
        yield found
    finally:
        Builder.create_masked_load, Builder.create_masked_store = load, store


def run(seed: int, block: int, causal: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    q, k, v = torch.randn(3, 1, HEADS, LENGTH, WIDTH).unbind()
    with counted() as found:
        out = triton_attention(q, k, v, mask="causal" if causal else None, block=block)
    with sdpa_kernel(SDPBackend.MATH):
        exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=causal)
    pairs = LENGTH * (LENGTH + 1) / 2 if causal else LENGTH**2
    moved = sum(found.values())
    error = (out - exact).abs().max().item()
    return {**found, "moved": moved, "intensity": 4 * HEADS * pairs * WIDTH / moved, "error": error}


EXPERIMENT = Experiment(
    arms={
        f"{'causal' if causal else 'no mask'}, tiles of {block}": {"block": block, "causal": causal}
        for causal in (False, True)
        for block in (16, 32, 64, 128)
    },
    run=run,
)
