"""What the figures show: the values in the artists, not only that something was drawn."""

import math
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tests.oracles import unchecked
from tests.viz.screens import contrast
from transformer_lib.viz import panels, plot_attention, plot_curves, plot_mask, write_values
from transformer_lib.viz.style import WIDTH

matplotlib.use("Agg")
TOKENS = ["def", " f", "(", "$x$", ")", ":\n"]


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def weights() -> torch.Tensor:
    torch.manual_seed(0)
    scores = torch.randn(4, 6, 6).masked_fill(~torch.ones(6, 6).tril().bool(), -torch.inf)
    return scores.softmax(-1)


def labels(axis: object) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_attention_shows_the_weights(weights: torch.Tensor) -> None:
    weights *= torch.tensor([0.6, 0.2, 0.9, 0.4])[:, None, None]  # heads of unequal strength, one scale
    figure = plot_attention(weights, TOKENS, TOKENS, heads=[3, 0, 1])
    *panels, bar = figure.axes
    assert [panel.get_title() for panel in panels] == ["head 3", "head 0", "head 1"]
    top = weights[[3, 0, 1]].max().item()
    for panel, head in zip(panels, [3, 0, 1], strict=True):
        (image,) = panel.images
        shown = image.get_array()
        np.testing.assert_allclose(shown.filled(0), weights[head].numpy(), rtol=1e-7)
        assert np.array_equal(np.ma.getmaskarray(shown), np.triu(np.ones((6, 6), dtype=bool), 1))
        assert image.get_clim() == (0, pytest.approx(top))
        assert labels(panel.yaxis) == labels(panel.xaxis) == ["def", "·f", "(", "$x$", ")", ":↵"]
    assert bar.get_xlabel() == "attention weight"


def test_attention_takes_other_titles(weights: torch.Tensor) -> None:
    *panels, _ = plot_attention(weights, TOKENS, TOKENS, heads=[2, 1], titles=["learned", "permuted"]).axes
    assert [panel.get_title() for panel in panels] == ["learned", "permuted"]


def test_what_is_masked_is_blank(weights: torch.Tensor) -> None:
    weights[:, 5, 0] = 1e-6  # allowed, though almost nothing
    figure = plot_attention(weights[:1], TOKENS, TOKENS)
    drawn = pixels(figure)
    panel = figure.axes[0]

    def colour(query: int, key: int) -> list[int]:
        column, row = panel.transData.transform((key, query)).astype(int)
        return drawn[drawn.shape[0] - row, column].tolist()

    assert colour(query=0, key=5) == [255, 255, 255, 255]
    assert colour(query=5, key=0) != [255, 255, 255, 255]


def test_labels_give_way_when_there_are_many() -> None:
    figure = plot_attention(torch.full((2, 60, 60), 1 / 60), [str(i) for i in range(60)], [f"t{i}" for i in range(60)])
    figure.canvas.draw()
    for panel in figure.axes[:2]:
        assert labels(panel.xaxis)[:2] == ["t0", f"t{int(panel.get_xticks()[1])}"]
        boxes = [label.get_window_extent() for label in panel.xaxis.get_ticklabels()]
        assert len(boxes) > 5
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def test_a_single_query(weights: torch.Tensor) -> None:
    figure = plot_attention(weights[:, -1:], TOKENS[-1:], TOKENS)
    assert figure.axes[0].images[0].get_array().shape == (1, 6)


def test_masks() -> None:
    causal, cross = torch.ones(4, 4).tril().bool(), torch.ones(4, 7).bool()
    figure = plot_mask(causal, cross, titles=["decoder", "cross"])
    assert [panel.get_title() for panel in figure.axes] == ["decoder", "cross"]
    for panel, mask in zip(figure.axes, (causal, cross), strict=True):
        (mesh,) = panel.collections
        assert np.array_equal(mesh.get_array(), mask.int().numpy())
        assert panel.yaxis_inverted()
        lightness = mesh.to_rgba(mesh.get_array())[..., :3].mean(-1)
        assert np.array_equal(lightness < 0.6, mask.numpy())
        assert labels(panel.xaxis) == [str(i) for i in range(mask.shape[1])]
    assert len(plot_mask(causal).axes) == 1


def test_curves() -> None:
    curves = {"training": ([1, 10, 100], [3.0, 2.0, 1.0]), "held out": ([10, 100], [2.5, 1.5])}
    figure = plot_curves(curves, baselines={"4-gram": 1.8}, x_label="tokens", y_label="nats", x_scale="log")
    (axes,) = figure.axes
    *lines, baseline = axes.get_lines()
    for line, (name, (x, y)) in zip(lines, curves.items(), strict=True):
        assert (line.get_label(), list(line.get_xdata()), list(line.get_ydata())) == (name, x, y)
    assert (baseline.get_label(), list(baseline.get_ydata())) == ("4-gram", [1.8, 1.8])
    assert baseline.get_linestyle() != lines[0].get_linestyle()
    assert len({line.get_color() for line in lines}) == 2
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "tokens", "nats")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "held out", "4-gram"]
    assert plot_curves(curves).axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("look", ["light", "dark"])
