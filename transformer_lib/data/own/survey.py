"""What is in a file of examples: how many and how long, and what is odd enough to be looked at, by line.

Nothing here is refused; that is the readers' business. What is counted per example takes a few bytes, so that millions
can be gone through.
"""

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Chat, Pair, Question
from transformer_lib.data.own.found import Fault, Found
from transformer_lib.data.own.splits import key_of, unshared

SHOWN = 5  # lines that are named of each oddity
RARE = 5  # examples of a kind below which it can hardly be learned
UNEVEN = 3.0  # times the usual ratio of lengths of source and target, from which on a pair is suspicious
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MARKUP = re.compile(r"&(?:[a-z]+|#\d+);|</?[a-z]+[^<>]*>")


@checked
class Survey:
    """Counts what it is shown: `add` every example and fault, then take the `report`."""

    def __init__(self) -> None:
        self.examples = 0
        self.faults: list[Fault] = []
        self.keys: set[int] = set()  # of what must not stand in another split
        self._whole: dict[int, int] = {}  # key of an input -> key of what is said of it
        self._lengths: dict[str, array[int]] = {}
        self._ratios, self._places, self._files = array("f"), array("q"), Counter[str]()  # a file, its pairs so far
        self._counts: dict[str, Counter[str]] = {}
        self._odd: dict[str, list[str]] = {}
        self._times: Counter[str] = Counter()

    def add(self, found: Found | Fault) -> None:
        """Count one example, or keep one fault."""
        if isinstance(found, Fault):
            self.faults.append(found)
            return
        self.examples += 1
        example = found.example
        self.keys.add(key_of(unshared(example)))
        for side, text in _sides(example).items():
            self._lengths.setdefault(f"words of {side}", array("q")).append(len(text.split()))
            self._lengths.setdefault(f"characters of {side}", array("q")).append(len(text))
            for what in _oddities(text):
                self._note(f"{what} in {side}", found)
        for name, kind in _counted(example):
            self._counts.setdefault(name, Counter())[kind] += 1
        self._compare(found)

    def report(self) -> dict[str, Any]:
        """All that was counted, as JSON values; `odd` names the first lines of each oddity."""
        self._judge_ratios()
        for name, counts in self._counts.items():
            for kind, count in sorted(counts.items()):
                if count < RARE and name != "questions":
                    self._times[f"{name} of the kind {kind!r}: only {count}"] = count
        odd = [
            {"what": what, "times": times, "lines": self._odd.get(what, [])}
            for what, times in sorted(self._times.items(), key=lambda item: -item[1])
        ]
        return {
            "examples": self.examples,
            "faults": [fault._asdict() for fault in self.faults],
            "lengths": {name: _quantiles(values) for name, values in self._lengths.items()},
            "counts": {name: dict(counts.most_common()) for name, counts in self._counts.items()},
            "odd": odd,
        }

    def _note(self, what: str, found: Found) -> None:
        self._times[what] += 1
        lines = self._odd.setdefault(what, [])
        if len(lines) < SHOWN:
            lines.append(f"{found.file}, line {found.line}")

    def _compare(self, found: Found) -> None:
        """Look for examples that stand there twice, or that contradict one another."""
        asked, said = _question_and_answer(found.example)
        asked_key, said_key = key_of(asked), key_of(said)
        if asked_key not in self._whole:
            self._whole[asked_key] = said_key
        elif self._whole[asked_key] == said_key:
            self._note("an example that stands there already", found)
        else:
            self._note("the same input as before with another answer", found)
        if isinstance(found.example, Pair):
            source, target = found.example
            self._ratios.append(len(target) / len(source))
            self._places.append(found.line)
            self._files[found.file] += 1
            if source == target:
                self._note("a translation that is its source", found)

    def _judge_ratios(self) -> None:
        if not self._ratios:
            return
        ratios = np.asarray(self._ratios) / np.median(self._ratios)
        uneven = np.flatnonzero((ratios > UNEVEN) | (ratios < 1 / UNEVEN))
        what = f"a translation over {UNEVEN:g} times longer or shorter than usual"
        if len(uneven):
            self._times[what] = len(uneven)
            files = list(self._files.elements()) if len(self._files) > 1 else list(self._files) * len(ratios)
            self._odd[what] = [f"{files[place]}, line {self._places[place]}" for place in uneven[:SHOWN]]


def _sides(example: Any) -> dict[str, str]:
    match example:
        case Pair(source, target):
            return {"source": source, "target": target}
        case Annotated(words):
            return {"sentence": " ".join(words)}
        case Question():
            return {"passage": example.context, "question": example.question}
        case Chat():
            return {"user": example.said("user"), "assistant": example.said("assistant")}
        case _:
            return {"text": example}


def _question_and_answer(example: Any) -> tuple[str, str]:
    match example:
        case Pair(source, target):
            return source, target
        case Annotated(words, entities, relations):
            return " ".join(words), repr((entities, relations))
        case Question():
            return f"{example.context}\0{example.question}", repr(example.answers)
        case Chat():
            return example.said("system", "user"), example.said("assistant")
        case _:
            return example, ""


def _counted(example: Any) -> Iterator[tuple[str, str]]:
    match example:
        case Annotated(_, entities, relations):
            yield from (("entities", entity.kind) for entity in entities)
            yield from (("relations", relation.kind) for relation in relations)
        case Question():
            yield "questions", "with an answer" if example.answers else "without one"
        case Chat(messages):
            yield from (("messages", str(message["role"])) for message in messages)


def _oddities(text: str) -> Iterator[str]:
    if "\ufffd" in text:
        yield "U+FFFD, which stands where decoding went wrong,"
    if CONTROL.search(text):
        yield "control characters"
    if not unicodedata.is_normalized("NFC", text):
        yield "letters with their accents as characters of their own (not NFC)"
    if MARKUP.search(text):
        yield "HTML"


def _quantiles(values: "array[int]") -> dict[str, int]:
    marks = np.quantile(np.asarray(values), [0, 0.5, 0.95, 1], method="lower")
    return dict(zip(("least", "median", "95 %", "most"), map(int, marks), strict=True))
