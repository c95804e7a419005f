"""What each form of annotation accepts, the words in which the rest is refused, and where the decorators check."""

import collections.abc as abc
import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor, nn

from tests.oracles import CONFIG, unchecked
from transformer_lib import contract, kinds
from transformer_lib.config import Alibi, Mlp, ModelConfig, Rope, SwiGlu
from transformer_lib.contract import checked, checked_once
from transformer_lib.models import DecoderLM

Item = TypeVar("Item")


class Named(Protocol):
    """Whatever has a name and can be called."""

    name: str

    def __call__(self, x: int) -> int:
        """Anything."""


class HasName:
    """Follows the protocol without saying so."""

    name = "a"

    def __call__(self, x: int) -> int:
        return x


NAN, ONES = math.nan, torch.ones(2, 3)
ACCEPTED: list[tuple[Any, list[Any], list[Any]]] = [
    # annotation, what it accepts, what it refuses
    (
        int,
        [0, -1, 2**63 - 1, -(2**63)],
        [True, 1.0, "1", None, 2**63, -(2**63) - 1, 10**30, np.int64(1), torch.ones(())],
    ),
    (float, [0.5, 1, math.inf, np.float64(0.5)], [NAN, True, "1", None, 10**400, 2**63, 1j, torch.ones(())]),
    (bool, [True, False], [0, 1, None, "True", np.True_]),
    (str, ["", "a"], [b"a", None, 1, ["a"]]),
    (None, [None], [0, False, ""]),
    (Any, [None, 1, NAN], []),
    (object, [None, 1, NAN], []),
    (Item, [None, 1], []),
    (Literal["a", "b"], ["a", "b"], ["c", None, 1, ["a"]]),
    (Literal[1, None], [1, None], [True, 1.0, 2]),
    (int | None, [1, None], [0.5, True, "1"]),
    (int | float, [1, 0.5], [NAN, True, None]),
    (Mlp | SwiGlu, [Mlp(d_ff=1), SwiGlu(d_ff=1)], [None, Mlp, CONFIG]),
    (int | str | None, [1, "a", None], [0.5, ["a"]]),
    (Sequence[int], [[], [1], (1, 2), range(3)], ["12", b"12", [1, None], [0.5], {1}, iter([1]), 1, torch.ones(2)]),
    (Sequence[str], [["a"], ("a",)], ["a", [1], [["a"]], None]),
    (Sequence[Sequence[int]], [[[1], []]], [[1], [["a"]], ["ab"]]),
    (Sequence[Any], [[1, "a"]], ["a", 1]),
    (Iterable[int], [[1], {1}, iter(["not looked at"])], [["a"], {"a"}, 1, "a"]),
    (Iterator[int], [iter(["not looked at"])], [[1], None]),
    (Mapping[str, int], [{}, {"a": 1}], [{1: 1}, {"a": "b"}, [("a", 1)], None]),
    (dict[str, Float[ndarray, "..."]], [{"a": np.ones(2)}], [{"a": np.arange(2)}, {"a": ONES}, {"a": None}]),
    (tuple[int, float], [(1, 0.5)], [(1,), (1, 0.5, 2), [1, 0.5], (1, "a"), (1, NAN)]),
    (tuple[int, ...], [(), (1, 2)], [(1, "a"), [1], 1]),
    (set[str], [{"a"}], [{1}, ["a"]]),
    (list[int], [[1]], [(1,), ["a"]]),
    (type[int], [int, bool], [1, None]),
    (Callable[[int], int], [abs, HasName(), lambda x: x], [None, "abs", 1]),
    (abc.Callable, [abs], [None]),
    (Named, [HasName()], [HasName, None, abs, "a"]),
    (nn.Module, [nn.Linear(1, 1)], [nn.Linear, None, abs]),
    (Path, [Path("a")], ["a", None]),
    (torch.device | str, ["cpu", "cuda:1", torch.device("meta")], ["", "nonsense", "cpu:x", None, 0, b"cpu"]),
    (torch.dtype | None, [torch.float32, None], ["float32", float]),
    (Tensor, [ONES], [[1.0], np.ones(2), None]),
    (
        Float[Tensor, "batch time"],
        [ONES, ONES.half(), ONES.double()],
        [ONES.long(), ONES[0], ONES[None], np.ones((2, 3))],
    ),
    (Float[ndarray, "batch time"], [np.ones((2, 3))], [ONES, np.ones(2), np.ones((2, 3), dtype=int), [[1.0]]]),
    (Float[Tensor, ""], [torch.ones(())], [ONES, 1.0]),
    (Float[Tensor, "*batch width"], [ONES, ONES[0], ONES[None]], [torch.ones(())]),
    (Float[Tensor, "..."], [ONES, torch.ones(())], [ONES.long(), None]),
    (Int[Tensor, "#batch time"], [ONES.long(), ONES.int()], [ONES, ONES.bool(), ONES.long()[0]]),
    (Bool[Tensor, "_query _key"], [ONES.bool()], [ONES, ONES.long()]),
    (Float[Tensor, " width"] | None, [ONES[0], None], [ONES, 1.0]),
]


