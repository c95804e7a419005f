"""The parallel path: the vocabulary and the ids of `BPE`, by the Rust library `tokenizers`.

Nothing is decided here: cutting, merging and numbering follow `transformer_lib.text.bpe`, so that a model trained with
one of the two can be used with the other. What it adds is all cores for a batch of texts, and files that other
libraries read (`tokenizer.json`); on one core the lesson, which encodes each distinct chunk once, keeps up with it.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.files import read_text, write_text
from transformer_lib.text.bpe import BPE, PATTERN, check_enough, check_ids, check_text, count_merges, unfinished
from transformer_lib.text.frame import Cut, Frame, frame_of

with needed():
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as RustTokenizer

# The Rust library spells each byte by a visible character: bytes that are visible in Latin-1 by themselves, the rest,
# in order, by the characters from U+0100 on (Radford et al. 2019).
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
HIDDEN = [byte for byte in range(256) if byte not in VISIBLE]
SPELLING = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(0x100 + i) for i, byte in enumerate(HIDDEN)}
ALPHABET = [SPELLING[byte] for byte in range(256)]
BYTES = {character: byte for byte, character in SPELLING.items()}
MOST_IDS = 1 << 24


@checked
class Tokenizer:
    """Text to ids and back, on all cores for a batch; with the ids and the rules of the `BPE` that `to_bpe` gives.

    `name` says in messages which tokenizer it is; a loaded one has the name of its file.
    """

    def __init__(self, rust: RustTokenizer, name: str = "tokenizer") -> None:
        self._rust, self._name = rust, name
        rust.encode_special_tokens = True  # as text, that is: a text never gives special tokens, whoever wrote it
        self.special_tokens = {
            token.content: i for i, token in sorted(rust.get_added_tokens_decoder().items()) if token.special
        }

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._rust, self._name)  # a copy or a worker process needs the setting above as well

    @classmethod
    def from_bpe(cls, bpe: BPE) -> "Tokenizer":
        """The fast twin of a BPE."""
        learned = bpe.vocabulary[: 256 + len(bpe.merges)]
        names = ["".join(SPELLING[byte] for byte in spelled) for spelled in learned]
        merges = [(names[left], names[right]) for left, right in bpe.merges]
        rust = RustTokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges))
        rust.pre_tokenizer = _splitter()
        rust.decoder = decoders.ByteLevel()
        rust.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in bpe.special_tokens])
        return cls(rust)

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, special_tokens: Iterable[str] = (), *, at_most: bool = False
    ) -> "Tokenizer":
        """Learn what `BPE.train` would; no merge crosses from one text to the next.

        `ValueError` if `vocab_size` is too small for the bytes and special tokens, or too large for the texts; but with
        `at_most` there are then as many merges as the texts have to give.
        """
        texts, special_tokens = _checked(texts), list(special_tokens)
        limit = count_merges(vocab_size, special_tokens)
        rust = RustTokenizer(models.BPE())
        rust.pre_tokenizer = _splitter()
        # Of pairs that occur equally often the trainer merges the one with the lowest ids. Its own order of the
        # alphabet is that of the spellings; as "special tokens" the bytes get the ids they have in `BPE`. It reserves
        # memory for a vocabulary of the size it is told, so it is told no more than a merge for each byte of the texts.
        most = sum(len(text.encode()) for text in texts)
        trainer = trainers.BpeTrainer(
            vocab_size=256 + min(limit, most), min_frequency=2, special_tokens=ALPHABET, show_progress=False
        )
        rust.train_from_iterator(texts, trainer)
        merges = _merges(rust)
        if not at_most:
            check_enough(merges, limit, vocab_size)
        return cls.from_bpe(BPE(merges, special_tokens))

    def to_bpe(self) -> BPE:
        """The readable twin; `ValueError` for a tokenizer of another kind."""
        require(isinstance(self._rust.model, models.BPE), self._name, "must hold a BPE model", self._rust.model)
        return BPE(_merges(self._rust), list(self.special_tokens))

    @property
    def vocab_size(self) -> int:
        return self._rust.get_vocab_size()

    def has(self, token: int) -> bool:
        """Whether there is a token of this id. Another library's ids may have gaps."""
        return 0 <= token < MOST_IDS and self._rust.id_to_token(token) is not None

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; with `special`, between the special tokens that the model's texts stand between."""
        return self.encode_batch([text], special=special)[0]

    def encode_batch(self, texts: Iterable[str], *, special: bool = False) -> list[list[int]]:
        """The ids of each text, worked out in parallel.

        With `special` each stands between the special tokens that a file of others says (BERT's `[CLS]` and `[SEP]`);
        this library's own tokenizers add none. `ValueError` naming the tokenizer if it has rules of its own and cannot
        apply them to the texts.
        """
        texts = _checked(texts)
        with refusing(f"{self._name} must be able to encode the texts"):
            found = self._rust.encode_batch_fast(texts, add_special_tokens=special)
            return [encoding.ids for encoding in found]

    def cut(self, text: str) -> Cut:
        """The ids of `encode`, and the characters that each stands for."""
        [text] = _checked([text])
        with refusing(f"{self._name} must be able to encode the text"):
            found = self._rust.encode(text, add_special_tokens=False)
            return Cut(found.ids, found.offsets)

    @cached_property
    def frame(self) -> Frame:
        """The special tokens around a text, or two, that the file says; this library's own tokenizers have none."""
        with refusing(f"{self._name} must be able to encode two texts"):
            one, two = self._rust.encode("a"), self._rust.encode("a", "a")
        frame = frame_of(two.ids, two.sequence_ids, self._name)
        inside = [i for i, side in zip(one.ids, one.sequence_ids, strict=True) if side == 0]
        alone = [*frame.before, *inside, *frame.after]
        require(one.ids == alone, self._name, "must put the same tokens around one text as around two", one.tokens)
        return frame

    @cached_property
    def unknown(self) -> int | None:
        """The id of what it has no piece for, if there can be such a thing."""
        model = json.loads(self._rust.to_str())["model"]
        token = model.get("unk_token")
        return model.get("unk_id") if token is None else self._rust.token_to_id(token)

    @cached_property
    def continuing(self) -> frozenset[int]:
        """The ids of pieces that go on with a word, where a prefix of the pieces tells so, as `##` in WordPiece."""
        prefix = json.loads(self._rust.to_str())["model"].get("continuing_subword_prefix")
        return frozenset(i for text, i in self._rust.get_vocab().items() if prefix and text.startswith(prefix))

    def parse(self, text: str) -> list[int]:
        """The ids of a text in which the names of special tokens are these: what a template wrote, and nobody else."""
        [text] = _checked([text])
        with refusing(f"{self._name} must be able to encode the text"):
            return self._parser.encode(text, add_special_tokens=False).ids

    def inside(self, text: str, *, parse: bool = False) -> list[int]:
        """The ids of a text that stands behind another one, so that it has no space of its own in front."""
        encode = self.parse if parse else self.encode
        line, found = self.encode("\n"), encode("\n" + text)
        return found[len(line) :] if line and found[: len(line)] == line else encode(text)

    @cached_property
    def _parser(self) -> RustTokenizer:
        """A twin that does find special tokens in a text; a setting changed for one call would change it for all."""
        twin = RustTokenizer.from_str(self._rust.to_str())
        twin.encode_special_tokens = False
        return twin

    def decode(self, ids: Iterable[int], *, whole_characters: bool = False) -> str:
        """The text that the ids spell, special tokens included; bytes that are not UTF-8 become U+FFFD.

        Ids may end within a character, as where generation stops. That leaves U+FFFD at the end, too, unless
        `whole_characters` asks for a text without the part of a character.
        """
        ids = list(ids)
        check_ids(ids, self.vocab_size)
        with refusing(f"{self._name} must be able to decode the ids"):
            text = self._rust.decode(ids, skip_special_tokens=False)
            return self._without_part(text, ids) if whole_characters and text.endswith("\ufffd") else text

    def _without_part(self, text: str, ids: Sequence[int]) -> str:
        """The text without the U+FFFD that stand for the beginning of a character at the end of the ids.

        Bytes are spelled in two ways. By the characters above, any number in a token: the part gives one U+FFFD. Or by
        a token for each, as <0xE4>: all that follow one another give one U+FFFD each, also for the whole characters.
        """
        decoder = self._rust.decoder
        if decoder is None:
            return text
        known = [(i, token) for i in ids if (token := self._rust.id_to_token(i)) is not None]
        end = [token for _, token in known[-3:]]  # a part has at most three bytes
        if decoder.decode([SPELLING[0xC3] + SPELLING[0xA9]]) == "é":
            spelled = [bytes(BYTES[c] for c in t) if BYTES.keys() >= set(t) else t.encode() for t in end]
            return text[:-1] if unfinished(b"".join(spelled)) else text
        if decoder.decode(["<0x41>"]) == "A":
            values = [int(token[3:5], 16) if re.fullmatch("<0x[0-9A-F]{2}>", token) else 0 for token in end]
            whole = [i for i, _ in known[: len(known) - unfinished(bytes(values))]]
            return self._rust.decode(whole, skip_special_tokens=False)
        return text

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `tokenizer.json`; the file appears whole or not at all."""
        write_text(path, self._rust.to_str(pretty=True))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, any_rules: bool = False) -> "Tokenizer":
        """Read what `save` wrote; `ValueError` for anything else.

        With `any_rules` it may be a tokenizer of another kind and with other rules, which `to_bpe` does not know.
        """
        text, name = read_text(path), os.fspath(path)
        with refusing(f"{name} must be a tokenizer.json"):
            _check_sizes(json.loads(text))
            rust = RustTokenizer.from_str(text)
        if any_rules:
            # How long a row is, is for whoever makes a batch to say: transformers, too, forgets what the file says of
            # it when it is called without `truncation` and `padding`. A text has one encoding, so dropout is refused.
            rust.no_truncation()
            rust.no_padding()
            dropout = getattr(rust.model, "dropout", None)
            require(not dropout, name, "must encode without dropout", dropout)
            return cls(rust, name)
        require(isinstance(rust.model, models.BPE), name, "must hold a BPE model", rust.model)
        loaded = cls(rust, name)
        # Rebuilding it from its merges gives the same file only if everything else is as this module writes it.
        with refusing(f"{name} must have the rules of this library"):
            same = cls.from_bpe(loaded.to_bpe())._rust.to_str() == rust.to_str()
        require(same, name, "must have the rules of this library", "others")
        return loaded


@checked
@contextmanager
def refusing(rule: str) -> Iterator[None]:
    """Whatever the Rust library raises becomes a `ValueError`, also a panic, which pyo3 derives from BaseException."""
    try:
        yield
    except Exception as error:  # the library raises nothing more precise
        raise ValueError(f"{rule}: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a class that no module exports
            raise
        raise ValueError(f"{rule}: {error}") from error


def _check_sizes(record: Any) -> None:
    """Refuse a file in which a number stands for more memory than the file itself has.

    The Rust library reserves what the head of a table of SentencePiece says, and walks all ids up to the highest.
    """
    vocabulary = record["model"].get("vocab")
    if isinstance(vocabulary, dict) and vocabulary:
        require(
            max(vocabulary.values()) < MOST_IDS, "vocab", f"must have ids below {MOST_IDS}", max(vocabulary.values())
        )
    for table in _tables(record.get("normalizer")):
        size = int.from_bytes(table[:4], "little")
        require(size <= len(table) - 4, "precompiled_charsmap", f"must have at most its {len(table)} bytes", size)


def _tables(normalizer: Any) -> Iterator[bytes]:
    """The tables of characters of a normalizer, which may be a sequence of others."""
    if isinstance(normalizer, dict):
        if normalizer.get("precompiled_charsmap") is not None:
            yield base64.b64decode(normalizer["precompiled_charsmap"])
        for part in normalizer.get("normalizers", ()):
            yield from _tables(part)


def _splitter() -> pre_tokenizers.PreTokenizer:
    """Cut into the chunks of `bpe.split`, then spell their bytes."""
    cut = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _merges(rust: RustTokenizer) -> list[tuple[int, int]]:
    """The merges as pairs of ids."""
    model = json.loads(rust.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


def _checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list; what comes from an iterator has not been looked at before."""
    texts = list(texts)
    for text in texts:
        check_text(text)
    return texts
