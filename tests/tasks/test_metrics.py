import math
import re
import warnings
from string import punctuation

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.metrics.sequence_labeling import get_entities

from transformer_lib.data.examples import Entity
from transformer_lib.tasks.metrics import (
    bleu,
    bleu_resampled,
    chrf,
    exact_match,
    f1_by_kind,
    macro_f1,
    strict_f1,
    token_f1,
)

WORDS = st.lists(
    st.sampled_from(("The", "cat", "sat", "on", "a", "mat", ",", "ran", ".", "猫", "坐", "在", "垫子", "上", "。")),
    max_size=9,
)
CORPORA = st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), min_size=1, max_size=6)
KINDS = ("PER", "ORG", "LOC")
TAGS = st.lists(st.sampled_from(["O", *(f"{p}-{kind}" for p in "BI" for kind in KINDS)]), max_size=12)
# gold tags, and predictions that share some of them
TAGGED = st.lists(TAGS, min_size=1, max_size=5).flatmap(
    lambda gold: st.tuples(
        st.just(gold),
        st.tuples(*(st.permutations(tags) | st.lists(st.sampled_from(tags), min_size=len(tags), max_size=len(tags))
                    if tags else st.just([]) for tags in gold)),
    )
)  # fmt: skip


# ---- translation: sacrebleu itself, called as its command line does ----


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char", "none"])
@pytest.mark.parametrize("lowercase", [False, True])
@given(CORPORA)
def test_bleu_is_sacrebleu_with_its_signature(tokenize, lowercase, corpus):
    hypotheses, references = map(list, zip(*corpus, strict=True))
    wanted = sacrebleu.corpus_bleu(hypotheses, [references], lowercase=lowercase, tokenize=tokenize, force=True)
    found = bleu(hypotheses, references, lowercase=lowercase, tokenize=tokenize)
    assert found.value == wanted.score
    case = "lc" if lowercase else "mixed"
    version = sacrebleu.__version__
    assert found.signature == f"nrefs:1|case:{case}|eff:no|tok:{tokenize}|smooth:exp|version:{version}"


def test_resampled_scores_have_margins_and_say_what_differs():
    references = [f"{a} sat on the {b} mat ." for a in ("a cat", "two dogs", "it") for b in ("old", "big", "red", "")]
    worse = [text.replace("sat", "ran").replace("mat", "map") for text in references]
    close = [references[0].replace("mat", "map"), *references[1:]]
    found = bleu_resampled({"right": references, "same": references, "close": close, "worse": worse}, references)
    assert found["right"].value == pytest.approx(100) and found["right"].margin == pytest.approx(0)
    assert found["right"].p_value is None and found["same"].p_value == 1 and found["worse"].p_value < 0.01
    assert found["close"].value == bleu(close, references).value and found["close"].margin > 0.5
    assert found == bleu_resampled(
        {"right": references, "same": references, "close": close, "worse": worse}, references
    )
    with pytest.raises(ValueError, match=r"^systems must be two"):
        bleu_resampled({"one": references}, references)
    with pytest.raises(ValueError, match=r"^systems\['b'\] must be 12"):
        bleu_resampled({"a": references, "b": references[1:]}, references)


@pytest.mark.parametrize("word_order", [0, 2])
@pytest.mark.parametrize("lowercase", [False, True])
@given(CORPORA)
def test_chrf_is_sacrebleu_with_its_signature(word_order, lowercase, corpus):
    hypotheses, references = map(list, zip(*corpus, strict=True))
    wanted = sacrebleu.CHRF(word_order=word_order, lowercase=lowercase).corpus_score(hypotheses, [references]).score
    found = chrf(hypotheses, references, word_order=word_order, lowercase=lowercase)
    assert found.value == wanted
    case, version = "lc" if lowercase else "mixed", sacrebleu.__version__
    assert found.signature == f"nrefs:1|case:{case}|eff:yes|nc:6|nw:{word_order}|space:no|version:{version}"


def test_bleu_by_hand():
    """4-gram precisions 5/6, 3/5, 1/4 and 0/3, smoothed to 1/6; no length penalty."""
    found = bleu(["the cat sat on the mat"], ["the cat lay on the mat"])
    assert found.value == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)


@pytest.mark.parametrize("metric", [bleu, chrf])
def test_a_perfect_translation_has_100_and_none_has_0(metric):
    text = ["The cat sat on the mat.", "A dog ran away from us."]
    assert metric(text, text).value == pytest.approx(100)
    assert metric(["", ""], text).value == 0


def test_the_chinese_tokeniser_sees_characters():
    hypothesis, reference = ["我今天很高兴。"], ["我昨天很高兴。"]
    assert bleu(hypothesis, reference).value == 0
    assert bleu(hypothesis, reference, tokenize="zh").value > 40


# ---- entities and relations: seqeval counts spans of tags ----


