"""Adapters in the form of the library peft: what LoRA adds to a model of Hugging Face's, as a small folder of its own.

`adapter_config.json` says which maps have additions, `adapter_model.safetensors` holds them: for each map of theirs an
A (rank x in) and a B (out x rank). Where their queries, keys and values are three maps, ours are parts of one; where
they are one, as GPT-2's, ours is one, too. A head that labels tokens or finds spans can stand there as a whole, since a
new one is trained (`modules_to_save`). The outputs with an adapter are the same on both sides.

Left out: whatever is no plain LoRA (DoRA, additions to embeddings or biases, a rank of its own for some maps).
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import new_folder, read_json, write_text
from transformer_lib.interop.families import FAMILIES
from transformer_lib.interop.huggingface import Model, inner_name, type_of
from transformer_lib.interop.names import Family, stream_order
from transformer_lib.models import DecoderLM, Encoder, Seq2Seq
from transformer_lib.models.classifiers import SpanFinder, TokenClassifier
from transformer_lib.nn.lora import WHOLE, Rows, additions_of, maps_of, put_lora, row_parts
from transformer_lib.tensor_files import load_tensors, save_tensors, shapes_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "modules_to_save")
HEADS = ("classifier", "score", "qa_outputs")  # which peft lists for a task, whether the model has them or not
# What changes the numbers, but for these values.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian"),  # some of the others change the model's own weights
    **dict.fromkeys(("use_dora", "lora_bias", "use_qalora", "use_bdlora", "ensure_weight_tying"), (False, None)),
    **dict.fromkeys(("rank_pattern", "alpha_pattern", "loftq_config"), ({}, None)),
    **dict.fromkeys(("layer_replication", "trainable_token_indices", "target_parameters"), (None,)),
    **dict.fromkeys(("alora_invocation_tokens", "corda_config", "eva_config", "arrow_config", "kasa_config"), (None,)),
    **dict.fromkeys(("lora_ga_config", "monteclora_config", "velora_config", "megatron_config"), (None,)),
}
# What the names of the weights say again, or what is about training or about where the file comes from.
ASIDE = frozenset(
    [
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
        *("lora_dropout", "inference_mode", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
        *("peft_version", "megatron_core", "qalora_group_size", "runtime_config", "loftq_config"),
    ]
)


@checked
def save_adapter(
    model: Model, folder: str | Path, *, model_type: str | None = None, base: str = "", head: bool = False
) -> None:
    """Write what LoRA adds to the model as a new folder, which peft's `PeftModel.from_pretrained` reads.

    `model_type` is the family whose names it gets, as of `to_hf`; `base` says which model it is for; with `head` the
    whole head of a `TokenClassifier` or a `SpanFinder` is written, too. `ValueError` for a model without additions,
    with several ranks, or of parts that the family does not have.
    """
    family = _family(model, model_type)
    names = theirs_of(model, family)
    found = additions_of(model)
    require(len(found) > 0, "model", "must have additions of LoRA", type(model).__name__)
    sizes = {(layer.rank, layer.scale) for layer in found.values()}
    require(len(sizes) == 1, "model", "must have additions of one rank and one scale", sorted(sizes))
    [(rank, scale)] = sizes
    tensors: dict[str, Tensor] = {}
    for ours, layer in found.items():
        theirs = {part.name: name for name, (map_, part) in names.items() if map_ == ours}
        for part in layer.parts:
            places = sorted(theirs)
            rule = f"must be one of {places} for {family.model_type!r}"
            require(part.name in theirs, f"the part of {ours}", rule, part.name)
            down, up = (each.detach().cpu() for each in layer.pair(part.name))
            down, up = _ordered(model, family, ours, down, up, back=False)
            tensors |= {f"{PREFIX}{theirs[part.name]}{A}": down, f"{PREFIX}{theirs[part.name]}{B}": up}
    heads = _head_of(model, family) if head else {}
    require(bool(heads) or not head, "head", "must be False for a model without such a head", type(model).__name__)
    tensors |= {f"{PREFIX}{theirs}": model.get_parameter(ours).detach().cpu() for theirs, ours in heads.items()}
    fields = {
        "peft_type": "LORA",
        "task_type": _task(model),
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": _plain(scale * rank),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": bool(family.transposed),
        "target_modules": sorted({name.removeprefix(PREFIX).removesuffix(A) for name in tensors if name.endswith(A)}),
        "use_rslora": False,
        "modules_to_save": sorted({theirs.rpartition(".")[0] for theirs in heads}) or None,
        "inference_mode": True,
    }
    with new_folder(Path(folder)) as new:
        save_tensors(new / WEIGHTS, {name: tensor.contiguous() for name, tensor in tensors.items()})
        write_text(new / CONFIG, json.dumps(fields, indent=2) + "\n")


@checked
def load_adapter(model: Model, folder: str | Path, *, model_type: str | None = None) -> None:
    """Add to the model, in place, what peft or `save_adapter` wrote to the folder; `merge_lora` makes it one model.

    The model's own weights are frozen by it. `ValueError` for an adapter of another kind or for another model, and for
    a field of its config that is not honoured; the model is then as it was.
    """
    folder = Path(folder)
    require(folder.is_dir(), "folder", "must be a folder", str(folder))
    rank, scale, with_head = _read_config(folder / CONFIG)
    family = _family(model, model_type)
    heads = _head_of(model, family)
    chosen, kept = _read_shapes(folder / WEIGHTS, model, family, rank, heads if with_head else {})
    tensors = load_tensors(folder / WEIGHTS)
    parts: dict[str, tuple[Rows, ...]] = {}
    for ours, part in chosen.values():
        parts[ours] = tuple(sorted((*parts.get(ours, ()), part), key=lambda rows: rows.start))
    put_lora(model, parts, rank, scale)
    layers = additions_of(model)
    with torch.no_grad():
        for theirs, (ours, part) in chosen.items():
            down, up = (tensors[f"{PREFIX}{theirs}{end}"] for end in (A, B))
            down, up = _ordered(model, family, ours, down, up, back=True)
            for own, stored in zip(layers[ours].pair(part.name), (down, up), strict=True):
                own.copy_(stored)
        for theirs in kept:
            model.get_parameter(heads[theirs]).copy_(tensors[f"{PREFIX}{theirs}"])


@checked
def theirs_of(model: Model, family: Family) -> dict[str, tuple[str, Rows]]:
    """For each linear map of theirs that can have an addition, the map of ours and the part of it."""
    found: dict[str, tuple[str, Rows]] = {}
    for name, _ in maps_of(model):
        theirs = [each.removesuffix(".weight") for each in family.theirs(f"{inner_name(name, model)}.weight")]
        if isinstance(model, Encoder):
            theirs = [each.removeprefix(family.prefix) for each in theirs]
        parts = row_parts(model, name)
        own = parts[1:] if len(theirs) > 1 else parts[:1]
        found |= {each: (name, part) for each, part in zip(theirs, own, strict=True)}
    return found


def _head_of(model: Model, family: Family) -> dict[str, str]:
    """The weights of a head that can be part of an adapter: their names, with ours."""
    if not isinstance(model, TokenClassifier | SpanFinder):
        return {}
    names = [name for name, _ in model.named_parameters() if name.startswith("head.")]
    return {theirs: name for name in names for theirs in family.theirs(name)}


@checked
def targets_of(model: Model, *, model_type: str | None = None) -> tuple[str, ...]:
    """All maps of the model as targets of LoRA, cut as this family cuts them, so that `save_adapter` can write them."""
    family = _family(model, model_type)
    maps = theirs_of(model, family).values()
    return tuple(sorted({name.rpartition(".")[2] if part.name == WHOLE else part.name for name, part in maps}))


def _family(model: Model, model_type: str | None) -> Family:
    kind = model_type or type_of(model)
    require(kind in FAMILIES, "model_type", f"must be one of {sorted(FAMILIES)} or None", kind)
    family = FAMILIES[kind]
    ours = sorted(set(family.architectures.values()))
    require(type(model).__name__ in ours, "model", f"must be a {' or '.join(ours)} for {kind!r}", type(model).__name__)
    return family


def _read_config(file: Path) -> tuple[int, float, bool]:
    """The rank, the scale, and whether a head is there as a whole."""
    fields = read_json(file)
    require(isinstance(fields, dict), str(file), "must be a JSON object", type(fields).__name__)
    assert isinstance(fields, dict)
    require(fields.get("peft_type") == "LORA", f"{file}: peft_type", "must be 'LORA'", fields.get("peft_type"))
    rank, alpha, root = fields.get("r"), fields.get("lora_alpha"), fields.get("use_rslora", False)
    require(type(rank) is int and 1 <= rank < 2**16, f"{file}: r", "must be a whole number from 1 to 65535", rank)
    number = isinstance(alpha, int | float) and type(alpha) is not bool and 0 < alpha <= 1e6
    require(number, f"{file}: lora_alpha", "must be a number above 0 and at most 1e6", alpha)
    require(isinstance(root, bool), f"{file}: use_rslora", "must be true or false", root)
    saved = fields.get("modules_to_save") or []
    heads = isinstance(saved, list) and all(name in HEADS for name in saved)
    require(heads, f"{file}: modules_to_save", f"must be None or a list of {', '.join(HEADS)}", saved)
    faults = [
        f"{name} must be {values[0]!r}, got {fields[name]!r:.80}"
        for name, values in NEUTRAL.items()
        if name in fields and not any(type(fields[name]) is type(value) and fields[name] == value for value in values)
    ]
    unknown = sorted(fields.keys() - NEUTRAL.keys() - ASIDE - {*READ})
    given = [name for name in unknown if fields[name] is not None and fields[name] is not False]
    faults += [f"{name} is not honoured, got {fields[name]!r:.80}" for name in given]
    require(not faults, str(file), "must be that of a plain LoRA", faults)
    assert isinstance(rank, int) and isinstance(alpha, int | float)
    return rank, alpha / (math.sqrt(rank) if root else rank), bool(saved)


def _read_shapes(
    file: Path, model: Model, family: Family, rank: int, heads: dict[str, str]
) -> tuple[dict[str, tuple[str, Rows]], list[str]]:
    """Which maps the file adds to, by their names, and which weights of the head it holds.

    Its header is compared with the model before any tensor is read.
    """
    known, shapes = theirs_of(model, family), shapes_of(file)
    require(len(shapes) > 0, str(file), "must hold weights", "none")
    chosen: dict[str, tuple[str, Rows]] = {}
    kept, faults = list[str](), list[str]()
    for name, shape in shapes.items():
        head = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and head in heads:
            kept.append(head)
            own = tuple(model.get_parameter(heads[head]).shape)
            if shape != own:
                faults.append(f"{name} must have the shape {own}, got {shape}")
            continue
        end = next((end for end in (A, B) if name.endswith(end)), "")
        theirs = name.removeprefix(PREFIX).removesuffix(end) if end else ""
        if not name.startswith(PREFIX) or theirs not in known:
            faults.append(f"{name} is of no map of this model")
            continue
        ours, part = chosen[theirs] = known[theirs]
        width = model.get_submodule(ours).in_features
        wanted = (rank, width) if end == A else (part.stop - part.start, rank)
        if shape != wanted:
            faults.append(f"{name} must have the shape {wanted}, got {shape}")
        other = name.removesuffix(end) + (B if end == A else A)
        if other not in shapes:
            faults.append(f"{other} is missing")
    faults += [f"{PREFIX}{name} is missing" for name in heads if kept and name not in kept]
    require(not faults, str(file), "must hold what LoRA adds to such a model", faults[:9])
    return chosen, kept


def _ordered(model: Model, family: Family, name: str, down: Tensor, up: Tensor, *, back: bool) -> tuple[Tensor, Tensor]:
    """Marian's channels of the stream have another order: A reads them, or B of what writes into the stream does."""
    order = stream_order(family, model.config, back=back)
    if order is None:
        return down, up
    return (down, up[order]) if name.endswith("to_out") else (down[:, order], up)


def _task(model: Model) -> str | None:
    match model:
        case DecoderLM():
            return "CAUSAL_LM"
        case Seq2Seq():
            return "SEQ_2_SEQ_LM"
        case TokenClassifier():
            return "TOKEN_CLS"
        case SpanFinder():
            return "QUESTION_ANS"
        case _:
            return None


def _plain(number: float) -> int | float:
    rounded = round(number)
    return rounded if math.isclose(number, rounded) else number
