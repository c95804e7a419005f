"""The questions and exercises of the chapters: each asked, computed and explained; and what a page makes of them.

A chapter takes part as soon as it has a file of questions or lists an exercise.
"""

import ast
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import ROOT, needs_chromium
from tests.book.test_axe import STILL, pale, violations
from transformer_lib.exercises.catalogue import chapter_names, exercises_of, not_checked
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.exercises.question_files import read_questions
from transformer_lib.exercises.questions import Amount, Choices, Order, Question, exact_text
from transformer_lib.exercises.verdict import Verdict

FOLDER = ROOT / "chapters" / "questions"
CHAPTERS = {path.stem: path for path in (ROOT / "chapters").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
QUESTIONS = {path.stem: read_questions(path) for path in sorted(FOLDER.glob("*.toml"))}
CHECKED = [name for name in chapter_names() if exercises_of(name) or not_checked(name)]
NOT_ASKED = {"Takeaways", "Exercises", "Further reading"}
TITLE = re.compile(r"^## (.*)$", re.MULTILINE)
LABEL = re.compile(r"^`{3,}\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)", re.MULTILINE)


def cells(chapter: str) -> list[NotebookNode]:
    return nbformat.read(CHAPTERS[chapter], as_version=4).cells


def calls(cell: NotebookNode, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def asked(chapter: str) -> dict[str, ast.expr]:
    """The questions that a chapter asks, each with the expression of its right answer."""
    found: dict[str, ast.expr] = {}
    for call in (call for cell in cells(chapter) for call in calls(cell, "ask")):
        assert isinstance(call.args[0], ast.Dict), ast.unparse(call)
        for key, value in zip(call.args[0].keys, call.args[0].values, strict=True):
            assert isinstance(key, ast.Constant) and key.value not in found, ast.unparse(call)
            found[key.value] = value
    return found


# --- The chapters.


def test_every_file_is_that_of_a_chapter() -> None:
    assert set(QUESTIONS) == set(CHAPTERS) == set(CHECKED)
    assert sorted(set(CHAPTERS) - set(chapter_names())) == sorted(set(chapter_names()) - set(CHAPTERS)) == []


@pytest.mark.parametrize("chapter", QUESTIONS)
def test_a_chapter_asks_its_questions_once_in_their_order(chapter: str) -> None:
    assert list(asked(chapter)) == list(QUESTIONS[chapter])
    assert all(name.startswith(f"q-{chapter.replace('_', '-')}-") for name in QUESTIONS[chapter])


@pytest.mark.parametrize("chapter", QUESTIONS)
def test_every_right_answer_is_computed(chapter: str) -> None:
    typed = [name for name, value in asked(chapter).items() if not _is_computed(value)]
    assert typed == []


def _is_computed(value: ast.expr) -> bool:
    """Whether an expression holds a name, and where it lists truth values, one that is no constant."""
    return any(isinstance(node, ast.Name) for node in ast.walk(value))


@pytest.mark.parametrize("chapter", QUESTIONS)
def test_every_section_ends_with_a_question(chapter: str) -> None:
    """But those of `NOT_ASKED`, and those that the file excuses by a line `# not asked: Title: reason`."""
    excused = set(re.findall(r"^# not asked: (.+): .{15,}$", (FOLDER / f"{chapter}.toml").read_text(), re.MULTILINE))
    title, without, titles = "", [], set()
    for cell in cells(chapter):
        if cell.cell_type == "markdown":
            for title in TITLE.findall(re.sub(r"^(`{3,}).*?^\1", "", cell.source, flags=re.M | re.S)):
                titles.add(title)
                without.append(title)
        elif any(calls(cell, "ask")) and title in without:
            without.remove(title)
    assert [title for title in without if title not in NOT_ASKED | excused] == []
    assert sorted(excused - titles) == []


@pytest.mark.parametrize("chapter", QUESTIONS)
def test_explanations_explain(chapter: str) -> None:
    for question in QUESTIONS[chapter].values():
        why = [text for _, text in question.wrong] if isinstance(question, Amount) else list(question.why.values())
        assert all(len(text) > 20 for text in why) and len(set(why)) == len(why), question.name


@pytest.mark.parametrize("chapter", CHECKED)
def test_every_exercise_is_checked_or_says_why_not(chapter: str) -> None:
    labels = LABEL.findall("\n\n".join(cell.source for cell in cells(chapter) if cell.cell_type == "markdown"))
    assert sorted(labels) == sorted([*exercises_of(chapter), *not_checked(chapter)])


@pytest.mark.parametrize("chapter", CHECKED)
def test_every_solution_ends_with_its_check(chapter: str) -> None:
    """The last code cell of the folded solution, whose stored output says that it is right."""
    within, last = "", {}
    for cell in cells(chapter):
        if cell.cell_type == "markdown":
            if found := re.search(r"\{solution-start\} (\S+)", cell.source):
                within = found[1]
            if "{solution-end}" in cell.source:
                within = ""
        elif within:
            last[within] = cell
    for name in exercises_of(chapter):
        names = [ast.literal_eval(call.args[0]) for call in calls(last[name], "check")]
        said = [output["data"]["text/plain"] for output in last[name].outputs if "data" in output]
        assert names == [name] and [text.partition(".")[0] for text in said] == ["Right"], name


# --- The pages.


def page_of(chapter: str) -> str:
    return CHAPTERS[chapter].relative_to(ROOT).with_suffix(".html").as_posix()


def visit(browser: BrowserContext, address: str, width: int = 1280) -> Page:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address.partition('/chapters/')[0]}/robots.txt")  # a small page of the same site, to begin anew
    page.evaluate("() => localStorage.clear()")
    page.goto(address, wait_until="load")
    return page


ANSWER = """([name, answer]) => {
    const box = document.getElementById(name);
    const form = box.querySelector("form");
    const kind = box.dataset.kind;
    if (kind === "order") {
        const rows = form.querySelector("ol");
        for (const letter of answer) rows.append([...rows.children].find(row => row.dataset.letter === letter));
    } else if (kind === "number" || !kind) {
        form.querySelectorAll("input").forEach((input, i) => { input.value = [answer].flat()[i]; });
    } else form.querySelectorAll("input").forEach(input => { input.checked = answer.includes(input.value); });
    form.requestSubmit();
    const status = form.querySelector(".answer-status");
    const said = status.textContent.replace(/\\s+/g, " ").replaceAll("\\u2019", "'").trim();  // they are curled
    return [status.dataset.right === "true", said];
}"""


def tries(question: Question) -> list[Any]:
    """Answers of every sort: all choices, all orders, the known wrong numbers and others."""
    match question:
        case Amount():
            return [question.right, *(value for value, _ in question.wrong), question.right + 12345]
        case Order():
            return ["".join(order) for order in itertools.permutations(question.choices)]
        case Choices(kind="one"):
            return list(question.choices)
        case Choices():
            letters = question.choices
            return ["".join(some) for n in range(1, len(letters) + 1) for some in itertools.combinations(letters, n)]


@needs_chromium
@pytest.mark.parametrize("chapter", QUESTIONS)
def test_the_page_judges_as_the_notebook_does(browser: BrowserContext, site: str, chapter: str) -> None:
    """One visit to each page: its questions, then the numbers of its exercises."""
    page = visit(browser, f"{site}/{page_of(chapter)}")
    for name, question in QUESTIONS[chapter].items():
        for answer in tries(question):
            given = exact_text(answer) if isinstance(question, Amount) else answer
            whole = not isinstance(question, Choices) or question.kind == "one"
            assert_judged(page, name, given, question.judge(answer), whole)
    for name, exercise in exercises_of(chapter).items():
        if not isinstance(exercise, Numbers):
            assert page.locator(f"#{name} .exercise-answer code").inner_text() == f'check("{name}", ...)'
            continue
        for values in [{}, *exercise.wrong.values()]:
            numbers = {**exercise.right, **values}
            assert_judged(page, name, [str(value) for value in numbers.values()], exercise.judge(numbers))
    page.close()


def assert_judged(page: Page, name: str, given: Any, verdict: Verdict, whole: bool = True) -> None:
    """The page calls the answer right or wrong as the library does, and, if `whole`, says the same of it."""
    right, said = page.evaluate(ANSWER, [name, given])
    assert right == verdict.right, (name, given, said)
    words = re.sub(r"\$[^$]*\$|[*`]", " ", verdict.said).split()[:3]  # formulas are set, emphasis is drawn
    assert not whole or all(word in said for word in words), (name, given, said, verdict.said)


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_a_question_is_answered_with_the_keys_alone(browser: BrowserContext, site: str, width: int) -> None:
    page = visit(browser, f"{site}/chapters/attention.html", width)
    box = page.locator("#q-attention-back")
    box.locator("input").first.focus()
    for key in ("ArrowDown", "Tab", "Enter"):
        page.keyboard.press(key)
    status = box.get_by_role("status")
    assert "Right." in status.inner_text() and "seven equal scores" in status.inner_text()
    assert "answered" in box.locator("p").first.inner_text()
    order = page.locator("#q-attention-steps")
    for letter in ("c", "d", "b", "a"):
        order.get_by_role("button", name=f"up: {letter}", exact=True).focus()
        for _ in range(3):
            page.keyboard.press("ArrowUp")
    assert order.get_by_role("status").first.inner_text() == "a is now number 1 of 4"
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    order.get_by_role("button", name="down: b", exact=True).press("ArrowDown")
    assert [row.get_attribute("data-letter") for row in order.locator("li").all()[:4]] == ["d", "b", "c", "a"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


@needs_chromium
def test_questions_are_answered_by_touch(browser: BrowserContext, site: str) -> None:
    assert browser.browser is not None
    phone = browser.browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = phone.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{site}/chapters/attention.html", wait_until="load")
    choice, order, number = (page.locator(f"#q-attention-{name}") for name in ("back", "steps", "count"))
    choice.locator("label").nth(1).tap()
    choice.get_by_role("button", name="Check").tap()
    order.get_by_role("button", name="down: a", exact=True).tap()
    number.locator("input").tap()
    page.keyboard.type("16384")
    number.get_by_role("button", name="Check").tap()
    page.locator("#ex-one-way input").tap()
    assert [row.get_attribute("data-letter") for row in order.locator("li").all()[:3]] == ["b", "a", "c"]
    assert all("Right." in box.get_by_role("status").first.inner_text() for box in (choice, number))
    assert page.locator("#ex-one-way input").is_checked()
    phone.close()


@needs_chromium
def test_fields_and_buttons_are_as_large_as_a_finger(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/attention.html", 390)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll(
            ".answer-button, .answer-choice, .answer-field > input, .question summary"
        )].map(e => e.getBoundingClientRect()).map(box => [box.width, box.height])"""
    )
    assert len(sizes) > 40 and all(width >= 44 and height >= 44 for width, height in sizes)
    page.close()


@needs_chromium
def test_axe_finds_nothing_in_answered_questions(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/attention.html")
    page.add_style_tag(content=STILL)
    page.evaluate("() => document.querySelectorAll('.highlight, figure, table').forEach(other => other.remove())")
    for question in QUESTIONS["attention"].values():
        for answer in (tries(question)[0], question.right):
            page.evaluate(ANSWER, [question.name, exact_text(answer) if isinstance(question, Amount) else answer])
    page.evaluate(ANSWER, ["ex-allowed-pairs", ["1", "2", "3"]])
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        assert (violations(page) if theme == "light" else pale(page)) == []
    page.close()


@needs_chromium
def test_what_is_no_number_is_asked_for_again(browser: BrowserContext, site: str) -> None:
    page = visit(browser, f"{site}/chapters/attention.html")
    for text in ("", "many", "1/0", "1/2/3", "3 4"):
        right, said = page.evaluate(ANSWER, ["q-attention-count", text])
        assert not right and said == "Type a number, such as 12, 0.93 or 3/4."
    for text in ("16384", "16,384", " 16 384 ", "1.6384e4", "32768/2"):
        assert page.evaluate(ANSWER, ["q-attention-count", text])[0], text
    assert page.evaluate("() => Judge.number('−2')") == -2
    page.locator("#q-attention-back form").evaluate("form => form.requestSubmit()")
    assert page.locator("#q-attention-back .answer-status").inner_text() == "Choose an answer first."
    page.close()


@needs_chromium
def test_progress_is_kept_shown_saved_taken_over_and_forgotten(
    browser: BrowserContext, site: str, tmp_path: Path
) -> None:
    page = visit(browser, f"{site}/chapters/attention.html")
    page.evaluate(ANSWER, ["q-attention-back", "a"])
    page.evaluate(ANSWER, ["q-attention-swap", "a"])
    page.evaluate(ANSWER, ["ex-allowed-pairs", ["36", "21", "15"]])
    page.locator("#ex-one-way input").check()
    for name in ("intro", "ways"):
        page.goto(f"{site}/chapters/{name}.html", wait_until="load")
        done = page.locator(".progress-count").filter(has_text="done").all_inner_texts()
        assert [re.sub(r"\d+ done", "N done", text.strip()) for text in done] == ["3 of N done"]
        assert re.match(r"Answered on this device: 3 of \d+ ", page.locator(".progress-said").inner_text())
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my answers").click()
    download.value.save_as(tmp_path / "progress.json")
    saved = json.loads((tmp_path / "progress.json").read_text())
    assert saved["done"] == ["ex-allowed-pairs", "ex-one-way", "q-attention-swap"]
    page.get_by_role("button", name="Forget my answers").click()
    assert "3 of" in page.locator(".progress-said").inner_text()  # it asks once more
    page.get_by_role("button", name="Press again to forget them").click()
    assert "device: 0 of" in page.locator(".progress-said").inner_text()
    page.locator("input[type=file]").set_input_files(tmp_path / "progress.json")
    page.get_by_text("Taken over: 3 answers.").wait_for()
    (tmp_path / "other.json").write_text('{"x": 1}')
    page.locator("input[type=file]").set_input_files(tmp_path / "other.json")
    page.get_by_text("That is no file that this page has saved.").wait_for()
    page.goto(f"{site}/chapters/attention.html", wait_until="load")
    assert page.locator(".answer-done").count() == 2 and page.locator("#ex-one-way input").is_checked()
    page.locator("#ex-one-way input").uncheck()
    assert json.loads(page.evaluate("() => Progress.exported()"))["done"] == ["ex-allowed-pairs", "q-attention-swap"]
    page.close()


@needs_chromium
def test_a_browser_that_keeps_nothing_says_so_once(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })")
    page.goto(f"{site}/chapters/attention.html", wait_until="load")
    assert page.locator(".progress-warning").count() == 0
    for name in ("q-attention-swap", "q-attention-axis"):
        assert page.evaluate(ANSWER, [name, "a"])[0]
    assert page.locator(".progress-warning").count() == 1 and page.locator(".answer-done").count() == 2
    page.close()


@needs_chromium
def test_from_a_file_it_works_as_well(browser: BrowserContext, html: Path) -> None:
    page = browser.new_page()
    page.goto((html / "chapters" / "attention.html").as_uri(), wait_until="load")
    right, said = page.evaluate(ANSWER, ["q-attention-cached", "1"])
    assert not right and "triangle built from the shape" in said
    assert page.evaluate(ANSWER, ["q-attention-cached", "5"])[0]
    page.reload(wait_until="load")
    assert "answered" in page.locator("#q-attention-cached p").first.inner_text()
    page.evaluate("() => Progress.clear()")
    page.close()


@needs_chromium
def test_without_scripts_and_on_paper_the_answer_stands_there(browser: BrowserContext, site: str) -> None:
    page = browser.new_page()
    page.route("**/*.js*", lambda route: route.abort())
    page.goto(f"{site}/chapters/attention.html", wait_until="load")
    box = page.locator("#q-attention-back")
    assert box.locator("> ul > li").count() == 3 and box.locator("input").count() == 0
    assert not box.get_by_text("Right is b.").is_visible()
    box.locator("summary").click()
    assert box.get_by_text("Right is b.").is_visible()
    page.close()
    page = visit(browser, f"{site}/chapters/attention.html")
    page.emulate_media(media="print")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#q-attention-back").get_by_text("Right is b.").is_visible()
    assert not page.locator("#q-attention-back button").is_visible()
    assert not page.locator("#ex-one-way .exercise-answer").is_visible()
    page.close()


def test_only_pages_with_questions_get_the_scripts(html: Path) -> None:
    for path in (html / "chapters").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        scripts = re.findall(r"<script[^>]*_static/questions/(\w+)\.js", text)
        wanted = ["judge", "progress", "form"]
        wanted += ["questions"] if 'class="question"' in text else []
        wanted += ["exercises"] if 'id="exercise-answers"' in text else []
        wanted += ["map"] if 'id="progress-map"' in text else []
        assert scripts == (wanted if len(wanted) > 3 else []), path
        assert ("_static/questions/questions.css" in text) == bool(scripts), path
        assert ('id="exercise-answers"' in text) == ('class="exercise admonition' in text), path


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (
            "as $a < b$ in `x < y`, *so*",
            r'as <span class="math notranslate nohighlight">\(a &lt; b\)</span> in '
            "<code>x &lt; y</code>, <em>so</em>",
        ),
        ("2 * 3", "2 * 3"),
        ("</script>", "&lt;/script&gt;"),
    ],
)
def test_hints_become_html(monkeypatch: pytest.MonkeyPatch, text: str, written: str) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import question_extension

    assert question_extension.inline(text) == written
