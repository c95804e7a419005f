"""Matrix products that several ranks share, from outside: which part of each module a rank computes.

Of two products in a row the first is cut by columns of its output and the second by rows of its input, so that what
lies between, heads or hidden units, stays on its rank, and one sum over ranks follows the pair (Shoeybi et al. 2019).
Torch's `parallelize_module` does it with the plan made here from the names of our modules.

W_Q, W_K and W_V are one matrix, and a rank needs the rows of its own heads of all three. So the rows are stored in
another order while the ranks train; `checkpoint.py` saves them in the model's own. Ranks that share products draw the
same dropout, as the stream between the products must be the same on all. Left out, and computed whole on each rank:
embedding and head, cross-attention, latent and linear attention, sinks, experts, LoRA.
"""

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from transformer_lib.checks import require, require_positive
from transformer_lib.contract import checked
from transformer_lib.nn.attention import Attention
from transformer_lib.nn.block import Block
from transformer_lib.nn.feedforward import FeedForward, GatedFeedForward


@checked
def tensor_plan(model: nn.Module, ranks: int) -> dict[str, ParallelStyle]:
    """How each module of the model that can be shared by `ranks` is cut, by its name.

    Raises `ValueError` if none can, or for heads or hidden units that `ranks` does not divide.
    """
    require_positive(ranks=ranks)
    plan: dict[str, ParallelStyle] = {}
    for name, block in _blocks(model).items():
        if (attention := _shared_attention(block)) is not None:
            plan |= _attention_plan(f"{name}attention", attention, ranks)
        if type(block.feedforward) in (FeedForward, GatedFeedForward):
            plan |= _feedforward_plan(f"{name}feedforward", block.feedforward, ranks)
    require(
        bool(plan), "model", "must have attention or a feed-forward part that ranks can share", type(model).__name__
    )
    return plan


@checked
def row_orders(model: nn.Module, ranks: int) -> dict[str, Tensor]:
    """For each weight whose rows are stored in another order, by its name: which row of the model's comes where.

    Rank after rank, the rows of its heads' queries, keys and values.
    """
    require_positive(ranks=ranks)
    orders: dict[str, Tensor] = {}
    for name, block in _blocks(model).items():
        if (attention := _shared_attention(block)) is not None:
            rows = torch.arange(sum(attention.heads) * attention.head_dim, device="cpu")
            parts = [
                part.chunk(ranks) for part in rows.split([heads * attention.head_dim for heads in attention.heads])
            ]
            order = torch.cat([part[rank] for rank in range(ranks) for part in parts])
            orders |= {f"{name}attention.to_qkv.{kind}": order for kind, _ in attention.to_qkv.named_parameters()}
    return orders


@checked
def share_products(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut the modules of `tensor_plan` over the ranks of a mesh with one axis; the model's weights may be on "meta".

    Each rank's attention has its share of the heads from then on. The rows must be put in the order of `row_orders`.
    """
    parallelize_module(model, mesh, tensor_plan(model, mesh.size()))
    for block in _blocks(model).values():
        if (attention := _shared_attention(block)) is not None:
            queries, keys, values = (heads // mesh.size() for heads in attention.heads)
            attention.heads = (queries, keys, values)


def _blocks(model: nn.Module) -> dict[str, Block]:
    """The blocks, by the beginning of the names of what is in them."""
    modules = model.named_modules()
    return {f"{name}." if name else "": module for name, module in modules if isinstance(module, Block)}


def _shared_attention(block: Block) -> Attention | None:
    """The block's self-attention, if it is of the kind that can be cut."""
    mixer = block.attention
    if not isinstance(mixer, Attention) or mixer.sinks is not None:
        return None
    return mixer if type(mixer.to_qkv) is type(mixer.to_out) is nn.Linear else None


def _attention_plan(name: str, attention: Attention, ranks: int) -> dict[str, ParallelStyle]:
    for heads in attention.heads[:2]:
        require(heads % ranks == 0, f"{name}: heads", f"must be divisible by the {ranks} tensor ranks", heads)
    plan: dict[str, ParallelStyle] = {f"{name}.to_qkv": ColwiseParallel(), f"{name}.to_out": RowwiseParallel()}
    if attention.to_gate is not None:
        plan[f"{name}.to_gate"] = ColwiseParallel()
    for kind, norm in (("q_norm", attention.q_norm), ("k_norm", attention.k_norm)):
        if norm is not None:
            rule = "must be of each head by itself, as ranks have some heads only"
            require(len(norm.weight) == attention.head_dim, f"{name}.{kind}", rule, len(norm.weight))
            plan[f"{name}.{kind}"] = SequenceParallel(sequence_dim=1, use_local_output=True)  # axis 1 is that of heads
    return plan


def _feedforward_plan(name: str, part: nn.Module, ranks: int) -> dict[str, ParallelStyle]:
    assert isinstance(part, FeedForward | GatedFeedForward)
    width = part.to_out.in_features
    require(width % ranks == 0, f"{name}: d_ff", f"must be divisible by the {ranks} tensor ranks", width)
    plan: dict[str, ParallelStyle] = {f"{name}.to_hidden": ColwiseParallel(), f"{name}.to_out": RowwiseParallel()}
    return plan | ({f"{name}.to_gate": ColwiseParallel()} if isinstance(part, GatedFeedForward) else {})
