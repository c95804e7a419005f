"""A tokenizer in the one file that a saved model has for it: this library's own, a published one, or SentencePiece."""

import os

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.files import read_json
from transformer_lib.text.pieces import KIND, SentencePiece
from transformer_lib.text.tokenizer import Tokenizer

MOST_BYTES = 64 << 20

AnyTokenizer = Tokenizer | SentencePiece


@checked
def read_stored(path: str | os.PathLike[str]) -> AnyTokenizer:
    """What `save` of either class wrote; `ValueError` for anything else.

    One that puts no tokens around a text must have the rules of this library: nothing else tells that it is whole.
    """
    record = read_json(path, most=MOST_BYTES)
    require(isinstance(record, dict), os.fspath(path), "must be a JSON object", record)
    assert isinstance(record, dict)
    if record.get("type") == KIND:
        return SentencePiece.from_record(record, os.fspath(path))
    return Tokenizer.load(path, any_rules=record.get("post_processor") is not None)
