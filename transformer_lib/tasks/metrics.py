"""How each task is scored: BLEU and chrF, strict F1, exact match and token F1.

A metric is only worth quoting if everybody computes it alike. BLEU (Papineni et al. 2002) and chrF (Popović 2015) are
therefore sacrebleu's (Post 2018), with the signature that says how they were computed; entities count as in CoNLL-2003,
and answers as in SQuAD 2.0 (Rajpurkar et al. 2018) and CMRC 2018 (Cui et al. 2019). Left out: several
references for one translation, anything that needs a trained model.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Sized
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple, cast

from transformer_lib.checks import require, require_positive, wrong_kind
from transformer_lib.contract import checked
from transformer_lib.extras import needed
from transformer_lib.text.words import LETTER

with needed():
    import regex

Tokenize = Literal["13a", "intl", "zh", "char", "none"]
Language = Literal["en", "zh"]
ARTICLE = regex.compile(rf"(?<!{LETTER})(?:a|an|the)(?!{LETTER})")


@checked
class Score(NamedTuple):
    """A corpus score from 0 to 100, and sacrebleu's signature of how it was computed."""

    value: float
    signature: str


@checked
class Resampled(NamedTuple):
    """A corpus score, half the width of the interval that holds 95 % of its resamplings, and how surely it differs.

    `p_value` is the chance of a difference from the first system as large as this one if there were none; None for the
    first system itself.
    """

    value: float
    margin: float
    p_value: float | None


@checked
class F1(NamedTuple):
    """Precision, recall and their harmonic mean, each from 0 to 1, with the counts that they come from.

    What has no denominator is 0, so that nothing predicted, or nothing to find, is never a success.
    """

    precision: float
    recall: float
    f1: float
    true_positives: int
    predicted: int
    gold: int


@checked
def bleu(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, tokenize: Tokenize = "13a"
) -> Score:
    """Corpus BLEU against one reference each; `"13a"` is for languages with spaces, `"zh"` cuts out Chinese characters.

    `ValueError` for unequal counts or an empty corpus.
    """
    with needed():
        from sacrebleu.metrics.bleu import BLEU

    _check_counts("hypotheses", hypotheses, references)
    # `force` only silences a warning about text that looks tokenised; it is not part of the score.
    return _corpus_score(BLEU(lowercase=lowercase, tokenize=tokenize, force=True), hypotheses, references)


@checked
def chrf(
    hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False, word_order: int = 0
) -> Score:
    """Corpus chrF: F2 of character n-grams up to 6, without spaces; `word_order=2` is chrF++. Errors as for `bleu`."""
    with needed():
        from sacrebleu.metrics.chrf import CHRF

    _check_counts("hypotheses", hypotheses, references)
    require(0 <= word_order <= 6, "word_order", "must be from 0 to 6", word_order)
    return _corpus_score(CHRF(lowercase=lowercase, word_order=word_order), hypotheses, references)


@checked
def bleu_resampled(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: Tokenize = "13a",
    samples: int = 1000,
) -> dict[str, Resampled]:
    """Corpus BLEU of two or more systems on the same references, by sacrebleu's paired bootstrap (Koehn 2004).

    As many sentences as there are get drawn with replacement, `samples` times, the same ones for all systems. The first
    system is what the others are compared with. Errors as for `bleu`.
    """
    with needed():
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.significance import PairedTest

    require(len(systems) > 1, "systems", "must be two or more", list(systems))
    require_positive(samples=samples)
    for name, written in systems.items():
        _check_counts(f"systems[{name!r}]", written, references)
    metric = BLEU(lowercase=lowercase, tokenize=tokenize, force=True, references=[list(references)])
    named: list[tuple[str, Sequence[str]]] = [(name, list(written)) for name, written in systems.items()]
    _, scores = PairedTest(named, {"BLEU": metric}, references=None, test_type="bs", n_samples=samples)()
    results, columns = {}, cast("list[Any]", scores["BLEU"])
    for (name, written), found in zip(named, columns, strict=True):
        p_value = None if found.p_value is None else float(found.p_value)
        if p_value is not None and written == named[0][1]:
            p_value = 1.0  # sacrebleu takes no difference for a sure one
        results[name] = Resampled(float(found.score), float(found.ci), p_value)
    return results


