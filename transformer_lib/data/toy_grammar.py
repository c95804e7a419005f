"""One grammar, two languages: a sentence is its meaning, and `english` and `chinese` say it.

    Clause(verb="buy", tense="past", agent=Phrase("the", "teacher"), patient=Phrase("two", "book"), time="yesterday")
    The teacher bought two books yesterday.
    老师昨天买了两本书。

What moves: times and places stand last in English and before the verb in Chinese; a relative clause stands after its
noun, or before it with 的; before the Chinese verb stands what it changes, with 把, and in the passive who does
it, with 被. Each language marks what the other does not: plurals, articles, agreement; or measure words and aspects.
Left out: pronouns, questions, coordination, relative clauses in relative clauses.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.data.toy_lexicon import (
    ADJECTIVES,
    BA,
    DETERMINERS,
    KINDS,
    NOUNS,
    PASSIVE,
    PLACES,
    TIMES,
    VERBS,
    Adjective,
    Verb,
)
from transformer_lib.data.toy_meaning import GAP as GAP
from transformer_lib.data.toy_meaning import Clause as Clause
from transformer_lib.data.toy_meaning import Description as Description
from transformer_lib.data.toy_meaning import Meaning as Meaning
from transformer_lib.data.toy_meaning import Phrase as Phrase
from transformer_lib.data.toy_meaning import check_meaning

Entry = TypeVar("Entry")


class Word(NamedTuple):
    """A word, and the part of the meaning it expresses: 'agent.noun', 'verb', 'patient.relative.verb', ..."""

    text: str
    part: str


Say = Callable[[Phrase, str], list[Word]]  # a phrase, and the name of its part of the meaning


@checked
def english(meaning: Meaning) -> str:
    """The sentence in English."""
    return " ".join(word.text for word in english_words(meaning)[:-1]) + "."


@checked
def chinese(meaning: Meaning) -> str:
    """The sentence in Chinese."""
    return "".join(word.text for word in chinese_words(meaning))


@checked
def pair(meaning: Meaning) -> Pair:
    """English as the source, Chinese as the target."""
    return Pair(english(meaning), chinese(meaning))


@checked
def alignment(meaning: Meaning) -> frozenset[tuple[int, int]]:
    """Which words translate each other: pairs of indices into `english_words` and `chinese_words`.

    Two words are a pair if they express the same part of the meaning. Some have no partner: the, 把, did.
    """
    source, target = english_words(meaning), chinese_words(meaning)
    return frozenset(
        (i, j) for i, left in enumerate(source) for j, right in enumerate(target) if left.part == right.part
    )


@checked
def english_words(meaning: Meaning) -> tuple[Word, ...]:
    """The English words in order, the full stop last."""
    check_meaning(meaning)
    if isinstance(meaning, Description):
        copula = _says("are" if _plural(meaning.subject) else "is", "copula") + _not(meaning.negated)
        words = _english_phrase(meaning.subject, "subject") + copula + _says(meaning.adjective, "adjective")
    else:
        words = _english_clause(meaning, "")
    first = words[0]
    return (first._replace(text=first.text[0].upper() + first.text[1:]), *words[1:], Word(".", "stop"))


@checked
def chinese_words(meaning: Meaning) -> tuple[Word, ...]:
    """The Chinese words in order, the full stop last."""
    check_meaning(meaning)
    if isinstance(meaning, Description):
        adjective = adjective_for(meaning.adjective, meaning.subject.noun)
        negation = [Word("不", "negation")] if meaning.negated else []
        copula = [] if meaning.negated and adjective.copula == "很" else [Word(adjective.copula, "copula")]
        words = _chinese_phrase(meaning.subject, "subject") + negation + copula
        words.append(Word(adjective.predicate, "adjective"))
    else:
        words = _chinese_clause(meaning, "")
    return (*words, Word("。", "stop"))


@checked
def adjective_for(english: str, noun: str) -> Adjective:
    """The adjective as it is said of this noun; `ValueError` if it is not."""
    tags = _find(NOUNS, "noun", noun).tags
    found = [each for each in ADJECTIVES if each.english == english and each.tags & tags]
    require(len(found) == 1, "adjective", f"must be one that is said of a {noun}", english)
    return found[0]


def _find(table: dict[str, Entry], field: str, name: str) -> Entry:
    require(name in table, field, f"must be one of {', '.join(table)}", name)
    return table[name]


def _verb_of(clause: Clause) -> Verb:
    """The clause's verb; `ValueError` if one of the languages does not say such a clause."""
    verb = _find(VERBS, "verb", clause.verb)
    tenses = [tense for tense in KINDS[verb.kind] if not (clause.passive and tense not in ("past", "future"))]
    require(clause.tense in tenses, "tense", f"must be one of {', '.join(tenses)} here", clause.tense)
    require(not (clause.negated and clause.tense == "progressive"), "negated", "must be False with progressive", True)
    require(not clause.passive or verb.kind in PASSIVE, "passive", f"must be False with {clause.verb}", True)
    for role, has in {"patient": verb.kind != "alone", "recipient": verb.kind == "transfer"}.items():
        phrase = getattr(clause, role)
        require(
            (phrase is not None) == has, role, f"must be {'a Phrase' if has else 'None'} with {clause.verb}", phrase
        )
    require(clause.passive or clause.agent is not None, "agent", "must be a Phrase unless passive", None)
    if clause.time:
        when = _find(TIMES, "time", clause.time)[0]
        require(when == clause.tense, "time", f"must go with {clause.tense}", clause.time)
    if clause.place:
        _find(PLACES, "place", clause.place)
    return verb


