"""Keras models against PyTorch: the same logits, the same gradients, and the same again after saving and loading."""

import dataclasses
import functools
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.oracles import CONFIG, close, integers, normal, randomise, rejects, unchecked
from transformer_lib.config import (
    Activation,
    Alibi,
    AttentionConfig,
    Experts,
    FeedForwardConfig,
    Glu,
    Learned,
    LinearScaling,
    Llama3Scaling,
    Mlp,
    ModelConfig,
    NoPositions,
    Norm,
    NtkScaling,
    Positions,
    Rope,
    RopeScaling,
    Seq2SeqConfig,
    Sinusoidal,
    YarnScaling,
    to_json,
)
from transformer_lib.models import DecoderLM, Encoder, MaskedLM, Seq2Seq
from transformer_lib.training import token_loss

for needed in ("keras", "tensorflow"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed", allow_module_level=True)

from transformer_lib.interop import keras_layers, keras_positions  # noqa: E402  (only where Keras is)
from transformer_lib.interop.keras import copy_weights, keras, partners, to_keras  # noqa: E402

tf = pytest.importorskip("tensorflow")  # after our module, which keeps TensorFlow quiet

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")  # of a single token
F32, F64 = torch.float32, torch.float64
SIZES = [(1, 1), (3, 7), (2, 20)]
TRAINED = 6  # the length after which scaled positions differ


def like(**changes: Any) -> ModelConfig:
    """One layer, which Keras builds in half the time, unless the case says two."""
    return dataclasses.replace(CONFIG, **({"num_layers": 1} | changes))


def heads(**changes: Any) -> AttentionConfig:
    return AttentionConfig(num_heads=4, **changes)


def scaled(scaling: RopeScaling) -> ModelConfig:
    return like(attention=heads(head_dim=8), positions=Rope(theta=500.0, scaling=scaling))


RMS = Norm(kind="rms", eps=1e-2)
GPT2 = like(
    num_layers=2,
    attention=heads(bias=True),
    feedforward=Mlp(d_ff=24, activation="gelu_tanh"),
    positions=Learned(),
    segments=2,
)
BERT = like(
    attention=heads(bias=True),
    feedforward=Mlp(d_ff=24),
    positions=Learned(),
    norm=Norm(eps=1e-2),
    norm_order="post",
    embedding_norm=True,
    segments=2,
)
CASES: dict[str, tuple[type[nn.Module], ModelConfig]] = {
    "gpt2": (DecoderLM, GPT2),
    "llama": (DecoderLM, like(num_layers=2, norm=RMS, tie_embeddings=False)),
    "qwen3": (
        DecoderLM,
        like(
            attention=heads(num_kv_heads=2, head_dim=6, bias="qkv", qk_norm=True, window=3),
            norm=RMS,
            tie_embeddings=False,
            head_bias=True,
        ),
    ),
    "vaswani": (
        DecoderLM,
        like(
            positions=Sinusoidal(base=300.0),
            scale_embeddings=True,
            norm_order="post",
            feedforward=Mlp(d_ff=24, activation="relu"),
            head_bias=True,
        ),
    ),
    "alibi": (DecoderLM, like(positions=Alibi(), feedforward=Mlp(d_ff=24, activation="silu", bias=False))),
    "none": (DecoderLM, like(positions=NoPositions(), attention=heads(num_kv_heads=1), embedding_norm=True)),
    "linear": (DecoderLM, scaled(LinearScaling(factor=3.0))),
    "ntk": (DecoderLM, scaled(NtkScaling(factor=2.0, original_length=TRAINED))),
    "yarn": (DecoderLM, scaled(YarnScaling(factor=4.0, original_length=TRAINED, beta_fast=4.0, beta_slow=0.5))),
    "llama3": (DecoderLM, scaled(Llama3Scaling(factor=4.0, original_length=TRAINED))),
    "bert": (Encoder, BERT),
    "bert masked": (MaskedLM, dataclasses.replace(BERT, segments=0, norm_order="pre")),
    "bert masked segments": (MaskedLM, BERT),
    "window": (Encoder, like(norm=RMS, attention=heads(window=3))),
    "far": (Encoder, like(positions=Alibi())),
}
cases = pytest.mark.parametrize("name", CASES)


class Pair(NamedTuple):
    """A model of ours and what became of it."""

    mine: Any
    theirs: Any

    def outputs(self, tokens: Tensor, valid: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        segments = {"segments": tokens % 2} if len(self.theirs.inputs) == 3 else {}
        mine = self.mine(tokens, valid=valid, **segments)
        return mine, as_torch(self.theirs(feed(tokens, valid, *segments.values()), **options))


def feed(*tensors: Tensor) -> list[Any]:
    return [tensor.numpy().astype("bool" if tensor.dtype == torch.bool else "int32") for tensor in tensors]


def as_torch(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array))


@functools.cache
def pair(name: str, dtype: torch.dtype) -> Pair:
    kind, config = CASES[name]
    with unchecked():
        mine = randomise(kind(config), dtype=dtype)
        return Pair(mine, to_keras(mine))


def padded(batch: int, time: int) -> Tensor:
    """Padding before, after and between the real tokens, and from the third row on nothing else."""
    valid = torch.rand(batch, time, generator=torch.Generator().manual_seed(time)) < 0.6
    valid[0, -1] = True
    valid[1:2] = torch.arange(time) >= time // 2
    valid[2:] = False
    return valid


def same(mine: Tensor, theirs: Tensor, config: ModelConfig, what: str = "output") -> None:
    """As `close`, but where Keras's GELU rounds its constants to float32 in every type."""
    rounded = isinstance(config.feedforward, Mlp) and config.feedforward.activation.startswith("gelu")
    if mine.dtype == F64 and rounded:
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-7, msg=lambda text: f"{what}: {text}")
    else:
        close(mine, theirs, what)


