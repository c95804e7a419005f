"""Pre-training an encoder on text without any marks: some tokens are hidden, and it learns to say which they were.

It is BERT's task (Devlin et al. 2018). Of the tokens that are asked for, eight in ten are hidden, one is another token
and one stays as it is, so that the encoder must look at all of them. Left out: the next-sentence task, whole words.
"""

from functools import partial
from math import isfinite
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.packing import LMBatch
from transformer_lib.models.heads import MaskedLM
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.loop import train
from transformer_lib.training.loss import LossSum, token_loss
from transformer_lib.training.schedule import warmup_cosine

IGNORED = -100


@checked
class MaskedBatch(NamedTuple):
    """What the encoder sees, and the tokens that it is asked for: -100 where it is not."""

    inputs: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]


@checked
def mask_tokens(tokens: Int[Tensor, "batch time"], *, mask: int, vocab_size: int, share: float = 0.15) -> MaskedBatch:
    """Ask for this share of the tokens: of those, 80 % become the token `mask`, 10 % any token, and 10 % stay.

    It draws from torch's global generator, whose state is part of a checkpoint.
    """
    require_positive(vocab_size=vocab_size)
    require(0 <= mask < vocab_size, "mask", f"must be one of {vocab_size} tokens", mask)
    require(0 < share < 1, "share", "must be between 0 and 1", share)
    chance = torch.rand(tokens.shape)
    other = torch.randint(vocab_size, tokens.shape)
    inputs = tokens.clone()
    inputs[chance < 0.8 * share] = mask
    swapped = (0.8 * share <= chance) & (chance < 0.9 * share)
    inputs[swapped] = other[swapped].to(tokens.dtype)
    return MaskedBatch(inputs, tokens.masked_fill(chance >= share, IGNORED))


@checked
def masked_loss(model: MaskedLM, batch: MaskedBatch) -> LossSum:
    """The sum of -log p of the tokens that are asked for, and how many they are; only those go through the head."""
    device = next(model.parameters()).device
    inputs, targets = (part.to(device) for part in MaskedBatch(*batch))
    asked = targets != IGNORED
    x = model.encoder(inputs)[asked][None]
    return token_loss(model.head(x), targets[asked][None])


@checked
def learn_masked(
    model: MaskedLM,
    tokens: Int[Tensor, "time"],
    *,
    mask: int,
    rate: float,
    steps: int,
    seed: int,
    batch: int = 32,
    context: int = 64,
) -> None:
    """Pre-train `model` in place on windows of a stream of tokens, with AdamW; the rate rises and falls as a cosine."""
    require_positive(steps=steps)
    require(rate > 0 and isfinite(rate), "rate", "must be positive and finite", rate)
    windows = PackedBatches(tokens, batch=batch, context=context, seed=seed)
    size = model.config.vocab_size

    def loss(_: nn.Module, window: LMBatch) -> LossSum:
        return masked_loss(model, mask_tokens(window.inputs, mask=mask, vocab_size=size))

    schedule = partial(warmup_cosine, warmup=steps // 10, total=steps, peak=rate)
    config = TrainConfig(steps=steps, learning_rate=schedule, betas=(0.9, 0.98), progress=False, seed=seed)
    train(model, loss, windows, config)
