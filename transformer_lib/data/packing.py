"""From documents to one stream of tokens, and from a stream to held-out batches.

A language model is trained on windows cut from one long stream. Documents are packed into it with a separator around
each, so that the model learns where a text begins and where it ends. Windows are cut without regard to documents; a
token may see the end of the previous one. Keeping them apart would need a mask per document, which is left out.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_lib.config import require, require_positive
from transformer_lib.contract import checked


@checked
class LMBatch(NamedTuple):
    """Windows of a stream: `targets[b, t]` is the token that follows `inputs[b, t]`."""

    inputs: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]


@checked
def pack(documents: Iterable[Sequence[int] | Tensor], separator: int) -> Int[Tensor, "time"]:
    """One stream of int64 tokens, on the CPU: the separator before every document and after the last.

    A document that contains the separator is a `ValueError`, for its parts could not be told from two documents.
    """
    edge = torch.tensor([separator])
    parts = [edge]
    for index, document in enumerate(documents):
        tokens = integer_tokens(document, f"documents[{index}]")
        clash = bool((tokens == separator).any())
        require(not clash, f"documents[{index}]", "must not contain the separator", separator)
        parts += [tokens.cpu(), edge]
    return torch.cat(parts)


@checked
def held_out_batches(tokens: Int[Tensor, "time"], *, batch: int, context: int) -> list[LMBatch]:
    """The stream as windows in reading order, in which every token but the first is a target exactly once.

    Windows do not overlap. The last batch may have fewer rows, and what does not fill a window follows as a batch of
    one shorter row, so that nothing escapes the measurement and nothing is padded. The first targets of a window are
    predicted from little context, so the loss is a little higher than with a sliding window.
    """
    require_positive(batch=batch, context=context)
    tokens = integer_tokens(tokens, "tokens")
    require(len(tokens) >= 2, "tokens", "must hold at least one input and its target", len(tokens))
    full = (len(tokens) - 1) // context * context
    batches = []
    for start in range(0, full, batch * context):
        stop = min(start + batch * context, full)
        batches.append(LMBatch(tokens[start:stop].view(-1, context), tokens[start + 1 : stop + 1].view(-1, context)))
    if full < len(tokens) - 1:
        batches.append(LMBatch(tokens[full:-1][None], tokens[full + 1 :][None]))
    return batches


@checked
def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """A loss in nats per token as bits per byte of text, in which models with different tokenisers can be compared.

    `bytes_per_token` is the UTF-8 length of the measured text divided by the number of tokens predicted.
    """
    require(nats_per_token >= 0, "nats_per_token", "must not be negative", nats_per_token)
    require(bytes_per_token > 0, "bytes_per_token", "must be positive", bytes_per_token)
    return nats_per_token / math.log(2) / bytes_per_token


@checked
def integer_tokens(tokens: Sequence[int] | Tensor, field: str) -> Int[Tensor, "time"]:
    """One sequence of token ids as an int64 tensor; anything else than whole numbers in one dimension is an error."""
    ids = torch.as_tensor(tokens)
    require(ids.device.type != "meta", field, "must hold numbers", ids)
    if ids.numel() == 0:
        ids = ids.long()  # as_tensor([]) is float
    whole = not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    require(whole, field, "must hold whole numbers", ids.dtype)
    require(ids.ndim == 1, field, "must have one dimension", tuple(ids.shape))
    return ids.long()
