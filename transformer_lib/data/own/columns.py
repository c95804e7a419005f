"""Words and tags in columns, as for CoNLL 2003: a word a line, its tag last, and an empty line after each sentence.

There are four ways to write where an entity begins (Ramshaw and Marcus 1995; Ratinov and Roth 2009), and a file does
not say which it uses. They can be told apart by all the tags of the file:

| scheme | an entity begins with | after another of its kind with | its last word has |
|:--|:--|:--|:--|
| IO | I- or the bare kind | cannot be told | I- |
| IOB1 | I- | B- | I- |
| IOB2 | B- | B- | I- |
| BILOU, IOBES | B-, alone U- or S- | the same | L- or E- |
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity
from transformer_lib.data.own.found import Fault, Found, lines_in

Scheme = Literal["IO", "IOB1", "IOB2", "BILOU"]
TAG = re.compile(r"O|([BILUSE])-(\S+)")
HEADER = "-DOCSTART-"  # of a document in the files of 2003
RENAMED = {"S": "U", "E": "L"}  # IOBES says single and end where BILOU says unit and last


class _Sentence(NamedTuple):
    line: int
    words: list[str]
    tags: list[str]
    faults: list[Fault]


@checked
def read_columns(file: Path) -> Iterator[Found | Fault]:
    """The sentences of a file, each an `Annotated` without relations.

    Columns are parted by a tab or by blanks; the first is the word and the last the tag, and what stands between, such
    as parts of speech, is passed over. Lines of `-DOCSTART-` and comments (`# id ...`) before a sentence are no words.
    The file is read twice: first for the scheme of its tags. A sentence with a line that has no tag, or with tags that
    contradict the scheme, is a fault that names the line.
    """
    scheme = scheme_of(tags for sentence in _sentences(file) if not sentence.faults for tags in [sentence.tags])
    for sentence in _sentences(file):
        if sentence.faults:
            yield from sentence.faults
            continue
        entities = entities_of(sentence.tags, scheme)
        if isinstance(entities, int):
            why = f"tag {sentence.tags[entities]!r} must not stand here, by the scheme {scheme} of the file"
            yield Fault(str(file), sentence.line + entities, why)
        else:
            yield Found(Annotated(tuple(sentence.words), entities, ()), str(file), sentence.line)


@checked
def scheme_of(sentences: Iterable[list[str]]) -> Scheme:
    """The scheme in which the tags of these sentences are written; for none of them IOB2."""
    begins, apart, letters = 0, 0, set()
    for tags in sentences:
        before = ("O", "")
        for tag in map(_parts, tags):
            letters.add(tag[0])
            # IOB1 has B- only after an entity of the same kind, IOB2 has I- only after one.
            begins += tag[0] == "I" and before[1] != tag[1]
            apart += tag[0] == "B" and before[1] != tag[1]
            before = tag
    if letters & {"L", "U"}:
        return "BILOU"
    if "B" not in letters:
        return "IO" if "I" in letters else "IOB2"
    # Where a file has both, it is IOB2 with mistakes, which are named: in IOB1 nearly every entity begins with I-.
    return "IOB1" if not apart and begins else "IOB2"


@checked
def entities_of(tags: Sequence[str], scheme: Scheme) -> tuple[Entity, ...] | int:
    """The entities that the tags mark, or the number of the first tag that the scheme does not allow there."""
    found: list[list[int | str]] = []
    before = ("O", "")
    for place, tag in enumerate(map(_parts, tags)):
        letter, kind = tag
        goes_on = before[1] == kind and before[0] not in ("O", "L", "U")
        open_before = scheme == "BILOU" and before[0] in ("B", "I")
        match letter:
            case "O" | "B" | "U" if open_before:
                return place  # what was begun has no last word
            case "I" | "L" if scheme in ("IOB2", "BILOU") and not goes_on:
                return place
            case "I" | "L" if goes_on:
                found[-1][2] = place + 1
            case "I" | "B" | "U":
                found.append([kind, place, place + 1])
        before = tag
    if scheme == "BILOU" and before[0] in ("B", "I"):
        return len(tags) - 1
    return tuple(Entity(str(kind), int(start), int(end)) for kind, start, end in found)


def _parts(tag: str) -> tuple[str, str]:
    """The letter and the kind of a tag; a bare kind counts as I."""
    if tag == "O":
        return "O", ""
    letter, dash, kind = tag.partition("-")
    if dash and letter in "BILUSE" and len(letter) == 1:
        return RENAMED.get(letter, letter), kind
    return "I", tag


def _sentences(file: Path) -> Iterator[_Sentence]:
    sentence = _Sentence(1, [], [], [])
    for number, line in lines_in(file):
        if isinstance(line, Fault):
            sentence.faults.append(line)
            continue
        columns = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        if not line.strip():
            if sentence.words or sentence.faults:
                yield sentence
            sentence = _Sentence(number + 1, [], [], [])
        elif columns[0] == HEADER or (not sentence.words and _is_comment(columns)):
            sentence = _Sentence(number + 1, [], [], sentence.faults)
        elif len(columns) < 2 or not (columns[0] and columns[-1]):
            sentence.faults.append(Fault(str(file), number, "must be a word and its tag, with a tab or blanks between"))
        else:
            sentence.words.append(columns[0])
            sentence.tags.append(columns[-1])
    if sentence.words or sentence.faults:
        yield sentence


def _is_comment(columns: list[str]) -> bool:
    return columns[0].startswith("#") and not TAG.fullmatch(columns[-1])
