"""What does clipping the gradient change in a training, and what when one batch has wrong answers?

One layer learns programs, or two layers learn real text, with AdamW. The gradient is clipped to the norm 1, or not at
all, and each arm has its rate tuned alike; `clipped` is the share of the steps in which the norm is above 1, and `test`
the loss on data that chose nothing. In the programs a broken batch is tried as well: three quarters of the way through,
three copies of model and optimiser go on alike. One gets the next batch as it is; two get it with every answer wrong,
and clip in this one step, or do not. `clip: at once`, `clip: ten later` and `clip: thirty later` say by how much the
loss of the copy that clips is then above that of the copy with the good batch, and `clip: step` how far its weights
move in the step after, relative to that copy; the same with `none` for the copy that does not clip.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.toy import Programs
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import (
    CHOICE,
    NAMES,
    REPORT,
    TIME,
    VALUES,
    deal,
    learn_text,
    start_small,
    streams,
    text_scores,
)
from transformer_lib.training import token_loss

ONE = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=32,
    num_layers=1,
    max_length=TIME,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=64),
    positions=Rope(),
    norm=Norm(kind="rms"),
)
STEPS, BATCH, BROKEN = 240, 16, 180
LATER = {0: "at once", 10: "ten later", 30: "thirty later"}  # good steps after the broken one

V, CONTEXT = 512, 32
TWO = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=2,
    max_length=CONTEXT,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=168),
    positions=Rope(),
    norm=Norm(kind="rms"),
)

Pair = tuple[Tensor, Tensor]


class Run:
    """A model with its optimiser, which can be copied."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.model = model
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)

    def copy(self) -> "Run":
        other = Run(copy.deepcopy(self.model), 0.0)
        other.optimiser.load_state_dict(copy.deepcopy(self.optimiser.state_dict()))
        return other

    def step(self, batch: Pair, clip: float) -> float:
        """One step; gives the norm of the gradient before it was clipped."""
        self.optimiser.zero_grad()
        token_loss(self.model(batch[0]), batch[1]).mean().backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip or torch.inf).item()
        self.optimiser.step()
        return norm

    def moved(self, batch: Pair, clip: float) -> float:
        """One step; gives how far the weights moved."""
        old = nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()
        self.step(batch, clip)
        return (nn.utils.parameters_to_vector(self.model.parameters()).detach() - old).norm().item()

    @torch.no_grad()
    def loss(self, data: Programs) -> float:
        return token_loss(self.model(data.tokens), data.targets).mean().item()


def after_a_broken_batch(start: Run, batches: list[Pair], clip: float) -> dict[str, float]:
    tokens, targets = batches[0]
    wrong = torch.where(targets >= 0, (targets + 1) % VALUES, targets)
    copies = {"good": start.copy(), "clip": start.copy(), "none": start.copy()}
    copies["good"].step((tokens, targets), clip)
    found = {"norm": copies["clip"].step((tokens, wrong), 1.0)}
    copies["none"].step((tokens, wrong), 0.0)
    moves = {}
    for later, batch in enumerate([*batches[1:], None]):
        if later in LATER:
            losses = {name: one.loss(deal(512, REPORT)) for name, one in copies.items()}
            found |= {f"{name}: {LATER[later]}": losses[name] - losses["good"] for name in ("clip", "none")}
        if batch is not None:
            moves = {name: one.moved(batch, clip) for name, one in copies.items()}
        if later == 0:
            found |= {f"{name}: step": moves[name] / moves["good"] for name in ("clip", "none")}
    return found


def learn_programs(seed: int, rate: float, clip: float) -> dict[str, float]:
    model = DecoderLM(ONE)
    start_small(model, std=0.1)
    one, data = Run(model, rate), deal(STEPS * BATCH, seed)
    batches = list(zip(data.tokens.split(BATCH), data.targets.split(BATCH), strict=True))
    norms: list[float] = []
    found: dict[str, float] = {}
    for step, batch in enumerate(batches):
        if step == BROKEN:
            found = after_a_broken_batch(one, batches[step : step + max(LATER) + 1], clip)
        norms.append(one.step(batch, clip))
    losses = {"choice": one.loss(deal(512, CHOICE)), "test": one.loss(deal(512, REPORT))}
    return losses | {"clipped": sum(norm > 1 for norm in norms) / STEPS} | found


def learn_source(seed: int, rate: float, clip: float) -> dict[str, float]:
    model, norms = DecoderLM(TWO), list[float]()
    text = streams(V)
    note = {"on_step": lambda record: norms.append(record.gradient_norm)}
    settings = {"steps": 150, "context": CONTEXT, "clip": clip or None}
    learn_text(model, text, rate=rate, seed=seed, **settings, **note)
    return text_scores(model, text, context=CONTEXT) | {"clipped": sum(norm > 1 for norm in norms) / len(norms)}


def run(seed: int, rate: float, task: str, clip: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    return (learn_programs if task == "programs" else learn_source)(seed, rate, clip)


EXPERIMENT = Experiment(
    arms={
        f"{task}, {'clipped' if clip else 'not clipped'}": {"task": task, "clip": clip}
        for task in ("programs", "text")
        for clip in (1.0, 0.0)
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.0025, 0.005, 0.01),
    chosen_by="choice",
    data=lambda: (streams(V).train, streams(V).choice, streams(V).test),
)
