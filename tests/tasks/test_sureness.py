"""When a translator is unsure: the threshold and what it tells, against counting by hand."""

import random
from pathlib import Path

import pytest

from transformer_lib.data.examples import Pair
from transformer_lib.tasks.sureness import Judged, judge, sureness, unsure_below
from transformer_lib.tasks.translation import Translator

MODEL = Path(__file__).parents[2] / "recipes" / "models" / "tatoeba-en-zh"


def drawn(count: int) -> list[Judged]:
    rng = random.Random(0)
    return [Judged(-rng.random() - (rng.random() < 0.3), 10.0, rng.random() < 0.4) for _ in range(count)]


def test_below_the_threshold_every_second_is_wrong_and_it_is_the_highest() -> None:
    judged = drawn(60)
    found = unsure_below(judged)
    assert found is not None

    def share(threshold: float) -> float:
        below = [each.wrong for each in judged if each.per_token < threshold]
        return sum(below) / len(below)

    assert share(found) >= 0.5
    higher = [each.per_token + 1e-9 for each in judged if each.per_token > found]
    assert higher and max(map(share, higher)) < 0.5
    right = [each._replace(wrong=False) for each in judged]
    assert unsure_below(right) is None and unsure_below([]) is None
    worst = max(each.per_token for each in judged)
    assert unsure_below([each._replace(wrong=True) for each in judged]) == worst + 1
    tied = [Judged(-1.0, 0.0, True), Judged(-1.0, 9.0, False), Judged(-1.0, 9.0, False)]
    assert unsure_below(tied) is None  # no threshold lies between equals


def test_what_a_threshold_tells_by_counting() -> None:
    judged = [Judged(-3.0, 1.0, True), Judged(-2.0, 30.0, False), Judged(-1.0, 5.0, True), Judged(-0.5, 50.0, False)]
    told = sureness(judged, -1.5)
    assert (told["translations"], told["wrong"], told["unsure"]) == (4, 0.5, 0.5)
    assert (told["wrong where unsure"], told["wrong elsewhere"], told["auc"]) == (0.5, 0.5, 0.75)
    assert [row["per_token"] for row in told["bins"]] == [-3.0, -2.0, -1.0, -0.5]
    assert sureness(judged, -9.0)["wrong where unsure"] is None
    judged = drawn(101)
    pairs = [(a, b) for a in judged for b in judged if a.wrong and not b.wrong]
    auc = sum((a.per_token < b.per_token) + (a.per_token == b.per_token) / 2 for a, b in pairs) / len(pairs)
    assert abs(sureness(judged, -1.0)["auc"] - auc) < 1e-12


def test_a_translation_like_its_reference_is_not_wrong() -> None:
    translator = Translator.load(MODEL)
    sources = ["I love you.", "He is a doctor.", "Where do you live?"]
    written = translator(sources)
    judged = judge(translator, [Pair(s, t) for s, t in zip(sources, written, strict=True)])
    assert [each.chrf for each in judged] == [100.0] * 3 and not any(each.wrong for each in judged)
    turned = judge(translator, [Pair(s, t) for s, t in zip(sources, (*written[1:], written[0]), strict=True)])
    assert all(each.wrong for each in turned)
    with pytest.raises(ValueError, match="pairs must be at least 2, got 1"):
        judge(translator, [Pair("a", "b")])
