"""Byte-level byte-pair encoding, from nothing but the standard library; the file reads from top to bottom as a lesson.

A text is bytes (UTF-8), so 256 ids suffice to write anything. Byte-pair encoding shortens this: it finds the pair of
neighbouring ids that occurs most often, gives it the next free id, replaces it everywhere, and repeats. Encoding a new
text replays these merges in the order in which they were learned; decoding looks each id up and joins the bytes.

The steps: (1) cut the text into chunks, (2) merge a pair, (3) learn the merges, (4) encode and decode, (5) the file.
`transformer_lib.text.tokenizer` gives the same ids on all cores.

Sennrich et al. (2016), arXiv:1508.07909; on bytes: Radford et al. (2019), "Language Models are Unsupervised Multitask
Learners". Left out: normalisation, dropout of merges, and special tokens inside a text (see `BPE.encode`).
"""

import heapq
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from transformer_lib.checks import require, wrong_kind
from transformer_lib.contract import checked_once
from transformer_lib.files import read_json, write_text

Pair = tuple[int, int]
MOST_SPELLED = 1 << 23  # bytes that all ids may spell together; those of the largest models spell a fifth of it

# --- 1. Chunks. Merges never cross the border of a chunk: otherwise "dog.", "dog!" and "dog?" would each earn an id.
#
# This is GPT-2's cut with two changes: at most three digits stand together (as in GPT-4), and English contractions are
# not a case of their own ("'s" would break 'self' in source code). `re` lacks \p{L}, and what \w means depends on the
# version of Unicode, so the classes are fixed ranges, which mean the same in every regular-expression engine. Beyond
# ASCII everything is a letter except the blocks of punctuation, symbols and private use. Unlike \p{L} this takes in
# combining marks and the digits of other scripts, and the space characters beyond ASCII count as punctuation.
SPACE = "\t-\r "
DIGIT = "0-9"
LETTER = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff"  # alphabets from Latin to Greek Extended, without × and ÷
    "\u2c00-\u2dff\u2e80-\u2fff\u3040-\ud7ff\uf900-\ufdff\ufe70-\ufefc"  # radicals, kana, Chinese, Hangul, Arabic forms
    "\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"  # full-width letters, half-width kana
    "\U00010000-\U0001cfff\U00020000-\U0003ffff"  # historic scripts, rarer Chinese; between them notation and emoji
)
PATTERN = (
    f" ?[{LETTER}]+"  # a word, with the space before it
    f"| ?[{DIGIT}]{{1,3}}"
    f"| ?[^{SPACE}{LETTER}{DIGIT}]+"  # punctuation
    f"|[{SPACE}]+(?![^{SPACE}])"  # space, but for its last character if a word follows, which takes it
    f"|[{SPACE}]+"
)


@checked_once
def split(text: str) -> list[str]:
    """Cut a text into chunks that add up to it."""
    return re.findall(PATTERN, text)


