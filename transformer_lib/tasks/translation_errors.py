"""Mistakes of translations from English into Chinese that a rule can find, counted where nobody can read them all.

Each rule looks at the source, at what was written and at one reference; none knows what a sentence means. So a count
is too low, since most mistakes have no sign, and too high, since a good translation may differ from its reference. The
same counts for another translator on the same sentences give it a scale.
Left out: every mistake of meaning without such a sign.
"""

import re
from collections.abc import Sequence

from transformer_lib.checks import require
from transformer_lib.contract import checked

NAMES = {
    "Tom": ("汤姆", "湯姆"),
    "Mary": ("玛丽", "瑪麗", "玛丽亚", "馬麗"),
    "John": ("约翰", "約翰"),
    "Boston": ("波士顿", "波士頓"),
    "Japan": ("日本",),
    "Tokyo": ("东京", "東京"),
    "China": ("中国", "中國"),
    "America": ("美国", "美國"),
    "English": ("英语", "英語", "英文", "英国", "英國"),
    "French": ("法语", "法語", "法文", "法国", "法國"),
    "Chinese": ("中文", "汉语", "漢語", "中国", "中國", "华语"),
}
NOT = re.compile(r"\b(?:not|never|no|nobody|nothing|none|cannot)\b|n't\b", re.IGNORECASE)
NOT_ZH = re.compile("[不没沒别別无無未非否]")
REPEATED = re.compile(r"(.{2,})\1|(.)\2\2")
SHORT, LONG = 0.6, 1.6  # of the reference's length


@checked
def signs(source: str, written: str, reference: str) -> set[str]:
    """What is wrong with a translation, by the rules that find something."""
    length, wanted = len(written), max(len(reference), 1)
    lost = [name for name, forms in NAMES.items() if _has(source, name) and not any(form in written for form in forms)]
    latin = set(re.findall(r"[A-Za-z]{2,}", written)) - set(re.findall(r"[A-Za-z]{2,}", reference))
    found = {
        "name lost": any(any(form in reference for form in NAMES[name]) for name in lost),
        "negation lost": bool(NOT.search(source) and NOT_ZH.search(reference)) and not NOT_ZH.search(written),
        "question lost": source.endswith("?") and not written.endswith(("?", "\uff1f")),
        "left in English": bool(latin),
        "much too short": length < SHORT * wanted,
        "much too long": length > LONG * wanted,
        "says a thing twice": bool(REPEATED.search(written)) and not REPEATED.search(reference),
        "broken character": "\ufffd" in written,
        "two scripts in one sentence": mixes_scripts(written),
    }
    return {name for name, holds in found.items() if holds}


@checked
def count_signs(sources: Sequence[str], written: Sequence[str], references: Sequence[str]) -> dict[str, int]:
    """How many sentences have each sign, those with none last; `ValueError` for unequal numbers of sentences."""
    for name, texts in (("written", written), ("references", references)):
        require(len(texts) == len(sources), name, f"must be {len(sources)}, one for each source", len(texts))
    each = [signs(*row) for row in zip(sources, written, references, strict=True)]
    names = sorted({name for found in each for name in found}, key=lambda name: (-sum(name in f for f in each), name))
    counts = {name: sum(name in found for found in each) for name in names}
    return counts | {"no sign": sum(not found for found in each)}


@checked
def mixes_scripts(text: str) -> bool:
    """Whether a text has characters that only simplified Chinese has and others that only traditional Chinese has.

    The standards of the two tell: GB 2312 has no traditional forms, Big5 no simplified ones. What both have says
    nothing, and what neither has, neither.
    """
    scripts = {(_can(letter, "gb2312"), _can(letter, "big5")) for letter in text if "\u4e00" <= letter <= "\u9fff"}
    return {(True, False), (False, True)} <= scripts


def _has(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def _can(letter: str, codec: str) -> bool:
    try:
        letter.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
