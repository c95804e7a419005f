"""Mixers and experts compile as one graph, forward and backward, and the numbers stay the same.

Each case runs in a plain process, free of the tests' own type checker, which dynamo cannot trace.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_lib.config.experts import ClampedSwish, Experts, Groups, SharedExpert
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.router import Load

VALID = torch.tensor([[False, True, True, True, True], [True, True, True, False, False]])


def check(layer: nn.Module, *, keeps: Callable[[], dict[str, Any]] = dict, **arguments: Any) -> list[dict[str, Any]]:
    """Compare the compiled layer with the layer itself; `keeps` makes what a call writes into."""
    layer = layer.double()

    def run(x: Tensor, kept: dict[str, Any]) -> Tensor:
        return layer(x, **arguments, **kept)

    x = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, kepts = [], []
    for call in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        kepts.append(keeps())
        out = call(leaf, kepts[-1])
        out.square().sum().backward()
        found.append([out, leaf.grad, *(weight.grad for weight in layer.parameters())])
    torch.testing.assert_close(*found, atol=1e-10, rtol=1e-10)
    return kepts


def experts() -> None:
    groups = Groups(number=4, top=2)
    full = Experts(
        **{"num_experts": 8, "top_k": 3, "d_ff": 6, "router": "sigmoid", "correction": True, "groups": groups},
        shared=SharedExpert(d_ff=5, gated=True),
    )
    biased = Experts(num_experts=4, top_k=2, d_ff=6, activation=ClampedSwish(), bias=True, router_bias=True)
    for config in (full, biased):
        eager, compiled = check(
            MixtureOfExperts(12, config), keeps=lambda c=config: {"load": Load(c.num_experts)}, valid=VALID
        )
        assert torch.equal(eager["load"].counts, compiled["load"].counts)
        assert int(eager["load"].tokens) == 7


CASES: dict[str, Callable[[], None]] = {"experts": experts}


@pytest.mark.parametrize("case", CASES)
def test_it_compiles_as_one_graph(case: str) -> None:
    command = [sys.executable, "-m", "tests.nn.test_compiled_mixers", case]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    torch.set_num_threads(1)
    CASES[sys.argv[1]]()
