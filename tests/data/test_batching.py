import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from transformer_lib.data import BucketedBatches, PackedBatches, pad, stdlib_source

seeds = st.integers(0, 2**40)
streams = st.tuples(st.integers(3, 80), st.integers(1, 5), st.integers(1, 9)).filter(lambda s: s[0] > s[2])
lengths_and_budget = st.lists(st.integers(1, 12), min_size=1, max_size=40).flatmap(
    lambda lengths: st.tuples(st.just(lengths), st.integers(max(lengths), 60))
)

pairs_of_lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30)


def packed(stream, seed, epochs=None):
    length, batch, context = stream
    return PackedBatches(torch.arange(length), batch=batch, context=context, seed=seed, epochs=epochs)


def bucketed(lengths, budget, seed, epochs=None):
    return BucketedBatches(lengths, list, token_budget=budget, seed=seed, epochs=epochs)


def same(left, right) -> bool:
    return len(left) == len(right) and all(
        torch.equal(x, y) for a, b in zip(left, right, strict=True) for x, y in zip(a, b, strict=True)
    )


# Packed windows


@given(streams, seeds)
def test_packed_epoch_has_every_window_once(stream, seed):
    """With tokens 0, 1, 2, ... a window is known by its first token, and an epoch is an unbroken run of windows."""
    length, batch, context = stream
    batches = list(packed(stream, seed, epochs=1))
    inputs = torch.cat([part.inputs for part in batches])
    assert torch.equal(torch.cat([part.targets for part in batches]), inputs + 1)
    starts = inputs[:, 0].sort().values
    first, count = starts[0].item(), (length - 1) // context
    assert starts.tolist() == list(range(first, first + count * context, context))
    assert 0 <= first <= (length - 1) % context
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(context))
    assert [len(part.inputs) for part in batches[:-1]] == [batch] * (len(batches) - 1)


@given(streams, seeds, st.integers(2, 4))
def test_packed_batches_stay_full_over_the_ends_of_epochs(stream, seed, epochs):
    _, batch, context = stream
    batches = packed(stream, seed, epochs)
    parts = list(batches)
    rows = torch.cat([part.inputs for part in parts])
    assert [len(part.inputs) for part in parts[:-1]] == [batch] * (len(parts) - 1)
    assert len(rows) == epochs * batches.per_epoch
    for epoch in rows.split(batches.per_epoch):
        starts = epoch[:, 0].sort().values
        assert (starts.diff() == context).all()


@given(streams, seeds, st.integers(0, 12))
def test_packed_resumes_anywhere_bit_for_bit(stream, seed, stop):
    straight = list(itertools.islice(packed(stream, seed), 15))
    first = packed(stream, seed)
    assert same(list(itertools.islice(first, stop)), straight[:stop])
    state = json.loads(json.dumps(first.state_dict()))
    assert len(json.dumps(state)) < 200
    second = packed(stream, seed)
    next(iter(second))
    second.load_state_dict(state)
    assert same(list(itertools.islice(second, 15 - stop)), straight[stop:])


def test_packed_state_saved_while_a_batch_is_in_use_is_the_state_after_it():
    batches = packed((40, 2, 3), seed=0)
    for step, _ in zip(range(1, 9), batches, strict=False):
        assert batches.state_dict()["seen"] == 2 * step


