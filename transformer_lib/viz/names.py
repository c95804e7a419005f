"""Names beside the points of a plot, put where they cover nothing.

Each name has a list of spots to choose from. How bad a spot is depends on what it covers of the plot, and on the spots
of the other names; two names at a time choose theirs anew, until the whole does not get better.
Left out: names of lines and areas, turned text, and a guarantee that nothing better exists.
"""

from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked
from transformer_lib.viz.style import GREY

Number = int | float

# Where a name may stand beside its point, the best first: how far right and up of it, in points of print, and with
# which of its sides. From FAR on a thin line has to say whose name it is.
SPOTS = [
    *((7, 0, "left"), (-7, 0, "right"), (0, 11, "center"), (0, -11, "center")),
    *((5, 9, "left"), (-5, 9, "right"), (5, -9, "left"), (-5, -9, "right")),
    *((0, up, "center") for far in (22, 34, 46) for up in (far, -far)),
    *(
        (sign * right, up, "left" if sign > 0 else "right")
        for far in (22, 34, 46)
        for right in (5, 20, 35)
        for up in (far, -far)
        for sign in (1, -1)
    ),
]
FAR = 15
HALF = {"left": 0.0, "center": 0.5, "right": 1.0}  # how much of a name stands left of its spot
CLEAR = 4  # pixels around a name, since of a dot only the middle is asked for, and of a line points so far apart
MOST = 20  # names; with all their spots they are compared pair by pair
ROUNDS = 3
WORDS, OUTSIDE = 9, 18  # as bad as so many covered points: to lie on other words, or outside the axes


@checked
def name_points(axes: Any, points: Mapping[str, tuple[Number, Number]]) -> None:
    """Write the name of each point beside it, where it covers no other words, no point and no line, if there is room.

    To be called last, when the limits of the axes and all lines stand. The names take no part in the layout, so the
    axes stay where they are. At most 20 names.
    """
    from matplotlib.axes import Axes  # takes a second to import

    require_kind(axes, Axes, "axes", "the axes of a figure")
    require(len(points) <= MOST, "points", f"must be at most {MOST} in number", len(points))
    if not points:
        return
    axes.figure.canvas.draw()  # only now is it known where things stand
    written = [text.get_window_extent().extents for text in axes.texts]
    texts = [axes.annotate(name, at, (0, 0), textcoords="offset points", va="center") for name, at in points.items()]
    for text, at, spot in zip(texts, points.values(), _spots(axes, texts, list(points.values()), written), strict=True):
        right, up, side = spot
        text.set(position=(right, up), ha=side, in_layout=False)
        if abs(up) > FAR:
            thin = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 7, "shrinkB": 2}
            line = axes.annotate("", at, (right, up), textcoords="offset points", arrowprops=thin)
            line.set_in_layout(False)


def _spots(
    axes: Any, texts: list[Any], points: list[tuple[Number, Number]], written: list[Any]
) -> list[tuple[int, int, str]]:
    """A spot for each of the texts, so that they cover as little as possible."""
    import numpy as np

    centres = axes.transData.transform(points)
    sizes = np.array([text.get_window_extent().size for text in texts])
    ends = centres[:, None] + np.array([spot[:2] for spot in SPOTS]) * axes.figure.dpi / 72
    shares = np.array([[HALF[side], 0.5] for _, _, side in SPOTS])
    lower = ends - shares * sizes[:, None]
    boxes = np.concatenate([lower - CLEAR, lower + sizes[:, None] + CLEAR], axis=-1).reshape(-1, 4)
    steps = np.linspace(0.15, 0.85, 9)[:, None]
    far = np.array([[[abs(up) > FAR]] for _, up, _ in SPOTS])
    thin = np.where(far, centres[:, None, None] + steps * (ends - centres[:, None])[:, :, None], np.nan)
    thin = thin.reshape(len(boxes), -1, 2)  # points on the thin lines, if there is one

    covered = _along(axes, centres)
    frame = axes.bbox.extents * np.array([-1, -1, 1, 1])
    alone = OUTSIDE * (boxes * np.array([-1, -1, 1, 1]) > frame).any(axis=1) + _within(boxes, covered)
    for box in written:
        alone = alone + WORDS * _overlap(boxes, box[None])[:, 0]
    for point in covered:  # a thin line that passes another dot seems to be the line of that
        alone = alone + (np.abs(thin - point) < CLEAR).all(axis=-1).sum(axis=-1)
    both = WORDS * _overlap(boxes, boxes)
    for step in range(thin.shape[1]):
        through = _contains(boxes, thin[:, step])
        both = both + through + through.T
        for other in range(thin.shape[1]):
            both = both + (np.abs(thin[:, None, step] - thin[:, other]) < CLEAR).all(axis=-1)
    count, many = len(texts), len(SPOTS)
    order = np.arange(many) / (many * MOST)  # of spots that cover the same, the better one
    chosen = _choice(alone.reshape(count, many) + order, both.reshape(count, many, count, many))
    return [SPOTS[which] for which in chosen]


def _choice(alone: Any, both: Any) -> list[int]:
    """For each name the number of its spot: `alone` tells how bad each is, `both` how bad two of two names are."""
    import numpy as np

    names = range(len(alone))
    chosen = alone.argmin(axis=1)
    for one, other in [*combinations(names, 2)] * ROUNDS:
        rest = [name for name in names if name not in (one, other)]
        bad = [alone[name] + both[name][:, rest, chosen[rest]].sum(axis=1) for name in (one, other)]
        total = bad[0][:, None] + bad[1] + both[one][:, other]
        chosen[one], chosen[other] = np.unravel_index(total.argmin(), total.shape)
    return [int(which) for which in chosen]


def _along(axes: Any, centres: Any) -> Any:
    """Points on all lines of the axes, no farther apart than a name is kept clear of, and the points to be named."""
    import numpy as np

    found = [centres]
    for line in axes.get_lines():
        corners = line.get_transform().transform(line.get_xydata())
        if line.get_linestyle() == "None":
            found.append(corners)
            continue
        for one, other in pairwise(corners):
            found.append(np.linspace(one, other, 2 + int(np.abs(other - one).max() // CLEAR)))
    return np.concatenate(found)


def _contains(boxes: Any, points: Any) -> Any:
    """Which box has which point inside."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return ((low <= points) & (points <= high)).all(axis=-1)


def _within(boxes: Any, points: Any) -> Any:
    """How many of the points lie in each box."""
    return _contains(boxes, points).sum(axis=1)


def _overlap(boxes: Any, others: Any) -> Any:
    """Which box has a part in common with which other."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return ((low < others[:, 2:]) & (others[:, :2] < high)).all(axis=-1)
