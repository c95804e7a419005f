"""The look of the book: what a figure is made of, in a script and in a notebook."""

import io
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tests.viz.screens import contrast
from transformer_lib.viz import pale, panels, use_style
from transformer_lib.viz.style import AMBER, GREEN, GREY, LETTERS, LINES, SAVED, SKY, WIDTH

matplotlib.use("Agg")
PHONE = 342 / (96 * WIDTH)  # by which a screen of 390 CSS pixels shrinks a figure


@pytest.fixture(autouse=True)
def settings_stay_here() -> Iterator[None]:
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        yield
    plt.close("all")


def test_a_figure_is_narrow_and_its_letters_are_legible() -> None:
    use_style()
    axes = panels(2.5)
    axes.set(title="title", xlabel="x", ylabel="y")
    axes.plot([0, 1], label="line")
    texts = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.legend().get_texts()]
    assert tuple(axes.figure.get_size_inches()) == (WIDTH, 2.5) and WIDTH <= 4.6
    assert {text.get_fontsize() for text in texts} == {LETTERS}
    assert LETTERS * 96 / 72 * PHONE >= 10


def test_several_panels() -> None:
    assert panels(3, rows=2, columns=3).shape == (2, 3)
    above, below = panels(4, rows=2, sharex=True)
    assert above.get_shared_x_axes().joined(above, below)
    use_style()
    narrow, wide = panels(columns=2, width_ratios=[1, 3])
    narrow.figure.canvas.draw()
    assert wide.get_position().width == pytest.approx(3 * narrow.get_position().width)


@pytest.mark.parametrize("rows", [2, 4])
def test_a_title_keeps_away_from_the_panel_above(rows: int) -> None:
    use_style()
    column = panels(1.4 * rows, rows=rows)
    for axes in column:
        axes.set(title="title", xlabel="x", ylabel="y")
    figure = column[0].figure
    figure.canvas.draw()
    for above, below in pairwise(column):
        inches = (above.get_tightbbox().y0 - below.get_tightbbox().y1) / figure.dpi
        assert inches > 0.2  # more than one line of letters


@pytest.mark.parametrize("colour", [*LINES[:4], AMBER, SKY, GREY])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_letters_can_be_read_on_a_pale_colour(colour: str, look: str) -> None:
    assert contrast("black", pale(colour), look) >= 4.5
    assert contrast(pale(colour), "white", look) >= 1.2  # and the area itself is seen


def test_no_letters_can_be_read_on_a_full_colour_in_both_looks() -> None:
    for ink in ("black", "white"):
        assert any(contrast(ink, GREEN, look) < 4.5 for look in ("light", "dark"))


def test_lines_take_the_colours_in_turn() -> None:
    use_style()
    drawn = panels().plot(np.eye(len(LINES)))
    assert [line.get_color() for line in drawn] == list(LINES)


def lightness_and_colour(colour: str) -> np.ndarray:
    """A colour in the space Oklab, where equal distances look about equally far (Ottosson, 2020)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    opponents = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(opponents) @ np.cbrt(np.array(cones) @ linear)


# What remains of red, green and blue light without the cones for long or for middle waves (Vienot et al., 1999).
WITHOUT = {
    "long": [[0.1124, 0.8876, 0.0], [0.1124, 0.8876, 0.0], [0.0040, -0.0040, 1.0]],
    "middle": [[0.2928, 0.7072, 0.0], [0.2928, 0.7072, 0.0], [-0.0223, 0.0223, 1.0]],
}


@pytest.mark.parametrize("missing", WITHOUT)
def test_colours_can_be_told_apart_without_a_kind_of_cone(missing: str) -> None:
    def seen(colour: str) -> np.ndarray:
        rgb = np.array(to_rgb(colour))
        linear = np.array(WITHOUT[missing]) @ rgb**2.2
        return lightness_and_colour(tuple(np.clip(linear, 0, 1) ** (1 / 2.2)))

    for one, other in combinations(LINES, 2):
        assert np.linalg.norm(seen(one) - seen(other)) > 0.05, (one, other)
    red, green = "#cc3333", "#6b8e23"  # a pair that readers without long waves confuse: the measure sees that
    assert np.linalg.norm(seen(red) - seen(green)) < np.linalg.norm(
        lightness_and_colour(red) - lightness_and_colour(green)
    )


@pytest.mark.parametrize("colour", [*LINES, GREY])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_lines_stand_out_from_the_page(colour: str, look: str) -> None:
    assert contrast(colour, "white", look) >= 3
    assert colour not in (AMBER, SKY)  # which do not, in the light


def test_two_runs_write_the_same_file() -> None:
    def written() -> str:
        use_style()
        axes = panels(3)
        axes.plot([0, 1], [0, 1], "o-", clip_on=True)
        axes.imshow(np.eye(3))
        file = io.StringIO()
        axes.figure.savefig(file, format="svg", **SAVED)
        return file.getvalue()

    first = written()
    assert first == written()
    assert "<text" not in first and "<dc:date>" not in first
    assert 'width="331.2pt"' in first


def test_readers_settings_do_not_matter() -> None:
    with matplotlib.rc_context({"figure.facecolor": "black", "font.size": 20}):
        use_style()
        axes = panels()
        assert axes.figure.get_facecolor() == (1, 1, 1, 1)
        assert axes.title.get_fontsize() == LETTERS


def test_a_notebook_shows_vectors() -> None:
    plain = "from transformer_lib.viz import panels, plot_mask, use_style\nimport matplotlib.pyplot as plt, torch\n"
    sources = [plain + "use_style()", "panels(2).plot([1, 2])\nplt.show()", "plot_mask(torch.ones(2, 2).bool())"]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute()
    _, plot, mask = notebook.cells
    assert set(plot.outputs[-1].data) == {"image/svg+xml", "text/plain"}
    assert plot.outputs[-1].data["text/plain"] == "<Figure size 460x200 with 1 Axes>"
    assert [set(output.data) for output in mask.outputs] == [{"image/svg+xml", "text/plain"}]
    for cell in (plot, mask):
        assert 'width="331.2pt"' in cell.outputs[-1].data["image/svg+xml"]


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="height must be above 0 and at most 20, got 0"):
        panels(0)
    with pytest.raises(ValueError, match="rows must be from 1 to 20, got 0"):
        panels(rows=0)
    with pytest.raises(ValueError, match="columns must be from 1 to 20, got 21"):
        panels(columns=21)
    with pytest.raises(ValueError, match=r"width_ratios must be 2 in number, got \[1\]"):
        panels(columns=2, width_ratios=[1])
    with pytest.raises(ValueError, match=r"width_ratios must be above 0 and finite, got \[1, 0\]"):
        panels(columns=2, width_ratios=[1, 0])


def test_the_style_imports_no_matplotlib_before_it_is_used() -> None:
    code = "import sys, transformer_lib.viz.style; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
