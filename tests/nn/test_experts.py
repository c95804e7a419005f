"""Mixtures of experts against transformers' layers, against all experts computed, and what the load says."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek
from transformers.models.gpt_oss import modeling_gpt_oss as gpt_oss
from transformers.models.mixtral import modeling_mixtral as mixtral
from transformers.models.qwen3_moe import modeling_qwen3_moe as qwen3
from transformers.models.qwen3_next import modeling_qwen3_next as qwen3_next

from tests.nn.theirs import difference, redraw, wholly_in
from tests.oracles import bits, close, normal, randomise, rejects
from transformer_lib.config.experts import ClampedSwish, Experts, Groups, SharedExpert
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.grouped import StackedLinear
from transformer_lib.nn.router import Load, Router, Routing

WIDTH, FF = 12, 6
MIXTRAL = Experts(num_experts=6, top_k=2, d_ff=FF)
QWEN3 = dataclasses.replace(MIXTRAL, normalised=False)
GPT_OSS = dataclasses.replace(MIXTRAL, activation=ClampedSwish(limit=1.5), bias=True, router_bias=True)
QWEN3_NEXT = dataclasses.replace(MIXTRAL, shared=SharedExpert(d_ff=10, gated=True))
DEEPSEEK = dataclasses.replace(
    MIXTRAL,
    **{"num_experts": 8, "top_k": 3, "router": "sigmoid", "scale": 2.5, "correction": True},
    **{"groups": Groups(number=4, top=2), "shared": SharedExpert(d_ff=2 * FF)},
)
SIZES = {"hidden_size": WIDTH, "moe_intermediate_size": FF, "num_experts": 6, "num_experts_per_tok": 2}


def _mixtral() -> nn.Module:
    config = hf.MixtralConfig(hidden_size=WIDTH, intermediate_size=FF, num_local_experts=6, num_experts_per_tok=2)
    return mixtral.MixtralSparseMoeBlock(config)


def _qwen3() -> nn.Module:
    return qwen3.Qwen3MoeSparseMoeBlock(hf.Qwen3MoeConfig(**SIZES, norm_topk_prob=False))


def _qwen3_next() -> nn.Module:
    config = hf.Qwen3NextConfig(**SIZES, shared_expert_intermediate_size=10, norm_topk_prob=True)
    return qwen3_next.Qwen3NextSparseMoeBlock(config)


def _deepseek() -> nn.Module:
    config = hf.DeepseekV3Config(
        **{"hidden_size": WIDTH, "moe_intermediate_size": FF, "n_routed_experts": 8, "num_experts_per_tok": 3},
        **{"n_group": 4, "topk_group": 2, "n_shared_experts": 2, "routed_scaling_factor": 2.5, "norm_topk_prob": True},
    )
    return deepseek.DeepseekV3MoE(config)


def _gpt_oss() -> nn.Module:
    config = hf.GptOssConfig(hidden_size=WIDTH, intermediate_size=FF, num_local_experts=6, num_experts_per_tok=2)
    theirs = gpt_oss.GptOssMLP(config)
    theirs.experts.limit = 1.5  # so that the clamp is felt
    return theirs


ORACLES: dict[str, tuple[Experts, Callable[[], nn.Module]]] = {
    "Mixtral": (MIXTRAL, _mixtral),
    "Qwen3-MoE": (QWEN3, _qwen3),
    "gpt-oss": (GPT_OSS, _gpt_oss),
    "Qwen3-Next": (QWEN3_NEXT, _qwen3_next),
    "DeepSeek-V3": (DEEPSEEK, _deepseek),
}
RENAMED = {
    **{"gate.weight": "router.to_scores.weight", "gate.e_score_correction_bias": "router.correction"},
    **{"router.weight": "router.to_scores.weight", "router.bias": "router.to_scores.bias"},
    **{"experts.down_proj": "to_out.weight", "experts.down_proj_bias": "to_out.bias"},
    "shared_expert_gate.weight": "shared_gate.weight",
    **{
        f"{name}.{theirs}.weight": f"shared.{mine}.weight"
        for name in ("shared_expert", "shared_experts")
        for theirs, mine in (("gate_proj", "to_gate"), ("up_proj", "to_hidden"), ("down_proj", "to_out"))
    },
}


def converted(theirs: nn.Module, values: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Their weights, or other values of the same names, under our names.

    There, the gate and the other branch stand in one tensor, in gpt-oss row by row in turn.
    """
    tensors = {}
    in_turn = isinstance(theirs, gpt_oss.GptOssMLP)
    for name, tensor in (theirs.state_dict() if values is None else values).items():
        if in_turn and name in ("experts.down_proj", "experts.gate_up_proj"):
            tensor = tensor.mT
        if not name.startswith("experts.gate_up_proj"):
            tensors[RENAMED[name]] = tensor
            continue
        kind = "bias" if name.endswith("bias") else "weight"
        gate, up = (tensor[:, ::2], tensor[:, 1::2]) if in_turn else tensor.chunk(2, dim=1)
        tensors |= {f"to_gate.{kind}": gate, f"to_hidden.{kind}": up}
    return tensors


