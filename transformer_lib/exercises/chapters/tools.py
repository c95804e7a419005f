"""What `book.check` knows of the exercises of `chapters/tools.ipynb`."""

import math
from typing import Any

import torch
from torch import Tensor

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.numbers import Numbers

# Names of weights ----------------------------------------------------------------------------------------------------

_PARTS = {
    "model.embed_tokens": "embedding.tokens",
    "model.norm": "final_norm",
    "model.layers": "blocks",
    "input_layernorm": "attention_norm",
    "self_attn.k_proj": "attention.to_qkv",
    "self_attn.o_proj": "attention.to_out",
    "mlp.gate_proj": "feedforward.to_gate",
}


def _name(name: str, **other: str) -> str:
    """Our name of a weight of Llama's; what is given by name replaces other parts, as the known mistakes do."""
    for theirs, ours in _PARTS.items():
        name = name.replace(theirs, other.get(theirs.rpartition(".")[2], ours))
    return name


# The header of a file ------------------------------------------------------------------------------------------------


def _counted(header: dict[str, Any], *, ends: bool = False, summed: bool = False) -> tuple[int, dict[str, int]]:
    """Parameters and bytes by type; what is given by name makes the known mistakes."""
    number, sizes = 0, dict[str, int]()
    for name, about in header.items():
        if name != "__metadata__":
            first, last = about["data_offsets"]
            sizes[about["dtype"]] = last if ends else sizes.get(about["dtype"], 0) + last - first
            number += sum(about["shape"]) if summed else math.prod(about["shape"])
    return number, sizes


def _of_four_bytes(header: dict[str, Any]) -> tuple[int, dict[str, int]]:
    number, sizes = _counted(header)
    return number, {kind: 4 * number for kind in sizes}


def _all_in_one(header: dict[str, Any]) -> tuple[int, int]:
    number, sizes = _counted(header)
    return number, sum(sizes.values())


def _headers() -> list[list[Any]]:
    def tensor(kind: str, shape: list[int], first: int, last: int) -> dict[str, Any]:
        return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}

    small = {"w": tensor("F32", [2, 3], 0, 24)}
    several = {
        "__metadata__": {"format": "pt"},
        "w": tensor("F32", [2, 3], 0, 24),
        "b": tensor("F32", [3], 24, 36),
        "h": tensor("F16", [4, 5], 36, 76),
    }
    return [[small], [several]]


# Shared heads --------------------------------------------------------------------------------------------------------


def _heads() -> list[list[Any]]:
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(batch, 2, time, 3, generator=generator), 4] for batch, time in ((1, 2), (2, 4))]


def _shared(heads: Tensor, times: int) -> Tensor:
    return heads.repeat_interleave(times, dim=1)


EXERCISES: dict[str, Exercise] = {
    "ex-tools-names": Function(
        right=_name,
        wrong={
            "The maps to keys, queries and values are one matrix here, `attention.to_qkv`.": lambda name: _name(
                name, k_proj="attention.to_k"
            ),
            "The last norm is `final_norm` here: `model.norm` has no layer.": lambda name: _name(name, norm="norm"),
            "The norm before attention is `attention_norm`. There it is named after where it stands, here after what "
            "reads it.": lambda name: _name(name, input_layernorm="input_norm"),
            "The gate of the feed-forward network is `feedforward.to_gate`.": lambda name: _name(
                name, gate_proj="feedforward.gate_proj"
            ),
            "You dropped `model.` and no more. Print `model.state_dict()` and set the two lists side by side.": (
                lambda name: name.removeprefix("model.")
            ),
        },
        cases=lambda: [
            ["model.embed_tokens.weight"],
            ["model.norm.weight"],
            ["model.layers.1.input_layernorm.weight"],
            ["model.layers.1.self_attn.k_proj.weight"],
            ["model.layers.1.self_attn.o_proj.weight"],
            ["model.layers.1.mlp.gate_proj.weight"],
        ],
        why="All but the keys, which are the middle third of a joint matrix.",
    ),
    "ex-tools-header": Function(
        right=_counted,
        wrong={
            "You took where the last tensor ends. Other types stand in the same file: add up `last - first`.": (
                lambda header: _counted(header, ends=True)
            ),
            "A matrix of 2 by 3 has six numbers. The shape is to be multiplied, not added up.": (
                lambda header: _counted(header, summed=True)
            ),
            "Not every type has four bytes. The offsets say how many there are.": _of_four_bytes,
            "The bytes are wanted by type, as a dictionary.": _all_in_one,
        },
        cases=_headers,
        properties={
            "`__metadata__` is no tensor; leave it out.": lambda function, header: function(header)[0] > 0,
        },
        why="So the size of a model is known before its numbers are read.",
    ),
    "ex-tools-grouped": Function(
        right=_shared,
        wrong={
            "That is `repeat`: key head 0 would go to query heads 0, 2, 4 and 6. Neighbours share.": (
                lambda heads, times: heads.repeat(1, times, 1, 1)
            ),
            "You repeated positions. The heads are axis 1.": lambda heads, times: heads.repeat_interleave(times, dim=2),
            "You repeated texts of the batch. The heads are axis 1.": lambda heads, times: heads.repeat_interleave(
                times, dim=0
            ),
            "Nothing is repeated: with two heads of keys for eight of queries the shapes do not fit.": (
                lambda heads, times: heads
            ),
        },
        cases=_heads,
        properties={
            "Each head must be there as often as asked.": lambda function, heads, times: (
                function(heads, times).shape[1] == times * heads.shape[1]
            )
        },
        why="Query heads 0 to 3 use key head 0, 4 to 7 key head 1.",
    ),
    "ex-tools-scale": Numbers(
        right={"parts of $10^8$": -1.711},
        wrong={
            "The sign: float32 makes this factor too small.": {"parts of $10^8$": 1.711},
            "That is the difference itself. Relative to the factor it is $\\sqrt 8$ times as large.": {
                "parts of $10^8$": -0.605
            },
            "That is the *largest* relative error that rounding to float32 can make. This number lies nearer.": {
                "parts of $10^8$": -5.96
            },
        },
        tolerance=0.01,
        why="Every score is too small by that part, and softmax hands it on.",
    ),
    "ex-tools-eps": Numbers(
        right={"variance 1": 0.04996, "variance 0.01": 4.6537},
        wrong={
            "You forgot the root: $\\epsilon$ is added to the variance, and the norm divides by its root, so only half "
            "of $\\epsilon/\\sigma^2$ arrives.": {"variance 1": 0.1},
            "You added $\\epsilon$ to the standard deviation. It is added to the variance, under the root.": {
                "variance 0.01": 0.99
            },
            "That is $\\epsilon/2\\sigma^2$. Here the ratio is a tenth, and the exact value lies below.": {
                "variance 0.01": 5
            },
            "It is not the same for both: what is added counts beside the variance.": {"variance 0.01": 0.04996},
        },
        tolerance=0.006,
        why="Small hidden states are hit a hundred times as hard.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-tools-loader": "its judge is the model of the chapter, whose logits the loaded one must have"
}
