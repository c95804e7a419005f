import ast
import io
import tokenize
from pathlib import Path

import pytest

from transformer_lib.data import Corpus, stdlib_source
from transformer_lib.data.corpora import _FULL_HELD_OUT, _FULL_TRAIN, _SMALL_HELD_OUT, _SMALL_TRAIN


@pytest.fixture(scope="module")
def full() -> Corpus:
    return stdlib_source("full")


def passages(text: str, width: int = 60) -> set[str]:
    """Every run of `width` characters, white space apart."""
    text = " ".join(text.split())
    return {text[i : i + width] for i in range(len(text) - width + 1)}


@pytest.mark.parametrize(
    ("size", "train", "held_out"), [("small", (400e3, 480e3), (45e3, 65e3)), ("full", (2.3e6, 2.8e6), (250e3, 330e3))]
)
def test_sizes_are_what_the_docstring_says(size, train, held_out):
    corpus = stdlib_source(size)
    for documents, (low, high) in zip(corpus, (train, held_out), strict=True):
        assert low < sum(len(document.text.encode()) for document in documents) < high
        assert [document.name for document in documents] == sorted(document.name for document in documents)


def test_every_file_is_listed_once_and_on_one_side_only():
    names = (_SMALL_TRAIN + _SMALL_HELD_OUT + _FULL_TRAIN + _FULL_HELD_OUT).split()
    assert len(names) == len(set(names)) == 99


def test_the_full_corpus_contains_the_small_one_split_by_split(full):
    small = stdlib_source("small")
    assert set(small.train) < set(full.train)
    assert set(small.held_out) < set(full.held_out)


def test_documents_are_python_in_plain_ascii_with_unix_line_ends(full):
    for document in full.train + full.held_out:
        assert document.text.isascii() and "\r" not in document.text, document.name
        ast.parse(document.text)


def test_no_held_out_file_repeats_training_text(full):
    trained = set().union(*(passages(document.text) for document in full.train))
    for document in full.held_out:
        own = passages(document.text)
        assert len(own & trained) / len(own) < 0.02, document.name


def test_held_out_names_are_mostly_known_from_training(full):
    """The two sides are the same language: most identifiers held out occur in training, and by no means all."""

    def identifiers(documents):
        source = (tokenize.generate_tokens(io.StringIO(document.text).readline) for document in documents)
        return [token.string for tokens in source for token in tokens if token.type == tokenize.NAME]

    known = set(identifiers(full.train))
    held_out = identifiers(full.held_out)
    assert 0.8 < sum(name in known for name in held_out) / len(held_out) < 0.98


def test_same_text_on_every_call():
    assert stdlib_source("small") == stdlib_source("small")


def test_windows_line_ends_make_no_difference(tmp_path):
    corpus = stdlib_source("small")
    for document in corpus.train + corpus.held_out:
        path = tmp_path / document.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(document.text.replace("\n", "\r\n").encode())
    assert stdlib_source("small", folder=tmp_path) == corpus


def test_missing_files_are_all_named(tmp_path: Path):
    for name in _SMALL_TRAIN.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("pass\n")
    with pytest.raises(FileNotFoundError, match=r"4 file\(s\).*: cmd.py, fileinput.py, graphlib.py, json/decoder.py$"):
        stdlib_source("small", folder=tmp_path)


def test_unknown_size(unchecked_types):
    with pytest.raises(ValueError, match=r"size must be one of \(?'small', 'full'\)?, got 'huge'"):
        stdlib_source("huge")
