"""Which tokens of a conversation the assistant wrote: what a chat model is to learn, and nothing else.

The template writes a conversation as one text. What it writes of the messages before an answer, with the beginning of
the assistant's turn, is what the model is given when it is to answer; what follows there, up to the token that ends the
turn, is what it has to write. So the place of an answer is found by rendering the conversation twice, to before it and
to behind it, whatever the template is like.

Left out: templates that write an answer otherwise once it is read than as it was written, but for those that shorten
what came before (as Qwen3's do with its thoughts): each of their answers becomes an example of its own.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.text.chat import ChatTemplate
from transformer_lib.text.pieces import SentencePiece
from transformer_lib.text.tokenizer import Tokenizer


@checked
class Spoken(NamedTuple):
    """The tokens of a conversation, or of one up to an answer; `learned` says of each if the assistant wrote it."""

    ids: list[int]
    learned: list[bool]


@checked
def spoken(
    template: ChatTemplate,
    tokenizer: Tokenizer | SentencePiece,
    messages: Sequence[Mapping[str, Any]],
    *,
    ends: Collection[int] = (),
) -> list[Spoken]:
    """The conversation as one example; as one for each answer, where the template changes what came before.

    `ends` are the tokens that end a turn, of which the first behind an answer is its last. A token that is partly of
    the answer counts to it. `ValueError` for messages that the template refuses, or without an answer.
    """
    places = [place for place, message in enumerate(messages) if message.get("role") == "assistant" and place > 0]
    require(len(places) > 0, "messages", "must have an answer of the assistant", len(messages))
    answers = [_answer(template, tokenizer, list(messages), place, ends) for place in places]
    whole = template.encode(tokenizer, messages, prompt=False)
    if all(whole[:stop] == ids[:stop] for ids, _, stop in answers):
        spans = [range(start, stop) for _, start, stop in answers]
        last = spans[-1].stop
        return [Spoken(whole[:last], [any(i in span for span in spans) for i in range(last)])]
    return [Spoken(ids[:stop], [i >= start for i in range(stop)]) for ids, start, stop in answers]


def _answer(
    template: ChatTemplate,
    tokenizer: Tokenizer | SentencePiece,
    messages: list[Mapping[str, Any]],
    place: int,
    ends: Collection[int],
) -> tuple[list[int], int, int]:
    """The ids up to behind an answer, and where it starts and stops in them."""
    before = template.encode(tokenizer, messages[:place], prompt=True)
    ids = template.encode(tokenizer, messages[: place + 1], prompt=False)
    pairs = zip(before, ids, strict=False)
    start = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(before), len(ids)))
    stop = next((i + 1 for i in range(start, len(ids)) if ids[i] in ends), len(ids))
    rule = "must be written by the template, and something before it"
    require(0 < start < stop, f"messages[{place}]", rule, messages[place])
    return ids, start, stop
