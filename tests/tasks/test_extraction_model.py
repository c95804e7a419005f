"""The two heads and their losses against torch's own, sentence by sentence."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.oracles import CONFIG, close, normal, randomise
from transformer_lib.config import to_json
from transformer_lib.data.examples import Annotated, Entity, Relation
from transformer_lib.tasks.extraction_model import (
    Batch,
    ExtractionConfig,
    ExtractionModel,
    PairHead,
    Spans,
    collate,
    collate_sentences,
    collate_spans,
    extraction_config,
    extraction_losses,
)

SHAPE = ExtractionConfig(encoder=CONFIG, kinds=("person", "work"), relations=("wrote", "knows"), pair_width=6)
EXAMPLES = [
    Annotated(
        tuple("abcdef"),
        (Entity("person", 0, 2), Entity("work", 3, 4), Entity("person", 4, 6)),
        (Relation("wrote", 0, 1), Relation("knows", 2, 0), Relation("knows", 0, 2)),
    ),
    Annotated(tuple("ab"), (Entity("person", 1, 2),), ()),
    Annotated(tuple("abc"), (), ()),
]
PIECES = [[[1], [2, 3], [4], [5], [6, 7, 8], [9]], [[4], [3]], [[2, 2], [2], [2]]]


def batch_of(*rows: int) -> Batch:
    return collate([EXAMPLES[row] for row in rows], [PIECES[row] for row in rows], SHAPE)


def model() -> ExtractionModel:
    return randomise(ExtractionModel(SHAPE)).eval()


def test_a_config_comes_back_from_json() -> None:
    assert extraction_config(to_json(SHAPE)) == SHAPE
    assert SHAPE.tags[:5] == ("O", "B-person", "I-person", "L-person", "U-person") and len(SHAPE.tags) == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": []}, "kinds must be a tuple of at least 1 different names"),
        ({"kinds": ["a", "a"]}, "kinds must be a tuple of at least 1 different names"),
        ({"kinds": "person"}, "kinds must be a tuple of strings, got 'person' of type str"),
        ({"relations": [""]}, "relations must be a tuple of at least 0 different names"),
        ({"scheme": "IOB"}, "scheme must be one of"),
        ({"pair_width": 0}, "pair_width must be a whole number of at least 1"),
        ({"encoder": {"type": "Rope", "theta": 10.0}}, "encoder must be a ModelConfig"),
        ({"encoder": 3}, "config must be a JSON object, got 3"),
        ({"type": "ModelConfig"}, "type must be 'ExtractionConfig'"),
        ({"extra": 1}, "fields of ExtractionConfig must be exactly"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_config(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extraction_config(json.dumps(json.loads(to_json(SHAPE)) | changes))


def test_what_is_no_json() -> None:
    with pytest.raises(ValueError, match="config must be a JSON object, got 3"):
        extraction_config("3")
    with pytest.raises(ValueError, match="config must be JSON text"):
        extraction_config("{")


def test_collating_by_hand() -> None:
    batch = batch_of(0, 1)
    pieces, valid, first, real = batch.sentences
    assert pieces.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9], [4, 3, 0, 0, 0, 0, 0, 0, 0]]
    assert valid.sum(1).tolist() == [9, 2] and real.sum(1).tolist() == [6, 2]
    assert first.tolist() == [[0, 1, 3, 4, 5, 8], [0, 1, 0, 0, 0, 0]]
    b, last, unit, other_unit = (SHAPE.tags.index(t) for t in ("B-person", "L-person", "U-person", "U-work"))
    assert batch.tags.tolist() == [[b, last, 0, other_unit, b, last], [0, unit, *[-100] * 4]]
    assert [row.tolist() for row in batch.spans] == [
        [[0, 3, 4], [1, 0, 0]],
        [[2, 4, 6], [2, 0, 0]],
        [[0, 1, 0], [0] * 3],
    ]
    assert batch.relations.tolist() == [
        [[-100, 1, 2], [0, -100, 0], [2, 0, -100]],
        [[-100] * 3, [-100] * 3, [-100] * 3],
    ]


def test_pair_scores_are_torchs_bilinear_form() -> None:
    head = randomise(PairHead(SHAPE)).eval()
    words = normal(2, 6, CONFIG.d_model)
    spans = collate_spans([[(0, 2, 0), (3, 4, 1), (4, 6, 0)], [(1, 6, 1)]])
    found = head(words, spans)
    assert found.shape == (2, 3, 3, 3)

    def ends(row: int, entity: int) -> tuple[Tensor, Tensor]:
        start, end, kind = (int(part[row, entity]) for part in spans)
        vector = words[row, start:end].mean(0) + head.kinds.weight[kind]
        both = F.gelu(F.linear(vector, head.to_ends[0].weight, head.to_ends[0].bias))
        return both[:6], both[6:]

    for row, count in ((0, 3), (1, 1)):
        for i in range(count):
            for j in range(count):
                pair = ends(row, i)[0], ends(row, j)[1]
                close(found[row, i, j], F.bilinear(*pair, head.pair) + head.single(torch.cat(pair)))


def test_losses_are_torchs_cross_entropy_of_gold_tags_and_pairs() -> None:
    net, batch = model(), batch_of(0, 1, 2)
    tags, relations = net(batch.sentences, batch.spans)
    losses = extraction_losses(net, batch)
    close(losses.tags.total, F.cross_entropy(tags.flatten(0, 1), batch.tags.flatten(), reduction="sum"))
    close(losses.relations.total, F.cross_entropy(relations.flatten(0, 2), batch.relations.flatten(), reduction="sum"))
    assert (int(losses.tags.count), int(losses.relations.count)) == (11, 6)
    close(losses.together().total, losses.tags.total + losses.relations.total)
    assert losses.together().count == losses.tags.count


def test_the_other_sentences_of_a_batch_change_nothing() -> None:
    net = model()
    together = extraction_losses(net, batch_of(0, 1, 2))
    alone = [extraction_losses(net, batch_of(row)) for row in range(3)]
    close(together.tags.total, sum(one.tags.total for one in alone))
    close(together.relations.total, sum(one.relations.total for one in alone))


def test_both_losses_train_the_encoder_and_each_its_own_head() -> None:
    net = model()
    for loss in ("tags", "relations"):
        net.zero_grad()
        getattr(extraction_losses(net, batch_of(0)), loss).total.backward()
        moved = {
            name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }
        assert moved == {"encoder", f"to_{loss}"}
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.encoder.blocks.parameters())


def test_a_word_is_read_at_its_first_piece() -> None:
    net, sentences = model(), collate_sentences([PIECES[0]])
    words = net.read(sentences)
    close(words, net.encoder(sentences.pieces)[:, [0, 1, 3, 4, 5, 8]])


def test_no_sentence_of_a_batch_needs_to_have_an_entity() -> None:
    losses = extraction_losses(model(), batch_of(2))
    assert losses.relations.count == 0 and losses.relations.total == 0
    losses.together().total.backward()
    assert isinstance(batch_of(2).spans, Spans)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (EXAMPLES[0]._replace(entities=(Entity("person", 0, 2), Entity("work", 1, 3))), "entities must not overlap"),
        (EXAMPLES[1]._replace(entities=(Entity("town", 1, 2),)), "tag must be one of .*, got 'U-town'"),
        (
            EXAMPLES[0]._replace(relations=(Relation("wrote", 0, 1), Relation("knows", 0, 1))),
            "relations must be one from one entity to another",
        ),
        (EXAMPLES[0]._replace(relations=(Relation("eats", 0, 1),)), "relation must be one of .*, got 'eats'"),
        (EXAMPLES[1]._replace(entities=(Entity("person", 1, 5),)), "entities must be spans"),
    ],
)
def test_examples_that_cannot_be_learned(example: Annotated, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        collate([example], [[[1]] * len(example.words)], SHAPE)
