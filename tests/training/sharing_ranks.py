"""What each of four processes does in tests/training/test_costs.py: every way of sharing, with its traffic noted."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from transformer_lib.config import AttentionConfig, ModelConfig, NoPositions, Norm, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.nn.block import Block
from transformer_lib.training.traffic import Traffic
from transformer_lib.training.within import add_up, hand_out, pass_on, ring_attention, send_to

RANKS, BATCH, CONTEXT, MICRO = 4, 2, 8, 2
# Sizes that four processes can divide, so that no part is filled up.
CONFIG = ModelConfig(
    vocab_size=24,
    d_model=16,
    num_layers=4,
    max_length=CONTEXT,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=32),
    positions=NoPositions(),
    norm=Norm(kind="rms"),
    tie_embeddings=False,
)


def model() -> DecoderLM:
    torch.manual_seed(0)
    return DecoderLM(CONFIG)


def texts() -> Tensor:
    return torch.randint(CONFIG.vocab_size, (BATCH, CONTEXT), generator=torch.Generator().manual_seed(1))


def inputs() -> Tensor:
    """Vectors of one text for every process."""
    shape = (1, CONTEXT * RANKS, CONFIG.d_model)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# How a whole model is shared out -------------------------------------------------------------------------------------


def ddp(steps: int) -> None:
    shared = DistributedDataParallel(model())
    for step in range(steps):
        with shared.no_sync() if step < steps - 1 else torch.enable_grad():
            shared(texts()).sum().backward()


def fsdp(steps: int, *, keep: bool = False, half: bool = False, replicate: int = 1) -> None:
    shape = (replicate, RANKS // replicate) if replicate > 1 else (RANKS,)
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "parts")[-len(shape) :])
    kinds = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if half else {}
    how: dict[str, Any] = {"mesh": mesh, "mp_policy": MixedPrecisionPolicy(**kinds)}
    shared = model()
    for block in shared.blocks:
        fully_shard(block, **how, reshard_after_forward=not keep)
    fully_shard(shared, **how)
    assert isinstance(shared, FSDPModule)
    for step in range(steps):
        if replicate > 1:
            shared.set_requires_all_reduce(step == steps - 1)
        shared(texts()).sum().backward()


# How the inside is shared --------------------------------------------------------------------------------------------


def part_of(block: Block, rank: int) -> Block:
    """A block with this rank's heads and hidden channels of the whole one."""
    heads, hidden, size = 4 // RANKS, 32 // RANKS, CONFIG.head_dim
    attention = AttentionConfig(num_heads=heads, head_dim=size)
    part = Block(dataclasses.replace(CONFIG, attention=attention, feedforward=SwiGlu(d_ff=hidden))).double()
    rows = slice(rank * heads * size, (rank + 1) * heads * size)
    channels = slice(rank * hidden, (rank + 1) * hidden)
    with torch.no_grad():
        whole = block.attention.to_qkv.weight.unflatten(0, (3, -1))[:, rows]
        part.attention.to_qkv.weight.copy_(whole.flatten(0, 1))
        part.attention.to_out.weight.copy_(block.attention.to_out.weight[:, rows])
        part.feedforward.to_gate.weight.copy_(block.feedforward.to_gate.weight[channels])
        part.feedforward.to_hidden.weight.copy_(block.feedforward.to_hidden.weight[channels])
        part.feedforward.to_out.weight.copy_(block.feedforward.to_out.weight[:, channels])
    return part


def tensor_parallel(rank: int, group: Any) -> dict[str, Any]:
    parts = [part_of(block, rank) for block in model().double().blocks]
    x = inputs()[:, :CONTEXT].requires_grad_()
    with Traffic() as traffic:
        h = x
        for part in parts:
            h = h + add_up(part.attention(hand_out(part.attention_norm(h), group), mask="causal"), group)
            h = h + add_up(part.feedforward(hand_out(part.feedforward_norm(h), group)), group)
        h.square().sum().backward()
    norms = [part.feedforward_norm.weight.grad for part in parts]
    return {"out": h.detach(), "gradient": x.grad, "norms": norms, "calls": traffic.calls}


