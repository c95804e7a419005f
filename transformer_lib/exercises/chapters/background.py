"""What `book.check` knows of the exercises of `chapters/background.ipynb`."""

import math
from collections.abc import Callable
from typing import Any

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

STEPS = 255  # from token 256 back to token 1


def _bias(gate: float) -> float:
    return math.log(gate / (1 - gate))


def _word(place: int, wanted: str) -> Callable[[Any], bool]:
    return lambda words: words[place] == wanted


EXERCISES: dict[str, Exercise] = {
    "ex-bg-units": Numbers(
        right={
            "nats per token": math.log(160) / 3,
            "perplexity": 160 ** (1 / 3),
            "bits per byte": math.log2(160) / 10,
        },
        wrong={
            "That is the surprise of all three tokens. Divide by 3.": {"nats per token": math.log(160)},
            "That is the logarithm to the base 10; a nat is by the natural one.": {
                "nats per token": math.log10(160) / 3
            },
            "That is the mean of 8, 5 and 4. Perplexity is a geometric mean: take the third root of their product.": {
                "perplexity": 17 / 3
            },
            "That is bits per *token*. The unit wants bytes, and there are 10.": {"bits per byte": math.log2(160) / 3},
            "Those are nats per byte. Divide by $\\log 2$ for bits.": {"bits per byte": math.log(160) / 10},
        },
        tolerance=0.003,
        why="All three come from one product, $1/160$.",
    ),
    "ex-bg-tokenisers": Numbers(
        right={"perplexity of B": math.sqrt(20)},
        wrong={
            "You halved the perplexity. Two tokens of B cover one of A, and their probabilities are *multiplied*.": {
                "perplexity of B": 10
            },
            "A token of B is half as long, so it is easier to predict: the perplexity must be smaller, not larger.": {
                "perplexity of B": 400
            },
            "Perplexities compare only models with the same tokeniser. Here one has tokens that are twice as long.": {
                "perplexity of B": 20
            },
            "That is what B has. Is it as good as A? Compare the bits per byte.": {"perplexity of B": 8},
        },
        tolerance=0.01,
        why="A is better: B would have to come down from 8 to $\\sqrt{20}$.",
    ),
    "ex-bg-fault": Numbers(
        right={"first": 48 / 9, "second": 8, "third": 2 ** (13 / 9)},
        wrong={
            "`first` takes the exponential of each token *before* it takes the mean.": {"first": 2 ** (13 / 9)},
            "`first` knows no batches: it takes the mean over nine tokens, eight of 2 and one of 32.": {"first": 17},
            "`second` takes the mean of the two batches' surprises, 1 bit and 5 bits, and only then the exponential.": {
                "second": 17
            },
            "`second` gives both batches the same weight, although one has eight tokens and the other one.": {
                "second": 2 ** (13 / 9)
            },
            "`third` takes the mean first and the exponential last.": {"third": 48 / 9},
            "The sum of 13 bits is still to be divided by the nine tokens.": {"third": 2**13},
        },
        tolerance=0.003,
        why="The third is right; the first two report too much here, the second because the short batch is hard.",
    ),
    "ex-bg-half": Made(
        laws={
            'Give four words, each "rise", "fall" or "stay".': lambda words: (
                len(words) == 4 and all(word in ("rise", "fall", "stay") for word in words)
            ),
            "The 1-gram's fit: 1,024 shares are known well from half the text as well.": _word(0, "stay"),
            "The 1-gram held out: its shares are nearly the same, so it predicts other files nearly as well.": _word(
                1, "stay"
            ),
            "The 5-gram's fit: in a shorter text *more* histories occur only once, and what follows those has the "
            "share 1.": _word(2, "fall"),
            "The 5-gram held out: it knows fewer sequences, so more of what it meets is new.": _word(3, "rise"),
        },
        example=lambda: ["stay", "stay", "fall", "rise"],
        wrong=lambda: [
            ["stay", "fall", "rise"],
            ["rise", "stay", "fall", "rise"],
            ["stay", "rise", "fall", "rise"],
            ["stay", "stay", "rise", "rise"],
            ["stay", "stay", "fall", "fall"],
        ],
        why="A falling training loss is no sign of a better model.",
    ),
    "ex-bg-overfit": Numbers(
        right={"first n that overfits": 3, "best n with 0.01": 2},
        wrong={
            "At $n = 2$ the held-out loss still falls, from that of the 1-gram.": {"first n that overfits": 2},
            "The 6-gram fits best and overfits most, but it is not the first to be worse elsewhere.": {
                "first n that overfits": 6
            },
            "With one added the held-out loss of the 4-gram has been climbing for a while.": {
                "first n that overfits": 4
            },
            "Compare the held-out losses, the last of the three numbers: at $n = 3$ it is higher again.": {
                "best n with 0.01": 3
            },
            "That is the best *fit*, the first number. The held-out loss is the last.": {"best n with 0.01": 4},
            "The 1-gram looks at nothing, and a history of one token brings more than a nat.": {"best n with 0.01": 1},
        },
        why="The constant is only part of the trouble: what is added goes to all tokens alike.",
    ),
    "ex-bg-forget": Numbers(
        right={"gate": 0.1 ** (1 / STEPS), "bias": _bias(0.1 ** (1 / STEPS))},
        wrong={
            "From token 256 back to token 1 there are 255 steps.": {"bias": _bias(0.1 ** (1 / 256))},
            "A gate of 0.9 leaves nine tenths at *each* step, and after 255 of them next to nothing.": {"gate": 0.9},
            "You shared the loss of nine tenths out among the steps. They multiply, so it is a root.": {
                "gate": 1 - 0.9 / STEPS
            },
            "That is $\\log f$. The gate is $\\sigma(b)$, so $b = \\log\\frac{f}{1 - f}$.": {
                "bias": math.log(0.1) / STEPS
            },
            "The sign is the wrong way round: a gate above one half has a positive bias.": {
                "bias": -_bias(0.1 ** (1 / STEPS))
            },
        },
        tolerance=0.001,
        why="$f^{255} = 1/10$; even 0.99 leaves less.",
    ),
    "ex-bg-depth": Numbers(
        right={"equal gaps": 50, "doubling gaps": 6},
        wrong={
            "A kernel of 3 reaches back by *two* positions, so it is half as many layers.": {"equal gaps": 100},
            "Neighbouring windows share a position: a layer adds two and not three.": {"equal gaps": 34},
            "49 layers reach back by 98 positions.": {"equal gaps": 49},
            "Five layers reach back by $2(1 + 2 + 4 + 8 + 16) = 62$.": {"doubling gaps": 5},
            "That is for a kernel of 2, which reaches back by one gap. A kernel of 3 reaches back by two.": {
                "doubling gaps": 7
            },
        },
        why="Equal gaps reach back by $2L$, doubling ones by $2(2^L - 1)$.",
    ),
    "ex-bg-beat": Made(
        laws={
            "The loss is infinite, so $1/V$ got the weight 0. Were the weights chosen on the training text, which the "
            "3-gram knows by heart?": lambda nats: math.isfinite(float(nats)),
            "That is no better than the 2-gram with Kneser-Ney smoothing. Repeat the rule of the hint until the "
            "weights settle.": lambda nats: float(nats) < 4.32,
            "No weights of these four shares come so low. Were the files of `text.test` counted too?": lambda nats: (
                float(nats) > 4.0
            ),
        },
        example=lambda: 4.18,
        wrong=lambda: [math.inf, 4.6, 2.1],
        why="The weights are the same after every history; that is what Kneser-Ney smoothing does better.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
