"""ONNX: a model as one file, which other runtimes execute without PyTorch and without this library.

`export` writes the graph, `quantize` makes its weights int8, and `OnnxLM` lets `generate` write with either. These are
the inputs and outputs; batch, time and past may have any size:

    tokens (batch, time) int64, valid (batch, time) bool    ->  logits (batch, time, vocab), or an encoder's states

`valid` marks the real tokens; it is an input even where all are. A config with segments adds `segments` (batch, time)
to an encoder's. With the cache, `valid` speaks of the past tokens as well, (batch, past + time), and for each layer i

    past_keys_i, past_values_i (batch, kv_heads, past, head_dim)  ->  present_keys_i, present_values_i, longer by time

so that one graph reads a prompt (past = 0) and takes the steps after it.
Left out: encoder-decoders, experts, mixers other than attention, half precision, models above 2 GB (of two files).
"""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.checks import wrong_kind
from transformer_lib.config import AttentionConfig, Experts, Learned, ModelConfig, require, to_json
from transformer_lib.contract import checked
from transformer_lib.files import new_file
from transformer_lib.interop.onnx_file import MOST_BYTES, open_decoder, read_sealed, seal
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.encoder import Encoder
from transformer_lib.nn.attend import attend_explicit
from transformer_lib.nn.attention import Attention
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.embedding import check_newest, check_tokens, check_valid
from transformer_lib.nn.local import Spans
from transformer_lib.nn.relations import place

EXAMPLE = {"batch": 2, "time": 3, "past": 5, "past + time": 8}  # while tracing, where 1 would be taken for a constant


@checked
def export(model: DecoderLM | Encoder, path: str | Path, *, cache: bool = False) -> None:
    """Write the model, whole or not at all; a file of that name is replaced.

    `cache` gives a `DecoderLM` inputs and outputs for keys and values. Raises `ValueError` for a model in training
    mode or with layers that a file has no place for, weights that are not finite, not float32 or too large for one
    file, or a path that cannot be a file.
    """
    _check_model(model, cache)
    _check_folder(path)
    _require_installed("onnx", "onnxscript")
    names = _inputs(model, cache)
    outputs = ["states" if isinstance(model, Encoder) else "logits"]
    outputs += [name.replace("past", "present") for name in names if name.startswith("past")]
    with new_file(Path(path)) as partial:
        with _quiet():
            program = torch.onnx.export(
                _Traceable(copy.deepcopy(model).cpu()),
                (tuple(_example(name, model.config, cache) for name in names),),
                dynamo=True,
                dynamic_shapes=(tuple(_axes(name, cache) for name in names),),
                input_names=names,
                output_names=outputs,
                external_data=False,
                verbose=False,
            )
        assert program is not None
        proto = program.model_proto
        for part in (proto.graph, *proto.graph.node, *proto.graph.value_info):
            del part.metadata_props[:]  # where in whose source folder each operation comes from
        proto.metadata_props.add(key="config", value=to_json(model.config))
        partial.write_bytes(seal(proto.SerializeToString()))