def context_parallel(rank: int, group: Any) -> dict[str, Any]:
    whole = inputs().unflatten(2, (4, 4)).transpose(1, 2)  # (batch, heads, time, head_dim)
    mine = whole[:, :, rank * CONTEXT : (rank + 1) * CONTEXT].clone().requires_grad_()
    with Traffic() as traffic:
        out = ring_attention(mine, mine * 0.5, mine.sin(), group)
        out.square().sum().backward()
    return {"out": out.detach(), "gradient": mine.grad, "calls": traffic.calls}


def experts(rank: int, group: Any) -> dict[str, Any]:
    """Rank r has expert r, which multiplies by r + 1; token t goes to the experts t and t + 1, modulo their number."""
    x = inputs()[0, rank * CONTEXT : (rank + 1) * CONTEXT].clone().requires_grad_()
    chosen = torch.stack([torch.arange(CONTEXT), torch.arange(CONTEXT) + 1], dim=1).flatten() % RANKS
    order = chosen.argsort(stable=True)
    rows = x.repeat_interleave(2, dim=0)[order]
    with Traffic() as traffic:
        came, counts = send_to(rows, chosen.bincount(minlength=RANKS).tolist(), group)
        back, _ = send_to(came * (rank + 1), counts, group)
        out = torch.zeros_like(x).index_add(0, order // 2, back)
        out.square().sum().backward()
    return {"out": out.detach(), "gradient": x.grad, "calls": traffic.calls}


def pipeline(rank: int) -> dict[str, Any]:
    """Each rank has one block; a micro-batch goes up the ranks, and its gradient down."""
    block = model().double().blocks[rank]
    kept, total = [], inputs().new_zeros(())
    with Traffic() as traffic:
        for number in range(MICRO):
            x = inputs()[:, number * CONTEXT : (number + 1) * CONTEXT].clone()
            if rank > 0:
                distributed.recv(x, rank - 1)
            x.requires_grad_()
            out = x + block.attention(block.attention_norm(x), mask="causal")
            out = out + block.feedforward(block.feedforward_norm(out))
            kept.append((x, out))
            if rank < RANKS - 1:
                distributed.send(out.detach(), rank + 1)
        for x, out in kept:
            gradient = 2 * out.detach()
            if rank < RANKS - 1:
                distributed.recv(gradient, rank + 1)
            out.backward(gradient)
            total = total + out.detach().square().sum()
            if rank > 0:
                distributed.send(x.grad, rank - 1)
    return {"loss": total, "gradient": block.feedforward.to_out.weight.grad, "calls": traffic.calls}


def be_a_rank(rank: int, folder: Path) -> None:
    store = distributed.FileStore(str(folder / "store"), RANKS)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=RANKS, timeout=timedelta(minutes=10))
    whole: dict[str, Callable[[], None]] = {
        "ddp": lambda: ddp(MICRO),
        "pass": lambda: fsdp(MICRO),
        "micro-batch": lambda: fsdp(MICRO, keep=True),
        "bfloat16": lambda: fsdp(MICRO, half=True),
        "hybrid": lambda: fsdp(MICRO, replicate=2),
    }
    found: dict[str, Any] = {}
    for name, run in whole.items():
        with Traffic() as traffic:
            run()
        found[name] = {"calls": traffic.calls}
    group = distributed.group.WORLD
    assert group is not None
    found["tensor"] = tensor_parallel(rank, group)
    found["context"] = context_parallel(rank, group)
    found["experts"] = experts(rank, group)
    found["pipeline"] = pipeline(rank)
    x = torch.full((3,), float(rank))
    found["passed"] = pass_on(x, group)
    for result in found.values():
        if isinstance(result, dict):
            result["calls"] = [tuple(call) for call in result["calls"]]
    torch.save(found, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def alone(block: Block, x: Tensor) -> Tensor:
    """A block without positions in one process."""
    x = x + block.attention(block.attention_norm(x), mask="causal")
    return x + block.feedforward(block.feedforward_norm(x))


def attention_alone() -> tuple[Tensor, Tensor]:
    """The whole text of `context_parallel` in one process: PyTorch's attention and its gradient."""
    whole = inputs().unflatten(2, (4, 4)).transpose(1, 2).clone().requires_grad_()
    out = F.scaled_dot_product_attention(whole, whole * 0.5, whole.sin(), is_causal=True)
    out.square().sum().backward()
    assert whole.grad is not None
    return out.detach(), whole.grad
