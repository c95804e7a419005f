"""Models of Hugging Face's transformers as ours, and ours as theirs: GPT-2, Llama, Mistral, Qwen3, BERT and Marian.

Nothing of theirs is imported: a model is its `config.json` and its safetensors, and the numbers are the same to the
last few bits (the tests compare with the oldest and the newest version of their code that we know). Nothing is skipped
in silence: a weight that is missing, unknown, not finite or of another shape, and a field of the config that our models
do not honour, is a `ValueError` that lists them. How a text is to be written is in `generation_config`.

Left out: their pooler and classification heads (`drop` leaves such weights out on request), encoders that are decoders,
quantised weights, and everything that needs code from the folder.
"""

import dataclasses
import fnmatch
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.config import ModelConfig, Rope, Seq2SeqConfig, require, require_positive
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.files import new_folder, read_json, write_text
from transformer_lib.interop.configs import Config, read_config, write_config
from transformer_lib.interop.names import FAMILIES, Family, Named, to_ours, to_theirs
from transformer_lib.interop.shards import FLOATS, common_type, not_finite, read_weights, write_weights
from transformer_lib.models import DecoderLM, Encoder, MaskedLM, Seq2Seq
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.state import model_tensors

Model = DecoderLM | Encoder | MaskedLM | Seq2Seq
CLASSES: dict[str, Any] = {"DecoderLM": DecoderLM, "Encoder": Encoder, "MaskedLM": MaskedLM, "Seq2Seq": Seq2Seq}
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

    Its class follows from the config's `architectures`. It keeps the type it is stored in (of several, the one that
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
    family = FAMILIES[fields["model_type"]]
    kind = _class_of(fields, family)
    tensors = _named(state, family)
    for name in [name for name in tensors if any(fnmatch.fnmatchcase(name, pattern) for pattern in drop)]:
        del tensors[name]
    if isinstance(config, Seq2SeqConfig) and "final_logits_bias" in tensors:
        config = dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, head_bias=True))
    _require_room(config, family, tensors)
    with torch.device("meta"):
        model: Model = kind(config)
    own = {_inner(name, model): tensor for name, tensor in model_tensors(model).items()}
    expected = to_theirs(own, family, config)
    computed = {name: tensors.pop(name) for pattern in family.computed for name in fnmatch.filter(tensors, pattern)}
    second = {name: tensors.pop(name) for name in family.tied if name in tensors and name not in expected}
    for name, tensor in second.items():
        tensors.setdefault(family.tied[name], tensor)
    _require_all(tensors, expected)
    stored = common_type(tensors, "weights")
    wanted = dtype or stored
    faults = [f"{name} must be finite in {wanted}" for name in not_finite(tensors, wanted)]
    faults += _unlike_first(second, tensors, family) + _unlike_computed(computed, family, config)
    require(not faults, "weights", "must be those of the config", faults)
    _assign(model, to_ours(tensors, family, config, own), wanted)
    return model.eval()