def both(name: str, dtype: torch.dtype, zeroed: str = "") -> tuple[MixtureOfExperts, nn.Module]:
    """The two layers with equal, redrawn weights; with `zeroed`, ours lacks that one tensor."""
    config, make = ORACLES[name]
    theirs = redraw(make(), dtype)
    mine = MixtureOfExperts(WIDTH, config).to(dtype)
    mine.load_state_dict({n: t * (n != zeroed) for n, t in converted(theirs).items()})
    return mine, theirs


def outputs(mine: nn.Module, theirs: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x = normal(2, 40, WIDTH).to(dtype)
    with wholly_in(dtype):
        expected = theirs(x)
    return mine(x), expected[0] if isinstance(expected, tuple) else expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ORACLES)
def test_the_layers_of_transformers(name: str, dtype: torch.dtype) -> None:
    close(*outputs(*both(name, dtype), dtype))


@pytest.mark.parametrize("name", ORACLES)
def test_the_gradients_of_transformers(name: str) -> None:
    mine, theirs = both(name, torch.float64)
    for out in outputs(mine, theirs, torch.float64):
        (out * normal(2, 40, WIDTH, seed=1)).sum().backward()
    gradients = {n: w.grad for n, w in theirs.named_parameters() if w.grad is not None}
    expected = converted(theirs, gradients)
    assert expected.keys() == dict(mine.named_parameters()).keys()
    for n, weight in mine.named_parameters():
        assert weight.grad is not None
        close(weight.grad, expected[n], n)


@pytest.mark.parametrize("name", ORACLES)
def test_every_tensor_counts(name: str) -> None:
    for tensor in converted(ORACLES[name][1]()):
        assert difference(*outputs(*both(name, torch.float64, zeroed=tensor), torch.float64)) > 1e-3, tensor


