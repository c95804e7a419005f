"""Whether the weights of a folder are those that its config asks for, before a model is made of them.

Nothing is passed over in silence: a weight that is missing, unknown, of another shape, not finite, or unlike the one to
which it is tied, is a `ValueError` that lists all of them.
"""

import fnmatch
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.interop.names import Config, Family, Named
from transformer_lib.interop.shards import common_type, not_finite


@checked
def named(state: Mapping[str, Tensor], family: Family, *, drop: Collection[str] = ()) -> Named:
    """Their tensors under today's names for a model with a head; without those whose names `drop` matches."""
    known = [part for parts in family.names.values() for part in parts]
    tops = {part.split(".")[0] for part in (*known, *family.tied)}
    found = {}
    for name, tensor in state.items():
        if family.model_type == "bert":  # as its first checkpoints have it
            name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        name = name if name.split(".")[0] in tops else family.prefix + name
        if not _matches(name, drop):
            found[name] = tensor
    return found


@checked
def require_room(config: Config, family: Family, tensors: Named) -> None:
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


@checked
def tensors_for(
    tensors: Named,
    expected: Named,
    family: Family,
    config: Config,
    *,
    dtype: torch.dtype | None = None,
    unused: Collection[str] = (),
) -> Named:
    """The tensors that are expected, checked, once those are set aside that another weight or the config tells.

    `unused` are patterns of names that may stand there besides. All numbers must be finite in `dtype`, or in the type
    that holds the numbers of all.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if name in expected or not _matches(name, unused)}
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
    return tensors


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


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
