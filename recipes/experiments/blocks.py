"""How much of a trained model's attention lies in the blocks that a cheap score picks, and what does the rest cost?

Two models are trained with attention to everything: one on the text of the standard library, in windows of 256 tokens,
one on programs of up to 16 names (`runs.recall`). Then each query may see its own block and a few others, picked by the
mean key, by the true weights (which nobody has before the work is done), by nearness, or at random. Of the same weights
it is measured how much attention lies in what is seen, and how the loss or the share of right answers changes if
every layer sees no more. Blocks have 16 tokens in text and 4 in programs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.packing import held_out_batches
from transformer_lib.models import DecoderLM
from transformer_lib.nn import attend, attention_weights
from transformer_lib.nn.blocks import block_mask, mean_key_scores
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import learn_text, start_as_pytorch, streams
from transformer_lib.runs.recall import LONGEST, NAMES, REPORT, VALUES, learn_recall, recall_texts

CONTEXT, WINDOWS = 256, 16
TOPS = (1, 2, 4)


def true_scores(q: Tensor, k: Tensor, *, block: int) -> Tensor:
    """The attention that each block would get."""
    return attention_weights(q, k, mask="causal").unflatten(3, (-1, block)).sum(-1)


def nearness(q: Tensor, k: Tensor, *, block: int) -> Tensor:
    return torch.arange(float(k.shape[2] // block)).expand(*q.shape[:3], -1)


def chance(q: Tensor, k: Tensor, *, block: int) -> Tensor:
    return torch.rand(*q.shape[:3], k.shape[2] // block, generator=torch.Generator().manual_seed(0))


PICKS: dict[str, Callable[..., Tensor]] = {
    "true": true_scores,
    "mean key": mean_key_scores,
    "near": nearness,
    "chance": chance,
}


def seeing(model: DecoderLM, look: Callable[..., Tensor]) -> None:
    for block in model.blocks:
        block.attention.attend = look


def few(q: Tensor, k: Tensor, v: Tensor, *, pick: str, size: int, top: int, **ignored: Any) -> Tensor:
    return attend(q, k, v, mask=block_mask(PICKS[pick](q, k, block=size), block=size, top=top))


@torch.no_grad()
def shares(model: DecoderLM, tokens: Tensor, asked: Tensor, size: int) -> dict[str, float]:
    """Of the attention of the tokens `asked`, the share in what is seen: a mean over layers, heads and tokens."""
    found: dict[str, list[float]] = {}

    def watch(q: Tensor, k: Tensor, v: Tensor, **ignored: Any) -> Tensor:
        weights = attention_weights(q, k, mask="causal")
        for name, score in PICKS.items():
            scores = score(q, k, block=size)
            for top in TOPS:
                kept = (weights * block_mask(scores, block=size, top=top)).sum(-1).mean(1)
                found.setdefault(f"share, {name}, {top}", []).append(kept[asked].mean().item())
        return attend(q, k, v, mask="causal")

    seeing(model, watch)
    model(tokens)
    seeing(model, attend)
    return {name: sum(values) / len(values) for name, values in found.items()}


@torch.no_grad()
def scores_of(model: DecoderLM, measure: Callable[[DecoderLM], float], name: str, size: int) -> dict[str, float]:
    """What is measured when all is seen, and when only some blocks are."""
    found = {f"{name}, all": measure(model)}
    for pick in PICKS:
        for top in TOPS:
            seeing(model, partial(few, pick=pick, size=size, top=top))
            found[f"{name}, {pick}, {top}"] = measure(model)
    seeing(model, attend)
    return found


def model_of(vocab_size: int, d_model: int, layers: int, length: int, attention: AttentionConfig) -> DecoderLM:
    return DecoderLM(
        ModelConfig(
            vocab_size=vocab_size,
            d_model=d_model,
            num_layers=layers,
            max_length=length,
            attention=attention,
            feedforward=SwiGlu(d_ff=2 * d_model),
            positions=Rope(),
            norm=Norm(kind="rms"),
            tie_embeddings=False,
        )
    )


def on_text(seed: int) -> dict[str, Any]:
    text, size = streams(), 16
    model = model_of(1024, 64, 2, CONTEXT, AttentionConfig(num_heads=4))
    start_as_pytorch(model)
    learn_text(model, text, rate=0.006, seed=seed, steps=250, batch=4, context=CONTEXT)
    batch = next(iter(held_out_batches(text.test, batch=WINDOWS, context=CONTEXT)))
    late = (torch.arange(CONTEXT) >= CONTEXT // 2).expand(WINDOWS, -1)

    def nats(model: DecoderLM) -> float:
        return F.cross_entropy(model(batch.inputs)[late], batch.targets[late]).item()

    return shares(model, batch.inputs, late, size) | scores_of(model, nats, "nats", size)


def on_programs(seed: int) -> dict[str, Any]:
    size = 4
    model = model_of(NAMES * (VALUES + 1), 32, 4, LONGEST, AttentionConfig(num_heads=4, num_kv_heads=1, head_dim=8))
    start_as_pytorch(model)
    learn_recall(model, rate=0.006, seed=seed)
    text = recall_texts(256, NAMES, REPORT)
    asked = text.targets >= 0

    def right(model: DecoderLM) -> float:
        return (model(text.tokens).argmax(-1) == text.targets)[asked].float().mean().item()

    return shares(model, text.tokens, asked, size) | scores_of(model, right, "right", size)


def run(seed: int, on: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    return on_text(seed) if on == "text" else on_programs(seed)


EXPERIMENT = Experiment(
    arms={"programs": {"on": "programs"}},
    run=run,
    data=lambda: (streams().train, streams().test),
)
