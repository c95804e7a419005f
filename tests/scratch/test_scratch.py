"""The NumPy Transformer against PyTorch: our modules with autograd, torch's functions and optimisers, differences."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor, nn

from tests.oracles import CONFIG, integers, normal, randomise, rejects, unchecked
from transformer_lib import scratch
from transformer_lib.config import (
    Activation,
    Alibi,
    AttentionConfig,
    Learned,
    Mlp,
    ModelConfig,
    NoPositions,
    Norm,
    Sinusoidal,
    SwiGlu,
)
from transformer_lib.models import DecoderLM
from transformer_lib.nn import LayerNorm, RMSNorm, apply_rope, rope_rotation
from transformer_lib.scratch import functions as f
from transformer_lib.scratch import pencil

RMS = Norm(kind="rms", eps=1e-3)
GPT2 = dataclasses.replace(
    CONFIG,
    attention=AttentionConfig(num_heads=4, bias=True),
    feedforward=Mlp(d_ff=24, activation="gelu_tanh"),
    positions=Learned(),
)
CONFIGS = {
    "pencil": pencil.CONFIG,
    "like GPT-2": GPT2,
    "like Llama": dataclasses.replace(CONFIG, norm=RMS, tie_embeddings=False),
    "post-norm": dataclasses.replace(
        CONFIG, norm_order="post", positions=Sinusoidal(base=50.0), scale_embeddings=True, feedforward=Mlp(d_ff=8)
    ),
    "post-norm, rms": dataclasses.replace(CONFIG, norm_order="post", norm=RMS, feedforward=SwiGlu(d_ff=8, bias=True)),
    "multi-query, wide heads": dataclasses.replace(
        CONFIG,
        attention=AttentionConfig(num_heads=3, num_kv_heads=1, head_dim=6, bias=True),
        feedforward=Mlp(d_ff=10, activation="silu", bias=False),
        positions=NoPositions(),
    ),
    "relu": dataclasses.replace(CONFIG, feedforward=Mlp(d_ff=8, activation="relu"), num_layers=3),
    "three biases": dataclasses.replace(CONFIG, attention=AttentionConfig(num_heads=4, num_kv_heads=2, bias="qkv")),
}


def numpy(weights: nn.Module) -> dict[str, ndarray]:
    return {name: weight.detach().numpy().copy() for name, weight in weights.named_parameters()}


def close(mine: ndarray, theirs: Tensor, name: str = "") -> None:
    np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-10, atol=1e-10, err_msg=name)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed).requires_grad_()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_stage_and_every_gradient_is_that_of_pytorch(name: str) -> None:
    config = CONFIGS[name]
    model = randomise(DecoderLM(config))
    tokens, targets = integers(config.vocab_size, 2, 3, seed=1), integers(config.vocab_size, 2, 3, seed=2)
    targets[0, 1] = -100
    kept = hooked(model)
    logits = model(tokens)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    weights = numpy(model)
    stages = scratch.forward(config, weights, tokens.numpy())
    total, count = scratch.cross_entropy(stages["logits"], targets.numpy())
    d_logits = scratch.cross_entropy_backward(stages["logits"], targets.numpy()) / count
    gradients, signals = scratch.backward(config, weights, tokens.numpy(), stages, d_logits)

    assert count == 5
    close(total / count, F.cross_entropy(logits.flatten(0, 1), targets.flatten()), "loss")
    assert gradients.keys() == weights.keys() and signals.keys() == stages.keys()
    for parameter, weight in model.named_parameters():
        assert weight.grad is not None
        close(gradients[parameter], weight.grad, f"gradient of {parameter}")
    per_block = 6 + isinstance(config.feedforward, SwiGlu)
    assert len(kept) == 2 + (config.norm_order == "pre") + config.num_layers * per_block
    for stage, output in kept.items():
        close(stages[stage], output, stage)
        close(signals[stage], output.grad, f"gradient of stage {stage}")


def hooked(model: DecoderLM) -> dict[str, Tensor]:
    """Filled by the next forward pass: the output of each module that is a stage, keeping its gradient."""
    kept: dict[str, Tensor] = {}

    def keep(module: nn.Module, stage: str) -> None:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            output.retain_grad()
            kept[stage] = output

        module.register_forward_hook(hook)

    keep(model.embedding, "embedding")
    keep(model.head, "logits")
    for name, module in model.named_modules():
        last = name.rpartition(".")[-1]
        if last in ("attention", "feedforward"):
            keep(module, f"{name}.out")
        elif last in ("to_qkv", "to_hidden", "to_gate") or isinstance(module, LayerNorm | RMSNorm):
            keep(module, name)
    return kept


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_the_stages_inside_attention(kv_heads: int) -> None:
    config = dataclasses.replace(CONFIG, attention=AttentionConfig(num_heads=4, num_kv_heads=kv_heads))
    x = normal(2, 5, 16)
    weights = {"to_qkv.weight": leaf(16 + 8 * kv_heads, 16, seed=1), "to_out.weight": leaf(16, 16, seed=2)}
    rotation = rope_rotation(torch.arange(5)[None], 4, dtype=torch.float64)
    stage = {"to_qkv": x @ weights["to_qkv.weight"].T}
    parts = (
        part.unflatten(-1, (-1, 4)).transpose(1, 2)
        for part in stage["to_qkv"].split([16, 4 * kv_heads, 4 * kv_heads], -1)
    )
    stage["q"], stage["k"], stage["v"] = parts
    stage["q"], stage["k"] = apply_rope(stage["q"], rotation), apply_rope(stage["k"], rotation)
    k, v = (stage[name].repeat_interleave(4 // kv_heads, dim=1) for name in ("k", "v"))
    stage["scores"] = stage["q"] @ k.mT / 2
    stage["weights"] = stage["scores"].masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf).softmax(-1)
    stage["heads"] = stage["weights"] @ v
    stage["out"] = stage["heads"].transpose(1, 2).flatten(2) @ weights["to_out.weight"].T
    for tensor in stage.values():
        tensor.retain_grad()
    weighing = normal(2, 5, 16, seed=3)
    (stage["out"] * weighing).sum().backward()

    arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
    mine = scratch.attention.attention(config, arrays, x.numpy())
    _, gradients, signals = scratch.attention.attention_backward(config, arrays, x.numpy(), mine, weighing.numpy())
    assert mine.keys() == signals.keys() == stage.keys()
    for name, tensor in stage.items():
        close(mine[name], tensor, name)
        close(signals[name], tensor.grad, f"gradient of {name}")
    for name, weight in weights.items():
        close(gradients[name], weight.grad, name)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(kind: Activation) -> None:
    x, dy = torch.linspace(-30, 30, 200, dtype=torch.float64).requires_grad_(), normal(200)
    y = ACTIVATIONS[kind](x)
    close(f.activate(x.detach().numpy(), kind), y)
    y.backward(dy)
    close(f.activate_backward(dy.numpy(), x.detach().numpy(), kind), x.grad)


def test_norms_with_and_without_bias() -> None:
    x, gain, bias, dy = leaf(2, 3, 5), leaf(5, seed=1), leaf(5, seed=2), normal(2, 3, 5, seed=3)
    a, g, b = (tensor.detach().numpy() for tensor in (x, gain, bias))
    close(f.layer_norm(a, g), F.layer_norm(x, (5,), gain))
    y = F.layer_norm(x, (5,), gain, bias, 1e-3)
    close(f.layer_norm(a, g, b, 1e-3), y)
    for mine, theirs in zip(
        f.layer_norm_backward(dy.numpy(), a, g, 1e-3), torch.autograd.grad(y, [x, gain, bias], dy), strict=True
    ):
        close(mine, theirs)
    y = F.rms_norm(x, (5,), gain, 1e-3)
    close(f.rms_norm(a, g, 1e-3), y)
    for mine, theirs in zip(
        f.rms_norm_backward(dy.numpy(), a, g, 1e-3), torch.autograd.grad(y, [x, gain], dy), strict=True
    ):
        close(mine, theirs)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adam, penalty", "adamw"])
def test_steps_are_those_of_torch_optim(kind: str) -> None:
    parameters = {"a": leaf(3, 2), "b": leaf(4, seed=1)}
    weights = {name: parameter.detach().numpy().copy() for name, parameter in parameters.items()}
    moments = scratch.Moments.zeros(weights)
    settings: dict[str, Any] = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}
    optimizer: torch.optim.Optimizer
    match kind:
        case "sgd":
            optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
        case "adamw":
            optimizer = torch.optim.AdamW(parameters.values(), weight_decay=0.3, **settings)
        case _:
            optimizer = torch.optim.Adam(
                parameters.values(), weight_decay=0.3 if "penalty" in kind else 0.0, **settings
            )
    for step in range(4):
        gradients = {name: normal(*weight.shape, seed=10 * step + weight.ndim) for name, weight in weights.items()}
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        optimizer.step()
        arrays = {name: gradient.numpy() for name, gradient in gradients.items()}
        match kind:
            case "sgd":
                scratch.sgd_step(weights, arrays, lr=0.1)
            case "adamw":
                scratch.adamw_step(weights, arrays, moments, weight_decay=0.3, **settings)
            case _:
                scratch.adam_step(weights, arrays, moments, penalty=0.3 if "penalty" in kind else 0.0, **settings)
        for name, weight in weights.items():
            close(weight, parameters[name], name)


@pytest.mark.parametrize("bound", [0.5, 100.0])
def test_clip_is_torchs(bound: float) -> None:
    parameters = [leaf(3, 2), leaf(4, seed=1)]
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    gradients = {str(i): parameter.detach().numpy().copy() for i, parameter in enumerate(parameters)}
    assert scratch.clip(gradients, bound) == pytest.approx(
        float(nn.utils.clip_grad_norm_(parameters, bound)), rel=1e-12
    )
    for mine, parameter in zip(gradients.values(), parameters, strict=True):
        close(mine, parameter.grad)


def test_training_follows_pytorch_step_for_step_and_learns() -> None:
    """Ten tokens whose successor is one more, modulo ten: thirty AdamW steps from the same weights."""
    config = dataclasses.replace(CONFIG, vocab_size=10, feedforward=Mlp(d_ff=32), norm=RMS)
    weights = scratch.initial_weights(config, seed=0, std=0.2)
    model = DecoderLM(config).double()
    model.load_state_dict({n: torch.tensor(w) for n, w in weights.items()}, strict=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    moments, random, losses = scratch.Moments.zeros(weights), np.random.default_rng(0), []
    for _ in range(30):
        tokens = (random.integers(10, size=(8, 1)) + np.arange(6)) % 10
        stages = scratch.forward(config, weights, tokens)
        total, count = scratch.cross_entropy(stages["logits"], (tokens + 1) % 10)
        d_logits = scratch.cross_entropy_backward(stages["logits"], (tokens + 1) % 10) / count
        gradients, _ = scratch.backward(config, weights, tokens, stages, d_logits)
        scratch.adamw_step(weights, gradients, moments, lr=0.02, weight_decay=0.1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(torch.tensor(tokens)).flatten(0, 1), torch.tensor((tokens + 1) % 10).flatten())
        loss.backward()
        optimizer.step()
        losses.append(total / count)
        assert losses[-1] == pytest.approx(loss.item(), rel=1e-9)
    assert losses[0] > 2.2 and losses[-1] < 0.1
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(weights[name], parameter.detach().numpy(), atol=1e-8, err_msg=name)


def test_initial_weights_have_the_models_names_shapes_and_sizes() -> None:
    for config in CONFIGS.values():
        weights, model = scratch.initial_weights(config, seed=0, std=0.1), numpy(DecoderLM(config))
        assert {n: w.shape for n, w in weights.items()} == {n: w.shape for n, w in model.items()}
    for name, weight in scratch.initial_weights(GPT2, seed=0, std=0.1).items():
        if weight.ndim == 1:
            assert (weight == (1.0 if "norm.weight" in name else 0.0)).all()
        else:
            assert 0.08 < weight.std() < 0.12


def test_what_is_left_out_is_refused() -> None:
    tokens = np.array([[0, 1]])
    for change, words in [
        ({"positions": Alibi()}, ("positions", "Alibi")),
        ({"dropout": 0.1}, ("dropout", "0.1")),
        ({"attention": AttentionConfig(num_heads=4, window=2)}, ("window", "2")),
        ({"attention": AttentionConfig(num_heads=4, qk_norm=True)}, ("qk_norm", "True")),
        ({"embedding_norm": True}, ("embedding_norm", "True")),
        ({"segments": 2}, ("segments", "2")),
    ]:
        config: ModelConfig = dataclasses.replace(CONFIG, **change)
        with rejects(*words):
            scratch.forward(config, scratch.initial_weights(config, seed=0), tokens)


def test_bad_input_names_field_rule_and_value() -> None:
    weights, tokens = pencil.pencil_weights(), pencil.TOKENS
    with rejects("tokens", "below vocab_size=4", "(0, 4)"):
        scratch.forward(pencil.CONFIG, weights, np.array([0, 4]))
    with rejects("tokens", "at least one", "(0,)"):
        scratch.forward(pencil.CONFIG, weights, tokens[:0])
    with rejects("weights", "final_norm.weight", "(4,)", "None"):
        scratch.forward(pencil.CONFIG, {n: w for n, w in weights.items() if n != "final_norm.weight"}, tokens)
    with rejects("weights", "final_norm.weight", "(5,)"):
        scratch.forward(pencil.CONFIG, weights | {"final_norm.weight": np.ones(5)}, tokens)
    with rejects("tokens", "max_length=24", "25"):
        scratch.forward(GPT2, scratch.initial_weights(GPT2, seed=0), np.zeros((1, 25), dtype=int))
    logits = scratch.forward(pencil.CONFIG, weights, tokens)["logits"]
    for function in (scratch.cross_entropy, scratch.cross_entropy_backward):
        with rejects("targets", "below the 4 classes", "4"):
            function(logits, np.array([0, 1, 4]))
        with rejects("targets", "the same batch", "(3,)", "(2,)"):
            function(logits, tokens[:2])
    with rejects("gradients", "names and shapes of the weights", "b"):
        scratch.sgd_step({"a": np.ones(2)}, {"a": np.ones(2), "b": np.ones(2)}, lr=0.1)
    with rejects("gradients", "names and shapes of the weights", "a"):
        scratch.sgd_step({"a": np.ones(2)}, {"a": np.ones(3)}, lr=0.1)
    with rejects("max_norm", "positive", "0"):
        scratch.clip({"a": np.ones(2)}, 0.0)


def test_what_would_give_nonsense_is_refused() -> None:
    x, gain = np.ones((2, 3)), np.ones(3)
    for eps in (math.nan, math.inf, 0.0, -1.0, 1e-46, 1e308):
        with rejects("eps"):
            f.layer_norm(x, gain, eps=eps)
        with rejects("eps"):
            f.rms_norm(x, gain, eps)
        with rejects("eps"):
            f.rms_norm_backward(x, x, gain, eps)
    for theta in (math.nan, math.inf, 1.0, -1.0, 1e308):
        with rejects("theta"):
            f.rotate(np.ones((2, 4)), theta)
    with rejects("turn", "1, -1", "2"):
        f.rotate(np.ones((2, 4)), 10.0, turn=2)
    with rejects("x", "even head_dim", "(2, 3)"):
        f.rotate(x, 10.0)
    with rejects("scores", "last axis", "(2, 0)"):
        f.softmax(np.ones((2, 0)))
    with rejects("weight", "the same in as", "3", "2"):
        f.linear_backward(np.ones((2, 4)), np.ones((2, 3)), np.ones((4, 2)))
    with rejects("seed", "negative", "-1"):
        scratch.initial_weights(pencil.CONFIG, seed=-1)
    with rejects("std", "at least 0", "-0.5"):
        scratch.initial_weights(pencil.CONFIG, seed=0, std=-0.5)


def test_a_wrong_kind_is_a_type_error() -> None:
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("config must be a ModelConfig, got None", lambda: scratch.initial_weights(None, seed=0)),
        ("x must be a ndarray, got \\[1, 2\\] of type list", lambda: f.activate([1, 2], "relu")),
        (r"weights\['w'\] must be a ndarray, got 3 of type int", lambda: scratch.sgd_step({"w": 3}, {}, lr=0.1)),
        ("lr must be a number, got True of type bool", lambda: scratch.sgd_step({}, {}, lr=True)),
    ]
    for message, call in wrong:
        with unchecked(), pytest.raises(TypeError, match=message):
            call()
    with rejects("weights['w']", "floating-point", "int64"):
        scratch.sgd_step({"w": np.arange(2)}, {"w": np.ones(2)}, lr=0.1)


def test_stages_and_moments_must_fit_the_weights() -> None:
    weights, tokens = pencil.pencil_weights(), pencil.TOKENS
    stages = scratch.forward(pencil.CONFIG, weights, tokens)
    with rejects("stages", "blocks.0.attention.q", "None"):
        left = {name: stage for name, stage in stages.items() if name != "blocks.0.attention.q"}
        scratch.backward(pencil.CONFIG, weights, tokens, left, stages["logits"])
    with rejects("d_logits", "(3, 4)", "(3, 3)"):
        scratch.backward(pencil.CONFIG, weights, tokens, stages, stages["logits"][:, :3])
    with rejects("moments", "names and shapes of the weights", "b"):
        moments = scratch.Moments.zeros({"a": np.ones(2)})
        scratch.adam_step({"b": np.ones(2)}, {"b": np.ones(2)}, moments, lr=0.1)
    for betas in ((0.9, 1.0), (-0.1, 0.9)):
        moments = scratch.Moments.zeros({"a": np.ones(2)})
        with rejects("betas", "below 1"):
            scratch.adam_step({"a": np.ones(2)}, {"a": np.ones(2)}, moments, lr=0.1, betas=betas)
        assert moments.step == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_every_stage_has_the_shape_that_is_checked(name: str) -> None:
    """`backward` compares the stages with the shapes it derives from the config: those that `forward` gives."""
    config = CONFIGS[name]
    tokens = np.zeros((2, 1, 3), dtype=int)  # a batch of two axes
    weights = scratch.initial_weights(config, seed=0)
    stages = scratch.forward(config, weights, tokens)
    gradients, signals = scratch.backward(config, weights, tokens, stages, stages["logits"])
    assert {n: s.shape for n, s in signals.items()} == {n: s.shape for n, s in stages.items()}
    assert {n: g.shape for n, g in gradients.items()} == {n: w.shape for n, w in weights.items()}
