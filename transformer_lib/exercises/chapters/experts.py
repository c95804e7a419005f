"""What `book.check` knows of the exercises of `chapters/frontier/experts.ipynb`."""

import math

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.numbers import Numbers


def _sigmoid(x: int | float) -> float:
    return 1 / (1 + math.exp(-x))


_ALL = sum(math.exp(x) for x in (2, 1, 0, -1))
_EXPERT = 3 * 2880**2 / 1e9  # thousand millions of weights


def _fetched(k: int, E: int, n: int) -> float:
    return E * (1 - (1 - k / E) ** n)


EXERCISES: dict[str, Exercise] = {
    "ex-exp-weights": Numbers(
        right={
            "first weight": _sigmoid(1),
            "second weight": _sigmoid(-1),
            "first, by sigmoids": _sigmoid(2) / (_sigmoid(2) + _sigmoid(1)),
        },
        wrong={
            "You took the softmax of all four and did not divide: the two weights must sum to 1.": {
                "first weight": math.exp(2) / _ALL,
                "second weight": math.exp(1) / _ALL,
            },
            "You divided the logits themselves. Weights come from their exponentials.": {
                "first weight": 2 / 3,
                "second weight": 1 / 3,
            },
            "The sigmoids must be divided by their sum as well.": {"first, by sigmoids": _sigmoid(2)},
            "You took the sigmoid of the difference of the two. That is the softmax of both: with sigmoids each "
            "logit is judged by itself.": {"first, by sigmoids": _sigmoid(1)},
        },
        tolerance=0.0006,
        why="A common shift of the logits cancels in the softmax, and it does not with sigmoids.",
    ),
    "ex-exp-count": Numbers(
        right={"in all": 36 * 128 * _EXPERT, "at work": 36 * 4 * _EXPERT},
        wrong={
            "That is one layer. There are 36 of them.": {"in all": 128 * _EXPERT, "at work": 4 * _EXPERT},
            "You counted two matrices an expert. These are gated and have three.": {
                "in all": 24 * 128 * _EXPERT,
                "at work": 24 * 4 * _EXPERT,
            },
            "You took 4 of 128 of the whole model. What is not an expert always works.": {"at work": 116.8 * 4 / 128},
            "A token uses four experts in each layer, and not one.": {"at work": 36 * _EXPERT},
        },
        tolerance=0.05,
        why="Nearly all weights lie in experts, but only about seven tenths of those at work.",
    ),
    "ex-exp-below": Numbers(
        right={"violation": 0.2, "loss": 2 * (0.6 * 0.346 + 0.4 * 0.654)},
        wrong={
            "You put in the shares of the choices twice. $p_e$ is a mean of probabilities.": {
                "loss": 2 * (0.6 * 0.6 + 0.4 * 0.4)
            },
            "You took the probabilities of those who chose the expert. $p_e$ is a mean over *all* tokens.": {
                "loss": 2 * (0.6 * 0.51 + 0.4 * 0.9)
            },
            "You forgot the factor $E = 2$.": {"loss": 0.6 * 0.346 + 0.4 * 0.654},
            "That is how far the busiest is from the mean. Divide it by the mean, one half.": {"violation": 0.1},
            "You compared the busiest with the other one. The violation compares it with the mean.": {"violation": 0.5},
        },
        tolerance=0.0005,
        why="The loss is below $k$ although the loads are uneven: look at the loads themselves.",
    ),
    "ex-exp-sequence": Numbers(
        right={"over the batch": 1, "text by text": 2},
        wrong={
            "You forgot the factor $E = 2$.": {"over the batch": 0.5, "text by text": 1},
            "You took the mean of the texts' losses for that of the batch. The loss is a product of two means, and "
            "over the batch both are one half.": {"over the batch": 2},
            "Within one text $f = p = (1, 0)$, and the loss is $2\\cdot 1\\cdot 1$.": {"text by text": 1},
            "You added the losses of the two texts. Take their mean.": {"text by text": 4},
        },
        why="Text by text, an expert for one kind of text is punished; over the whole batch it is not.",
    ),
    "ex-exp-pays": Numbers(
        right={"one head": 1.85 / (1 + 1 / 61), "two heads": 1 + 0.85 + 0.85 * 0.8},
        wrong={
            "You left out what the head itself costs: a pass with it costs $1 + 1/61$.": {"one head": 1.85},
            "You subtracted the cost from the words. It is paid in passes: divide by $1 + 1/61$.": {
                "one head": 1.85 - 1 / 61
            },
            "You kept the second draft after a refused first.": {"two heads": 1 + 0.85 + 0.8},
            "You forgot the word that each pass writes itself.": {"two heads": 0.85 + 0.85 * 0.8},
            "You counted the pairs that are kept whole. A first draft counts even if the second is refused.": {
                "two heads": 1 + 0.85 * 0.8
            },
        },
        tolerance=0.0006,
        why="All of this assumes that checking more words costs nothing more.",
    ),
    "ex-exp-checking": Function(
        right=_fetched,
        wrong={
            "You counted an expert once for each word that chose it. Fetched once, it serves all of them.": (
                lambda k, E, n: k * n
            ),
            "That is the most that can be fetched. Words may choose the same experts, and then it is less.": (
                lambda k, E, n: min(k * n, E)
            ),
            "You counted the experts that *all* words chose. One is fetched if any of them chose it.": (
                lambda k, E, n: E * (k / E) ** n
            ),
            "You took the experts that not all words chose. What counts is those that none chose.": (
                lambda k, E, n: E * (1 - (k / E) ** n)
            ),
            "That is how many are *not* fetched.": lambda k, E, n: E * (1 - k / E) ** n,
            "You let a word choose the same expert twice. Its $k$ experts differ, so it passes one over with "
            "probability $1 - k/E$.": lambda k, E, n: E * (1 - (1 - 1 / E) ** (k * n)),
        },
        cases=lambda: [[2, 8, 1], [2, 8, 2], [2, 8, 3], [8, 8, 2], [8, 256, 3]],
        properties={
            "One word fetches its own $k$ experts.": lambda function, k, E, n: abs(function(k, E, 1) - k) < 1e-9,
            "More than $E$ experts there are not.": lambda function, k, E, n: function(k, E, 100) <= E + 1e-9,
        },
        tolerance=1e-9,
        why="With fine grains nearly every word brings experts of its own, so drafts save little of the fetching.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
