"""The drawings of text to tokens: a tree of merges, a lattice of pieces, the steps of a tokeniser."""

from tests.viz.drawn.case import Case
from transformer_lib.viz.drawings.tokens import draw_lattice, draw_merges, draw_steps

MERGES = [("i", "n"), ("s", "in"), ("in", "g"), ("sin", "g"), ("sing", "ing")]
SCORES = {"s": -3.0, "i": -3.1, "n": -3.2, "g": -3.3, "in": -2.9, "ing": -1.5, "sing": -2.0, "e": -3.0, "r": -3.4}


DRAWINGS = {
    "fig-draw-merges": Case(
        draw_merges,
        lambda n: {"word": "singing"[: 3 + 4 * (n - 1)], "merges": MERGES},
        lambda n: [["sin"], ["singing"]][n - 1],
    ),
    "fig-draw-lattice": Case(
        draw_lattice,
        lambda n: {"word": ["singer", "singing"][n - 1], "scores": SCORES},
        lambda n: [["best: sing e r, −8.4 in all"], ["best: sing ing, −3.5 in all"]][n - 1],
    ),
    "fig-draw-tokens": Case(
        draw_steps,
        lambda n: {"steps": [("text", [f"sing {n}"]), ("pieces", ["sing", f" {n}"]), ("ids", ["256", str(n)])]},
        lambda n: [f"sing·{n}", f"·{n}"],
    ),
}
