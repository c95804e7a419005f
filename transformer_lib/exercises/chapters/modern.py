"""What `book.check` knows of the exercises of `chapters/frontier/modern.ipynb`."""

import math
from collections.abc import Mapping
from typing import Any

from transformer_lib.config import ModelConfig, in_words
from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.interop.configs import read_config

# The lines of gpt-oss-20b's published config that its model needs, and some that it does not.
_OSS: dict[str, Any] = {
    "attention_bias": True,
    "head_dim": 64,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}


def _changed(config: Mapping[str, Any]) -> list[str]:
    return [name for name, value in _OSS.items() if name not in config or config[name] != value]


def _window(config: Mapping[str, Any]) -> str:
    model = read_config(dict(config))
    assert isinstance(model, ModelConfig)
    return in_words(model)["window"]


def _weight_of_one(score: int | float, others: int | float) -> float:
    return math.exp(score) / (math.exp(score) + 999 * math.exp(others))


EXERCISES: dict[str, Exercise] = {
    "ex-modern-width": Numbers(
        right={"width": 11008, "times d": 3.5},
        wrong={
            "You halved the MLP's width, as if the gate replaced a matrix. It is a third one, so two thirds remain.": {
                "width": 8192
            },
            "That is the exact width. Round it up to a multiple of 256.": {"width": 8 * 4096 / 3},
            "You set $4d^2$ against $3dw$: the MLP has two matrices of that size.": {"width": 5632},
            "With the same width the SwiGLU has half as many weights again.": {"width": 16384},
            "You compared Llama 3 with Llama 2. The question is how many times $d = 4096$ it is.": {
                "times d": 14336 / 11008
            },
        },
        tolerance=0.05,
        why="Three matrices of width $8d/3$ have as many weights as two of $4d$. Llama 3 chose to have more.",
    ),
    "ex-modern-sharp": Numbers(
        right={"d_k = 16": _weight_of_one(4, -4), "d_k = 128": _weight_of_one(128**0.5, -(128**0.5))},
        wrong={
            "You gave the other keys the score 0. So random keys would score; the bound asks for the extreme, "
            "$-\\sqrt{d_k}$.": {"d_k = 16": _weight_of_one(4, 0), "d_k = 128": _weight_of_one(128**0.5, 0)},
            "You took 1 as the largest score. RMSNorm makes vectors of length $\\sqrt{d_k}$, not of length 1.": {
                "d_k = 16": _weight_of_one(1, -1)
            },
            "You took $d_k$ as the largest score: the scores are divided by $\\sqrt{d_k}$.": {
                "d_k = 16": _weight_of_one(16, -16)
            },
        },
        tolerance=0.0005,
        why="The weight is $1/(1 + 999\\,e^{-2\\sqrt{d_k}})$: a narrow head has to learn larger gains.",
    ),
    "ex-modern-rest": Numbers(
        right={"sink, T = 100": math.log(9900), "sink, T = 10,000": math.log(990_000), "gate": -math.log(99)},
        wrong={
            "You weighed the sink against a single token. There are $T$ of them, each counting $e^0 = 1$.": {
                "sink, T = 100": math.log(99),
                "sink, T = 10,000": math.log(99),
            },
            "You set $T/e^{s_0} = 1/100$. The tokens stand in the sum as well: $T/(e^{s_0} + T)$.": {
                "sink, T = 100": math.log(10_000),
                "sink, T = 10,000": math.log(1_000_000),
            },
            "These are logarithms to the base 10. The softmax takes powers of $e$.": {
                "sink, T = 100": math.log10(9900),
                "sink, T = 10,000": math.log10(990_000),
            },
            "A gate at that logit lets ninety-nine hundredths pass. It must be shut: turn the sign.": {
                "gate": math.log(99)
            },
        },
        tolerance=0.005,
        why="The sink must grow with $\\ln T$, and the gate does not know $T$.",
    ),
    "ex-modern-streams": Numbers(
        right={"a": (1 - 0.5 ** (1 / 96)) / 2},
        wrong={
            "You took $(1 - a)^{96}$. A stream loses $a$ and the other gains it, so the difference loses $2a$.": {
                "a": 1 - 0.5 ** (1 / 96)
            },
            "You counted 48 parts. Each of the 48 layers has two.": {"a": (1 - 0.5 ** (1 / 48)) / 2},
            "You shared the loss out evenly, $96\\cdot 2a = 1/2$. Each part takes its share of what is *left*.": {
                "a": 0.5 / 192
            },
        },
        tolerance=1e-5,
        why="$(1 - 2a)^{96} = 1/2$: a third of a per cent, repeated, halves the difference.",
    ),
    "ex-modern-oss": Made(
        laws={
            "Nothing is changed. Which line has an entry for each layer?": lambda config: _changed(config) != [],
            "Change one line and leave the others as they are.": lambda config: len(_changed(config)) == 1,
            "You made the windows wider, and `in_words` still finds them. Let no layer have one.": lambda config: (
                _changed(config) != ["sliding_window"] or config["sliding_window"] is None
            ),
            "Some layers still have a window: all the entries must say `full_attention`.": lambda config: (
                _window(config) == "none"
            ),
        },
        example=lambda: _OSS | {"layer_types": ["full_attention"] * 24},
        wrong=lambda: [
            dict(_OSS),
            _OSS | {"layer_types": ["full_attention"] * 24, "sliding_window": None},
            _OSS | {"sliding_window": 131_072},
            _OSS | {"layer_types": ["full_attention"] * 23 + ["sliding_attention"]},
        ],
        why="The windows stand in `layer_types`. Of the sinks and of the experts' biases no line says anything.",
    ),
    "ex-modern-trap": Numbers(
        right={"over all rates": 11 / 15, "own best rates": 8 / 9},
        wrong={
            "You compared run with run under the same seed. Each of the three meets each of the three: nine pairs.": {
                "own best rates": 1.0
            },
            "You compared the means of the seeds. The reader of the exercise has one run of each side.": {
                "over all rates": 4 / 5
            },
            "You counted the rates at which QK-norm wins every pair. At 0.006 it wins six of nine, and that counts.": {
                "over all rates": 3 / 5
            },
            "That is how often the reader says *no*.": {"over all rates": 4 / 15},
        },
        tolerance=0.0006,
        why="The first share measures which rates were on the list, and the second compares two losses near zero.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
