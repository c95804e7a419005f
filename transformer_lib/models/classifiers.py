"""An encoder with a head for a task, as BERT and its kin are fine-tuned: labels of texts or tokens, or a span.

The labels have names, in the order of the logits. What is masked out in a batch is padding, so `valid` goes to the
encoder and to the head.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import ModelConfig, require
from transformer_lib.contract import checked_once
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import PooledHead, Pooling, SpanHead, SpanScores, TokenHead
from transformer_lib.nn.dropout import Dropout


@checked_once
class SequenceClassifier(nn.Module):
    """One label per text, told by its first token."""

    def __init__(self, config: ModelConfig, labels: tuple[str, ...], *, pooling: Pooling = "tanh") -> None:
        _check(labels)
        super().__init__()
        self.config, self.labels = config, labels
        self.encoder = Encoder(config)
        self.head = PooledHead(config.d_model, len(labels), pooling=pooling, dropout=config.dropout)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch labels"]:
        """Logits of the labels of each text; arguments as for an `Encoder`."""
        return self.head(self.encoder(tokens, valid=valid, segments=segments), valid=valid)


@checked_once
class TokenClassifier(nn.Module):
    """One label per token."""

    def __init__(self, config: ModelConfig, labels: tuple[str, ...]) -> None:
        _check(labels)
        super().__init__()
        self.config, self.labels = config, labels
        self.encoder = Encoder(config)
        self.dropout = Dropout(config.dropout)
        self.head = TokenHead(config.d_model, len(labels))

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time labels"]:
        """Logits of the labels of each token; arguments as for an `Encoder`."""
        return self.head(self.dropout(self.encoder(tokens, valid=valid, segments=segments)))


@checked_once
class SpanFinder(nn.Module):
    """Where in a text the answer to a question stands, both read as one text."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = SpanHead(config.d_model)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        valid: Bool[Tensor, "batch time"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> SpanScores:
        """Scores of each token as the first and as the last of the span; arguments as for an `Encoder`."""
        return self.head(self.encoder(tokens, valid=valid, segments=segments), valid=valid)


def _check(labels: tuple[str, ...]) -> None:
    require(bool(labels), "labels", "must be at least one", labels)