@checked
def quantize(path: str | Path, target: str | Path) -> None:
    """Write an exported model with int8 weights: a quarter of the bytes, half for a tied table, which becomes two.

    Each output of a matrix product has a scale of its own. The products' inputs are rounded to 8 bits as they come, by
    the range of all of them ("dynamic"): that makes most of the error, and lets batch mates and padding change a row's
    logits within it. Attention stays in float32.
    """
    _require_installed("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = read_sealed(path, "must be a file that `export` wrote")
    _check_folder(target)
    with new_file(Path(target)) as partial:
        try:
            proto = onnx.ModelProto.FromString(model)
            _unfold_tied(proto.graph)
            with _quiet():
                # Weights of 7 bits: where a processor adds products of 8 bits in 16, as x86 does without VNNI, no sum
                # overflows, and every machine computes the same.
                quantize_dynamic(proto, partial, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        except OSError:
            raise
        except Exception as error:  # what a graph that `export` did not write sets off in there is beyond listing
            raise ValueError(f"path must be a file that `export` wrote, got {path}: {error}") from error
        partial.write_bytes(seal(partial.read_bytes()))


@checked
class OnnxLM:
    """A file that `export` wrote of a `DecoderLM` with its cache, or `quantize` of that, run by onnxruntime on the CPU.

    It is what `generate` and `stream` ask for (a `LanguageModel`). It runs as many threads as torch does.
    """

    training = False

    def __init__(self, path: str | Path) -> None:
        _require_installed("onnxruntime")
        self.session, self.config = open_decoder(path)

    @property
    def context(self) -> int | None:
        """The most tokens of a text that it can read: the size of its position table, None without one."""
        return self.config.max_length if isinstance(self.config.positions, Learned) else None

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache that fits this model."""
        return KVCache(self.config, batch, max_length)

    def __call__(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        positions: None = None,
        valid: Bool[Tensor, "batch time"] | None = None,
        cache: KVCache | None = None,
        past: None = None,
        newest: int | None = None,
    ) -> Float[Tensor, "batch newest vocab"]:
        """As a `DecoderLM`, but the graph counts the positions itself, and no two texts share a row of the cache."""
        check_tokens(tokens, self.config.vocab_size)
        check_valid(valid, tokens)
        check_newest(newest, tokens.shape[1])
        require(tokens.device.type == "cpu", "tokens", "must be on the CPU", str(tokens.device))
        cache = self.new_cache(*tokens.shape) if cache is None else cache
        self._check_cache(cache, len(tokens))
        places = place(tokens, valid, cache)
        if self.context is not None:
            rule = f"must be below max_length={self.context}, the size of the position table"
            require(bool(places.max() < self.context), "positions", rule, int(places.max()))
        held = cache.length
        cache.extend(places, valid, batch=len(tokens), plain=valid is None)
        logits, *present = self._run(tokens, cache, held)
        for layer, (keys, values) in enumerate(zip(present[::2], present[1::2], strict=True)):
            cache.write(layer, keys[:, :, held:], values[:, :, held:])
        return logits if newest is None else logits[:, -newest:]

    def _check_cache(self, cache: KVCache, batch: int) -> None:
        if type(cache) is not KVCache:  # the others forget or move what the graph is to be given
            raise wrong_kind("cache", "a KVCache", cache)
        cache.check_fits(self.config)
        cache.reserve(cache.max_length)  # the graph is given everything, in layers with a window too
        fits = cache.dtype == torch.float32 and cache.device.type == "cpu"
        require(fits, "cache", "must be in float32 on the CPU", f"{cache.dtype} on {cache.device}")
        require(cache.batch == batch, "tokens", f"must have the cache's batch of {cache.batch} rows", batch)

    def _run(self, tokens: Tensor, cache: KVCache, held: int) -> list[Tensor]:
        """The graph's outputs for the newest tokens, behind the first `held` slots of the cache."""
        feeds = {"tokens": tokens.long(), "valid": cache.valid}
        for layer, (keys, values) in enumerate(zip(cache.layer_keys, cache.layer_values, strict=True)):
            feeds |= {f"past_keys_{layer}": keys[:, :, :held], f"past_values_{layer}": values[:, :, :held]}
        try:
            outputs = self.session.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})
        except Exception as error:  # of a graph that has the right inputs and outputs, and does something else
            cache.rewind(held)
            raise ValueError(f"path must be a file that `export` wrote: {error}") from error
        return [torch.from_numpy(output) for output in outputs]


def _check_model(model: DecoderLM | Encoder, cache: bool) -> None:
    for layer, _ in model.config.tally:
        mixer, part = layer.attention, layer.feedforward
        usual = isinstance(mixer, AttentionConfig)
        require(usual, "attention", "must be an AttentionConfig to export", type(mixer).__name__)
        require(not isinstance(part, Experts), "feedforward", "must not be Experts to export", type(part).__name__)
    require(not model.training, "model", "must be in eval mode (model.eval()), or dropout stays on", "training mode")
    require(isinstance(model, DecoderLM) or not cache, "cache", "must be False for an Encoder, which has none", cache)
    for name, weight in model.named_parameters():
        require(weight.dtype == torch.float32, name, "must be float32 (model.float())", weight.dtype)
    size = 4 * sum(weight.numel() for weight in model.parameters())
    require(size < MOST_BYTES, "model", f"must have fewer than {MOST_BYTES} bytes of weights, to fit one file", size)
    for name, weight in model.named_parameters():
        require(not weight.is_meta, name, "must hold numbers", "a tensor on the meta device")
        require(bool(weight.isfinite().all()), name, "must be finite", "NaN or infinity")


