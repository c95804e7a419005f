"""Heads: small maps from an encoder's vectors to what a task asks for."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import ModelConfig, require, require_positive
from transformer_lib.contract import also, checked_once
from transformer_lib.models.encoder import Encoder
from transformer_lib.nn.dropout import Dropout
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.memory import require_memory
from transformer_lib.nn.norm import build_norm

Pooling = Literal["tanh", "relu"]


@checked_once
class MaskedLMHead(nn.Module):
    """BERT's head: dense, GELU, norm, then the (tied) embedding matrix plus a bias (Devlin et al. 2018)."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding) -> None:
        wanted, shape = (config.vocab_size, config.d_model), tuple(embedding.weight.shape)
        require(shape == wanted, "embedding", f"must have the shape {wanted} that the config says", shape)
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model, bias=config.norm.bias)  # ModernBERT: neither has one
        self.norm = build_norm(config.norm, config.d_model)
        self.to_vocab = nn.Linear(config.d_model, config.vocab_size)
        self.to_vocab.weight = embedding.weight

    @also(lambda self, x: require_fit("x", x, self.dense.weight))
    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time vocab"]:
        """Logits of the token at each (masked) position."""
        return self.to_vocab(self.norm(F.gelu(self.dense(x))))


@checked_once
class MaskedLM(nn.Module):
    """BERT as it is trained: an encoder, and at each position the logits of the token that stood there."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = MaskedLMHead(config, self.encoder.embedding.tokens)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Arguments as for an `Encoder`."""
        return self.head(self.encoder(tokens, valid=valid, segments=segments))


@checked_once
class TokenHead(nn.Linear):
    """One label per token: logits = x W + b."""

    def __init__(self, d_model: int, labels: int) -> None:
        _check(d_model, labels)
        super().__init__(d_model, labels)

    @also(lambda self, x: require_fit("x", x, self.weight))
    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time labels"]:
        """Logits of the labels of each token."""
        return super().forward(x)


@checked_once
class SequenceHead(nn.Module):
    """One label per text: the mean over its real tokens, then logits = x W + b."""

    def __init__(self, d_model: int, labels: int) -> None:
        _check(d_model, labels)
        super().__init__()
        self.to_label = nn.Linear(d_model, labels)

    @also(lambda self, x: require_fit("x", x, self.to_label.weight))
    def forward(
        self, x: Float[Tensor, "batch time d_model"], *, valid: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch labels"]:
        """`valid` marks the real tokens; a row without any is read as zeros."""
        weight = torch.ones_like(x[..., :1]) if valid is None else valid[..., None].to(x.dtype)
        return self.to_label((x * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))


@checked_once
class Pooler(nn.Module):
    """One vector per text: f(x W + b) of its first token, where f is tanh (BERT, RoBERTa) or ReLU (DistilBERT)."""

    def __init__(self, d_model: int, pooling: Pooling = "tanh") -> None:
        _check(d_model, d_model)
        super().__init__()
        self.pooling = pooling
        self.dense = nn.Linear(d_model, d_model)

    @also(lambda self, x: require_fit("x", x, self.dense.weight))
    def forward(
        self, x: Float[Tensor, "batch time d_model"], *, valid: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch d_model"]:
        """`valid` marks the real tokens, the first of which speaks for its text; without any, the first of the row."""
        first = x[:, 0] if valid is None else x[torch.arange(len(x), device=x.device), valid.int().argmax(dim=1)]
        return torch.tanh(self.dense(first)) if self.pooling == "tanh" else F.relu(self.dense(first))


@checked_once
class PooledHead(nn.Module):
    """One label per text, from its first token: a `Pooler`, then logits = x W + b (Devlin et al. 2018).

    RoBERTa's has dropout before the pooler, too, in training; here there is none.
    """

    def __init__(self, d_model: int, labels: int, *, pooling: Pooling = "tanh", dropout: float = 0.0) -> None:
        _check(d_model, labels)
        super().__init__()
        self.pooler = Pooler(d_model, pooling)
        self.dropout = Dropout(dropout)
        self.to_label = nn.Linear(d_model, labels)

    @also(lambda self, x: require_fit("x", x, self.to_label.weight))
    def forward(
        self, x: Float[Tensor, "batch time d_model"], *, valid: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch labels"]:
        """`valid` as for a `Pooler`."""
        return self.to_label(self.dropout(self.pooler(x, valid=valid)))


@checked_once
class SpanScores(NamedTuple):
    """How likely each token is to begin and to end the span, as logits; padding has -inf."""

    start: Float[Tensor, "batch time"]
    end: Float[Tensor, "batch time"]


@checked_once
class SpanHead(nn.Module):
    """Where a span starts and ends (BERT's question answering head)."""

    def __init__(self, d_model: int) -> None:
        _check(d_model, 2)
        super().__init__()
        self.to_scores = nn.Linear(d_model, 2)

    @also(lambda self, x: require_fit("x", x, self.to_scores.weight))
    def forward(
        self, x: Float[Tensor, "batch time d_model"], *, valid: Bool[Tensor, "batch time"] | None = None
    ) -> SpanScores:
        """Scores over the real tokens."""
        scores = self.to_scores(x)
        if valid is not None:
            scores = scores.masked_fill(~valid[..., None], -torch.inf)
        return SpanScores(scores[..., 0], scores[..., 1])


def _check(d_model: int, labels: int) -> None:
    require_positive(d_model=d_model, labels=labels)
    require_memory(4 * d_model * labels, d_model=d_model, labels=labels)
