"""The search, in a browser: what it finds, what it quotes, and that a hit opens at the marked words."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.book.pages import needs_chromium

pytestmark = needs_chromium
FIRST = 5  # what was meant stands among so many

# What a reader types, and the places of which each is among the first.
QUERIES = {
    "attention": ["attention#attention", "glossary#term-attention"],
    "multi-head attention": ["attention#many-heads", "glossary#term-multi-head-attention"],
    "why divide by sqrt(d_k)": ["attention#why-the-scores-are-scaled", "faq#why-divide-scores-by-sqrt-d-k"],
    "sqrt(d_k)": ["attention#why-the-scores-are-scaled", "faq#why-divide-scores-by-sqrt-d-k"],
    "√d_k": ["attention#why-the-scores-are-scaled", "faq#why-divide-scores-by-sqrt-d-k"],
    "d_k": ["notation#symbol-d_k-d_v", "attention#why-the-scores-are-scaled"],
    "W_Q": ["notation#symbol-W_Q-W_K-W_V"],
    "d_model": ["notation#symbol-d"],
    "optimizer": ["backward#sgd-against-adam"],
    "causal_mask": ["api/nn#transformer_lib.nn.masks.causal_mask", "attention#masks-who-may-look-at-whom"],
    "causal mask": ["glossary#term-causal-mask", "attention#masks-who-may-look-at-whom"],
    "scaled_dot_product_attention": ["api/nn#transformer_lib.nn.attend.attend", "attention#query-key-and-value"],
    "MultiHeadAttention": ["api/nn#transformer_lib.nn.attention.Attention", "glossary#term-multi-head-attention"],
    "nn.attend": ["api/nn#transformer_lib.nn.attend.attend"],
    "KV cache": ["glossary#term-KV-cache", "code#generating-with-a-cache", "api/nn#transformer_lib.nn.cache.KVCache"],
    "RoPE": ["architecture#rotary-positions", "glossary#term-rotary-position-embedding"],
    "BLEU": ["glossary#term-BLEU", "applications/translation#what-a-score-is"],
    "beam search": ["glossary#term-beam-search", "frontier/generation#beam-search"],
    "flash attention": ["frontier/performance#attention-in-tiles"],
    "LoRA": ["howto#fine-tune-with-lora", "glossary#term-LoRA"],
    "mixture of experts": ["glossary#term-mixture-of-experts", "api/nn#module-transformer_lib.nn.experts"],
    "MoE": ["glossary#term-mixture-of-experts", "frontier/experts"],
    "Vaswani": ["references#"],
    "residual connection": ["architecture#why-the-residual-is-there", "glossary#term-residual-stream"],
    "gradient checkpointing": ["glossary#term-activation-checkpointing", "backward#keep-less-compute-again"],
    "jensen": ["attention#why-three-maps"],
    # American and British
    "layer normalization": ["glossary#term-layer-normalisation", "architecture#normalisation"],
    "layer normalisation": ["glossary#term-layer-normalisation", "architecture#normalisation"],
    "normalisation": ["architecture#normalisation"],
    "tokenizer": ["glossary#term-tokeniser", "code#text-to-ids"],
    "tokeniser": ["glossary#term-tokeniser", "code#text-to-ids"],
    "generalization": ["glossary#term-compositional-generalisation"],
    # misspelt, joined, not yet written to the end
    "atention": ["attention#attention", "glossary#term-attention"],
    "transfomer": ["glossary#term-Transformer", "architecture#the-transformer-architecture"],
    "softmx": ["glossary#term-softmax"],
    "self atention mechanism": ["glossary#term-self-attention"],
    "multiheadattention": ["glossary#term-multi-head-attention"],
    "softm": ["glossary#term-softmax"],
    # Chinese terms, longer forms, and parts of them
    "注意力": ["glossary#term-attention", "attention#attention"],
    "注意力机制": ["glossary#term-attention", "attention#attention"],
    "自注意力": ["glossary#term-self-attention"],
    "自注意力机制": ["glossary#term-self-attention"],
    "多头注意力": ["glossary#term-multi-head-attention", "attention#many-heads"],
    "多头": ["glossary#term-multi-head-attention"],
    "位置编码": ["architecture#positions-five-ways-to-tell-the-order"],
    "梯度": ["backward#the-backward-pass-derived-and-checked"],
    "掩码": ["glossary#term-mask"],
}


# The number of the hit that has the focus, or -1.
FOCUSED = "() => [...document.querySelectorAll('#search-hits a')].indexOf(document.activeElement)"


def address(hit: str) -> str:
    """A place of the table from the link of a hit."""
    return re.sub(r"^chapters/|\.html|\?[^#]*", "", hit)


@pytest.fixture(scope="module")
def search(browser: BrowserContext, site: str) -> Iterator[Page]:
    page = browser.new_page()
    yield ready(page, f"{site}/search.html")
    page.close()


def ready(page: Page, url: str) -> Page:
    page.goto(url)
    page.wait_for_function("() => !document.querySelector('#search-status').textContent.startsWith('Reading')")
    return page


def hits(search: Page, query: str) -> list[str]:
    search.fill(".book-search input", query)
    search.press(".book-search input", "Enter")
    links: list[str] = search.eval_on_selector_all("#search-hits a", "all => all.map(a => a.getAttribute('href'))")
    return links


@pytest.mark.parametrize("query", QUERIES)
def test_what_was_meant_is_among_the_first(search: Page, query: str) -> None:
    first = [address(hit) for hit in hits(search, query)[:FIRST]]
    missing = [place for place in QUERIES[query] if not any(hit.startswith(place) for hit in first)]
    assert missing == [], first


def test_a_word_that_no_place_has_is_told(search: Page) -> None:
    assert hits(search, "zzyzxqw") == []
    assert search.inner_text("#search-status") == "Nothing was found for “zzyzxqw”."


def test_the_status_tells_how_many_and_what_a_word_was_taken_for(search: Page) -> None:
    hits(search, "softmx")
    told = search.inner_text("#search-status")
    assert re.fullmatch(r"“softmx” was read as “softmax”\. \d+ places found for “softmx”\.", told), told
    assert search.get_attribute("#search-status", "role") == "status"


def test_the_list_follows_the_typing_and_so_does_the_address(search: Page) -> None:
    search.fill(".book-search input", "")
    search.type(".book-search input", "jensen")
    search.wait_for_function("() => document.querySelector('#search-hits a')?.href.includes('#why-three-maps')")
    assert search.url.endswith("?q=jensen")


def test_more_hits_come_when_asked(search: Page) -> None:
    before = len(hits(search, "attention"))
    search.click("#search-more")
    assert search.locator("#search-hits a").count() > before
    assert search.evaluate(FOCUSED) == before


# What it reads ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def read(html: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "tools")
        packing = importlib.import_module("search_packing")
    text = (html / "_static" / "search" / "data.js").read_text(encoding=packing.ENCODING)
    found: dict[str, Any] = packing.unpacked(text)
    return found


def test_every_place_is_in_its_page(html: Path, read: dict[str, Any]) -> None:
    pages = {row[0] for row in read["places"]}
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', (html / page).read_text(encoding="utf-8"))) for page in pages}
    assert len(read["places"]) > 1000
    assert [row[:2] for row in read["places"] if row[1] not in anchors[row[0]]] == []


def test_every_place_with_another_name_exists(read: dict[str, Any]) -> None:
    import tomllib

    words = tomllib.loads((Path(__file__).parents[2] / "tools" / "search_words.toml").read_text(encoding="utf-8"))
    places = {f"{row[0]}#{row[1]}" for row in read["places"]}
    assert sorted(set(words["also"]) - places) == []


def test_all_that_a_search_loads_is_little_for_so_much_text(html: Path) -> None:
    """The text of 21 chapters and a thousand entries of the reference, on the one page that searches."""
    assert sum(file.stat().st_size for file in (html / "_static" / "search").iterdir()) < 1_000_000
    assert not (html / "searchindex.js").exists()


def test_no_other_page_loads_the_text(html: Path) -> None:
    assert "search/data.js" in (html / "search.html").read_text(encoding="utf-8")
    assert "search/data.js" not in (html / "chapters" / "attention.html").read_text(encoding="utf-8")


def test_an_excerpt_is_from_the_text_of_the_place(search: Page, read: dict[str, Any]) -> None:
    text = {f"{row[0]}#{row[1]}": " ".join(row[5].split()) for row in read["places"]}
    for query in ("temperature", "learning rate", "jensen"):
        links = hits(search, query)
        quotes = search.eval_on_selector_all(
            "#search-hits li", "all => all.map(li => li.querySelector('p')?.textContent || '')"
        )
        for link, quote in zip(links, quotes, strict=True):
            assert " ".join(quote.strip("… ").split()) in text[re.sub(r"\?[^#]*", "", link)]
    assert len(quotes) == 1 and "The mean of a convex function is at least the function at the mean" in quotes[0]
    assert search.inner_text("#search-hits mark").startswith("Jensen")


def test_a_term_is_quoted_with_its_meaning(search: Page) -> None:
    terms = [number for number, link in enumerate(hits(search, "mask")) if "#term-mask" in link]
    quote = search.locator("#search-hits li").nth(terms[0]).locator("p").inner_text()
    assert quote == "掩码. A boolean table saying which query may look at which key."


def test_on_a_phone_the_hits_are_as_wide_as_the_text_of_a_chapter(page: Page, site: str) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    ready(page, f"{site}/search.html?q=mask")
    edges = "e => { const box = e.getBoundingClientRect(); return [box.left, box.right]; }"
    hit = page.locator("#search-hits li").first.evaluate(edges)
    page.goto(f"{site}/chapters/attention.html")
    assert hit == page.locator(".bd-article h1").first.evaluate(edges)


# Where a hit leads --------------------------------------------------------------------------------------------------

ARRIVED = "() => document.readyState === 'complete' && document.querySelector('.search-here')"
PLACE = """async () => {
    await window.MathJax?.startup?.promise;
    await new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done))));
    const here = document.querySelector(".search-here"), box = here.getBoundingClientRect();
    const hidden = [...document.querySelectorAll("details:not([open]), .toggle-hidden")].some(e => e.contains(here));
    return {marks: document.querySelectorAll(".search-hit").length, text: here.textContent, hidden,
        seen: box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth,
        focus: document.activeElement === here};
}"""


def follow(page: Page, site: str, query: str, width: int, number: int = 0) -> dict[str, Any]:
    page.set_viewport_size({"width": width, "height": 900})
    ready(page, f"{site}/search.html?q={query}")
    page.locator("#search-hits a").nth(number).click()
    page.wait_for_function(ARRIVED)
    place: dict[str, Any] = page.evaluate(PLACE)
    return place


def only(read: dict[str, Any], html: Path, pattern: str) -> str:
    """A word of what the pattern finds in a page; nothing in the book begins like it."""
    text = "\n".join(row[3] + "\n" + row[5] for row in read["places"]).lower()
    for page in sorted((html / "chapters").rglob("*.html")):
        for found in re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL):
            for word in re.findall(r"(?<![\w-])[a-z]{7,}(?![\w-])", re.sub(r"<[^>]+>", " ", found)):
                if text.count(word[:6]) == 1:
                    return str(word)
    raise AssertionError("no word stands only there")


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("query", ["jensen", "W_Q", "RoPE", "causal_mask", "自注意力机制", "softmx", "Vaswani", "LoRA"])
def test_a_hit_opens_at_the_marked_words(page: Page, site: str, query: str, width: int) -> None:
    place = follow(page, site, query, width)
    assert place["marks"] >= 1 and place["seen"] and place["focus"], place


@pytest.mark.parametrize("width", [1280, 390])
def test_a_closed_solution_is_opened(page: Page, site: str, read: dict[str, Any], html: Path, width: int) -> None:
    word = only(read, html, r'<div class="solution dropdown.*?<p>(.*?)</p>\s*(?:</section>|<div)')
    place = follow(page, site, word, width)
    assert place["text"].lower() == word and place["seen"] and not place["hidden"], place
    assert (
        page.locator(".solution", has=page.locator(".search-here"))
        .locator(".toggle-button")
        .first.get_attribute("aria-expanded")
        == "true"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_a_closed_cell_is_opened(page: Page, site: str, read: dict[str, Any], html: Path, width: int) -> None:
    word = only(read, html, r'<details class="[^"]*\bhide\b[^>]*>(.*?)</details>')
    place = follow(page, site, word, width)
    assert place["text"].lower() == word and place["seen"] and not place["hidden"], place


def test_escape_takes_the_marks_off(page: Page, site: str) -> None:
    follow(page, site, "jensen", 1280)
    before = page.inner_text("article")
    page.keyboard.press("Escape")
    assert page.locator(".search-hit, .search-here, .search-clear").count() == 0
    assert page.inner_text("article") == before
    assert "mark=" not in page.url and page.url.endswith("#why-three-maps")


def test_the_button_takes_the_marks_off(page: Page, site: str) -> None:
    follow(page, site, "jensen", 390)
    page.click(".search-clear")
    assert page.locator(".search-hit, .search-here, .search-clear").count() == 0


def test_a_page_without_marks_is_left_alone(page: Page, site: str) -> None:
    page.goto(f"{site}/chapters/attention.html#why-three-maps", wait_until="networkidle")
    assert page.locator(".search-hit, .search-here, .search-clear").count() == 0


# By keyboard, from a disk, in every light ---------------------------------------------------------------------------


def test_from_ctrl_k_to_the_first_hit_by_keyboard(page: Page, site: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{site}/chapters/intro.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.keyboard.type("jensen")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#search-hits a') && document.activeElement.name === 'q'")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('#search-hits li:first-child') !== null")
    page.keyboard.press("Enter")
    page.wait_for_function(ARRIVED)
    assert page.evaluate(PLACE)["text"].startswith("Jensen")


def test_arrow_keys_walk_through_the_hits(search: Page) -> None:
    hits(search, "attention")
    for key, number in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0), ("ArrowUp", -1)):
        search.keyboard.press(key)
        assert search.evaluate(FOCUSED) == number
    assert search.evaluate("() => document.activeElement.name") == "q"


def test_it_works_from_a_disk_and_asks_no_other_machine(page: Page, html: Path) -> None:
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url))
    place = follow(page, html.as_uri(), "jensen", 1280)
    assert place["marks"] == 1 and place["seen"]
    assert wrong == []


AXE = """async () => {
    const options = {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
        rules: {"label-content-name-mismatch": {enabled: true}}};
    const {violations} = await axe.run(".book-search, article, .search-clear", options);
    return violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 100)}`));
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("hit", [False, True])
def test_nobody_is_kept_out(page: Page, site: str, theme: str, width: int, hit: bool) -> None:
    from axe_playwright_python.base import AXE_SCRIPT

    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    ready(page, f"{site}/search.html?q=W_Q")
    if hit:
        page.locator("#search-hits a").first.click()
        page.wait_for_function(ARRIVED)
        page.evaluate(PLACE)
    assert page.evaluate("() => document.documentElement.dataset.theme") == theme
    page.evaluate(AXE_SCRIPT)
    assert page.evaluate(AXE) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
