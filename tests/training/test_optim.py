"""Which parameters are decayed and which are Muon's, and that the updates are the published ones."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from small_run import next_token_loss, run_in_a_process, small_model
from torch import nn

from tests.plain import unchecked
from transformer_lib.config import Experts, Mlp
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.corpora import stdlib_source
from transformer_lib.models import DecoderLM
from transformer_lib.training import (
    Record,
    TrainConfig,
    adamw,
    muon,
    newton_schulz,
    parameter_groups,
    train,
    warmup_cosine,
)
from transformer_lib.training.config import OptimizerName


def test_matrices_are_decayed_and_vectors_are_not_each_once():
    model = small_model()
    decayed, plain = parameter_groups(model, weight_decay=0.3)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2} and {p.dim() for p in plain["params"]} == {1}
    both = [id(p) for p in decayed["params"] + plain["params"]]
    assert len(set(both)) == len(both) and set(both) == {id(p) for p in model.parameters()}
    assert model.head.weight is model.embedding.tokens.weight and id(model.head.weight) in both


def test_a_frozen_parameter_stands_in_no_group():
    model = nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    groups = parameter_groups(model, weight_decay=0.1)
    assert [len(group["params"]) for group in groups] == [1, 0]


def test_bad_settings_name_field_rule_and_value():
    with pytest.raises(ValueError, match="weight_decay must not be negative, got -1"):
        parameter_groups(nn.Linear(2, 2), weight_decay=-1.0)
    with pytest.raises(ValueError, match="model must have a parameter to train, got 'Identity'"):
        parameter_groups(nn.Identity(), weight_decay=0.1)


def test_the_fused_update_is_plain_adamws_with_decay_on_matrices_only():
    ours, theirs = (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizers = [adamw(ours, weight_decay=0.5, betas=(0.8, 0.9))]
    for parameters, decay in ([[theirs[0].weight, theirs[1].weight], 0.5], [[theirs[0].bias, theirs[1].bias], 0.0]):
        optimizers.append(torch.optim.AdamW(parameters, lr=0.01, betas=(0.8, 0.9), weight_decay=decay, fused=False))
    for group in optimizers[0].param_groups:
        assert group["fused"]
        group["lr"] = 0.01
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for model in (ours, theirs):
            model.zero_grad()
            model(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = small_model(tie_embeddings=False)
    model.blocks[0].feedforward.to_out.weight.requires_grad_(False)
    optimizer = muon(model, weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.3, 0.0]
    names = {id(p): name for name, p in model.named_parameters()}
    maps, tables, vectors = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert maps == {
        "blocks.0.attention.to_qkv.weight",
        "blocks.0.attention.to_out.weight",
        "blocks.0.feedforward.to_hidden.weight",
    }
    assert tables == {"embedding.tokens.weight", "head.weight"}
    assert maps | tables | vectors == set(names.values()) - {"blocks.0.feedforward.to_out.weight"}
    with pytest.raises(ValueError, match="model must have a matrix in a Block for Muon to train, got 'Linear'"):
        muon(nn.Linear(2, 3))


def orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """U p(p(p(p(p(S))))) V^T with p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5 and S of norm 1 (Jordan et al. 2024).

    What five Newton-Schulz steps do to a matrix they do to each singular value alone.
    """
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s /= np.linalg.norm(s)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ v


def muon_updates(start: np.ndarray, gradients: list[np.ndarray], *, rate: float, decay: float) -> tuple[Any, Any]:
    """One weight matrix after the given gradients: ours, and by the formulas in NumPy; and both momenta."""
    model = small_model().double()
    weight = model.blocks[0].feedforward.to_hidden.weight
    optimizer = muon(model, weight_decay=decay)
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.no_grad():
        weight.copy_(torch.from_numpy(start))
    expected, momentum = start.copy(), np.zeros_like(start)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        update = orthogonalised(0.95 * momentum + 0.05 * gradient)
        expected = (1 - rate * decay) * expected - rate * 0.2 * math.sqrt(max(start.shape)) * update
    return (weight.detach().numpy(), optimizer.state[weight]["momentum_buffer"].numpy()), (expected, momentum)


def test_muons_steps_are_newton_schulz_on_the_singular_values():
    dice = np.random.default_rng(0)
    start, gradients = dice.normal(size=(16, 8)), list(dice.normal(size=(3, 16, 8)))
    (weight, buffer), (expected, momentum) = muon_updates(start, gradients, rate=0.01, decay=0.5)
    np.testing.assert_allclose(buffer, momentum, atol=1e-10)
    np.testing.assert_allclose(weight, expected, atol=1e-10)


def test_the_polynomial_takes_all_but_the_smallest_near_one():
    """Two singular values s and sqrt(1 - s^2), whose norm is 1."""
    sizes = np.geomspace(0.002, 0.999, 999)
    ends = [newton_schulz.orthogonalised(torch.diag(torch.tensor([s, math.sqrt(1 - s * s)])))[0, 0] for s in sizes]
    assert min(ends) > 0.68 and max(ends) < 1.21


def test_in_float32_the_polynomial_keeps_float32s_digits_and_bfloat16_is_widened():
    matrix = torch.from_numpy(np.random.default_rng(2).normal(size=(48, 16)))
    exact = orthogonalised(matrix.numpy())
    for narrow, most in ((torch.float32, 1e-4), (torch.bfloat16, 0.02)):
        found = newton_schulz.orthogonalised(matrix.to(narrow))
        assert found.dtype == narrow and np.abs(found.double().numpy() - exact).max() < most
    assert torch.equal(newton_schulz.orthogonalised(torch.zeros(3, 2)), torch.zeros(3, 2))


def test_muons_step_along_an_orthogonal_matrix_goes_along_it():
    """Equal singular values stay equal; how large they become says the polynomial: between 0.68 and 1.13."""
    dice = np.random.default_rng(1)
    q = np.linalg.qr(dice.normal(size=(16, 8)))[0]
    (weight, _), _ = muon_updates(np.zeros((16, 8)), [1e3 * q], rate=1.0, decay=0.0)
    update = -weight / (0.2 * math.sqrt(16))
    size = np.sum(update * q) / 8
    assert 0.68 < size < 1.13
    np.testing.assert_allclose(update, size * q, atol=1e-10)


def test_state_and_groups_of_the_pair_are_those_of_its_parts_after_loading_too():
    model, other = small_model(), small_model()
    pairs = [muon(model), muon(other)]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert pairs[0].step(lambda: 3.0) == 3.0
    pairs[1].load_state_dict(pairs[0].state_dict())
    for pair, parameters in zip(pairs, (model.parameters(), other.parameters()), strict=True):
        assert set(pair.state) == set(parameters)
        for part in pair.parts:
            assert part.state is pair.state and all(any(g is h for h in pair.param_groups) for g in part.param_groups)
    for group in pairs[1].param_groups:
        group["lr"] = 0.1
    before = [parameter.clone() for parameter in other.parameters()]
    for parameter in other.parameters():
        parameter.grad = torch.ones_like(parameter)
    pairs[1].step()
    assert not any(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


@unchecked()
def test_muon_learns_a_small_language_faster_than_adamw():
    run_in_a_process(compare_optimisers)  # free of the tests' type checker, which takes longer than the steps


def compare_optimisers() -> None:
    """Bytes of Python's source, 60 steps, each optimiser at its best of three rates by the mean over three seeds."""
    text = "".join(document.text for document in stdlib_source("small").train[:20])
    stream = torch.tensor(list(text.encode("ascii", "ignore")))
    ends = {optimizer: [ends_of_runs(stream, optimizer, rate) for rate in RATES] for optimizer in ("adamw", "muon")}
    best = {optimizer: min(rows, key=sum) for optimizer, rows in ends.items()}
    assert all(muon < adamw - 0.05 for muon, adamw in zip(best["muon"], best["adamw"], strict=True)), ends


