"""Entities as one tag per word, the way back, and the best sequence of tags that is allowed.

In BIO an entity is B-kind and then I-kind for each further word. BILOU also marks its last word, L-kind, and an entity
of one word is U-kind; every other word is O. Entities can then neither overlap nor nest.

Ramshaw and Marcus (1995) for BIO, Ratinov and Roth (2009) for BILOU; Viterbi (1967) for the search. Left out: a CRF,
that is, learned scores for the steps between tags; here a step is allowed or it is not.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, check_annotated

Scheme = Literal["BIO", "BILOU"]
OUTSIDE = "O"
CLOSED = ("L", "U", OUTSIDE)  # nothing goes on after these


@checked
def tag_names(kinds: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """All tags: O first, then those of each kind in the order of the scheme's name."""
    return OUTSIDE, *(f"{mark}-{kind}" for kind in kinds for mark in scheme if mark != OUTSIDE)


@checked
def tags_of(example: Annotated, scheme: Scheme) -> list[str]:
    """One tag per word; `ValueError` if entities overlap."""
    check_annotated(example)
    tags = [OUTSIDE] * len(example.words)
    for kind, start, end in example.entities:
        marks = ["B", *"I" * (end - start - 1)]
        if scheme == "BILOU":
            marks[-1] = "U" if len(marks) == 1 else "L"
        tags[start:end] = [f"{mark}-{kind}" for mark in marks]
    return tags


@checked
def entities_of(tags: Sequence[str]) -> tuple[Entity, ...]:
    """The entities that the tags of either scheme mark, in order.

    Tags a model gives one by one may contradict each other, as in `O I-person`. Whatever stands there, every word that
    is not O belongs to an entity: it goes on with the entity before it unless its own tag is B or U, the kinds differ,
    or the tag before is L, U or O. (The rule of the CoNLL-2000 scorer, and of seqeval.) What is no tag of either scheme
    is a `ValueError`.
    """
    entities: list[Entity] = []
    last_mark, last_kind = OUTSIDE, ""
    for place, tag in enumerate(tags):
        mark, kind = _parts(tag)
        if mark != OUTSIDE:
            goes_on = mark in "IL" and kind == last_kind and last_mark not in CLOSED
            start = entities.pop().start if goes_on else place
            entities.append(Entity(kind, start, place + 1))
        last_mark, last_kind = mark, kind
    return tuple(entities)


@checked
class Steps(NamedTuple):
    """Which tags may begin a sentence, which may follow which (`next[before, after]`), and which may end it."""

    first: Bool[Tensor, "tag"]
    next: Bool[Tensor, "tag tag"]
    last: Bool[Tensor, "tag"]


@checked
def allowed_steps(tags: Sequence[str]) -> Steps:
    """The steps that a scheme allows: those of which `tags_of` could have made use.

    I and L need B or I of the same kind before them. In BILOU, where there is an L, B and I need I or L after them.
    """
    require(len(tags) > 0, "tags", "must not be empty", tags)
    split = [_parts(tag) for tag in tags]
    closes = any(mark == "L" for mark, _ in split)
    needs_before = [mark in ("I", "L") for mark, _ in split]
    needs_after = [closes and mark in ("B", "I") for mark, _ in split]
    rows = [
        [
            before[0] in ("B", "I") and before[1] == after[1] if needs_before[j] else not needs_after[i]
            for j, after in enumerate(split)
        ]
        for i, before in enumerate(split)
    ]
    return Steps(~torch.tensor(needs_before), torch.tensor(rows), ~torch.tensor(needs_after))


@checked
def best_tags(
    scores: Float[Tensor, "batch word tag"], valid: Bool[Tensor, "batch word"], steps: Steps
) -> Int[Tensor, "batch word"]:
    """The allowed sequence with the greatest sum of scores, for each sentence; anything at its padding.

    O(word tag^2): the best way to each tag of a word is the best way to a tag before it, and one allowed step.
    `ValueError` for sentences without words, or unless scores and steps are of the same tags, of which there are some.
    """
    require(min(scores.shape[1:]) > 0, "scores", "must have at least one word and one tag", tuple(scores.shape))
    for name, part in zip(Steps._fields, steps, strict=True):
        shape = scores.shape[-1:] * (2 if name == "next" else 1)
        require_kind(part, Tensor, f"steps.{name}", "a Tensor")
        fits = part.shape == shape and part.dtype == torch.bool
        require(fits, f"steps.{name}", f"must be boolean of shape {tuple(shape)}", (part.dtype, tuple(part.shape)))
    first, following, last = (part.to(scores.device) for part in steps)
    total = scores[:, 0].masked_fill(~first, -torch.inf)
    came_from = []
    stay = torch.arange(scores.shape[-1], device=scores.device)
    for word in range(1, scores.shape[1]):
        ways = total[:, :, None].masked_fill(~following, -torch.inf)
        best, before = ways.max(dim=1)
        here = valid[:, word, None]
        total = torch.where(here, best + scores[:, word], total)
        came_from.append(torch.where(here, before, stay))
    path = [total.masked_fill(~last, -torch.inf).argmax(dim=-1)]
    for before in reversed(came_from):
        path.append(before.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], dim=1)


def _parts(tag: str) -> tuple[str, str]:
    """The mark and the kind of a tag; O has no kind."""
    mark, _, kind = tag.partition("-")
    known = tag == OUTSIDE or (mark in ("B", "I", "L", "U") and kind != "")
    require(known, "tags", "must be O, or B, I, L or U with a hyphen and a kind", tag)
    return mark, kind
