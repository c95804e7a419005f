"""The authored translations against sentences written by hand, and against rules stated here a second time."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations as pairs_of
from typing import NamedTuple

import jaxtyping
import pytest

from transformer_lib.data.examples import Pair
from transformer_lib.data.toy_grammar import (
    GAP,
    Clause,
    Description,
    Meaning,
    Phrase,
    Word,
    alignment,
    chinese,
    chinese_words,
    english,
    english_words,
    pair,
)
from transformer_lib.data.toy_translation import (
    HELD_OUT,
    Meanings,
    combinations,
    held_out_combinations,
    majority,
    meanings,
    nearest_neighbour,
    word_by_word,
)


class Said(NamedTuple):
    """A meaning as all functions of the grammar say it."""

    meaning: Meaning
    english: str
    chinese: str
    source: tuple[Word, ...]
    target: tuple[Word, ...]
    links: frozenset[tuple[int, int]]


@pytest.fixture(scope="module")
def without_checks() -> Iterator[None]:
    """Checking the types of every call takes many times as long as the calls."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def splits(without_checks: None) -> Meanings:
    return meanings(0)


@pytest.fixture(scope="module")
def said(splits: Meanings) -> dict[str, list[Said]]:
    functions = (english, chinese, english_words, chinese_words, alignment)
    return {
        name: [Said(meaning, *(function(meaning) for function in functions)) for meaning in split]
        for name, split in splits._asdict().items()
    }


@pytest.fixture(scope="module")
def everything(said: dict[str, list[Said]]) -> list[Said]:
    return [each for split in said.values() for each in split]


BOUGHT = Clause("buy", "past", Phrase("the", "teacher"), GAP)
PRAISED = Clause("praise", "past", None, GAP, passive=True)
BY_HAND = [
    (
        Clause("buy", "past", Phrase("the", "teacher"), Phrase("two", "book", "old"), time="yesterday"),
        "The teacher bought two old books yesterday.",
        "老师昨天买了两本旧书。",
    ),
    (
        Clause("read", "progressive", Phrase("a", "child"), Phrase("this", "letter"), place="in the garden"),
        "A child is reading this letter in the garden.",
        "一个孩子正在花园里读这封信。",
    ),
    (
        Clause("read", "progressive", Phrase("these", "child"), Phrase("a", "novel", "interesting"), time="now"),
        "These children are reading an interesting novel now.",
        "这些孩子现在正在读一本有趣的小说。",
    ),
    (
        Clause("see", "perfect", Phrase("many", "student"), Phrase("generic", "horse"), negated=True),
        "Many students have never seen horses.",
        "很多学生从来没看见过马。",
    ),
    (
        Clause("eat", "perfect", Phrase("that", "cat", "old"), Phrase("a", "egg")),
        "That old cat has eaten an egg.",
        "那只老猫吃过一个鸡蛋。",
    ),
    (
        Clause("draw", "present", Phrase("this", "farmer"), Phrase("generic", "cat"), time="every day"),
        "This farmer draws cats every day.",
        "这个农民每天都画猫。",
    ),
    (
        Clause("like", "present", Phrase("those", "writer"), Phrase("the", "map", relative=BOUGHT), negated=True),
        "Those writers do not like the map that the teacher bought.",
        "那些作家不喜欢老师买的地图。",
    ),
    (
        Clause("tear up", "past", Phrase("the", "student"), Phrase("that", "photo"), place="at home", time="last week"),
        "The student tore up that photo at home last week.",
        "学生上个星期在家把那张照片撕碎了。",
    ),
    (
        Clause("tear up", "past", Phrase("the", "student"), Phrase("that", "photo"), negated=True),
        "The student did not tear up that photo.",
        "学生没把那张照片撕碎。",
    ),
    (
        Clause("steal", "past", Phrase("the", "worker"), Phrase("these", "bicycle"), passive=True),
        "These bicycles were stolen by the worker.",
        "这些自行车被工人偷走了。",
    ),
    (
        Clause("steal", "future", None, Phrase("the", "bicycle"), passive=True, negated=True, time="tomorrow"),
        "The bicycle will not be stolen tomorrow.",
        "自行车明天不会被偷走。",
    ),
    (
        Clause("give to", "future", Phrase("the", "doctor"), Phrase("this", "umbrella"), Phrase("two", "neighbour")),
        "The doctor will give this umbrella to two neighbours.",
        "医生会把这把雨伞送给两个邻居。",
    ),
    (
        Clause("return to", "past", Phrase("a", "child"), Phrase("the", "key"), Phrase("that", "writer"), passive=True),
        "The key was returned to that writer by a child.",
        "钥匙被一个孩子还给了那位作家。",
    ),
    (
        Clause("swim", "future", Phrase("the", "neighbour", relative=PRAISED), place="in the park"),
        "The neighbour who was praised will swim in the park.",
        "被表扬的邻居会在公园游泳。",
    ),
    (
        Clause(
            "look for",
            "past",
            Phrase("those", "dog", "small", Clause("bite", "past", GAP, Phrase("three", "worker"))),
            Phrase("a", "knife"),
            negated=True,
        ),
        "Those small dogs that bit three workers did not look for a knife.",
        "咬了三个工人的那些小狗没找一把刀。",
    ),
    (
        Clause(
            "see",
            "past",
            Phrase("the", "teacher"),
            Phrase("the", "student", relative=Clause("throw away", "past", GAP, Phrase("the", "box"))),
        ),
        "The teacher saw the student who threw away the box.",
        "老师看见了把盒子扔掉的学生。",
    ),
    (Description(Phrase("these", "horse"), "old", negated=True), "These horses are not old.", "这些马不老。"),
    (Description(Phrase("this", "skirt"), "red", negated=True), "This skirt is not red.", "这条裙子不是红色的。"),
    (Description(Phrase("the", "cup"), "expensive"), "The cup is expensive.", "杯子很贵。"),
    (
        Description(Phrase("the", "mouse", relative=Clause("fear", "present", GAP, Phrase("generic", "cat"))), "white"),
        "The mouse that fears cats is white.",
        "怕猫的老鼠是白色的。",
    ),
]