@pytest.mark.parametrize(("annotation", "right", "wrong"), ACCEPTED, ids=[str(case[0])[:50] for case in ACCEPTED])
def test_what_an_annotation_accepts(annotation: Any, right: list[Any], wrong: list[Any]) -> None:
    accepts = kinds.accepts(annotation)
    assert [value for value in right if not accepts(value)] == []
    assert [value for value in wrong if accepts(value)] == []
    for value in wrong:
        with pytest.raises((ValueError, TypeError), match=r"^(a key of )?x(\[.*\])? must "):
            kinds.refuse("x", annotation, value)


WORDS: list[tuple[Any, Any, type[Exception], str]] = [
    (int, "a", TypeError, "x must be a whole number, got 'a' of type str"),
    (int, True, TypeError, "x must be a whole number, got True of type bool"),
    (int, 2**63, ValueError, "x must be a whole number of at most 64 bits, got 9223372036854775808"),
    (float, 2**63, ValueError, "x must be a whole number of at most 64 bits, got 9223372036854775808"),
    (float, NAN, ValueError, "x must not be NaN, got nan"),
    (float | None, NAN, ValueError, "x must not be NaN, got nan"),
    (float | None, "a", TypeError, "x must be a number or None, got 'a' of type str"),
    (bool, 1, TypeError, "x must be True or False, got 1 of type int"),
    (Literal["a", "b"], "c", ValueError, "x must be one of 'a', 'b', got 'c'"),
    (Literal["a", "b"], 1, TypeError, "x must be one of 'a', 'b', got 1 of type int"),
    (Mlp | SwiGlu, 1, TypeError, "x must be a Mlp or a SwiGlu, got 1 of type int"),
    (Alibi, None, TypeError, "x must be an Alibi, got None of type NoneType"),
    (Sequence[int], "12", TypeError, "x must be a list of whole numbers, got '12' of type str"),
    (Sequence[int], [1, "a"], TypeError, "x[1] must be a whole number, got 'a' of type str"),
    (Sequence[Sequence[float]], [[1.0], [NAN]], ValueError, "x[1][0] must not be NaN, got nan"),
    (Iterable[str], 1, TypeError, "x must be a collection of strings, got 1 of type int"),
    (Mapping[str, int], [], TypeError, "x must be a dict, got [] of type list"),
    (Mapping[str, int], {"a": "b"}, TypeError, "x['a'] must be a whole number, got 'b' of type str"),
    (Mapping[str, int], {1: 1}, TypeError, "a key of x must be a string, got 1 of type int"),
    (tuple[int, str], (1,), ValueError, "x must have 2 parts, got (1,)"),
    (tuple[int, str], (1, 2), TypeError, "x[1] must be a string, got 2 of type int"),
    (tuple[int, ...], (1, "a"), TypeError, "x[1] must be a whole number, got 'a' of type str"),
    (Callable[[int], int], 1, TypeError, "x must be a function, got 1 of type int"),
    (Named, 1, TypeError, "x must be a Named, got 1 of type int"),
    (torch.device | str, "gpu", ValueError, "x must be the name of a device, got 'gpu'"),
    (torch.device | str, 1, TypeError, "x must be a device or a string, got 1 of type int"),
    (Float[Tensor, "batch time"], [1], TypeError, "x must be a Tensor, got [1] of type list"),
    (Float[Tensor, "batch time"], ONES[0], ValueError, "x must have the axes batch, time, got (3,)"),
    (Float[Tensor, ""], ONES, ValueError, "x must be a single number, got (2, 3)"),
    (Float[Tensor, "batch time"], ONES.long(), ValueError, "x must have a floating-point type, got 'int64'"),
    (Int[Tensor, "batch time"], ONES, ValueError, "x must have an integer type, got 'float32'"),
    (Bool[Tensor, "batch time"], ONES, ValueError, "x must have boolean type, got 'float32'"),
    (str, "a" * 10**6, TypeError, ""),
]


