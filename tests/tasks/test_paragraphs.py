"""Paragraphs: nothing is lost between sentences, and Chinese comes in one script."""

# ruff: noqa: RUF001 -- Chinese punctuation is meant

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.__main__ import main
from transformer_lib.extras import EXTRAS, lacking
from transformer_lib.tasks.candidates import Translation
from transformer_lib.tasks.paragraphs import (
    ParagraphTranslator,
    join_sentences,
    split_sentences,
    to_script,
)
from transformer_lib.tasks.translation import Translator

MODEL = Path(__file__).parents[2] / "recipes" / "models" / "tatoeba-en-zh"
PARAGRAPH = "I am hungry. Where do you live?  He is a doctor!"


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load(MODEL)


@pytest.fixture(scope="module", autouse=True)
def there() -> None:
    pytest.importorskip("sentencex")
    pytest.importorskip("opencc")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_splitting_loses_nothing(text: str) -> None:
    assert "".join(split_sentences(text, "en")) == text


def test_sentences_end_where_people_end_them() -> None:
    assert split_sentences("Dr. Lee paid 3.5 dollars. She left!", "en") == ["Dr. Lee paid 3.5 dollars. ", "She left!"]
    assert split_sentences("他累了。他走了！", "zh") == ["他累了。", "他走了！"]
    for text, language, words in (("a", "English", "language must be the code"), ("\ud800", "en", "lone surrogate")):
        with pytest.raises(ValueError, match=words):
            split_sentences(text, language)


def test_blanks_stand_where_a_script_has_them() -> None:
    assert join_sentences(["我饿了。", "你呢？"]) == "我饿了。你呢？"
    assert join_sentences(["I am.", "You are.", "", "Is he?"]) == "I am. You are. Is he?"
    assert join_sentences(["", "Ja.", "是。", "No."]) == "Ja.是。No." and join_sentences([]) == ""


def test_every_sentence_is_translated_with_its_stop(translator: Translator) -> None:
    whole = ParagraphTranslator(translator, language="en")
    [found] = whole([PARAGRAPH])
    parts = ["I am hungry.", "Where do you live?", "He is a doctor!"]
    wanted = translator(parts)
    assert found.best[0].text == "".join(wanted) and [source for source, _ in found.sentences] == parts
    assert [text[-1] for text in wanted] == list("。？！") or all(text[-1] in "。？！?!" for text in wanted)
    sums = [sum(each[field] for _, each in found.sentences) for field in (1, 2)]
    assert list(found.best[0][1:]) == sums
    assert whole(["", "He is a doctor!"])[0].best[0] == Translation("", 0.0, 0)


def test_one_script(translator: Translator) -> None:
    assert to_script("尽管他累了，他繼續工作。", "simplified") == "尽管他累了，他继续工作。"
    assert to_script("头发发展 ok", "traditional") == "頭髮發展 ok"
    for script in ("simplified", "traditional"):
        [found] = ParagraphTranslator(translator, script=script)(["I love you."], n_best=4)  # type: ignore[arg-type]
        texts = [each.text for each in found.best]
        assert texts == [to_script(text, script) for text in texts]  # type: ignore[arg-type]
        assert len(set(texts)) == len(texts)


def test_the_sentence_that_cannot_be_read_is_named(translator: Translator) -> None:
    whole = ParagraphTranslator(translator, language="en")
    texts = ["Fine. This is " + "very " * 200 + "long.", "a\ud800", "x" * 999, "Fine."]
    faults = whole.unreadable(texts)
    assert faults.keys() == {0, 1, 2} and "sentence" not in faults[2]
    assert faults[0].startswith("sentence 2: must have at most 128 tokens") and "lone surrogate" in faults[1]
    with pytest.raises(ValueError, match=r"texts\[0\] sentence 2"):
        whole(texts)
    with pytest.raises(ValueError, match="n_best must be 1 where texts are split"):
        whole(["a"], n_best=2)


def test_one_unsure_sentence_is_enough(translator: Translator) -> None:
    sure, unsure = Translation("a", -1.0, 4), Translation("b", -8.0, 4)
    whole = ParagraphTranslator(replace(translator, unsure_below=-1.0))
    assert whole.is_unsure([sure]) is False and whole.is_unsure([sure, unsure]) is True
    assert ParagraphTranslator(replace(translator, unsure_below=None)).is_unsure([unsure]) is None


def test_a_package_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sentencex", "opencc"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["translate", "--checkpoint", str(MODEL), "--split", "en", "a"]) == 2
    assert 'sentencex is needed for this: pip install "transformer_lib[translate]"' in capsys.readouterr().err
    assert 'pip install "transformer_lib[train]"' in lacking("safetensors.torch") and "with pip" in lacking("abc")
    assert len(EXTRAS) > 10