@pytest.mark.parametrize(("meaning", "in_english", "in_chinese"), BY_HAND)
def test_sentences_are_as_written_by_hand(meaning: Meaning, in_english: str, in_chinese: str) -> None:
    assert pair(meaning) == Pair(in_english, in_chinese)


def test_each_sentence_has_one_translation_both_ways(everything: list[Said]) -> None:
    assert len(everything) > 20_000
    assert len({each.english for each in everything}) == len(everything)
    assert len({each.chinese for each in everything}) == len(everything)


def test_the_same_seed_gives_the_same_sentences_whatever_the_size_of_training(splits: Meanings) -> None:
    small = {"train": 300, "validation": 100, "test": 100, "held_out": 2}
    once, again, other = meanings(7, **small), meanings(7, **small), meanings(8, **small)
    assert once == again != other
    assert meanings(7, **{**small, "train": 200}).test == once.test
    assert [len(split) for split in once] == [300, 100, 100, 32]
    assert [len(split) for split in splits] == [20_000, 1000, 1000, 960]


def test_splits_share_no_sentence(splits: Meanings) -> None:
    for left, right in pairs_of(splits, 2):
        assert not set(left) & set(right)


# --- Held-out combinations


def test_training_has_every_word_of_the_other_sentences(said: dict[str, list[Said]]) -> None:
    words = {
        name: {word.text.lower() for each in split for word in (*each.source, *each.target)}
        for name, split in said.items()
    }
    assert not [word for found in words.values() for word in found - words["train"]]


def test_a_held_out_sentence_has_one_held_out_combination_and_the_others_none(splits: Meanings) -> None:
    counts = Counter(combination for meaning in splits.held_out for combination in held_out_combinations(meaning))
    assert counts == {(construction, word): 60 for construction, words in HELD_OUT.items() for word in words}
    assert all(len(held_out_combinations(meaning)) == 1 for meaning in splits.held_out)
    for split in (splits.train, splits.validation, splits.test):
        assert not any(held_out_combinations(meaning) for meaning in split)


# What a held-out combination looks like in the text, found without the grammar.
LOOKS = {
    ("passive", "wash"): r"\b(be|was|were) (not )?washed\b",
    ("passive", "lend to"): r"\b(be|was|were) (not )?lent\b",
    ("passive", "lose"): r"被[^的]*弄丢",
    ("ba", "burn"): r"(?<![这那一两三])把[^的]*烧掉了?。",
    ("ba", "repair"): r"(?<![这那一两三])把[^的]*修好了?。",
    ("relative", "doctor"): r"\bdoctors? who\b",
    ("relative", "umbrella"): r"\bumbrellas? that\b",
    ("adjective", "new computer"): r"\bnew computers?\b",
    ("adjective", "old cat"): r"老猫",
    ("adjective", "interesting book"): r"有趣的书",
}


