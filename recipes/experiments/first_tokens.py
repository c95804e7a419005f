"""What does a model lose when the first tokens leave its cache, if its texts began anywhere, and if they began alike?

Two arms differ in one thing: windows of 64 tokens that begin wherever the last one ended, or the same windows with the
separator in the first place. Both then read 40 texts of 512 tokens one token at a time, and keep everything, the newest
64, or the first token or four of them and the newest of the rest (after Xiao et al. 2023, arXiv 2309.17453). A measure
that bears the name of what is kept is the loss at positions 256 to 511 less that at positions 32 to 63 (`near`), in
nats. `first` is the weight that the head with most of it puts on the first token at positions 32 to 63, in the layer
named, and `even` what an equal share would be. Each arm has its rate tuned alike.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.nn import RollingCache
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import END, streams
from transformer_lib.viz import record_attention

V, TIME, FAR, TEXTS = 512, 64, 512, 40
STEPS, BATCH = 500, 8
PLANS = {
    "newest 64": {"window": 64},
    "first and newest 63": {"window": 63, "sinks": 1},
    "first 4 and newest 60": {"window": 60, "sinks": 4},
}
CONFIG = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=2,
    max_length=TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=160),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def cut(stream: Tensor, length: int, separated: bool) -> tuple[Tensor, Tensor]:
    """Inputs and targets of that length, one after the other; the first input is the separator if so asked."""
    count = (len(stream) - 1) // length
    inputs = stream[: count * length].view(count, length).clone()
    if separated:
        inputs[:, 0] = streams(V).tokenizer.special_tokens[END]
    return inputs, stream[1 : count * length + 1].view(count, length)


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.mT, targets, reduction="none")


def learn(model: DecoderLM, rate: float, seed: int, separated: bool) -> None:
    inputs, targets = cut(streams(V).train, TIME, separated)
    order = torch.cat([torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))] * 2)
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), fused=True)
    for step, rows in enumerate(order[: STEPS * BATCH].split(BATCH)):
        up, down = (step + 1) / (STEPS / 10), (STEPS - step) / (0.3 * STEPS)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, up, down)
        optimiser.zero_grad()
        nats(model(inputs[rows]), targets[rows]).mean().backward()
        optimiser.step()


@torch.inference_mode()
def along(model: DecoderLM, inputs: Tensor, targets: Tensor, plan: dict[str, int]) -> Tensor:
    """Nats at each position, mean over the texts."""
    if not plan:
        return nats(model(inputs), targets).mean(0)
    cache = RollingCache(model.config, len(inputs), **plan)
    pieces = [inputs[:, :TIME], *inputs[:, TIME:].split(1, 1)]
    return nats(torch.cat([model(piece, cache=cache) for piece in pieces], 1), targets).mean(0)


@torch.no_grad()
def weights_on_the_first(model: DecoderLM, inputs: Tensor) -> dict[str, float]:
    with record_attention(model) as looks:
        model(inputs[:, :TIME])
    late = [look.weights[:, :, TIME // 2 :, 0].mean((0, 2)).max().item() for look in looks]
    return {f"first, layer {layer}": weight for layer, weight in enumerate(late)}


def run(seed: int, rate: float, separated: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = DecoderLM(CONFIG)
    learn(model, rate, seed, separated)
    with torch.no_grad():
        chosen = [nats(model(x), y)[:, TIME // 2 :].mean() for x, y in [cut(streams(V).choice, TIME, separated)]]
    found: dict[str, Any] = {"choice": chosen[0].item()}
    if seed >= 100:
        return found
    inputs, targets = (part[:TEXTS] for part in cut(streams(V).test, FAR, separated))
    lines = {name: along(model.eval(), inputs, targets, plan) for name, plan in {"everything": {}, **PLANS}.items()}
    near = lines["everything"][TIME // 2 : TIME].mean()
    found |= {name: (line[FAR // 2 :].mean() - near).item() for name, line in lines.items()}
    found |= {
        f"line, {name}": [round(x, 4) for x in line.view(-1, 32).mean(-1).tolist()] for name, line in lines.items()
    }
    found |= weights_on_the_first(model, inputs)
    even = sum(1 / n for n in range(TIME // 2 + 1, TIME + 1)) / (TIME // 2)
    return found | {"near": near.item(), "even": even, "weights": sum(w.numel() for w in model.parameters())}


EXPERIMENT = Experiment(
    arms={"begun anywhere": {"separated": False}, "begun alike": {"separated": True}},
    run=run,
    rates=(0.0035, 0.007, 0.014),
    chosen_by="choice",
    choice_seeds=(100,),
)
