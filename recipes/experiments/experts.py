"""Does a mixture of experts learn more than a dense model of equal work, or of equal size?

And what do its experts share out among them? Decoders of two layers read texts in four small languages that share all
their words; each step brings new texts. Eight experts, of which a token uses two, stand against a dense model with as
many weights at work for a token (`equal active`), and one with as many weights (`equal total`), both rounded up in the
dense model's favour. Each arm has its learning rate tuned alike.

`above floor` is the loss over the last four of eight sentences, where all have heard which language it is, less the
entropy. `violation` is by how much the busiest expert exceeds the mean, `idle` the number of experts, of both layers'
sixteen, with less than a tenth of the mean. A `guess` is the share of tokens whose first expert one names who knows
the language, the word, or both, and has seen which expert is the most common there in the other half of the texts;
`shuffled` is both with the languages dealt anew among the tokens of each word.

`run` knows further parts, which no arm has so far: experts balanced by a `loss` or by a `correction`; two experts for
each language `by decree`, which tells the model what is spoken; and `own words`, in which the same texts are spelt with
other words in each language.
"""

from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, Experts, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.toy_languages import ORDERS, SENTENCE, WORDS, Speech, floor, speech
from transformer_lib.models import DecoderLM
from transformer_lib.nn.router import Router, Routing
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import token_loss
from transformer_lib.training.counts import flops_per_token, parameters

EXPERTS, CHOSEN, WIDTH, SENTENCES = 8, 2, 24, 8
STEPS, BATCH, EVERY = 600, 24, 25
WEIGHT_OF_LOSS, RATE_OF_CORRECTION = 0.01, 0.01
CHOICE, REPORT = 998, 999  # seeds of the texts that a rate is chosen by, and of those that are reported


