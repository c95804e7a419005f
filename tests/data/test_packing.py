import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from transformer_lib.data import bits_per_byte, held_out_batches, pack

documents = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=5)


@given(documents)
def test_packing_can_be_undone(texts):
    stream = pack(texts, separator=10)
    assert stream.dtype == torch.int64
    characters = "".join("|" if token == 10 else str(token) for token in stream.tolist())
    assert characters == "|" + "".join("".join(map(str, text)) + "|" for text in texts)
    assert characters.split("|")[1:-1] == ["".join(map(str, text)) for text in texts]


def test_a_document_may_be_a_tensor_of_any_integer_type():
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        assert pack([torch.tensor([1, 2], dtype=dtype)], separator=0).tolist() == [0, 1, 2, 0]


@given(st.integers(2, 60), st.integers(1, 4), st.integers(1, 9))
def test_held_out_targets_are_every_token_but_the_first_once_and_in_order(length, batch, context):
    tokens = torch.randperm(length)
    batches = held_out_batches(tokens, batch=batch, context=context)
    assert torch.equal(torch.cat([part.inputs.flatten() for part in batches]), tokens[:-1])
    assert torch.equal(torch.cat([part.targets.flatten() for part in batches]), tokens[1:])
    for inputs, targets in batches:
        assert inputs.shape == targets.shape
        assert inputs.shape[0] <= batch and inputs.shape[1] <= context
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
    full = (length - 1) // context
    assert [len(part.inputs) for part in batches if part.inputs.shape[1] == context][: full // batch] == [batch] * (
        full // batch
    )


def test_bits_per_byte_of_a_uniform_guess_over_bytes_is_eight():
    loss = F.cross_entropy(torch.zeros(1, 256), torch.tensor([7])).item()
    assert bits_per_byte(loss, 1.0) == pytest.approx(8.0, abs=1e-6)
    assert bits_per_byte(4 * math.log(2), 2.5) == pytest.approx(1.6)


def test_bits_per_byte_does_not_depend_on_how_text_is_cut_into_tokens():
    """A token of two bytes with the product of their probabilities says as much about the text."""
    p, q = 0.3, 0.6
    per_byte = -(math.log(p) + math.log(q)) / 2
    assert bits_per_byte(per_byte, 1.0) == pytest.approx(bits_per_byte(-math.log(p * q), 2.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack([[1], [2, 0]], separator=0), r"documents\[1\] must not contain the separator, got 0"),
        (lambda: pack([torch.ones(1)], separator=0), r"documents\[0\] must hold whole numbers, got torch.float32"),
        (lambda: pack([torch.ones(1) > 0], separator=0), r"documents\[0\] must hold whole numbers, got torch.bool"),
        (lambda: pack([torch.arange(4).view(2, 2)], 9), r"documents\[0\] must have one dimension, got \(2, 2\)"),
        (lambda: held_out_batches(torch.arange(1), batch=1, context=1), "tokens must hold at least one input"),
        (
            lambda: held_out_batches(torch.ones(9), batch=1, context=1),
            "tokens must have an integer type, got 'float32'",
        ),
        (lambda: held_out_batches(torch.arange(9), batch=0, context=1), "batch must be a whole number of at least 1"),
        (lambda: held_out_batches(torch.arange(9), batch=1, context=0), "context must be a whole number of at leas"),
        (lambda: bits_per_byte(-1.0, 1.0), "nats_per_token must not be negative, got -1.0"),
        (lambda: bits_per_byte(1.0, 0.0), "bytes_per_token must be positive, got 0.0"),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("documents", [[[1.5]], [[True]], [[[1]]], ["12"], [None], 7, iter([[1.5]])])
def test_what_is_no_document(documents, unchecked_types):
    with pytest.raises(TypeError, match=r"documents|tokens"):
        pack(documents, 0)
    with pytest.raises(TypeError, match=r"separator must be a whole number, got 1\.5"):
        pack([[1]], 1.5)
