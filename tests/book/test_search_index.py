"""What the search reads of a page: its places, their text, formulas as a reader would type them."""

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def extension() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "tools")
        yield importlib.import_module("search_extension")


@pytest.fixture(scope="module")
def packing(extension: ModuleType) -> ModuleType:
    return sys.modules["search_packing"]


FORMULAS = {
    r"d_k": "d_k",
    r"d_{ff}": "d_ff",
    r"Q = XW_Q": "Q = X\u2009W_Q",  # a thin space, or there would be no W_Q to find
    r"\frac{QK^\top}{\sqrt{d_k}}": "QKᵀ/√d_k",
    r"\frac{a+b}{2}": "(a+b)/2",
    r"\tfrac12\sqrt 2": "1/2√2",
    r"\sqrt{4 - 3b^2}": "√(4 - 3b^2)",
    r"x_{t+1} \le \mathrm{softmax}(x)": "x_(t+1) ≤ softmax(x)",
    r"\tau\operatorname{lse}(s/\tau)": "τ lse(s/τ)",
    r"\begin{aligned} a &= b \\ \log c &= \{d\} \end{aligned}": "a = b log c = {d}",
}


@pytest.mark.parametrize("tex", FORMULAS)
def test_a_formula_is_what_a_reader_would_type(extension: ModuleType, tex: str) -> None:
    assert extension.plain(tex) == FORMULAS[tex]


PAGE = """<main><nav>menu</nav><article class="bd-article"><section id="top">
<h1>2. Attention<a class="headerlink" href="#top">#</a></h1><p>First <em>words</em>.</p>
<section id="why"><h2>Why</h2>
<p>The <span class="math">\\(\\sqrt{d_k}\\)</span> is
a scale.</p>
<div class="math" id="eq"><span class="eqno">(1)</span>\\[q \\cdot k\\]</div>
<details><summary>Show code</summary><pre><span>a</span> = 1
b = 2</pre></details>
<table><thead><tr><th><p>n</p></th></tr></thead><tbody><tr><td><p>3</p></td><td><p>4</p></td></tr></tbody></table>
<div class="exercise admonition" id="ex"><p class="admonition-title">Exercise 2.1 </p>
<section id="exercise-content"><p>Do it.</p></section></div>
<div class="solution dropdown" id="sol"><p class="admonition-title">Solution to<a href="#ex"> Exercise 2.1</a></p>
<section id="solution-content"><p>Done.</p></section></div>
<p>After.</p></section></section></article><p>footer</p></main>"""


def test_a_section_has_its_own_text_and_no_other(extension: ModuleType) -> None:
    found = {place.anchor: place for place in extension.places(PAGE)}
    assert list(found) == ["top", "why", "ex", "sol"]
    assert (found["top"].title, found["top"].text, found["top"].above) == ("2. Attention", "First words.", None)
    assert found["why"].text.split("\n") == ["The √d_k is a scale.", "q · k", "a = 1", "b = 2", "3 · 4", "After."]
    assert found["why"].above is found["top"]


def test_an_exercise_and_its_solution_are_places(extension: ModuleType) -> None:
    exercise, solution = extension.places(PAGE)[2:]
    assert (exercise.kind, exercise.title, exercise.text) == ("exercise", "Exercise 2.1", "Do it.")
    assert (solution.kind, solution.title, solution.text) == ("solution", "Solution to Exercise 2.1", "Done.")
    assert solution.above is not None and solution.above.anchor == "why"


def test_what_a_question_offers_is_not_what_the_book_says(extension: ModuleType) -> None:
    asked = '<div class="question" id="q-a"><p>Which?</p><ul><li>Masks are scores.</li></ul></div>'
    [top] = extension.places(page(f"<p>Before.</p>{asked}<p>After.</p>"))
    assert top.text.split("\n") == ["Before.", "After."]


def page(body: str) -> str:
    return f'<article class="bd-article"><section id="top"><h1>Top</h1>{body}</section></article>'


