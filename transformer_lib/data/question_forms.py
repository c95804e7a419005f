"""The words of the authored questions: names, and for each of ten relations how it is stated and asked for.

Every word of a wording for validation or test is known from a statement or from a wording for training.
"""

from typing import NamedTuple

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Question, check_question

PERSONS = (
    *("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Leo"),
    *("Maria", "Nils", "Olga", "Paul", "Rosa", "Simon", "Thea", "Ulrich", "Vera", "Walter", "Yara", "Zeno"),
)
TOWNS = (
    *("Athens", "Bergen", "Bremen", "Cairo", "Dublin", "Geneva", "Lima", "London", "Lyon", "Madrid"),
    *("Milan", "Oslo", "Paris", "Porto", "Prague", "Riga", "Rome", "Tokyo", "Turin", "Vienna"),
)
YEARS = tuple(str(year) for year in range(1950, 1990))
ROOMS = (
    *("attic", "barn", "bedroom", "cabin", "cellar", "chapel", "church", "closet", "garage", "garden"),
    *("hall", "hut", "kitchen", "library", "museum", "office", "pantry", "school", "shop", "tower"),
)
_COLOURS = ("black", "blue", "brown", "green", "grey", "red", "white", "yellow")
_NOUNS = ("bell", "book", "bottle", "chair", "clock", "coat", "hat", "key", "lamp", "ring")
THINGS = tuple(f"{colour} {noun}" for colour in _COLOURS for noun in _NOUNS)
NAMES = {"person": PERSONS, "town": TOWNS, "year": YEARS, "thing": THINGS, "room": ROOMS}


