"""How sure a tagger is of an entity: the share of all allowed sequences of tags in which exactly this entity stands.

Each sequence weighs exp(the sum of its tags' scores). There are tag^word of them, but a sum over all that begin alike
is made once: forwards over the words before the entity, backwards over those after it. With steps that are allowed or
not, and no learned ones, this is the marginal of a conditional random field (Lafferty, McCallum and Pereira 2001).
Left out: pairs of entities, whose joint share is not the product of theirs.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Annotated, Entity, check_annotated
from transformer_lib.tasks.tagging import Scheme, allowed_steps, tags_of


@checked
def entity_shares(
    scores: Float[Tensor, "word tag"], tags: Sequence[str], entities: Sequence[Entity], *, scheme: Scheme
) -> list[float]:
    """The probability of each entity, from 0 to 1, by the scores of each word's tags.

    Computed in float64: `word tag^2` sums of logarithms. `ValueError` for an entity outside the words, entities that
    overlap, a kind without tags, or scores that are not finite.
    """
    words = scores.shape[0]
    require(len(tags) == scores.shape[1], "tags", f"must be {scores.shape[1]} in number", len(tags))
    require(words > 0, "scores", "must have at least one word", tuple(scores.shape))
    require(bool(scores.isfinite().all()), "scores", "must be finite", "NaN or an infinity")
    example = Annotated(("",) * words, tuple(entities), ())
    check_annotated(example)
    spelled = tags_of(example, scheme)
    missing = sorted(set(spelled) - set(tags))
    require(not missing, "entities", f"must be of kinds that have tags among {list(tags)}; missing are", missing)
    before, after, total = _sums(scores.double().cpu(), tags)
    scores = scores.double().cpu()
    ids = {tag: number for number, tag in enumerate(tags)}
    following = allowed_steps(tags).next
    shares = []
    for kind, start, end in entities:
        path = [ids[tag] for tag in spelled[start:end]]
        inside = sum(float(scores[place, tag]) for place, tag in zip(range(start + 1, end), path[1:], strict=True))
        allowed = following[path[-1]].clone()
        if f"I-{kind}" in ids:  # in BIO it would make the entity longer
            allowed[ids[f"I-{kind}"]] = False
        rest = after[end].masked_fill(~allowed, -torch.inf).logsumexp(0) if end < words else torch.zeros(())
        share = before[start, path[0]] + inside + rest - total
        shares.append(float(share.exp().clamp(max=1)))
    return shares


def _sums(scores: Tensor, tags: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms: of all beginnings up to a word with its tag, of all ends from there on, and of all sequences."""
    first, following, last = allowed_steps(tags)
    steps = torch.zeros(following.shape, dtype=scores.dtype).masked_fill(~following, -torch.inf)
    before, after = torch.empty_like(scores), torch.empty_like(scores)
    before[0] = scores[0].masked_fill(~first, -torch.inf)
    for word in range(1, len(scores)):
        before[word] = scores[word] + (before[word - 1][:, None] + steps).logsumexp(0)
    after[-1] = scores[-1].masked_fill(~last, -torch.inf)
    for word in range(len(scores) - 2, -1, -1):
        after[word] = scores[word] + (steps + after[word + 1]).logsumexp(1)
    return before, after, before[-1].masked_fill(~last, -torch.inf).logsumexp(0)