@pytest.mark.parametrize("combination", LOOKS)
def test_the_text_of_training_lacks_the_held_out_combinations(
    said: dict[str, list[Said]], combination: tuple[str, str]
) -> None:
    looks = re.compile(LOOKS[combination])
    texts = {name: [f"{each.english} {each.chinese}" for each in split] for name, split in said.items()}
    assert not [text for name in ("train", "validation", "test") for text in texts[name] if looks.search(text)]
    # In a relative clause some look different, so not all are found.
    assert sum(bool(looks.search(text)) for text in texts["held_out"]) >= 40


def test_the_same_constructions_are_common_in_training_with_other_words(splits: Meanings) -> None:
    counts = Counter(construction for meaning in splits.train for construction, _ in combinations(meaning))
    assert min(counts[construction] for construction in HELD_OUT) > 3000


# --- Rules of the languages, in the tests' own words

PLURALS = {"children": "child", "mice": "mouse", "knives": "knife", "boxes": "box"}
NOUNS_BY_MEASURE = {
    "位": "老师 医生 作家", "只": "猫 狗 鸟 老鼠", "匹": "马", "条": "蛇 裙子", "封": "信", "本": "小说 书", "首": "诗",
    "份": "报纸", "张": "地图 照片 桌子", "件": "大衣 衬衫", "把": "雨伞 钥匙 刀 椅子", "台": "电脑",
    "辆": "自行车 汽车", "扇": "窗户 门", "根": "香蕉",
}  # fmt: skip
MEASURES = {noun: measure for measure, nouns in NOUNS_BY_MEASURE.items() for noun in nouns.split()}


def test_numbers_and_demonstratives_take_the_measure_word_of_the_noun(everything: list[Said]) -> None:
    seen = set()
    for each in everything:
        for i, word in enumerate(each.target):
            if word.text in ("一", "两", "三", "这", "那"):
                noun = next(later.text for later in each.target[i:] if later.part.endswith(".noun"))
                assert each.target[i + 1].text == MEASURES.get(noun, "个"), each.chinese
                seen.add(noun)
    assert set(MEASURES) < seen


def test_english_verbs_agree_and_articles_suit_the_next_sound(everything: list[Said]) -> None:
    singular = re.compile(r"^(The|This|That|A|An) (\w+ )?\w+ (are|were|have|do)\b")
    plural = re.compile(r"^(These|Those|Many|Two|Three) (\w+ )?\w+ (is|was|has|does|likes|needs|reads|sleeps)\b")
    article = re.compile(r"\b(an [^aeiou]|a [aeiou]|an old \w+s\b)", re.IGNORECASE)
    count = re.compile(
        r"\b(a|this|that) (child|mouse|knife)ren\b|\b(two|three|these|those|many) (child|mouse|knife|box)\b"
    )
    texts = [each.english for each in everything]
    assert not [text for text in texts for rule in (singular, plural, article, count) if rule.search(text)]
    assert {word for text in texts for word in re.findall(r"children|mice|knives|boxes", text)} == set(PLURALS)


def test_times_and_places_move(everything: list[Said]) -> None:
    for each in everything:
        meaning = each.meaning
        if isinstance(meaning, Clause) and meaning.time and meaning.place:
            assert each.english.endswith(f" {meaning.place} {meaning.time}.")
            parts = [word.part for word in each.target]
            assert parts.index("time") < parts.index("place") < parts.index("verb")


def test_no_aspect_stands_with_the_wrong_negation(everything: list[Said]) -> None:
    for each in everything:
        if isinstance(each.meaning, Clause) and each.meaning.negated and "的" not in each.chinese:
            assert not re.search("没.*了。|不.*过|不.*了。", each.chinese), each.chinese
        assert re.fullmatch(r"[\u4e00-\u9fff]+。", each.chinese)
        assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+)+\.", each.english)


# --- Alignment


def test_the_alignment_of_a_sentence_is_as_drawn_by_hand() -> None:
    meaning = Clause(
        "throw away", "past", Phrase("the", "child"), Phrase("that", "map", "old"), negated=True, place="in the park"
    )
    source, target = [[word.text for word in words(meaning)] for words in (english_words, chinese_words)]
    assert source == ["The", "child", "did", "not", "throw", "away", "that", "old", "map", "in", "the", "park", "."]
    assert target == ["孩子", "没", "在", "公园", "把", "那", "张", "旧", "地图", "扔掉", "。"]
    by_hand = "child-孩子 not-没 throw-扔掉 away-扔掉 that-那 that-张 old-旧 map-地图 in-在 the-公园 park-公园 .-。"
    found = [f"{source[i]}-{target[j]}" for i, j in sorted(alignment(meaning))]
    assert found == by_hand.split()