@cases
@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_outputs_are_pytorchs_at_every_size(name: str, dtype: torch.dtype) -> None:
    both = pair(name, dtype)
    for batch, time in SIZES if dtype == F64 else SIZES[1:2]:
        tokens = integers(13, batch, time, seed=time)
        for valid in (torch.ones(batch, time, dtype=torch.bool), padded(batch, time)):
            mine, theirs = both.outputs(tokens, valid)
            assert theirs.dtype == dtype and theirs.isfinite().all()
            same(mine.detach(), theirs, both.mine.config, f"{batch} x {time}")


def test_the_cases_have_every_choice_of_the_config() -> None:
    """So that a new one is rebuilt in Keras too, or refused there."""
    configs = [config for _, config in CASES.values()]
    scalings = {type(c.positions.scaling) for c in configs if isinstance(c.positions, Rope)}
    assert {type(c.positions) for c in configs} == set(get_args(Positions))
    assert scalings == {*get_args(RopeScaling), type(None)}
    refused = {Glu, Experts}  # as is all that configs have had since, by `require_plain`
    assert {type(c.feedforward) for c in configs} == set(get_args(FeedForwardConfig)) - refused
    assert {c.feedforward.activation for c in configs if isinstance(c.feedforward, Mlp)} == set(get_args(Activation))
    varied = {"vocab_size", "d_model", "max_length", "dropout"}  # sizes, and what has a test of its own
    for part in (ModelConfig, AttentionConfig, Norm):
        owners = {
            ModelConfig: configs,
            AttentionConfig: [c.attention for c in configs],
            Norm: [c.norm for c in configs],
        }
        for field in dataclasses.fields(part):
            if "later" in field.metadata:
                continue
            values = {getattr(owner, field.name) for owner in owners[part]}
            assert field.name in varied | {"num_heads"} or len(values) > 1, field.name


