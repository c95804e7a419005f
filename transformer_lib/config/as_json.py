"""A config as JSON text and back: exact inverses."""

import dataclasses
import inspect
import json
from typing import Any, get_args

from transformer_lib.checks import require, wrong_kind
from transformer_lib.config.experts import ClampedSwish, Groups, SharedExpert
from transformer_lib.config.model import FeedForwardConfig, LayerConfig, Mixer, ModelConfig, Norm, Seq2SeqConfig
from transformer_lib.config.positions import Positions
from transformer_lib.config.scaling import RopeScaling
from transformer_lib.contract import checked
from transformer_lib.later import fields_of

_PARTS = (
    ModelConfig
    | Seq2SeqConfig
    | LayerConfig
    | Mixer
    | FeedForwardConfig
    | ClampedSwish
    | Groups
    | SharedExpert
    | Positions
    | Norm
    | RopeScaling
)
_TYPES = {kind.__name__: kind for kind in get_args(_PARTS)}


@checked
def to_json(config: Any) -> str:
    """The config as JSON text; each part carries its type's name, so that `from_json` can rebuild it exactly.

    A field that configs did not have from the first is left out while it has its default.
    Another dataclass is written, too, if its fields are JSON values, but not rebuilt.
    """
    if not dataclasses.is_dataclass(config) or inspect.isclass(config):
        raise wrong_kind("config", "a config", config)
    try:
        return json.dumps(_to_tagged(config), indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"config must hold JSON values: {error}") from error


@checked
def from_json(text: str) -> Any:
    """Rebuild what `to_json` wrote; a field with a default may be missing, so that older files can be read.

    Whatever is wrong within the text is a `ValueError`: no JSON, an unknown type or field, a missing field, a value
    that the field refuses.
    """
    try:
        tagged = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # json recurses into what is nested
        raise ValueError(f"config must be JSON text: {error}") from error
    require(isinstance(tagged, dict), "config", "must be a JSON object", tagged)
    try:
        return _from_tagged(tagged)
    except (TypeError, RecursionError) as error:  # here a wrong kind is a wrong value of the text
        raise ValueError(f"config must be what to_json writes: {error}") from error


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _to_tagged(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_tagged(part) for part in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {"type": type(value).__name__} | {name: _to_tagged(part) for name, part in fields_of(value).items()}


def _from_tagged(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_tagged(part) for part in value)
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    require(isinstance(name, str) and name in _TYPES, "type", f"must be one of {sorted(_TYPES)}", name)
    kind = _TYPES[str(name)]
    fields = {key: _from_tagged(part) for key, part in value.items() if key != "type"}
    known = {field.name for field in dataclasses.fields(kind)}
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    rule = f"must be among {sorted(known)}, with none missing of {sorted(needed)}"
    require(needed <= fields.keys() <= known, f"fields of {name}", rule, sorted(fields))
    return kind(**fields)
