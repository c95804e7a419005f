"""One more token at a time: a block that goes on from what a model knows, and is told the token that came next.

A decoder's state at position i predicts token i + 1. The first head joins that state with the embedding of token i + 1
and predicts token i + 2; the second joins what the first one made with token i + 2, and so on (DeepSeek-V3 2024,
section 2.2).
Left out: heads that predict without seeing the token before (Gloeckle et al. 2024).
"""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import ModelConfig
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.block import Block
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.embedding import check_valid
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.norm import build_norm
from transformer_lib.nn.relations import causal_relations
from transformer_lib.nn.router import Load


@checked_once
class FurtherHead(nn.Module):
    """h'_i = block(W [norm(h_i), norm(embedding of token i + k)]); `out_norm(h'_i)` is what the output head reads.

    The block is like the last layer of the model. Matrices and norms are the head's own; embedding and output head are
    the model's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = dataclasses.replace(config.layers[-1], num_layers=1)
        width = config.d_model
        self.state_norm = build_norm(config.norm, width)
        self.token_norm = build_norm(config.norm, width)
        self.join = nn.Linear(2 * width, width, bias=False)
        self.block = Block(self.config)
        self.out_norm = build_norm(config.norm, width)

    def _check_given(
        self, states: Tensor, following: Tensor, valid: Tensor | None, cache: KVCache | None, load: Load | None
    ) -> None:
        for name, vectors in (("states", states), ("following", following)):
            require_fit(name, vectors, self.state_norm.weight)
        check_valid(valid, states[..., 0])
        if cache is not None:
            cache.check_fits(self.config)
            cache.check_meets(self.join.weight)
        if load is not None and isinstance(self.block.feedforward, MixtureOfExperts):
            self.block.feedforward._check_tokens(states, load, valid)

    @also(_check_given)
    def forward(
        self,
        states: Float[Tensor, "batch time d_model"],
        following: Float[Tensor, "batch time d_model"],
        positions: Int[Tensor, "#batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        cache: KVCache | None = None,
        load: Load | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """`states` are those at `positions`, and `following` the embeddings of the tokens that came after them."""
        x = self.join(torch.cat([self.state_norm(states), self.token_norm(following)], dim=-1))
        plain = valid is None and len(positions) == 1
        if cache is not None:
            cache.extend(positions, valid, batch=len(x), plain=plain)
        relations = causal_relations(self.config, positions, valid, cache, plain=plain, dtype=x.dtype)
        kept = None if cache is None else cache.layer(0)
        return self.block(x, relations=relations, cache=kept, valid=valid, load=load)