class ByDecree(Router):
    """Each language has two experts of its own, whatever the scores are; those only weigh the two."""

    language: Tensor

    def _choose(self, scores: Tensor) -> Tensor:
        spoken = self.language.repeat_interleave(len(scores) // len(self.language))
        return torch.stack([2 * spoken, 2 * spoken + 1], dim=1)


def config(part: str, vocabulary: int) -> ModelConfig:
    """A dense part is wider by what the router weighs, rounded up."""
    dense = {"equal active": CHOSEN * WIDTH, "equal total": EXPERTS * WIDTH}
    experts = Experts(num_experts=EXPERTS, top_k=CHOSEN, d_ff=WIDTH, correction=part in ("correction", "own words"))
    return ModelConfig(
        vocab_size=vocabulary,
        d_model=32,
        num_layers=2,
        max_length=SENTENCES * SENTENCE,
        attention=AttentionConfig(num_heads=4),
        feedforward=SwiGlu(d_ff=dense[part] + -(-EXPERTS // 3)) if part in dense else experts,
        positions=Rope(),
        norm=Norm(kind="rms"),
    )


def texts(rows: int, part: str, generator: torch.Generator) -> Speech:
    tokens, language = speech(rows, SENTENCES, generator=generator)
    return Speech(tokens + len(WORDS) * language[:, None] * (part == "own words"), language)


def routers(model: DecoderLM) -> list[Router]:
    return [module for module in model.modules() if isinstance(module, Router)]


def loss_of(model: DecoderLM, text: Speech, loads: Any = None, after: int = 1) -> Tensor:
    """Nats per word from the word numbered `after` on."""
    for router in routers(model):
        if isinstance(router, ByDecree):
            router.language = text.language
    logits = model(text.tokens[:, :-1], loads=loads)
    return token_loss(logits[:, after - 1 :], text.tokens[:, after:]).mean()


def learn(model: DecoderLM, part: str, rate: float, seed: int) -> list[float]:
    """Train in place; give the mean violation of the layers, every so many steps."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    violations: list[float] = []
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / (0.1 * STEPS), (STEPS - step) / (0.5 * STEPS))
        loads = model.new_loads()
        loss = loss_of(model, texts(BATCH, part, generator), loads)
        known = [load for load in loads if load is not None]
        if part == "loss":
            loss = loss + WEIGHT_OF_LOSS * sum(load.balancing_loss() for load in known)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for router, load in zip(routers(model), known, strict=True):
            if router.correction is not None:
                router.rebalance(load, RATE_OF_CORRECTION)
        if known and step % EVERY == EVERY - 1:
            violations.append(sum(float(load.violation()) for load in known) / len(known))
    return violations


@torch.no_grad()
def chosen_by(model: DecoderLM, text: Speech) -> list[Routing]:
    """What each layer's router decided for the tokens of the texts."""
    found: list[Routing] = []
    hooks = [router.register_forward_hook(lambda *given: found.append(given[2])) for router in routers(model)]
    loss_of(model, text)
    for hook in hooks:
        hook.remove()
    return found


def guessed(expert: Tensor, label: Tensor) -> float:
    """How often the label tells the expert: its most common one is counted in one half and asked for in the other."""
    half = len(expert) // 2
    table = torch.zeros(int(label.max()) + 1, EXPERTS)
    table.index_put_((label[:half], expert[:half]), torch.ones(half), accumulate=True)
    table += 1e-3 * table.sum(dim=0)  # a label that was not seen gets what is common
    return (table[label[half:]].argmax(dim=1) == expert[half:]).float().mean().item()


def shares(routing: Routing, text: Speech) -> dict[str, float]:
    """How well the first expert of a token is told by its language, by its word, by both."""
    word = text.tokens[:, :-1].flatten()
    spoken = text.language.repeat_interleave(text.tokens.shape[1] - 1)
    expert, known = routing.chosen[:, 0], len(ORDERS)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(word), generator=generator)
    by_word = word.argsort(stable=True)
    dealt = spoken.clone()
    dealt[by_word] = spoken[order[word[order].argsort(stable=True)]]
    labels = {
        "nothing": torch.zeros_like(word),
        "language": spoken,
        "word": word,
        "both": word * known + spoken,
        "shuffled": word * known + dealt,
    }
    first, last = torch.bincount(expert, minlength=EXPERTS), torch.zeros(EXPERTS, known)
    last.index_put_((expert, spoken), torch.ones(len(expert)), accumulate=True)
    purity = float((last.max(dim=1).values / first.clamp(min=1) * first / len(expert)).sum())
    return {f"guess by {name}": guessed(expert, label) for name, label in labels.items()} | {"purity": purity}


def run(seed: int, rate: float, part: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(config(part, len(WORDS) * (len(ORDERS) if part == "own words" else 1)))
    if part == "decree":
        for router in routers(model):
            router.__class__ = ByDecree
    chosen, reported = (texts(400, part, torch.Generator().manual_seed(seed)) for seed in (CHOICE, REPORT))
    fresh = [shares(routing, reported) for routing in chosen_by(model, reported)]
    curve = learn(model, part, rate, seed)
    with torch.no_grad():
        loads = model.new_loads()
        scores = {"choice": loss_of(model, chosen).item(), "test": loss_of(model, reported, loads).item()}
        later = loss_of(model, reported, after=SENTENCES // 2 * SENTENCE).item()
    counts = parameters(model.config)
    found: dict[str, Any] = scores | {
        "above floor": later - floor(),
        "weights": counts.total,
        "active": counts.matmul,
        "flops": flops_per_token(model.config, context=SENTENCES * SENTENCE - 1),
    }
    known = [load for load in loads if load is not None]
    if known:
        busy = torch.stack([load.counts / load.counts.float().mean() for load in known])
        found |= {"violation": float(busy.max(dim=1).values.mean() - 1), "idle": int((busy < 0.1).sum())}
        found |= {"curve": curve, "loads": busy.flatten()}
    for layer, (before, routing) in enumerate(zip(fresh, chosen_by(model, reported), strict=True), start=1):
        after = shares(routing, reported)
        found |= {f"layer {layer} {name}": value for name, value in after.items()}
        found |= {f"layer {layer} untrained {name}": before[name] for name in ("guess by word", "guess by language")}
    return found


EXPERIMENT = Experiment(
    arms={
        "dense, equal active": {"part": "equal active"},
        "dense, equal total": {"part": "equal total"},
        "experts, left alone": {"part": "alone"},
    },
    run=run,
    seeds=(0, 1, 2),
    rates=(0.007, 0.014, 0.028),
    chosen_by="choice",
    choice_seeds=(100,),
    data=lambda: speech(64, SENTENCES, generator=torch.Generator().manual_seed(0)),
)
