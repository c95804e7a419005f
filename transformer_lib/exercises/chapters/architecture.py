"""What `book.check` knows of the exercises of `chapters/architecture.ipynb`."""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.nn import sinusoidal

PARAMETERS = 24 * (2_621_440 + 8_650_752 + 2048) + 32_000 * 1024 + 1024
ADDED = 24 * 2 * 1024 * 64 * 12
WIDTH, HEADS, INNER = 32, 4, 88


# Scores with sinusoids -----------------------------------------------------------------------------------------------


def _clock(position: int) -> Tensor:
    return sinusoidal(torch.tensor([position]), 32, dtype=torch.float64)[0]


def _score(x: Tensor, y: Tensor, t: int, s: int, w_q: Tensor, w_k: Tensor) -> Tensor:
    return ((x + _clock(t)) @ w_q) @ ((y + _clock(s)) @ w_k)


def _after_projection(x: Tensor, y: Tensor, t: int, s: int, w_q: Tensor, w_k: Tensor) -> Tensor:
    return (x @ w_q + _clock(t)) @ (y @ w_k + _clock(s))


def _key_without(x: Tensor, y: Tensor, t: int, s: int, w_q: Tensor, w_k: Tensor) -> Tensor:
    return ((x + _clock(t)) @ w_q) @ (y @ w_k)


def _by_distance(x: Tensor, y: Tensor, t: int, s: int, w_q: Tensor, w_k: Tensor) -> Tensor:
    return ((x + _clock(t - s)) @ w_q) @ ((y + _clock(0)) @ w_k)


def _score_cases() -> list[list[Any]]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    places = [(0, 0), (3, 1), (58, 55)]
    return [[drawn(32), drawn(32), t, s, drawn(32, 32) / 6, drawn(32, 32) / 6] for t, s in places]


# A block of today ----------------------------------------------------------------------------------------------------


class _Block(nn.Module):
    """`ModernBlock` of the solution; what is given by name makes the known mistakes."""

    def __init__(self, inner: int = INNER, bias: bool = False, norm: Any = nn.RMSNorm, gate: Any = F.silu) -> None:
        super().__init__()
        linear = partial(nn.Linear, bias=bias)
        self.norm1, self.norm2 = norm(WIDTH), norm(WIDTH)
        self.to_qkv, self.to_out = linear(WIDTH, 3 * WIDTH), linear(WIDTH, WIDTH)
        self.gate, self.widen, self.narrow = linear(WIDTH, inner), linear(WIDTH, inner), linear(inner, WIDTH)
        self.activation = gate

    def forward(self, x: Tensor) -> Tensor:
        return _forward(self, x, self.activation)


def _forward(block: Any, x: Tensor, activation: Any = F.silu) -> Tensor:
    """What a block with these maps and norms should give."""
    q, k, v = block.to_qkv(block.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + block.to_out(heads.transpose(1, 2).flatten(2))
    h = block.norm2(x)
    return x + block.narrow(activation(block.gate(h)) * block.widen(h))


def _x() -> Tensor:
    return torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))


def _made(**how: Any) -> _Block:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Block(**how)


