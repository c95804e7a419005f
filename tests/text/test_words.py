"""Words in many scripts: by hand, by the categories of Unicode, and the same however an accent is spelled."""

# ruff: noqa: RUF001 -- signs that look like others are meant
import re
import unicodedata
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import unchecked
from transformer_lib.data import stdlib_source
from transformer_lib.data.toy_extraction import sentences
from transformer_lib.data.toy_grammar import chinese, english
from transformer_lib.data.toy_questions import questions
from transformer_lib.data.toy_translation import meanings
from transformer_lib.tasks.retrieval import IDEOGRAPHS, words
from transformer_lib.text.words import split_words

LANGUAGES = {  # name: a text without hyphens, apostrophes and points, and how many words it has
    "French": ("Le garçon a mangé une pêche à Orléans", 8),
    "Vietnamese": ("Tiếng Việt có sáu thanh điệu", 6),
    "Yoruba": ("ọjọ́ ọ̀la ẹ̀kọ́", 3),
    "Greek": ("Ἐν ἀρχῇ ἦν ὁ λόγος", 5),
    "Russian": ("мой ёж и йод", 4),
    "Hebrew": ("בְּרֵאשִׁית בָּרָא אֱלֹהִים", 3),
    "Arabic": ("السَّلَامُ عَلَيْكُمْ يَا صَدِيقِي", 4),
    "Persian": ("او می\u200cخواهد برود", 3),
    "Hindi": ("दिल्ली भारत की राजधानी है", 5),
    "Bengali": ("মুক্তিযুদ্ধ আমাদের গর্ব", 3),
    "Tamil": ("தமிழ் எங்கள் மொழி", 3),
    "Telugu": ("తెలుగు భాష చాలా తీపి", 4),
    "Thai": ("สวัสดีครับ ผมชื่อน้ำ", 2),
    "Burmese": ("မြန်မာ စကား ပြောတတ်လား", 3),
    "Khmer": ("ខ្ញុំ ស្រឡាញ់ ភាសាខ្មែរ", 3),
    "Korean": ("한국어 문장을 나눕니다", 3),
    "Tibetan": ("བོད་སྐད་", 2),
}
UNICODE = st.text(st.characters(exclude_categories=["Cs", "Cn"]))
NEAR = st.text("aé\u0301\u0308 .-'’कि\u094d각ᄀ\u200d≠=\u0338")


def by_category(text: str) -> list[str]:
    """The runs of letters, marks, numbers and connecting signs; and of the joiners, which only the joined know."""
    runs = groupby(text, lambda sign: unicodedata.category(sign)[0] in "LMN" or sign in "_\u200c\u200d")
    return ["".join(run) for letters, run in runs if letters]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_word_is_a_word_in_every_script(language: str, form: str) -> None:
    text, count = LANGUAGES[language]
    text = unicodedata.normalize(form, text)
    found = [word for word in split_words(text) if word != "་"]  # the sign between Tibetan syllables
    assert found == by_category(text)
    assert len(found) == len(words(text)) == count


@given(UNICODE | NEAR)
def test_the_spelling_of_accents_does_not_change_the_words(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert words(composed) == words(decomposed)
    found = [[unicodedata.normalize("NFC", word) for word in split_words(each)] for each in (composed, decomposed)]
    assert found[0] == found[1]


@given(UNICODE | NEAR)
def test_words_are_pieces_of_the_text_with_nothing_but_white_space_between_them(text: str) -> None:
    place = 0
    for word in split_words(text):
        start = text.index(word, place)
        assert text[place:start].strip() == ""
        place = start + len(word)
    assert text[place:].strip() == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Zoe\u0308's well-known U.S. friend", ["Zoe\u0308's", "well-known", "U.S", ".", "friend"]),
        ("2 m² ½ x_1", ["2", "m²", "½", "x_1"]),
        ("I \u2764\ufe0f it", ["I", "\u2764\ufe0f", "it"]),  # a heart, and the mark that asks for colour
        ("\u2764\ufe0fyou", ["\u2764\ufe0f", "you"]),
        ("葛\U000e0100飾区", ["葛\U000e0100飾区"]),  # a variant of the first character
        ("a\x1cb\x85c", ["a", "b", "c"]),
        (" \u0301a", ["\u0301", "a"]),  # a mark on nothing
    ],
)
def test_signs_and_their_marks(text: str, wanted: list[str]) -> None:
    assert list(split_words(text)) == wanted


def test_words_to_search_by() -> None:
    assert words("葛\U000e0100飾は Zoe\u0308_x ‿ \u2764\ufe0f") == ["葛", "飾", "は", "zoë", "x"]
    assert words("İstanbul") == words("I\u0307stanbul") == ["i\u0307stanbul"]


@unchecked()
def test_nothing_has_changed_for_english_and_chinese() -> None:
    """The stored outputs of the chapters were made with Python's own `re`, whose words these are."""
    plain = re.compile(r"\w+(?:[-'\u2019.]\w+)*|[^\w\s]")
    searched = re.compile(f"[{IDEOGRAPHS}]|[^\\W_{IDEOGRAPHS}]+")
    texts = [document.text for document in stdlib_source("small").held_out]
    texts += [" ".join(example.words) for example in sentences(300, group="train", names="known", seed=0)]
    asked = questions(train=100, held_out=30)
    texts += [text for split in asked for question in split for text in (question.context, question.question)]
    texts += [say(meaning) for meaning in meanings(train=300, test=50).train for say in (english, chinese)]
    for text in texts:
        assert list(split_words(text)) == plain.findall(text)
        assert words(text) == searched.findall(text.lower())
