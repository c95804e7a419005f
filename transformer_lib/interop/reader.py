"""A `config.json` of Hugging Face's, read field by field, with nothing passed over in silence."""

import sys
from typing import Any

from transformer_lib.checks import require, require_kind
from transformer_lib.config import Activation
from transformer_lib.contract import checked
from transformer_lib.interop.generation_config import FIELDS as GENERATION

Fields = dict[str, Any]
FLOAT_MAX = sys.float_info.max

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# What a trained model computes does not depend on these.
HARMLESS = frozenset(
    [
        *("_name_or_path", "architectures", "dtype", "torch_dtype", "model_type", "transformers_version"),
        *GENERATION,  # about writing, which is for `read_generation` to account for
        "prefix",
        *("initializer_factor", "initializer_range", "init_std", "gradient_checkpointing", "pretraining_tp"),
        *("encoder_layerdrop", "decoder_layerdrop", "classifier_dropout", "classif_dropout"),
        *("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "task_specific_params"),
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
        *("output_past", "return_dict", "tokenizer_class"),
        *("num_hidden_layers", "n_ctx"),  # said again, under another name, where they are not read
    ]
)


@checked
def as_float(name: str, value: Any) -> float:
    """`ValueError` unless the value is a finite number."""
    require(type(value) in (int, float), name, "must be a number", value)
    require(-FLOAT_MAX <= value <= FLOAT_MAX, name, "must be a finite number", value)
    return float(value)


@checked
class Reader:
    """Reads the fields of a `config.json` one by one, and keeps account of what is wrong and what is left."""

    def __init__(self, fields: Fields, dropout: float | None) -> None:
        self._fields, self._dropout = fields, dropout
        self._used: set[str] = set()
        self._faults: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """The field's value, which may be None, or the default where it is absent."""
        self._used.add(name)
        return self._fields.get(name, default)

    def take(self, name: str, default: Any = None) -> Any:
        """The field's value; without a default it has to be there, and not None."""
        value = self.get(name, default)
        if value is None:
            self._faults.append(f"{name} must be given")
        return value

    def number(self, name: str, default: float) -> float:
        """A number, which JSON may have as a whole one."""
        return as_float(name, self.get(name, default))

    def expect(self, **values: Any) -> None:
        """Each field, where there, must have this value."""
        for name, value in values.items():
            require_kind(value, (bool, int, float, str, type(None)), name, "a value of JSON")
            found = self.get(name, value)
            if found != value:
                self._faults.append(f"{name} must be {value!r}, got {found!r}")

    def choose(self, name: str, default: str) -> Activation:
        """An activation of ours for theirs."""
        found = self.get(name, default)
        if found not in ACTIVATIONS:
            self._faults.append(f"{name} must be one of {sorted(ACTIVATIONS)}, got {found!r}")
        return ACTIVATIONS.get(found, "gelu")

    def dropout(self, **defaults: float) -> float:
        """Our one dropout: theirs must agree, unless the caller said which to take."""
        found = {name: self.number(name, default) for name, default in defaults.items()}
        if self._dropout is not None:
            return self._dropout
        if len(set(found.values())) > 1:
            self._faults.append(f"dropout must be one for all places, or be given by the caller, got {found}")
        return next(iter(found.values()))

    def fault(self, text: str) -> None:
        """Something that is wrong."""
        self._faults.append(text)

    def finish(self) -> None:
        """`ValueError` listing all that was wrong, or left and not harmless."""
        left = sorted(self._fields.keys() - self._used - HARMLESS)
        self._faults += [f"{name} is not honoured, got {self._fields[name]!r}" for name in left]
        self.check()

    def check(self) -> None:
        """`ValueError` listing all that was wrong so far."""
        if self._faults:
            raise ValueError("config.json cannot be honoured: " + "; ".join(self._faults))
