"""The built book as a site: what each page says of itself, the list of pages, and the page about this copy."""

import html as entities
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml

from tests.book.pages import ROOT, toc_pages

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]


@pytest.fixture(scope="module")
def copy_facts() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("copy_facts")


@pytest.mark.parametrize("name", toc_pages())
def test_a_page_says_what_it_is(html: Path, name: str) -> None:
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    head = text.partition("</head>")[0]
    [description] = re.findall(r'<meta name="description" content="([^"]*)"', head)
    assert 20 < len(entities.unescape(description)) <= 160
    properties = dict(re.findall(r'<meta property="(og:\w+)" content="([^"]*)"', head))
    address = f"{CONFIG['html_baseurl'].rstrip('/')}/{name}.html"
    assert properties.pop("og:title") and properties == {
        "og:description": description,
        "og:type": "article",
        "og:site_name": CONFIG["project"],
        "og:url": address,
    }
    assert re.findall(r'<link rel="canonical" href="([^"]*)"', head) == [address]
    assert head.count('name="viewport"') == 1
    assert re.search(
        r'<footer class="bd-footer-content">.*?href="[^"]*about\.html|href="#">About this copy', text, re.DOTALL
    )


def test_the_list_of_pages_is_whole(html: Path) -> None:
    namespace = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    listed = [place.text for place in ElementTree.parse(html / "sitemap.xml").iter(f"{namespace}loc")]
    site = CONFIG["html_baseurl"].rstrip("/")
    assert listed == [f"{site}/{name}.html" for name in toc_pages()]
    assert f"Sitemap: {site}/sitemap.xml\n" in (html / "robots.txt").read_text()


@pytest.mark.parametrize(
    ("address", "repository", "said"),
    [
        ("", "", "Tell whoever gave you this copy: its publisher has left no address."),
        ("", "https://x.org/a/b/", "Write to [https://x.org/a/b/issues](https://x.org/a/b/issues)."),
        ("a@b.org", "https://x.org/a/b", "Write to [a@b.org](mailto:a@b.org)."),
        ("https://x.org/form", "", "Write to [https://x.org/form](https://x.org/form)."),
    ],
)
def test_where_mistakes_are_reported(copy_facts: ModuleType, address: str, repository: str, said: str) -> None:
    extension = importlib.import_module("reader_extension")
    config = SimpleNamespace(report_address=address, html_theme_options={"repository_url": repository})
    assert extension.mistakes(SimpleNamespace(config=config)) == said


def test_the_page_about_this_copy(html: Path) -> None:
    page = (html / "chapters" / "about.html").read_text(encoding="utf-8")
    text = " ".join(entities.unescape(re.sub(r"<[^>]+>", "", page.split("<article")[1].split("</article>")[0])).split())
    cited = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert f"version {cited['version']} of" in text
    assert re.search(r"built from commit [0-9a-f]{7,} of \d+ \w+ \d{4}|outside a git repository", text)
    assert f"title = {{{{{cited['title']}}}}}," in text and f"edition = {{Version {cited['version']}}}," in text
    assert "MIT licence" in text and "CC BY-SA 4.0" in text
    assert "{{" not in re.sub(r"\{\{[\w ]+\}\},", "", text)  # nothing was left to fill in


def test_bibtex_holds_what_the_citation_file_says(copy_facts: ModuleType) -> None:
    from pybtex.database import parse_string

    cited = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    [entry] = parse_string(copy_facts.bibtex(), "bibtex").entries.values()
    assert entry.fields["title"] == f"{{{cited['title']}}}"
    assert entry.fields["year"] == cited["date-released"][:4]
    assert entry.fields["edition"] == f"Version {cited['version']}"
    assert [str(person) for person in entry.persons["author"]] == [
        f"{{{author['name']}}}" for author in cited["authors"]
    ]
