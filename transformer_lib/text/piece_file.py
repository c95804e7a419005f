"""What stands in the model file of SentencePiece, looked at before the library in C++ is given it.

Such a file (`*.model`, `*.spm`) is a message of Protocol Buffers: a row of fields, each a number that names it, a kind,
and a value. The vocabulary is its first field, repeated: a piece of text, its score, and its type. The library trusts
what it reads, so a damaged file could end the whole process. What is looked at here is therefore all on which a walk
through its memory depends: that lengths stay inside the file, that pieces are texts and no two are the same, that there
is one piece for the unknown, and that the table that normalises characters leads nowhere outside itself.

Kudo and Richardson (2018), arXiv:1808.06226; the encoding of the fields: protobuf.dev/programming-guides/encoding.
Left out: models of whole words and of single characters, which nobody publishes.
"""

import math
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from transformer_lib.checks import require, shown
from transformer_lib.contract import checked
from transformer_lib.files import read_bytes

MOST_BYTES = 64 << 20  # ten times the largest that is published
MOST_TABLE = 1 << 24  # bytes of the table of characters; that of NFKC with lower-casing has 300,000
LEAF = 0x8000_0000
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # what a piece is


@checked
class Piece(NamedTuple):
    """An entry of the vocabulary, whose id is its place; its type is one of the six numbers above."""

    text: str
    score: float
    type: int


@checked
class PieceFile(NamedTuple):
    """A model that has been looked at: the bytes as they are in the file, and the pieces by id."""

    data: bytes
    pieces: tuple[Piece, ...]


@checked
def read_piece_file(path: str | os.PathLike[str]) -> PieceFile:
    """The model in a file; `ValueError` naming the file if it is damaged, or no Unigram or BPE model."""
    return piece_file_of(read_bytes(path, most=MOST_BYTES), os.fspath(path))


@checked
def piece_file_of(data: bytes, name: str = "data") -> PieceFile:
    """The model that these bytes are; `ValueError` with this name if they are damaged, or no Unigram or BPE model."""
    try:
        fields = list(_fields(data))
        pieces = tuple(_piece(value, i) for i, value in enumerate(_all(fields, 1)))
        trainer = dict(_fields(_one(fields, 2)))
        _check_pieces(pieces, bool(trainer.get(35, 0)))
        kind = trainer.get(3, 1)
        require(kind in (1, 2), "model_type", "must be 1 (Unigram) or 2 (BPE)", kind)
        for number in (3, 5):  # how texts are normalised, and how back
            _check_table(_one(list(_fields(_one(fields, number))), 2))
    except ValueError as error:
        raise ValueError(f"{name} must be a model of SentencePiece: {error}") from error
    return PieceFile(data, pieces)


@checked
class CutPiece(NamedTuple):
    """A piece of a text: its spelling, the id that the file gives it, and the bytes of the text it stands for."""

    text: str
    id: int
    start: int
    end: int


@checked
def pieces_of_text(data: bytes) -> list[CutPiece]:
    """What the library says, in a message of its own, of a text that it has cut; `ValueError` for another message."""
    found = []
    for value in _all(list(_fields(data)), 2):
        fields = dict(_fields(value))
        text, *numbers = (fields.get(number, default) for number, default in ((1, b""), (2, 0), (4, 0), (5, 0)))
        if not isinstance(text, bytes) or not all(isinstance(number, int) for number in numbers):
            raise ValueError(f"data must be what the library says of a text, got {shown(fields)}")
        found.append(CutPiece(text.decode(), *numbers))  # type: ignore[arg-type]
    return found


