"""Run by a Python that has Triton (`make triton`): what the kernel gives, what it refuses, and what it is compiled to.

    TRITON_INTERPRET=1 python -m tests.nn.with_triton FILE
    python -m tests.nn.with_triton

The first interprets the kernel, and writes what it gives for each case to FILE. The second compiles it, for GPUs that
need not be there. Both print, as JSON, what is refused.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.oracles import normal
from transformer_lib.nn import triton_attend
from transformer_lib.nn.triton_attend import triton_attention


class Case(NamedTuple):
    heads: int = 2
    kv_heads: int = 2
    queries: int = 40
    keys: int = 40
    width: int = 8
    dtype: torch.dtype = torch.float64
    options: dict[str, Any] = {}  # noqa: RUF012, nobody writes into it

    def inputs(self) -> list[Tensor]:
        """Scores are large, so that a lost rescaling shows; q is not contiguous, as where heads were split."""
        q = 3 * normal(2, self.queries, self.heads, self.width, seed=1).transpose(1, 2)
        k, v = (normal(2, self.kv_heads, self.keys, self.width, seed=seed) for seed in (2, 3))
        return [x.to(self.dtype) for x in (q, k, v)]


CAUSAL = {"mask": "causal"}
CASES = {
    "one tile": Case(queries=16, keys=16, options={"block": 16}),
    "ends inside a block": Case(options={"block": 16}),
    "causal": Case(options={"block": 16, **CAUSAL}),
    "causal, large blocks": Case(options=CAUSAL),
    "shared keys": Case(heads=6, options={"block": 32, **CAUSAL}),
    "one key for all heads": Case(heads=3, kv_heads=1, width=5, options={"block": 16}),
    "one query": Case(queries=1, keys=33, options={"block": 16}),
    "more queries than keys": Case(queries=35, keys=3, options={"block": 16}),
    "one token": Case(queries=1, keys=1, options=CAUSAL),
    "wide heads": Case(heads=1, kv_heads=1, queries=20, keys=20, width=80, options={"block": 16, **CAUSAL}),
    "another scale": Case(options={"block": 32, "scale": -0.7}),
    "float32": Case(dtype=torch.float32, options={"block": 16, **CAUSAL}),
    "float16": Case(dtype=torch.float16, options={"block": 16, **CAUSAL}),
}
TARGETS = {"sm_80": 80, "sm_90": 90}


def outputs() -> dict[str, Tensor]:
    return {name: triton_attention(*case.inputs(), **case.options) for name, case in CASES.items()}


def refusals() -> dict[str, str]:
    q, k, v = (x.float() for x in CASES["one tile"].inputs())
    calls: dict[str, Any] = {
        "block": lambda: triton_attention(q, k, v, block=24),
        "small block": lambda: triton_attention(q, k, v, block=8),
        "gradient": lambda: triton_attention(q.clone().requires_grad_(), k, v),
        "mask": lambda: triton_attention(q, k, v, mask="window"),  # type: ignore[arg-type]
        "not square": lambda: triton_attention(q[:, :, 1:], k, v, mask="causal"),
        "dtype": lambda: triton_attention(q, k.double(), v),
        "heads": lambda: triton_attention(q[:, :1].expand(-1, 2**15, -1, -1), k, v),
        "kv_heads": lambda: triton_attention(q.repeat(1, 2, 1, 1)[:, :3], k, v),
        "bfloat16": lambda: triton_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
        except (ValueError, TypeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def instructions() -> dict[str, dict[str, int]]:
    """How often the compiled kernel multiplies matrices, by generation of GPU; no score may be written to memory."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget

    kernel, found = triton.jit(triton_attend._attend_rows), {}
    constants = {"CAUSAL": True, "SCALE": 0.125, "SUMS": tl.float32, "BLOCK": 64, "WIDTH": 64, "PADDED": 64}
    signature = {name: "*bf16" for name in ("q_start", "k_start", "v_start", "out_start")}
    signature |= {name: "i32" for name in ("queries", "keys", "heads_per_kv_head")}
    signature |= dict.fromkeys(constants, "constexpr")
    for name, capability in TARGETS.items():
        source = triton.compiler.ASTSource(kernel, signature, constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        found[name] = {"products": len(re.findall(r"wgmma\.mma_async|mma\.sync", compiled.asm["ptx"]))}
        found[name] |= {"shared bytes": compiled.metadata.shared, "code": len(compiled.asm["cubin"])}
    return found


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        save_file(outputs(), file)
    print(json.dumps({"refused": refusals()} | ({} if sys.argv[1:] else {"made": instructions()})))