@cases
def test_a_training_step_is_the_same(name: str) -> None:
    """Cross entropy (a weighing of the states where there are no logits), its gradients, and the weights after SGD."""
    kind, config = CASES[name]
    with unchecked():
        mine = randomise(kind(config))
        both = Pair(mine, to_keras(mine))
    tokens, targets, valid = integers(13, 3, 7), integers(13, 3, 7, seed=1), padded(3, 7)
    segments = [tokens % 2] if len(both.theirs.inputs) == 3 else []
    weighing = normal(3, 7, 16)
    optimizer = torch.optim.SGD(mine.parameters(), lr=0.5)
    output = mine(tokens, valid=valid, **({"segments": segments[0]} if segments else {}))
    loss = (output * weighing).mean() if kind is Encoder else token_loss(output, targets).mean()
    loss.backward()

    with tf.GradientTape() as tape:
        output = both.theirs(feed(tokens, valid, *segments))
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
        their_loss = tf.reduce_mean(output * weighing.numpy()) if kind is Encoder else entropy(targets.numpy(), output)
    same(loss.detach(), as_torch(their_loss), config, "loss")
    pairs = partners(mine, both.theirs)
    assert pairs.keys() == dict(mine.named_parameters()).keys()
    assert all(parameter is mine.get_parameter(key) for key, (parameter, _, _) in pairs.items())
    variables = [variable for _, variable, _ in pairs.values()]
    assert len({id(variable) for variable in variables}) == len(variables) == len(both.theirs.trainable_variables)
    gradients = tape.gradient(their_loss, [variable.value for variable in variables])
    for (key, (parameter, _, to_ours)), gradient in zip(pairs.items(), gradients, strict=True):
        assert parameter.grad is not None
        if gradient is None:
            raise AssertionError(f"{key} has no gradient in theirs")
        same(parameter.grad, to_ours(gradient), config, f"gradient of {key}")
    before = {key: parameter.detach().clone() for key, (parameter, _, _) in pairs.items()}
    optimizer.step()
    keras.optimizers.SGD(learning_rate=0.5).apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
    for key, (parameter, variable, to_ours) in pairs.items():
        same(parameter.detach(), to_ours(variable), config, key)
    assert any(not torch.equal(parameter, before[key]) for key, (parameter, _, _) in pairs.items())


@pytest.mark.parametrize("name", ["gpt2", "qwen3", "vaswani", "alibi", "yarn", "bert masked segments", "window"])
def test_a_keras_file_gives_the_same_model(name: str, tmp_path: Path) -> None:
    both = pair(name, F32)
    both.theirs.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    tokens, valid = integers(13, 3, 7), padded(3, 7)
    mine, theirs = Pair(both.mine, loaded).outputs(tokens, valid)
    close(mine.detach(), theirs)
    assert torch.equal(theirs, both.outputs(tokens, valid)[1])
    assert partners(both.mine, loaded).keys() == dict(both.mine.named_parameters()).keys()


@pytest.mark.parametrize("name", ["ntk", "bert masked segments"])
def test_a_saved_model_gives_the_same_numbers_at_every_size(name: str, tmp_path: Path) -> None:
    both = pair(name, F32)
    both.theirs.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")  # held as long as it is called: its variables die with it
    for batch, time in SIZES:
        tokens, valid = integers(13, batch, time, seed=time), padded(batch, time)
        segments = [tokens % 2] if len(both.theirs.inputs) == 3 else []
        mine, _ = both.outputs(tokens, valid)
        close(mine.detach(), as_torch(loaded.serve(feed(tokens, valid, *segments))))
        names = dict(zip(("tokens", "valid", "segments"), feed(tokens, valid, *segments), strict=False))
        [served] = loaded.signatures["serving_default"](**{key: tf.constant(x) for key, x in names.items()}).values()
        close(mine.detach(), as_torch(served))


