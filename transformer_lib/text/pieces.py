"""Text to ids and back by a published model of SentencePiece: Llama's, T5's, Marian's.

Such a model writes spaces as `▁` and knows texts, not words: "Hello world" becomes `▁Hello ▁world`. Which pieces these
are is for a Unigram model (the most likely cut) or for merges (BPE) to say; what it does not know becomes its bytes, or
one id for the unknown. All this is done by the library `sentencepiece`, whose ids are the reference.

A model may have ids other than those of the file: Marian's stand in a `vocab.json` that both its languages share.

Kudo (2018), arXiv:1804.10959; Kudo and Richardson (2018), arXiv:1808.06226. Left out: sampling of cuts.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import write_text
from transformer_lib.text.bpe import check_ids, check_text, unfinished
from transformer_lib.text.frame import Cut, Frame, character_spans
from transformer_lib.text.piece_file import CONTROL, UNKNOWN, PieceFile, piece_file_of, pieces_of_text, read_piece_file

KIND = "SentencePiece"
BYTE = re.compile("<0x([0-9A-F]{2})>")
MOST_IDS = 1 << 24


@checked
class SentencePiece:
    """Text to ids and back, with the same methods as `Tokenizer`.

    `ids` says which id each piece has, where that is not its place in the file; pieces without one are `unknown`.
    `before` and `after` are the special tokens around a text that `encode(..., special=True)` adds. `special_tokens`
    are the file's control pieces and those of `names`, which are special beside them, each with its id. A text may
    begin with one of `openings`, which stands for its own id (`>>fra<<` asks a Marian for French). `name` says in
    messages which tokenizer it is. `ValueError` if an id is missing, or the library refuses the model.
    """

    def __init__(
        self,
        model: PieceFile,
        *,
        ids: Mapping[str, int] | None = None,
        unknown: int | None = None,
        names: Sequence[str] = (),
        before: Sequence[int] = (),
        after: Sequence[int] = (),
        openings: Sequence[str] = (),
        name: str = "tokenizer",
    ) -> None:
        self._model, self._name, self._own = model, name, None if ids is None else dict(ids)
        self.before, self.after, self._names = tuple(before), tuple(after), tuple(names)
        places = {piece.text: i for i, piece in enumerate(model.pieces)}
        self._ids = places if self._own is None else self._own
        for token in self._ids.values():
            require(
                type(token) is int and 0 <= token < MOST_IDS, name, f"must have ids from 0 to {MOST_IDS - 1}", token
            )
        self._pieces = {i: text for text, i in self._ids.items()}
        require(len(self._pieces) == len(self._ids), name, "must have one piece for each id", len(self._pieces))
        [unknown_piece] = [piece.text for piece in model.pieces if piece.type == UNKNOWN]
        found = self._ids.get(unknown_piece) if unknown is None else unknown
        require(found in self._pieces, name, "must have an id for what is unknown", unknown_piece)
        assert found is not None
        self.unknown = found
        lacking = [token for token in (*self.before, *self.after) if token not in self._pieces]
        require(not lacking, name, "must have the tokens that stand around a text", lacking)
        self._openings = tuple(openings)
        absent = [text for text in (*names, *openings) if text not in self._ids]
        require(not absent, name, "must have the special tokens", absent)
        control = [piece.text for piece in model.pieces if piece.type == CONTROL and piece.text in self._ids]
        special = sorted((self._ids[text], text) for text in {*control, *names})
        self.special_tokens = {text: i for i, text in special}
        self._processor = _processor(model.data, name)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self._model, self._options | {"name": self._name})

    @property
    def _options(self) -> dict[str, Any]:
        around = {"before": self.before, "after": self.after, "openings": self._openings}
        return {"ids": self._own, "unknown": self.unknown, "names": self._names} | around

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as one file of JSON, the model in base 64; the file appears whole or not at all."""
        record = {"type": KIND, "model": base64.b64encode(self._model.data).decode(), **self._options}
        write_text(path, json.dumps(record, ensure_ascii=False))

    @classmethod
    def from_record(cls, record: Mapping[str, Any], name: str = "tokenizer") -> "SentencePiece":
        """What `save` wrote, read as JSON; `ValueError` with this name for anything else."""
        fields = {"type", "model", "ids", "unknown", "names", "before", "after", "openings"}
        require(record.keys() == fields, name, f"must have the fields {sorted(fields)}", sorted(record))
        options = {key: value for key, value in record.items() if key not in ("type", "model")}
        try:
            data = base64.b64decode(record["model"], validate=True)
            return cls(piece_file_of(data, name), **options, name=name)
        except (TypeError, binascii.Error) as error:  # the file is at fault, not the caller
            raise ValueError(f"{name} must be a tokenizer that was saved: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SentencePiece":
        """The model in a file, with the ids of the file; `ValueError` naming it if it is none."""
        return cls(read_piece_file(path), name=os.fspath(path))

    @property
    def vocab_size(self) -> int:
        """How many ids there are: the highest and one, though some below may have no piece."""
        return max(self._pieces) + 1

    def has(self, token: int) -> bool:
        """Whether there is a piece of this id."""
        return token in self._pieces

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; with `special`, between the special tokens that the model's texts stand between."""
        return self.encode_batch([text], special=special)[0]

    def encode_batch(self, texts: Iterable[str], *, special: bool = False) -> list[list[int]]:
        """The ids of each text. A text never gives special tokens, whoever wrote it."""
        texts = list(texts)
        for text in texts:
            check_text(text)
        heads = [next((text for text in self._openings if each.startswith(text)), "") for each in texts]
        texts = [text.removeprefix(head) for text, head in zip(texts, heads, strict=True)]
        if self._own is None:
            found = self._processor.encode(texts, out_type=int)
        else:
            cut = self._processor.encode(texts, out_type=str)
            cut = [[head, *pieces] if head else pieces for head, pieces in zip(heads, cut, strict=True)]
            found = [[self._own.get(piece, self.unknown) for piece in pieces] for pieces in cut]
        return [[*self.before, *ids, *self.after] for ids in found] if special else found

    def cut(self, text: str) -> Cut:
        """The ids of `encode`, and the characters that each stands for."""
        check_text(text)
        require(not self._openings, self._name, "must have no openings, whose characters are no pieces", self._openings)
        found = pieces_of_text(self._processor.encode(text, out_type="serialized_proto"))
        ids = [each.id if self._own is None else self._own.get(each.text, self.unknown) for each in found]
        return Cut(ids, character_spans(text, [(each.start, each.end) for each in found]))

    @property
    def frame(self) -> Frame:
        """The special tokens around a text; between two stand those that end the one and once more, as in XLM-R."""
        return Frame(self.before, 2 * self.after, self.after)

    def parse(self, text: str) -> list[int]:
        """The ids of a text in which the names of special tokens are these: what a template wrote, and nobody else."""
        check_text(text)
        if not self.special_tokens:
            return self.encode(text)
        ids: list[int] = []
        for number, part in enumerate(self._by_name.split(text)):
            if number % 2:
                ids.append(self.special_tokens[part])
            elif part:
                ids += self.inside(part) if number else self.encode(part)
        return ids

    def inside(self, text: str, *, parse: bool = False) -> list[int]:
        """The ids of a text that stands behind another one, so that it has no space of its own in front."""
        encode = self.parse if parse else self.encode
        line, found = self.encode("\n"), encode("\n" + text)
        return found[len(line) :] if line and found[: len(line)] == line else encode(text)

    def decode(self, ids: Iterable[int], *, whole_characters: bool = False) -> str:
        """The text that the ids spell, special tokens by their names; bytes that are not UTF-8 become U+FFFD.

        Ids may end within a character, as where generation stops. `whole_characters` leaves the part of one out.
        """
        ids = list(ids)
        check_ids(ids, self.vocab_size)
        pieces = [self._pieces[i] for i in ids if i in self._pieces]
        if whole_characters:
            found = [BYTE.fullmatch(piece) for piece in pieces[-3:]]
            pieces = pieces[: len(pieces) - unfinished(bytes(int(each[1], 16) if each else 0 for each in found))]
        return "".join(self._spelled(pieces))

    def _spelled(self, pieces: Sequence[str]) -> Iterator[str]:
        for special, group in groupby(pieces, key=self.special_tokens.__contains__):
            run = list(group)
            yield "".join(run) if special else self._processor.decode_pieces(run)

    @cached_property
    def _by_name(self) -> re.Pattern[str]:
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def _rebuilt(model: PieceFile, options: dict[str, Any]) -> SentencePiece:
    return SentencePiece(model, **options)


def _processor(data: bytes, name: str) -> Any:
    try:
        from sentencepiece import SentencePieceProcessor
    except ModuleNotFoundError as error:
        needed = 'sentencepiece is needed for this tokenizer: pip install "transformer_lib[hf]"'
        raise ModuleNotFoundError(needed, name="sentencepiece") from error
    try:
        return SentencePieceProcessor(model_proto=data)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"{name} must be a model of SentencePiece: {error}") from error
