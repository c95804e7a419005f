"""One look for every figure of the book: width, letters, colours, and drawn as vectors.

A chapter calls `use_style()` once; from there on `panels(height)` gives the axes to draw on, and nothing else about the
look stands in a notebook. Colours: Okabe and Ito (2008), which readers without full colour vision can tell apart; two
of theirs are too light for a line. Matplotlib is imported by the first call, not by this module. Left out: other looks.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any

from transformer_lib.config import require
from transformer_lib.contract import checked
from transformer_lib.extras import needed

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#767676"
BROWN, AZURE = "#935800", "#2B99D9"  # in place of these two, which are too light for lines on white
LINES = (BLUE, ORANGE, GREEN, PINK, BROWN, AZURE, BLACK)

# A phone of 390 CSS pixels leaves 342 for a figure, so it shrinks this width by 342 / (96 * 4.6) and letters of 10
# points, 13.3 pixels, to 10.3: small, but legible. That is why nothing is wider and no letter smaller.
WIDTH = 4.6  # inches
LETTERS = 10  # points
HIGHEST = 20  # inches
BETWEEN = 0.3  # inches between panels that stand one above the other: a title must not touch the axis above it

# On a dark page a style sheet turns figures over. White and black change places and the colours stay about as light as
# they were, so letters on a full colour cannot be read on both pages. On half of it black ones can, which turn white.
PALE = 0.5
MOST_PANELS = 20  # in a row or a column

STYLE: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.0),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    **dict.fromkeys(["font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"], LETTERS),
    **dict.fromkeys(["xtick.labelsize", "ytick.labelsize", "legend.title_fontsize", "figure.titlesize"], LETTERS),
    "figure.labelsize": LETTERS,
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib, so every machine draws the same letters
    "axes.prop_cycle": f"cycler(color={list(LINES)})",
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    "grid.color": GREY,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.cmap": "Blues",
    # Letters as outlines: an <img> may not use the fonts of its page, so with text in the file every reader would see
    # another font, wider than what was laid out. It costs 13 kB a figure; nobody could search an <img> either way.
    "svg.fonttype": "path",
    "svg.hashsalt": "The Executable Transformer",  # the same names of clips and markers in every run
}
# Neither cropped, so that all figures shrink alike, nor dated, so that a second run writes the same. The resolution is
# that of the pictures inside: heat maps and dense meshes stay pixels.
SAVED: dict[str, Any] = {"bbox_inches": None, "dpi": 200, "metadata": {"Date": None, "Creator": None}}


def use_style() -> None:
    """Draw all figures that follow in the look of the book; a notebook shows them as SVG."""
    with needed():
        import matplotlib.pyplot as plt

    plt.style.use(["default", STYLE])
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and "matplotlib_inline" in plt.get_backend():
        from matplotlib_inline.config import InlineBackend

        inline = InlineBackend.instance(parent=shell)
        inline.print_figure_kwargs = SAVED
        inline.figure_formats = {"svg"}


@checked
def panels(
    height: int | float = 3.0,
    rows: int = 1,
    columns: int = 1,
    *,
    sharex: bool = False,
    sharey: bool = False,
    width_ratios: Sequence[int | float] | None = None,
) -> Any:
    """The axes of a new figure of the book's width, `height` inches high; an array of axes if there are several.

    Panels may share their axes, which are then labelled once, and have columns of unequal width. Those that stand one
    above the other keep a distance.
    """
    with needed():
        import matplotlib.pyplot as plt

    require(0 < height <= HIGHEST, "height", f"must be above 0 and at most {HIGHEST}", height)
    for name, count in (("rows", rows), ("columns", columns)):
        require(1 <= count <= MOST_PANELS, name, f"must be from 1 to {MOST_PANELS}", count)
    ratios = [1] * columns if width_ratios is None else width_ratios
    require(len(ratios) == columns, "width_ratios", f"must be {columns} in number", ratios)
    require(all(0 < ratio < math.inf for ratio in ratios), "width_ratios", "must be above 0 and finite", ratios)
    spaced = {"hspace": space_between(rows, height), "width_ratios": list(ratios)}
    _, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), sharex=sharex, sharey=sharey, gridspec_kw=spaced)
    return axes


@checked
def space_between(rows: int, height: int | float) -> float:
    """What Matplotlib's constrained layout calls `hspace`, for rows of panels that stand `BETWEEN` inches apart."""
    return BETWEEN * rows / height


@checked
def pale(colour: str) -> str:
    """A colour mixed with white, for an area on which black letters can be read, on a dark page too."""
    with needed():
        from matplotlib.colors import is_color_like, to_hex, to_rgb
    require(is_color_like(colour), "colour", "must be a colour that Matplotlib knows", colour)
    red, green, blue = (1 - PALE * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))
