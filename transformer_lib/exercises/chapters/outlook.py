"""What `book.check` knows of the exercises of `chapters/outlook.ipynb`."""

import math
from typing import Any

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers

_FILES = [False, True, False, True, False]  # which may be loaded


def _says(place: int) -> Any:
    return lambda answers: bool(answers[place]) == _FILES[place]


def _but(place: int) -> list[bool]:
    return [answer != (i == place) for i, answer in enumerate(_FILES)]


EXERCISES: dict[str, Exercise] = {
    "ex-out-chinchilla": Numbers(
        right={"FLOPs in $10^{23}$": 5.88, "MWh": 317.9, "devices": 574},
        wrong={
            "That is the way forward. Training takes $6ND$, with the way back.": {"FLOPs in $10^{23}$": 1.96},
            "The PUE is missing: the building draws a tenth more than reaches the devices.": {"MWh": 289},
            "You took the peak for the speed. At an MFU of 40 % a device does two fifths of it.": {
                "MWh": 127.15,
                "devices": 230,
            },
            "573 devices do not quite finish. Round up.": {"devices": 573},
        },
        tolerance=0.5,
        why="$6ND$, then device-seconds, and from these both the energy and the devices.",
    ),
    "ex-out-context": Numbers(
        right={"GPT-2": 6702, "Llama 3 8B": 28628},
        wrong={
            "You counted all parameters. A table that is only looked up stands in no product.": {
                "GPT-2": 6751,
                "Llama 3 8B": 30633,
            },
            "$6N_\\times = 12\\,L\\,T\\,d_a$, so there is a 2 below the line.": {"GPT-2": 13404, "Llama 3 8B": 57256},
            "You left out the number of layers: each of them compares all pairs.": {
                "GPT-2": 80424,
                "Llama 3 8B": 916096,
            },
        },
        tolerance=12,
        why="$T = N_\\times/(2 L d_a)$, far beyond what the models were trained at.",
    ),
    "ex-out-exposure": Numbers(
        right={
            "rank 1": math.log2(1e6),
            "rank 1,000": math.log2(1e3),
            "ten trials": math.log2(1e5),
            "sample of 2,000": math.log2(2000),
        },
        wrong={
            "That is the natural logarithm. Bits take the base 2.": {"rank 1": math.log(1e6)},
            "That is the logarithm to the base 10. Bits take the base 2.": {"rank 1": 6},
            "That is $\\log_2 10$, what the secret may keep. Subtract it from what there is.": {
                "ten trials": math.log2(10)
            },
            "In a sample of 2,000 the best rank is 1 of 2,000: the scale ends there.": {
                "sample of 2,000": math.log2(1e6)
            },
        },
        tolerance=0.012,
        why="A thousand times worse a rank costs ten bits; and a small sample hides the worst leaks.",
    ),
    "ex-out-auc": Numbers(
        right={"60 against 300": 0.0415, "300 against 500": 0.0215},
        wrong={
            "These are variances. The deviation is the root.": {
                "60 against 300": 0.0017,
                "300 against 500": 0.0005,
            },
            "That is $1/\\sqrt n$ for the members. An AUC is a mean over *pairs*, and each lies between 0 and 1.": {
                "60 against 300": 0.129
            },
            "That is the mean. How far single draws lie from it is their standard deviation.": {"60 against 300": 0.5},
            "With five times the members chance has less room.": {"300 against 500": 0.0415},
        },
        tolerance=0.003,
        why="So an AUC of 0.55 of 60 members says nothing yet.",
    ),
    "ex-out-files": Made(
        laws={
            "Give five truth values, in the order of the text.": lambda answers: len(answers) == 5,
            "A pickle with a payload runs what it says when it is opened. `weights_only=True` refuses it.": _says(0),
            "A state dict is tensors in a dictionary. `weights_only=True` knows both, so it may be loaded.": _says(1),
            "A whole model's pickle wants to import the model's class, and an import is code.": _says(2),
            "A safetensors file that is whole may be loaded: there is no place for code in it.": _says(3),
            "The library compares what the header promises with the length of the file, and refuses.": _says(4),
        },
        example=lambda: _FILES,
        wrong=lambda: [_FILES[:4], *map(_but, range(5))],
        why="Two of five; and that one may be loaded says nothing about its numbers.",
    ),
    "ex-out-patches": Numbers(
        right={"convolution": 512, "whole image": 131072},
        wrong={
            "That is with a bias for each channel. Only weights were asked for.": {"convolution": 544},
            "You gave each patch a map of its own. All sixteen share one.": {"convolution": 8192},
            "That is one vector of width 32. There are 16 of them, so 512 numbers come out.": {"whole image": 8192},
            "That is how many numbers come out of it. Each of them reads 256 points.": {"whole image": 512},
        },
        why="One map for all patches, as one table for all positions of a text.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-out-find-fault": "it asks for two mistakes in an argument, and for a measurement",
    "ex-out-consent": "it builds on the programs of the chapter, and asks what a question must show",
}
