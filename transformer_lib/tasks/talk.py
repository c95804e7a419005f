"""A published chat model that answers: a `Writer` with its chat template.

A conversation is a list of messages, each with a `role` and a `content`; the answer is the next message of the
assistant. Nothing of a conversation is kept here: whoever talks adds the answer to the list. Left out: carrying the
cache on from one turn to the next, and calling the functions that a model asks for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transformer_lib.contract import checked
from transformer_lib.tasks.language_model import Writer
from transformer_lib.text.chat import ChatTemplate, read_chat_template

Messages = Sequence[Mapping[str, Any]]


@checked
@dataclass(frozen=True)
class Talker:
    """Call it with the messages so far, and it gives the assistant's next one.

    `writer` continues the text that `template` makes of the messages; a turn ends where its authors say.
    """

    writer: Writer
    template: ChatTemplate

    @classmethod
    def from_hf(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        drop: Collection[str] = (),
        ignore: Collection[str] = (),
        device: torch.device | str = "cpu",
    ) -> "Talker":
        """The model, tokenizer and chat template of a folder that transformers wrote; arguments as of `Writer`."""
        template = read_chat_template(folder)  # before the weights, which may be large
        return cls(Writer.from_hf(folder, dtype=dtype, drop=drop, ignore=ignore, device=device), template)

    def __call__(
        self,
        messages: Messages,
        *,
        tools: Messages | None = None,
        documents: Messages | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.8,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The content of the next message, without the tokens that end it; other arguments as of `Writer`.

        `ValueError` for messages that the template refuses, or that leave no room for an answer.
        """
        ids = self.template.encode(self.writer.tokenizer, messages, tools=tools, documents=documents)
        fault = self.writer.fault_of(ids, max_new_tokens)
        if fault is not None:
            raise ValueError(f"messages {fault}")
        new = max_new_tokens
        written = self.writer.write(ids, max_new_tokens=new, temperature=temperature, top_p=top_p, seed=seed)
        return self.writer.spell(written)
