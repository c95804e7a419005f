"""A whole decoder in NumPy: GPT-2's and Llama's forward pass, and the backward pass derived by hand.

Two pure functions over dictionaries. `weights` has the names and shapes of `DecoderLM(config).named_parameters()`, so
gradients can be laid beside autograd's, name by name. `forward` returns every stage of the computation under its name;
`backward` walks the same stages in reverse and returns the gradient of each weight and of each stage.

Left out (a `ValueError`): dropout, ALiBi, windows, query-key normalisation, and what only an encoder has.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from transformer_lib.checks import require_between
from transformer_lib.config import Alibi, Learned, Mlp, ModelConfig, Sinusoidal, SwiGlu, require
from transformer_lib.config.plain import require_plain
from transformer_lib.contract import checked_once
from transformer_lib.scratch.attention import attention, attention_backward, stage_shapes, weight_shapes
from transformer_lib.scratch.functions import (
    Arrays,
    activate,
    activate_backward,
    check_shapes,
    layer_norm,
    layer_norm_backward,
    linear,
    linear_backward,
    rms_norm,
    rms_norm_backward,
)

MOST_STD = 1e6  # of starting weights: far more than any makes sense
PARTS = ("attention", "feedforward")


@checked_once
def initial_weights(config: ModelConfig, *, seed: int, std: float = 0.02) -> Arrays:
    """Starting weights: matrices normal with `std`, gains 1, biases 0 (GPT-2 without its depth scale)."""
    require(seed >= 0, "seed", "must not be negative", seed)
    require_between(0, MOST_STD, std=std)
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in _shapes(config).items():
        gain = len(shape) == 1 and name.endswith("weight")
        weights[name] = np.ones(shape) if gain else np.zeros(shape) if len(shape) == 1 else random.normal(0, std, shape)
    return weights


@checked_once
def forward(config: ModelConfig, weights: Arrays, tokens: Int[ndarray, "*batch time"]) -> Arrays:
    """Every stage by name: embedding; per block its norms, attention.*, feedforward.* and sums; final_norm; logits."""
    _check(config, weights, tokens)
    x = _embed(config, weights, tokens)
    stages = {"embedding": x}
    for block in _blocks(config):
        for part in PARTS:
            name = f"{block}.{part}"
            h = x
            if config.norm_order == "pre":
                h = stages[f"{name}_norm"] = _norm(config, weights, f"{name}_norm", x)
            run = attention if part == "attention" else _feedforward
            inside = run(config, _below(weights, name), h)
            stages |= {f"{name}.{stage}": array for stage, array in inside.items()}
            x = stages[f"{name}_sum"] = x + inside["out"]
            if config.norm_order == "post":
                x = stages[f"{name}_norm"] = _norm(config, weights, f"{name}_norm", x)
    if config.norm_order == "pre":
        x = stages["final_norm"] = _norm(config, weights, "final_norm", x)
    stages["logits"] = linear(x, weights[_head(config)])
    return stages


@checked_once
def backward(
    config: ModelConfig,
    weights: Arrays,
    tokens: Int[ndarray, "*batch time"],
    stages: Arrays,
    d_logits: Float[ndarray, "*batch time vocab"],
) -> tuple[Arrays, Arrays]:
    """The gradient of the loss with respect to each weight, and to each stage, from that of the logits."""
    _check(config, weights, tokens)
    check_shapes("stages", stages, _stage_shapes(config, tokens.shape))
    shape = (*tokens.shape, config.vocab_size)
    require(d_logits.shape == shape, "d_logits", f"must have the shape of the logits, {shape}", d_logits.shape)
    gradients = {name: np.zeros_like(weight) for name, weight in weights.items()}
    signals = {"logits": d_logits}
    order = _stream(config)
    dx, gradients[_head(config)], _ = linear_backward(d_logits, stages[order[-1]], weights[_head(config)])
    if config.norm_order == "pre":
        signals["final_norm"] = dx
        dx = _norm_backward(config, weights, "final_norm", stages[order[-2]], dx, gradients)
        order = order[:-1]
    names = [f"{block}.{part}" for block in _blocks(config) for part in PARTS]
    for index in reversed(range(len(names))):
        name, x = names[index], stages[order[index]]  # x is what this part read from the stream
        run = attention_backward if name.endswith("attention") else _feedforward_backward
        if config.norm_order == "post":
            signals[f"{name}_norm"] = dx
            dx = _norm_backward(config, weights, f"{name}_norm", stages[f"{name}_sum"], dx, gradients)
        signals[f"{name}_sum"] = dx
        h = stages[f"{name}_norm"] if config.norm_order == "pre" else x
        dh, found, inside = run(config, _below(weights, name), h, _below(stages, name), dx)
        gradients |= {f"{name}.{weight}": array for weight, array in found.items()}
        signals |= {f"{name}.{stage}": array for stage, array in inside.items()}
        if config.norm_order == "pre":
            signals[f"{name}_norm"] = dh
            dh = _norm_backward(config, weights, f"{name}_norm", x, dh, gradients)
        dx = dx + dh  # the stream reached the loss by two ways: past the part and through it
    signals["embedding"] = dx
    _embed_backward(config, tokens, dx, gradients)
    return gradients, signals


def _stream(config: ModelConfig) -> list[str]:
    """The stages that are the residual stream, in order: what each part reads, then what the head reads."""
    kind = "sum" if config.norm_order == "pre" else "norm"
    order = ["embedding", *(f"{block}.{part}_{kind}" for block in _blocks(config) for part in PARTS)]
    return [*order, "final_norm"] if config.norm_order == "pre" else order


def _embed(config: ModelConfig, weights: Arrays, tokens: ndarray) -> ndarray:
    table, time = weights["embedding.tokens.weight"], tokens.shape[-1]
    x = table[tokens] * (config.d_model**0.5 if config.scale_embeddings else 1.0)
    match config.positions:
        case Learned():
            x = x + weights["embedding.positions.weight"][:time]
        case Sinusoidal(base=base):
            angles = np.arange(time)[:, None] * base ** -(np.arange(0, config.d_model, 2) / config.d_model)
            x = x + np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(time, -1)
    return x.astype(table.dtype)


def _embed_backward(config: ModelConfig, tokens: ndarray, dx: ndarray, gradients: Arrays) -> None:
    """A row was looked up once for each time its token occurs: it gets the sum of those gradients."""
    scale = config.d_model**0.5 if config.scale_embeddings else 1.0
    np.add.at(gradients["embedding.tokens.weight"], tokens, dx * scale)
    if isinstance(config.positions, Learned):
        gradients["embedding.positions.weight"][: tokens.shape[-1]] = dx.reshape(-1, *dx.shape[-2:]).sum(axis=0)


def _feedforward(config: ModelConfig, weights: Arrays, x: ndarray) -> Arrays:
    """Stages to_hidden, activated, out; for SwiGlu also to_gate, and `activated` is the product of both branches."""
    stages = {"to_hidden": linear(x, weights["to_hidden.weight"], weights.get("to_hidden.bias"))}
    match config.feedforward:
        case Mlp(activation=kind):
            stages["activated"] = activate(stages["to_hidden"], kind)
        case SwiGlu():
            stages["to_gate"] = linear(x, weights["to_gate.weight"], weights.get("to_gate.bias"))
            stages["activated"] = activate(stages["to_gate"], "silu") * stages["to_hidden"]
    stages["out"] = linear(stages["activated"], weights["to_out.weight"], weights.get("to_out.bias"))
    return stages


def _feedforward_backward(
    config: ModelConfig, weights: Arrays, x: ndarray, stages: Arrays, d_out: ndarray
) -> tuple[ndarray, Arrays, Arrays]:
    g, signals, hidden = {}, {"out": d_out}, stages["to_hidden"]
    d_activated, *g["to_out"] = linear_backward(d_out, stages["activated"], weights["to_out.weight"])
    signals["activated"] = d_activated
    match config.feedforward:
        case Mlp(activation=kind):
            signals["to_hidden"] = activate_backward(d_activated, hidden, kind)
        case SwiGlu():
            gate = stages["to_gate"]
            signals["to_hidden"] = d_activated * activate(gate, "silu")
            signals["to_gate"] = activate_backward(d_activated * hidden, gate, "silu")
    dx = np.zeros_like(x)
    for branch in ("to_hidden", "to_gate"):
        if branch in signals:
            part, *g[branch] = linear_backward(signals[branch], x, weights[f"{branch}.weight"])
            dx = dx + part
    gradients = {f"{layer}.{kind}": a for layer in g for kind, a in zip(("weight", "bias"), g[layer], strict=True)}
    return dx, {name: gradients[name] for name in weights}, signals


def _norm(config: ModelConfig, weights: Arrays, name: str, x: ndarray) -> ndarray:
    gain = weights[f"{name}.weight"]
    match config.norm.kind:
        case "layer":
            return layer_norm(x, gain, weights[f"{name}.bias"], config.norm.eps)
        case "rms":
            return rms_norm(x, gain, config.norm.eps)


def _norm_backward(
    config: ModelConfig, weights: Arrays, name: str, x: ndarray, dy: ndarray, gradients: Arrays
) -> ndarray:
    gain = weights[f"{name}.weight"]
    match config.norm.kind:
        case "layer":
            dx, gradients[f"{name}.weight"], gradients[f"{name}.bias"] = layer_norm_backward(
                dy, x, gain, config.norm.eps
            )
        case "rms":
            dx, gradients[f"{name}.weight"] = rms_norm_backward(dy, x, gain, config.norm.eps)
    return dx


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every weight, in the order of DecoderLM's parameters."""
    d = config.d_model
    shapes: dict[str, tuple[int, ...]] = {"embedding.tokens.weight": (config.vocab_size, d)}
    if isinstance(config.positions, Learned):
        shapes["embedding.positions.weight"] = (config.max_length, d)
    parts = {"attention": weight_shapes(config), "feedforward": _feedforward_shapes(config)}
    for block in _blocks(config):
        shapes |= {f"{block}.{part}.{name}": shape for part in PARTS for name, shape in parts[part].items()}
    norms = [f"{block}.{part}_norm" for block in _blocks(config) for part in PARTS]
    for name in [*norms, *(["final_norm"] if config.norm_order == "pre" else [])]:
        shapes[f"{name}.weight"] = (d,)
        if config.norm.kind == "layer":
            shapes[f"{name}.bias"] = (d,)
    if not config.tie_embeddings:
        shapes["head.weight"] = (config.vocab_size, d)
    return shapes