def _says(text: str, part: str) -> list[Word]:
    return [Word(word, part) for word in text.split()]


def _role(say: Say, clause: Clause, name: str, inside: str, *before: Word) -> list[Word]:
    """What has this role in the clause, after the words that mark it; nothing if nobody has, or the noun outside."""
    phrase: Phrase | None = getattr(clause, name)
    return [] if phrase is None or phrase == GAP else [*before, *say(phrase, inside + name)]


# --- English


def _not(negated: bool) -> list[Word]:
    return [Word("not", "negation")] if negated else []


def _plural(phrase: Phrase) -> bool:
    return _find(DETERMINERS, "determiner", phrase.determiner).plural


def _english_phrase(phrase: Phrase, role: str) -> list[Word]:
    """Determiner, adjective, noun, relative clause: 'an old book that the teacher bought'."""
    noun = _find(NOUNS, "noun", phrase.noun)
    words = _says(phrase.adjective, f"{role}.adjective")
    words += _says(noun.plural if _plural(phrase) else noun.singular, f"{role}.noun")
    if phrase.determiner != "generic":
        an = phrase.determiner == "a" and words[0].text[0] in "aeiou"
        words.insert(0, Word("an" if an else phrase.determiner, f"{role}.determiner"))
    if phrase.relative:
        words.append(Word("who" if "person" in noun.tags else "that", f"{role}.relative"))
        words += _english_clause(phrase.relative, f"{role}.relative.", phrase)
    return words


def _english_clause(clause: Clause, inside: str, head: Phrase = GAP) -> list[Word]:
    """Subject, verb, object, recipient, agent, place, time; `head` is the noun whose relative clause this is."""
    verb = _verb_of(clause)

    subject = "patient" if clause.passive else "agent"
    words = _role(_english_phrase, clause, subject, inside)
    words += _english_verb(clause, inside, plural=_plural(getattr(clause, subject) if words else head))
    words += [] if clause.recipient else _says(verb.particle, inside + "verb")
    words += [] if clause.passive else _role(_english_phrase, clause, "patient", inside)
    words += _role(_english_phrase, clause, "recipient", inside, Word(verb.particle, inside + "to"))
    words += _role(_english_phrase, clause, "agent", inside, Word("by", inside + "passive")) if clause.passive else []
    preposition, _, rest = clause.place.partition(" ")
    words += _says(preposition, inside + "in") + _says(rest, inside + "place")
    return words + _says(clause.time, inside + "time")


