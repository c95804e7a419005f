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
from transformer_lib.config.mixers import GatedDelta, LatentAttention, LinearAttention
from transformer_lib.nn.delta_mixer import GatedDeltaMixer
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.latent import LatentMixer
from transformer_lib.nn.linear_attention import LinearMixer
from transformer_lib.nn.positions import rope_rotation
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


def check_steps(layer: nn.Module, new_state: Callable[[int], Any], **of_whole: Any) -> None:
    """Nine compiled steps give what one pass gives, and are compiled for no, one and any number of tokens before."""
    x = torch.randn(2, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def run(x: Tensor, state: Any) -> Tensor:
        return layer(x, state=state)

    step, state = torch.compile(run, fullgraph=True, backend="aot_eager"), new_state(2)
    torch._dynamo.utils.counters.clear()
    with torch.inference_mode():
        steps = [step(x[:, at : at + 1], state) for at in range(9)]
        torch.testing.assert_close(torch.cat(steps, dim=1), layer(x, **of_whole), atol=1e-10, rtol=1e-10)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3


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


def delta() -> None:
    layer = GatedDeltaMixer(12, GatedDelta(num_heads=4, key_dim=6, value_dim=5, num_key_heads=2))
    for valid in (None, VALID):
        eager, compiled = check(layer, keeps=lambda: {"state": layer.new_state(2)}, valid=valid)
        torch.testing.assert_close(eager["state"].memory, compiled["state"].memory, atol=1e-10, rtol=1e-10)
    check_steps(layer, layer.new_state)


def linear() -> None:
    layer = LinearMixer(12, LinearAttention(num_heads=3))
    for valid in (None, VALID):
        check(layer, keeps=lambda: {"state": layer.new_state(2)}, valid=valid)
    check_steps(layer, layer.new_state)


def latent() -> None:
    layer = LatentMixer(12, LatentAttention(num_heads=3, head_dim=6, rope_dim=4, value_dim=5, kv_rank=8, q_rank=7))
    rotation = rope_rotation(torch.arange(5)[None], 4, dtype=torch.float64)
    for form in ("expanded", "absorbed", None):
        check(layer, mask="causal", rotation=rotation, form=form)
    check_steps(layer, lambda batch: layer.new_state(batch, 9), mask="causal")


CASES: dict[str, Callable[[], None]] = {"experts": experts, "delta": delta, "linear": linear, "latent": latent}


@pytest.mark.parametrize("case", CASES)
def test_it_compiles_as_one_graph(case: str) -> None:
    command = [sys.executable, "-m", "tests.nn.test_compiled_mixers", case]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    torch.set_num_threads(1)
    CASES[sys.argv[1]]()
