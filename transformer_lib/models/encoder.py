"""An encoder: every token sees every other, and comes out as a vector that knows its context (BERT and its kin).

Left out: the pooler and the training heads, which are in `transformer_lib.models.heads`.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import ModelConfig
from transformer_lib.contract import checked_once
from transformer_lib.nn.block import Block
from transformer_lib.nn.embedding import Embedding, check_segments, check_tokens
from transformer_lib.nn.init import init_weights
from transformer_lib.nn.memory import require_stack_memory
from transformer_lib.nn.norm import build_final_norm
from transformer_lib.nn.relations import full_relations, kinds_of, place


@checked_once
class Encoder(nn.Module):
    """norm(block_L(... block_1(embed(tokens)))) with attention in both directions (Devlin et al. 2018)."""

    def __init__(self, config: ModelConfig) -> None:
        for layer, _ in config.tally:
            layer.heads  # noqa: B018 - it refuses mixers that read in one direction only
        require_stack_memory(config)
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(Block(layer) for layer in config.layers)
        self.kinds = kinds_of(config)
        self.final_norm = build_final_norm(config)
        init_weights(self, config)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """One vector per position; `valid` marks the real tokens, `segments` tells BERT's sentence A from B."""
        check_tokens(tokens, self.config.vocab_size)
        check_segments(segments, tokens, self.config.segments)
        positions = place(tokens, valid, None)
        x = self.embedding(tokens, positions, segments)
        relations = [full_relations(kind, positions, valid, dtype=x.dtype) for kind in self.kinds.configs]
        for block, kind in zip(self.blocks, self.kinds.of_layer, strict=True):
            x = block(x, relations=relations[kind])
        return self.final_norm(x)
