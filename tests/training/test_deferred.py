"""A model whose numbers come later has the numbers it would have had at once, and takes the memory of a tensor."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_run import small_model
from test_parallel_kinds import PATTERN
from torch import Tensor, nn

from transformer_lib.models import DecoderLM
from transformer_lib.training.deferred import Deferred
from transformer_lib.training.hollow import hollow, is_empty, take_memory

KINDS = small_model(num_layers=5, pattern=PATTERN, tie_embeddings=True).config


def test_numbers_drawn_later_are_those_of_a_model_made_at_once() -> None:
    """Many kinds of layers, with rates that are computed of what is drawn, a tied head, and another type at the end."""
    build: Callable[[], DecoderLM] = lambda: DecoderLM(KINDS).double()  # noqa: E731
    torch.manual_seed(7)
    expected = build().state_dict()
    torch.manual_seed(7)
    later = Deferred(build)
    before = torch.get_rng_state()
    assert is_empty(later.model) and later.model.head.weight is later.model.embedding.tokens.weight
    found: dict[str, Tensor] = {}
    later.draw(lambda name, tensor: found.update({name: tensor.clone()}))
    assert torch.equal(torch.get_rng_state(), before)
    assert expected.keys() - found.keys() == {"head.weight"}, "the tied weight comes once"
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    for name, tensor in later.whole().state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_no_more_than_a_tensor_or_two_is_whole_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    later = Deferred(lambda: DecoderLM(KINDS))
    alive: list[weakref.ref[Any]] = []
    most = 0

    def take(name: str, tensor: Tensor) -> None:
        nonlocal most
        alive.append(weakref.ref(tensor.untyped_storage()))
        most = max(most, sum(one() is not None for one in alive))

    later.draw(take)
    assert len(alive) > 50 and most <= 2


def test_what_cannot_be_drawn_again_is_refused() -> None:
    def seeded() -> nn.Module:
        torch.manual_seed(3)
        return nn.Linear(2, 2)

    with pytest.raises(ValueError, match="build must leave the random generator as it is"):
        Deferred(seeded)
    with pytest.raises(TypeError, match="build must make a module, got int"):
        Deferred(lambda: 3)  # type: ignore[arg-type, return-value]
    outside = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="build must make every parameter and buffer itself; some stood before"):
        Deferred(lambda: outside).draw(lambda name, tensor: None)


def test_a_hollow_copy_is_tied_as_its_model_is_and_nan_until_it_is_filled() -> None:
    model = small_model(tie_embeddings=True)
    copy = hollow(model)
    assert is_empty(copy) and not is_empty(model)
    take_memory(copy, torch.device("cpu"))
    assert not is_empty(copy) and copy.head.weight is copy.embedding.tokens.weight
    assert all(parameter.isnan().all() for parameter in copy.parameters())
    assert [name for name, _ in copy.named_parameters()] == [name for name, _ in model.named_parameters()]
