"""A trained model as a folder that one can hand on: weights, tokeniser, and what is needed to use and to score it.

`about.json` holds the task, the model's config, what the task needs besides (its own fields), the settings under which
the model was scored (`evaluation`) and what it scored (`record`). The folder is written whole or not at all, with the
sums of its files (`files.py`). Loading reads safetensors and JSON only, so it executes nothing, and it checks
everything before a model is touched: what is wrong is a `ValueError` that says where.
Left out: the state of training, which is in `training/checkpoint.py`, and quantised weights.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from transformer_lib.config import from_json, require, to_json
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.files import check_folder, new_folder, read_json
from transformer_lib.tensor_files import Named, check_finite, load_tensors, save_tensors, shapes_of
from transformer_lib.text.stored import AnyTokenizer, read_stored
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.parallel import unwrapped
from transformer_lib.training.state import check_model_tensors, check_same, model_tensors, set_model_tensors

FORMAT = "transformer_lib model 1"
ABOUT, MODEL, TOKENIZER = "about.json", "model.safetensors", "tokenizer.json"
FIELDS = ("format", "task", "config", "evaluation", "record")  # of every task
NOT_STORED = (".max_length", ".window", ".original_length")  # sizes that say nothing of the weights
STORED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Model = TypeVar("Model", bound=nn.Module)


@checked
def save_model(
    folder: str | Path,
    model: nn.Module,
    tokenizer: AnyTokenizer,
    *,
    task: str,
    about: dict[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write the new folder; `about` holds the task's own fields, and `evaluation` and `record` where there are any.

    The config is `model.config` unless `about` gives one. `dtype` stores the weights in another type: half precision
    halves the file. Raises `ValueError` if the folder exists, if `about` is not JSON, or if a weight is not finite in
    that type.
    """
    require(dtype is None or dtype in STORED, "dtype", f"must be one of {STORED} or None", dtype)
    config = getattr(unwrapped(model), "config", None)
    own = {"config": json.loads(to_json(config))} if dataclasses.is_dataclass(config) else {}
    fields = {"format": FORMAT, "task": task, "evaluation": {}, "record": {}} | own | about
    _check_fields(fields, "about")
    tensors = {name: tensor.to("cpu", dtype or tensor.dtype) for name, tensor in model_tensors(model).items()}
    check_finite(tensors, "model")
    try:
        text = json.dumps(fields, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"about must hold JSON values: {error}") from error
    with new_folder(Path(folder)) as new:
        save_tensors(new / MODEL, tensors)
        tokenizer.save(new / TOKENIZER)
        (new / ABOUT).write_text(text + "\n", encoding="utf-8")


@checked
def read_about(
    folder: str | Path, *, task: str | None = None, own_fields: Collection[str] | None = None
) -> dict[str, Any]:
    """What `about.json` says, after every file of the folder was checked against its sum.

    With `task` it must be of that task; with `own_fields` it must have these besides `FIELDS`, and no others.
    """
    check_folder(Path(folder), (ABOUT, MODEL, TOKENIZER))
    file = Path(folder) / ABOUT
    about = read_json(file)
    require(isinstance(about, dict), str(file), "must be a JSON object", type(about).__name__)
    assert isinstance(about, dict)
    _check_fields(about, str(file))
    require(task is None or about["task"] == task, f"{file}: task", f"must be {task!r}", about["task"])
    if own_fields is not None:
        expected = sorted({*FIELDS, *own_fields})
        require(sorted(about) == expected, f"{file}: fields", f"must be exactly {expected}", sorted(about))
    return about


@checked
def load_config(folder: str | Path) -> Any:
    """The config of the model in `folder`; `ValueError` if it is none that this library knows."""
    return from_json(json.dumps(read_about(folder)["config"]))


@checked
def check_sizes(folder: str | Path) -> None:
    """Raise `ValueError` unless the sizes that the config names can be those of the weights beside it.

    Told from the header of the weights alone, before anything is built: a layer has a tensor of its own, and no width
    is larger than all tensors together. A text of ten bytes could else ask for a thousand million layers.
    """
    shapes = shapes_of(Path(folder) / MODEL)
    numbers = sum(math.prod(shape) for shape in shapes.values())

    def check(part: Any, name: str) -> None:
        if isinstance(part, dict):
            for key, value in part.items():
                check(value, f"{name}.{key}")
        elif type(part) is int and not name.endswith(NOT_STORED):
            most = len(shapes) if name.endswith(".num_layers") else numbers
            require(part <= most, name, f"must be at most {most}, by what {MODEL} holds", part)

    check(read_about(folder)["config"], f"{Path(folder) / ABOUT}: config")


@checked
def load_model(folder: str | Path, build: Callable[[], Model], *, device: torch.device | str = "cpu") -> Model:
    """The model that `build` makes, with the weights of `folder`, on the device and in eval mode.

    It is built without memory first, so that a config which does not fit the file cannot ask for any.
    """
    place = check_device(device)
    check_sizes(folder)
    with torch.device("meta"):
        _check_shapes(Path(folder) / MODEL, build())
    model = build()
    load_weights_into(folder, model)
    return model.to(place).eval()


@checked
def load_weights_into(folder: str | Path, model: nn.Module) -> None:
    """Set the model's weights to those of `folder`, in the model's own type; names and shapes must be the same."""
    set_model_tensors(_read_weights(folder, model), model)


@checked
def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokeniser of the model in `folder`, one of this library."""
    read_about(folder)
    return Tokenizer.load(Path(folder) / TOKENIZER)


@checked
def load_any_tokenizer(folder: str | Path) -> AnyTokenizer:
    """As `load_tokenizer`, but it may be a published one."""
    read_about(folder)
    return read_stored(Path(folder) / TOKENIZER)


def _read_weights(folder: str | Path, model: nn.Module) -> Named:
    """The checked tensors, in the types of the model's."""
    read_about(folder)
    file = Path(folder) / MODEL
    stored = load_tensors(file)
    own = model_tensors(model)
    for name, tensor in stored.items():
        require(tensor.dtype in STORED, f"{file}: {name}", f"must have one of the types {STORED}", tensor.dtype)
    tensors = {name: tensor.to(own[name].dtype) if name in own else tensor for name, tensor in stored.items()}
    check_model_tensors(tensors, model, str(file))
    return tensors


def _check_shapes(file: Path, model: nn.Module) -> None:
    """Compare the shapes in the file with the model's, by the header of the file alone."""
    stored = {name: torch.empty(shape, device="meta") for name, shape in shapes_of(file).items()}
    own = {name: torch.empty(tensor.shape, device="meta") for name, tensor in model_tensors(model).items()}
    check_same(stored, own, str(file))


def _check_fields(about: dict[str, Any], source: str) -> None:
    missing = sorted(set(FIELDS) - set(about))
    require(not missing, f"{source}: fields", f"must include {list(FIELDS)}; missing are some", missing)
    require(about["format"] == FORMAT, f"{source}: format", f"must be {FORMAT!r}", about["format"])
    require(isinstance(about["task"], str), f"{source}: task", "must be a string", about["task"])
    for name in ("config", "evaluation", "record"):
        require(isinstance(about[name], dict), f"{source}: {name}", "must be a JSON object", about[name])