@checked
def strict_f1(predicted: Sequence[Collection[Any]], gold: Sequence[Collection[Any]]) -> F1:
    """Micro F1 over all sentences: a prediction is right if its sentence's gold holds an item equal to it.

    An item says everything that must be right: `Entity(kind, start, end)`, or for a relation its kind and both
    entities. One that is given twice for a sentence counts once. `ValueError` for unequal counts.
    """
    _check_counts("predicted", predicted, gold)
    pairs = [
        (_distinct("predicted", found), _distinct("gold", wanted))
        for found, wanted in zip(predicted, gold, strict=True)
    ]
    right = sum(len(found & wanted) for found, wanted in pairs)
    return _f1(right, sum(len(found) for found, _ in pairs), sum(len(wanted) for _, wanted in pairs))


@checked
def f1_by_kind(
    predicted: Sequence[Collection[tuple[Any, ...]]], gold: Sequence[Collection[tuple[Any, ...]]]
) -> dict[str, F1]:
    """`strict_f1` for each kind that is predicted or gold anywhere; an item is a tuple that starts with its kind."""
    _check_counts("predicted", predicted, gold)

    def only(kind: str, rows: Sequence[Collection[tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
        return [[item for item in row if item[0] == kind] for row in rows]

    kinds: set[str] = set()
    for item in (item for row in (*predicted, *gold) for item in row):
        if not isinstance(item, tuple) or not isinstance(item[0] if item else None, str):
            raise wrong_kind("an item of predicted or gold", "a tuple that starts with its kind, a string", item)
        kinds.add(item[0])
    return {kind: strict_f1(only(kind, predicted), only(kind, gold)) for kind in sorted(kinds)}


@checked
def macro_f1(by_kind: Mapping[str, F1]) -> float:
    """The plain mean of the F1 of each kind, so that a rare kind weighs as much as a common one; 0 without kinds."""
    return sum(score.f1 for score in by_kind.values()) / max(len(by_kind), 1)


@checked
def exact_match(predicted: str, answers: Sequence[str], *, language: Language = "en") -> float:
    """1 if the prediction has the tokens of one of the answers, else 0.

    Case, punctuation, spacing, the way in which accents are spelled and, in English, articles make no difference. No
    answers mean that the question cannot be answered, and then only a prediction of nothing, `""`, is right.
    """
    return float(_tokens(predicted, language) in _references(answers, language))


@checked
def token_f1(predicted: str, answers: Sequence[str], *, language: Language = "en") -> float:
    """The F1 of the prediction's tokens, 0 to 1, against the answer that suits it best.

    Shared tokens of English are counted in any order, as in SQuAD; those of Chinese, which are mostly single
    characters, as the longest run that both have, as in CMRC 2018. Without tokens on one side it is the exact match.
    """
    found = _tokens(predicted, language)

    def against(wanted: list[str]) -> float:
        if not found or not wanted:
            return float(found == wanted)
        if language == "en":
            shared = (Counter(found) & Counter(wanted)).total()
        else:
            shared = SequenceMatcher(None, found, wanted, autojunk=False).find_longest_match().size
        return _f1(shared, len(found), len(wanted)).f1

    return max(against(wanted) for wanted in _references(answers, language))


def _f1(right: int, predicted: int, gold: int) -> F1:
    total = predicted + gold
    return F1(
        precision=right / predicted if predicted else 0.0,
        recall=right / gold if gold else 0.0,
        f1=2 * right / total if total else 0.0,
        true_positives=right,
        predicted=predicted,
        gold=gold,
    )


def _distinct(field: str, items: Collection[Any]) -> set[Any]:
    try:
        return set(items)
    except TypeError:
        raise wrong_kind(field, "lists of hashable items", items) from None


def _corpus_score(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(float(score), str(metric.get_signature()))


def _check_counts(field: str, found: Sized, wanted: Sized) -> None:
    require(len(found) == len(wanted), field, f"must be {len(wanted)}, one for each to compare with", len(found))
    require(len(found) > 0, field, "must not be empty", 0)


def _references(answers: Sequence[str], language: Language) -> list[list[str]]:
    # As in SQuAD 2.0, an answer of which normalisation leaves nothing is no answer.
    return [tokens for tokens in (_tokens(answer, language) for answer in answers) if tokens] or [[]]


def _tokens(text: str, language: Language) -> list[str]:
    text = unicodedata.normalize("NFC", text).lower()
    if language == "zh":  # one token for a Chinese character, one for a run of other letters and digits
        text = "".join(character for character in text if unicodedata.category(character)[0] not in "PS")
        return re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text)
    text = "".join(character for character in text if character not in string.punctuation)
    return ARTICLE.sub(" ", text).split()
