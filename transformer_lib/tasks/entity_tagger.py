"""Names found by a published model that labels tokens, such as a BERT that was fine-tuned on CoNLL-2003.

A word has the label of its first piece, and neighbours of one kind are one entity until a label begins another. That is
what transformers' pipeline calls the aggregation "first", and what is found here is what it finds, less white space at
the ends. It differs where that goes wrong: labels in BILOU or BIOES, which it takes for kinds of their own, are read as
such; a text that is longer than the encoder takes is read in parts, where it would be cut off; a piece of WordPiece
goes on with a word if it begins with ##, whatever its length; and a space that is a piece by itself is the first of the
word behind it, as it is in training.

Left out: relations, which such models do not know, and the other aggregations.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity
from transformer_lib.device import check_device
from transformer_lib.models.classifiers import TokenClassifier
from transformer_lib.tasks.encoder import read_headed
from transformer_lib.tasks.extraction_model import collate_sentences
from transformer_lib.tasks.found import EntityFound, Extracted
from transformer_lib.tasks.inputs import cut_words, in_parts
from transformer_lib.tasks.readable import faults_of_sentences, refuse_first
from transformer_lib.tasks.tagging import OUTSIDE, entities_of
from transformer_lib.text.stored import AnyTokenizer
from transformer_lib.text.tokenizer import Tokenizer

LAST = {"L": "L", "E": "L", "U": "U", "S": "U"}  # BILOU's and BIOES's marks of what ends an entity, as BILOU's

Sentence = str | Sequence[str]


class _Cut(NamedTuple):
    """A text, and of each of its words the pieces and the characters."""

    text: str
    pieces: list[list[int]]
    spans: list[tuple[int, int]]


@checked
class EntityTagger:
    """A model that labels tokens and its tokenizer, to be called with sentences; on the model's device."""

    def __init__(self, model: TokenClassifier, tokenizer: AnyTokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        size, frame = model.config.vocab_size, tokenizer.frame
        require(tokenizer.vocab_size <= size, "tokenizer", f"must have at most {size} tokens", tokenizer.vocab_size)
        self.room = model.config.max_length - frame.size  # for the pieces of a text
        require(self.room > 0, "tokenizer", "must leave room for words between its special tokens", frame)
        self.tags = tuple(tag_of(label, model.labels) for label in model.labels)
        self._continuing = tokenizer.continuing if isinstance(tokenizer, Tokenizer) else frozenset()

    @classmethod
    def from_hf(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "EntityTagger":
        """The model in a folder that transformers wrote; `ValueError` for one that labels no tokens."""
        model, tokenizer = read_headed(folder, device=check_device(device))
        rule = "must hold a ...ForTokenClassification"
        require(isinstance(model, TokenClassifier), str(folder), rule, type(model).__name__)
        assert isinstance(model, TokenClassifier)
        return cls(model, tokenizer)

    def __call__(self, sentences: Sequence[Sentence], *, rows: int = 32) -> list[Annotated]:
        """The words of each sentence with the entities found in them.

        A sentence is a text, which is cut into words as the tokenizer cuts it, or the words themselves. `ValueError`
        for one that `unreadable` names.
        """
        return [
            Annotated(tuple(cut.text[start:end] for start, end in cut.spans), entities, ())
            for cut, entities, _ in self._read(sentences, rows)
        ]

    def find(self, sentences: Sequence[Sentence], *, rows: int = 32) -> list[Extracted]:
        """What a call finds, by its characters, with the mean probability of the labels of its words.

        Not calibrated. Arguments and errors as of a call; `rows` parts of texts are read at a time.
        """
        found = []
        for cut, entities, likely in self._read(sentences, rows):
            placed = [_placed(cut, entity, likely[entity.start : entity.end]) for entity in entities]
            found.append(Extracted(cut.text, tuple(each for each in placed if each.text), ()))
        return found

    def unreadable(self, sentences: Sequence[Sentence]) -> dict[int, str]:
        """By number from 0, the sentences that cannot be read, with the reason; none is too long."""
        return faults_of_sentences(sentences)

    def _read(self, sentences: Sequence[Sentence], rows: int) -> Iterator[tuple[_Cut, tuple[Entity, ...], list[float]]]:
        """Each sentence with its entities, by words, and how probable the label of each word is."""
        require_positive(rows=rows)
        refuse_first(self.unreadable(sentences), "sentences")
        cuts = [self._of_text(each) if isinstance(each, str) else self._of_words(each) for each in sentences]
        parts = [(row, pieces) for row, cut in enumerate(cuts) for _, pieces in in_parts(cut.pieces, self.room)]
        labelled: list[list[tuple[int, float]]] = [[] for _ in cuts]
        for start in range(0, len(parts), rows):
            group = parts[start : start + rows]
            for (row, _), found in zip(group, self._label([pieces for _, pieces in group]), strict=True):
                labelled[row] += found
        for cut, words in zip(cuts, labelled, strict=True):
            yield cut, entities_of([self.tags[label] for label, _ in words]), [likely for _, likely in words]

    @torch.inference_mode()
    def _label(self, pieces: list[list[list[int]]]) -> list[list[tuple[int, float]]]:
        """The likeliest label of each word of each part, and its probability."""
        was_training, device = self.model.training, next(self.model.parameters()).device
        sentences = collate_sentences(pieces, self.tokenizer.frame).to(device)
        scores = self.model.eval()(sentences.pieces, valid=sentences.valid).float()
        self.model.train(was_training)
        likely, label = scores.softmax(dim=-1).max(dim=-1)
        found = [each.gather(1, sentences.first).tolist() for each in (label, likely)]
        require(bool(scores.isfinite().all()), "model", "must give finite scores", "NaN or an infinity")
        return [
            list(zip(*(row[: len(words)] for row in pair), strict=True))
            for *pair, words in zip(*found, pieces, strict=True)
        ]

    def _of_text(self, text: str) -> _Cut:
        """Words as the tokenizer has them: by its prefix, or else by white space."""
        cut = _Cut(text, [], [])
        for token, (start, end) in zip(*self.tokenizer.cut(text), strict=True):
            known = token != self.tokenizer.unknown
            if self._continuing:
                goes_on = token in self._continuing
            elif cut.spans and not text[slice(*cut.spans[-1])].strip():  # a piece that was the space of this word
                goes_on = True
            else:
                goes_on = known and start > 0 and not any(map(str.isspace, text[start - 1 : start + 1]))
            if cut.pieces and goes_on:
                cut.pieces[-1].append(token)
                cut.spans[-1] = cut.spans[-1][0], end
            else:
                cut.pieces.append([token])
                cut.spans.append((start, end))
        return cut

    def _of_words(self, words: Sequence[str]) -> _Cut:
        spans, start = [], 0
        for word in words:
            spans.append((start, start + len(word)))
            start += len(word) + 1
        return _Cut(" ".join(words), cut_words(words, self.tokenizer), spans)


@checked
def tag_of(label: str, labels: Sequence[str]) -> str:
    """A label as a tag: O, or B, I, L or U and a kind; what has no such mark goes on with its neighbours, as I does.

    L and U, or E and S, are marks only if there is also a B of the kind: else they may begin any word.
    """
    mark, _, kind = label.partition("-")
    if label == OUTSIDE or (mark in ("B", "I") and kind):
        return label
    if mark in LAST and kind and f"B-{kind}" in labels:
        return f"{LAST[mark]}-{kind}"
    return f"I-{label}"


def _placed(cut: _Cut, entity: Entity, likely: list[float]) -> EntityFound:
    start, end = cut.spans[entity.start][0], cut.spans[entity.end - 1][1]
    text = cut.text[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    return EntityFound(entity.kind, start, start + len(text), text, sum(likely) / len(likely))