RATES = (3e-3, 1e-2, 3e-2)
WIDER = {"vocab_size": 128, "d_model": 32, "num_layers": 2, "feedforward": Mlp(d_ff=128), "dropout": 0.0}


def ends_of_runs(stream: torch.Tensor, optimizer: OptimizerName, rate: float) -> list[float]:
    """The mean loss over the last ten steps, for each seed."""
    ends = []
    for seed in range(3):
        records: list[Record] = []
        schedule = functools.partial(warmup_cosine, warmup=6, total=60, peak=rate, floor=rate / 10)
        torch.manual_seed(seed)
        model = DecoderLM(dataclasses.replace(small_model().config, **WIDER))
        config = TrainConfig(steps=60, learning_rate=schedule, optimizer=optimizer, seed=seed, progress=False)
        train(
            model,
            next_token_loss,
            PackedBatches(stream, batch=8, context=16, seed=seed),
            config,
            on_step=records.append,
        )
        ends.append(sum(record.loss for record in records[-10:]) / 10)
    return ends


def test_experts_are_adamws_and_their_biases_are_not_decayed():
    """Torch's Muon takes one matrix at a time; a bias for each expert is no matrix."""
    model = small_model(feedforward=Experts(num_experts=2, top_k=1, d_ff=4, bias=True))
    names = {id(p): name for name, p in model.named_parameters()}
    maps, matrices, vectors = (
        {names[id(p)] for p in group["params"]} for group in muon(model, weight_decay=0.3).param_groups
    )
    assert maps == {f"blocks.0.{name}.weight" for name in _MAPS}
    assert matrices == {"embedding.tokens.weight", *(f"blocks.0.feedforward.{name}.weight" for name in _STACKED)}
    assert {f"blocks.0.feedforward.{name}.bias" for name in _STACKED} <= vectors
    plain = parameter_groups(model, weight_decay=0.3)[1]["params"]
    assert {names[id(p)] for p in plain} == vectors


_MAPS = ("attention.to_qkv", "attention.to_out", "feedforward.router.to_scores")
_STACKED = ("to_gate", "to_hidden", "to_out")


@pytest.mark.parametrize("build", [adamw, muon])
def test_decays_of_the_means_that_are_none_are_refused(build: Any) -> None:
    with pytest.raises(ValueError, match=r"betas must be at least 0 and below 1, got \(-1.0, 0.95\)"):
        build(small_model(), betas=(-1.0, 0.95))
