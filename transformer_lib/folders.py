"""One way in and one way out for models that work: a folder, whatever its task is and whoever wrote it.

Ours say their task in `about.json` (`tasks.saved`), those of Hugging Face's their family in `config.json`. What comes
back is called with a text: a `Writer` goes on with it, a `Translator` translates it, an `EntityRelationExtractor` finds
names and relations in it, a `QuestionAnswerer` answers from it, a `PretrainedEncoder` guesses what is hidden in it.
Each has its `model` or `reader`, and its `tokenizer`.

A folder of Marian's, such as OPUS-MT's, gives an `OpusTranslator`, and an encoder of Hugging Face's what its head is
for: an `EntityTagger` where it labels tokens, a `QuestionAnswerer` where it finds spans, a `PretrainedEncoder` else.

Left out: heads that label whole texts, and writing a folder of Marian's or of a tagger.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from transformer_lib.checks import require, require_kind, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.files import read_json

if TYPE_CHECKING:
    from transformer_lib.tasks.encoder import PretrainedEncoder
    from transformer_lib.tasks.entity_tagger import EntityTagger
    from transformer_lib.tasks.extraction import EntityRelationExtractor
    from transformer_lib.tasks.language_model import Writer
    from transformer_lib.tasks.opus import OpusTranslator
    from transformer_lib.tasks.question_answering import QuestionAnswerer
    from transformer_lib.tasks.translation import Translator

    Ours: TypeAlias = Writer | Translator | EntityRelationExtractor | QuestionAnswerer | PretrainedEncoder
    Tool: TypeAlias = Ours | OpusTranslator | EntityTagger

OURS, THEIRS = "about.json", "config.json"
ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta")  # of Hugging Face's; in their first years unnamed


@checked
def load(folder: str | Path, *, device: torch.device | str = "cpu") -> "Tool":
    """The model in the folder with its tokenizer, ready to be called; `ValueError` for anything else.

    The folder that `train --out` was given does as well: the model is in `model` there.
    """
    folder, device = Path(folder), check_device(device)
    require(folder.is_dir(), "folder", "must be a folder", str(folder))
    folder = model_folder(folder)
    found = [name for name in (OURS, THEIRS) if (folder / name).exists()]
    require(bool(found), "folder", f"must hold {OURS} (ours) or {THEIRS} (Hugging Face's)", str(folder))
    # Each is imported where it is needed: some want packages that `import transformer_lib` does without.
    from transformer_lib.tasks.language_model import Writer

    if found[0] == THEIRS:
        config = read_json(folder / THEIRS)
        if isinstance(config, dict) and config.get("model_type") == "marian":
            from transformer_lib.tasks.opus import OpusTranslator

            return OpusTranslator.from_hf(folder, device=device)
        if isinstance(config, dict) and config.get("model_type", "bert") in ENCODERS:
            from transformer_lib.interop.families import class_of

            match class_of(config):
                case "TokenClassifier":
                    from transformer_lib.tasks.entity_tagger import EntityTagger

                    return EntityTagger.from_hf(folder, device=device)
                case "SpanFinder":
                    from transformer_lib.tasks.question_answering import QuestionAnswerer

                    return QuestionAnswerer.from_hf(folder, device=device)
            from transformer_lib.tasks.encoder import PretrainedEncoder

            return PretrainedEncoder.from_hf(folder, device=device)
        return Writer.from_hf(folder, device=device)
    from transformer_lib.tasks.saved import read_about

    match read_about(folder)["task"]:
        case "language model":
            return Writer.load(folder, device=device)
        case "translation":
            from transformer_lib.tasks.translation import Translator

            return Translator.load(folder, device=device)
        case "extraction":
            from transformer_lib.tasks.extraction import EntityRelationExtractor

            return EntityRelationExtractor.load(folder, device=device)
        case "question answering":
            from transformer_lib.tasks.question_answering import QuestionAnswerer

            return QuestionAnswerer.load(folder, device=device)
        case "masked text":
            from transformer_lib.tasks.encoder import PretrainedEncoder

            return PretrainedEncoder.load(folder, device=device)
        case task:
            tasks = ("language model", "translation", "extraction", "question answering", "masked text")
            raise ValueError(f"{folder / OURS}: task must be one of {', '.join(tasks)}, got {task!r}")


@checked
def model_folder(folder: Path) -> Path:
    """The folder of a saved model: itself, or `model` in it, where `train --out` puts it."""
    inner = folder / "model"
    return inner if not _is_model(folder) and _is_model(inner) else folder


def _is_model(folder: Path) -> bool:
    return any((folder / name).exists() for name in (OURS, THEIRS))


@checked
def save(tool: object, folder: str | Path, *, form: Literal["own", "hugging face"] = "own") -> None:
    """Write the new folder, from which `load` gives the same again; it appears whole or not at all.

    `form="hugging face"` writes a language model for transformers' `from_pretrained`; their config has room for one
    token that ends a text, and for none that is forbidden.
    """
    from transformer_lib.tasks.encoder import PretrainedEncoder
    from transformer_lib.tasks.extraction import EntityRelationExtractor
    from transformer_lib.tasks.language_model import Writer
    from transformer_lib.tasks.question_answering import QuestionAnswerer
    from transformer_lib.tasks.translation import Translator

    if not isinstance(tool, Writer | Translator | EntityRelationExtractor | QuestionAnswerer | PretrainedEncoder):
        raise wrong_kind("tool", "what `load` gives", tool)
    if form == "own":
        tool.save(folder)
        return
    from transformer_lib.interop.huggingface import to_hf
    from transformer_lib.text.tokenizer import Tokenizer

    require(isinstance(tool, Writer), "tool", "must be a Writer to be written in this form", type(tool).__name__)
    assert isinstance(tool, Writer)
    require_kind(tool.tokenizer, Tokenizer, "tokenizer", "a Tokenizer, to be written in this form")
    assert isinstance(tool.tokenizer, Tokenizer)
    require(len(tool.stop_ids) <= 1, "stop_ids", "must be one token at most in this form", tool.stop_ids)
    require(not tool.forbidden_ids, "forbidden_ids", "must be none in this form", tool.forbidden_ids)
    ids = {"eos_token_id": tool.stop_ids[0]} if tool.stop_ids else {}
    to_hf(tool.model, folder, tokenizer=tool.tokenizer, token_ids=ids)