@pytest.mark.parametrize(
    ("annotation", "value", "error", "message"), WORDS[:-1], ids=[str(case[0])[:50] for case in WORDS[:-1]]
)
def test_the_words_of_a_refusal(annotation: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        kinds.refuse("x", annotation, value)
    assert type(caught.value) is error
    assert str(caught.value) == message


def test_a_message_never_holds_ten_megabytes() -> None:
    with pytest.raises(TypeError) as caught:
        kinds.refuse("x", int, "a" * 10**7)
    assert len(str(caught.value)) < 400 and "(10000002 characters)" in str(caught.value)


def test_a_value_that_cannot_be_shown_is_refused_all_the_same() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("not even this")

    with pytest.raises(TypeError, match=r"x must be a whole number, got <.*Broken> of type .*Broken"):
        kinds.refuse("x", int, Broken())


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("", ()),
        ("batch 3", (kinds.Axis("batch"), kinds.Axis(length=3))),
        ("#batch _any", (kinds.Axis("batch", broadcast=True), kinds.Axis())),
        ("... width", (kinds.Axis(spread=True), kinds.Axis("width"))),
        ("*batch 1", (kinds.Axis("batch", spread=True), kinds.Axis(length=1))),
        ("*#batch *_", (kinds.Axis(spread=True), kinds.Axis(spread=True))),
        ("_ time+1", (kinds.Axis(), kinds.Axis())),
    ],
)
def test_the_axes_of_an_annotation(text: str, axes: tuple[kinds.Axis, ...]) -> None:
    array = Float[Tensor, text] if text.count("*") < 2 else type("Array", (), {"dim_str": text})
    assert kinds.axes_of(array) == axes


# The axes of several arguments ---------------------------------------------------------------------------------------


@checked
def multiply(
    x: Float[Tensor, "*batch in"],
    weight: Float[Tensor, "out in"],
    bias: Float[Tensor, " out"] | None = None,
    mask: Bool[Tensor, "#rows 2"] | None = None,
    rows: Int[Tensor, " rows"] | None = None,
    *rest: int,
    scale: float = 1.0,
    **others: Any,
) -> Tensor:
    """A linear map, so that there is something to annotate."""
    return nn.functional.linear(x, weight, bias) * scale


def refused(error: type[Exception], message: str, call: Callable[[], object]) -> None:
    with unchecked(), pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_axes_of_one_name_have_one_length() -> None:
    x, weight = torch.ones(4, 3), torch.ones(5, 3)
    assert multiply(x, weight, torch.ones(5)).shape == (4, 5)
    assert multiply(x[0], weight, scale=2, other=NAN).shape == (5,)
    same = "must have the same {} as the arguments before it, {}, got {}"
    refused(ValueError, "weight " + same.format("in", 3, 2), lambda: multiply(x, weight[:, :2]))
    refused(ValueError, "bias " + same.format("out", 5, 4), lambda: multiply(x, weight, bias=torch.ones(4)))
    refused(ValueError, "bias must have the axes out, got (1, 5)", lambda: multiply(x, weight, torch.ones(1, 5)))