def test_a_saved_model_runs_without_this_library(tmp_path: Path) -> None:
    both = pair("qwen3", F32)
    both.theirs.export(tmp_path / "model", verbose=False)
    tokens, valid = integers(13, 3, 7), padded(3, 7)
    np.savez(tmp_path / "feed.npz", *feed(tokens, valid))
    code = """
import sys
import numpy as np
import tensorflow as tf
model, feed = tf.saved_model.load("model"), np.load("feed.npz")
np.save("found.npy", model.serve([feed["arr_0"], feed["arr_1"]]))
assert not {"torch", "transformer_lib"} & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    close(both.outputs(tokens, valid)[0].detach(), torch.from_numpy(np.load(tmp_path / "found.npy")))


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_dropout_stands_where_ours_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a dropout that only shrinks, which is not random, training gives the same numbers too."""
    kind, config = CASES[name]
    with unchecked():
        mine = randomise(kind(dataclasses.replace(config, dropout=0.25)))
        both = Pair(mine, to_keras(mine))
    tokens, valid = integers(13, 2, 7), padded(2, 7)
    quiet = both.outputs(tokens, valid)
    same(quiet[0].detach(), quiet[1], config)
    mine.train()
    assert not torch.equal(*(both.outputs(tokens, valid, training=True)[1] for _ in range(2)))
    for module, function in (("dropout", "dropout"), ("attend", "drop")):
        monkeypatch.setattr(sys.modules[f"transformer_lib.nn.{module}"], function, lambda x, p: x * (1 - p))
    shrink = lambda self, x, training=False: x * (1 - self.rate) if training else x  # noqa: E731
    monkeypatch.setattr(keras.layers.Dropout, "call", shrink)
    found = both.outputs(tokens, valid, training=True)
    same(found[0].detach(), found[1], config)
    assert (found[1] - quiet[1]).abs().max() > 1e-2


def test_weights_are_copies_until_copied_again() -> None:
    with unchecked():
        mine = randomise(DecoderLM(CONFIG))
        both = Pair(mine, to_keras(mine))
    tokens, valid = integers(13, 2, 5), torch.ones(2, 5, dtype=torch.bool)
    before = both.outputs(tokens, valid)[1]
    with torch.no_grad():
        for weight in mine.parameters():
            weight.mul_(1.5)
    mine_now, theirs_now = both.outputs(tokens, valid)
    assert torch.equal(theirs_now, before) and not torch.allclose(mine_now, before)
    copy_weights(mine, both.theirs)
    close(*(x.detach() for x in both.outputs(tokens, valid)))


def test_layers_are_called_as_our_modules() -> None:
    both = pair("bert masked", F32)
    names = {layer.name for layer in both.theirs.layers} - {"tokens", "valid", "positions", "mask"}
    assert names == {name for name, _ in both.mine.named_modules()} & names
    assert {"encoder.embedding.tokens", "encoder.blocks.0", "encoder.final_norm", "head.dense"} <= names


