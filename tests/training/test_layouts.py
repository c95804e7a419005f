"""Every layout of ranks trains the model of one process, takes its start from it, and leaves checkpoints for all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import (
    next_token_loss,
    run_together,
    small_batches,
    small_config,
    small_held_out,
    small_model,
    start_process,
)
from torch import Tensor, distributed, nn

from transformer_lib.config import AttentionConfig, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.training import load_weights, read_log, train
from transformer_lib.training.deferred import Deferred
from transformer_lib.training.hollow import hollow
from transformer_lib.training.layout import Copies, Layout, Shards, layout_from, layout_words
from transformer_lib.training.parallel import call_with_loss, parallelize, place_of, take_back, unwrapped
from transformer_lib.training.share import Share
from transformer_lib.training.state import model_tensors

STEPS = 4
ENDS = {2: 2, 4: 1}  # four ranks only make the straight run, to save time
HEADS = AttentionConfig(num_heads=4, num_kv_heads=2, head_dim=4, bias="qkv", qk_norm=True, gate=True)
CONFIG = small_model(num_layers=2, dropout=0.0, attention=HEADS, feedforward=SwiGlu(d_ff=12)).config
TWO: dict[str, Layout] = {
    "copies": Copies(),
    "kept": Shards(after_forward="keep"),
    "replicas": Shards(replicas=2),
    "tensor": Shards(tensor=2),
}
FOUR: dict[str, Layout] = {"replicas": Shards(replicas=2), "both": Shards(tensor=2)}


def make() -> DecoderLM:
    return DecoderLM(CONFIG).double()


def made(seed: int = 1) -> DecoderLM:
    torch.manual_seed(seed)
    return make()


def train_on(folder: Path, model: nn.Module, loss: Any, batches: Any, steps: int = STEPS) -> None:
    """Targets of 0 are not counted, so that the batches hold unequal numbers of tokens."""
    config = small_config(steps=steps, micro_batches=4, clip=0.5, eval_every=2, checkpoint_every=2, keep=3)
    train(model, loss, batches, config, held_out=small_held_out(), folder=folder, resume=True)


def run_shared(folder: Path, layout: Layout, model: Any) -> nn.Module:
    shared = parallelize(model, next_token_loss, layout)
    train_on(folder, shared, call_with_loss, Share(small_batches(), *place_of(shared)))
    return shared


def be_a_rank(rank: int, ranks: int, folder: Path, layouts: Mapping[str, Layout]) -> None:
    store = distributed.FileStore(str(folder / "store"), ranks)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    for name, layout in layouts.items():
        trained = made()
        torch.manual_seed(1 if rank == 0 else 5)  # only what rank 0 would draw counts
        shared = run_shared(folder / name, layout, Deferred(make))
        if layout == Copies():
            trained = unwrapped(shared)
        else:
            take_back(shared, trained)
        torch.save(model_tensors(trained), folder / f"{name}-{rank}.pt")
        parts = [p.to_local() if hasattr(p, "to_local") else p for p in shared.parameters()]
        torch.save(sum(p.numel() for p in parts), folder / f"{name}-{rank}-numbers.pt")
        if ENDS[ranks] == 1:
            continue
        # What one process has left, into a model that has no memory on rank 0; elsewhere its weights do not count.
        empty = hollow(made(2)) if rank == 0 and layout != Copies() else made(3)
        run_shared(folder / f"{name}-from-alone", layout, empty)
        taken = made(2)
        load_weights(folder / f"{name}-from-alone" / f"step-{STEPS:08d}", taken)
        torch.save(model_tensors(taken), folder / f"{name}-from-alone-{rank}.pt")
    distributed.barrier()  # else the group may end before the thread that exchanged the last gradients: a deadlock
    distributed.destroy_process_group()


@pytest.mark.parametrize(("ranks", "layouts"), [(2, TWO), (4, FOUR)], ids=["two", "four"])
def test_ranks_train_as_one_process_does(ranks: int, layouts: dict[str, Layout], tmp_path: Path) -> None:
    for name in layouts:
        train_on(tmp_path / f"{name}-from-alone", made(), next_token_loss, small_batches(), steps=2)
    processes = [start_process(be_a_rank, rank, ranks, tmp_path, layouts) for rank in range(ranks)]
    run_together(processes)
    alone = made()
    train_on(tmp_path / "alone", alone, next_token_loss, small_batches())
    expected, numbers = model_tensors(alone), sum(p.numel() for p in alone.parameters())
    records = read_log(tmp_path / "alone" / "log.jsonl")
    for name, layout in layouts.items():
        for rank in range(ranks):
            for kind in (name, f"{name}-from-alone")[: ENDS[ranks]]:
                assert_equal(torch.load(tmp_path / f"{kind}-{rank}.pt"), expected)
            kept = torch.load(tmp_path / f"{name}-{rank}-numbers.pt")
            whole = layout == Copies() or (ranks == 2 and layout == Shards(replicas=2))
            assert kept == numbers if whole else kept < 0.8 * numbers, name
        loaded = made(7)
        load_weights(tmp_path / name / f"step-{STEPS:08d}", loaded)
        assert_equal(model_tensors(loaded), expected)
        again = made(8)  # one process takes up what the ranks had left half-way
        (tmp_path / f"{name}-left").mkdir()
        (tmp_path / name / "step-00000002").rename(tmp_path / f"{name}-left" / "step-00000002")
        (tmp_path / name / "log.jsonl").rename(tmp_path / f"{name}-left" / "log.jsonl")
        train_on(tmp_path / f"{name}-left", again, next_token_loss, small_batches())
        assert_equal(model_tensors(again), expected)
        found = read_log(tmp_path / f"{name}-left" / "log.jsonl")
        assert [record.tokens for record in found] == [record.tokens for record in records]
        for mine, theirs in zip(found, records, strict=True):
            assert mine.gradient_norm == pytest.approx(theirs.gradient_norm, abs=1e-10, rel=0)
            assert mine.loss == pytest.approx(theirs.loss, abs=1e-10, rel=0)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


# As data --------------------------------------------------------------------------------------------------------------


def test_words_and_layouts_are_the_same() -> None:
    for layout in (Copies(), Shards(), *TWO.values(), *FOUR.values(), Shards(gather="bfloat16", reduce="bfloat16")):
        assert layout_from(layout_words(layout)) == layout
    assert layout_words(Shards(replicas=2, after_forward="keep")) == "fsdp2:replicas=2,after_forward=keep"
    assert Shards(replicas=2, tensor=4).grid(64) == (2, 8, 4)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("ddp2", r"parallel must be one of \('ddp', 'fsdp2'\), got 'ddp2'"),
        ("ddp:tensor=2", "parallel must have no fields after ddp"),
        ("fsdp2:rows=2", "parallel must have fields among"),
        ("fsdp2:tensor=two", "parallel: tensor must be a whole number of at least 1, got 'two'"),
        ("fsdp2:tensor=0", "tensor must be a whole number of at least 1, got 0"),
        ("fsdp2:after_forward=no", r"parallel: after_forward must be one of \('release', 'keep'\), got 'no'"),
    ],
)
def test_words_that_are_no_layout_are_refused(words: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        layout_from(words)


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"replicas \* tensor, 3 \* 2, divide the 8 processes"):
        Shards(replicas=3, tensor=2).grid(8)
