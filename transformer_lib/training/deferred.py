"""A model that is described now and takes memory later, a tensor at a time, with the numbers it would have had.

The model is made on the device "meta", where tensors have a shape and no numbers, while every operation that making it
called is written down. Carrying those out in order, with the random generator as it was, gives the same numbers as
making the model at once. A tensor is handed over with the last operation on it, and a start that is drawn anew later
is not kept until then, so that about one tensor at a time is whole. Every process that wants the numbers draws all of
them: no exchange, for the time of the drawing. Left out: models whose making looks at numbers, which "meta" refuses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from transformer_lib.checks import require
from transformer_lib.contract import checked

Model = TypeVar("Model", bound=nn.Module)
META = torch.device("meta")
ANEW = {"normal_", "uniform_", "zero_", "fill_", "copy_"}  # after these, nothing of what was there before counts


class _Place(NamedTuple):
    """Where a tensor's numbers lie: in which storage, and where there."""

    storage: int
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    is_whole: bool  # whether it is all of the storage


@dataclass(frozen=True, slots=True)
class _Call:
    """One operation, with places instead of the tensors without numbers."""

    function: Any
    arguments: Any
    options: Any
    result: Any

    def places(self) -> list[_Place]:
        leaves = tree_leaves((self.arguments, self.options, self.result), is_leaf=_is_place)
        return [leaf for leaf in leaves if isinstance(leaf, _Place)]

    def begins_anew(self) -> int | None:
        """The storage that this call writes whole without reading it, if there is one."""
        name = self.function.overloadpacket.__name__
        if name not in ANEW or not isinstance(target := self.arguments[0], _Place):
            return None
        others = tree_leaves((self.arguments[1:], self.options), is_leaf=_is_place)
        read = any(isinstance(leaf, _Place) and leaf.storage == target.storage for leaf in others)
        return target.storage if target.is_whole and not read else None


@checked
class Deferred(Generic[Model]):
    """The model that `build()` makes, without its numbers in `model`, and how to get them.

    `build` draws from torch's CPU generator as it stands now, and leaves it as it is. Raises `TypeError` if it makes
    something else than a module, and `ValueError` if it sets a seed.
    """

    def __init__(self, build: Callable[[], Model]) -> None:
        self.build, self.generator = build, torch.get_rng_state()
        self._tape = _Tape()
        with META, self._tape:
            self.model = build()
        rule = "must leave the random generator as it is, so that what it draws can be drawn again; seed before"
        seeded = not torch.equal(torch.get_rng_state(), self.generator)
        torch.set_rng_state(self.generator)
        require(not seeded, "build", rule, "another seed")
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"build must make a module, got {type(self.model).__name__}")

    def draw(self, take: Callable[[str, Tensor], None], *, generator: Tensor | None = None) -> None:
        """Call `take(name, tensor)` once for each parameter and buffer, in the order in which they are finished.

        A tied weight comes once, under the first of its names. `generator` is the state to draw from in the place of
        that at the beginning. Torch's own generators stay as they are.
        """
        wanted: dict[int, list[tuple[str, _Place]]] = {}
        for name, tensor in _tensors(self.model).items():
            place = self._tape.place(tensor)
            wanted.setdefault(place.storage, []).append((name, place))
        made = {place.storage for call in self._tape.calls for place in call.places()}
        rule = "must make every parameter and buffer itself; some stood before"
        require(wanted.keys() <= made, "build", rule, [one[0][0] for key, one in wanted.items() if key not in made])
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.set_rng_state(self.generator if generator is None else generator)
            _carry_out(self._tape.calls, wanted, take)

    def whole(self) -> Model:
        """The model made at once, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.generator)
            return self.build()


class _Tape(TorchDispatchMode):
    """Writes down what is called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self._kept: dict[int, Any] = {}  # storages, so that no other gets the address of one of them

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        before = tree_map(self._noted, (args, options))
        result = func(*args, **options)
        self.calls.append(_Call(func, before[0], before[1], tree_map(self._noted, result)))
        return result

    def _noted(self, value: Any) -> Any:
        return self.place(value) if isinstance(value, Tensor) and value.is_meta else value

    def place(self, tensor: Tensor) -> _Place:
        storage = tensor.untyped_storage()
        self._kept[storage._cdata] = storage
        whole = tensor.numel() * tensor.itemsize == storage.nbytes()
        return _Place(storage._cdata, tensor.shape, tensor.stride(), int(tensor.storage_offset()), tensor.dtype, whole)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _is_place(value: Any) -> bool:
    return isinstance(value, _Place)


def _carry_out(
    calls: list[_Call], wanted: dict[int, list[tuple[str, _Place]]], take: Callable[[str, Tensor], None]
) -> None:
    """The calls in order, with real tensors; each storage goes when what it holds is not needed any more."""
    real: dict[int, torch.UntypedStorage] = {}
    for call, released in zip(calls, _releases(calls), strict=True):
        arguments, options = tree_map(lambda v: _tensor(v, real), (call.arguments, call.options), is_leaf=_is_place)
        if "device" in options:
            options["device"] = torch.device("cpu")
        result = call.function(*arguments, **options)
        for place, tensor in zip(tree_leaves(call.result, is_leaf=_is_place), tree_leaves(result), strict=True):
            if isinstance(place, _Place):
                real.setdefault(place.storage, tensor.untyped_storage())
        del arguments, options, result
        for storage, finished in released:
            for name, place in wanted.get(storage, ()) if finished else ():
                take(name, _tensor(place, real))
            real.pop(storage, None)


def _releases(calls: list[_Call]) -> list[list[tuple[int, bool]]]:
    """After each call, the storages that can go, and whether that was the last call on them."""
    releases: list[list[tuple[int, bool]]] = []
    needed: dict[int, bool] = {}  # of each storage that is met later: whether the next call reads what is there
    for call in reversed(calls):
        storages = dict.fromkeys(place.storage for place in call.places())
        releases.append([(key, key not in needed) for key in storages if not needed.get(key, False)])
        needed |= dict.fromkeys(storages, True)
        if (anew := call.begins_anew()) is not None:
            needed[anew] = False
    return releases[::-1]


def _tensor(value: Any, real: dict[int, torch.UntypedStorage]) -> Any:
    """The real tensor at a place; whatever is no place stays as it is."""
    if not isinstance(value, _Place):
        return value
    if value.storage not in real:  # about to be written whole
        count = math.prod(value.shape)
        real[value.storage] = torch.empty(count, dtype=value.dtype, device="cpu").untyped_storage()
    empty = torch.empty(0, dtype=value.dtype, device="cpu")
    return empty.set_(real[value.storage], value.offset, value.shape, value.stride)
