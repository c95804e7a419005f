"""Models of Hugging Face's transformers as ours, and ours as theirs.

Decoders: GPT-2, Llama, Mistral, Qwen2, Qwen3, Gemma 3, OLMo 2, SmolLM3, Mixtral, Qwen3-MoE, gpt-oss, DeepSeek-V3,
Qwen3-Next. Encoders, bare, as masked language models or with a head that labels texts or tokens or finds a span: BERT,
RoBERTa, XLM-R, DistilBERT; ModernBERT, bare or as a masked language model. Encoder-decoders: Marian.

Nothing of theirs is imported: a model is its `config.json` and its weights, and the numbers are the same to the last
few bits (the tests compare with the oldest and the newest version of their code that we know). Nothing that counts is
skipped in silence: a weight that is missing, unknown, not finite or of another shape, and a field of the config that
our models do not honour, is a `ValueError` that lists them. How a text is to be written is in `generation_config`.

Left out: the pooler of a bare encoder (`drop` leaves such weights out on request), encoders that are decoders,
quantised weights, and everything that needs code from the folder.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.config import Mlp, ModelConfig, Rope, Seq2SeqConfig, require, require_positive
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.files import new_folder, read_json, write_text
from transformer_lib.interop.configs import Config, model_type_of, read_config, write_config
from transformer_lib.interop.encoder_configs import PADDING, first_position
from transformer_lib.interop.families import FAMILIES
from transformer_lib.interop.labels import labels_of, write_labels
from transformer_lib.interop.mixed_configs import mixed_type
from transformer_lib.interop.names import Family, Named, to_ours, to_theirs
from transformer_lib.interop.shards import FLOATS, common_type, not_finite, read_weights, write_weights
from transformer_lib.interop.weights import named, require_room, tensors_for
from transformer_lib.models import (
    DecoderLM,
    Encoder,
    MaskedLM,
    Seq2Seq,
    SequenceClassifier,
    SpanFinder,
    TokenClassifier,
)
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.state import model_tensors

Model = DecoderLM | Encoder | MaskedLM | SequenceClassifier | TokenClassifier | SpanFinder | Seq2Seq
KINDS = (DecoderLM, Encoder, MaskedLM, SequenceClassifier, TokenClassifier, SpanFinder, Seq2Seq)
CLASSES: dict[str, Any] = {kind.__name__: kind for kind in KINDS}
OFFSET = ("roberta", "xlm-roberta")  # families whose positions begin after the padding token's id
# Their defaults are the tokens of one published model.
NO_TOKENS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "forced_eos_token_id"))
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
MOST_TOKENS = 1 << 24  # ten vocabularies of the largest known


@checked
def from_hf(
    source: str | Path,
    *,
    dtype: torch.dtype | None = None,
    dropout: float | None = None,
    drop: Collection[str] = (),
    device: torch.device | str = "cpu",
) -> Model:
    """The model that transformers wrote to the folder `source`, in eval mode.

    Its class follows from the config's `architectures`; without any, the weights tell whether an encoder is bare or a
    masked language model. Weights that such a class computes nothing with, as BERT's pooler in a masked language model,
    may stand there. The model keeps the type it is stored in (of several, the one that
    holds the numbers of all) unless `dtype` names another. `dropout` replaces theirs, which may differ from place to
    place. `drop` lists patterns (`bert.pooler.*`) of weights to leave out.
    """
    folder, device = Path(source), check_device(device)
    require(folder.is_dir(), "source", "must be a folder", str(source))
    require((folder / CONFIG).is_file(), "source", f"must hold {CONFIG}", str(source))
    fields = read_json(folder / CONFIG)
    require(isinstance(fields, dict), str(folder / CONFIG), "must be a JSON object", type(fields).__name__)
    assert isinstance(fields, dict)
    read_config(fields, dropout=dropout)  # before the weights, which may be large
    model = from_hf_state(fields, read_weights(folder), dtype=dtype, dropout=dropout, drop=drop)
    return model.to(device)


@checked
def from_hf_state(
    fields: dict[str, Any],
    state: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    dropout: float | None = None,
    drop: Collection[str] = (),
) -> Model:
    """As `from_hf`, from the fields of a `config.json` and a state dict; what needs no change is not copied."""
    require(dtype is None or dtype in FLOATS, "dtype", f"must be one of {FLOATS}", dtype)
    config = read_config(fields, dropout=dropout)
    family = _family_at(model_type_of(fields), fields.get("pad_token_id", PADDING))
    tensors = named(state, family, drop=drop)
    architecture = _architecture_of(fields, family, tensors)
    if isinstance(config, Seq2SeqConfig) and "final_logits_bias" in tensors:
        config = dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, head_bias=True))
    require_room(config, family, tensors)
    model = _empty(architecture, config, family, fields, tensors)
    _check_head(model, family)
    own = {_inner(name, model): tensor for name, tensor in model_tensors(model).items()}
    expected = to_theirs(own, family, config)
    unused = family.unused.get(architecture, ())
    tensors = tensors_for(tensors, expected, family, config, dtype=dtype, unused=unused)
    _assign(model, to_ours(tensors, family, config, own), dtype or common_type(tensors, "weights"))
    return model.eval()


@checked
def to_hf(
    model: Model,
    folder: str | Path,
    *,
    model_type: str | None = None,
    tokenizer: Tokenizer | None = None,
    token_ids: Mapping[str, int] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write the new folder, for transformers' `from_pretrained`; it appears whole or not at all.

    `model_type` names the format where several fit: an encoder is written as a BERT, or as a DistilBERT if it has no
    segments, and can be a RoBERTa; such a one needs its `pad_token_id`, which tells where positions begin.
    `token_ids` goes into the config (`eos_token_id`, `pad_token_id`, ...), where their `generate` looks for it. `dtype`
    stores the weights in another type. `ValueError` if their format has no place for something of the model's, or if a
    weight is not finite in that type.
    """
    require_positive(max_shard_bytes=max_shard_bytes)
    require(dtype is None or dtype in FLOATS, "dtype", f"must be one of {FLOATS}", dtype)
    kind, ids = model_type or _type_of(model), dict(token_ids or {})
    require(kind in FAMILIES, "model_type", f"must be one of {sorted(FAMILIES)} or None", kind)
    vocab = model.config.decoder.vocab_size if isinstance(model, Seq2Seq) else model.config.vocab_size
    _check_ids(ids, kind, vocab)
    family = _family_at(kind, ids.get("pad_token_id", PADDING))
    ours = list(family.architectures.values())
    require(type(model).__name__ in ours, "model", f"must be a {' or '.join(ours)} for {kind!r}", type(model).__name__)
    architecture = next(theirs for theirs, name in family.architectures.items() if CLASSES[name] is type(model))
    _check_head(model, family)
    fields = write_config(model.config, kind)
    if kind in OFFSET:
        fields["max_position_embeddings"] += family.first_position - first_position(PADDING)
    if isinstance(model, SequenceClassifier | TokenClassifier):
        fields |= write_labels(model.labels)
    if tokenizer is not None:
        require(tokenizer.vocab_size <= vocab, "tokenizer", f"must have at most {vocab} tokens", tokenizer.vocab_size)
    own = {_inner(name, model): tensor for name, tensor in model_tensors(model).items()}
    stored = dtype or common_type(own, "model")
    tensors = {name: tensor.to("cpu", stored) for name, tensor in to_theirs(own, family, model.config).items()}
    for name in not_finite(tensors, stored):
        require(False, name, f"must be finite in {stored}", "inf or nan")
    if isinstance(model, Encoder):
        tensors = {name.removeprefix(family.prefix): tensor for name, tensor in tensors.items()}
    known = {"architectures": [architecture], "torch_dtype": str(stored).removeprefix("torch.")}
    with new_folder(Path(folder)) as new:
        write_weights(new, tensors, max_shard_bytes=max_shard_bytes)
        _write_json(new / CONFIG, fields | known | NO_TOKENS | ids)
        if tokenizer is not None:
            tokenizer.save(new / TOKENIZER)
            _write_json(new / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


@checked
def read_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a folder of theirs, by its `tokenizer.json`: its own rules, and special tokens by name only."""
    file = Path(folder) / TOKENIZER
    require(file.is_file(), "folder", f"must hold {TOKENIZER}", str(folder))
    return Tokenizer.load(file, any_rules=True)


@checked
def lacking_ids(tokenizer: Tokenizer | SentencePiece, vocab_size: int) -> tuple[int, ...]:
    """The ids below `vocab_size` for which the tokenizer has no text, so that `generate` can be forbidden to draw them.

    There are some where a model's table was rounded up to a size that GPUs like.
    """
    require_positive(vocab_size=vocab_size)
    require(vocab_size <= MOST_TOKENS, "vocab_size", f"must be at most {MOST_TOKENS}", vocab_size)
    return tuple(i for i in range(vocab_size) if not tokenizer.has(i))


# What is written ------------------------------------------------------------------------------------------------------


def _type_of(model: Model) -> str:
    """The family whose format is meant for such a model."""
    match model:
        case Seq2Seq():
            return "marian"
        case DecoderLM(config=ModelConfig() as config) if mixed_type(config) is not None:
            return str(mixed_type(config))
        case DecoderLM(config=ModelConfig(positions=Rope(), heads=attention)):
            if attention.qk_norm:
                return "qwen3"
            return "qwen2" if attention.bias == "qkv" else "llama" if attention.window is None else "mistral"
        case DecoderLM():
            return "gpt2"
        case Encoder() | MaskedLM() if isinstance(model.config.positions, Rope):
            return "modernbert"
        case _:
            return "bert" if model.config.segments else "distilbert"


def _family_at(kind: str, padding: Any) -> Family:
    """The family, with positions that begin where the padding token says."""
    family = FAMILIES[kind]
    return dataclasses.replace(family, first_position=first_position(padding)) if kind in OFFSET else family


def _check_ids(ids: dict[str, int], kind: str, vocab: int) -> None:
    marian = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
    needed = marian if kind == "marian" else ("pad_token_id",) if kind in OFFSET else ()
    missing = [name for name in needed if name not in ids]
    require(not missing, "token_ids", f"must say what a model of type {kind!r} cannot be without", missing)
    for name, token in ids.items():
        require(name.endswith("_token_id"), "token_ids", "must be named *_token_id", name)
        require(type(token) is int and 0 <= token < vocab, name, f"must be a token below {vocab}", token)


# Classes and names ----------------------------------------------------------------------------------------------------


def _architecture_of(fields: dict[str, Any], family: Family, tensors: Named) -> str:
    """Their class; where the config names none, it is that of a masked language model if the weights have its head."""
    known = list(family.architectures)
    masked = family.names.get("head.to_vocab.bias", ("",))[0] in tensors
    default = [name for name, ours in family.architectures.items() if masked == (ours == "MaskedLM")]
    found = fields.get("architectures") or default[:1]
    fits = isinstance(found, list) and len(found) == 1 and found[0] in known
    require(fits, "architectures", f"must be one of {known}", found)
    return str(found[0])


def _empty(architecture: str, config: Config, family: Family, fields: dict[str, Any], tensors: Named) -> Model:
    """The model without memory."""
    kind = CLASSES[family.architectures[architecture]]
    options: dict[str, Any] = {}
    if kind in (SequenceClassifier, TokenClassifier):
        head = family.names["head.to_label" if kind is SequenceClassifier else "head"][0] + ".weight"
        require(head in tensors and tensors[head].ndim == 2, "weights", f"must hold {head}", sorted(tensors)[:3])
        options["labels"] = labels_of(fields, len(tensors[head]))
    if kind is SequenceClassifier:
        options["pooling"] = family.pooling
    with torch.device("meta"):
        model: Model = kind(config, **options)
    return model


def _check_head(model: Model, family: Family) -> None:
    """Heads differ between families in a non-linearity that no config names."""
    if isinstance(model, MaskedLM) and not family.always_gelu:
        layers = model.config.feedforward
        same = isinstance(layers, Mlp) and layers.activation == "gelu"
        require(same, "activation", "must be 'gelu' in a masked language model, whose head has it too", layers)
    if isinstance(model, SequenceClassifier):
        found = model.head.pooler.pooling
        require(found == family.pooling, "pooling", f"must be {family.pooling!r} for {family.model_type!r}", found)


def _inner(name: str, model: Model) -> str:
    """The names of an encoder with a head as those of the bare one."""
    headed = isinstance(model, MaskedLM | SequenceClassifier | TokenClassifier | SpanFinder)
    return name.removeprefix("encoder.") if headed else name


def _assign(model: Model, tensors: Named, dtype: torch.dtype) -> None:
    """Make the tensors the weights of a model without memory; a tied weight stays one object."""
    own = {name: nn.Parameter(tensor.to(dtype)) for name, tensor in tensors.items()}
    first = {id(weight): own[_inner(name, model)] for name, weight in model.named_parameters()}
    names = model.named_parameters(remove_duplicate=False)
    state: Named = {name: first[id(weight)] for name, weight in names}
    state |= {name: own[_inner(name, model)].data for name, _ in model.named_buffers()}
    model.load_state_dict(state, assign=True)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    write_text(file, json.dumps(value, indent=2) + "\n")
