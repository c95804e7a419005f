"""Questions and exercises on a page: which scripts it gets, what they need to know, and what is seen without them.

The questions stand in the page as cells printed them (`transformer_lib/exercises/question_text.py`). Here each page
with an exercise gets what is right and which mistake means what, the map of the book gets the names of all, and every
other page is spared the scripts, which Jupyter Book would put on all of them. On paper and in an EPUB nothing is
folded.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

FOLDER = "questions/"  # in _static
SHARED = ["judge.js", "progress.js", "form.js"]
MAPS = ("chapters/intro", "chapters/ways")
PLACE = 'class="progress-place"'
QUESTION = re.compile(r'<div class="question" id="([^"]+)"')
EXERCISE = re.compile(r'<div class="exercise admonition[^"]*" id="([^"]+)"')
FOLDED = "<details><summary>Answer</summary>"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", unfold)
    app.connect("html-page-context", add_scripts, priority=910)
    app.connect("env-check-consistency", note_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def unfold(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Where nothing can be opened, the answer stands below its question under a title of its own."""
    if app.builder.name == "html":
        return
    for node in list(doctree.findall(nodes.raw)):
        text = node.astext()
        if text.startswith(FOLDED):
            node.replace_self(nodes.paragraph("", "", nodes.strong("", "Answer")))
        elif text.startswith("</details></div>"):
            node.replace_self(nodes.raw("", "</div>", format="html"))


def note_names(app: Sphinx, env: Any) -> None:
    """The names of the questions and exercises of each page, for the map."""
    found: dict[str, list[str]] = {}
    for docname in sorted(env.found_docs):
        if not docname.startswith("chapters/") or Path(env.doc2path(docname)).suffix != ".ipynb":
            continue
        tree = env.get_doctree(docname)
        texts = (QUESTION.match(node.astext()) for node in tree.findall(nodes.raw))
        names = [match[1] for match in texts if match]
        names += [node["label"] for node in tree.findall(nodes.Admonition) if "exercise" in node.get("classes", [])]
        if names:
            found[docname] = names
    env.question_names = found


def add_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if app.builder.name != "html":
        return
    for files in (context["script_files"], context["css_files"]):
        files[:] = [file for file in files if FOLDER not in str(getattr(file, "filename", file))]
    body = context.get("body", "")
    exercises = EXERCISE.findall(body) if doctree is not None else []
    scripts = ["questions.js"] if QUESTION.search(body) else []
    if exercises:
        scripts.append("exercises.js")
        body += _carried("exercise-answers", {name: known(name) for name in exercises})
    if PLACE in body and page in MAPS:
        scripts.append("map.js")
        pages = {app.builder.get_relative_uri(page, name): names for name, names in app.env.question_names.items()}
        body += _carried("progress-map", pages)
    if scripts:
        context["body"] = body
        app.builder.add_css_file(f"{FOLDER}questions.css")
        for script in SHARED + scripts:
            app.builder.add_js_file(FOLDER + script)


def known(name: str) -> dict[str, Any]:
    """What a page needs to judge an exercise: numbers; of another sort, only that the notebook judges it."""
    from transformer_lib.exercises.catalogue import chapter_names, exercises_of
    from transformer_lib.exercises.numbers import Numbers

    exercise = next((found[name] for chapter in chapter_names() if name in (found := exercises_of(chapter))), None)
    if not isinstance(exercise, Numbers):
        return {"notebook": exercise is not None}
    return {
        "right": dict(exercise.right),
        "wrong": [[inline(hint), dict(values)] for hint, values in exercise.wrong.items()],
        "tolerance": exercise.tolerance,
        "why": inline(exercise.why),
    }


def inline(text: str) -> str:
    """A sentence in Markdown as HTML: formulas, code and emphasis."""
    parts = re.split(r"(\$[^$]+\$|`[^`]+`)", text)
    for i, part in enumerate(parts):
        written = html.escape(part, quote=False)
        if i % 2 and part.startswith("$"):
            parts[i] = f'<span class="math notranslate nohighlight">\\({written[1:-1]}\\)</span>'
        elif i % 2:
            parts[i] = f"<code>{written[1:-1]}</code>"
        else:
            parts[i] = re.sub(r"\*([^*]+)\*", r"<em>\1</em>", written)
    return "".join(parts)


def _carried(name: str, content: dict[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False).replace("</", "<\\/")
    return f'\n<script type="application/json" id="{name}">{text}</script>'
