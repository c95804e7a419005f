"""Packages that only some uses need, and the extra of `pip install` that brings each.

`import transformer_lib` wants PyTorch, NumPy and jaxtyping alone. Whatever else is missing is missed where it is
needed, and then the message says what to install.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformer_lib.contract import checked

EXTRAS = {
    "ctranslate2": "engines",
    "filelock": "train",
    "huggingface_hub": "hf",
    "jinja2": "hf",
    "keras": "keras",
    "matplotlib": "plot",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "opencc": "translate",
    "regex": "tasks",
    "sacrebleu": "tasks",
    "safetensors": "train",
    "sentencepiece": "hf",
    "sentencex": "translate",
    "tensorflow": "keras",
    "tokenizers": "tasks",
    "tqdm": "train",
    "triton": "triton",
}


@checked
def lacking(name: str) -> str:
    """What to say where the package of this name is not installed."""
    extra = EXTRAS.get(name.partition(".")[0])
    how = f'pip install "transformer_lib[{extra}]"' if extra else "install it with pip"
    return f"{name} is needed for this: {how}"


@contextmanager
def needed() -> Iterator[None]:
    """A block that imports packages of an extra; a `ModuleNotFoundError` in it says which extra that is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRAS:
            raise
        raise ModuleNotFoundError(lacking(error.name), name=error.name) from error