CONFIGS = [config for config, _ in ORACLES.values()] + [
    dataclasses.replace(MIXTRAL, activation="gelu_tanh", top_k=6),
    dataclasses.replace(
        DEEPSEEK, shared=None, router="softmax", normalised=False, groups=Groups(number=2, top=1, best=1)
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_chosen_experts_are_all_experts_weighted(config: Experts) -> None:
    mine = randomise(MixtureOfExperts(WIDTH, config))
    x = normal(2, 5, WIDTH)
    weighing = normal(2, 5, WIDTH, seed=1)
    gradients = []
    for path in (mine, mine.explicit):
        leaf = x.clone().requires_grad_()
        mine.zero_grad()
        (path(leaf) * weighing).sum().backward()
        gradients.append([leaf.grad, *(weight.grad for weight in mine.parameters())])
    close(mine(x), mine.explicit(x))
    for fast, slow in zip(*gradients, strict=True):
        assert fast is not None and slow is not None
        close(fast, slow, "gradient")


@given(st.sampled_from(CONFIGS), st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True))
def test_a_token_does_not_feel_the_others(config: Experts, rows: list[int]) -> None:
    mine, x = randomise(MixtureOfExperts(WIDTH, config)), normal(12, WIDTH)
    close(mine(x[rows]), mine(x)[rows])


def test_stacked_layers_are_the_layers_one_by_one() -> None:
    mine, x, expert = randomise(StackedLinear(4, 3, 5, bias=True)), normal(6, 3), torch.tensor([0, 0, 2, 2, 2, 3])
    found = []
    for path in ("stacked", "row by row"):
        leaf = x.clone().requires_grad_()
        mine.zero_grad()
        if path == "stacked":
            out = mine(leaf, expert)
        else:
            assert mine.bias is not None
            out = torch.stack([mine.weight[e] @ row + mine.bias[e] for e, row in zip(expert, leaf, strict=True)])
        (out * normal(6, 5, seed=1)).sum().backward()
        found.append([out, leaf.grad, *(weight.grad for weight in mine.parameters())])
    for fast, slow in zip(*found, strict=True):
        assert fast is not None and slow is not None
        close(fast, slow)


def test_no_token_at_all_and_one_alone() -> None:
    mine = randomise(MixtureOfExperts(WIDTH, GPT_OSS))
    assert mine(normal(0, WIDTH)).shape == (0, WIDTH)
    x = normal(WIDTH)
    close(mine(x), mine(x[None])[0])


@pytest.mark.parametrize("config", CONFIGS)
def test_only_the_chosen_are_computed(config: Experts) -> None:
    mine = randomise(MixtureOfExperts(WIDTH, config))
    x = normal(3, WIDTH)
    used = set(mine.router(x).chosen.flatten().tolist())
    before = mine(x)
    with torch.no_grad():
        for expert in set(range(config.num_experts)) - used:
            mine.to_hidden.weight[expert] = torch.nan
    assert torch.equal(mine(x), before)


def test_groups_bound_where_a_token_chooses() -> None:
    mine = randomise(Router(WIDTH, DEEPSEEK))
    groups = mine(normal(200, WIDTH)).chosen // 2
    assert max(len(set(row)) for row in groups.tolist()) == 2
    free = Router(WIDTH, dataclasses.replace(DEEPSEEK, groups=None)).double()
    free.load_state_dict(mine.state_dict())
    assert max(len(set(row)) for row in (free(normal(200, WIDTH)).chosen // 2).tolist()) == 3


def test_a_correction_chooses_and_does_not_weigh() -> None:
    config = dataclasses.replace(DEEPSEEK, groups=None, normalised=False, scale=1.0)
    mine = randomise(Router(WIDTH, config))
    x = normal(50, WIDTH)
    before = mine(x)
    assert mine.correction is not None
    mine.correction[3] = 10.0
    chosen, weights, probabilities = mine(x)
    assert bool((chosen == 3).any(dim=1).all())
    close(weights, x.matmul(mine.to_scores.weight.T).sigmoid().gather(1, chosen))
    close(probabilities, before.probabilities)


@pytest.mark.parametrize("masked", [False, True])
def test_the_balancing_loss_is_that_of_transformers(masked: bool) -> None:
    valid = bits(2, 5) if masked else None
    load, logits = Load(6), []
    for seed in range(3):  # three layers into one load
        mine = randomise(MixtureOfExperts(WIDTH, MIXTRAL))
        x = normal(2, 5, WIDTH, seed=seed)
        mine(x, load=load, valid=valid)
        logits.append(x.flatten(0, 1) @ mine.router.to_scores.weight.T)
    with wholly_in(torch.float64):
        expected = mixtral.load_balancing_loss_func(tuple(logits), 6, 2, None if valid is None else valid.long())
    close(load.balancing_loss(), expected)
    assert int(load.tokens) == 3 * (10 if valid is None else int(valid.sum()))
    assert int(load.counts.sum()) == 2 * int(load.tokens)


def test_the_balancing_loss_and_the_violation_by_hand() -> None:
    load = Load(2)
    assert float(load.balancing_loss()) == float(load.violation()) == 0.0
    chosen, weights = torch.tensor([[0], [0], [0], [1]]), torch.ones(4, 1)
    load.add(Routing(chosen, weights, torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])))
    assert load.counts.tolist() == [3, 1]
    assert float(load.balancing_loss()) == pytest.approx(2 * (0.75 * 0.6 + 0.25 * 0.4))
    assert float(load.violation()) == pytest.approx(0.5)


def imbalance(balance: Callable[[MixtureOfExperts, Load, torch.optim.Optimizer], Any]) -> tuple[float, float]:
    """How uneven a layer is before and after steps that do nothing but balance it."""
    mine = randomise(MixtureOfExperts(WIDTH, dataclasses.replace(DEEPSEEK, groups=None, top_k=2)))
    optimiser = torch.optim.SGD(mine.router.to_scores.parameters(), lr=0.3)
    x, found = normal(400, WIDTH) + 0.5, []
    for _ in range(80):
        mine(x, load=(load := Load(8)))
        balance(mine, load, optimiser)
        found.append(float(load.violation()))
    return found[0], found[-1]


def test_both_ways_of_balancing_even_the_load_out() -> None:
    def by_loss(mine: MixtureOfExperts, load: Load, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        load.balancing_loss().backward()
        optimiser.step()

    def by_correction(mine: MixtureOfExperts, load: Load, optimiser: torch.optim.Optimizer) -> None:
        mine.router.rebalance(load, rate=0.02)

    for balance in (by_loss, by_correction):
        before, after = imbalance(balance)
        assert before > 0.8 and after < before / 3, (before, after)


def test_autocast_reaches_the_experts() -> None:
    mine = randomise(MixtureOfExperts(WIDTH, GPT_OSS), dtype=torch.float32)
    x = normal(4, WIDTH).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert mine.to_gate(x, torch.tensor([0, 0, 1, 5])).dtype == torch.bfloat16
        low = mine(x)
    assert low.dtype == x.dtype
    torch.testing.assert_close(low, mine(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("config", [GPT_OSS, Experts(num_experts=6, top_k=2, d_ff=5, router="sigmoid")])
def test_autocast_does_not_round_what_chooses(config: Experts) -> None:
    router = randomise(Router(WIDTH, config), dtype=torch.float32)
    x = normal(500, WIDTH).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = router(x)
    for part, wanted in zip(found, router(x), strict=True):
        assert torch.equal(part, wanted)


def test_bad_configs() -> None:
    with rejects("top_k", "num_experts=2", "3"):
        Experts(num_experts=2, top_k=3, d_ff=4)
    with rejects("groups.number", "num_experts=6", "4"):
        dataclasses.replace(MIXTRAL, groups=Groups(number=4, top=2))
    with rejects("groups.best", "2 experts", "3"):
        dataclasses.replace(MIXTRAL, groups=Groups(number=3, top=2, best=3))
    with rejects("top_k", "2 experts of the 1 groups", "3"):
        dataclasses.replace(MIXTRAL, top_k=3, groups=Groups(number=3, top=1))
    with rejects("top", "number=2", "3"):
        Groups(number=2, top=3)
    with rejects("activation", "silu", "relu"):
        dataclasses.replace(QWEN3_NEXT, activation="relu")
    with rejects("scale", "0"):
        dataclasses.replace(MIXTRAL, scale=0.0)
    with rejects("limit", "-1"):
        ClampedSwish(limit=-1.0)


def test_bad_input() -> None:
    mine = MixtureOfExperts(WIDTH, MIXTRAL)
    with rejects("x", "vectors of 12 numbers", "(3, 13)"):
        mine(torch.zeros(3, 13))
    with rejects("load", "6 experts", "5"):
        mine(torch.zeros(3, WIDTH), load=Load(5))
    with rejects("correction", "part of the router's config"):
        mine.router.rebalance(Load(6))
    with rejects("rate", "above 0", "2"):
        Router(WIDTH, DEEPSEEK).rebalance(Load(8), rate=2.0)
    with rejects("expert", "must rise", "[1, 0]"):
        StackedLinear(2, 3, 4)(torch.zeros(2, 3), torch.tensor([1, 0]))
    with rejects("expert", "within 0 and 1", "[0, 2]"):
        StackedLinear(2, 3, 4)(torch.zeros(2, 3), torch.tensor([0, 2]))
    with rejects("num_experts and width_in and width_out", "memory"):
        StackedLinear(2**20, 2**20, 2**20)