def entities(tags):
    return [Entity(kind, start, end + 1) for kind, start, end in get_entities(tags)]


@given(TAGGED)
def test_entity_f1_is_seqevals(tagged):
    gold, predicted = map(list, tagged)
    ours = [entities(tags) for tags in predicted], [entities(tags) for tags in gold]
    micro, by_kind = strict_f1(*ours), f1_by_kind(*ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval's word for a zero denominator, for which it gives 0 as well
        scores = [metric(gold, predicted) for metric in (seqeval.precision_score, seqeval.recall_score)]
        assert micro[:3] == pytest.approx((*scores, seqeval.f1_score(gold, predicted)))
        report = seqeval.classification_report(gold, predicted, output_dict=True) if by_kind else {}
    for kind, score in by_kind.items():
        wanted = report[kind]
        assert score[:3] == pytest.approx((wanted["precision"], wanted["recall"], wanted["f1-score"]))
        assert score.gold == wanted["support"]
    if by_kind:
        assert set(report) == {*by_kind, "micro avg", "macro avg", "weighted avg"}
        assert macro_f1(by_kind) == pytest.approx(report["macro avg"]["f1-score"])
    assert micro[3:] == tuple(sum(score[i] for score in by_kind.values()) for i in (3, 4, 5))


def test_f1_by_hand():
    """Three right, one too many, two missed."""
    score = strict_f1([{1, 2}, {3, 9}], [{1, 2, 4}, {3, 5}])
    assert score == (3 / 4, 3 / 5, 6 / 9, 3, 4, 5)
    assert round(score.f1, 3) == 0.667


def test_an_item_must_be_in_its_own_sentence_and_right_in_every_part():
    entity = Entity("PER", 0, 2)
    assert strict_f1([[entity], []], [[], [entity]]).f1 == 0
    for wrong in (Entity("ORG", 0, 2), Entity("PER", 1, 2), Entity("PER", 0, 1)):
        assert strict_f1([[wrong]], [[entity]]).f1 == 0
    relation = ("Live_In", entity, Entity("LOC", 4, 5))
    assert strict_f1([[relation]], [[(relation[0], relation[2], relation[1])]]).f1 == 0
    assert f1_by_kind([[relation]], [[relation]]) == {"Live_In": (1, 1, 1, 1, 1, 1)}


def test_an_item_given_twice_counts_once():
    assert strict_f1([["a", "a", "b"]], [["a"]]) == strict_f1([["a", "b"]], [["a"]])


def test_nothing_to_find_and_nothing_found_is_0():
    assert strict_f1([[]], [[]]) == (0, 0, 0, 0, 0, 0)
    assert f1_by_kind([[]], [[]]) == {}
    assert macro_f1({}) == 0


def test_the_macro_mean_weighs_kinds_alike():
    gold = [[("a", 1), ("a", 2), ("a", 3), ("b", 1)]]
    by_kind = f1_by_kind([[("a", 1), ("a", 2), ("a", 3), ("c", 1)]], gold)
    assert list(by_kind) == ["a", "b", "c"]
    assert macro_f1(by_kind) == pytest.approx(1 / 3)


# ---- answers: the rules of SQuAD 2.0 and CMRC 2018, written again from their description ----

SAID = ("The", "the", "a", "An", "cat's", "cat,", "1,000", "1000", "end", ".", "theme", "!")
ENGLISH = st.lists(st.sampled_from(SAID), max_size=6).map(" ".join)
CHINESE = st.text("猫坐在垫子上、。 AB3·", max_size=9)


def squad_words(text):
    kept = [letter for letter in text.lower() if letter not in punctuation]
    return [word for word in "".join(kept).split() if word not in ("a", "an", "the")]


def overlap(found, wanted):
    if not found or not wanted:
        return float(found == wanted)
    rest, shared = list(wanted), 0
    for word in found:
        if word in rest:
            rest.remove(word)
            shared += 1
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


@given(ENGLISH, st.lists(ENGLISH, max_size=3))
def test_english_answers_score_as_in_squad(predicted, answers):
    references = [words for answer in answers if (words := squad_words(answer))] or [[]]
    found = squad_words(predicted)
    assert exact_match(predicted, answers) == max(float(found == words) for words in references)
    assert token_f1(predicted, answers) == pytest.approx(max(overlap(found, words) for words in references))


@given(ENGLISH, st.lists(ENGLISH, min_size=1, max_size=3))
def test_english_answers_score_as_in_torchmetrics(predicted, answers):
    from torchmetrics.functional.text import squad

    if not squad_words(predicted) or not all(map(squad_words, answers)):
        return  # SQuAD 1.1, which torchmetrics follows, has no empty answers
    scores = squad(
        [{"prediction_text": predicted, "id": "0"}],
        [{"answers": {"answer_start": [0] * len(answers), "text": answers}, "id": "0"}],
    )
    assert 100 * exact_match(predicted, answers) == pytest.approx(float(scores["exact_match"]))
    assert 100 * token_f1(predicted, answers) == pytest.approx(float(scores["f1"]))


def chinese_tokens(text):
    """Characters one by one, runs of other letters whole."""
    bare = re.sub("[、。·]", "", text.lower())
    return re.sub("([猫坐在垫子上])", r" \1 ", bare).split()


def longest_run(left, right):
    """Of what both have without a gap: by trying all starts."""
    return max(
        (n for n in range(1, len(left) + 1) for i in range(len(left)) for j in range(len(right))
         if len(left[i : i + n]) == n and left[i : i + n] == right[j : j + n]),
        default=0,
    )  # fmt: skip


@given(CHINESE, CHINESE)
def test_chinese_answers_score_as_in_cmrc(predicted, answer):
    found, wanted = chinese_tokens(predicted), chinese_tokens(answer)
    assert exact_match(predicted, [answer], language="zh") == float(found == wanted)
    total = len(found) + len(wanted)
    expected = 2 * longest_run(found, wanted) / total if total and found and wanted else float(found == wanted)
    assert token_f1(predicted, [answer], language="zh") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predicted", "answers", "language", "exact", "f1"),
    [
        ("The Broncos!", ["Denver Broncos", "broncos"], "en", 1, 1),
        ("the Denver Broncos", ["Broncos"], "en", 0, 2 / 3),
        ("theme", ["me"], "en", 0, 0),
        ("", [], "en", 1, 1),
        ("Broncos", [], "en", 0, 0),
        ("", ["Broncos"], "en", 0, 0),
        ("the", [], "en", 1, 1),
        ("", ["the"], "en", 1, 1),
        ("308分", ["308 分"], "zh", 1, 1),
        ("卡万·肖特", ["卡万肖特。"], "zh", 1, 1),
        ("特肖", ["肖特"], "zh", 0, 1 / 2),
        ("NFL联盟", ["nfl"], "zh", 0, 1 / 2),
        ("", [], "zh", 1, 1),
        ("。", ["猫"], "zh", 0, 0),
    ],
)
def test_answers_by_hand(predicted, answers, language, exact, f1):
    assert exact_match(predicted, answers, language=language) == exact
    assert math.isclose(token_f1(predicted, answers, language=language), f1)


