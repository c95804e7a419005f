"""From token ids to the residual stream: token embeddings, plus whatever of position is added to them."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.config import Learned, ModelConfig, Sinusoidal, require
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.dropout import Dropout
from transformer_lib.nn.fit import require_index
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.norm import build_norm
from transformer_lib.nn.positions import LearnedPositions, sinusoidal


@checked_once
class Embedding(nn.Module):
    """A row of `tokens.weight` per id, scaled and normalised as the config says, with position and segment added."""

    def __init__(self, config: ModelConfig) -> None:
        require_memory(4 * config.vocab_size * config.d_model, vocab_size=config.vocab_size, d_model=config.d_model)
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        table = isinstance(config.positions, Learned)
        self.positions = LearnedPositions(config.max_length, config.d_model) if table else None
        self.segments = nn.Embedding(config.segments, config.d_model) if config.segments else None
        self.norm = build_norm(config.norm, config.d_model) if config.embedding_norm else None
        self.dropout = Dropout(config.dropout)

    def _check_ids(self, tokens: Tensor, positions: Tensor, segments: Tensor | None) -> None:
        check_tokens(tokens, self.config.vocab_size)
        check_positions(positions, tokens)
        check_segments(segments, tokens, self.config.segments)

    @also(_check_ids)
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
def check_tokens(tokens: Int[Tensor, "batch time"], vocab_size: int, name: str = "tokens") -> None:
    """`ValueError` unless `tokens` are at least one for each row, int64 or int32, and below vocab_size."""
    if tokens.dtype is not torch.int64:
        require_index(name, tokens)
    if tokens.numel() == 0:
        require(False, name, "must hold at least one token per row", tuple(tokens.shape))
    # Reading the values would break a compiled graph and stall a GPU, where an index out of range fails anyway.
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        # A step of decoding has one token, whose bounds are itself.
        low, high = map(int, tokens.aminmax()) if tokens.numel() > 1 else (tokens.item(),) * 2
        require(low >= 0, name, "must not be negative", low)
        if high >= vocab_size:
            require(False, name, f"must be below vocab_size={vocab_size}", high)


@checked_once
def check_positions(positions: Int[Tensor, "rows time"], tokens: Int[Tensor, "batch time"]) -> None:
    """`ValueError` unless `positions` are int64 or int32, one per token (one row may serve the whole batch)."""
    if positions.dtype is not torch.int64:
        require_index("positions", positions)
    (rows, time), (batch, length) = positions.shape, tokens.shape
    if time != length or (rows != 1 and rows != batch):  # numbers: of tuples, compiled code would keep each length
        require(False, "positions", f"must have shape {(1, length)} or {(batch, length)}", positions.shape)


@checked_once
def check_segments(segments: Int[Tensor, "batch time"] | None, tokens: Int[Tensor, "batch time"], kinds: int) -> None:
    """`ValueError` unless `segments` are None, or one number below `kinds` for each token."""
    if segments is not None:
        require(kinds > 0, "segments", "needs a config with segments", kinds)
        rule = f"must have the shape of the tokens, {tuple(tokens.shape)}"
        require(segments.shape == tokens.shape, "segments", rule, tuple(segments.shape))
        check_tokens(segments, kinds, "segments")


@checked_once
def check_newest(newest: int | None, time: int) -> None:
    """`ValueError` unless the logits of so many last positions of `time` can be given; None stands for all."""
    if newest is not None and not 1 <= newest <= time:
        require(False, "newest", f"must be at least 1 and at most the {time} positions that were given", newest)


@checked_once
def check_valid(valid: Tensor | None, tokens: Tensor, name: str = "valid") -> None:
    """`ValueError` unless `valid` is None or a boolean tensor of the shape of the tokens."""
    if valid is not None:
        require(valid.dtype == torch.bool, name, "must be boolean, True for a real token", valid.dtype)
        shape = tuple(tokens.shape)
        require(valid.shape == tokens.shape, name, f"must have the shape of the tokens, {shape}", tuple(valid.shape))
