import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.data import NGram, bits_per_byte, pack, stdlib_source

VOCAB = 4
words = st.lists(st.integers(0, VOCAB - 1), min_size=5, max_size=60)


def kneser_ney(
    train: list[int] | list[list[int]], history: tuple[int, ...], word: int, order: int, vocab: int
) -> float:
    """P(word | history) straight from the definition: dictionaries, one probability at a time, no arrays."""

    rows = train if isinstance(train[0], list) else [train]

    def grams(n):
        return [tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1)]

    def counts(k):
        return Counter(grams(order)) if k == order else Counter(gram[1:] for gram in set(grams(k + 1)))

    def probability(k, history):
        if k == 0:
            return 1 / vocab
        table = counts(k)
        n = {c: 1 + sum(count == c for count in table.values()) for c in (1, 2, 3, 4)}
        y = n[1] / (n[1] + 2 * n[2])
        discount = {1: y, 2: 2 - 3 * y * n[3] / n[2], 3: 3 - 4 * y * n[4] / n[3]}
        for c in (2, 3):
            discount[c] = min(max(discount[c], y), c)
        after = {gram[-1]: count for gram, count in table.items() if gram[:-1] == history}
        shorter = probability(k - 1, history[1:])
        if not after:
            return shorter
        taken = sum(discount[min(count, 3)] for count in after.values())
        own = after[word] - discount[min(after[word], 3)] if word in after else 0.0
        return (own + taken * shorter) / sum(after.values())

    return probability(min(order, len(history) + 1), history[len(history) - min(order - 1, len(history)) :])


@given(words, words, st.integers(1, 4))
def test_log_probs_are_the_definition(train, text, order):
    model = NGram(torch.tensor(train), order=order, vocab_size=VOCAB)
    expected = [math.log(kneser_ney(train, tuple(text[:i]), text[i], order, VOCAB)) for i in range(1, len(text))]
    torch.testing.assert_close(
        model.log_probs(torch.tensor(text)), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10
    )


@given(words, st.lists(st.integers(0, VOCAB + 1), max_size=8), st.integers(1, 5))
def test_probabilities_are_positive_and_sum_to_one(train, history, order):
    """After any history, seen or not, and over words never seen too."""
    model = NGram(torch.tensor(train), order=order, vocab_size=VOCAB + 2)
    p = model.next_probs(torch.tensor(history, dtype=torch.int64))
    assert (p > 0).all()
    assert abs(p.sum().item() - 1) < 1e-12


@given(words, words, st.integers(1, 5))
def test_scoring_a_text_and_asking_for_the_next_word_agree(train, text, order):
    model = NGram(torch.tensor(train), order=order, vocab_size=VOCAB)
    tokens = torch.tensor(text)
    one_by_one = torch.stack([model.next_probs(tokens[:i])[tokens[i]].log() for i in range(1, len(tokens))])
    torch.testing.assert_close(model.log_probs(tokens), one_by_one, rtol=0, atol=1e-12)


def test_only_the_last_words_of_a_history_matter():
    model = NGram(torch.randint(5, (400,), generator=torch.Generator().manual_seed(0)), order=3, vocab_size=5)
    assert torch.equal(model.next_probs(torch.tensor([4, 0, 1, 2])), model.next_probs(torch.tensor([3, 3, 1, 2])))
    assert not torch.equal(model.next_probs(torch.tensor([1, 2])), model.next_probs(torch.tensor([2, 2])))


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=5), words, st.integers(1, 4))
def test_no_gram_reaches_from_one_row_into_the_next(train, text, order):
    """So the order of rows changes nothing, and the definition, which never joins them, gives the same."""
    rows, told = torch.tensor(train), torch.tensor(text)
    found = NGram(rows, order=order, vocab_size=VOCAB).log_probs(told)
    assert torch.equal(NGram(rows.flip(0), order=order, vocab_size=VOCAB).log_probs(told), found)
    expected = [math.log(kneser_ney(train, tuple(text[:i]), text[i], order, VOCAB)) for i in range(1, len(text))]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


def test_loss_on_a_markov_chain_approaches_its_entropy():
    """The next of 8 words is the double of this one plus 0 or 1, at 3 : 1; no model can be below H(1/4) = 0.5623."""
    generator = torch.Generator().manual_seed(0)
    choice = (torch.rand(60_000, generator=generator) < 0.25).long().tolist()
    chain = [0]
    for bit in choice:
        chain.append((2 * chain[-1] + bit) % 8)
    train, held_out = torch.tensor(chain[:50_000]), torch.tensor(chain[50_000:])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    losses = [-NGram(train, order=n, vocab_size=8).log_probs(held_out).mean().item() for n in (1, 2, 3)]
    assert losses[0] > entropy + 0.5
    assert losses[1] == pytest.approx(entropy, abs=0.02)
    assert losses[2] == pytest.approx(entropy, abs=0.02)


def test_longer_histories_predict_held_out_source_better():
    """The baseline of the training chapter, in bits per byte: bands, since the text moves with Python's version."""
    corpus = stdlib_source("small")
    train, held_out = (pack([list(text.encode()) for _, text in part], separator=256) for part in corpus)
    losses = [-NGram(train, order=n, vocab_size=257).log_probs(held_out).mean().item() for n in range(1, 6)]
    bits = [bits_per_byte(loss, 1.0) for loss in losses]
    assert bits == sorted(bits, reverse=True)
    for value, expected in zip(bits, (4.37, 3.41, 2.62, 2.21, 2.08), strict=True):
        assert value == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NGram(torch.arange(4), order=0, vocab_size=4), "order must be a whole number of at least 1, got 0"),
        (lambda: NGram(torch.arange(4), order=2, vocab_size=0), "vocab_size must be a whole number of at least 1"),
        (lambda: NGram(torch.arange(4), order=5, vocab_size=4), "tokens must hold at least order=5 tokens, got 4"),
        (lambda: NGram(torch.arange(5), order=2, vocab_size=4), r"tokens must be in 0\.\.3, got \[4\]"),
        (lambda: NGram(torch.tensor([0, -1]), order=2, vocab_size=4), r"tokens must be in 0\.\.3, got \[-1\]"),
        (
            lambda: NGram(torch.tensor([[1, 2, 3]]), order=4, vocab_size=4),
            "tokens must hold at least order=4 tokens, got 3",
        ),
        (lambda: NGram(torch.ones(0, 3).long(), order=2, vocab_size=4), "tokens must have at least one row, got 0"),
        (lambda: NGram(torch.ones(1, 1, 3).long(), order=2, vocab_size=4), "tokens must have one dimension, or two"),
        (lambda: NGram(torch.ones(4), order=2, vocab_size=4), "tokens must have an integer type, got 'float32'"),
        (lambda: NGram(torch.arange(4), order=2, vocab_size=2**40), "vocab_size must be at most 16777216"),
        (
            lambda: NGram(torch.arange(4), order=2, vocab_size=4).log_probs(torch.tensor([1])),
            "tokens must hold at least two tokens, got 1",
        ),
        (
            lambda: NGram(torch.arange(4), order=2, vocab_size=4).next_probs(torch.tensor([9])),
            r"tokens must be in 0\.\.3, got \[9\]",
        ),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()
