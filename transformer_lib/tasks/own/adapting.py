"""What all recipes on own data share that start from a trained model (`--from`): what of it is trained, and how fast.

`full` trains all weights, `frozen` only what the task adds to the model, `lora` that and small additions to the maps of
the model (`nn/lora.py`). What is new learns fast; what was trained before moves slowly, the more so the wider it is.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from torch import nn

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.nn.block import Block
from transformer_lib.nn.lora import LoraConfig, add_lora, additions_of, maps_of, merge_lora
from transformer_lib.tasks.own.material import number_of

TUNES = ("full", "frozen", "lora")
NEW = 1e-3  # the highest rate of what is new
OLD = 0.04  # of trained weights, divided by the width: 5e-5 for a BERT of 768, 3e-4 for a small model of 128
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
            added, old = add_lora(model, config), ADDED * old
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
    names = [name for name, _ in maps_of(model)]
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    require(bool(names and blocks), "model", "must have blocks", type(model).__name__)
    return blocks[0].attention.to_qkv.in_features
