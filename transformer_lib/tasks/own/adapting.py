"""What all recipes on own data share that start from a trained model (`--from`): what of it is trained, and how fast.

`full` trains all weights, `frozen` only what the task adds to the model, `lora` that and small additions to the maps of
the model (`nn/lora.py`). What is new learns fast; what was trained before moves slowly, the more so the wider it is.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import read_json, remove_folder
from transformer_lib.identity import digest
from transformer_lib.interop.adapters import save_adapter, targets_of
from transformer_lib.interop.configs import model_type_of
from transformer_lib.interop.families import FAMILIES
from transformer_lib.interop.hub import find
from transformer_lib.interop.huggingface import Model
from transformer_lib.models.classifiers import SpanFinder, TokenClassifier
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import MaskedLM
from transformer_lib.nn.block import Block
from transformer_lib.nn.lora import LoraConfig, add_lora, additions_of, merge_lora
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.own.material import number_of
from transformer_lib.training.state import model_tensors

OURS, THEIRS = "about.json", "config.json"
TUNES = ("full", "frozen", "lora")
NEW = 1e-3  # the highest rate of what is new
OLD = 0.04  # of trained weights, divided by the width: 5e-5 for a BERT of 768, 3e-4 for a small model of 128
FASTEST = 2e-3  # of LoRA, however narrow the model
ADDED = 10.0  # times that of the weights to which LoRA adds (Schulman et al. 2025, "LoRA Without Regret")


@checked
class Tuning(NamedTuple):
    """The highest rate, the factors of it by the names of parameters (for `train_own`), and the targets of LoRA."""

    peak: float
    rates: dict[str, float]
    targets: list[str]


@checked
def adapt(
    model: nn.Module, options: Mapping[str, str], *, new: Collection[str] = (), targets: Collection[str] = ()
) -> Tuning:
    """Freeze what is not to be trained, add what LoRA needs, and give the rates.

    `new` are the names of the model's parts that were not trained before, such as `head`. `targets` are those of LoRA,
    by default all maps of the blocks. `ValueError` for a model without anything new of which all else is to be frozen.
    """
    tune, rank = options["tune"], number_of(options, "rank", 8)
    require(tune in TUNES, "tune", f"must be one of {TUNES}", tune)
    rule = "must be full or lora here, where the task adds nothing to the model that could be trained alone"
    require(tune != "frozen" or bool(new), "tune", rule, tune)
    parts = [model.get_submodule(name) for name in new]
    old = OLD / _width(model)
    added: list[str] = []
    match tune:
        case "full":
            model.requires_grad_(True)
        case "frozen":
            model.requires_grad_(False)
        case "lora":
            config = LoraConfig(rank=rank, alpha=2.0 * rank, **({"targets": tuple(targets)} if targets else {}))
            added, old = add_lora(model, config), min(FASTEST, ADDED * old)
    for part in parts:
        part.requires_grad_(True)
    if tune == "frozen" or not new:
        return Tuning(NEW if new else old, {}, added)
    peak = max(NEW, old)
    return Tuning(peak, {f"{name}.*": NEW / peak for name in new} | {"*": old / peak}, added)


@checked
def settle(model: nn.Module) -> None:
    """What LoRA learnt becomes part of the weights, if it was used, and nothing is frozen any more."""
    if additions_of(model):
        merge_lora(model)
    model.requires_grad_(True)


def _width(model: nn.Module) -> int:
    """That of the stream of the first block."""
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    require(len(blocks) > 0, "model", "must have at least one block", type(model).__name__)
    return len(blocks[0].feedforward_norm.weight)


# Folders --------------------------------------------------------------------------------------------------------------


@checked
class Base(NamedTuple):
    """The folder that training starts from, and whether it is Hugging Face's; `model_type` is then what it says."""

    folder: Path
    published: bool
    model_type: str | None


@checked
def base_of(options: Mapping[str, str]) -> Base:
    """The folder that `--from` names: of a saved model, of a run that made one, or of Hugging Face's, or of its Hub."""
    folder = find(options["from"])
    for place in (folder, folder / "model"):
        if (place / OURS).is_file():
            return Base(place, False, None)
        if (place / THEIRS).is_file():
            fields = read_json(place / THEIRS)
            require(isinstance(fields, dict), str(place / THEIRS), "must be a JSON object", type(fields).__name__)
            assert isinstance(fields, dict)
            return Base(place, True, model_type_of(fields))
    raise ValueError(f"--from must be a folder with {OURS} (ours) or {THEIRS} (Hugging Face's), got {str(folder)!r}")


@checked
def require_family(base: Base, kind: str, wanted: str) -> None:
    """`ValueError` unless a published folder is of a family whose models are of this kind."""
    kinds = set(FAMILIES[base.model_type].architectures.values()) if base.model_type in FAMILIES else set()
    require(kind in kinds, "--from", f"must be {wanted} for this task", f"{base.folder} ({base.model_type})")


@checked
def known_by(run: Run, model: nn.Module) -> Run:
    """The run, resumed only if it starts from the same weights: a folder may hold others by then."""
    return replace(run, recipe=dict(run.recipe) | {"from": digest(model_tensors(model))})


@checked
def all_targets(model: Model, base: Base, options: Mapping[str, str]) -> tuple[str, ...]:
    """All maps of the model for LoRA, cut as the family of the base cuts them; none unless they are asked for.

    An encoder of ours is of no family: none are named, which means all.
    """
    if options["tune"] != "lora" or (isinstance(model, Encoder | MaskedLM) and not base.published):
        return ()
    return targets_of(model, model_type=base.model_type)


@checked
def conclude(run: Run, model: Model, base: Base) -> None:
    """Save what LoRA added as the folder `adapter`, if it was used, and make it part of the model.

    With it goes the head of a model that labels tokens or finds spans. There is none for an encoder of ours, which no
    class of transformers is, and to which peft therefore could not add it.
    """
    ours = not base.published and isinstance(model, TokenClassifier | SpanFinder | MaskedLM)
    if run.is_first and additions_of(model) and not ours:
        folder = run.folder / "adapter"
        if folder.exists():
            remove_folder(folder)
        head = isinstance(model, TokenClassifier | SpanFinder)
        save_adapter(model, folder, model_type=base.model_type, base=str(base.folder), head=head)
    settle(model)