def test_every_number_of_a_heat_map_can_be_read(look: str) -> None:
    axes = panels(2)
    write_values(axes, torch.linspace(-0.6, 1, 17).view(1, -1), least=-0.6)
    (image,) = axes.images
    grounds = image.to_rgba(image.get_array())[0, :, :3]
    inks = [text.get_color() for text in axes.texts]
    assert all(contrast(ink, tuple(ground), look) >= 4.5 for ink, ground in zip(inks, grounds, strict=True))
    lightness = [contrast(tuple(ground), "white", look) for ground in grounds]
    assert lightness == sorted(lightness) and lightness[-1] > 2 * lightness[0]  # more is farther from the page


def test_a_heat_map_with_numbers_leaves_out_what_is_none() -> None:
    axes = panels(2)
    write_values(axes, torch.tensor([[0.25, torch.nan], [1.0, -0.5]]), least=-0.5)
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "0.25"),
        ((0, 1), "1.00"),
        ((1, 1), "-0.50"),
    ]


def test_figures_do_not_depend_on_the_readers_settings(weights: torch.Tensor) -> None:
    def draw() -> list[Figure]:
        return [plot_attention(weights, TOKENS, TOKENS), plot_mask(weights[0] > 0), plot_curves({"a": ([0], [1])})]

    plain = draw()
    with matplotlib.rc_context({"figure.facecolor": "black", "axes.facecolor": "black", "text.color": "white"}):
        dark = draw()
    for one, other in zip(plain, dark, strict=True):
        assert to_hex(one.get_facecolor()) == "#ffffff"
        assert one.get_size_inches()[0] == WIDTH
        assert one.dpi == 100
        assert np.array_equal(pixels(one), pixels(other))


def test_no_figure_stays_open_and_no_setting_changes(weights: torch.Tensor) -> None:
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    plot_attention(weights, TOKENS, TOKENS)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_bad_values(weights: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="query_labels must be 6 in number, got 5"):
        plot_attention(weights, TOKENS[1:], TOKENS)
    with pytest.raises(ValueError, match="key_labels must be 6 in number, got 5"):
        plot_attention(weights, TOKENS, TOKENS[1:])
    with pytest.raises(ValueError, match="heads must be from 0 to 3, got 4"):
        plot_attention(weights, TOKENS, TOKENS, heads=[0, 4])
    with pytest.raises(ValueError, match="heads must not be empty"):
        plot_attention(weights, TOKENS, TOKENS, heads=[])
    with pytest.raises(ValueError, match="titles must be 4 in number, got 1"):
        plot_attention(weights, TOKENS, TOKENS, titles=["one"])
    with pytest.raises(ValueError, match="weights must not be negative or NaN, got nan"):
        plot_attention(weights * torch.nan, TOKENS, TOKENS)
    with pytest.raises(ValueError, match="masks must not be empty"):
        plot_mask()
    with pytest.raises(ValueError, match=r"masks\[1\] must not be empty, got \(0, 6\)"):
        plot_mask(weights[0] > 0, weights[0, :0] > 0)
    with pytest.raises(ValueError, match=r"weights must not be empty, got \(4, 0, 6\)"):
        plot_attention(weights[:, :0], [], TOKENS)
    with pytest.raises(ValueError, match="weights must hold values"):
        plot_attention(weights.to("meta"), TOKENS, TOKENS)
    with pytest.raises(ValueError, match=r"titles must be 1 in number, or none, got 2"):
        plot_mask(weights[0] > 0, titles=["a", "b"])
    with pytest.raises(ValueError, match="curves must be 1 to 7 in number, got 0"):
        plot_curves({})
    with pytest.raises(ValueError, match="baselines must be at most 3 in number, got 4"):
        plot_curves({"a": ([1], [1])}, baselines=dict.fromkeys("abcd", 1.0))
    with pytest.raises(ValueError, match=r"curves\['a'\] must hold as many x as y, at least one, got \(2, 1\)"):
        plot_curves({"a": ([1, 2], [1])})
    with pytest.raises(ValueError, match=r"curves\['a'\] must have x above 0 on a log scale, got 0"):
        plot_curves({"a": ([0, 1], [1, 2])}, x_scale="log")


def test_importing_viz_imports_no_matplotlib() -> None:
    code = "import sys, transformer_lib.viz; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_kinds(weights: torch.Tensor) -> None:
    with unchecked(), pytest.raises(TypeError, match=r"weights must be a Tensor, got \[\[\[1.0\]\]\] of type list"):
        plot_attention([[[1.0]]], ["a"], ["a"])
    with unchecked(), pytest.raises(TypeError, match="query_labels must be a list of strings, got 'abcdef'"):
        plot_attention(weights, "abcdef", TOKENS)
    with unchecked(), pytest.raises(TypeError, match=r"heads\[1\] must be a whole number, got 0.5 of type float"):
        plot_attention(weights, TOKENS, TOKENS, heads=[0, 0.5])
    with unchecked(), pytest.raises(ValueError, match=r"weights must have the axes heads, query, key, got \(6, 6\)"):
        plot_attention(weights[0], TOKENS, TOKENS)
    with unchecked(), pytest.raises(ValueError, match="masks must have boolean type, got 'float32'"):
        plot_mask(weights[0])
    with unchecked(), pytest.raises(ValueError, match=r"curves\['a'\]\[1\]\[0\] must not be NaN, got nan"):
        plot_curves({"a": ([1], [math.nan])})
    with unchecked(), pytest.raises(ValueError, match="x_scale must be one of 'linear', 'log', got 'cubic'"):
        plot_curves({"a": ([1], [1])}, x_scale="cubic")
