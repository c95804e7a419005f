"""Figures that read the same everywhere: in print, on a phone, in a dark theme, and without colour vision.

Each function returns a Matplotlib `Figure` on a white ground and in the look of `style`, whatever the reader's own
settings. For weights the lightness alone carries the value. Matplotlib is imported by the first figure, not by this
module.
Left out: interaction, animation, and fonts for scripts that Matplotlib's own font lacks (Chinese, for one).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.viz.style import GREY, LINES, PALE, STYLE, WIDTH, space_between

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure

Number = int | float

LABEL_HEIGHT = 0.17  # inches that a tick label needs
DASHES = ("--", ":", "-.")


@checked
def plot_attention(
    weights: Float[Tensor, "heads query key"],
    query_labels: Sequence[str],
    key_labels: Sequence[str],
    *,
    heads: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
) -> "matplotlib.figure.Figure":
    """A panel per head of one example, all or the chosen ones, on one scale from 0 to the largest weight shown.

    `titles` stand over the panels instead of "head 0" and so on. Rows are queries, columns keys. A weight of exactly
    zero, as behind a mask, is left blank. In long sequences only every n-th label is written. `ValueError` if a label
    is missing, a head does not exist, or a weight is no weight.
    """
    count, queries, keys = weights.shape
    _check_drawable("weights", weights)
    require(len(query_labels) == queries, "query_labels", f"must be {queries} in number", len(query_labels))
    require(len(key_labels) == keys, "key_labels", f"must be {keys} in number", len(key_labels))
    heads = range(count) if heads is None else heads
    require(len(heads) > 0, "heads", "must not be empty", heads)
    for head in heads:
        require(0 <= head < count, "heads", f"must be from 0 to {count - 1}", head)
    titles = [f"head {head}" for head in heads] if titles is None else titles
    require(len(titles) == len(heads), "titles", f"must be {len(heads)} in number", len(titles))
    shown = weights.detach()[list(heads)].double().cpu()
    require(bool((shown >= 0).all()), "weights", "must not be negative or NaN", shown.min().item())
    top = shown.max().item()
    with _panels([(queries, keys)] * len(heads), columns=2, spare=1.2) as (figure, panels):
        for panel, title, matrix in zip(panels, titles, shown, strict=True):
            blank = matrix.masked_fill(matrix == 0, math.nan).numpy()
            image = panel.imshow(blank, cmap=_from_a_tint("Blues"), vmin=0, vmax=top or 1)
            panel.set_title(title)
            _label(panel, query_labels, key_labels)
        figure.colorbar(image, ax=panels, location="bottom", label="attention weight", aspect=40)
    return figure


@checked
def plot_mask(*masks: Bool[Tensor, "_query _key"], titles: Sequence[str] = ()) -> "matplotlib.figure.Figure":
    """Masks, three in a row, by position: a filled square where the query (row) may look at the key (column)."""
    require(len(masks) > 0, "masks", "must not be empty", masks)
    require(len(titles) in (0, len(masks)), "titles", f"must be {len(masks)} in number, or none", len(titles))
    for index, mask in enumerate(masks):
        _check_drawable(f"masks[{index}]", mask)
    with _panels([(mask.shape[0], mask.shape[1]) for mask in masks], columns=3, spare=0.5) as (figure, panels):
        for panel, mask, title in zip(panels, masks, titles or [""] * len(masks), strict=True):
            rows, columns = (range(size) for size in mask.shape)
            squares = mask.int().cpu().numpy()
            panel.pcolormesh(columns, rows, squares, cmap="Blues", vmin=0, vmax=1.3, edgecolor="#999999", linewidth=0.5)
            panel.set_aspect("equal")
            panel.invert_yaxis()
            panel.set_title(title)
            _label(panel, [str(row) for row in rows], [str(column) for column in columns])
    return figure


@checked
def plot_curves(
    curves: Mapping[str, tuple[Sequence[Number], Sequence[Number]]],
    *,
    baselines: Mapping[str, Number] | None = None,
    x_label: str = "step",
    y_label: str = "loss",
    x_scale: Literal["linear", "log"] = "linear",
) -> "matplotlib.figure.Figure":
    """Named curves of (x, y), such as training and held-out loss, with a broken line across for each baseline."""
    baselines = baselines or {}
    require(0 < len(curves) <= len(LINES), "curves", f"must be 1 to {len(LINES)} in number", len(curves))
    require(len(baselines) <= len(DASHES), "baselines", f"must be at most {len(DASHES)} in number", len(baselines))
    for name, (x, y) in curves.items():
        require(len(x) == len(y) > 0, f"curves[{name!r}]", "must hold as many x as y, at least one", (len(x), len(y)))
        require(x_scale == "linear" or min(x) > 0, f"curves[{name!r}]", "must have x above 0 on a log scale", min(x))
    with _figure(3.4) as figure:
        axes = figure.subplots()
        for (name, (x, y)), colour in zip(curves.items(), LINES, strict=False):
            axes.plot(x, y, color=colour, label=name, marker="o" if len(x) == 1 else None)
        for (name, value), dashes in zip(baselines.items(), DASHES, strict=False):
            axes.axhline(value, color=GREY, linestyle=dashes, label=name)
        axes.set_xscale(x_scale)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        figure.legend(loc="outside upper center", ncols=2)
    return figure


@checked
def write_values(axes: Any, values: Float[Tensor, "row column"], *, least: Number = 0, most: Number = 1) -> None:
    """A heat map on these axes, with the number in each cell; a cell that holds NaN stays blank.

    The palest shade is that of `least`, the darkest that of `most`. None is so dark that its number could not be read.
    """
    _check_axes(axes)
    _check_drawable("values", values)
    require(least < most, "least", "must be below most", (least, most))
    shown = values.detach().double().cpu()
    # Half of the scale, the pale one, lies between the two.
    axes.imshow(shown.numpy(), aspect="auto", cmap="Blues", vmin=least, vmax=least + (most - least) / PALE)
    for row, line in enumerate(shown.tolist()):
        for column, value in enumerate(line):
            if not math.isnan(value):
                axes.text(column, row, f"{value:.2f}", ha="center", va="center")


def _check_drawable(field: str, matrix: Tensor) -> None:
    require(matrix.numel() > 0, field, "must not be empty", tuple(matrix.shape))
    require(not matrix.is_meta, field, "must hold values, which none on the device 'meta' does", tuple(matrix.shape))


def _check_axes(axes: object) -> None:
    from matplotlib.axes import Axes  # an annotation of it would take a second to import

    require_kind(axes, Axes, "axes", "the axes of a figure")


@contextmanager
def _figure(height: float) -> Iterator["matplotlib.figure.Figure"]:
    """A figure of our style; the style holds while the block draws on it."""
    with needed():
        import matplotlib.pyplot as plt  # also tells a notebook how to show what a cell returns

    with plt.style.context(["default", STYLE]):
        figure = plt.figure(figsize=(WIDTH, height))
        plt.close(figure)  # a notebook shows figures left open, and the result of a cell: that would be twice
        yield figure


@contextmanager
def _panels(
    shapes: Sequence[tuple[int, int]], *, columns: int, spare: float
) -> Iterator[tuple["matplotlib.figure.Figure", list["matplotlib.axes.Axes"]]]:
    """A panel for each matrix of (rows, columns), in rows of at most `columns` panels, and `spare` inches of height."""
    columns = min(columns, len(shapes))
    rows = math.ceil(len(shapes) / columns)
    tallest = max(height / width for height, width in shapes)
    height = spare + rows * (0.5 + tallest * 0.75 * WIDTH / columns)
    with _figure(height) as figure:
        grid = figure.add_gridspec(rows, columns, hspace=space_between(rows, height))
        yield figure, [figure.add_subplot(grid[divmod(i, columns)]) for i in range(len(shapes))]


def _from_a_tint(name: str) -> "matplotlib.colors.Colormap":
    """A scale without its palest tenth, so that the smallest value can be told from a blank."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap([matplotlib.colormaps[name](0.1 + 0.9 * i / 255) for i in range(256)])


def _label(panel: "matplotlib.axes.Axes", query_labels: Sequence[str], key_labels: Sequence[str]) -> None:
    """Write the labels, as many as there is room for."""
    panel.set_xlabel("key")
    panel.set_ylabel("query")
    side = WIDTH * panel.get_position().width
    every = math.ceil(max(len(key_labels), len(query_labels)) * LABEL_HEIGHT / side)
    keys, queries = range(0, len(key_labels), every), range(0, len(query_labels), every)
    rotation = 90 if max(map(len, key_labels)) > 2 else 0
    panel.set_xticks(keys, [_visible(key_labels[i]) for i in keys], rotation=rotation, parse_math=False)
    panel.set_yticks(queries, [_visible(query_labels[i]) for i in queries], parse_math=False)


def _visible(label: str) -> str:
    """Signs for the white space that a token may hold."""
    return label.replace(" ", "·").replace("\n", "↵").replace("\t", "→")
