"""The loop: one division for any split, clipping, precision, evaluation, the log, and what it refuses."""

import functools
import io
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_run import next_token_loss, run_in_a_process, small_batches, small_config, small_held_out, small_model
from torch import nn

from transformer_lib.training import (
    LossSum,
    Record,
    TrainConfig,
    accumulate,
    evaluate,
    new_state,
    read_log,
    train,
    train_step,
    warmup_cosine,
)


def gradients(model: nn.Module, batches: list[Any]) -> list[torch.Tensor]:
    model.zero_grad()
    accumulate(model, next_token_loss, batches)
    return [parameter.grad.clone() for parameter in model.parameters()]


@given(cuts=st.sets(st.integers(1, 5)), seed=st.integers(0, 99))
def test_accumulation_over_any_split_is_one_batch(cuts, seed):
    """In float64 to 1e-10, with unequal numbers of counted tokens (0 is ignored), even none."""
    model = small_model(dropout=0.0).double()
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randint(1, 23, (2, 6, 8), generator=generator)
    for row, length in enumerate(torch.randint(0, 9, (6,), generator=generator).tolist()):
        targets[row, length:] = 0
    targets[0, 0] = 1
    edges = [0, *sorted(cuts), 6]
    parts = [(inputs[a:b], targets[a:b]) for a, b in itertools.pairwise(edges)]
    whole = gradients(model, [(inputs, targets)])
    mean = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=0)
    for ours, one, oracle in zip(
        gradients(model, parts), whole, torch.autograd.grad(mean, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(ours, one, atol=1e-10, rtol=0)
        torch.testing.assert_close(ours, oracle, atol=1e-10, rtol=0)


def test_a_run_with_micro_batches_is_a_run_with_whole_batches():
    batches = list(zip(*(iter(small_batches()),) * 8, strict=False).__next__())
    whole = [tuple(torch.cat(sides) for sides in zip(*batches[i : i + 2], strict=True)) for i in range(0, 8, 2)]
    ends = []
    for data, count in ((batches, 2), (whole, 1)):
        model, config = small_model(dropout=0.0).double(), small_config(micro_batches=count)
        state = new_state(model, small_batches(), config)
        for step in range(4):
            train_step(state, next_token_loss, data[step * count : (step + 1) * count], config)
        ends.append(list(model.parameters()))
    for left, right in zip(*ends, strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)


def test_a_step_is_torchs_own_clip_and_adamw():
    model, oracle = small_model(dropout=0.0).double(), small_model(dropout=0.0).double()
    config = TrainConfig(steps=1, learning_rate=constant, clip=0.01, weight_decay=0.0)
    batch = next(iter(small_batches()))
    record = train_step(new_state(model, small_batches(), config), next_token_loss, [batch], config)
    optimizer = torch.optim.AdamW(oracle.parameters(), lr=0.05, betas=(0.9, 0.95), weight_decay=0.0)
    loss = nn.functional.cross_entropy(oracle(batch[0]).flatten(0, 1), batch[1].flatten(), ignore_index=0)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(oracle.parameters(), 0.01)
    optimizer.step()
    assert record.loss == pytest.approx(loss.item(), abs=1e-10)
    assert record.gradient_norm == pytest.approx(norm.item(), abs=1e-10) and record.gradient_norm > 0.01
    assert record.learning_rate == 0.05 and record.tokens == (batch[1] != 0).sum()
    for left, right in zip(model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)


def constant(step: int) -> float:
    return 0.05


def test_it_learns():
    records: list[Record] = []
    train(small_model(), next_token_loss, small_batches(), small_config(), on_step=records.append)
    assert records[-1].loss < records[0].loss - 0.1


def test_bfloat16_computes_the_model_in_bfloat16_and_the_rest_in_float32():
    seen = []

    def spy(model: nn.Module, batch: Any) -> LossSum:
        seen.append(model(batch[0]).dtype)
        return next_token_loss(model, batch)

    state = train(small_model(), spy, small_batches(), small_config(steps=2, precision="bfloat16"))
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in state.model.parameters()} == {torch.float32}
    assert {slots["exp_avg"].dtype for slots in state.optimizer.state.values()} == {torch.float32}


def test_a_compiled_model_trains_as_an_eager_one():
    run_in_a_process(train_compiled_and_eager)  # free of the tests' type checker, which dynamo cannot trace


def train_compiled_and_eager() -> None:
    ends = []
    for compiled in (False, True):
        model = small_model(dropout=0.0)
        if compiled:
            model.compile(backend="aot_eager", fullgraph=True)
        train(model, next_token_loss, small_batches(), small_config(steps=3))
        ends.append(list(model.parameters()))
    for left, right in zip(*ends, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=0)


def test_evaluation_is_in_nats_per_token_without_dropout_and_leaves_no_trace():
    model = small_model().train()
    before = torch.get_rng_state()
    batches = [*small_held_out(), (torch.ones(1, 3, dtype=torch.int64), torch.tensor([[5, 0, 0]]))]
    nats = evaluate(model, next_token_loss, batches)
    assert model.training and torch.equal(before, torch.get_rng_state())
    model.eval()
    logits = torch.cat([model(inputs).flatten(0, 1) for inputs, _ in batches])
    targets = torch.cat([targets.flatten() for _, targets in batches])
    expected = nn.functional.cross_entropy(logits, targets, ignore_index=0)
    assert nats == pytest.approx(expected.item(), abs=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="batches must not be empty"):
        evaluate(model, next_token_loss, [])


def test_the_log_holds_each_step_once_and_is_what_on_step_saw(tmp_path: Path):
    records: list[Record] = []
    model, batches, config = small_model(), small_batches(), small_config(steps=7, eval_every=3)
    train(model, next_token_loss, batches, config, held_out=small_held_out(), folder=tmp_path, on_step=records.append)
    assert read_log(tmp_path / "log.jsonl") == records
    assert [record.step for record in records] == list(range(1, 8))
    assert [record.step for record in records if record.held_out is not None] == [3, 6, 7]
    rates = [config.learning_rate(step) for step in range(1, 8)]
    assert [record.learning_rate for record in records] == rates


@pytest.mark.parametrize("damage", [b'{"step": 4, "lo', b"\x00\xff\n", b""])
def test_a_damaged_log_line_is_cut_off_or_refused(damage: bytes, tmp_path: Path):
    """After the checkpoint's step it is written again; before it, a step would be lost."""

    def run(**changes: Any) -> None:
        model, config = small_model(), small_config(**changes)
        train(model, next_token_loss, small_batches(), config, folder=tmp_path, resume=True)

    run(steps=3)
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + damage)
    run(steps=4)
    assert [record.step for record in read_log(log)] == [1, 2, 3, 4] and log.read_bytes().startswith(whole)
    log.write_bytes(whole.splitlines(keepends=True)[0] + damage)
    with pytest.raises(ValueError, match=r"log.jsonl"):
        run(steps=5)