EXERCISES: dict[str, Exercise] = {
    "ex-arch-slopes": Numbers(
        right={"steepest": 8, "flattest": 1024},
        wrong={
            "The exponent is slope *times* distance, so the distance is 4 *divided* by the slope.": {
                "steepest": 2,
                "flattest": 1 / 64,
            },
            "There the factor is $e^{-1}$. It is to be $e^{-4}$.": {"steepest": 2, "flattest": 256},
            "Heads are counted from 0, and the exponent is $-8(h+1)/H$: the steepest slope is $\\tfrac12$ and not 1.": {
                "steepest": 4
            },
            "The flattest of eight heads has $h = 7$, and the slope $2^{-8}$.": {"flattest": 512},
        },
        tolerance=0.001,
        why="$4/\\alpha_h$; beyond some thousand tokens even the flattest head is nearly blind.",
    ),
    "ex-arch-absolute": Function(
        right=_score,
        wrong={
            "Positions are added to the *stream*, so they go through $W_Q$ and $W_K$ too.": _after_projection,
            "The key has a position as well.": _key_without,
            "You put the distance in. The model does not know it: each token gets its own position.": _by_distance,
            "The positions are exchanged: the query stands at $t$, the key at $s$.": lambda x, y, t, s, *maps: _score(
                x, y, s, t, *maps
            ),
            "Leave the scale out here.": lambda *given: _score(*given) / math.sqrt(32),
        },
        cases=_score_cases,
        tolerance=1e-8,
        why="Two of the four terms hold one absolute position each, so the score is not one of the distance.",
    ),
    "ex-arch-count": Numbers(
        right={"parameters": PARAMETERS, "added": ADDED, "cache, MiB": 96, "cache of all heads, MiB": 384},
        wrong={
            "The head is tied to the embedding: it has no table of its own.": {
                "parameters": PARAMETERS + 32_000 * 1024
            },
            "The last norm is missing, with its 1,024 gains.": {"parameters": PARAMETERS - 1024},
            "A SwiGLU has three matrices; you counted two.": {"parameters": PARAMETERS - 24 * 1024 * 2816},
            "A block has two norms.": {"parameters": PARAMETERS - 24 * 1024},
            "RMSNorm has gains and no biases.": {"parameters": PARAMETERS + 49 * 1024},
            "The embedding is missing.": {"parameters": PARAMETERS - 32_000 * 1024},
            "That is one layer; there are 24.": {"added": ADDED // 24},
            "Both the keys and the values get twelve more heads.": {"added": ADDED // 2},
            "The cache keeps keys *and* values.": {"cache, MiB": 48, "cache of all heads, MiB": 192},
            "16 bits are two bytes for a number.": {"cache, MiB": 192, "cache of all heads, MiB": 768},
        },
        why="An eighth more parameters would make the cache four times as large.",
    ),
    "ex-arch-leak": Numbers(
        right={"tokens": 2},
        wrong={
            "That is one layer. The second reads states that have looked ahead already.": {"tokens": 1},
            "Each of two layers looks one token further: they add up to 2.": {"tokens": 3},
            "Steps are added from layer to layer, not multiplied.": {"tokens": 4},
            "A mask $s \\le t + 1$ lets each position see the next one.": {"tokens": 0},
        },
        why="Each layer looks one step further.",
    ),
    "ex-arch-modern": Made(
        laws={
            "Something in your block still has a bias.": lambda block: (
                not any("bias" in name for name, _ in block.named_parameters())
            ),
            "The number of parameters is not $4d^2 + 3\\,d\\,d_{ff} + 2d$: three matrices of the feed-forward network "
            "with $d_{ff} = 88$, and two norms with gains.": lambda block: (
                sum(p.numel() for p in block.parameters()) == 4 * WIDTH**2 + 3 * WIDTH * INNER + 2 * WIDTH
            ),
            "5 added to all channels changes nothing in what your block adds, so there is still a LayerNorm in it.": (
                lambda block: not torch.allclose(block(_x() + 5) - 5, block(_x()), atol=1e-4)
            ),
            "The activation belongs to the branch of `gate`, and it is SiLU, not GELU.": lambda block: torch.allclose(
                block(_x()), _forward(block, _x()), rtol=0, atol=1e-4
            ),
        },
        example=_made,
        wrong=lambda: [
            _made(bias=True),
            _made(inner=128),
            _made(norm=partial(nn.LayerNorm, bias=False)),
            _made(gate=F.gelu),
        ],
        why="One line of `forward` changes.",
    ),
}
NOT_CHECKED: dict[str, str] = {
    "ex-arch-predict": "it asks for a prediction and its reason",
    "ex-arch-start": "it asks for twelve runs and for what may be concluded from them",
}
