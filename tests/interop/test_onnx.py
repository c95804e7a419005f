"""ONNX files against PyTorch: onnxruntime, which knows nothing of this library, must compute the same from them."""

import dataclasses
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tests.oracles import CONFIG, bits, close, integers, randomise, rejects, unchecked
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Experts,
    LayerConfig,
    Learned,
    LinearAttention,
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
    Sinusoidal,
    SwiGlu,
    YarnScaling,
)
from transformer_lib.generation.generate import generate, pad_left
from transformer_lib.interop.onnx import OnnxLM, export, quantize
from transformer_lib.models import DecoderLM, Encoder
from transformer_lib.nn import KVCache, RollingCache

SIZES = [(1, 1), (4, 7), (3, 20)]  # none is that of the export


def like(**changes: Any) -> ModelConfig:
    return dataclasses.replace(CONFIG, **changes)


def heads(**changes: Any) -> AttentionConfig:
    return AttentionConfig(num_heads=4, **changes)


def scaled(scaling: RopeScaling, **changes: Any) -> ModelConfig:
    positions = Rope(theta=500.0, scaling=scaling)
    return like(num_layers=1, positions=positions, attention=heads(head_dim=8, **changes))


# Two layers where what the first makes of padding could reach the second; else one, which exports in half the time.
RMS = Norm(kind="rms", eps=1e-4)
GPT2 = like(
    num_layers=1,
    attention=heads(bias=True),
    feedforward=Mlp(d_ff=24, activation="gelu_tanh"),
    positions=Learned(),
    segments=2,
)
QWEN3 = like(attention=heads(num_kv_heads=2, head_dim=6, qk_norm=True, window=3), norm=RMS, tie_embeddings=False)
VASWANI = like(
    num_layers=1,
    positions=Sinusoidal(),
    scale_embeddings=True,
    norm_order="post",
    feedforward=Mlp(d_ff=24, activation="relu"),
)
MIXED = like(  # layers that differ in what they keep, and in how scores become weights
    residual_scale=0.8,
    logit_cap=3.0,
    pattern=(
        LayerConfig(attention=heads(num_kv_heads=2, window=3, sinks=True, soft_cap=2.0), positions=Rope(share=0.5)),
        LayerConfig(
            attention=heads(head_dim=6, gate=True, qk_norm="whole"), positions=NoPositions(), norm_order="part"
        ),
    ),
)
CACHED = {
    "gpt2": GPT2,
    "llama": like(norm=RMS, feedforward=SwiGlu(d_ff=24, bias=True)),
    "qwen3": QWEN3,
    "vaswani": VASWANI,
    "alibi": like(num_layers=1, positions=Alibi(), feedforward=Mlp(d_ff=24, activation="silu", bias=False)),
    "none": like(num_layers=1, positions=NoPositions(), attention=heads(num_kv_heads=1), embedding_norm=True),
    "linear": scaled(LinearScaling(factor=3.0)),
    "ntk": scaled(NtkScaling(factor=2.0, original_length=6)),
    "yarn": scaled(YarnScaling(factor=4.0, original_length=6, beta_fast=4.0, beta_slow=0.5), window=4),
    "llama3": scaled(Llama3Scaling(factor=4.0, original_length=6)),
    "mixed": MIXED,
}
PLAIN = {"plain": dataclasses.replace(QWEN3, num_layers=1)}
ENCODERS = {
    "bert": like(
        attention=heads(bias=True),
        feedforward=Mlp(d_ff=24),
        positions=Learned(),
        norm_order="post",
        embedding_norm=True,
        segments=2,
    ),
    "rope": like(num_layers=1, norm=RMS, attention=heads(window=3)),
    "far": like(num_layers=1, positions=Alibi()),
    "far window": like(num_layers=1, positions=Alibi(), attention=heads(window=3)),
    "sinusoidal": like(num_layers=1, positions=Sinusoidal()),
    "nowhere": like(num_layers=1, positions=NoPositions(), attention=heads(window=3)),
    "ntk encoder": scaled(NtkScaling(factor=2.0, original_length=6)),
}

