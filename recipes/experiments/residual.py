"""Does it pay to let the residual stream be several, mixed at every part, and what becomes of the signal?

Eight layers learn a law that gives each token from the one two places before it (as in `warmup`). The stream is plain,
or what each part adds is scaled by 1 / sqrt(parts), or there are four streams that every part mixes by a matrix of its
own (hyper-connections, Zhu et al. 2024): a free one, or one that Sinkhorn's rounds make doubly stochastic (Xie et al.
2025). Both start at the same matrix. Reading, writing and mixing are trained numbers that do not depend on the token.
`gain` is the largest sum of a row, in size, of the product of all mixings: how far the streams alone can make a signal
grow. `least` is its smallest singular value: how much of what told the streams apart is left.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Norm, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.nn.relations import causal_relations
from transformer_lib.runs.experiment import Experiment

LAYERS, STREAMS, ROUNDS, TIME = 8, 4, 20, 16
STEPS, BATCH, LAST = 180, 16, 20
EIGHT = ModelConfig(
    vocab_size=16,
    d_model=32,
    num_layers=LAYERS,
    max_length=TIME,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=64),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def sinkhorn(logits: Tensor) -> Tensor:
    """Positive matrices whose rows and columns sum to nearly 1."""
    found = logits.exp()
    for _ in range(ROUNDS):
        found = found / found.sum(-1, keepdim=True)
        found = found / found.sum(-2, keepdim=True)
    return found


class Streams(nn.Module):
    """A decoder with several residual streams: a part reads a sum of them and writes to each."""

    def __init__(self, inner: DecoderLM, doubly: bool) -> None:
        super().__init__()
        self.inner, self.doubly, parts = inner, doubly, 2 * len(inner.blocks)
        start = 4 * torch.eye(STREAMS).expand(parts, -1, -1)
        self.mix = nn.Parameter(start.clone() if doubly else sinkhorn(start))
        self.read = nn.Parameter(torch.full((parts, STREAMS), 1 / STREAMS))
        self.write = nn.Parameter(torch.ones(parts, STREAMS, 1, 1, 1))

    def mixings(self) -> Tensor:
        return sinkhorn(self.mix) if self.doubly else self.mix

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])[None]
        near = causal_relations(self.inner.config, places, None, None, plain=True, dtype=torch.float32)
        x = self.inner.embedding(tokens, places).expand(STREAMS, -1, -1, -1)
        steps = zip(self.mixings(), self.read, self.write, strict=True)
        for block in self.inner.blocks:
            mix, read, write = next(steps)
            h = block.attention_norm(torch.einsum("s, s b t d -> b t d", read, x))
            change = block.attention(h, mask=near.mask, rotation=near.rotation)
            x = torch.einsum("r s, s b t d -> r b t d", mix, x) + write * change
            mix, read, write = next(steps)
            h = block.feedforward_norm(torch.einsum("s, s b t d -> b t d", read, x))
            x = torch.einsum("r s, s b t d -> r b t d", mix, x) + write * block.feedforward(h)
        return self.inner.logits(self.inner.final_norm(x.mean(0)))


def sequences(seed: int, rows: int) -> Tensor:
    """Texts of 17 tokens; nine times of ten a token follows by law from the one two places before it."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.randperm(16, generator=generator)
    texts = torch.randint(16, (rows, TIME + 1), generator=generator)
    lawful = torch.rand(rows, TIME + 1, generator=generator) < 0.9
    for t in range(1, TIME + 1):
        texts[:, t] = torch.where(lawful[:, t], law[texts[:, max(t - 2, 0)]], texts[:, t])
    return texts


@torch.no_grad()
def signal(model: Streams) -> dict[str, float]:
    product = torch.eye(STREAMS)
    for mix in model.mixings():
        product = mix @ product
    return {"gain": product.abs().sum(-1).max().item(), "least": torch.linalg.svdvals(product)[-1].item()}


def run(seed: int, rate: float, stream: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    scale = (2 * LAYERS) ** -0.5 if stream == "scaled" else 1.0
    model: nn.Module = DecoderLM(replace(EIGHT, residual_scale=scale))
    if stream in ("free", "doubly stochastic"):
        model = Streams(model, stream != "free")
    adam, losses = torch.optim.Adam(model.parameters(), fused=True), []
    for step, x in enumerate(sequences(seed, STEPS * BATCH).split(BATCH)):
        adam.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 20)
        loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    # Every batch is new, so the loss of the last steps is that of texts which were never seen before.
    return {"loss": sum(losses[-LAST:]) / LAST} | (signal(model) if isinstance(model, Streams) else {})


EXPERIMENT = Experiment(
    arms={stream: {"stream": stream} for stream in ("plain", "scaled", "free", "doubly stochastic")},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.002, 0.004, 0.008),
    chosen_by="loss",
)
