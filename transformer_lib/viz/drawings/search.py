"""Search for a text: beam search as a tree, and speculative decoding pass by pass.

Left out: a length penalty and stop ids; drafts that are drawn at random, of which `generation.speculative` tells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.generation.beam import beam_search
from transformer_lib.generation.generate import LanguageModel
from transformer_lib.generation.speculative import speculate
from transformer_lib.viz.diagram import BLUE, GREEN, NONE, ORANGE, Box, Drawing, Number, Sheet
from transformer_lib.viz.parts import STREAM, number_text, token_box

# What the sheet has room for: in a tree, and in a list of drafts.
MOST_STEPS, MOST_TEXTS, MOST_AHEAD, MOST_PASSES = 3, 40, 5, 12
ROW = 28  # from one leaf or pass to the next


class _Text(NamedTuple):
    tokens: tuple[int, ...]
    log_prob: float
    kept: bool


@checked
def draw_beam_search(
    model: LanguageModel, prompt: Int[Tensor, "batch time"], names: Sequence[str], *, beams: int, steps: int
) -> Drawing:
    """The tree of a beam search: every text it looks at with its probability, and which it keeps at each step.

    `names` are those of the model's tokens; a token of probability 0 is left out.
    """
    require(len(prompt) == 1, "prompt", "must have one row", len(prompt))
    require_positive(beams=beams, steps=steps)
    require(steps <= MOST_STEPS, "steps", f"must be at most {MOST_STEPS}, to have room", steps)
    ends = [tuple(row) for row in beam_search(model, prompt, beams=beams, max_new_tokens=steps).tokens[0].tolist()]
    best = ends[0]
    texts = _tree(model, prompt, beams, steps)
    # Among equally likely texts the search has a choice; the last step shows the one that it made.
    texts = [text._replace(kept=text.tokens in ends) if len(text.tokens) == steps else text for text in texts]
    require(len(texts) <= MOST_TEXTS, "beams", f"must look at no more than {MOST_TEXTS} texts", len(texts))
    require(len(names) > max(text.tokens[-1] for text in texts), "names", "must name every token", len(names))
    sheet, places = Sheet(), _places(texts)
    column = (442 - 60) / steps
    root = token_box(sheet, (34, places[()]), "start", width=52)
    drawn: dict[tuple[int, ...], Box] = {(): root}
    for text in texts:
        on_best = text.tokens == best[: len(text.tokens)]
        centre = (60 + column * (len(text.tokens) - 0.5) - 6, places[text.tokens])
        colour = ORANGE if on_best else BLUE if text.kept else NONE
        box = token_box(sheet, centre, names[text.tokens[-1]], width=42, colour=colour)
        drawn[text.tokens] = box
        parent = drawn[text.tokens[:-1]].right
        parent = (parent[0] + (48 if text.tokens[:-1] else 0), parent[1])
        sheet.line(parent, box.left, broken=not text.kept, weight=STREAM if on_best else 1.2)
        written = number_text(torch.tensor(text.log_prob).exp().item(), 2)
        sheet.text((box.right[0] + 6, centre[1]), written, side="start", bold=on_best)
    end = max(places.values()) + 38
    sheet.legend((12, end), [(ORANGE, "the best at the end"), (BLUE, "kept"), (NONE, "dropped")])
    found = " ".join(names[token] for token in best)
    alt = (
        f"A tree from left to right. At each of {steps} steps every text that was kept is continued by every token; "
        f"the {beams} likeliest of all texts are kept, the others end. Beside each stands the probability of the text "
        f"so far. The best at the end is {found}."
    )
    return sheet.drawing("beam-search", title="Beam search as a tree", alt=alt)


def _tree(model: LanguageModel, prompt: Tensor, beams: int, steps: int) -> list[_Text]:
    """Every text that the search looks at, the shorter ones first."""
    found, alive = [], [_Text((), 0.0, True)]
    for _ in range(steps):
        longer = []
        for text in alive:
            read = torch.cat([prompt, prompt.new_tensor([text.tokens], dtype=prompt.dtype).view(1, -1)], dim=1)
            with torch.no_grad():
                law = model(read, newest=1)[0, -1].log_softmax(dim=-1).tolist()
            longer += [_Text((*text.tokens, i), text.log_prob + x, False) for i, x in enumerate(law) if x > -1e30]
        best = sorted(longer, key=lambda text: -text.log_prob)[:beams]
        longer = [text._replace(kept=text in best) for text in longer]
        alive = [text for text in longer if text.kept]
        found += longer
    return found


def _places(texts: Sequence[_Text]) -> dict[tuple[int, ...], Number]:
    """How low each text stands: those that nothing continues in rows, the others in the middle."""
    places: dict[tuple[int, ...], Number] = {}

    def put(tokens: tuple[int, ...]) -> Number:
        after = [put(text.tokens) for text in texts if text.tokens[:-1] == tokens]
        leaves = sum(1 for text in places if not any(other[:-1] == text for other in places))
        places[tokens] = (after[0] + after[-1]) / 2 if after else ROW * leaves
        return places[tokens]

    put(())
    return places


@checked
def draw_speculation(
    model: LanguageModel,
    draft: LanguageModel,
    prompt: Int[Tensor, "batch time"],
    names: Sequence[str],
    *,
    lookahead: int,
    max_new_tokens: int,
) -> Drawing:
    """Speculative decoding at temperature 0: what is drafted in each pass, what is kept, what the model adds."""
    require(0 < lookahead <= MOST_AHEAD, "lookahead", f"must be 1 to {MOST_AHEAD}, to have room", lookahead)
    done = speculate(model, draft, prompt, max_new_tokens=max_new_tokens, lookahead=lookahead, temperature=0.0)
    require(done.passes <= MOST_PASSES, "max_new_tokens", f"must take at most {MOST_PASSES} passes", done.passes)
    passes = _passes(model, draft, prompt, lookahead, max_new_tokens)
    assert sum(kept for _, kept, _ in passes) == done.accepted and len(passes) == done.passes
    most = max(token for drafted, _, own in passes for token in (*drafted, own))
    require(len(names) > most, "names", "must name every token", len(names))
    sheet, left, step = Sheet(), 62, 324 / (lookahead + 1)
    sheet.text((left + lookahead * step / 2, -32), "the draft proposes")
    sheet.text((left + (lookahead + 0.5) * step, -32), "model")
    sheet.text((402, -32), "kept", side="start")
    for row, (drafted, kept, own) in enumerate(passes):
        y = row * (ROW + 6)
        sheet.text((6, y), f"pass {row + 1}", side="start")
        for i, token in enumerate(drafted):
            colour = GREEN if i < kept else NONE
            token_box(sheet, (left + (i + 0.5) * step, y), names[token], width=step - 8, colour=colour)
        token_box(sheet, (left + (lookahead + 0.5) * step, y), names[own], width=step - 8, colour=BLUE)
        if drafted:
            sheet.text((402, y), f"{kept} of {len(drafted)}", side="start")
    end = len(passes) * (ROW + 6) + 4
    sheet.legend((left + 4, end), [(GREEN, "kept"), (NONE, "refused"), (BLUE, "the model's own")])
    written, kept_of = len(done.tokens), f"{done.accepted} of {done.drafted} drafted are kept"
    sheet.text((221, end + 28), f"{written} tokens in {done.passes} passes; {kept_of}")
    alt = (
        f"A row for each pass of the model, until {written} tokens are written. In a row stand the tokens that the "
        "draft proposes: those that the model would have written too are marked as kept, the first other one and all "
        "after it as refused. Then comes the model's own next token. The first pass reads the prompt and has no draft."
    )
    return sheet.drawing("speculation", title="Speculative decoding", alt=alt)


def _passes(
    model: LanguageModel, draft: LanguageModel, prompt: Tensor, lookahead: int, new: int
) -> list[tuple[list[int], int, int]]:
    """The greedy passes of `speculate` again, without a cache: what is drafted, how many are kept, the model's own."""
    text, end = prompt[0].tolist(), prompt.shape[1] + new
    passes: list[tuple[list[int], int, int]] = []
    while len(text) < end:
        drafted: list[int] = []
        for _ in range(min(lookahead, end - len(text) - 1) if passes else 0):
            drafted += _likeliest(draft, prompt.new_tensor([text + drafted]), 1)
        said = _likeliest(model, prompt.new_tensor([text + drafted]), len(drafted) + 1)
        kept = next((i for i, token in enumerate(drafted) if token != said[i]), len(drafted))
        passes.append((drafted, kept, said[kept]))
        text += [*drafted[:kept], said[kept]]
    return passes


def _likeliest(model: LanguageModel, tokens: Tensor, newest: int) -> list[int]:
    with torch.no_grad():
        return [int(token) for token in model(tokens, newest=newest)[0].argmax(dim=-1)]
