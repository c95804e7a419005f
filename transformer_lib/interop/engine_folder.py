"""The folder of a model for CTranslate2: written whole or not at all, and read again with its config.

Beside the engine's own files stands `about.json`, with our config and the type of the weights, and the sums of all
files, so that a folder which was cut or changed on its way is refused before the engine sees it. A cache of such
folders, as `converted` keeps it, may be deleted at any time.
"""

import json
import secrets
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from transformer_lib.checks import require, require_sizes
from transformer_lib.config import ModelConfig, Seq2SeqConfig, from_json, to_json
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import check_folder, new_folder, read_json, recorded_names
from transformer_lib.identity import digest
from transformer_lib.interop.engine_specs import specification
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.models.seq2seq import Seq2Seq

Compute: TypeAlias = Literal["float32", "bfloat16", "int8"]
COMPUTE: tuple[Compute, ...] = ("float32", "bfloat16", "int8")
FORMAT = "transformer_lib engine 1"
ABOUT = "about.json"
RULE = "must be a folder that `convert` wrote"


@checked
def convert(
    model: DecoderLM | Seq2Seq, folder: str | Path, *, compute: Compute = "float32", longest: int | None = None
) -> None:
    """Write the model for CTranslate2 as a new folder, which appears whole or not at all.

    `longest` is how many positions its table of sines has, where the config has such; by default twice `max_length`
    and 64. `ValueError` for a folder that exists, and for a model with a part that CTranslate2 has no place for.
    """
    longest = _longest(model.config) if longest is None else longest
    require_sizes(longest=longest)
    with needed():
        import ctranslate2  # noqa: F401 - said before the weights are copied
    spec = specification(model, longest=longest)
    spec.validate()
    spec.optimize(quantization=compute)
    about = {"format": FORMAT, "compute": compute, "longest": longest, "config": json.loads(to_json(model.config))}
    with new_folder(Path(folder)) as new:
        spec.save(str(new))
        (new / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@checked
def converted(model: DecoderLM | Seq2Seq, cache: str | Path, *, compute: Compute = "float32") -> Path:
    """The folder in `cache` that holds this model for CTranslate2; written if there is none of the same content."""
    with needed():
        import ctranslate2
    content = [FORMAT, ctranslate2.__version__, compute, to_json(model.config), model.state_dict()]
    folder = Path(cache) / f"{digest(content)}-{compute}"
    if not folder.is_dir():
        mine = folder.with_name(f"{folder.name}-{secrets.token_hex(8)}")  # another process may be writing it, too
        convert(model, mine, compute=compute)
        try:
            mine.rename(folder)
        except OSError:
            require(folder.is_dir(), "cache", "must be a folder that can be written", str(cache))
            return mine
    return folder


def _longest(config: ModelConfig | Seq2SeqConfig) -> int:
    sides = (config.encoder, config.decoder) if isinstance(config, Seq2SeqConfig) else (config,)
    return 2 * max(side.max_length for side in sides) + 64


@checked
def read_engine(folder: Path, kind: type) -> tuple[Any, Compute, int]:
    """The config, the type of the weights, and the length of the table of sines; `ValueError` for another folder."""
    require(folder.is_dir(), "folder", RULE, str(folder))
    check_folder(folder, recorded_names(folder))
    about = read_json(folder / ABOUT) if (folder / ABOUT).exists() else None
    require(isinstance(about, dict), "folder", RULE, str(folder))
    assert isinstance(about, dict)
    fits = about.keys() == {"format", "compute", "longest", "config"} and about["format"] == FORMAT
    require(fits, "folder", RULE, str(folder))
    config, compute, longest = from_json(json.dumps(about["config"])), about["compute"], about["longest"]
    require(isinstance(config, kind), "folder", f"must hold a model with a {kind.__name__}", type(config).__name__)
    require(compute in COMPUTE, f"{folder}: compute", f"must be one of {COMPUTE}", compute)
    require_sizes(longest=longest)
    return config, compute, longest


@checked
def open_engine(kind: Literal["Generator", "Translator"], folder: Path, compute: Compute) -> Any:
    """The engine's own object for decoders, or for encoder-decoders, on the CPU with as many threads as torch."""
    with needed():
        import ctranslate2
    able = [each for each in COMPUTE if each in ctranslate2.get_supported_compute_types("cpu")]
    require(compute in able, "compute", f"must be one of {able} on this processor", compute)
    threads = torch.get_num_threads()
    try:
        return getattr(ctranslate2, kind)(str(folder), "cpu", compute_type=compute, intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"folder {RULE}, got {str(folder)!r}: {error}") from error
