"""The encoder that an extractor or an answerer on own data starts from (`--from FOLDER`), and heads that may go on.

The folder is an encoder of Hugging Face's, or one of ours: pre-trained (`train encoder`), an extractor, an answerer.
Its tokenizer is kept, since the encoder knows no other, and so is the length of its longest text.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from transformer_lib.checks import require_kind
from transformer_lib.contract import checked
from transformer_lib.models.classifiers import SpanFinder, TokenClassifier
from transformer_lib.models.encoder import Encoder
from transformer_lib.tasks.encoder import TASK as MASKED
from transformer_lib.tasks.encoder import PretrainedEncoder, encoder_of, read_headed
from transformer_lib.tasks.extraction import TASK as EXTRACTION
from transformer_lib.tasks.extraction import EntityRelationExtractor
from transformer_lib.tasks.extraction_model import ExtractionConfig, ExtractionModel
from transformer_lib.tasks.own.adapting import Base, require_family
from transformer_lib.tasks.question_answering import TASK as ANSWERING
from transformer_lib.tasks.question_answering import QuestionAnswerer, Reader
from transformer_lib.tasks.saved import read_about
from transformer_lib.tasks.tagging import tag_names
from transformer_lib.text.stored import AnyTokenizer

TASKS = (MASKED, EXTRACTION, ANSWERING)
SHARED_MARKED = 3  # segments of a reader of ours: question, passage, and what of the passage the question has, too


@checked
class Start(NamedTuple):
    """The encoder and its tokenizer, and the extraction model or the reader that it was part of."""

    encoder: Encoder
    tokenizer: AnyTokenizer
    model: nn.Module


@checked
def read_encoder(base: Base, device: torch.device | str = "cpu") -> PretrainedEncoder:
    """The pre-trained encoder of a folder, ours or Hugging Face's; `ValueError` if it holds another kind of model."""
    if not base.published:
        return PretrainedEncoder.load(base.folder, device=device)
    require_family(base, "Encoder", "an encoder")
    return PretrainedEncoder.from_hf(base.folder, device=device)


@checked
def read_start(base: Base) -> Start:
    """What the folder holds; `ValueError` for what has no encoder."""
    match MASKED if base.published else read_about(base.folder)["task"]:
        case "extraction":
            extractor = EntityRelationExtractor.load(base.folder)
            return Start(extractor.model.encoder, extractor.tokenizer, extractor.model)
        case "question answering":
            answerer = QuestionAnswerer.load(base.folder)
            return Start(answerer.reader.encoder, answerer.tokenizer, answerer.reader)
        case "masked text" if base.published:
            require_family(base, "Encoder", "an encoder")
            model, tokenizer = read_headed(base.folder)
            return Start(encoder_of(model), tokenizer, model)
        case "masked text":
            found = PretrainedEncoder.load(base.folder)
            return Start(found.encoder, found.tokenizer, found.model)
        case task:
            rule = f"must be a model with an encoder ({', '.join(TASKS)}) for this task"
            raise ValueError(f"--from {rule}, got one of {task!r}")


@checked
class Started(NamedTuple):
    """A model for the task, and the names of its parts that are new."""

    model: nn.Module
    new: tuple[str, ...]


@checked
def extraction_from(start: Start, kinds: Sequence[str], relations: Sequence[str]) -> Started:
    """An extraction model on this encoder; a head goes on if it chooses between the same names.

    So does the head of a published model that labels tokens, if it knows B- and I- of all these kinds.
    """
    require_kind(start.encoder, Encoder, "start.encoder", "an Encoder")
    config = ExtractionConfig(encoder=start.encoder.config, kinds=tuple(kinds), relations=tuple(relations))
    goes_on = {"to_tags": False, "to_relations": False}
    if isinstance(start.model, ExtractionModel):
        before = start.model.config
        config = replace(config, scheme=before.scheme, pair_width=before.pair_width)
        goes_on["to_tags"] = before.kinds == config.kinds
        goes_on["to_relations"] = (before.kinds, before.relations) == (config.kinds, config.relations)
    labels = start.model.labels if isinstance(start.model, TokenClassifier) else ()
    labelled = {*tag_names(kinds, "BIO")} <= {*labels}
    if labelled:
        config = replace(config, scheme="BIO")
    model = ExtractionModel(config)
    model.encoder.load_state_dict(start.encoder.state_dict())
    if labelled:
        rows = [labels.index(tag) for tag in config.tags]
        head = start.model.get_submodule("head").state_dict()
        model.to_tags.load_state_dict({name: tensor[rows] for name, tensor in head.items()})
        goes_on["to_tags"] = True
    for name, same in goes_on.items():
        if same and not labelled:
            model.get_submodule(name).load_state_dict(start.model.get_submodule(name).state_dict())
    return Started(model, tuple(name for name, same in goes_on.items() if not same))


@checked
def reader_from(start: Start) -> Started:
    """A reader on this encoder; the head of another reader goes on, or of a published model that finds spans.

    An encoder of ours that knows no segments gets the three that a reader of ours has; they begin without any effect.
    """
    require_kind(start.encoder, Encoder, "start.encoder", "an Encoder")
    config, published = start.encoder.config, bool(start.tokenizer.frame.between)
    reads = isinstance(start.model, Reader | SpanFinder)
    new = () if reads else ("head",)
    add = not published and not config.segments
    reader = Reader(replace(config, segments=SHARED_MARKED) if add else config)
    state = start.encoder.state_dict()
    if add:
        table = reader.encoder.embedding.segments
        assert table is not None
        state["embedding.segments.weight"] = torch.zeros_like(table.weight)
        new = (*new, "encoder.embedding.segments")
    reader.encoder.load_state_dict(state)
    if reads:
        reader.head.load_state_dict(start.model.get_submodule("head").state_dict())
    return Started(reader, new)
