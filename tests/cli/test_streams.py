"""Lines as they arrive: the same as those of the whole, in groups, each before the next is read."""

import io
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.cli import streams
from transformer_lib.cli.lines import Line, Shown, deliver, lines_of
from transformer_lib.cli.streams import groups_of

BYTES = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", "é".encode(), b"\xff", b"\xef\xbb\xbf", b"\0"])).map(
    b"".join
)


class Arriving:
    """Standard input of which each read brings the next piece."""

    def __init__(self, pieces: list[bytes], noted: list[str]) -> None:
        self.pieces, self.noted, self.buffer = list(pieces), noted, self

    def read1(self, size: int) -> bytes:
        self.noted.append("read")
        return self.pieces.pop(0) if self.pieces else b""


@given(data=BYTES, cuts=st.lists(st.integers(0, 40)), at_once=st.integers(1, 5))
def test_they_are_those_of_the_whole(data: bytes, cuts: list[int], at_once: int) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(places)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", Arriving(pieces, []))
        groups = list(groups_of((), None, at_once=at_once))
    assert [line for group in groups for line in group] == lines_of(data)
    assert all(1 <= len(group) <= at_once for group in groups)


def test_a_file_is_read_alike(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfa\r\n" + b"b" * 200_000 + b"\n\xff\n\nend"
    (tmp_path / "lines").write_bytes(data)
    assert [line for group in groups_of((), tmp_path / "lines", at_once=2) for line in group] == lines_of(data)
    with pytest.raises(ValueError, match="must be a regular file"):
        groups_of((), tmp_path, at_once=2)  # when it is asked for, not when it is read
    with pytest.raises(ValueError, match="got both"):
        groups_of(["a"], tmp_path / "lines", at_once=2)
    assert list(groups_of(["a", "b\udcff"], None, at_once=1))[1][0].fault is not None


def test_a_result_is_said_before_the_next_line_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    monkeypatch.setattr(sys, "stdin", Arriving([b"a\nb\n", b"c", b"\n\xff\n"], noted))
    monkeypatch.setattr("transformer_lib.cli.lines.say", noted.append)
    code = deliver(
        groups_of((), None, at_once=64),
        form="json lines",
        unreadable=lambda texts: {},
        work=lambda texts: [text * 2 for text in texts],
        show=lambda text, found: Shown({text: found}, found),
    )
    assert code == 1
    error = '{"error": "must be UTF-8, got the byte 0xff after 0 characters"}'
    assert noted == ["read", '{"a": "aa"}', '{"b": "bb"}', "read", "read", '{"c": "cc"}', error, "read"]


def test_no_line_is_kept_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_LINE", 10)
    monkeypatch.setattr(streams, "CHUNK", 7)
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 10 + b"\n" + b"y" * 1000 + b"\nz\n" + b"w" * 11))
    )
    found = [line for group in groups_of((), None, at_once=9) for line in group]
    long = Line("", "must have at most 10 bytes")
    assert found == [Line("x" * 10), long, Line("z"), long]


def test_a_result_that_is_no_json_costs_its_own_place(capsys: pytest.CaptureFixture[str]) -> None:
    code = deliver(
        groups_of(["1", "nan", "2"], None, at_once=2),
        form="json lines",
        unreadable=lambda texts: {},
        work=lambda texts: [float(text) for text in texts],
        show=lambda text, found: Shown(found, text, "odd" if found == 2 else None),
    )
    printed = capsys.readouterr()
    assert code == 1 and [line[:9] for line in printed.out.splitlines()] == ["1.0", '{"error":', "2.0"]
    assert (
        printed.err.splitlines()[0].startswith("line 2: has a result that is no JSON") and "line 3: odd" in printed.err
    )