@checked
def to_hf(
    model: Model,
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    token_ids: Mapping[str, int] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write the new folder, for transformers' `from_pretrained`; it appears whole or not at all.

    `token_ids` goes into the config (`eos_token_id`, `pad_token_id`, ...), where their `generate` looks for it. `dtype`
    stores the weights in another type. `ValueError` if their format has no place for something of the model's, or if a
    weight is not finite in that type.
    """
    require_positive(max_shard_bytes=max_shard_bytes)
    require(dtype is None or dtype in FLOATS, "dtype", f"must be one of {FLOATS}", dtype)
    family, architecture = _family_of(model)
    fields = write_config(model.config, family.model_type)
    vocab = model.config.decoder.vocab_size if isinstance(model, Seq2Seq) else model.config.vocab_size
    needed = {"pad_token_id", "eos_token_id", "decoder_start_token_id"} if isinstance(model, Seq2Seq) else set()
    missing = sorted(needed - set(token_ids or {}))
    require(not missing, "token_ids", "must say what their Marian model cannot be without", missing)
    for name, token in (token_ids or {}).items():
        require(name.endswith("_token_id"), "token_ids", "must be named *_token_id", name)
        require(type(token) is int and 0 <= token < vocab, name, f"must be a token below {vocab}", token)
    if tokenizer is not None:
        require(tokenizer.vocab_size <= vocab, "tokenizer", f"must have at most {vocab} tokens", tokenizer.vocab_size)
    own = {_inner(name, model): tensor for name, tensor in model_tensors(model).items()}
    kind = dtype or common_type(own, "model")
    tensors = {name: tensor.to("cpu", kind) for name, tensor in to_theirs(own, family, model.config).items()}
    for name in not_finite(tensors, kind):
        require(False, name, f"must be finite in {kind}", "inf or nan")
    if isinstance(model, Encoder):
        tensors = {name.removeprefix(family.prefix): tensor for name, tensor in tensors.items()}
    known = {"architectures": [architecture], "torch_dtype": str(kind).removeprefix("torch.")}
    with new_folder(Path(folder)) as new:
        write_weights(new, tensors, max_shard_bytes=max_shard_bytes)
        _write_json(new / CONFIG, fields | known | NO_TOKENS | dict(token_ids or {}))
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
def lacking_ids(tokenizer: Tokenizer, vocab_size: int) -> tuple[int, ...]:
    """The ids below `vocab_size` for which the tokenizer has no text, so that `generate` can be forbidden to draw them.

    There are some where a model's table was rounded up to a size that GPUs like.
    """
    require_positive(vocab_size=vocab_size)
    require(vocab_size <= MOST_TOKENS, "vocab_size", f"must be at most {MOST_TOKENS}", vocab_size)
    return tuple(i for i in range(vocab_size) if not tokenizer.has(i))


# Names ----------------------------------------------------------------------------------------------------------------


def _family_of(model: Model) -> tuple[Family, str]:
    """The family whose format is meant for such a model, and the class of theirs."""
    match model:
        case Seq2Seq():
            kind = "marian"
        case Encoder() | MaskedLM():
            kind = "bert"
        case DecoderLM(config=ModelConfig(positions=Rope(), attention=attention)):
            kind = "qwen3" if attention.qk_norm else "llama" if attention.window is None else "mistral"
        case DecoderLM():
            kind = "gpt2"
        case _:
            raise ValueError(f"model must be one of {sorted(CLASSES)}, got {type(model).__name__}")
    family = FAMILIES[kind]
    return family, next(theirs for theirs, ours in family.architectures.items() if CLASSES[ours] is type(model))


def _class_of(fields: dict[str, Any], family: Family) -> Any:
    known = list(family.architectures)
    found = fields.get("architectures") or known[:1]
    fits = isinstance(found, list) and len(found) == 1 and found[0] in known
    require(fits, "architectures", f"must be one of {known}", found)
    return CLASSES[family.architectures[found[0]]]


def _inner(name: str, model: Model) -> str:
    """The names of a `MaskedLM` as those of its encoder."""
    return name.removeprefix("encoder.") if isinstance(model, MaskedLM) else name


def _named(state: Mapping[str, Tensor], family: Family) -> Named:
    """Their tensors under the names that they have now, with a head on top."""
    known = [part for parts in family.names.values() for part in parts]
    tops = {part.split(".")[0] for part in (*known, *family.tied)}
    named = {}
    for name, tensor in state.items():
        if family.model_type == "bert":  # as its first checkpoints have it
            name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        named[name if name.split(".")[0] in tops else family.prefix + name] = tensor
    return named


# Weights --------------------------------------------------------------------------------------------------------------


def _require_room(config: Config, family: Family, tensors: Named) -> None:
    """Nothing is built that the weights do not hold: a few digits in a config.json would take the whole machine."""
    sides = (config.encoder, config.decoder) if isinstance(config, Seq2SeqConfig) else (config,)
    layers, table = sum(side.num_layers for side in sides), _table_of(family)
    names = [table, *(name for name, first in family.tied.items() if first == table)]
    found = next((tensors[name].shape for name in names if name in tensors), None)
    wanted = (sides[-1].vocab_size, sides[-1].d_model)
    faults = [] if found is not None else [f"{table} is missing"]
    if found is not None and tuple(found) != wanted:
        faults.append(f"{table} must have the shape {wanted}, got {tuple(found)}")
    if layers > len(tensors):
        faults.append(f"{layers} layers must have at least as many weights, got {len(tensors)}")
    require(not faults, "weights", "must be those of the config", faults)


def _table_of(family: Family) -> str:
    """Their name for the table of the tokens' vectors."""
    return next(theirs[0] for ours, theirs in family.names.items() if ours.endswith("embedding.tokens")) + ".weight"


def _require_all(tensors: Named, expected: Named) -> None:
    """The tensors must have the expected names and shapes."""
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    unknown = sorted(tensors.keys() - expected.keys())
    faults += [f"{name} is unknown" for name in unknown]
    for name, like in expected.items():
        if name in tensors and tensors[name].shape != like.shape:
            faults.append(f"{name} must have the shape {tuple(like.shape)}, got {tuple(tensors[name].shape)}")
    rule = "must be those of the config" + (" (drop=[...] leaves some out)" if unknown else "")
    require(not faults, "weights", rule, faults)


def _unlike_first(second: Named, tensors: Named, family: Family) -> list[str]:
    """The faults among further names of a tied weight: they must be the same weight."""
    faults = []
    for name, tensor in second.items():
        first = tensors[family.tied[name]]
        wide = torch.promote_types(tensor.dtype, first.dtype)
        if not torch.equal(tensor.to(wide), first.to(wide)):
            faults.append(f"{name} must equal {family.tied[name]}, to which it is tied")
    return faults


def _unlike_computed(tensors: Named, family: Family, config: Config) -> list[str]:
    """The faults among what they store and our models compute."""
    return [
        f"{name} must be what the config says, which is computed"
        for name, tensor in tensors.items()
        if not any(same(tensor, config) for pattern, same in family.computed.items() if fnmatch.fnmatch(name, pattern))
    ]


def _assign(model: Model, tensors: Named, dtype: torch.dtype) -> None:
    """Make the tensors the weights of a model without memory; a tied weight stays one object."""
    own = {name: nn.Parameter(tensor.to(dtype)) for name, tensor in tensors.items()}
    first = {id(weight): own[_inner(name, model)] for name, weight in model.named_parameters()}
    names = model.named_parameters(remove_duplicate=False)
    model.load_state_dict({name: first[id(weight)] for name, weight in names}, assign=True)


def _write_json(file: Path, value: dict[str, Any]) -> None:
    write_text(file, json.dumps(value, indent=2) + "\n")
