"""Fields that a dataclass did not have from the first, so that what was written before still says the same.

Such a field is marked, and left out while it has its default.
"""

import dataclasses
from typing import Any

from transformer_lib.checks import wrong_kind
from transformer_lib.contract import checked

LATER = {"later": True}  # metadata of such a field


@checked
def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass and what they hold, without those marked as `LATER` while they have their default.

    So what was written, or compared, before there was such a field still says the same.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise wrong_kind("value", "a dataclass", value)
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if "later" not in field.metadata or getattr(value, field.name) != field.default
    }
