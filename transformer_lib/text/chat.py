"""A conversation as the one text that a model continues: the chat template of a published folder, rendered.

Each model was trained on conversations written in one form, with its own signs around each turn. The folder says the
form as a program in the language of Jinja, in `chat_template.jinja` or as `chat_template` of `tokenizer_config.json`.
It is run as transformers runs it: in a sandbox, with blocks trimmed, `break` and `continue`, and the functions
`raise_exception` and `strftime_now`. A stranger wrote it, so what it may need is bounded (`sandbox`).

What a person wrote never becomes a special token, though it hold the name of one: such a name is marked before the
template runs, and encoded as the text that it is. Left out: images and sound, and the mask of the assistant's tokens.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer_lib.checks import require, shown, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.files import read_text
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.token_config import FILE, read_token_config
from transformer_lib.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformer_lib.text.sandbox import Program

JINJA = "chat_template.jinja"
MOST_TEMPLATE = 1 << 20  # characters; the longest published have 30,000
DEEPEST = 64  # lists within lists of what a caller gives
START, END = "\U000f0000", "\U000f0001"  # around the name of a special token that a person wrote

Message = Mapping[str, Any]
Values = Sequence[Mapping[str, Any]]


@checked
@dataclass(frozen=True)
class ChatTemplate:
    """The form of a model's conversations: call it with messages, and it gives the text to continue.

    `tokens` are texts that it may ask for, such as `bos_token`. `name` says in messages where it comes from.
    `ValueError` if it is no template.
    """

    source: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    name: str = "chat_template"

    def __post_init__(self) -> None:
        length = len(self.source)
        require(length <= MOST_TEMPLATE, self.name, f"must have at most {MOST_TEMPLATE} characters", length)
        _ = self._program

    def __call__(
        self,
        messages: Values,
        *,
        tools: Values | None = None,
        documents: Values | None = None,
        prompt: bool = True,
        **more: Any,
    ) -> str:
        """The conversation as a text, which with `prompt` ends where the assistant's next turn begins.

        A message has a `role` (`system`, `user`, `assistant`, ...) and most often a `content`. `tools` are descriptions
        of functions as JSON schemas, `documents` have a `title` and a `text`; whether a template uses them, and what it
        takes beside them (`more`, such as `enable_thinking`), is its own affair. `ValueError` for messages that it
        refuses, and if it fails, or would need too much.
        """
        values = {"messages": messages, "tools": tools, "documents": documents, **more}
        return self._program.render(self._given(_plain(values, "messages"), prompt))

    def encode(
        self,
        tokenizer: Tokenizer | SentencePiece,
        messages: Values,
        *,
        tools: Values | None = None,
        documents: Values | None = None,
        prompt: bool = True,
        **more: Any,
    ) -> list[int]:
        """The ids of that text, in which the special tokens are the template's; what a person wrote gives none."""
        values = _plain({"messages": messages, "tools": tools, "documents": documents, **more}, "messages")
        names = sorted(tokenizer.special_tokens, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, names)) or "(?!)")
        text = self._program.render(self._given(_marked(values, pattern), prompt))
        # Every second part is the name of a special token that a person wrote.
        parts = re.split(f"{START}({pattern.pattern}){END}", text)
        ids = tokenizer.parse(_unmarked(parts[0]))
        for number, part in enumerate(parts[1:], start=1):
            part = _unmarked(part)
            ids += tokenizer.inside(part, parse=number % 2 == 0) if part else []
        return ids

    def _given(self, values: dict[str, Any], prompt: bool) -> dict[str, Any]:
        # As in transformers, a message lacks what it has as null: templates look for what is there.
        messages = [{name: value for name, value in each.items() if value is not None} for each in values["messages"]]
        require(len(messages) > 0, "messages", "must not be empty", messages)
        for number, message in enumerate(messages):
            role = message.get("role")
            require(isinstance(role, str), f"messages[{number}]", "must have a role, as a text", role)
        return {**self.tokens, **values, "messages": messages, "add_generation_prompt": prompt}

    @cached_property
    def _program(self) -> "Program":
        try:
            from transformer_lib.text.sandbox import Program
        except ModuleNotFoundError as error:
            needed = 'jinja2 is needed for a chat: pip install "transformer_lib[hf]"'
            raise ModuleNotFoundError(needed, name="jinja2") from error
        return Program(self.source, self.name)


@checked
def read_chat_template(folder: str | Path, *, variant: str = "default") -> ChatTemplate:
    """The template of a folder; `ValueError` if it has none. Where there are several, `variant` names one."""
    folder = Path(folder)
    config = read_token_config(folder)
    file = folder / JINJA
    if file.is_file():
        return ChatTemplate(read_text(file), config.named, str(file))
    name, found = f"{folder / FILE}: chat_template", config.fields.get("chat_template")
    if isinstance(found, list):
        several = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        require(variant in several, name, f"must be one of {list(several)}", variant)
        found = several[variant]
    if found is None:
        raise ValueError(f"folder must hold {JINJA}, or a chat_template in {FILE}, got {str(folder)!r}")
    require(isinstance(found, str), name, "must be a text", found)
    return ChatTemplate(str(found), config.named, name)


# What a person gives --------------------------------------------------------------------------------------------------


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """A copy made of what JSON has, so that a template sees no other objects."""
    require(depth <= DEEPEST, name, f"must have at most {DEEPEST} lists within each other", "more")
    match value:
        case None | bool():
            return value
        case str():
            _check_text(value, name)
            return str(value)
        case int() | float():
            require(math.isfinite(value), name, "must hold finite numbers", value)
            return value
        case Mapping():
            wrong = next((key for key in value if not isinstance(key, str)), None)
            require(wrong is None, name, "must have texts as names", wrong)
            return {str(key): _plain(each, key if depth == 0 else name, depth + 1) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each, name, depth + 1) for each in value]
    raise wrong_kind(name, "made of what JSON has", value)


def _check_text(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must not hold a lone surrogate, got {shown(text[error.start])}") from None


def _marked(value: Any, names: re.Pattern[str]) -> Any:
    """The value with marks around each name of a special token; marks that it has itself are taken out."""
    match value:
        case str():
            return names.sub(f"{START}\\g<0>{END}", _unmarked(value))
        case dict():
            return {key: _marked(each, names) for key, each in value.items()}
        case list():
            return [_marked(each, names) for each in value]
    return value


def _unmarked(text: str) -> str:
    return text.replace(START, "").replace(END, "")
