"""When a translator is to say that it is unsure: a threshold on its log-probability per token, found by measuring.

A translation counts as wrong if it is no more like its reference than like that of another sentence: if its chrF is
below what one in twenty translations has with the reference that stands before its own. That is a rule for the many; a
good translation in other words may be called wrong by it. Unsure is what lies below the highest threshold below which
at least every second translation is wrong, so that a warning is worth reading.
Specia, Scarton and Paetzold (2018), "Quality Estimation for Machine Translation", has what else a model can tell.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from transformer_lib.checks import require, require_numbers
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.extras import needed
from transformer_lib.tasks.opus import OpusTranslator
from transformer_lib.tasks.translation import Translator

CHANCE = 0.95  # of the translations are less like another reference


@checked
class Judged(NamedTuple):
    """A translation's log-probability per token, its chrF with the reference from 0 to 100, and whether it is wrong."""

    per_token: float
    chrf: float
    wrong: bool


@checked
def judge(translator: Translator | OpusTranslator, pairs: Sequence[Pair], *, beams: int = 5) -> list[Judged]:
    """Translate the source of each pair and compare with its target; `ValueError` for fewer than two pairs."""
    with needed():
        from sacrebleu.metrics.chrf import CHRF

    require(len(pairs) > 1, "pairs", "must be at least 2", len(pairs))
    found = [best for best, *_ in translator.candidates([pair.source for pair in pairs], beams=beams)]
    metric = CHRF()

    def likeness(text: str, reference: str) -> float:
        return float(metric.sentence_score(text, [reference]).score)

    lowercase = isinstance(translator, Translator) and translator.lowercase
    references = [pair.target.lower() if lowercase else pair.target for pair in pairs]
    own = [likeness(each.text, reference) for each, reference in zip(found, references, strict=True)]
    others = [likeness(each.text, references[n - 1]) for n, each in enumerate(found)]
    chance = sorted(others)[int(CHANCE * len(others))]
    return [Judged(each.per_token, chrf, chrf <= chance) for each, chrf in zip(found, own, strict=True)]


@checked
def unsure_below(judged: Sequence[Judged]) -> float | None:
    """The threshold, midway between two translations or 1 above the surest; None where no part is so often wrong."""
    order = sorted(judged)
    found, wrong = None, 0
    for number, each in enumerate(order, start=1):
        wrong += each.wrong
        above = order[number].per_token if number < len(order) else each.per_token + 2
        if 2 * wrong >= number and above > each.per_token:
            found = (each.per_token + above) / 2
    return found


@checked
def sureness(judged: Sequence[Judged], threshold: float) -> dict[str, Any]:
    """What the threshold tells: how many are called unsure, and of these and of the others the share that is wrong.

    `auc` is the chance that of a wrong and another translation the wrong one has the lower log-probability per token;
    `bins` are ten equal groups in the order of it, the least sure first.
    """
    require_numbers(threshold=threshold)
    require(len(judged) > 0, "judged", "must not be empty", judged)
    unsure = [each.wrong for each in judged if each.per_token < threshold]
    others = [each.wrong for each in judged if each.per_token >= threshold]
    order = sorted(judged)
    groups = [order[len(order) * n // 10 : len(order) * (n + 1) // 10] for n in range(10)]
    return {
        "translations": len(judged),
        "wrong": _mean([each.wrong for each in judged]),
        "unsure": len(unsure) / len(judged),
        "wrong where unsure": _mean(unsure),
        "wrong elsewhere": _mean(others),
        "auc": _auc(judged),
        "bins": [
            {
                "per_token": _mean([each.per_token for each in group]),
                "chrf": _mean([each.chrf for each in group]),
                "wrong": _mean([each.wrong for each in group]),
            }
            for group in groups
            if group
        ],
    }


def _mean(values: Sequence[float | bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _auc(judged: Sequence[Judged]) -> float | None:
    scores = torch.tensor([each.per_token for each in judged], dtype=torch.float64)
    wrong = torch.tensor([each.wrong for each in judged])
    below = scores[wrong][:, None] - scores[~wrong]
    return float(((below < 0).double() + (below == 0) / 2).mean()) if below.numel() else None