def test_what_has_no_counterpart_is_refused() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
    class Spiral(Rope):
        pass

    @dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
    class Warped(LinearScaling):
        pass

    @dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
    class Wide(Mlp):
        pass

    with (
        unchecked(),
        pytest.raises(TypeError, match="model must be a DecoderLM or an Encoder or a MaskedLM, got Seq2Seq"),
    ):
        to_keras(Seq2Seq(Seq2SeqConfig(encoder=CONFIG, decoder=CONFIG)))  # type: ignore[arg-type]
    with rejects("model", "must be in one type", "float32", "torch.bfloat16"):
        to_keras(DecoderLM(CONFIG).bfloat16())
    mixed = DecoderLM(CONFIG)
    mixed.final_norm.double()
    with rejects("model", "must be in one type", "'torch.float32', 'torch.float64'"):
        to_keras(mixed)
    broken = DecoderLM(like())
    broken.blocks[0].attention.to_out.weight.data[0, 0] = torch.nan
    with rejects("blocks.0.attention.to_out.weight", "must be finite"):
        to_keras(broken)
    with rejects("blocks.0.attention.to_out.weight", "must be finite"):
        copy_weights(broken, other())
    with torch.device("meta"), rejects("embedding.tokens.weight", "must hold numbers", "meta device"):
        to_keras(DecoderLM(CONFIG))
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("positions", {"positions": Spiral()}, "Spiral(theta=10000.0"),
        ("positions.scaling", {"positions": Rope(scaling=Warped(factor=2.0))}, "Warped(factor=2.0)"),
        ("feedforward", {"feedforward": Wide(d_ff=8)}, "Wide(d_ff=8"),
    ]
    for field, changes, value in refused:
        with rejects(f"{field} must be one of", "to be rebuilt in Keras", value):
            to_keras(DecoderLM(like(**changes)))
    for changes in ({"feedforward": Glu(d_ff=8)}, {"norm_order": "both"}, {"residual_scale": 0.5}):
        with rejects("config", "must be without these parts here", next(iter(changes))):
            to_keras(DecoderLM(like(**changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_layers": 2}, ("theirs", "must have a counterpart of blocks.1")),
        ({"head_bias": True}, ("theirs", "must have a counterpart of head.bias")),
        ({"vocab_size": 14}, ("embedding.tokens.weight", "must be of the shape in theirs, (13, 16)", "(14, 16)")),
        ({"attention": heads(num_kv_heads=1)}, ("blocks.0.attention.to_qkv.weight", "(32, 16)", "(24, 16)")),
        ({"norm": RMS}, ("theirs", "must have no further variables", "beta")),
    ],
    ids=lambda value: next(iter(value)),
)
def test_partners_of_another_model_are_refused(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    theirs = other()
    with rejects(*words):
        partners(DecoderLM(like(**changes)), theirs)


@pytest.mark.parametrize("wrong", [None, nn.Linear(2, 2), []], ids=lambda value: type(value).__name__)
def test_another_kind_of_model_has_no_partners(wrong: Any) -> None:
    for function in (partners, copy_weights):
        with unchecked(), pytest.raises(TypeError, match=r"theirs must be a keras\.Model, got"):
            function(DecoderLM(like()), wrong)


@pytest.mark.parametrize("kind", ["Attention", "FeedForward", "Block", "Embedding", "Rotary", "AlibiBias"])
def test_layers_say_what_is_wrong_with_their_config(kind: str) -> None:
    make = getattr(keras_layers, kind)
    assert make(to_json(CONFIG)).config == make(CONFIG).config == CONFIG
    for wrong in (None, 3, CONFIG.attention):
        with pytest.raises(TypeError, match="config must be a ModelConfig, or one as JSON, got"):
            make(wrong)
    for text, words in (("{", "config must be JSON"), (to_json(CONFIG.attention), "config must be that of one stack")):
        with rejects(words):
            make(text)


def test_layers_say_what_is_wrong_with_their_arguments() -> None:
    with rejects("config.positions", "must be a Rope", "Alibi"):
        keras_positions.Rotary(like(positions=Alibi()))
    with unchecked(), pytest.raises(TypeError, match="causal must be True or False, got 1"):
        keras_positions.AttentionMask(1)
    with unchecked(), pytest.raises(TypeError, match=r"window must be a whole number, got 1\.5"):
        keras_positions.AttentionMask(True, 1.5)
    with rejects("window", "must be a whole number of at least 1", "0"):
        keras_positions.AttentionMask(True, 0)
    with unchecked(), pytest.raises(TypeError, match="norm must be a Norm, got"):
        keras_layers.build_norm("rms")


@functools.cache
def other() -> Any:
    return to_keras(DecoderLM(like()))


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keras_positions.__file__ is not None
    spec = importlib.util.spec_from_file_location("again", keras_positions.__file__)
    assert spec is not None and spec.loader is not None
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with rejects("KERAS_BACKEND", "must be 'tensorflow' before Keras is imported", "'jax'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