def test_axes_of_fixed_length_and_axes_that_may_be_one() -> None:
    x, weight, ones = torch.ones(4, 3), torch.ones(5, 3), torch.ones(6, 2).bool()
    multiply(x, weight, None, ones, torch.zeros(6, dtype=torch.long))
    multiply(x, weight, None, ones[:1], torch.zeros(6, dtype=torch.long))
    wrong = "mask must have an axis of length 2 there, got (6, 1)"
    refused(ValueError, wrong, lambda: multiply(x, weight, mask=ones[:, :1]))
    wrong = "rows must have the same rows as the arguments before it, 6, got 5"
    refused(ValueError, wrong, lambda: multiply(x, weight, mask=ones, rows=torch.zeros(5, dtype=torch.long)))


def test_any_number_of_axes_agrees_as_a_whole() -> None:
    @checked
    def add(x: Float[ndarray, "*batch width"], targets: Int[ndarray, "*batch"]) -> None:
        """Nothing."""

    add(np.ones((2, 3, 4)), np.zeros((2, 3), dtype=int))
    add(np.ones(4), np.array(0))
    wrong = "targets must have the same batch as the arguments before it, (2, 3), got (2,)"
    refused(ValueError, wrong, lambda: add(np.ones((2, 3, 4)), np.zeros(2, dtype=int)))


def test_the_tensors_of_a_call_lie_on_one_device() -> None:
    x, weight = torch.ones(4, 3), torch.ones(5, 3, device="meta")
    refused(
        ValueError, "weight must be on the device of the other tensors, cpu, got 'meta'", lambda: multiply(x, weight)
    )

    @checked
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(1, 1)

        def forward(self, x: Float[Tensor, "..."]) -> Tensor:
            return x * 2

    wrong = "x must be on the device of the other tensors, cpu, got 'meta'"
    refused(ValueError, wrong, lambda: Scaled()(weight))
    assert Scaled().to("meta")(weight).is_meta
    assert Scaled()(torch.ones((), device="meta")).is_meta  # a single number may lie elsewhere


def test_arguments_by_place_by_name_and_the_rest() -> None:
    x, weight = torch.ones(4, 3), torch.ones(5, 3)
    refused(ValueError, "scale must not be NaN, got nan", lambda: multiply(x, weight, scale=NAN))
    refused(TypeError, "x must be a Tensor, got None of type NoneType", lambda: multiply(None, weight=weight))
    wrong = "rest must be a whole number, got 'b' of type str"
    refused(TypeError, wrong, lambda: multiply(x, weight, None, None, None, 1, "b"))
    refused(TypeError, "multiply() missing 1 required positional argument: 'weight'", lambda: multiply(x))


# What is decorated ----------------------------------------------------------------------------------------------------


@checked
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    width: int
    name: str | None = None


@checked
class Pair(NamedTuple):
    first: int
    second: "str" = "a"


@checked
class Base:
    def __init__(self, width: int) -> None:
        self.width = width

    def widen(self, by: int) -> int:
        return self.width + by

    def _private(self, by: int) -> Any:
        return by

    @classmethod
    def of(cls, width: int) -> "Base":
        return cls(width)

    @staticmethod
    def double(width: int) -> int:
        return 2 * width

    @property
    def size(self) -> int:
        return self.width

    borrowed = staticmethod(multiply)


class Derived(Base):
    """Defines nothing of its own that is checked."""

    def widen(self, by: Any) -> Any:
        return by


WIDTH, BY = ("width must be a whole number, got 'a' of type str", "by must be a whole number, got 'a' of type str")


