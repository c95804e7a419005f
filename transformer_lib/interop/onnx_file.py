"""An exported file as bytes: it ends with a digest of itself, and its inputs and outputs are those of its config.

The digest is one more entry of the model's metadata, which other readers of ONNX pass over. With it, a file that was
cut or changed on its way is refused before onnxruntime sees it, which keeps no checksum of the weights. A file can also
be made to deceive: nothing is built by a config whose numbers are not the graph's, or whose weights the file is too
short to hold. But a graph is a program. Somebody else's may compute anything once it is run, at any length.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch

from transformer_lib.config import ModelConfig, from_json, require
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import read_bytes

MOST_BYTES = 2**31 - 2**20  # of a protobuf message is 2^31 - 1; the graph itself is the small rest
# As protobuf writes it: field 14 of a model, 74 bytes long, holds a key (field 1) and its value (field 2).
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
_SEAL_BYTES = len(_SEAL) + 64
_Values = dict[str, tuple[str, tuple[int | None, ...]]]  # the type of each, and its axes: None is one of any length


@checked
def seal(model: bytes) -> bytes:
    """A model as protobuf's bytes, and its digest behind it."""
    return model + _seal(model)


@checked
def read_sealed(path: str | Path, rule: str) -> bytes:
    """The model in a file that `seal` made; `ValueError` with this rule for any other file, or none."""
    require(Path(path).is_file(), "path", rule, str(path))  # without opening it: a pipe is no file
    data = read_bytes(path, most=2**31)
    model, end = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    require(end == _seal(model), "path", f"{rule}, whole and unchanged", str(path))
    return model


@checked
def open_decoder(path: str | Path) -> tuple[Any, ModelConfig]:
    """The session of onnxruntime in which an exported decoder runs, and its config.

    `ValueError` for a file of another kind, for one that was changed, and for one whose config is not the graph's.
    """
    with needed():
        import onnxruntime

    rule = "must be a file that `export` wrote with its cache"
    model = read_sealed(path, rule)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # only what is fatal: errors are raised, too
    # A constant is computed in advance if it is no larger than the file, as a transposed table is.
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(len(model)))
    try:
        # Its fallback, from the CPU to the CPU, would only print that there is one.
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        metadata = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime has no class of its own for them
        raise ValueError(f"path {rule}, got {path}: {error}") from error
    require("past_keys_0" in [value.name for value in session.get_inputs()], "path", rule, str(path))
    config = _read_config(metadata, str(path))
    _check_graph(config, session, len(model), str(path))
    return session, config


def _seal(model: bytes) -> bytes:
    return _SEAL + hashlib.sha256(model).hexdigest().encode()


def _read_config(metadata: dict[str, str], path: str) -> ModelConfig:
    try:
        config = from_json(metadata.get("config", ""))
    except (TypeError, ValueError, RecursionError) as error:  # json recurses into nested lists
        raise ValueError(f"{path} must have the config of a model in its metadata: {error}") from error
    require(isinstance(config, ModelConfig), path, "must have the config of one stack", type(config).__name__)
    assert isinstance(config, ModelConfig)
    return config


def _check_graph(config: ModelConfig, session: Any, size: int, path: str) -> None:
    """`ValueError` unless a file of this size can hold the config's weights, and its graph has the config's axes."""
    kept = [layer.heads.kv_heads * layer.head_dim for layer, _ in config.tally]
    least = config.d_model * max(config.vocab_size, 2 * max(kept))  # of weights in int8: the table, or keys' values'
    require(least <= size, path, f"must have the {least} bytes that its config needs at least", size)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    layers = (len(inputs) - 2) // 2
    require(
        config.num_layers == layers, path, f"must have a config of {layers} layers, as its graph", config.num_layers
    )
    held: _Values = {
        f"{part}_{index}": ("tensor(float)", (None, layer.heads.kv_heads, None, layer.head_dim))
        for index, layer in enumerate(config.layers)
        for part in ("keys", "values")
    }
    wanted: _Values = {"tokens": ("tensor(int64)", (None, None)), "valid": ("tensor(bool)", (None, None))}
    _check_values(inputs, wanted | {f"past_{name}": value for name, value in held.items()}, path)
    wanted = {"logits": ("tensor(float)", (None, None, config.vocab_size))}
    _check_values(outputs, wanted | {f"present_{name}": value for name, value in held.items()}, path)


def _check_values(values: list[Any], wanted: _Values, path: str) -> None:
    found: _Values = {
        value.name: (value.type, tuple(axis if isinstance(axis, int) else None for axis in value.shape))
        for value in values
    }
    for name in (*wanted, *found):
        rule = f"must have in its graph the {name} of its config, {wanted.get(name)}"
        require(found.get(name) == wanted.get(name), path, rule, found.get(name))
    require(list(found) == list(wanted), path, f"must have the values {list(wanted)} in this order", list(found))