Export = Callable[[str], tuple[nn.Module, Path]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The model of that name and its file, made once."""
    folder = tmp_path_factory.mktemp("onnx")
    made: dict[str, tuple[nn.Module, Path]] = {}

    def get(name: str) -> tuple[nn.Module, Path]:
        if name not in made:
            config = (CACHED | PLAIN | ENCODERS)[name]
            model = randomise((Encoder if name in ENCODERS else DecoderLM)(config), dtype=torch.float32)
            with unchecked():
                export(model, folder / f"{name}.onnx", cache=name in CACHED)
            made[name] = model, folder / f"{name}.onnx"
        return made[name]

    return get


def run(path: Path, **inputs: Tensor) -> dict[str, Tensor]:
    """The outputs by name, as a reader without this library would compute them."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    return {value.name: torch.from_numpy(x) for value, x in zip(session.get_outputs(), outputs, strict=True)}


def nothing(config: ModelConfig, batch: int) -> dict[str, Tensor]:
    """The past before the first token."""
    return {
        f"past_{part}_{index}": torch.zeros(batch, layer.heads.kv_heads, 0, layer.head_dim)
        for index, layer in enumerate(config.layers)
        for part in ("keys", "values")
    }


def padded(batch: int, time: int) -> Tensor:
    """Padding before, after and between the real tokens; the second row begins with it, the last has nothing else."""
    valid = bits(batch, time)
    valid[0, -1] = True
    valid[1:2] = torch.arange(time) >= time // 2
    valid[-1] = False
    return valid


def deviation(found: Tensor, expected: Tensor) -> float:
    """The error as a part of the spread of what was to be found."""
    return float((found - expected).square().mean().sqrt().detach() / expected.detach().std())


@pytest.mark.parametrize("name", [*CACHED, *PLAIN, *ENCODERS])
def test_outputs_are_pytorchs_at_other_sizes(exported: Export, name: str) -> None:
    model, path = exported(name)
    output = "states" if name in ENCODERS else "logits"
    for batch, time in SIZES:
        tokens = integers(13, batch, time, seed=time)
        segments = {"segments": integers(2, batch, time)} if name == "bert" else {}
        past = nothing(model.config, batch) if name in CACHED else {}
        whole = run(path, tokens=tokens, valid=torch.ones_like(tokens, dtype=torch.bool), **segments, **past)[output]
        close(whole, model(tokens, **segments))
        valid = padded(batch, time)
        found = run(path, tokens=tokens, valid=valid, **segments, **past)[output]
        close(found, model(tokens, valid=valid, **segments))


def test_the_cases_have_every_kind_of_positions() -> None:
    """So that a new kind is exported too, with the cache and from an encoder."""
    for configs in (CACHED, ENCODERS):
        assert {type(config.positions) for config in configs.values()} == set(get_args(Positions))
    rotated = [config.positions for config in CACHED.values() if isinstance(config.positions, Rope)]
    assert {type(positions.scaling) for positions in rotated} == {*get_args(RopeScaling), type(None)}


@pytest.mark.parametrize("name", [*CACHED, *PLAIN, *ENCODERS])
def test_the_file_is_valid_and_names_its_axes(exported: Export, name: str) -> None:
    model, path = exported(name)
    onnx.checker.check_model(path, full_check=True)
    graph, config = onnx.load(path).graph, model.config
    found = {
        value.name: tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output)
    }
    total = ("past + time", "time + past")  # which of the two is torch's choice
    expected: dict[str, tuple[Any, ...]] = {"tokens": ("batch", "time"), "valid": ("batch", "time")}
    if name == "bert":
        expected["segments"] = ("batch", "time")
    past = {each: held.shape[1::2] for each, held in nothing(config, 2).items()} if name in CACHED else {}
    if past:
        expected["valid"] = ("batch", "past + time")
    expected |= {each: ("batch", kept, "past", width) for each, (kept, width) in past.items()}
    expected |= {"states": ("batch", "time", 16)} if name in ENCODERS else {"logits": ("batch", "time", 13)}
    present = {each.replace("past", "present"): shape for each, shape in past.items()}
    assert list(found) == [*expected, *present]
    assert {each: found[each] for each in expected} == expected
    for each, (kept, width) in present.items():
        assert found[each][2] in total
        assert (*found[each][:2], found[each][3]) == ("batch", kept, width)


