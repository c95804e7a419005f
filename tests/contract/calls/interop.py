"""How each public callable of `transformer_lib.interop` is called validly."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from tests.contract.calls import families
from tests.contract.calls.engines import OF_ENGINES
from tests.contract.calls.onnx import ONNX
from transformer_lib.config import (
    AttentionConfig,
    Learned,
    LinearScaling,
    Mlp,
    ModelConfig,
    Norm,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
    SwiGlu,
)

_SIZES: dict[str, Any] = {"vocab_size": 270, "d_model": 8, "num_layers": 1, "max_length": 16}
_ROPE = ModelConfig(
    **_SIZES,
    attention=AttentionConfig(num_heads=2),
    feedforward=SwiGlu(d_ff=16),
    positions=Rope(scaling=LinearScaling(factor=2.0)),
    norm=Norm(kind="rms"),
)
_GPT2 = ModelConfig(
    **_SIZES, attention=AttentionConfig(num_heads=2, bias=True), feedforward=Mlp(d_ff=16), positions=Learned()
)
_SIDE = ModelConfig(
    **_SIZES,
    attention=AttentionConfig(num_heads=2, bias=True),
    feedforward=Mlp(d_ff=16),
    positions=Sinusoidal(),
    norm_order="post",
)
_MARIAN = Seq2SeqConfig(encoder=_SIDE, decoder=_SIDE)


def _model() -> Any:
    from transformer_lib.models.decoder import DecoderLM

    torch.manual_seed(0)
    return DecoderLM(_GPT2).eval()


def _tokenizer() -> Any:
    from transformer_lib.text.tokenizer import Tokenizer

    return Tokenizer.train(["the cat sat on the mat. " * 5], 260)


def _place(name: str = "folder") -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / name


def _folder() -> Path:
    from transformer_lib.interop.huggingface import to_hf

    to_hf(_model(), path := _place(), tokenizer=_tokenizer())
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": 3, "bad_words_ids": [[5]]}))
    return path


def _fields(config: Any = _GPT2, kind: str = "gpt2") -> dict[str, Any]:
    from transformer_lib.interop.configs import write_config

    return write_config(config, kind)


def _reader(config: Any = _GPT2, kind: str = "gpt2") -> Any:
    from transformer_lib.interop.reader import Reader

    return Reader(_fields(config, kind), None)


def _family(kind: str = "gpt2") -> Any:
    from transformer_lib.interop.families import FAMILIES

    return FAMILIES[kind]


def _ours() -> dict[str, torch.Tensor]:
    from transformer_lib.training.state import model_tensors

    return model_tensors(_model())


def _theirs() -> dict[str, torch.Tensor]:
    from transformer_lib.interop.names import to_theirs

    return to_theirs(_ours(), _family(), _GPT2)


def _weights() -> dict[str, torch.Tensor]:
    return {"a": torch.ones(2, 3), "b": torch.zeros(4)}


def _settings() -> Any:
    from transformer_lib.interop.generation_config import GenerationSettings

    return GenerationSettings(stop_ids=(1,), first_id=2, last_id=1)


def _added() -> Any:
    from transformer_lib.nn.lora import LoraConfig, add_lora

    add_lora(model := _model(), LoraConfig(rank=2, targets=("to_qkv",)))
    return model


def _adapter() -> Path:
    from transformer_lib.interop.adapters import save_adapter

    save_adapter(_added(), path := _place("adapter"))
    return path


def _new_folder() -> Path:
    path = _place()
    path.mkdir()
    return path


HUGGING_FACE: dict[str, Callable[[], dict[str, Any]]] = {
    "configs.read_config": lambda: {"fields": _fields(), "dropout": 0.1},
    "configs.write_config": lambda: {"config": _MARIAN, "model_type": "marian"},
    "generation_config.GenerationSettings": lambda: {
        "stop_ids": (1, 2),
        "forbidden_ids": (3,),
        "start_id": 0,
        "first_id": 4,
        "last_id": 1,
    },
    "generation_config.GenerationSettings.forced_ids": lambda: {"self": _settings(), "max_new_tokens": 8},
    "generation_config.read_generation": lambda: {"folder": _folder(), "ignore": ["repetition_penalty"]},
    "adapters.save_adapter": lambda: {
        **{"model": _added(), "folder": _place(), "model_type": "gpt2", "base": "somewhere"}
    },
    "adapters.load_adapter": lambda: {"model": _model(), "folder": _adapter(), "model_type": "gpt2"},
    "adapters.theirs_of": lambda: {"model": _model(), "family": _family()},
    "adapters.targets_of": lambda: {"model": _model(), "model_type": "gpt2"},
    "alike.save_like": lambda: {
        **{"model": _model(), "source": _folder(), "folder": _place(), "dtype": torch.float32},
        **{"max_shard_bytes": 1000},
    },
    "huggingface.type_of": lambda: {"model": _model()},
    "huggingface.family_at": lambda: {"kind": "roberta", "padding": 1},
    "huggingface.inner_name": lambda: {"name": "encoder.blocks.0", "model": _model()},
    "names.stream_order": lambda: {"family": _family("marian"), "config": _MARIAN, "back": True},
    "hub.find": lambda: {"name": str(_folder())},
    "huggingface.from_hf": lambda: {
        "source": _folder(),
        "dtype": torch.float32,
        "dropout": 0.0,
        "drop": ["pooler.*"],
        "device": "cpu",
    },
    "huggingface.from_hf_state": lambda: {
        "fields": _fields() | {"architectures": ["GPT2LMHeadModel"]},
        "state": _theirs(),
        "dtype": torch.float32,
        "dropout": 0.0,
        "drop": ["pooler.*"],
    },
    "huggingface.to_hf": lambda: {
        "model": _model(),
        "model_type": "gpt2",
        "folder": _place(),
        "tokenizer": _tokenizer(),
        "token_ids": {"eos_token_id": 3},
        "dtype": torch.float32,
        "max_shard_bytes": 1000,
    },
    "huggingface.read_tokenizer": lambda: {"folder": _folder()},
    "huggingface.lacking_ids": lambda: {"tokenizer": _tokenizer(), "vocab_size": 270},
    "names.Family": lambda: {
        "model_type": "gpt2",
        "architectures": {"GPT2LMHeadModel": "DecoderLM"},
        "prefix": "transformer.",
        "names": {"head": ("lm_head",)},
        "tied": {"a": "b"},
        "computed": {"c": lambda tensor, config: True},
        "transposed": ("c_attn",),
        "sines_first": False,
        "first_position": 2,
        "unused": {"BertForMaskedLM": ("bert.pooler.*",)},
        "pooling": "tanh",
        "always_gelu": True,
        "splits": {},
    },
    "names.Family.theirs": lambda: {
        "self": _family(),
        "name": "blocks.0.attention.to_qkv.weight",
        "layer_config": _GPT2,
    },
    "names.to_theirs": lambda: {"tensors": _ours(), "family": _family(), "config": _GPT2},
    "names.to_ours": lambda: {"tensors": _theirs(), "family": _family(), "config": _GPT2, "names": list(_ours())},
    "weights.named": lambda: {"state": _theirs(), "family": _family(), "drop": ["x.*"]},
    "weights.require_room": lambda: {"config": _GPT2, "family": _family(), "tensors": _theirs()},
    "weights.tensors_for": lambda: {
        **{"tensors": _theirs(), "expected": _theirs(), "family": _family(), "config": _GPT2},
        **{"dtype": torch.float32, "unused": ["x.*"]},
    },
    "labels.labels_of": lambda: {"fields": {"id2label": {"0": "a", "1": "b"}}, "rows": 2},
    "labels.write_labels": lambda: {"labels": ("a", "b")},
    "pickled.load_pickled": lambda: {"path": _pickled()},
    "configs.model_type_of": lambda: {"fields": _fields()},
    **{
        f"encoder_configs.read_{kind}": lambda kind=kind: {"reader": _reader(_encoder(kind), kind)}  # type: ignore[misc]
        for kind in ("bert", "roberta", "distilbert")
    },
    **{
        f"encoder_configs.write_{kind}": lambda kind=kind: {"config": _encoder(kind)}  # type: ignore[misc]
        for kind in ("bert", "roberta", "distilbert")
    },
    "encoder_configs.first_position": lambda: {"padding": 1},
    "reader.activation_of": lambda: {"config": _GPT2, "default": "gelu"},
    "reader.Reader.flag": lambda: {"self": _reader(), "name": "tie_word_embeddings", "default": True},
    "reader.as_float": lambda: {"name": "theta", "value": 1.5},
    "reader.Reader": lambda: {"fields": _fields(), "dropout": 0.1},
    "reader.Reader.get": lambda: {"self": _reader(), "name": "n_embd", "default": 1},
    "reader.Reader.take": lambda: {"self": _reader(), "name": "n_embd", "default": 1},
    "reader.Reader.number": lambda: {"self": _reader(), "name": "n_embd", "default": 1.0},
    "reader.Reader.expect": lambda: {"self": _reader(), "n_embd": 8},
    "reader.Reader.choose": lambda: {"self": _reader(), "name": "activation_function", "default": "gelu"},
    "reader.Reader.dropout": lambda: {"self": _reader(), "resid_pdrop": 0.1},
    "reader.Reader.fault": lambda: {"self": _reader(), "text": "no"},
    "reader.Reader.finish": lambda: {"self": _reader_of({})},
    "reader.Reader.check": lambda: {"self": _reader()},
    **{
        f"rope_configs.read_{kind}": lambda kind=kind: {"reader": _reader(_config_of(kind), kind)}  # type: ignore[misc]
        for kind in ("llama", "mistral", "qwen2", "qwen3")
    },
    **{
        f"rope_configs.write_{kind}": lambda kind=kind: {"config": _config_of(kind)}  # type: ignore[misc]
        for kind in ("llama", "mistral", "qwen2", "qwen3")
    },
    "shards.read_weights": lambda: {"folder": _folder()},
    "shards.write_weights": lambda: {"folder": _new_folder(), "tensors": _weights(), "max_shard_bytes": 30},
    "shards.common_type": lambda: {"tensors": _weights(), "source": "weights"},
    "shards.not_finite": lambda: {"tensors": _weights(), "dtype": torch.float16},
}


def _encoder(kind: str) -> ModelConfig:
    from dataclasses import replace

    config = replace(_GPT2, norm_order="post", embedding_norm=True, norm=Norm(eps=1e-12))
    return replace(config, segments=0 if kind == "distilbert" else 2)


def _pickled() -> Path:
    torch.save(_weights(), path := _new_folder() / "pytorch_model.bin")
    return path


def _reader_of(fields: dict[str, Any]) -> Any:
    from transformer_lib.interop.reader import Reader

    return Reader(fields, None)


def _config_of(kind: str) -> ModelConfig:
    from dataclasses import replace

    bias: Literal["qkv"] | bool = "qkv" if kind == "qwen2" else False
    window = 4 if kind == "mistral" else None
    attention = AttentionConfig(num_heads=2, bias=bias, qk_norm=kind == "qwen3", window=window)
    return replace(_ROPE, attention=attention)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"transformer_lib.interop.{name}": call for name, call in HUGGING_FACE.items()},
    **ONNX,
    **OF_ENGINES,
    **families.CALLS,
    "transformer_lib.interop.families.class_of": lambda: {
        "fields": {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
    },
}

EXCUSED: dict[str, str] = {
    f"transformer_lib.interop.{module}.*": "importing TensorFlow takes half a minute; by hand: --only keras"
    for module in ("keras", "keras_layers", "keras_positions")
}