def _feedforward_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    d, ff = config.d_model, config.feedforward
    gate = {"to_gate": (ff.d_ff, d)} if isinstance(ff, SwiGlu) else {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, inside) in (gate | {"to_hidden": (ff.d_ff, d), "to_out": (d, ff.d_ff)}).items():
        shapes |= {f"{name}.weight": (out, inside)} | ({f"{name}.bias": (out,)} if ff.bias else {})
    return shapes


def _stage_shapes(config: ModelConfig, rows: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The name and shape of every stage that `forward` gives for tokens of the shape `rows`."""
    stream, ff = (*rows, config.d_model), config.feedforward
    hidden = ["to_hidden", "activated", *(["to_gate"] if isinstance(ff, SwiGlu) else [])]
    feedforward = {name: (*rows, ff.d_ff) for name in hidden} | {"out": stream}
    parts = {"attention": stage_shapes(config, rows), "feedforward": feedforward}
    shapes: dict[str, tuple[int, ...]] = {"embedding": stream, "logits": (*rows, config.vocab_size)}
    for block in _blocks(config):
        for part in PARTS:
            shapes |= {f"{block}.{part}_norm": stream, f"{block}.{part}_sum": stream}
            shapes |= {f"{block}.{part}.{name}": shape for name, shape in parts[part].items()}
    return shapes | ({"final_norm": stream} if config.norm_order == "pre" else {})


def _blocks(config: ModelConfig) -> list[str]:
    return [f"blocks.{index}" for index in range(config.num_layers)]


def _head(config: ModelConfig) -> str:
    return "embedding.tokens.weight" if config.tie_embeddings else "head.weight"


def _below(arrays: Arrays, name: str) -> Arrays:
    """The entries `name.rest`, under `rest`."""
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _check(config: ModelConfig, weights: Arrays, tokens: ndarray) -> None:
    require_plain(config)
    require(not isinstance(config.positions, Alibi), "positions", "must not be Alibi here", config.positions)
    require(config.dropout == 0, "dropout", "must be 0 here", config.dropout)
    require(config.heads.window is None, "window", "must be None here", config.heads.window)
    require(not config.heads.qk_norm, "qk_norm", "must be False here", True)
    encoder = (config.embedding_norm, config.segments)
    require(encoder == (False, 0), "(embedding_norm, segments)", "must be (False, 0) in a decoder", encoder)
    check_shapes("weights", weights, _shapes(config))
    require(tokens.size > 0, "tokens", "must hold at least one token", tokens.shape)
    bounds = (int(tokens.min()), int(tokens.max()))
    inside = bounds[0] >= 0 and bounds[1] < config.vocab_size
    require(inside, "tokens", f"must be at least 0 and below vocab_size={config.vocab_size}", bounds)
    fits = not isinstance(config.positions, Learned) or tokens.shape[-1] <= config.max_length
    require(fits, "tokens", f"must be at most max_length={config.max_length} long", tokens.shape[-1])