def test_a_used_folder_is_only_resumed_on_request(tmp_path: Path):
    config = small_config(steps=2)
    train(small_model(), next_token_loss, small_batches(), config, folder=tmp_path)
    with pytest.raises(ValueError, match="folder must not hold an earlier run unless resume=True \\(--resume\\), got"):
        train(small_model(), next_token_loss, small_batches(), config, folder=tmp_path)
    with pytest.raises(ValueError, match="steps must not be below the checkpoint's 2, got 1"):
        config = small_config(steps=1)
        train(small_model(), next_token_loss, small_batches(), config, folder=tmp_path, resume=True)


@pytest.mark.parametrize("where", ["loss", "gradient", "empty"])
def test_what_is_not_finite_stops_the_run_before_the_weights_change(where: str):
    model, config = small_model(), small_config(steps=3)
    before = [parameter.clone() for parameter in model.parameters()]

    def broken(model: nn.Module, batch: Any) -> LossSum:
        loss = next_token_loss(model, batch)
        if where == "empty":
            return LossSum(loss.total * 0, loss.count * 0)
        if where == "loss":
            return LossSum(loss.total * math.inf, loss.count)
        return LossSum(loss.total + (0 * model.head.weight).sum().sqrt(), loss.count)

    message = {"loss": r"loss over \d+ tokens .* got inf", "gradient": "norm of the gradient .* got nan"}
    with pytest.raises(FloatingPointError, match=message.get(where, "loss over 0 tokens .* nan") + " at step 1"):
        train(model, broken, small_batches(), config)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


class Finite:
    """Batches in passes of three, or none; the position is that of the pass."""

    def __init__(self, size: int) -> None:
        self.size, self.place = size, 0

    def __iter__(self):
        while self.place < self.size:
            self.place += 1
            yield self.place
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.place = state["place"]


