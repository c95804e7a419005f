"""From token ids to the residual stream: token embeddings, plus whatever of position is added to them."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.config import Learned, ModelConfig, Sinusoidal, require
from transformer_lib.contract import checked_once
from transformer_lib.nn.dropout import Dropout
from transformer_lib.nn.norm import build_norm
from transformer_lib.nn.positions import LearnedPositions, sinusoidal


@checked_once
class Embedding(nn.Module):
    """A row of `tokens.weight` per id, scaled and normalised as the config says, with position and segment added."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        table = isinstance(config.positions, Learned)
        self.positions = LearnedPositions(config.max_length, config.d_model) if table else None
        self.segments = nn.Embedding(config.segments, config.d_model) if config.segments else None
        self.norm = build_norm(config.norm, config.d_model) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        positions: Int[Tensor, "#batch time"],
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """Unless given, every token is of segment 0."""
        x = self.tokens(tokens) * self.scale if self.scale != 1.0 else self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions(positions)
        elif isinstance(self.config.positions, Sinusoidal):
            base = self.config.positions.base
            x = x + sinusoidal(positions, self.config.d_model, base=base, dtype=x.dtype).to(x.dtype)
        if self.segments is not None:
            x = x + self.segments(torch.zeros_like(tokens) if segments is None else segments)
        x = x if self.norm is None else self.norm(x)
        return self.dropout(x) if self.training else x


@checked_once
def check_tokens(tokens: Tensor, vocab_size: int, name: str = "tokens") -> None:
    """`ValueError` unless `tokens` are whole numbers below vocab_size in a non-empty (batch, time) tensor."""
    integral = tokens.dtype in (torch.int64, torch.int32)  # what an embedding can be indexed with
    require(integral, name, "must be token ids of an integer type, int64 or int32", tokens.dtype)
    require(tokens.ndim == 2, name, "must have the axes batch, time", tuple(tokens.shape))
    require(tokens.numel() > 0, name, "must hold at least one token per row", tuple(tokens.shape))
    # Reading the values would break a compiled graph and stall a GPU, where an index out of range fails anyway.
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in tokens.aminmax())
        require(low >= 0, name, "must not be negative", low)
        require(high < vocab_size, name, f"must be below vocab_size={vocab_size}", high)


@checked_once
def check_positions(positions: Tensor, tokens: Tensor) -> None:
    """`ValueError` unless `positions` are whole numbers, one per token (one row may serve the whole batch)."""
    integral = not (positions.is_floating_point() or positions.dtype == torch.bool)
    require(integral, "positions", "must be of an integer type", positions.dtype)
    shapes = ((1, tokens.shape[1]), tuple(tokens.shape))
    if tuple(positions.shape) not in shapes:
        require(False, "positions", f"must have shape {shapes[0]} or {shapes[1]}", positions.shape)


@checked_once
def check_valid(valid: Tensor | None, tokens: Tensor, name: str = "valid") -> None:
    """`ValueError` unless `valid` is None or a boolean tensor of the shape of the tokens."""
    if valid is not None:
        require(valid.dtype == torch.bool, name, "must be boolean, True for a real token", valid.dtype)
        shape = tuple(tokens.shape)
        require(valid.shape == tokens.shape, name, f"must have the shape of the tokens, {shape}", tuple(valid.shape))
