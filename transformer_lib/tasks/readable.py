"""Why a model cannot read a text, found before any text is read; so one bad text need not cost the others.

Left out: what a task says about its own texts, such as that a question must not be empty.
"""

from collections.abc import Sequence

from transformer_lib.contract import checked

# No vocabulary spells this much by a token on average. A longer text is not even cut into tokens: with 10 million
# characters that takes two gigabytes.
CHARACTERS_PER_TOKEN = 64


@checked
def fault_of_text(text: str, *, tokens: int | None = None) -> str | None:
    """Why this is no text, or one that cannot have at most `tokens` tokens; None if nothing is wrong with it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"must not hold a lone surrogate, got {text[error.start]!r} at index {error.start}"
    if tokens is not None and len(text) > CHARACTERS_PER_TOKEN * tokens:
        most = CHARACTERS_PER_TOKEN * tokens
        return f"must have at most {most} characters for a model that reads {tokens} tokens, got {len(text)}"
    return None


@checked
def faults_of_sentences(sentences: Sequence[str | Sequence[str]]) -> dict[int, str]:
    """By number from 0, the sentences, texts or lists of words, that cannot be read, with the reason."""
    faults: dict[int, str] = {}
    for number, sentence in enumerate(sentences):
        fault = fault_of_text(sentence if isinstance(sentence, str) else " ".join(sentence))
        if not isinstance(sentence, str) and "" in sentence:
            fault = f"must not hold an empty word, got one at index {list(sentence).index('')}"
        if fault is not None:
            faults[number] = fault
    return faults


@checked
def fault_of_length(ids: list[int], most: int, what: str = "tokens") -> str | None:
    """Why a text of these tokens is too long; None if it is not."""
    return None if len(ids) <= most else f"must have at most {most} {what}, got {len(ids)}"


@checked
def refuse_first(faults: dict[int, str], field: str) -> None:
    """Raise `ValueError` naming the first of the faults, if there are any: `texts[3] must ...`."""
    if faults:
        first = min(faults)
        raise ValueError(f"{field}[{first}] {faults[first]}")
