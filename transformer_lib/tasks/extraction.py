"""Reading a sentence: which words name what, and how these things stand to each other.

A word is cut into the pieces of a byte-level tokeniser, so no script is unknown; its first piece carries its tag. What
a person is given here is `EntityRelationExtractor`: a trained model with its tokeniser. The network and its loss are in
`extraction_model.py`, the tags in `tagging.py`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import BucketedBatches
from transformer_lib.data.examples import Annotated, Entity, Relation
from transformer_lib.device import check_device
from transformer_lib.tasks.extraction_model import (
    Batch,
    ExtractionModel,
    collate,
    collate_sentences,
    collate_spans,
    extraction_config,
)
from transformer_lib.tasks.found import Extracted, Sure, placed
from transformer_lib.tasks.inputs import MOST_PIECES as MOST_PIECES
from transformer_lib.tasks.inputs import cut_words as cut_words
from transformer_lib.tasks.inputs import in_parts
from transformer_lib.tasks.mentions import Change
from transformer_lib.tasks.metrics import F1, f1_by_kind, macro_f1, strict_f1
from transformer_lib.tasks.readable import faults_of_sentences, refuse_first
from transformer_lib.tasks.saved import load_any_tokenizer, load_model, read_about, save_model
from transformer_lib.tasks.tag_marginals import entity_shares
from transformer_lib.tasks.tagging import allowed_steps, best_tags, entities_of
from transformer_lib.text.stored import AnyTokenizer
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.text.words import split_words as split_words

TASK = "extraction"

Pieces = list[list[int]]


@checked
def train_tokenizer(examples: Sequence[Annotated], vocab_size: int) -> Tokenizer:
    """Pieces learned from the words of the examples, each with a space before it."""
    return Tokenizer.train([" " + " ".join(example.words) for example in examples], vocab_size)


@checked
def extraction_batches(
    examples: Sequence[Annotated],
    extractor: "EntityRelationExtractor",
    *,
    token_budget: int,
    seed: int,
    epochs: int | None = None,
    change: Change = lambda example: example,
) -> BucketedBatches[Batch]:
    """Shuffled batches of at most `token_budget` pieces; `change` may vary an example each time it comes up.

    What `change` draws at random must come from torch's global generator, which a checkpoint keeps. A sentence without
    words, or of more pieces than the encoder is meant for, is a `ValueError`: nothing is cut off silently.
    """
    tokenizer, config, frame = extractor.tokenizer, extractor.model.config, extractor.tokenizer.frame
    cut = [cut_words(example.words, tokenizer) for example in examples]
    lengths = [sum(map(len, pieces)) for pieces in cut]
    most = extractor.room
    for index, length in enumerate(lengths):
        require(1 <= length <= most, f"examples[{index}]", f"must have 1 to {most} pieces", length)

    pieces: dict[str, list[int]] = {}
    for example, each in zip(examples, cut, strict=True):
        pieces.update(zip(example.words, each, strict=True))

    def batch(rows: list[int]) -> Batch:
        changed = [change(examples[row]) for row in rows]
        new = [word for example in changed for word in example.words if word not in pieces]
        known = pieces | dict(zip(new, cut_words(new, tokenizer), strict=True))
        return collate(changed, [[known[word] for word in example.words] for example in changed], config, frame)

    return BucketedBatches(lengths, batch, token_budget=token_budget, seed=seed, epochs=epochs)


@checked
class EntityRelationExtractor:
    """A trained model and its tokeniser, to be called with sentences; on the model's device, and without dropout."""

    def __init__(self, model: ExtractionModel, tokenizer: AnyTokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        size = model.config.encoder.vocab_size
        require(tokenizer.vocab_size <= size, "tokenizer", f"must have at most {size} pieces", tokenizer.vocab_size)
        self.room = model.config.encoder.max_length - tokenizer.frame.size  # for the pieces of a sentence
        require(self.room > 0, "tokenizer", "must leave room for words between its special tokens", tokenizer.frame)
        self._steps = allowed_steps(model.config.tags)

    def __call__(
        self, sentences: Sequence[str | Sequence[str]], *, constrained: bool = True, rows: int = 32
    ) -> list[Annotated]:
        """Each sentence, a text or its words, with the entities found in it and the relations between them.

        `constrained` takes the best allowed sequence of tags; without it each word's best tag, with contradictions
        repaired as `entities_of` says. A sentence without words has nothing in it. One with more pieces than the
        encoder is meant for is read in parts, each as long as possible: no relation reaches from one part into another.
        `rows` parts are read at a time; that changes the time it takes and nothing else. `ValueError` for a sentence
        that `unreadable` names.
        """
        return [sure.found for sure in self._find(sentences, constrained, rows, sure=False)]

    def find(self, sentences: Sequence[str | Sequence[str]], *, rows: int = 32) -> list[Extracted]:
        """What a call finds in each sentence, by its characters in the text and with how sure the model is of it.

        The confidence of an entity is the share of `entity_shares`, that of a relation the model's probability given
        both entities. Neither is calibrated. Arguments and errors as of a call.
        """
        return [
            placed(sentence, sure) for sentence, sure in zip(sentences, self._find(sentences, True, rows), strict=True)
        ]

    def _find(
        self, sentences: Sequence[str | Sequence[str]], constrained: bool, rows: int, *, sure: bool = True
    ) -> list[Sure]:
        require_positive(rows=rows)
        refuse_first(self.unreadable(sentences), "sentences")
        words = [split_words(s) if isinstance(s, str) else tuple(s) for s in sentences]
        parts = [part for row, each in enumerate(words) for part in self._parts(row, each)]
        found: dict[tuple[int, int], Sure] = {}
        by_length = sorted(parts, key=lambda part: sum(map(len, part[2])))
        for start in range(0, len(parts), rows):
            group = by_length[start : start + rows]
            for (row, place, _), each in zip(group, self._read([p for *_, p in group], constrained, sure), strict=True):
                found[row, place] = each
        of_rows: list[list[tuple[int, Sure]]] = [[] for _ in words]
        for row, place in sorted(found):
            of_rows[row].append((place, found[row, place]))
        return [_joined(each, of_row) for each, of_row in zip(words, of_rows, strict=True)]

    def unreadable(self, sentences: Sequence[str | Sequence[str]]) -> dict[int, str]:
        """By number from 0, the sentences that cannot be read, with the reason; none is too long."""
        return faults_of_sentences(sentences)

    def _parts(self, row: int, words: Sequence[str]) -> list[tuple[int, int, Pieces]]:
        """(row, number of the first word, pieces) of each part that is short enough."""
        return [(row, place, pieces) for place, pieces in in_parts(cut_words(words, self.tokenizer), self.room)]

    @torch.inference_mode()
    def _read(self, pieces: list[Pieces], constrained: bool, sure: bool) -> list[Sure]:
        """Entities and relations of sentences given as pieces; their words, and unless `sure` the confidence of
        entities, are left empty."""
        model, config = self.model, self.model.config
        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        sentences = collate_sentences(pieces, self.tokenizer.frame)
        words = model.read(sentences.to(device))
        scores = model.to_tags(words).cpu()
        tags = best_tags(scores, sentences.real, self._steps) if constrained else scores.argmax(-1)
        names = [[config.tags[tag] for tag in row[: len(p)]] for row, p in zip(tags.tolist(), pieces, strict=True)]
        entities = [entities_of(row) for row in names]
        spans = collate_spans([[(e.start, e.end, config.kinds.index(e.kind)) for e in row] for row in entities])
        related = model.to_relations(words, spans.to(device))
        pairs, likely = related.argmax(-1), related.softmax(-1).amax(-1)
        model.train(was_training)
        results: list[Sure] = []
        for row, scored, p, q in zip(entities, scores, pairs.tolist(), likely.tolist(), strict=True):
            relations = self._relations(p, len(row))
            shares = self._shares(scored[: len(pieces[len(results)])], row) if sure else ()
            results.append(Sure(Annotated((), row, relations), shares, tuple(q[i][j] for _, i, j in relations)))
        return results

    def _shares(self, scores: torch.Tensor, entities: tuple[Entity, ...]) -> tuple[float, ...]:
        config = self.model.config
        return tuple(entity_shares(scores, config.tags, entities, scheme=config.scheme))

    def _relations(self, pairs: list[list[int]], count: int) -> tuple[Relation, ...]:
        kinds = self.model.config.relations
        return tuple(
            Relation(kinds[pairs[i][j] - 1], i, j) for i in range(count) for j in range(count) if i != j and pairs[i][j]
        )

    def evaluate(self, examples: Sequence[Annotated], *, constrained: bool = True, rows: int = 32) -> dict[str, Any]:
        """Strict scores of entities and of relations, as `scores` gives them."""
        found = self([example.words for example in examples], constrained=constrained, rows=rows)
        return scores(found, examples)

    @torch.inference_mode()
    def relate(self, examples: Sequence[Annotated], *, rows: int = 32) -> list[Annotated]:
        """Each example with the relations that the model sees between its marked entities, in the place of its own.

        `ValueError` for a sentence without words or of more pieces than the encoder is meant for, for entities that
        overlap, and for a kind that the model does not know.
        """
        require_positive(rows=rows)
        model, found = self.model, list[Annotated]()
        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        for start in range(0, len(examples), rows):
            part = [example._replace(relations=()) for example in examples[start : start + rows]]
            pieces = [cut_words(example.words, self.tokenizer) for example in part]
            for index, each in enumerate(pieces, start=start):
                fits = 1 <= sum(map(len, each)) <= self.room
                require(fits, f"examples[{index}]", f"must have 1 to {self.room} pieces", sum(map(len, each)))
            batch = collate(part, pieces, model.config, self.tokenizer.frame).to(device)
            pairs = model(batch.sentences, batch.spans)[1].argmax(-1).tolist()
            found += [
                example._replace(relations=self._relations(pair, len(example.entities)))
                for example, pair in zip(part, pairs, strict=True)
            ]
        model.train(was_training)
        return found

    def save(
        self,
        folder: str | Path,
        *,
        evaluation: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write the model to a new folder, with how it was evaluated and what it scored (see `saved.py`)."""
        about = {"evaluation": evaluation or {}, "record": record or {}}
        save_model(folder, self.model, self.tokenizer, task=TASK, about=about, dtype=dtype)

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "EntityRelationExtractor":
        """Read what `save` wrote; `ValueError` for anything else."""
        device = check_device(device)
        about = read_about(folder, task=TASK, own_fields=())
        config = extraction_config(json.dumps(about["config"]))
        return cls(load_model(folder, lambda: ExtractionModel(config), device=device), load_any_tokenizer(folder))


@checked
def named_relations(example: Annotated) -> list[tuple[str, Entity, Entity]]:
    """(kind, head, tail) of each relation: what must all be right for it to count in a strict score."""
    return [(kind, example.entities[head], example.entities[tail]) for kind, head, tail in example.relations]


@checked
def scores(found: Sequence[Annotated], gold: Sequence[Annotated]) -> dict[str, Any]:
    """Micro and macro F1 and the F1 of each kind, from 0 to 1, for `entities` and for `relations`.

    An entity is right if its kind and both its ends are; a relation if its kind and both its entities are.
    """
    wanted = {"entities": lambda example: example.entities, "relations": named_relations}
    results = {}
    for name, items in wanted.items():
        theirs, ours = [items(example) for example in gold], [items(example) for example in found]
        micro, kinds = strict_f1(ours, theirs), f1_by_kind(ours, theirs)
        results[name] = _plain(micro) | {
            "macro_f1": macro_f1(kinds),
            "kinds": {kind: _plain(score) for kind, score in kinds.items()},
        }
    return results


def _plain(score: F1) -> dict[str, Any]:
    return score._asdict()


def _joined(words: tuple[str, ...], parts: Sequence[tuple[int, Sure]]) -> Sure:
    """What was found in parts of a sentence, each given with its first word's number, counted in the whole sentence."""
    entities: list[Entity] = []
    relations: list[Relation] = []
    for place, (part, *_) in parts:
        relations += [Relation(kind, head + len(entities), tail + len(entities)) for kind, head, tail in part.relations]
        entities += [Entity(kind, start + place, end + place) for kind, start, end in part.entities]
    of_entities = tuple(each for _, part in parts for each in part.entities)
    of_relations = tuple(each for _, part in parts for each in part.relations)
    return Sure(Annotated(words, tuple(entities), tuple(relations)), of_entities, of_relations)
