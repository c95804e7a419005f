"""A published folder again, with other weights: the one that was trained on, with all that is said beside it.

Its tokenizer, its chat template, what it says about writing and its licence are copied as they are; `config.json` gets
the type in which the weights are stored, and nothing else is changed.
"""

import fnmatch
import json
from pathlib import Path

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import new_folder, read_bytes, read_json, write_bytes, write_text
from transformer_lib.interop.configs import model_type_of
from transformer_lib.interop.encoder_configs import PADDING
from transformer_lib.interop.huggingface import Model, family_at, inner_name
from transformer_lib.interop.names import to_theirs
from transformer_lib.interop.shards import FLOATS, not_finite, write_weights
from transformer_lib.models import Encoder
from transformer_lib.training.state import model_tensors

CONFIG = "config.json"
COPIED = (
    *("generation_config.json", "tokenizer.json", "*.model", "*.spm", "vocab.txt", "vocab.json", "merges.txt"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.*"),
    *("LICENSE*", "LICENCE*", "NOTICE*"),
)
MOST = 256 << 20  # bytes of one of them


@checked
def save_like(
    model: Model,
    source: str | Path,
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write the new folder as `source` is, from which `from_hf` read the model, but with the weights it has now.

    `ValueError` for a weight that is not finite in `dtype`.
    """
    source = Path(source)
    require(source.is_dir(), "source", "must be a folder", str(source))
    require(dtype in FLOATS, "dtype", f"must be one of {FLOATS}", dtype)
    fields = read_json(source / CONFIG)
    require(isinstance(fields, dict), str(source / CONFIG), "must be a JSON object", type(fields).__name__)
    assert isinstance(fields, dict)
    family = family_at(model_type_of(fields), fields.get("pad_token_id", PADDING))
    own = {inner_name(name, model): tensor for name, tensor in model_tensors(model).items()}
    tensors = {name: tensor.to("cpu", dtype) for name, tensor in to_theirs(own, family, model.config).items()}
    for name in not_finite(tensors, dtype):
        require(False, name, f"must be finite in {dtype}", "inf or nan")
    if isinstance(model, Encoder):
        tensors = {name.removeprefix(family.prefix): tensor for name, tensor in tensors.items()}
    known = {name: value for name, value in fields.items() if name not in ("dtype", "torch_dtype")}
    stored = {"torch_dtype": str(dtype).removeprefix("torch.")}
    with new_folder(Path(folder)) as new:
        write_weights(new, tensors, max_shard_bytes=max_shard_bytes)
        write_text(new / CONFIG, json.dumps(known | stored, indent=2, ensure_ascii=False) + "\n")
        for file in sorted(source.iterdir()):
            if file.is_file() and any(fnmatch.fnmatch(file.name, pattern) for pattern in COPIED):
                write_bytes(new / file.name, read_bytes(file, most=MOST))