def _inputs(model: DecoderLM | Encoder, cache: bool) -> list[str]:
    """The names of the file's inputs."""
    names = ["tokens", "valid"]
    if isinstance(model, Encoder) and model.config.segments:
        names += ["segments"]
    if cache:
        names += [f"past_{part}_{layer}" for layer in range(model.config.num_layers) for part in ("keys", "values")]
    return names


class _Traceable(nn.Module):
    """The model as a function of tensors alone, in the order of the file's inputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for part in model.modules():
            if isinstance(part, Attention):
                # In ONNX, torch writes the fused path without its zeros for a query that may look at nothing.
                vars(part)["attend"] = attend_explicit
        self.eval()  # as its model is: torch asks only the outermost module

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens, valid, *rest = inputs
        if len(rest) < 2:
            return (self.model(tokens, valid=valid, **({"segments": rest[0]} if rest else {})),)
        cache, time = _Growing(rest, valid), tokens.shape[1]
        logits = self.model(tokens, positions=cache.positions[:, -time:], cache=cache)
        return (logits, *cache.held)


class _Growing(KVCache):
    """A cache for tracing, where no tensor is written in place: the new keys and values are joined to those given."""

    def __init__(self, held: list[Tensor], valid: Tensor) -> None:
        self.held = held  # keys and values of the first layer, of the second, ...
        self.states, self._spans = {}, Spans((), 1)
        self.plain = False
        self._valid, self._positions = valid, (valid.cumsum(dim=1) - 1).clamp(min=0)

    positions = property(lambda self: self._positions)
    valid = property(lambda self: self._valid)

    def check_fits(self, config: ModelConfig) -> None:
        pass

    def extend(self, positions: Tensor, valid: Tensor | None, *, batch: int, plain: bool) -> None:
        pass

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        pair = slice(2 * layer, 2 * layer + 2)
        self.held[pair] = [torch.cat(both, dim=2) for both in zip(self.held[pair], (k, v), strict=True)]
        return self.held[2 * layer], self.held[2 * layer + 1]


def _axes(name: str, cache: bool) -> dict[int, str]:
    """The free axes of an input, by name."""
    if name.startswith("past"):
        return {0: "batch", 2: "past"}
    return {0: "batch", 1: "past + time" if cache and name == "valid" else "time"}


def _example(name: str, config: ModelConfig, cache: bool) -> Tensor:
    """A tensor of its own for each input: one that is given twice becomes one input of the graph."""
    if name.startswith("past"):
        layer = config.layers[int(name.rpartition("_")[2])]
        return torch.zeros(EXAMPLE["batch"], layer.heads.kv_heads, EXAMPLE["past"], layer.head_dim)
    shape = [EXAMPLE[axis] for axis in _axes(name, cache).values()]
    return torch.ones(shape, dtype=torch.bool) if name == "valid" else torch.zeros(shape, dtype=torch.int64)


def _unfold_tied(graph: Any) -> None:
    """A head that reads the embedding transposed gets weights of its own: only constants become factors in int8."""
    from onnx.numpy_helper import from_array, to_array

    weights = {weight.name: weight for weight in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]:
        graph.initializer.append(from_array(to_array(weights[node.input[0]]).T.copy(), node.output[0]))
        graph.node.remove(node)


def _check_folder(path: str | Path) -> None:
    require(Path(path).parent.is_dir(), "path", "must be in a folder that exists", str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """What torch and onnxruntime say to their own developers is kept from the reader; errors are raised as ever."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _require_installed(*names: str) -> None:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f'{" and ".join(missing)} not found: pip install "transformer_lib[onnx]"')
