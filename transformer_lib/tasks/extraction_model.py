"""One encoder, two heads: a tag for every word, and a relation for every ordered pair of entities.

Both are trained together, so that the encoder learns what either needs. In training the pairs are those of the gold
entities, whatever the tags say; when reading, those of the entities that the tags give. So errors of the first head
become errors of the second, but the loss never waits for the tags to be right.

The biaffine pair scores are those of Dozat and Manning (2017). Left out: nested entities, and several relations from
one entity to another.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.checks import require, require_positive
from transformer_lib.config import ModelConfig, from_json
from transformer_lib.contract import checked
from transformer_lib.data.batching import pad
from transformer_lib.data.examples import Annotated
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import TokenHead
from transformer_lib.nn.dropout import Dropout
from transformer_lib.nn.fit import require_fit
from transformer_lib.tasks.tagging import Scheme, tag_names, tags_of
from transformer_lib.text.frame import Frame
from transformer_lib.training.loss import LossSum, token_loss

IGNORED = -100
UNFRAMED = Frame()  # of this library's own tokenizers


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractionConfig:
    """The encoder, what it is to find, how entities are spelled as tags, and the width of the vectors of a pair."""

    encoder: ModelConfig
    kinds: tuple[str, ...]
    relations: tuple[str, ...]
    scheme: Scheme = "BILOU"
    pair_width: int = 64

    def __post_init__(self) -> None:
        for name, least in (("kinds", 1), ("relations", 0)):
            value = getattr(self, name)
            rule = f"must be a tuple of at least {least} different names"
            require(all(value) and len(set(value)) == len(value) >= least, name, rule, value)
        require_positive(pair_width=self.pair_width)

    @property
    def tags(self) -> tuple[str, ...]:
        """What the tag head chooses between."""
        return tag_names(self.kinds, self.scheme)


@checked
def extraction_config(text: str) -> ExtractionConfig:
    """The config that `to_json` wrote; `ValueError` for anything else."""
    try:
        tagged = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config must be JSON text: {error}") from error
    known = {field.name for field in fields(ExtractionConfig)}
    require(isinstance(tagged, dict), "config", "must be a JSON object", tagged)
    require(tagged.get("type") == "ExtractionConfig", "type", "must be 'ExtractionConfig'", tagged.get("type"))
    found = {name: value for name, value in tagged.items() if name != "type"}
    require(found.keys() == known, "fields of ExtractionConfig", f"must be exactly {sorted(known)}", sorted(found))
    lists = {name: tuple(found[name]) for name in ("kinds", "relations") if isinstance(found[name], list)}
    try:
        return ExtractionConfig(**found | lists | {"encoder": from_json(json.dumps(found["encoder"]))})
    except TypeError as error:  # the text is at fault, not the caller
        raise ValueError(str(error)) from error


@checked
class Sentences(NamedTuple):
    """Words as pieces: `first` is the place of each word's first piece; both axes are padded, as `valid` says."""

    pieces: Int[Tensor, "batch piece"]
    valid: Bool[Tensor, "batch piece"]
    first: Int[Tensor, "batch word"]
    real: Bool[Tensor, "batch word"]

    def to(self, device: torch.device) -> "Sentences":
        """The same on another device."""
        return Sentences(*(part.to(device) for part in self))


@checked
class Spans(NamedTuple):
    """Entities: the words start to end - 1 are of a kind; padding has start = end = 0."""

    start: Int[Tensor, "batch entity"]
    end: Int[Tensor, "batch entity"]
    kind: Int[Tensor, "batch entity"]

    def to(self, device: torch.device) -> "Spans":
        """The same on another device."""
        return Spans(*(part.to(device) for part in self))


@checked
class Batch(NamedTuple):
    """Sentences with what is marked in them; targets at padding, and from an entity to itself, are -100."""

    sentences: Sentences
    tags: Int[Tensor, "batch word"]
    spans: Spans
    relations: Int[Tensor, "batch entity entity"]  # 0 is no relation

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        sentences, tags, spans, relations = Batch(*self)  # whoever replaced a part is told if it does not fit
        return Batch(sentences.to(device), tags.to(device), spans.to(device), relations.to(device))


