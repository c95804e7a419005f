"""The labels of a classifier of Hugging Face's: `id2label` and `num_labels` of its `config.json`."""

from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked

Fields = dict[str, Any]


@checked
def labels_of(fields: Fields, rows: int) -> tuple[str, ...]:
    """The names of the `rows` labels that the head's weights have.

    Where `id2label` names another number of labels, as in some files of 2020, `num_labels` has to be the right one; the
    labels are then numbered, as they are where none has a name.
    """
    names, count = fields.get("id2label"), fields.get("num_labels")
    if isinstance(names, dict) and len(names) == rows:
        texts = all(isinstance(name, str) for name in names.values())
        whole = names.keys() == {str(i) for i in range(rows)}
        require(texts and whole, "id2label", f"must name the labels 0 to {rows - 1}", names)
        return tuple(names[str(i)] for i in range(rows))
    if names is None and count is None:
        count = 2  # which is all that they do not write down
    right = type(count) is int and count == rows
    require(right, "id2label", f"must name the {rows} labels of the weights, or num_labels count them", names or count)
    return tuple(f"LABEL_{i}" for i in range(rows))


@checked
def write_labels(labels: tuple[str, ...]) -> Fields:
    """The fields that name the labels."""
    names = {str(i): label for i, label in enumerate(labels)}
    return {"id2label": names, "label2id": {label: int(i) for i, label in names.items()}}
