"""The parallel path: the vocabulary and the ids of `BPE`, by the Rust library `tokenizers`.

Nothing is decided here: cutting, merging and numbering follow `transformer_lib.text.bpe`, so that a model trained with
one of the two can be used with the other. What it adds is all cores for a batch of texts, and files that other
libraries read (`tokenizer.json`); on one core the lesson, which encodes each distinct chunk once, keeps up with it.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RustTokenizer

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.files import write_text
from transformer_lib.text.bpe import BPE, PATTERN, check_enough, check_ids, check_text, count_merges

# The Rust library spells each byte by a visible character: bytes that are visible in Latin-1 by themselves, the rest,
# in order, by the characters from U+0100 on (Radford et al. 2019).
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
HIDDEN = [byte for byte in range(256) if byte not in VISIBLE]
SPELLING = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(0x100 + i) for i, byte in enumerate(HIDDEN)}
ALPHABET = [SPELLING[byte] for byte in range(256)]


@checked
class Tokenizer:
    """Text to ids and back, on all cores for a batch; with the ids and the rules of the `BPE` that `to_bpe` gives."""

    def __init__(self, rust: RustTokenizer) -> None:
        self._rust = rust
        rust.encode_special_tokens = True  # as text, that is: a text never gives special tokens, whoever wrote it
        self.special_tokens = {
            token.content: i for i, token in sorted(rust.get_added_tokens_decoder().items()) if token.special
        }

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._rust,)  # a copy or a worker process needs the setting above as well

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
    def train(cls, texts: Iterable[str], vocab_size: int, special_tokens: Iterable[str] = ()) -> "Tokenizer":
        """Learn what `BPE.train` would; no merge crosses from one text to the next.

        `ValueError` if `vocab_size` is too small for the bytes and special tokens or too large for the texts.
        """
        texts, special_tokens = _checked(texts), list(special_tokens)
        limit = count_merges(vocab_size, special_tokens)
        rust = RustTokenizer(models.BPE())
        rust.pre_tokenizer = _splitter()
        # Of pairs that occur equally often the trainer merges the one with the lowest ids. Its own order of the
        # alphabet is that of the spellings; as "special tokens" the bytes get the ids they have in `BPE`.
        trainer = trainers.BpeTrainer(
            vocab_size=256 + limit, min_frequency=2, special_tokens=ALPHABET, show_progress=False
        )
        rust.train_from_iterator(texts, trainer)
        merges = _merges(rust)
        check_enough(merges, limit, vocab_size)
        return cls.from_bpe(BPE(merges, special_tokens))

    def to_bpe(self) -> BPE:
        """The readable twin."""
        return BPE(_merges(self._rust), list(self.special_tokens))

    @property
    def vocab_size(self) -> int:
        return self._rust.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of each text, worked out in parallel."""
        return [encoding.ids for encoding in self._rust.encode_batch_fast(_checked(texts))]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that the ids spell, special tokens included; bytes that are not UTF-8 become U+FFFD."""
        ids = list(ids)
        check_ids(ids, self.vocab_size)
        return self._rust.decode(ids, skip_special_tokens=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `tokenizer.json`; the file appears whole or not at all."""
        write_text(Path(path), self._rust.to_str(pretty=True))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, any_rules: bool = False) -> "Tokenizer":
        """Read what `save` wrote; `ValueError` for anything else.

        With `any_rules` it may be a tokenizer of another kind and with other rules, which `to_bpe` does not know.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            rust = RustTokenizer.from_str(text)
        except Exception as error:  # the Rust library raises nothing more precise
            raise ValueError(f"{path} must be a tokenizer.json: {error}") from error
        if any_rules:
            return cls(rust)
        require(isinstance(rust.model, models.BPE), str(path), "must hold a BPE model", rust.model)
        loaded = cls(rust)
        # Rebuilding it from its merges gives the same file only if everything else is as this module writes it.
        same = cls.from_bpe(loaded.to_bpe())._rust.to_str() == rust.to_str()
        require(same, str(path), "must have the rules of this library", "others")
        return loaded


def _splitter() -> pre_tokenizers.PreTokenizer:
    """Cut into the chunks of `bpe.split`, then spell their bytes."""
    cut = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _merges(rust: RustTokenizer) -> list[tuple[int, int]]:
    """The merges as pairs of ids."""
    model = json.loads(rust.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


def _checked(texts: Iterable[str]) -> list[str]:
    require(not isinstance(texts, str), "texts", "must be a collection of strings, not one string", texts)
    texts = list(texts)
    for text in texts:
        check_text(text)
    return texts
