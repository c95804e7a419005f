"""What notebooks print: sources as they run, numbers that agree between machines, and a device that exists."""

import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib import book, config
from transformer_lib.book import device, experiment, fmt, show, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (-0.0, "0"),
        (torch.tensor(-0.0), "0"),
        (0.5, "0.5"),
        (1e-5, "1e-05"),
        (3.14159e-7, "3.142e-07"),
        (999.96, "1,000"),
        (1048.3, "1,048"),
        (123456.0, "123,500"),
        (-98765.4, "-98,770"),
        (1.23456e20, "1.235e+20"),
        (124439808, "124,439,808"),
        (torch.tensor(7), "7"),
        (np.float32(0.123456), "0.1235"),
        (True, "True"),
        ("pre-norm", "pre-norm"),
        (None, "None"),
    ],
)
def test_fmt(value: object, text: str) -> None:
    assert fmt(value) == text


@given(st.floats(-1e307, 1e307), st.integers(1, 8))  # the largest floats round up to infinity
def test_fmt_keeps_the_digits_it_promises(value: float, digits: int) -> None:
    text = fmt(value, digits)
    assert math.isclose(float(text.replace(",", "")), value, rel_tol=0.5 * 10 ** (1 - digits) * (1 + 1e-9))
    assert text != "-0"


def test_table_aligns_numbers_and_says_the_same_twice() -> None:
    rendered = table([["pre|post", 1234, 0.5], ["a", torch.tensor(7), -0.0]], ["order", "count", "$d_k$"])
    assert repr(rendered) == "order     count  $d_k$\npre|post  1,234    0.5\na             7      0"
    assert rendered._repr_markdown_().splitlines() == [
        "| order | count | $d_k$ |",
        "| :-- | --: | --: |",
        r"| pre\|post | 1,234 | 0.5 |",
        "| a | 7 | 0 |",
    ]


@pytest.mark.parametrize(
    ("column", "right"),
    [
        ([1, 0.5, 1e-7], True),
        ([1, "", ""], True),
        ([1, "–", 2.5], True),
        (["1.00", "0.27", ""], True),
        (["12 %", "100.0%", "-1,234"], True),
        ([math.inf, math.nan], True),
        ([1, 2, "none"], True),
        ([1, "none"], False),
        (["3,4", "2,3,2", "1"], False),  # shapes
        ([True, None], False),
        (["", "–"], False),
        (["a", "b2"], False),
    ],
)
def test_a_column_of_mostly_numbers_stands_on_the_right(column: list[object], right: bool) -> None:
    rendered = table([["name", value] for value in column], ["text", "column"])
    assert rendered.markdown.splitlines()[1] == f"| :-- | {'--:' if right else ':--'} |"
    first = repr(rendered).splitlines()[1]
    assert first == ("name  " + (fmt(column[0]).rjust(6) if right else fmt(column[0]))).rstrip()


def test_an_empty_table_has_its_headers() -> None:
    assert repr(table([], ["a", "b"])) == "a  b"


def test_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 cells, got \[3\]"):
        table([[1, 2], [3]], ["a", "b"])


def test_show_prints_the_source_that_runs() -> None:
    text = show(config.to_json)._repr_markdown_()
    assert "From `transformer_lib.config.as_json`:" in text
    source = inspect.getsource(config.to_json).rstrip()
    assert source.startswith("@checked\n") and source.removeprefix("@checked\n") in text
    assert repr(show(config.to_json, book.fmt)) == "source of to_json, fmt"
    assert inspect.getsource(inspect.unwrap(book.fmt)).count("@checked") == 1
    whole = show(book)._repr_markdown_()
    assert "\n@checked\n" not in whole and "\n@dataclass(frozen=True)\nclass Rendered" in whole
    assert [line for line in inspect.getsource(book).rstrip().split("\n") if line != "@checked"] == whole.split("\n")[
        3:-1
    ]


def test_show_dedents_a_method() -> None:
    assert "\ndef _repr_markdown_(self)" in show(book.Rendered._repr_markdown_)._repr_markdown_()


class Documented:
    """The class."""

    def method(self) -> int:
        """The method,
        in two lines."""

        return 1

    def only(self) -> None:
        """Nothing else."""


def test_show_can_leave_docstrings_out_and_the_rest_still_runs() -> None:
    text = show(Documented, docstring=False).markdown
    source = text.split("````")[1].removeprefix("python\n")
    assert "The class" not in source and "in two lines" not in source
    assert "Nothing else" in source  # a body may not become empty
    names: dict[str, type[Documented]] = {}
    exec(source, names)
    assert names["Documented"]().method() == 1


def test_show_refuses_what_has_no_source() -> None:
    with pytest.raises(ValueError, match="objects must have their source in a file, got <built-in function len>"):
        book.show(len)
    with pytest.raises(TypeError, match="objects must be functions, classes or modules, got "):
        show(3)


def test_device_is_the_cpu_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFORMER_DEVICE", raising=False)
    assert device() == torch.device("cpu")


def test_device_takes_a_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda", "cuda:1"):
        monkeypatch.setenv("TRANSFORMER_DEVICE", name)
        assert device() == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:2", "gpu", "", "cpu:x"])
def test_device_refuses_what_is_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 if name == "cuda:2" else 0)
    monkeypatch.setenv("TRANSFORMER_DEVICE", name)
    with pytest.raises(ValueError, match=f"TRANSFORMER_DEVICE must be one of .*, got '{name}'"):
        device()


def test_the_record_of_an_experiment_is_found_from_a_folder_of_chapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "chapters" / "frontier"
    folder.mkdir(parents=True)
    results = tmp_path / "recipes" / "results"
    results.mkdir(parents=True)
    run = {"seed": 0, "measured": {"loss": 2.5}}
    content = {"experiment": "toy", "arms": {"a": {"runs": [run], "rate": 0.1}}}
    (results / "toy.json").write_text(json.dumps(content))
    for place in (folder, folder.parent, tmp_path):
        monkeypatch.chdir(place)
        assert experiment("toy").spread("a", "loss").mean == 2.5
    with pytest.raises(FileNotFoundError):
        experiment("unknown")
