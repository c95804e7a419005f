"""Counts what `torch.distributed` moves while code runs: each collective with its bytes, as it is called.

What is counted is what the caller hands over; how a backend sends it (a ring, a tree, through shared memory) is not
seen, and `costs.py` says what a ring makes of it. Left out: exchanges of objects, and those of other threads.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils._python_dispatch import TorchDispatchMode

from transformer_lib.contract import checked
from transformer_lib.training.costs import Collective

# The operators behind torch.distributed's functions, and which argument is the whole tensor (of a list, all of it).
OPERATORS: dict[str, tuple[Collective, int]] = {
    "allreduce_": ("all-reduce", 0),
    "_allgather_base_": ("all-gather", 0),
    "_reduce_scatter_base_": ("reduce-scatter", 1),
    "alltoall_base_": ("all-to-all", 1),
    "send": ("send", 0),
}


@checked
class Call(NamedTuple):
    """One call of a collective: its kind, and the bytes of the whole tensor."""

    collective: Collective
    size: int


@checked
class Traffic(TorchDispatchMode):
    """While it is active, notes every collective that this process takes part in, in `calls`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the call if it is a collective, and make it."""
        namespace, _, name = func.name().partition("::")
        if namespace == "c10d" and name in OPERATORS:
            collective, which = OPERATORS[name]
            whole = args[which] if isinstance(args[which], Sequence) else [args[which]]
            self.calls.append(Call(collective, sum(tensor.nbytes for tensor in whole)))
        return func(*args, **(kwargs or {}))

    def sums(self) -> dict[str, int]:
        """The bytes of each kind of collective that came."""
        kinds = {call.collective for call in self.calls}
        return {kind: sum(call.size for call in self.calls if call.collective == kind) for kind in sorted(kinds)}