def test_alignments_agree_with_a_dictionary(everything: list[Said]) -> None:
    """Which Chinese words each English one is ever aligned with."""
    found: dict[str, set[str]] = {}
    alone: tuple[set[str], set[str]] = (set(), set())
    for _, _, _, source, target, links in everything:
        for i, j in links:
            found.setdefault(source[i].text.lower(), set()).add(target[j].text)
        alone[0].update(word.text.lower() for i, word in enumerate(source) if i not in {i for i, _ in links})
        alone[1].update(word.text for j, word in enumerate(target) if j not in {j for _, j in links})
    assert alone == ({"the", "did", "do", "does", "is", "are"}, {"把"})
    assert found["mice"] == found["mouse"] == {"老鼠"}
    assert found["old"] == {"旧", "老"}
    assert found["threw"] == {"扔掉", "了"} and found["seen"] == {"看见", "了"}
    assert found["never"] == {"从来", "没"} and found["not"] == {"没", "不"}
    assert found["by"] == {"被"} and found["who"] == {"的"} and found["has"] == {"过"}
    assert found["in"] == found["at"] == {"在"}


# --- Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verb": "ride"}, "verb must be one of buy, .*, got 'ride'"),
        ({"tense": "pluperfect"}, "tense must be one of past, perfect, .* here, got 'pluperfect'"),
        ({"verb": "tear up", "tense": "perfect"}, "tense must be one of past, future here, got 'perfect'"),
        ({"tense": "progressive", "negated": True}, "negated must be False with progressive"),
        ({"passive": True}, "passive must be False with read"),
        ({"patient": None}, "patient must be a Phrase with read"),
        ({"verb": "sing"}, "patient must be None with sing"),
        ({"verb": "give to"}, "recipient must be a Phrase with give to"),
        ({"agent": None}, "agent must be a Phrase unless passive"),
        ({"agent": Phrase("the", "elephant")}, "noun must be one of teacher, .*, got 'elephant'"),
        ({"agent": Phrase("all", "student")}, "determiner must be one of a, the, .*, got 'all'"),
        ({"patient": Phrase("the", "book", "young")}, "adjective must be one that is said of a book, got 'young'"),
        ({"time": "tomorrow"}, "time must go with past, got 'tomorrow'"),
        ({"time": "soon"}, "time must be one of yesterday, .*, got 'soon'"),
        ({"place": "on the moon"}, "place must be one of at home, .*, got 'on the moon'"),
    ],
)
def test_what_cannot_be_said_is_an_error(changes: dict[str, object], message: str) -> None:
    meaning = Clause("read", "past", Phrase("the", "student"), Phrase("this", "book"))._replace(**changes)
    with pytest.raises(ValueError, match=message):
        pair(meaning)


# --- Shortcuts


def test_shortcuts_on_three_sentences() -> None:
    student, book = Phrase("the", "student"), Phrase("this", "book")
    train = [Clause("read", "past", student, book), Clause("buy", "past", student, book, time="yesterday")]
    test = [Clause("buy", "past", student, book), Clause("write", "past", book, student)]
    pairs = [pair(meaning) for meaning in train]
    asked = [pair(meaning) for meaning in test]
    assert majority([*pairs, pairs[1]], asked) == ["学生昨天买了这本书。"] * 2
    assert word_by_word(train, test) == ["学生买了这本书。", "这本书学生。"]
    assert nearest_neighbour(pairs, asked) == ["学生昨天买了这本书。", "学生读了这本书。"]


def test_no_shortcut_translates(said: dict[str, list[Said]], splits: Meanings) -> None:
    pairs = {name: [Pair(each.english, each.chinese) for each in split] for name, split in said.items()}
    train = pairs["train"]
    for asked, test, bound in ((splits.test, pairs["test"], 0.12), (splits.held_out, pairs["held_out"], 0.05)):
        for written in (
            majority(train, test),
            [each.source for each in test],
            word_by_word(splits.train, asked),
            nearest_neighbour(train, test),
        ):
            right = sum(text == each.target for text, each in zip(written, test, strict=True))
            assert right / len(test) < bound