@pytest.mark.parametrize("padding", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", CACHED)
def test_pieces_behind_the_cache_give_what_the_whole_gives(exported: Export, name: str, padding: bool) -> None:
    model, path = exported(name)
    tokens, valid = integers(13, 3, 11), padded(3, 11) if padding else torch.ones(3, 11, dtype=torch.bool)
    past, pieces, cache = nothing(model.config, 3), [], model.new_cache(3, 11)
    for start, end in [(0, 5), (5, 6), (6, 7), (7, 10), (10, 11)]:
        out = run(path, tokens=tokens[:, start:end], valid=valid[:, :end], **past)
        pieces.append(out["logits"])
        past = {each: out[each.replace("past", "present")] for each in past}
        close(out["logits"], model(tokens[:, start:end], valid=valid[:, start:end], cache=cache))
    if name != "ntk":  # under which a text read in other pieces differs
        close(torch.cat(pieces, dim=1)[valid], model(tokens, valid=valid)[valid])
    for layer, (keys, values) in enumerate(zip(cache.layer_keys, cache.layer_values, strict=True)):
        real = valid[:, None].expand(keys.shape[:3])
        close(past[f"past_keys_{layer}"][real], keys[real])
        close(past[f"past_values_{layer}"][real], values[real])


def test_each_input_of_the_cache_is_one_of_its_own(exported: Export) -> None:
    model, path = exported("llama")
    past = {name: integers(9, 2, 2, 3, 4, seed=i).float() for i, name in enumerate(nothing(model.config, 2))}
    feeds = {"tokens": integers(13, 2, 1), "valid": torch.ones(2, 4, dtype=torch.bool)} | past
    whole = run(path, **feeds)["logits"]
    for name in past:
        assert (run(path, **feeds | {name: -past[name]})["logits"] - whole).abs().max() > 1e-3, name


@pytest.mark.parametrize("name", CACHED)
def test_it_writes_what_the_model_writes(exported: Export, name: str) -> None:
    model, path = exported(name)
    mine, (prompts, valid) = OnnxLM(path), pad_left([[3, 1, 4, 1, 5], [9], [2, 6, 5]])
    for given in (valid, None):
        found, expected = (generate(each, prompts, max_new_tokens=12, valid=given) for each in (mine, model))
        assert torch.equal(found.tokens, expected.tokens)
        close(found.log_probs, expected.log_probs)


def test_a_call_is_that_of_the_model(exported: Export) -> None:
    model, path = exported("llama")
    mine, tokens, rows = OnnxLM(path), integers(13, 2, 6), torch.tensor([1, 1])
    close(mine(tokens), model(tokens))
    close(mine(tokens.int(), newest=2), model(tokens, newest=2))
    cache = mine.new_cache(2, 9)
    mine(tokens, cache=cache)
    cache.rewind(4)
    cache.select(rows)
    close(mine(tokens[:, 4:], cache=cache, newest=1), model(torch.cat([tokens[rows, :4], tokens[:, 4:]], 1), newest=1))
    assert cache.length == 6
    assert mine.config == model.config
    assert mine.context is None
    assert OnnxLM(exported("gpt2")[1]).context == 24


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[DecoderLM, Path]:
    """A model whose file is mostly weights; its table is tied, and too large for torch to store it transposed."""
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    model = randomise(
        DecoderLM(like(num_layers=1, vocab_size=300, d_model=128, feedforward=SwiGlu(d_ff=256))), dtype=torch.float32
    )
    with unchecked():
        export(model, path, cache=True)
    return model, path


def test_int8_is_smaller_and_close(large: tuple[DecoderLM, Path], tmp_path: Path) -> None:
    model, path = large
    quantize(path, tmp_path / "int8.onnx")
    # A quarter of the weights, of which the table is there twice, and the graph.
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * path.stat().st_size
    mine = OnnxLM(tmp_path / "int8.onnx")
    assert mine.config == model.config
    for batch, time in SIZES:
        tokens = integers(300, batch, time)
        assert 0.01 < deviation(mine(tokens), model(tokens)) < 0.1  # both are the size of a step of 8 bits
    tokens, cache = integers(300, 2, 9), mine.new_cache(2, 9)
    logits = torch.cat([mine(piece, cache=cache) for piece in tokens.split([5, 1, 1, 2], dim=1)], dim=1)
    assert 0.01 < deviation(logits, model(tokens)) < 0.1


@pytest.mark.parametrize("name", ["plain", "far", "bert"])
def test_int8_is_close_beside_a_row_of_padding(exported: Export, name: str, tmp_path: Path) -> None:
    """Whose numbers, if they were not PyTorch's, would widen the range in which the other rows are rounded."""
    model, path = exported(name)
    quantize(path, tmp_path / "int8.onnx")
    tokens, valid = integers(13, 4, 7), padded(4, 7)
    segments = {"segments": integers(2, 4, 7)} if name == "bert" else {}
    [found] = run(tmp_path / "int8.onnx", tokens=tokens, valid=valid, **segments).values()
    expected = model(tokens, valid=valid, **segments)
    assert 0.001 < deviation(found, expected) < 0.1
    assert 0.001 < deviation(found[-1], expected[-1]) < 0.1


@pytest.mark.parametrize("name", ["large", "gpt2", "plain", "bert"])
def test_every_product_with_weights_is_in_int8(
    exported: Export, large: tuple[DecoderLM, Path], name: str, tmp_path: Path
) -> None:
    model, path = large if name == "large" else exported(name)
    quantize(path, tmp_path / "int8.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["int8.onnx"]
    found = Counter(node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node)
    assert found["MatMulInteger"] == sum(isinstance(module, nn.Linear) for module in model.modules())
    assert found["MatMul"] == 2 * model.config.num_layers  # the scores, and the weighted sums of values


def test_it_says_nothing_and_leaves_the_model_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = randomise(Encoder(like(num_layers=1)), dtype=torch.float32)
    before, path = {name: weight.clone() for name, weight in model.state_dict().items()}, tmp_path / "model.onnx"
    path.write_text("an older file")
    with unchecked(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        export(model, path)
        quantize(path, tmp_path / "int8.onnx")
    assert [str(warning.message) for warning in said] == []
    assert capfd.readouterr() == ("", "")
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["int8.onnx", "model.onnx"]
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert b".py" not in path.read_bytes()  # where the code lay that was traced
    tokens = integers(13, 2, 5)
    close(run(path, tokens=tokens, valid=torch.ones_like(tokens, dtype=torch.bool))["states"], model(tokens))


def test_a_failure_leaves_what_was_there(exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    model, path = exported("llama")
    target = tmp_path / "model.onnx"
    target.write_text("an older file")
    with pytest.raises(RuntimeError), monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        quantize(path, target)
    with pytest.raises(RuntimeError), monkeypatch.context() as patch:
        patch.setattr("torch.onnx.export", fail)
        export(model, target)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_text() == "an older file"


def test_bad_models_and_paths(exported: Export, tmp_path: Path) -> None:
    model, path = exported("llama")
    target = tmp_path / "model.onnx"
    with unchecked(), pytest.raises(TypeError, match=r"model must be a DecoderLM or an Encoder, got .* of type Linear"):
        export(nn.Linear(2, 2), target)  # type: ignore[arg-type]
    with unchecked(), pytest.raises(TypeError, match="cache must be True or False, got 1 of type int"):
        export(model, target, cache=1)  # type: ignore[arg-type]
    for number in (torch.nan, torch.inf):
        broken = randomise(DecoderLM(CONFIG), dtype=torch.float32)
        broken.blocks[1].attention.to_out.weight.data[0, 0] = number
        with rejects("blocks.1.attention.to_out.weight", "must be finite"):
            export(broken, target)
    with rejects("model", "eval mode", "training"):
        export(DecoderLM(CONFIG), target)
    with rejects("embedding.tokens.weight", "float32", "float64"):
        export(randomise(DecoderLM(CONFIG)), target)
    for change, words in (
        ({"feedforward": Experts(num_experts=2, top_k=1, d_ff=8)}, ("feedforward", "must not be Experts")),
        ({"attention": LinearAttention(num_heads=2)}, ("attention", "must be an AttentionConfig", "LinearAttention")),
    ):
        with rejects(*words):
            export(randomise(DecoderLM(like(**change)), dtype=torch.float32), target, cache=True)
    with rejects("cache", "Encoder", "True"):
        export(exported("rope")[0], target, cache=True)
    with rejects("model", "bytes of weights", "to fit one file", "42949"), torch.device("meta"):
        export(Encoder(like(vocab_size=2**26)).eval(), target)
    with rejects("embedding.tokens.weight", "must hold numbers", "meta device"), torch.device("meta"):
        export(Encoder(CONFIG).eval(), target)
    for write in (lambda to: export(model, to), lambda to: quantize(path, to)):
        with rejects("path", "must be a regular file or not exist", str(tmp_path)):
            write(tmp_path)
        with rejects("path", "folder that exists", "missing"):
            write(tmp_path / "missing" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_files_without_a_cache_or_of_others(exported: Export, tmp_path: Path) -> None:
    with rejects("path", "with its cache", "plain.onnx"):
        OnnxLM(exported("plain")[1])
    proto = onnx.load(exported("llama")[1])
    onnx.save(proto, tmp_path / "other.onnx")
    OnnxLM(tmp_path / "other.onnx")  # protobuf writes the same bytes again
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with rejects("path", "`export` wrote", "other.onnx"):
        OnnxLM(tmp_path / "other.onnx")


def test_bad_calls(exported: Export) -> None:
    model, tokens = OnnxLM(exported("gpt2")[1]), integers(13, 2, 4)
    with rejects("tokens", "below vocab_size=13", "13"):
        model(torch.full_like(tokens, 13))
    with rejects("tokens", "negative", "-1"):
        model(torch.full_like(tokens, -1))
    with rejects("valid", "boolean"):
        model(tokens, valid=tokens)
    for name in ("positions", "past"):
        with unchecked(), pytest.raises(TypeError, match=f"{name} must be None, got tensor"):
            model(tokens, **{name: tokens})
    for newest in (0, -1, 5):
        with rejects("newest", "at least 1 and at most the 4 positions", str(newest)):
            model(tokens, newest=newest)
    with rejects("tokens", "must be on the CPU", "meta"):
        model(tokens.to("meta"))
    with rejects("valid", "must be on the device of the other tensors", "meta"):
        model(tokens, valid=torch.ones(2, 4, dtype=torch.bool, device="meta"))
    with rejects("positions", "below max_length=24", "24"):
        model(integers(13, 1, 25))
    with unchecked(), pytest.raises(TypeError, match=r"cache must be a KVCache, got .* of type RollingCache"):
        model(tokens, cache=RollingCache(GPT2, 2, window=4))
    with rejects("cache", "must be in float32 on the CPU", "torch.float64 on cpu"):
        model(tokens, cache=KVCache(GPT2, 2, 4, dtype=torch.float64))
    with rejects("cache", "must be in float32 on the CPU", "torch.float32 on meta"):
        model(tokens, cache=KVCache(GPT2, 2, 4, device="meta"))
    with rejects("cache", "layers, kv_heads and head_dim"):
        model(tokens, cache=KVCache(QWEN3, 2, 4))
    cache = model.new_cache(2, 5)
    model(tokens, cache=cache)
    with rejects("cache", "room for 1", "4"):
        model(tokens, cache=cache)
    for rows in (1, 3):
        with rejects("tokens", "batch of 2", str(rows)):
            model(tokens[[0] * rows, :1], valid=torch.ones(rows, 1, dtype=torch.bool), cache=cache)
    assert cache.length == 4


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra(exported: Export, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = exported("llama")
    monkeypatch.setitem(sys.modules, missing, None)
    calls: dict[str, Callable[[], Any]] = {
        "onnx onnxscript": lambda: export(model, tmp_path / "model.onnx"),
        "onnx onnxruntime": lambda: quantize(path, tmp_path / "int8.onnx"),
        "onnxruntime": lambda: OnnxLM(path),
    }
    for needs, call in calls.items():
        if missing in needs.split():
            with pytest.raises(
                ModuleNotFoundError, match=rf'{missing} not found: pip install "transformer_lib\[onnx\]"'
            ):
                call()
    assert list(tmp_path.iterdir()) == []