class Wording(NamedTuple):
    """The ways to ask for one side of a relation, by split."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class Form(NamedTuple):
    """A relation from a subject {s} to an object {o}: how it is stated, of one and of two, and how it is asked for.

    `sibling` is a relation between names of the same kinds, with which a hasty reader confuses it.
    """

    subject: str
    object: str
    sibling: str
    statements: tuple[str, ...]
    both: str
    asks_object: Wording
    asks_subject: Wording | None = None


FORMS = {
    "lives": Form(
        *("person", "town", "works"),
        ("{s} lives in {o}.", "{s} has a house in {o}.", "The home of {s} is in {o}."),
        "{s} lives in {o}, {s2} in {o2}.",
        Wording(
            ("Where does {s} live?", "Where is the home of {s}?", "In which town does {s} have a house?"),
            ("In which town does {s} live?", "Where does {s} have a house?"),
            ("In which town is the home of {s}?",),
        ),
    ),
    "works": Form(
        *("person", "town", "lives"),
        ("{s} works in {o}.", "{s} has a job in {o}.", "The desk of {s} is in {o}."),
        "{s} works in {o}, {s2} in {o2}.",
        Wording(
            ("Where does {s} work?", "Where does {s} have a job?", "In which town is the desk of {s}?"),
            ("In which town does {s} work?", "Where is the desk of {s}?"),
            ("In which town does {s} have a job?",),
        ),
    ),
    "born": Form(
        *("person", "year", "married"),
        ("{s} was born in {o}.", "The birth of {s} was in {o}."),
        "{s} was born in {o}, {s2} in {o2}.",
        Wording(
            ("When was {s} born?", "In which year was {s} born?", "In which year was the birth of {s}?"),
            ("When was the birth of {s}?",),
            ("What is the year of the birth of {s}?",),
        ),
    ),
    "married": Form(
        *("person", "year", "born"),
        ("{s} married in {o}.", "The wedding of {s} was in {o}."),
        "{s} married in {o}, {s2} in {o2}.",
        Wording(
            ("When did {s} marry?", "When was the wedding of {s}?", "What is the year of the wedding of {s}?"),
            ("In which year did {s} marry?",),
            ("In which year was the wedding of {s}?",),
        ),
    ),
    "bought": Form(
        *("person", "thing", "lost"),
        ("{s} bought a {o}.", "A {o} was bought by {s}."),
        "{s} bought a {o}, {s2} a {o2}.",
        Wording(
            ("What did {s} buy?", "Which thing did {s} buy?", "What was bought by {s}?"),
            ("Which thing was bought by {s}?",),
            ("What has {s} bought?",),
        ),
        Wording(
            ("Who bought the {o}?", "By whom was the {o} bought?", "Who has bought the {o}?"),
            ("By which person was the {o} bought?",),
            ("Which person bought the {o}?",),
        ),
    ),
    "lost": Form(
        *("person", "thing", "bought"),
        ("{s} lost a {o}.", "A {o} was lost by {s}."),
        "{s} lost a {o}, {s2} a {o2}.",
        Wording(
            ("What did {s} lose?", "What has {s} lost?", "Which thing was lost by {s}?"),
            ("Which thing did {s} lose?",),
            ("What was lost by {s}?",),
        ),
        Wording(
            ("Who lost the {o}?", "Which person lost the {o}?", "By which person was the {o} lost?"),
            ("Who has lost the {o}?",),
            ("By whom was the {o} lost?",),
        ),
    ),
    "taught": Form(
        *("person", "person", "helped"),
        ("{s} taught {o}.", "{o} was taught by {s}.", "{o} was a pupil of {s}."),
        "{s} taught {o}, {s2} taught {o2}.",
        Wording(
            ("Whom did {s} teach?", "Who was taught by {s}?", "Which person did {s} teach?"),
            ("Who was a pupil of {s}?",),
            ("Which person was taught by {s}?",),
        ),
        Wording(
            ("Who taught {o}?", "Which person taught {o}?", "By which person was {o} taught?"),
            ("By whom was {o} taught?",),
            ("Who has taught {o}?",),
        ),
    ),
    "helped": Form(
        *("person", "person", "taught"),
        ("{s} helped {o}.", "{o} was helped by {s}.", "{o} got help from {s}."),
        "{s} helped {o}, {s2} helped {o2}.",
        Wording(
            ("Whom did {s} help?", "Which person was helped by {s}?", "Who got help from {s}?"),
            ("Which person did {s} help?",),
            ("Who was helped by {s}?",),
        ),
        Wording(
            ("Who helped {o}?", "By whom was {o} helped?", "Who has helped {o}?"),
            ("Which person helped {o}?",),
            ("By which person was {o} helped?",),
        ),
    ),
    "is": Form(
        *("thing", "room", "was"),
        ("The {s} is in the {o}.", "The {s} is now in the {o}.", "In the {o} stands the {s}."),
        "The {s} is in the {o}, the {s2} in the {o2}.",
        Wording(
            ("Where is the {s}?", "Where is the {s} now?", "In which room does the {s} stand?"),
            ("Where does the {s} stand?",),
            ("In which room is the {s}?",),
        ),
    ),
    "was": Form(
        *("thing", "room", "is"),
        ("The {s} was in the {o}.", "Before, the {s} was in the {o}."),
        "The {s} was in the {o}, the {s2} in the {o2}.",
        Wording(
            ("Where was the {s}?", "Where was the {s} before?", "In which room was the {s}?"),
            ("Which room was the {s} in?",),
            ("In which room was the {s} before?",),
        ),
    ),
}


@checked
class About(NamedTuple):
    """What an authored question's id says; `side` is what is asked for, `kind` answerable, unstated or absent."""

    split: str
    number: str
    relation: str
    side: str
    kind: str


@checked
def about(question: Question) -> About:
    """Read the id, such as `test/17/lives/object/unstated`; `ValueError` for one that is not authored."""
    check_question(question)
    parts = question.id.split("/")
    authored = len(parts) == len(About._fields) and parts[2] in FORMS and parts[3] in ("subject", "object")
    require(authored, "id", "must be that of an authored question", question.id)
    return About(*parts)