def test_finite_passes_follow_one_another_and_empty_ones_are_an_error():
    seen = []

    def spy(model: nn.Module, batch: Any) -> LossSum:
        seen.append(batch)
        return LossSum(model.weight.sum(), torch.tensor(1))

    config = small_config(steps=4, micro_batches=2)
    train(nn.Linear(1, 1), spy, Finite(3), config)
    assert seen == [1, 2, 3, 1, 2, 3, 1, 2]
    at_the_end = Finite(3)
    at_the_end.load_state_dict({"place": 3})
    seen.clear()
    train(nn.Linear(1, 1), spy, at_the_end, small_config(steps=1))
    assert seen == [1, 2]
    with pytest.raises(ValueError, match="batches must not run out before the last step, got"):
        train(nn.Linear(1, 1), spy, Finite(0), config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"micro_batches": 0}, "micro_batches must be a whole number of at least 1, got 0"),
        ({"eval_every": 0}, "eval_every must be a whole number of at least 1, got 0"),
        ({"keep": 0}, "keep must be a whole number of at least 1, got 0"),
        ({"clip": 0.0}, "clip must be positive or None, got 0.0"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
        ({"betas": (0.9, 1.0)}, r"betas must be at least 0 and below 1, got \(0.9, 1.0\)"),
        ({"learning_rate": lambda step: 0.1}, "learning_rate must be a named function"),
        ({"learning_rate": functools.partial(warmup_cosine, 3)}, "learning_rate must be .* keywords only"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, got -1"),
        ({"betas": (0.9,)}, r"betas must have 2 parts, got \(0.9,\)"),
        ({"weight_decay": float("nan")}, "weight_decay must not be NaN, got nan"),
        ({"weight_decay": float("inf")}, "weight_decay must be a finite number, got inf"),
        ({"learning_rate": functools.partial(warmup_cosine, peak=float("nan"))}, "learning_rate must have only finite"),
        ({"learning_rate": functools.partial(warmup_cosine, peak="1")}, "learning_rate must have only finite numbers"),
    ],
)
def test_bad_settings_name_field_rule_and_value(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        small_config(**changes)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match=r"precision must be one of .* got 'float16'"):
        small_config(precision="float16")


@pytest.mark.parametrize(
    "changes",
    [{"seed": math.nan}, {"steps": 3.0}, {"steps": True}, {"betas": 0.9}, {"learning_rate": 0.1}, {"precision": None}],
)
def test_a_setting_of_a_wrong_kind_is_a_type_error_that_names_it(changes: dict[str, Any]):
    with pytest.raises(TypeError, match=rf"^{next(iter(changes))} must be .*, got .* of type "):
        small_config(**changes)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_betas_of_the_settings_are_adamws(optimizer: str):
    """Torch's AdamW, given the gradients of the run, takes the same steps where the run's AdamW does."""
    model = small_model(dropout=0.0).double()
    config = small_config(
        learning_rate=constant, optimizer=optimizer, betas=(0.6, 0.7), clip=None, weight_decay=0.0, micro_batches=1
    )
    state = new_state(model, small_batches(), config)
    own = {name: p for name, p in model.named_parameters() if optimizer == "adamw" or "blocks" not in name}
    copies = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in own.items()}
    theirs = torch.optim.AdamW(copies.values(), lr=0.05, betas=(0.6, 0.7), weight_decay=0.0)
    stream = iter(small_batches())
    for _ in range(4):
        train_step(state, next_token_loss, [next(stream)], config)
        for name, parameter in own.items():
            copies[name].grad = parameter.grad.clone()
        theirs.step()
    assert len(copies) == (len(list(model.parameters())) if optimizer == "adamw" else 3)
    for name, parameter in own.items():
        torch.testing.assert_close(parameter, copies[name], atol=1e-10, rtol=0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("progress", "stream", "shown"),
    [
        (True, io.StringIO, True),
        (False, Terminal, False),
        (None, io.StringIO, False),
        (None, Terminal, True),
    ],
)
def test_the_progress_bar_is_shown_as_asked_or_on_a_terminal(
    progress: bool | None, stream: type[io.StringIO], shown: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stderr", error := stream())
    train(small_model(), next_token_loss, small_batches(), small_config(steps=2, progress=progress))
    assert ("2/2" in error.getvalue()) == shown


def test_each_step_starts_from_a_gradient_of_its_own():
    """Three steps are those of torch's loop, in which nothing of the gradient before is left."""
    model, oracle = small_model(dropout=0.0).double(), small_model(dropout=0.0).double()
    config = small_config(learning_rate=constant, clip=None, weight_decay=0.0, micro_batches=1)
    state = new_state(model, small_batches(), config)
    optimizer = torch.optim.AdamW(oracle.parameters(), lr=0.05, betas=(0.9, 0.95), weight_decay=0.0)
    stream = iter(small_batches())
    for _ in range(3):
        inputs, targets = next(stream)
        train_step(state, next_token_loss, [(inputs, targets)], config)
        optimizer.zero_grad()
        nn.functional.cross_entropy(oracle(inputs).flatten(0, 1), targets.flatten(), ignore_index=0).backward()
        optimizer.step()
    for left, right in zip(model.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)