def test_packed_order_differs_between_epochs_and_seeds_and_not_otherwise():
    def epochs(seed):
        rows = torch.cat([part.inputs for part in packed((2000, 7, 9), seed, epochs=3)])
        return [tuple(epoch[:, 0].tolist()) for epoch in rows.split(1999 // 9)]

    assert epochs(0) == epochs(0)
    assert len({order for seed in (0, 1, 2**32, 2**32 + 1) for order in epochs(seed)}) == 12


def test_packed_cuts_anew_so_that_every_token_is_seen():
    targets = torch.cat([part.targets.flatten() for part in packed((18, 1, 10), seed=0, epochs=60)])
    assert sorted(set(targets.tolist())) == list(range(1, 18))


class Counting(TorchDispatchMode):
    """How many numbers the tensors hold that operations give."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.numbers += sum(part.numel() for part in pytree.tree_leaves(result) if isinstance(part, torch.Tensor))
        return result


def test_a_batch_handles_its_own_tokens_and_not_the_stream():
    batches = iter(PackedBatches(torch.arange(1_000_000), batch=16, context=256, seed=0))
    next(batches)
    for _ in range(100):
        with Counting() as made:
            next(batches)
        assert 2 * 16 * 256 <= made.numbers < 4 * 16 * 256


# Buckets


@given(lengths_and_budget, seeds)
def test_bucketed_epoch_has_every_example_once_within_the_budget(case, seed):
    lengths, budget = case
    batches = bucketed(lengths, budget, seed, epochs=3)
    parts = list(batches)
    assert len(parts) == 3 * batches.per_epoch
    for epoch in range(3):
        rows = parts[epoch * batches.per_epoch : (epoch + 1) * batches.per_epoch]
        assert sorted(itertools.chain(*rows)) == list(range(len(lengths)))
    assert all(len(rows) * max(lengths[i] for i in rows) <= budget for rows in parts)


@given(pairs_of_lengths, st.integers(18, 60), seeds)
def test_buckets_are_as_full_as_the_sorted_order_allows(pairs, budget, seed):
    """Brute force: no batch could take in the example that follows it in order of length."""
    parts = [sorted(pairs[i] for i in rows) for rows in bucketed(pairs, budget, seed, epochs=1)]
    parts.sort(key=lambda rows: (rows[0], rows[-1], -len(rows)))
    assert list(itertools.chain(*parts)) == sorted(pairs)
    for part, following in itertools.pairwise(parts):
        longest = [max(side) for side in zip(*part, following[0], strict=True)]
        assert (len(part) + 1) * sum(longest) > budget


@given(pairs_of_lengths, st.integers(18, 60), seeds)
def test_bucketed_pairs_count_the_padding_of_both_sides(pairs, budget, seed):
    texts = [([1] * source, [2] * target) for source, target in pairs]

    def collate(rows):
        return tuple(pad([texts[i][side] for i in rows], pad_id=0) for side in (0, 1))

    lines = 0
    for source, target in BucketedBatches(pairs, collate, token_budget=budget, seed=seed, epochs=1):
        assert source.tokens.numel() + target.tokens.numel() <= budget
        lines += len(source.tokens)
    assert lines == len(pairs)


@given(lengths_and_budget, seeds, st.integers(0, 12))
def test_bucketed_resumes_anywhere_bit_for_bit(case, seed, stop):
    straight = list(itertools.islice(bucketed(*case, seed), 15))
    first = bucketed(*case, seed)
    assert list(itertools.islice(first, stop)) == straight[:stop]
    state = json.loads(json.dumps(first.state_dict()))
    second = bucketed(*case, seed)
    next(iter(second))
    second.load_state_dict(state)
    assert list(itertools.islice(second, 15 - stop)) == straight[stop:]


def test_buckets_differ_between_epochs_and_seeds_in_order_and_company():
    lengths = [1 + i % 5 for i in range(300)]

    def epochs(seed):
        batches = bucketed(lengths, 30, seed, epochs=3)
        parts = [tuple(rows) for rows in batches]
        return [tuple(parts[i : i + batches.per_epoch]) for i in range(0, len(parts), batches.per_epoch)]

    assert epochs(0) == epochs(0)
    orders = [order for seed in (0, 1, 2**32) for order in epochs(seed)]
    assert len(set(orders)) == 9
    assert len({frozenset(map(frozenset, order)) for order in orders}) == 9
    assert len({tuple(lengths[rows[0]] for rows in order) for order in orders}) == 9


def test_bucketing_saves_padding_on_real_lines():
    """Lines of source are as uneven as sentences: at random half of a batch is padding, by length hardly any."""
    lengths = [len(line) for _, text in stdlib_source("full").held_out for line in text.splitlines() if line]

    def padding(batches):
        return 1 - sum(lengths) / sum(len(rows) * max(lengths[i] for i in rows) for rows in batches)

    by_length = list(bucketed(lengths, 4096, seed=0, epochs=1))
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    at_random = [rows.tolist() for rows in order.split(len(lengths) // len(by_length))]
    assert padding(by_length) < 0.03
    assert padding(at_random) > 0.45


# Padding


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5))
def test_pad_keeps_every_token_and_marks_the_rest(sequences):
    tokens, valid = pad(sequences, pad_id=7)
    assert tokens.dtype == torch.int64 and valid.dtype == torch.bool
    assert tokens.shape == valid.shape == (len(sequences), max(map(len, sequences)))
    assert [row[keep].tolist() for row, keep in zip(tokens, valid, strict=True)] == sequences
    assert (tokens[~valid] == 7).all()
    assert (valid.long().diff(dim=1) <= 0).all()  # padding is on the right


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: packed((9, 0, 2), 0), "batch must be a whole number of at least 1, got 0"),
        (lambda: packed((9, 1, 0), 0), "context must be a whole number of at least 1, got 0"),
        (lambda: packed((4, 1, 4), 0), "tokens must be longer than context=4, got 4"),
        (lambda: packed((9, 1, 2), -1), "seed must be a whole number of at least 0, got -1"),
        (lambda: packed((9, 1, 2), 0, epochs=0), "epochs must be a whole number of at least 1, got 0"),
        (lambda: PackedBatches(torch.ones(9), batch=1, context=2, seed=0), "tokens must have an integer type"),
        (lambda: PackedBatches(torch.ones(3, 3).long(), batch=1, context=2, seed=0), "tokens must have the axes time"),
        (lambda: bucketed([], 9, 0), r"lengths must not be empty, got \[\]"),
        (lambda: bucketed([3, 0], 9, 0), r"lengths\[1\] must be at least 1 a side .*, got \[0\]"),
        (lambda: bucketed([3, 9, 10], 9, 0), r"lengths\[2\] .* at most token_budget=9 in all, got \[10\]"),
        (lambda: bucketed([(3, 3), (5, 5)], 9, 0), r"lengths\[1\] .* at most token_budget=9 in all, got \[5, 5\]"),
        (lambda: bucketed([1], 0, 0), "token_budget must be a whole number of at least 1, got 0"),
        (lambda: pad([], 0), r"sequences must not be empty, got \[\]"),
        (lambda: pad([torch.ones(1), torch.ones(2)], 0), r"sequences\[0\] must hold whole numbers, got torch.float32"),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: packed((9, 1.0, 2), 0), "batch must be a whole number, got 1.0 of type float"),
        (lambda: bucketed([1.5], 9, 0), r"lengths\[0\] must be a whole number, got 1.5 of type float"),
        (lambda: bucketed([1], 9, 0.5), "seed must be a whole number, got 0.5 of type float"),
        (lambda: pad([[1], [0.5]], 0), r"sequences\[1\]\[0\] must be a whole number, got 0.5 of type float"),
        (lambda: pad(None, 0), "sequences must be a list, got None of type NoneType"),
    ],
)
def test_a_wrong_kind_is_a_type_error(call, message, unchecked_types):
    with pytest.raises(TypeError, match=message):
        call()


def test_foreign_states_are_refused_and_change_nothing():
    batches = packed((40, 2, 3), seed=0)
    next(iter(batches))
    state = batches.state_dict()
    others = {
        "seed": packed((40, 2, 3), seed=1),
        "data": packed((41, 2, 3), seed=0),
        "batch": packed((40, 3, 3), seed=0),
        "context": packed((40, 2, 4), seed=0),
    }
    for field, other in others.items():
        with pytest.raises(ValueError, match=rf"state\['{field}'\] must be .* to continue here, got"):
            other.load_state_dict(state)
        assert other.seen == 0
    with pytest.raises(ValueError, match="state must have exactly the keys"):
        bucketed([1, 2], 9, 0).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state\['token_budget'\] must be 8 to continue here, got 9"):
        bucketed([1, 2], 8, 0).load_state_dict(bucketed([1, 2], 9, 0).state_dict())
    with pytest.raises(ValueError, match=r"state\['data'\] must be"):
        bucketed([1, 2], 9, 0).load_state_dict(bucketed([2, 1], 9, 0).state_dict())
    for bad in (-1, 1.0, None, True, 10**30):
        with pytest.raises(ValueError, match=r"state\['seen'\] must be a whole number from 0 to 9007199254740992"):
            batches.load_state_dict(state | {"seen": bad})
    with pytest.raises(ValueError, match=r"state\['seen'\] must be a whole number from 0 to 26, got 27"):
        packed((40, 2, 3), seed=0, epochs=2).load_state_dict(state | {"seen": 27})
    assert batches.state_dict() == state


def test_data_is_known_by_its_content_not_by_its_lengths():
    texts, others = [[1, 2], [3], [4, 5, 6]], [[1, 2], [3], [4, 5, 7]]

    def batches(texts):
        lengths = list(map(len, texts))
        return BucketedBatches(lengths, lambda rows: pad([texts[i] for i in rows], 0), token_budget=6, seed=0)

    state = batches(texts).state_dict()
    batches([list(text) for text in texts]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"state\['data'\] must be '\w+' to continue here, got '\w+'"):
        batches(others).load_state_dict(state)


def test_asking_for_the_state_draws_nothing_and_moves_nothing():
    def noisy(rows):
        return torch.rand(len(rows))

    torch.manual_seed(5)
    straight = [batch.tolist() for batch in BucketedBatches([1, 2, 3], noisy, token_budget=3, seed=0, epochs=2)]
    torch.manual_seed(5)
    batches, asked, states = BucketedBatches([1, 2, 3], noisy, token_budget=3, seed=0, epochs=2), [], []
    for batch in batches:
        asked.append(batch.tolist())
        states.append(batches.state_dict())
    assert asked == straight
    assert [state["seen"] for state in states] == list(range(1, len(asked) + 1))
    assert len({state["data"] for state in states}) == 1
