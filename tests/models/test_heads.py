"""The small heads, written out token by token; padding never counts."""

import torch

from tests.oracles import close, normal, randomise
from transformer_lib.models import PooledHead, Pooler, SequenceHead, SpanHead, TokenHead

X = normal(3, 5, 4)
VALID = torch.arange(5) < torch.tensor([[5], [2], [0]])


def test_a_token_head_labels_each_token() -> None:
    head = randomise(TokenHead(4, 3))
    close(head(X), X @ head.weight.T + head.bias)


def test_a_sequence_head_labels_the_mean_of_the_real_tokens() -> None:
    head = randomise(SequenceHead(4, 3))
    weight, bias = head.to_label.weight, head.to_label.bias
    means = torch.stack([X[0].mean(0), X[1, :2].mean(0), torch.zeros(4, dtype=X.dtype)])
    close(head(X, valid=VALID), means @ weight.T + bias)
    close(head(X), X.mean(1) @ weight.T + bias)


def test_a_pooler_reads_the_first_real_token() -> None:
    left = VALID.flip(1)
    for pooling, function in (("tanh", torch.tanh), ("relu", torch.relu)):
        pooler = randomise(Pooler(4, pooling))
        weight, bias = pooler.dense.weight, pooler.dense.bias
        close(pooler(X, valid=VALID), function(X[:, 0] @ weight.T + bias))
        close(pooler(X), function(X[:, 0] @ weight.T + bias))
        first = torch.stack([X[0, 0], X[1, 3], X[2, 0]])  # a row without any token has the first of its padding
        close(pooler(X, valid=left), function(first @ weight.T + bias))
        head = randomise(PooledHead(4, 3, pooling=pooling, dropout=0.5))
        pooled = head.pooler(X, valid=left)
        close(head(X, valid=left), pooled @ head.to_label.weight.T + head.to_label.bias)
        head.train()
        assert not torch.equal(head(X), head(X))


def test_a_span_never_starts_or_ends_on_padding() -> None:
    head = randomise(SpanHead(4))
    scores = X @ head.to_scores.weight.T + head.to_scores.bias
    found, free = head(X, valid=VALID), head(X)
    for i, (part, whole) in enumerate(zip(found, free, strict=True)):
        close(whole, scores[..., i])
        assert torch.equal(part == -torch.inf, ~VALID)
        close(part[VALID], scores[..., i][VALID])
