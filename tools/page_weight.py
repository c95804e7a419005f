"""The built site without what no page of it uses: rules of style sheets, icons, parts of MathJax, marks in code.

The style sheets of the theme know every component of its framework, and its font some 1,400 icons. What the pages and
scripts never name is left out of the built copies, at the end of a build; nothing is left out of the sources.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from page_extension import FILES
from sphinx.application import Sphinx

RULE = re.compile(r"([^{};]*)\{([^{}]*)\}")
NOTICE = re.compile(r"/\*!.*?\*/", re.DOTALL)  # whose work it is stays in it
FONTS = "vendor/fontawesome/webfonts"
OWN_CLASSES = ("mathjax", "widgets", "models")  # folders whose scripts set no class of these sheets


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", lighten, priority=950)  # after what brings files of its own
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def lighten(app: Sphinx, error: Exception | None) -> None:
    static = Path(app.outdir) / "_static"
    if app.builder.name != "html" or error or not (static / FONTS / "fa-solid-900.ttf").exists():
        return  # without that font nothing was written anew
    pages = {page: page.read_text(encoding="utf-8") for page in Path(app.outdir).rglob("*.html")}
    used = names(pages.values(), (script.read_text(encoding="utf-8") for script in scripts(static)))
    sheets = [*static.glob("*.css"), *(static / "styles").glob("*.css")]
    for sheet in sheets:
        sheet.write_text(purged(sheet.read_text(encoding="utf-8"), used), encoding="utf-8")
    icons(static, sheets)
    unused_files(static)
    renew(pages, sheets)


def scripts(static: Path) -> list[Path]:
    """The scripts that may set a class of these sheets: not all icons, the text of the search, or what has its own."""
    found = (path for path in static.rglob("*.js") if path.relative_to(static).parts[0] not in OWN_CLASSES)
    return [path for path in found if path.name not in ("fontawesome.js", "data.js")]


def names(pages: Iterable[str], scripts: Iterable[str]) -> set[str]:
    """The classes and ids that stand in a page, and every word of a script, since it may set it as a class."""
    values = (value for page in pages for value in re.findall(r'\b(?:class|id)="([^"]*)"', page))
    words = (word for script in scripts for word in re.findall(r"[\w-]+", script))
    return {name for value in values for name in value.split()}.union(words)


def purged(sheet: str, used: set[str]) -> str:
    """The style sheet without the rules for classes and ids that are not in use."""

    def possible(selector: str) -> bool:
        plain = re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "", selector)  # in brackets stand alternatives
        return "\\" in selector or all(name in used for name in re.findall(r"[.#]([A-Za-z_-][\w-]*)", plain))

    def kept(rule: re.Match[str]) -> str:
        selectors = [part for part in re.split(r",(?![^()]*\))", rule[1]) if possible(part)]
        return f"{','.join(selectors)}{{{rule[2]}}}" if selectors else ""

    notices = "\n".join(NOTICE.findall(sheet))
    sheet = RULE.sub(kept, re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL))
    while (fewer := re.sub(r"@(?:media|supports)[^{};]*\{\s*\}", "", sheet)) != sheet:
        sheet = fewer
    return f"{notices}\n{sheet}" if notices else sheet


def icons(static: Path, sheets: list[Path]) -> None:
    """Fonts of the icons that a style sheet still names, in place of those of all."""
    texts = {sheet: sheet.read_text(encoding="utf-8") for sheet in sheets}
    named = [int(code, 16) for text in texts.values() for code in re.findall(r"\\(f[0-9a-f]{3})\b", text)]
    named += [ord(sign) for text in texts.values() for sign in re.findall("[\ue000-\uf8ff]", text)]
    for whole in (static / FONTS).glob("*.ttf"):
        # Its date stays that of the font, so that the same pages give the same file.
        font, options = TTFont(whole, recalcTimestamp=False), subset.Options(flavor="woff")
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=named)
        chosen.subset(font)
        subset.save_font(font, str(whole.with_suffix(".woff")), options)
    for sheet, text in texts.items():
        sheet.write_text(re.sub(r"(fa-\w+-\d+\.woff)2\)[^;}]*", r"\1)", text), encoding="utf-8")


def unused_files(static: Path) -> None:
    """What no page asks for: fonts of all icons, maps of minified files, parts of MathJax that are not loaded."""
    loaded = {static / "mathjax" / f"{file}.js" for file in ["startup", *FILES]}
    parts = {file for file in (static / "mathjax").rglob("*") if file.is_file() and file.suffix != ".woff"}
    rest = [
        *static.rglob("*.map"),
        *static.glob("scripts/fontawesome.js*"),
        *(static / FONTS).glob("*.ttf"),
        *static.rglob("fa-*.woff2"),
    ]
    for file in (parts - loaded).union(rest, static.glob("*webpack-macros.html")):
        file.unlink()


def renew(pages: dict[Path, str], sheets: list[Path]) -> None:
    """A style sheet is asked for by what it now holds, so that no browser keeps one that lacks a new rule."""
    version = hashlib.sha256("".join(sheet.read_text(encoding="utf-8") for sheet in sheets).encode()).hexdigest()[:8]
    for page, text in pages.items():
        text = uncoloured(re.sub(r"(\.css)\?(?:v|digest)=\w+", rf"\1?v={version}", text))
        page.write_text(text, encoding="utf-8")


def uncoloured(page: str) -> str:
    """The page without marks around brackets and spaces of code, which have the colour of all code."""
    return re.sub(r'<span class="[pw]">([^<]*)</span>', r"\1", page)
