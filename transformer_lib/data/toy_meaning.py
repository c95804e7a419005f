"""What an authored sentence means, before it is said in a language: `toy_grammar` says it in two.

Clause(verb="buy", tense="past", agent=Phrase("the", "teacher"), patient=Phrase("two", "book"), time="yesterday")
"""

from typing import NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked, require_parts
from transformer_lib.data.toy_lexicon import VERBS


class Phrase(NamedTuple):
    """A noun with what belongs to it; `relative` is a clause in which one role is `GAP`: the noun itself."""

    determiner: str
    noun: str
    adjective: str = ""
    relative: "Clause | None" = None


GAP = Phrase("", "")


@checked
class Clause(NamedTuple):
    """Who does what to whom; roles that nobody has are None. In the passive the patient is the subject."""

    verb: str
    tense: str
    agent: Phrase | None = None
    patient: Phrase | None = None
    recipient: Phrase | None = None
    negated: bool = False
    passive: bool = False
    time: str = ""
    place: str = ""


@checked
class Description(NamedTuple):
    """What something is like."""

    subject: Phrase
    adjective: str
    negated: bool = False


Meaning = Clause | Description


@checked
def check_meaning(meaning: Meaning) -> None:
    """Raise `TypeError` or `ValueError` unless all parts are of the right kind and the verbs are in the lexicon."""
    _check_parts(meaning)


def _check_parts(part: Meaning | Phrase) -> None:
    require_parts(part)
    if isinstance(part, Clause):
        require(part.verb in VERBS, "verb", f"must be one of {', '.join(VERBS)}", part.verb)
    for inner in part:
        if isinstance(inner, Clause | Phrase):
            _check_parts(inner)