def test_terms_symbols_and_references_are_places(extension: ModuleType) -> None:
    term = '<dl class="glossary"><dt id="term-a">a</dt><dd><p>甲. One.</p></dd><dt id="term-b">b</dt><dd>Two.</dd></dl>'
    row = (
        '<table><tr id="symbol-d"><td><span class="math">\\(d\\)</span></td><td><code>d_model</code></td></tr></table>'
    )
    work = '<div class="citation" id="id1"><span class="label">[1]</span><p>A. B. Cee. The Title. 2017.</p></div>'
    found = extension.places(page(term + row + work))[1:]
    assert [(place.kind, place.anchor, place.title, place.text) for place in found] == [
        ("term", "term-a", "a", "甲. One."),
        ("term", "term-b", "b", "Two."),
        ("symbol", "symbol-d", "d", "d_model"),
        ("reference", "id1", "The Title", "A. B. Cee. The Title. 2017."),
    ]
    assert [place.names for place in found] == [[], [], ["d_model"], []]


def test_an_object_of_the_library_is_a_place_with_its_methods(extension: ModuleType) -> None:
    method = '<dl class="py method"><dt class="sig" id="lib.m.A.run">run()</dt><dd><p>Runs.</p></dd></dl>'
    signature = '<dt class="sig" id="lib.m.A">class A(<span>x</span>)</dt>'
    top, cls, run = extension.places(page(f'<dl class="py class">{signature}<dd><p>An A.</p>{method}</dd></dl>'))
    assert (cls.kind, cls.title, cls.text) == ("object", "A", "class A(x)\nAn A.")
    assert (run.title, run.text, run.above) == ("A.run", "run()\nRuns.", cls)
    assert top.text == ""


def test_the_table_names_what_is_around_a_place(extension: ModuleType) -> None:
    words = {"same": [["a", "b"]], "stop": "the", "also": {"x.html#why": ["another name"]}}
    rows = extension.table({"w.html": extension.places(page("")), "x.html": extension.places(PAGE)}, words)["places"]
    assert [row[:5] for row in rows[:3]] == [
        ["w.html", "top", "section", "Top", -1],
        ["x.html", "top", "section", "2. Attention", -1],
        ["x.html", "why", "section", "Why", 1],
    ]
    assert [row[6] for row in rows[:3]] == [[], [], ["another name"]]


def test_the_chinese_of_a_term_is_another_name_of_it(extension: ModuleType) -> None:
    term = '<dl class="glossary"><dt id="term-a">mask</dt><dd>掩码. A mask.</dd></dl>'
    words = {"same": [["a", "b"]], "stop": "the", "also": {}}
    assert extension.table({"x.html": extension.places(page(term))}, words)["same"] == [["a", "b"], ["mask", "掩码"]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "激活检查点\uff08重计算\uff09. Keeping some.",  # in the brackets of Chinese
            ["激活检查点", "重计算"],
        ),
        ("BIO标注. One tag.", ["BIO标注"]),
        ("Two words, 两个. No.", []),
        ("Nothing Chinese.", []),
    ],
)
def test_the_chinese_stands_at_the_beginning(extension: ModuleType, text: str, names: list[str]) -> None:
    assert extension.chinese_names(text) == names


# How it is stored: for every length of the last sign, with all that JSON escapes, and small.


@pytest.mark.parametrize("length", [0, 1, 7, 14, 15, 16, 40])
def test_what_is_packed_comes_out_again(packing: ModuleType, length: int) -> None:
    chance = random.Random(length)
    signs = 'ab cd_EF 12"\\\n\0\x1f\u2028é注意力🙂'
    data = {"places": [["".join(chance.choices(signs, k=length)), length, None, []]], "stop": "the\\nnew \n line"}
    assert packing.unpacked(packing.packed(data)) == data


def test_each_sign_is_a_character_of_two_bytes(packing: ModuleType) -> None:
    written = packing.packed(["word"] * 100 + list(range(3000))).encode(packing.ENCODING)
    assert written[:2] in (b"\xff\xfe", b"\xfe\xff")  # the byte order mark, which no server's header outweighs
    assert not any(0xD800 <= ord(sign) < 0xE000 for sign in written.decode(packing.ENCODING))


def test_frequent_words_take_little_room(packing: ModuleType) -> None:
    chance = random.Random(0)
    words = [f"{chance.choice(['self', 'cross', 'no'])}attention{letter}" for letter in "abcdefghijklmnop"]
    text = " ".join(chance.choices(words, k=20_000))
    written = packing.packed([text]).encode(packing.ENCODING)
    assert len(written) < 16_000  # deflate alone, in base64, takes 25,700
