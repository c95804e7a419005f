"""The loss of a model that predicts several tokens at once (DeepSeek-V3 2024, equations 24 and 25)."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.checks import require, require_numbers
from transformer_lib.contract import checked_once
from transformer_lib.training.loss import LossSum, token_loss

MOST_WEIGHT = 1e3


@checked_once
def multi_token_loss(
    logits: Sequence[Float[Tensor, "batch _ vocab"]],
    targets: Int[Tensor, "batch time"],
    *,
    weight: float = 0.3,
    ignore: int = -100,
) -> LossSum:
    """L + weight / D (L_1 + ... + L_D), each the sum of its tokens' nats, over the tokens that L counts.

    `logits` are those of `MultiTokenLM.ahead`: of the next token for all positions, and of the token k places further
    for all but the last k. So the mean of each L_k is taken over as many tokens as that of L, as in the source.
    """
    require_numbers(weight=weight)
    require(0 <= weight <= MOST_WEIGHT, "weight", f"must be from 0 to {MOST_WEIGHT}", weight)
    require(len(logits) > 1, "logits", "must be those of the next token and of at least one further", len(logits))
    vocab = [part.shape[-1] for part in logits]
    require(len(set(vocab)) == 1, "logits", "must all be of one vocabulary", vocab)
    main = token_loss(logits[0], targets, ignore=ignore)
    total = main.total
    for k, further in enumerate(logits[1:], start=1):
        total = total + weight / (len(logits) - 1) * token_loss(further, targets[:, k:], ignore=ignore).total
    return LossSum(total, main.count)
