"""How far does a logistic regression over short runs of words get on real questions?

It gives each run of up to six words of the passage a linear score, from how near the question's rare words are, the
form of its words and of those around it, and its length, each again for every kind of question. It is trained on
XQuAD's 845 English training questions or, for a curve over their number, on some of them that each seed draws anew;
as many steps for all, and the weights with the least loss on validation stay. It answers the 274 questions of the test.
Exact match and F1 are in per cent, the lists as in the experiment on rules; `can be said` is the share of the true
answers that are such a run.
"""

import importlib.util
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.data.examples import Question
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.answer_rules import ASKED, COMMON, WORD

_SPEC = importlib.util.spec_from_file_location("question_rules", Path(__file__).with_name("question_rules.py"))
assert _SPEC is not None and _SPEC.loader is not None
RULES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(RULES)

LONGEST = 6  # words of an answer that the regression considers
FORMS = ("common", "capital", "year", "number", "other", "outside")
SHAPES = 5 * len(FORMS)  # as many lengths as forms
BATCH, ROUNDS, PATIENCE = 64, 60, 15
ALL = 845


def run(seed: int, questions: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    train: list[Question] = RULES.asked().train
    assert len(train) == ALL
    if questions < ALL:
        train = random.Random(seed).sample(train, questions)
    weights, test = regression(train, RULES.asked().validation), RULES.asked().test
    known = [candidates(question) for question in test]
    texts = [spans[int(scored(weights, *rest).argmax())] for spans, *rest in known]
    can = [question.answers[0].text in spans for question, (spans, *_) in zip(test, known, strict=True)]
    return RULES.answered(texts) | {"can be said": sum(can) / len(can)}


def regression(train: Sequence[Question], validation: Sequence[Question]) -> Tensor:
    """Weights that give the true candidate the highest score, with the least loss on validation of many rounds."""
    rows, held = ([candidates(question) for question in part] for part in (train, validation))
    weights = nn.Parameter(0.01 * torch.randn(5 + SHAPES * (len(ASKED) + 2)))
    optimiser = torch.optim.Adam([weights], lr=0.05)
    best, kept, since, queue = math.inf, weights.detach().clone(), 0, list[Tensor]()
    for _ in range(ROUNDS):
        for _ in range(math.ceil(ALL / BATCH)):
            queue = queue or list(torch.randperm(len(train)).split(BATCH))
            some = queue.pop().tolist()
            optimiser.zero_grad()
            loss = nats(weights, [rows[i] for i in some], [train[i] for i in some])
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            now = nats(weights, held, validation).item()
        since += 1
        if now < best:
            best, kept, since = now, weights.detach().clone(), 0
        if since == PATIENCE:
            break
    return kept


def scored(weights: Tensor, measured: Tensor, shapes: Tensor) -> Tensor:
    """The sum of the weights of what is so of each candidate, and of what is measured times its weights."""
    return measured @ weights[:5] + weights[5:][shapes.long()].sum(-1)


def nats(weights: Tensor, rows: Sequence[tuple[list[str], Tensor, Tensor]], part: Sequence[Question]) -> Tensor:
    """The mean over the questions whose answer is a candidate of -ln of the candidates' share that is the answer."""
    losses = []
    for (spans, *known), question in zip(rows, part, strict=True):
        right = torch.tensor([span == question.answers[0].text for span in spans])
        if right.any():
            scores = scored(weights, *known)
            losses.append(scores.logsumexp(0) - scores[right].logsumexp(0))
    return torch.stack(losses).mean()


@cache
def candidates(question: Question) -> tuple[list[str], Tensor, Tensor]:
    """Every run of up to six words of the passage, with five measures of it and the numbers of what is so of it.

    So may be the forms of its first and last word and of those around it, and its length; each again for every kind of
    question.
    """
    text = question.context
    marks = list(WORD.finditer(text))
    words = [mark[0].lower() for mark in marks]
    wanted = {word.lower() for word in WORD.findall(question.question)}
    nearness = near(words, wanted - COMMON)
    forms = [form(mark[0]) for mark in marks] + [FORMS.index("outside")]  # the last stands before and after the text
    kind = next(
        (i for i, (pattern, _) in enumerate(ASKED) if re.search(pattern, question.question.lower())), len(ASKED)
    )
    spans, measured, shapes = [], [], []
    for start in range(len(marks)):
        for end in range(start, min(start + LONGEST, len(marks))):
            if end > start and re.search(r"[.;:!?()]", text[marks[end - 1].end() : marks[end].start()]):
                break
            first, last = marks[start].start(), marks[end].end()
            spans.append(text[first:last])
            inside = sum(word in wanted for word in words[start : end + 1]) / (end - start + 1)
            closed = text[last : last + 1] in tuple(",.;:!?)")
            measured.append((nearness[start], nearness[end], inside, closed, text[first - 1 : first] == "("))
            places = (forms[start], forms[end], forms[start - 1], forms[end + 1], end - start)
            so = [len(FORMS) * slot + place for slot, place in enumerate(places)]
            shapes.append((*so, *(SHAPES * (1 + kind) + number for number in so)))
    return spans, torch.tensor(measured, dtype=torch.float32), torch.tensor(shapes, dtype=torch.int16)


def near(words: Sequence[str], rare: set[str]) -> list[float]:
    """For each word of the passage the weights of the question's words, by the root of their distance, as a share."""
    often, best = Counter(words), [0.0] * len(words)
    for word in rare & often.keys():
        places = [place for place, other in enumerate(words) if other == word]
        weight = math.log(1 + 1 / often[word])
        for here in range(len(words)):
            best[here] += weight / (1 + min(abs(here - place) for place in places)) ** 0.5
    most = max(best)
    return [value / most if most else 0.0 for value in best]


def form(word: str) -> int:
    if re.fullmatch(r"[12]\d{3}s?", word):
        return FORMS.index("year")
    if word[0].isdigit():
        return FORMS.index("number")
    if word.lower() in COMMON:
        return FORMS.index("common")
    return FORMS.index("capital" if word[0].isupper() else "other")


EXPERIMENT = Experiment(
    arms={
        "logistic regression": {"questions": ALL},
        "422 questions": {"questions": 422},
        "211 questions": {"questions": 211},
        "106 questions": {"questions": 106},
    },
    run=run,
    data=RULES.asked,
)