# The fields -----------------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and the value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                yield key >> 3, value
                continue
            case 1:
                end = at + 8
            case 2:
                length, at = _varint(data, at)
                end = at + length
            case 5:
                end = at + 4
            case kind:
                raise ValueError(f"the field at byte {at} must have the kind 0, 1, 2 or 5, got {kind}")
        if end > len(data):
            raise ValueError(f"the field at byte {at} must end within {len(data)} bytes, got {end}")
        yield key >> 3, data[at:end]
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, the lowest first; and where the next thing begins."""
    value = 0
    for shift, byte in zip(range(0, 70, 7), data[at : at + 10], strict=False):
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError(f"the number before byte {at} must end, within ten bytes, got {data[at - 1 : at]!r}")


def _all(fields: list[tuple[int, int | bytes]], number: int) -> Iterator[bytes]:
    for found, value in fields:
        if found == number:
            if not isinstance(value, bytes):
                raise ValueError(f"field {number} must hold bytes, got the number {value}")
            yield value


def _one(fields: list[tuple[int, int | bytes]], number: int) -> bytes:
    """The field, which may be absent; were it there twice, the library would merge the two."""
    found = list(_all(fields, number))
    require(len(found) <= 1, f"field {number}", "must stand there once", len(found))
    return found[0] if found else b""


# What they say --------------------------------------------------------------------------------------------------------


def _piece(data: bytes, number: int) -> Piece:
    fields = dict(_fields(data))
    text, score, kind = fields.get(1, b""), fields.get(2, b"\0\0\0\0"), fields.get(3, 1)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or len(score) != 4 or not isinstance(kind, int):
        raise ValueError(f"piece {number} must be a text, a score and a type, got {fields}")
    try:
        spelled = text.decode()
    except UnicodeDecodeError:
        raise ValueError(f"piece {number} must be UTF-8, got {text[:40]!r}") from None
    [value] = struct.unpack("<f", score)
    if not (spelled and "\0" not in spelled and math.isfinite(value) and 1 <= kind <= 6):
        rule = "must have a text without null characters, a finite score, and a type from 1 to 6"
        raise ValueError(f"piece {number} {rule}, got {shown((spelled, value, kind))}")
    return Piece._make((spelled, value, kind))  # unchecked, since there may be 250,000


def _check_pieces(pieces: tuple[Piece, ...], byte_fallback: bool) -> None:
    require(len(pieces) > 0, "pieces", "must be there", 0)
    seen: dict[str, int] = {}
    for number, piece in enumerate(pieces):
        if seen.setdefault(piece.text, number) != number:
            raise ValueError(f"piece {number} must be new, got {shown(piece.text)}")
    unknown = [piece.text for piece in pieces if piece.type == UNKNOWN]
    require(len(unknown) == 1, "pieces", "must hold one for what is unknown", unknown[:9])
    spelled = {piece.text for piece in pieces if piece.type == BYTE}
    wanted = {f"<0x{byte:02X}>" for byte in range(256)} if byte_fallback else set()
    require(spelled == wanted, "pieces", f"must spell {len(wanted)} bytes, as the trainer says", len(spelled))


def _check_table(table: bytes) -> None:
    """The table is the size of a trie in bytes, the trie, and the replacements, each of which ends with a null byte.

    The trie is a double array (Aoe 1989): four bytes a unit. From a unit, a byte of text leads to the unit whose place
    is the exclusive or of its own, its offset and that byte; a unit with the highest bit set is the place of a
    replacement.
    """
    if not table:
        return
    require(4 < len(table) <= MOST_TABLE, "precompiled_charsmap", f"must have 5 to {MOST_TABLE} bytes", len(table))
    size, rest = int.from_bytes(table[:4], "little"), len(table) - 4
    whole = 0 < size < rest and size % 1024 == 0
    require(whole, "precompiled_charsmap", f"must hold blocks of 256 units and less than its {rest} bytes", size)
    texts = table[4 + size :]
    require(texts[-1] == 0, "precompiled_charsmap", "must end with a null byte", texts[-1])
    _decoded(texts)
    units = np.frombuffer(table, dtype="<u4", count=size // 4, offset=4).astype(np.int64)
    leaf = units & LEAF != 0
    offsets = (units >> 10) << ((units & 0x200) >> 6)
    reached = (np.arange(len(units)) ^ offsets) | 0xFF
    inside = np.where(leaf, (units & (LEAF - 1)) < len(texts), reached < len(units))
    require(bool(inside.all()), "precompiled_charsmap", "must lead to no place outside", int(np.argmin(inside)))


def _decoded(texts: bytes) -> str:
    try:
        return texts.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"precompiled_charsmap must hold UTF-8, got {texts[error.start :][:9]!r}") from None
