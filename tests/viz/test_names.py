"""Names beside points: judged in the finished file, where the layout is final."""

import io
import random
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest

from tests.book.plot_layout import faults
from transformer_lib.viz import name_points, panels, use_style
from transformer_lib.viz.style import SAVED

matplotlib.use("Agg")

# FLOPs per byte and GFLOP per second of the parts of a training step, with names that are long for the room they have.
POINTS = {
    **{"head": (83.6, 82.2), "feed-forward": (73.1, 83.3), "scores": (14.2, 59.7), "softmax": (0.625, 8.34)},
    **{"softmax, in a cache": (0.625, 6.8), "norm": (0.875, 17.9), "residual": (0.083, 9.04), "AdamW": (0.43, 4.56)},
    **{"head, one token": (0.498, 22.6), "attention, fused": (128, 62.3)},
}


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    use_style()
    yield
    plt.close("all")


def roofline(points: Mapping[str, tuple[float, float]]) -> Any:
    axes = panels(3.8)
    axes.loglog([0.03, 4, 1000], [0.645, 86, 86])
    axes.loglog([4, 9.44, 1000], [86, 203, 203], ":")
    axes.text(1000, 233, "bfloat16", ha="right")
    for point in points.values():
        axes.plot(*point, "o")
    axes.set(xlabel="FLOPs per byte", ylabel="GFLOP per second", xlim=(0.03, 1500), ylim=(0.5, 1000))
    return axes


def written(axes: Any) -> str:
    file = io.StringIO()
    axes.figure.savefig(file, format="svg", **SAVED)
    return file.getvalue()


@pytest.mark.parametrize("seed", range(6))
def test_names_of_points_cover_nothing(seed: int) -> None:
    chance = random.Random(seed)
    points = {name: (x, y * chance.uniform(0.6, 1.5) ** (seed > 0)) for name, (x, y) in POINTS.items()}
    axes = roofline(points)
    name_points(axes, points)
    assert [text.get_text() for text in axes.texts if text.get_text()] == ["bfloat16", *points]
    assert faults(written(axes)) == []


def test_names_do_not_move_the_axes() -> None:
    bare, named = roofline(POINTS), roofline(POINTS)
    name_points(named, POINTS)
    for axes in (bare, named):
        written(axes)
    assert named.get_position().bounds == pytest.approx(bare.get_position().bounds)


def test_one_point_and_none() -> None:
    axes = roofline({})
    name_points(axes, {})
    name_points(axes, {"here": (1, 1)})
    assert [text.get_text() for text in axes.texts] == ["bfloat16", "here"]


def test_too_many_names_are_refused() -> None:
    with pytest.raises(ValueError, match="points must be at most 20 in number, got 21"):
        name_points(panels(2), {str(number): (number, number) for number in range(21)})
