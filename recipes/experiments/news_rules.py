"""How far do rules that read nothing get on real news?

The names of CoNLL04's 922 training sentences, and the relations of given true entities by their kinds, by neighbours or
by the words between. F1 is a share of 1, over the 288 test sentences; `fresh` leaves out those that stand word for word
in training. `right each`, `given each` and
`wanted each` count every sentence's answers. Nothing is drawn, so all seeds agree.
"""

from functools import cache
from typing import Any

from transformer_lib.data.datasets import conll04
from transformer_lib.data.examples import Splits
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.extraction import named_relations, scores
from transformer_lib.tasks.extraction_shortcuts import by_kinds, by_neighbours, by_words_between, known_names

SHORTCUTS = {
    "known names": known_names,
    "kinds": by_kinds,
    "neighbours": by_neighbours,
    "words between": by_words_between,
}


@cache
def news() -> Splits:
    return conll04()


def run(seed: int, way: str) -> dict[str, Any]:
    return measured(way)


@cache
def measured(way: str) -> dict[str, Any]:
    read, test = SHORTCUTS[way](news().train), news().test
    what = "entities" if way == "known names" else "relations"
    items = (lambda example: set(example.entities)) if what == "entities" else (lambda e: set(named_relations(e)))
    seen = {example.words for example in news().train}
    found: dict[str, Any] = {}
    for name, part in (("", test), ("fresh ", [example for example in test if example.words not in seen])):
        f1 = scores([read(example) for example in part], part)[what]
        found |= {f"{name}f1": f1["f1"], f"{name}macro f1": f1["macro_f1"], f"{name}sentences": len(part)}
    pairs = [(items(read(example)), items(example)) for example in test]
    return found | {
        "right each": [len(ours & true) for ours, true in pairs],
        "given each": [len(ours) for ours, _ in pairs],
        "wanted each": [len(true) for _, true in pairs],
    }


EXPERIMENT = Experiment(
    arms={f"{way} ({'entities' if way == 'known names' else 'relations'})": {"way": way} for way in SHORTCUTS},
    run=run,
    data=news,
)