# ---- mistakes of the caller ----


@pytest.mark.parametrize("metric", [bleu, chrf, strict_f1, f1_by_kind])
def test_unequal_counts_and_nothing_at_all(metric):
    rows = ["a"] if metric in (bleu, chrf) else [[("a", 1)]]
    with pytest.raises(ValueError, match=r"must be 1, one for each to compare with, got 2"):
        metric(rows * 2, rows)
    with pytest.raises(ValueError, match="must be 2, one for each to compare with, got 1"):
        metric(rows, rows * 2)
    with pytest.raises(ValueError, match="must not be empty, got 0"):
        metric([], [])


def test_one_text_is_not_a_list_of_texts():
    for metric in (bleu, chrf):
        with pytest.raises(TypeError, match="hypotheses must be a list of strings, got 'abc'"):
            metric("abc", "abd")
    for metric in (exact_match, token_f1):
        with pytest.raises(TypeError, match="answers must be a list of strings, got 'abc'"):
            metric("abc", "abc")


def test_items_that_are_none():
    with pytest.raises(TypeError, match="predicted must be lists of hashable items"):
        strict_f1([[[1]]], [[1]])
    for item in ((), (1,), [], "ab"):
        with pytest.raises(TypeError, match=r"must be a tuple that starts with its kind|predicted"):
            f1_by_kind([[item]], [[("a", 1)]])


@pytest.mark.parametrize("order", [-1, 7, 2**40])
def test_a_word_order_that_is_none(order):
    with pytest.raises(ValueError, match="word_order must be from 0 to 6"):
        chrf(["a"], ["a"], word_order=order)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_accent_may_be_a_character_of_its_own(language):
    """In "thé" so spelled the article "the" is none."""
    for composed, decomposed in (("le thé vert", "le the\u0301 vert"), ("Zoë", "Zoe\u0308")):
        assert exact_match(composed, [decomposed], language=language) == 1
        assert token_f1(decomposed, [composed], language=language) == 1
        assert exact_match(composed, ["le vert"], language=language) == 0


def test_unknown_names(unchecked_types):
    with pytest.raises(ValueError, match=r"tokenize must be one of .*, got 'moses'"):
        bleu(["a"], ["a"], tokenize="moses")
    for metric in (exact_match, token_f1):
        with pytest.raises(ValueError, match=r"language must be one of \(?'en', 'zh'\)?, got 'de'"):
            metric("a", ["a"], language="de")
