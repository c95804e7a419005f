"""XQuAD's recipe: splits by article, baselines by hand, and a run from end to end on passages made up for it."""

import dataclasses
import json
import random
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.plain import unchecked
from transformer_lib.data.examples import Answer, Question
from transformer_lib.runs.recipe import Run, load_recipe
from transformer_lib.tasks.reading import SPECIAL_TOKENS, Layout
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

PASSAGE = "In {n} the tower of Lyon was built. It stands by the river {n}x, and Anna paints it."


@pytest.fixture
def recipe() -> ModuleType:
    return load_recipe(Path(__file__).parents[2] / "recipes" / "xquad.py")


def made_up(articles: int) -> list[Question]:
    """Five passages an article, one or two questions each, none with a passage of another's."""
    rows = []
    for n in range(5 * articles):
        context = PASSAGE.format(n=1000 + n)
        rows += [Question(f"{n}a", context, "When was the tower built?", (Answer(str(1000 + n), 3),))]
        if n % 2:
            rows += [Question(f"{n}b", context, "Who paints the tower?", (Answer("Anna", context.index("Anna")),))]
    return rows


def test_no_article_is_in_two_splits(recipe: ModuleType) -> None:
    parts = recipe.split(made_up(48))
    articles = [{int(question.id[:-1]) // 5 for question in part} for part in parts]
    assert articles == [set(range(13, 48)), set(range(10, 13)), set(range(10))]
    assert sum(map(len, parts)) == len(made_up(48))


def test_the_baselines_by_hand(recipe: ModuleType) -> None:
    (question,) = made_up(1)[:1]
    assert recipe.best_sentence(question) == "In 1000 the tower of Lyon was built."
    chinese = Question("1", "北京是首都。上海在海边\uff01", "上海在哪里", ())
    assert recipe.best_sentence(chinese) == "上海在海边\uff01"
    rng = random.Random(0)
    spans = {recipe.random_span(rng, question) for _ in range(500)}
    assert {"1000", "Lyon was built", "it"} <= spans
    assert all(span in question.context and len(span.split()) <= 4 for span in spans)


def test_what_tokens_can_say(recipe: ModuleType) -> None:
    (question,) = made_up(1)[:1]
    assert recipe.sayable(Layout(Tokenizer.from_bpe(BPE([], SPECIAL_TOKENS)), max_length=99), question) == "1000"
    joined = Tokenizer.train([" 100 100"], 258 + 3, SPECIAL_TOKENS)
    inside = question._replace(answers=(Answer("00", 4),))
    assert recipe.sayable(Layout(joined, max_length=99), inside) == "100"


@unchecked()
def test_the_recipe_runs(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recipe, "load_examples", lambda data: made_up(48))
    monkeypatch.setattr(recipe, "MODEL", dataclasses.replace(recipe.MODEL, d_model=16, num_layers=1))
    monkeypatch.setattr(recipe, "VOCAB", {"authored": 300, "en": 270, "zh": 270})
    options = recipe.OPTIONS | {"authored": "60", "authored_epochs": "1", "epochs": "1"}
    results = recipe.run(Run(0, torch.device("cpu"), tmp_path, options=options))
    json.dumps(results, allow_nan=False)
    assert results["en"]["questions"] == {"train": 263, "validation": 22, "test": 75}
    for language in ("en", "zh"):
        assert results[language]["trained"]["test"]["all"]["questions"] == 75
        assert results[language]["trained"]["tokens_can_say"]["all"]["exact_match"] == 100
        assert results["authored"][f"zero_shot_{language}_answering"]["answered"] == 100
    assert results["authored"]["test"]["all"]["questions"] == 1
