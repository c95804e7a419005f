"""A paragraph is translated sentence by sentence, and Chinese is written in one script.

A translator of sentences that is given two drops one, or the stop between them. `sentencex` (Wikimedia) finds where
sentences end, in some 250 languages, and rather leaves two together than cuts one in the middle; `OpenCC` turns
traditional characters into simplified ones and back, by words where a character alone has two counterparts. Both are of
the extra `translate`. Left out: what one sentence tells about the next.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.tasks.candidates import Translation
from transformer_lib.tasks.opus import OpusTranslator
from transformer_lib.tasks.readable import fault_of_text, refuse_first
from transformer_lib.tasks.translation import Translator

Script = Literal["simplified", "traditional"]
CONVERSIONS: dict[Script, str] = {"simplified": "t2s", "traditional": "s2t"}
# Han, kana, their punctuation and full-width forms: no space stands beside them.
_SPACELESS = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]|[\U00020000-\U0003ffff]")


@checked
def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a text in a language given by its code, such as "en"; nothing is lost, stops and blanks neither.

    `ValueError` for a code that is none, or a lone surrogate in the text.
    """
    rule = "must be the code of a language, two or three small letters, such as 'en'"
    require(re.fullmatch("[a-z]{2,3}", language) is not None, "language", rule, language)
    fault = fault_of_text(text)
    if fault is not None:
        raise ValueError(f"text {fault}")
    with needed():
        import sentencex
    return list(sentencex.segment(language, text))


@checked
def join_sentences(sentences: Sequence[str]) -> str:
    """The sentences in a row, with a blank between two of them unless one of both is Chinese or Japanese there."""
    text = ""
    for sentence in sentences:
        tight = not text or not sentence or _SPACELESS.match(text[-1]) or _SPACELESS.match(sentence[0])
        text += sentence if tight else " " + sentence
    return text


@checked
def to_script(text: str, script: Script) -> str:
    """Chinese in one script, whichever it was in; other characters stay. `ValueError` for a lone surrogate."""
    fault = fault_of_text(text)
    if fault is not None:
        raise ValueError(f"text {fault}")
    return str(_converter(script).convert(text))


@cache
def _converter(script: Script) -> Any:
    with needed():
        from opencc import OpenCC
    return OpenCC(CONVERSIONS[script])


@checked
class Paragraph(NamedTuple):
    """What became of a text: the best translations of the whole, and of each sentence if it was split."""

    best: tuple[Translation, ...]
    sentences: tuple[tuple[str, Translation], ...] = ()


@checked
@dataclass(frozen=True)
class ParagraphTranslator:
    """A translator of sentences, to be called with texts.

    With `language` each text is split into its sentences, which are translated one by one and joined; with `script`
    what is written is turned into one script of Chinese.
    """

    translator: Translator | OpusTranslator
    language: str | None = None
    script: Script | None = None

    def __post_init__(self) -> None:
        if self.language is not None:
            split_sentences("", self.language)
        if self.script is not None:
            to_script("", self.script)

    def __call__(
        self, texts: Sequence[str], *, beams: int = 5, length_penalty: float = 1.0, n_best: int = 1, batch: int = 64
    ) -> list[Paragraph]:
        """The translations of each text, best first; of a text that is split there is one (`n_best` must be 1).

        The log-probability of the whole is the sum of its sentences'. Arguments as of `Translator.candidates`;
        `ValueError` for a text that `unreadable` names.
        """
        one = self.language is None or n_best == 1
        require(one, "n_best", "must be 1 where texts are split: sentences have no common ranks", n_best)
        refuse_first(self.unreadable(texts), "texts")
        settings = {"beams": beams, "length_penalty": length_penalty, "n_best": n_best, "batch": batch}
        parts = [self._parts(text) for text in texts]
        found = self.translator.candidates([part for each in parts for part in each], **settings)  # type: ignore[arg-type]
        rows = map(self._written, found)
        if self.language is None:
            return [Paragraph(tuple(next(rows))) for _ in texts]
        return [_joined([(part, next(rows)[0]) for part in each]) for each in parts]

    def unreadable(self, texts: Sequence[str]) -> dict[int, str]:
        """By number from 0, the texts that cannot be translated, with the reason and the number of the sentence."""
        faults = {number: fault for number, text in enumerate(texts) if (fault := fault_of_text(text))}
        parts = [[] if number in faults else self._parts(text) for number, text in enumerate(texts)]
        of_parts = self.translator.unreadable([part for each in parts for part in each])
        ends = list(accumulate(map(len, parts)))
        for place, fault in sorted(of_parts.items()):
            number = bisect_right(ends, place)
            inside = place - (ends[number] - len(parts[number])) + 1
            where = f"sentence {inside}: " if len(parts[number]) > 1 else ""
            faults.setdefault(number, where + fault)
        return faults

    def is_unsure(self, best: Iterable[Translation]) -> bool | None:
        """Whether one of these is less likely, per token, than the translator's threshold; None if it has none."""
        threshold = getattr(self.translator, "unsure_below", None)
        return None if threshold is None else any(found.per_token < threshold for found in best)

    def _parts(self, text: str) -> list[str]:
        return [text] if self.language is None else split_sentences(text, self.language)

    def _written(self, row: list[Translation]) -> list[Translation]:
        """In the script; where two become the same, the likelier stays."""
        if self.script is None:
            return row
        different: dict[str, Translation] = {}
        for found in row:
            text = to_script(found.text, self.script)
            different.setdefault(text, found._replace(text=text))
        return list(different.values())


def _joined(sentences: list[tuple[str, Translation]]) -> Paragraph:
    found = [translation for _, translation in sentences]
    text = join_sentences([each.text for each in found])
    whole = Translation(text, sum((each.log_prob for each in found), 0.0), sum(each.tokens for each in found))
    return Paragraph((whole,), tuple((source.strip(), each) for source, each in sentences))
