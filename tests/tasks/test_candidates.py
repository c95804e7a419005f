"""The best translations with their log-probabilities, against the model's own numbers summed up in float64."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from transformer_lib.data.examples import Pair
from transformer_lib.generation.beam import Beams
from transformer_lib.tasks.candidates import NOTHING, Translation, best_of
from transformer_lib.tasks.translation import END, START, Translator

MODEL = Path(__file__).parents[2] / "recipes" / "models" / "tatoeba-en-zh"
TEXTS = ["I am here.", "", "Where do you live?"]


@pytest.fixture(scope="module")
def translator() -> Translator:
    """In float64, so that sums can be compared."""
    loaded = Translator.load(MODEL)
    return replace(loaded, model=copy.deepcopy(loaded.model).double())


def test_a_log_probability_is_the_sum_over_the_tokens(translator: Translator) -> None:
    found = translator.candidates(TEXTS, beams=4, n_best=4)
    assert found[1] == [NOTHING]
    checked = 0
    for source, row in zip(TEXTS, found, strict=True):
        assert len({each.text for each in row}) == len(row)
        scores = [each.per_token for each in row]
        assert scores == sorted(scores, reverse=True)
        for each in row if source else ():
            batch = translator.batch([Pair(source, each.text)])
            length = int((batch.labels >= 0).sum())
            if length != each.tokens:
                continue  # the search has spelled this text in other tokens than the tokeniser
            with torch.no_grad():
                logits = translator.model(batch.source, batch.target, source_valid=batch.source_valid)
            steps = logits.log_softmax(-1).gather(-1, batch.labels[..., None]).double()
            if batch.labels[0, -1] == translator.tokenizer.special_tokens[END]:
                assert abs(float(steps.sum()) - each.log_prob) < 1e-9
                checked += 1
    assert checked >= 4


def test_a_call_gives_the_first(translator: Translator) -> None:
    assert translator(TEXTS, beams=4) == [row[0].text for row in translator.candidates(TEXTS, beams=4, n_best=3)]
    assert translator.tokenizer.special_tokens[START] != translator.tokenizer.special_tokens[END]
    with pytest.raises(ValueError, match="n_best must be at most the number of beams, 2, got 3"):
        translator.candidates(TEXTS, beams=2, n_best=3)


def found(texts: list[str], source: str = "a", n_best: int = 9) -> list[Translation]:
    """The translations of one source by beams that spell these texts, one likelier than the next."""
    count = len(texts)
    beams = Beams(
        torch.arange(count)[None, :, None],
        torch.ones(1, count, dtype=torch.long),
        -torch.arange(1.0, count + 1)[None],
        -torch.arange(1.0, count + 1)[None],
    )
    return best_of(beams, [source], lambda ids: texts[ids[0]], n_best=n_best)[0]


def test_no_translation_holds_the_sign_of_broken_bytes() -> None:
    assert found(["a\ufffdb", "c", "d"]) == [Translation("c", -2, 1), Translation("d", -3, 1), Translation("ab", -1, 1)]
    assert found(["\ufffd", "\ufffd\ufffd"]) == [Translation("", -1, 1)]
    assert found(["a\ufffdb", "c"], source="\ufffd")[0].text == "a\ufffdb"  # asked for
    assert [each.text for each in found(["a\ufffdb", "c", "c", "d"], n_best=2)] == ["c", "d"]


def test_texts_that_are_missing_are_left_out() -> None:
    beams = Beams(
        torch.tensor([[[1], [0]]]), torch.tensor([[1, 0]]), torch.tensor([[-1.0, -torch.inf]]), torch.zeros(1, 2)
    )
    assert best_of(beams, ["a"], str, n_best=2) == [[Translation("[1]", -1.0, 1)]]
    assert Translation("", -3.0, 0).per_token == -3.0 and Translation("a", -3.0, 2).per_token == -1.5