@checked_once
def check_text(text: str) -> None:
    """Raise `ValueError` unless this is a string that UTF-8 can hold (half of a surrogate pair is not a character)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        require(False, "text", f"must not hold a lone surrogate (at index {error.start})", text[error.start])


# --- 2. One merge.


@checked_once
def merge(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Replace each occurrence of the pair, from left to right: (1, 1) in [1, 1, 1] gives [new_id, 1]."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


# --- 3. Learning.


@checked_once
def learn_merges(text: str, limit: int) -> list[Pair]:
    """The pairs to merge, in order, at most `limit`: always the most frequent; of equals, the lowest (left, right) id.

    Learning ends early once no pair occurs twice. A chunk that occurs often is stored once, with its count, and a merge
    looks only at the chunks that hold its pair. The heap keeps one entry per pair, whose count may be too high since
    counts also fall; that is noticed when the entry comes up, and it goes back with its true count.
    """
    frequency = Counter(split(text))
    chunks = [list(chunk.encode()) for chunk in frequency]
    repeats = list(frequency.values())
    counts: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, chunk in enumerate(chunks):
        for pair in pairwise(chunk):
            counts[pair] += repeats[index]
            holders[pair].add(index)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)

    merges: list[Pair] = []
    while heap and len(merges) < limit:
        negative, best = heapq.heappop(heap)
        if counts[best] != -negative:
            heapq.heappush(heap, (-counts[best], best))
            continue
        if counts[best] < 2:
            break
        new_id = 256 + len(merges)
        merges.append(best)
        created: set[Pair] = set()
        for index in holders.pop(best):
            for pair in pairwise(chunks[index]):
                counts[pair] -= repeats[index]
            chunks[index] = merge(chunks[index], best, new_id)
            for pair in pairwise(chunks[index]):
                counts[pair] += repeats[index]
                if new_id in pair:
                    holders[pair].add(index)
                    created.add(pair)
        for pair in created:
            heapq.heappush(heap, (-counts[pair], pair))
    return merges


# --- 4. Encoding and decoding.


@checked_once
class BPE:
    """A vocabulary of bytes: ids 0 to 255 are the bytes themselves, then one id per merge, then the special tokens.

    `merges` are pairs of ids in the order learned, `vocabulary[id]` is what an id spells, and `special_tokens` maps
    each name, such as '<|end|>', to its id. `ValueError` if a merge uses an id before it exists or spells what another
    id already spells, if all together spell more than 8 MiB (each merge can double the longest), or if a name is not
    made of visible ASCII characters or could also be spelled by a merge.
    """

    def __init__(self, merges: Sequence[Pair], special_tokens: Sequence[str] = ()) -> None:
        self.merges = [(left, right) for left, right in merges]
        self.vocabulary = [bytes([value]) for value in range(256)]
        spelled, total = set(self.vocabulary), 0
        for pair in self.merges:
            known = all(0 <= i < len(self.vocabulary) for i in pair)
            require(known, "merges", f"must join ids from 0 to {len(self.vocabulary) - 1} here", pair)
            total += sum(len(self.vocabulary[i]) for i in pair)
            require(total <= MOST_SPELLED, "merges", f"must spell at most {MOST_SPELLED} bytes in all", total)
            self.vocabulary.append(self.vocabulary[pair[0]] + self.vocabulary[pair[1]])
            require(self.vocabulary[-1] not in spelled, "merges", "must not spell the same bytes twice", pair)
            spelled.add(self.vocabulary[-1])
        for name in special_tokens:
            check_special_token(name)
        distinct = len(set(special_tokens)) == len(special_tokens)
        require(distinct, "special_tokens", "must be distinct", special_tokens)
        self.special_tokens = {name: len(self.vocabulary) + i for i, name in enumerate(special_tokens)}
        self.vocabulary += [name.encode() for name in special_tokens]
        self._merged_id = {pair: 256 + rank for rank, pair in enumerate(self.merges)}

    @classmethod
    def train(cls, text: str, vocab_size: int, special_tokens: Sequence[str] = ()) -> "BPE":
        """Learn from a text; `ValueError` if `vocab_size` is too small for the bytes or too large for the text."""
        check_text(text)
        limit = count_merges(vocab_size, special_tokens)
        merges = learn_merges(text, limit)
        check_enough(merges, limit, vocab_size)
        return cls(merges, special_tokens)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. A text never gives special tokens, whoever wrote it: place those by their ids."""
        check_text(text)
        encoded: dict[str, list[int]] = {}  # most chunks of a text occur in it many times
        ids: list[int] = []
        for chunk in split(text):
            if chunk not in encoded:
                encoded[chunk] = self._encode_chunk(chunk)
            ids += encoded[chunk]
        return ids

    def _encode_chunk(self, chunk: str) -> list[int]:
        """Merge the pair that was learned first, until no pair is left that was learned."""
        ids = list(chunk.encode())
        never = len(self.vocabulary)
        while len(ids) > 1:
            pair = min(pairwise(ids), key=lambda pair: self._merged_id.get(pair, never))
            if pair not in self._merged_id:
                break
            ids = merge(ids, pair, self._merged_id[pair])
        return ids

    def decode(self, ids: Iterable[int], *, whole_characters: bool = False) -> str:
        """The text that the ids spell; bytes that are not UTF-8 become U+FFFD.

        Ids may end within a character, as where generation stops. That leaves U+FFFD at the end, too, unless
        `whole_characters` asks for a text without the part of a character.
        """
        ids = list(ids)
        check_ids(ids, self.vocab_size)
        spelled = b"".join(self.vocabulary[i] for i in ids)
        end = len(spelled) - (unfinished(spelled) if whole_characters else 0)
        return spelled[:end].decode(errors="replace")

    # --- 5. The file.

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the merges as JSON; the file appears whole or not at all."""
        record = {"pattern": PATTERN, "merges": self.merges, "special_tokens": list(self.special_tokens)}
        write_text(Path(path), json.dumps(record))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "BPE":
        """Read what `save` wrote; `ValueError` if it is anything else."""
        record = read_json(path)
        keys = ["pattern", "merges", "special_tokens"]
        found = list(record) if isinstance(record, dict) else type(record).__name__
        require(found == keys, str(path), f"must be a JSON object of {keys}", found)
        assert isinstance(record, dict)
        require(record["pattern"] == PATTERN, f"{path}: pattern", "must be the one of this library", record["pattern"])
        for key in ("merges", "special_tokens"):
            require(isinstance(record[key], list), f"{path}: {key}", "must be a list", record[key])
        for pair in record["merges"]:
            whole = isinstance(pair, list) and len(pair) == 2 and all(type(i) is int for i in pair)
            require(whole, f"{path}: merges", "must be pairs of whole numbers", pair)
        for name in record["special_tokens"]:
            require(isinstance(name, str), f"{path}: special_tokens", "must be strings", name)
        try:
            return cls([(left, right) for left, right in record["merges"]], record["special_tokens"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


# What this class and its fast twin check alike.


@checked_once
def count_merges(vocab_size: int, special_tokens: Sequence[str]) -> int:
    """How many merges fill a vocabulary of this size."""
    least = 256 + len(special_tokens)
    rule = f"must be at least {least}, the bytes and the special tokens"
    require(vocab_size >= least, "vocab_size", rule, vocab_size)
    return vocab_size - least


@checked_once
def check_enough(merges: Sequence[Pair], limit: int, vocab_size: int) -> None:
    """Raise `ValueError` if a text had too few pairs that occur twice."""
    most = vocab_size - limit + len(merges)
    require(len(merges) == limit, "vocab_size", f"must be at most {most} for this text", vocab_size)


@checked_once
def check_special_token(name: str) -> None:
    """Raise `ValueError` unless the name is visible ASCII and no chunk, so that no merge can spell it."""
    visible = re.fullmatch("[!-~]+", name) is not None
    require(visible, "special_tokens", "must be of visible ASCII characters", name)
    require(len(split(name)) > 1, "special_tokens", "must mix letters and signs, as '<|end|>' does", name)


@checked_once
def check_ids(ids: Sequence[int], vocab_size: int) -> None:
    """Raise `TypeError` or `ValueError` unless each id is a whole number within the vocabulary."""
    for i in ids:
        if type(i) is not int:  # what comes from an iterator has not been looked at before
            raise wrong_kind("ids", "whole numbers (of a tensor, give tolist())", i)
        require(0 <= i < vocab_size, "ids", f"must be from 0 to {vocab_size - 1}", i)


@checked_once
def unfinished(spelled: bytes) -> int:
    """How many bytes at the end, 0 to 3, begin a character that others could end."""
    for count in range(1, min(3, len(spelled)) + 1):
        begun = spelled[-count:]
        # Which of the bytes 0x80 to 0xBF may follow depends on the first; for every first one of these two may.
        if any(_is_character(begun + end * more) for end in (b"\x80", b"\xbf") for more in (1, 2, 3)):
            return count
    return 0


def _is_character(spelled: bytes) -> bool:
    character = spelled.decode(errors="ignore")
    return len(character) == 1 and character.encode() == spelled
