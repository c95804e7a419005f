"""What a published folder says of its tokens, beside the vocabulary: which are special, and how texts are prepared.

It stands in `tokenizer_config.json`; in older folders the special tokens stand in `special_tokens_map.json`, and those
that came after the vocabulary in `added_tokens.json`. Of which kind the tokenizer is says `tokenizer_class`, else the
`model_type` of `config.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer_lib.checks import require, shown
from transformer_lib.contract import checked
from transformer_lib.files import read_json

FILE, MAP, ADDED, CONFIG = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
SEVERAL = ("additional_special_tokens", "extra_special_tokens")
KIND_OF_MODEL = {
    **dict.fromkeys(("bert", "distilbert"), "Bert"),
    **dict.fromkeys(("llama", "mistral"), "Llama"),
    "gpt2": "GPT2",
    "marian": "Marian",
    "qwen2": "Qwen2",
    "qwen3": "Qwen2",
    "roberta": "Roberta",
    "t5": "T5",
    "xlm-roberta": "XLMRoberta",
}
MOST_IDS = 1 << 24


@checked
@dataclass(frozen=True)
class TokenConfig:
    """The fields of a folder that concern tokens.

    `kind` is the name of transformers' class without "Tokenizer" and "Fast", or "" if nothing says it; `named` holds
    the special tokens that have a role, such as `bos_token`; `special` are all of them; `added` are the tokens that the
    folder gives an id of their own; `fields` are those of `tokenizer_config.json`.
    """

    kind: str = ""
    named: Mapping[str, str] = field(default_factory=dict)
    special: tuple[str, ...] = ()
    added: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def flag(self, name: str, default: bool) -> bool:
        """A field that is true or false, or the default where the file does not say it."""
        value = self.stated(name)
        return default if value is None else value

    def stated(self, name: str) -> bool | None:
        """A field that is true or false, or None where the file does not say it."""
        value = self.fields.get(name)
        require(value is None or isinstance(value, bool), f"{FILE}: {name}", "must be true or false", value)
        return value


@checked
def read_token_config(folder: str | Path) -> TokenConfig:
    """What the folder says; `ValueError` for what cannot be meant. No file need be there."""
    folder = Path(folder)
    fields, older, later = (_object(folder / name) for name in (FILE, MAP, ADDED))
    both = older | {name: value for name, value in fields.items() if value is not None}
    named = {name: _content(both[name], name) for name in NAMED if both.get(name) is not None}
    special = [*named.values(), *(_content(value, name) for name in SEVERAL for value in _several(both, name))]
    added = {text: _id(token, ADDED) for text, token in later.items()}
    decoder = fields.get("added_tokens_decoder") or {}
    require(isinstance(decoder, dict), f"{FILE}: added_tokens_decoder", "must be an object", decoder)
    for number, value in decoder.items():
        text = _content(value, "added_tokens_decoder")
        added[text] = _id(int(number) if number.isdecimal() and len(number) < 10 else number, FILE)
        if isinstance(value, dict) and value.get("special"):
            special.append(text)
    require(len(set(added.values())) == len(added), str(folder), "must have one added token for each id", added)
    return TokenConfig(_kind(fields, folder), named, tuple(dict.fromkeys(special)), added, fields)


def _kind(fields: dict[str, Any], folder: Path) -> str:
    name = fields.get("tokenizer_class")
    if name is None:
        model = _object(folder / CONFIG).get("model_type")
        return KIND_OF_MODEL.get(model, "") if isinstance(model, str) else ""
    require(isinstance(name, str), f"{FILE}: tokenizer_class", "must be a name", name)
    return str(name).removesuffix("Fast").removesuffix("Tokenizer")


def _several(fields: dict[str, Any], name: str) -> list[Any]:
    found = fields.get(name) or []
    found = list(found.values()) if isinstance(found, dict) else found
    require(isinstance(found, list), f"{FILE}: {name}", "must be a list", found)
    return list(found)


def _content(value: object, name: str) -> str:
    """The text of a token, which may be alone or with properties."""
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text:
        raise ValueError(f"{FILE}: {name} must be a text, or an object with one as its content, got {shown(value)}")
    return text


def _id(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value < MOST_IDS:
        raise ValueError(f"{name} must have ids from 0 to {MOST_IDS - 1}, got {shown(value)}")
    return value


def _object(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    fields = read_json(file)
    if not isinstance(fields, dict):
        raise ValueError(f"{file} must be a JSON object, got {shown(fields)}")
    return fields