@checked
class PairHead(nn.Module):
    """score_r(i, j) = h_i^T U_r t_j + w_r . (h_i, t_j) + b_r for each relation r, and for none (Dozat and Manning).

    h_i and t_j are what entity i says as a head and entity j as a tail: a linear map with a GELU of the mean vector of
    its words and a vector for its kind.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        super().__init__()
        d_model, width, labels = config.encoder.d_model, config.pair_width, len(config.relations) + 1
        self.kinds = nn.Embedding(len(config.kinds), d_model)
        self.to_ends = nn.Sequential(nn.Linear(d_model, 2 * width), nn.GELU(), Dropout(config.encoder.dropout))
        self.pair = nn.Parameter(torch.randn(labels, width, width) * width**-0.5)
        self.single = nn.Linear(2 * width, labels)
        nn.init.normal_(self.kinds.weight, std=0.02)

    def forward(
        self, words: Float[Tensor, "batch word d_model"], spans: Spans
    ) -> Float[Tensor, "batch entity entity label"]:
        """Scores of every relation from each entity to each; those of padding mean nothing."""
        spans = Spans(*spans)
        require_fit("words", words, self.kinds.weight)
        require(len(spans.kind) == len(words), "spans", f"must be those of {len(words)} sentences", len(spans.kind))
        place = torch.arange(words.shape[1], device=words.device)
        inside = (spans.start[..., None] <= place) & (place < spans.end[..., None])
        weight = inside.to(words.dtype) / inside.sum(-1, keepdim=True).clamp(min=1)
        ends = self.to_ends(weight @ words + self.kinds(spans.kind))
        head, tail = ends.chunk(2, dim=-1)
        of_head, of_tail = self.single.weight.chunk(2, dim=1)
        single = (head @ of_head.T)[:, :, None] + (tail @ of_tail.T)[:, None] + self.single.bias
        return torch.einsum("bip,rpq,bjq->bijr", head, self.pair, tail) + single


@checked
class ExtractionModel(nn.Module):
    """The encoder with its two heads."""

    def __init__(self, config: ExtractionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.dropout = Dropout(config.encoder.dropout)
        self.to_tags = TokenHead(config.encoder.d_model, len(config.tags))
        self.to_relations = PairHead(config)

    def read(self, sentences: Sentences) -> Float[Tensor, "batch word d_model"]:
        """A vector for each word: that of its first piece."""
        sentences = Sentences(*sentences)
        x = self.encoder(sentences.pieces, valid=sentences.valid)
        return self.dropout(x.gather(1, sentences.first[..., None].expand(-1, -1, x.shape[-1])))

    def forward(
        self, sentences: Sentences, spans: Spans
    ) -> tuple[Float[Tensor, "batch word tag"], Float[Tensor, "batch entity entity label"]]:
        """The scores of the tags, and those of the relations between the given entities."""
        words = self.read(sentences)
        return self.to_tags(words), self.to_relations(words, spans)


@checked
class ExtractionLoss(NamedTuple):
    """Both losses, in nats, with the words and the ordered pairs that they are summed over."""

    tags: LossSum
    relations: LossSum

    def together(self) -> LossSum:
        """What is trained on: all nats, for each word."""
        return LossSum(self.tags.total + self.relations.total, self.tags.count)


@checked
def extraction_losses(model: nn.Module, batch: Batch) -> ExtractionLoss:
    """The cross entropy of every tag and, between gold entities, of every relation."""
    batch = batch.to(next(model.parameters()).device)
    tags, relations = model(batch.sentences, batch.spans)
    pairs = token_loss(relations.flatten(1, 2), batch.relations.flatten(1, 2), ignore=IGNORED)
    return ExtractionLoss(token_loss(tags, batch.tags, ignore=IGNORED), pairs)


@checked
def collate_sentences(pieces: Sequence[Sequence[Sequence[int]]], frame: Frame = UNFRAMED) -> Sentences:
    """The pieces of each word of each sentence, in one tensor; no sentence and no word is without any.

    Each sentence stands between the special tokens of the frame.
    """
    before, _, after = frame
    tokens = pad([[*before, *(i for word in sentence for i in word), *after] for sentence in pieces], pad_id=0)
    lengths = [torch.tensor([len(before), *(len(word) for word in sentence)]).cumsum(0) for sentence in pieces]
    first = pad([ends[:-1] for ends in lengths], pad_id=0)
    return Sentences(tokens.tokens, tokens.valid, first.tokens, first.valid)


@checked
def collate_spans(entities: Sequence[Sequence[tuple[int, int, int]]]) -> Spans:
    """(start, end, kind) of each entity of each sentence, at least one column of them."""
    require(len(entities) > 0, "entities", "must not be empty", entities)
    width = max(1, *map(len, entities))
    rows = torch.tensor([[*row, *[(0, 0, 0)] * (width - len(row))] for row in entities])
    return Spans(*rows.unbind(-1))


@checked
def collate(
    examples: Sequence[Annotated],
    pieces: Sequence[Sequence[Sequence[int]]],
    config: ExtractionConfig,
    frame: Frame = UNFRAMED,
) -> Batch:
    """A batch to train on; `ValueError` for an entity, a kind or a relation that the config does not provide for."""
    tag_ids = {tag: index for index, tag in enumerate(config.tags)}
    kind_ids = {kind: index for index, kind in enumerate(config.kinds)}
    relation_ids = {relation: index for index, relation in enumerate(config.relations, start=1)}
    tags = pad([[_known(tag_ids, tag, "tag") for tag in tags_of(e, config.scheme)] for e in examples], IGNORED)
    spans = collate_spans([[(e.start, e.end, _known(kind_ids, e.kind, "kind")) for e in x.entities] for x in examples])
    width = spans.start.shape[1]
    relations = torch.full((len(examples), width, width), IGNORED)
    for row, example in zip(relations, examples, strict=True):
        count = len(example.entities)
        row[:count, :count] = 0
        row.fill_diagonal_(IGNORED)
        for kind, head, tail in example.relations:
            require(int(row[head, tail]) == 0, "relations", "must be one from one entity to another", example.relations)
            row[head, tail] = _known(relation_ids, kind, "relation")
    return Batch(collate_sentences(pieces, frame), tags.tokens, spans, relations)


def _known(ids: dict[str, int], name: str, what: str) -> int:
    require(name in ids, what, f"must be one of {list(ids)}", name)
    return ids[name]