def _english_verb(clause: Clause, inside: str, *, plural: bool) -> list[Word]:
    """The verb with its auxiliaries, which agree with the subject: 'has never read', 'were not torn'."""
    verb, tense, not_ = VERBS[clause.verb], inside + "tense", clause.negated
    be, was = ("are", "were") if plural else ("is", "was")
    negation = [Word("never" if clause.tense == "perfect" else "not", inside + "negation")] if not_ else []
    auxiliary: list[Word]
    match clause.tense:
        case "past" if clause.passive:
            auxiliary, form = [Word(was, inside + "passive")], verb.participle
        case "past":
            auxiliary, form = [Word("did", tense)] if not_ else [], verb.base if not_ else verb.past
        case "perfect":
            auxiliary, form = [Word("have" if plural else "has", tense)], verb.participle
        case "progressive":
            auxiliary, form = [Word(be, tense)], verb.ing
        case "present":
            auxiliary = [Word("do" if plural else "does", tense)] if not_ else []
            form = verb.base if not_ or plural else verb.third
        case _:  # future
            auxiliary, form = [Word("will", tense)], verb.base
            if clause.passive:
                negation, form = [*negation, Word("be", inside + "passive")], verb.participle
    return [*auxiliary, *negation, Word(form, inside + "verb")]


# --- Chinese


def _chinese_phrase(phrase: Phrase, role: str) -> list[Word]:
    """Relative clause with 的, determiner, measure word, adjective, noun: 老师买的一本旧书."""
    determiner, noun = _find(DETERMINERS, "determiner", phrase.determiner), _find(NOUNS, "noun", phrase.noun)
    words: list[Word] = []
    if phrase.relative:
        words += [*_chinese_clause(phrase.relative, f"{role}.relative."), Word("的", f"{role}.relative")]
    words += _says(determiner.chinese, f"{role}.determiner")
    words += _says(noun.measure, f"{role}.determiner") if determiner.measured else []
    if phrase.adjective:
        words.append(Word(adjective_for(phrase.adjective, phrase.noun).attribute, f"{role}.adjective"))
    return [*words, Word(noun.chinese, f"{role}.noun")]


def _chinese_clause(clause: Clause, inside: str) -> list[Word]:
    """Subject, time, negation, 会, place, 把 or 被 with its noun, verb with aspect, object, recipient."""
    verb = _verb_of(clause)
    fronted = clause.passive or verb.kind in BA
    after = [] if fronted else _role(_chinese_phrase, clause, "patient", inside)
    words = _role(_chinese_phrase, clause, "patient" if clause.passive else "agent", inside)
    words += _says(TIMES[clause.time][1], inside + "time") if clause.time else []
    words += _chinese_auxiliaries(clause, inside)
    words += [Word(PLACES[clause.place], inside + "place")] if clause.place else []
    if clause.passive:
        words += [Word("被", inside + "passive"), *_role(_chinese_phrase, clause, "agent", inside)]
    elif fronted:
        words += _role(_chinese_phrase, clause, "patient", inside, Word("把", inside + "ba"))
    words.append(Word(verb.chinese, inside + "verb"))
    words += [Word("给", inside + "to")] if clause.recipient else []
    # In a relative clause 了 stays only before an object.
    if clause.tense == "past" and not clause.negated and (not inside or after):
        words.append(Word("了", inside + "verb"))
    words += [Word("过", inside + "tense")] if clause.tense == "perfect" else []
    return words + after + _role(_chinese_phrase, clause, "recipient", inside)


def _chinese_auxiliaries(clause: Clause, inside: str) -> list[Word]:
    """What stands between time and place, with the 在 of the place, which is also that of 正在 (is doing)."""
    tense, negation = inside + "tense", inside + "negation"
    words: list[Word] = []
    if clause.negated:
        negations = {"past": ["没"], "perfect": ["从来", "没"]}.get(clause.tense, ["不"])
        words += [Word(text, negation) for text in negations]
    words += [Word("会", tense)] if clause.tense == "future" else []
    words += [Word("正", tense)] if clause.tense == "progressive" else []
    if clause.place:
        words.append(Word("在", inside + "in"))
    elif clause.tense == "progressive":
        words.append(Word("在", tense))
    return words