def test_dataclasses_and_named_tuples() -> None:
    assert Sized(width=1).width == 1 and dataclasses.replace(Sized(width=1), width=2).width == 2
    refused(TypeError, WIDTH, lambda: Sized(width="a"))
    refused(TypeError, WIDTH, lambda: dataclasses.replace(Sized(width=1), width="a"))
    assert Pair(1, second="b") == (1, "b") and Pair(2)._replace(first=3).first == 3
    refused(TypeError, "first must be a whole number, got 'a' of type str", lambda: Pair("a"))
    refused(TypeError, "second must be a string, got 1 of type int", lambda: Pair(1, second=1))


@pytest.mark.parametrize("cls", [Base, Derived])
def test_classes_and_what_derives_from_them(cls: type[Base]) -> None:
    assert (cls(1).size, cls.of(2).width, cls.double(3), cls(1)._private("a")) == (1, 2, 6, "a")
    assert type(cls.of(2)) is cls
    refused(TypeError, WIDTH, lambda: cls("a"))
    refused(TypeError, WIDTH, lambda: cls.of("a"))
    refused(TypeError, WIDTH, lambda: cls.double("a"))
    refused(TypeError, BY, lambda: Base(1).widen("a"))
    assert Derived(1).widen("a") == "a"


def test_a_function_that_a_class_borrows_is_checked_once() -> None:
    assert Base.borrowed is multiply


def test_what_is_decorated_stays_what_it_was() -> None:
    assert multiply.__name__ == "multiply" and multiply.__doc__ == inspect.unwrap(multiply).__doc__
    assert list(inspect.signature(Sized).parameters) == ["width", "name"]
    assert Base(1).widen(by=2) == 3


@pytest.mark.parametrize("decorator", [checked, checked_once])
def test_what_cannot_be_called_cannot_be_checked(decorator: Any) -> None:
    refused(TypeError, "target must be a function or a class, got 3 of type int", lambda: decorator(3))


def test_names_that_exist_only_for_the_type_checker_stand_in_what_is_given_back() -> None:
    def late(x: "int") -> "nowhere.Figure":
        return x

    assert kinds.annotations_of(late) == {"x": int}


# Once ----------------------------------------------------------------------------------------------------------------


@checked_once
def inner(width: int) -> Any:
    return width


@checked_once
def outer(width: int) -> Any:
    return inner(f"{width}")


@checked_once
def failing(width: int) -> Any:
    raise RuntimeError("in the middle")


def test_calls_within_a_call_are_not_checked_again() -> None:
    assert outer(1) == "1"
    refused(TypeError, WIDTH, lambda: outer("a"))
    refused(TypeError, WIDTH, lambda: inner("a"))


def test_an_error_does_not_end_the_checking() -> None:
    with unchecked(), pytest.raises(RuntimeError, match="in the middle"):
        failing(1)
    refused(TypeError, WIDTH, lambda: inner("a"))


def test_compiled_code_is_not_checked_and_not_broken() -> None:
    """One graph, without the decorator's own reads and branches among its operations."""
    with unchecked():
        model = DecoderLM(dataclasses.replace(CONFIG, positions=Rope())).eval()
        tokens = torch.zeros(1, 4, dtype=torch.long)
        explained = torch._dynamo.explain(model)(tokens)
        assert (explained.graph_count, explained.graph_break_count) == (1, 0)
        guards = " ".join(str(guard.code_list) for guard in explained.out_guards)
        assert "_nested" not in guards
        with torch.no_grad():
            compiled = torch.compile(model, fullgraph=True, backend="eager")
            torch.testing.assert_close(compiled(tokens), model(tokens))


def test_a_config_is_checked_by_its_annotations() -> None:
    assert all(hasattr(vars(cls)["__init__"], "checks_its_arguments") for cls in (ModelConfig, Mlp, Rope))
    assert contract.MAKERS == ("__new__", "__init__", "__call__")
