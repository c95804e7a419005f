"""Running blocks again changes memory and nothing else: not the gradient, not the dropout, not the state dict."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_run import next_token_loss, run_in_a_process, small_batches, small_config, small_model
from torch import Tensor, nn

from transformer_lib.config import Experts, Mlp, Seq2SeqConfig
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.nn import Block
from transformer_lib.nn.router import Load
from transformer_lib.training import keep_blocks, recompute_blocks, train


def deep_model(layers: int = 2) -> DecoderLM:
    return small_model(num_layers=layers, d_model=32, feedforward=Mlp(d_ff=128), max_length=64).double()


def tokens(time: int = 64) -> Tensor:
    return torch.randint(1, 23, (4, time), generator=torch.Generator().manual_seed(0))


def gradients(model: nn.Module, loss: Callable[[], Tensor]) -> list[Tensor]:
    model.zero_grad()
    torch.manual_seed(5)
    loss().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_gradients_are_equal_bit_for_bit_with_dropout_and_undone_too(bfloat16: bool) -> None:
    model = deep_model().float() if bfloat16 else deep_model()
    runs = count_calls(model.blocks[1].feedforward)

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return next_token_loss(model, (tokens(), tokens())).total

    kept = gradients(model, loss)
    recompute_blocks(model)
    again = gradients(model, loss)
    assert runs == [1, 1, 1], "once, then once more on the way back"
    keep_blocks(model)
    assert same(kept, again) and same(kept, gradients(model, loss)) and len(runs) == 4
    model.eval()
    assert not same(kept, gradients(model, loss)), "dropout was on"


def test_tokens_that_are_read_again_are_counted_once() -> None:
    experts = Experts(num_experts=4, top_k=2, d_ff=8)
    model = DecoderLM(dataclasses.replace(deep_model().config, feedforward=experts)).double()
    found = []
    for recomputed in (False, True):
        if recomputed:
            recompute_blocks(model)
        loads = model.new_loads()

        def loss(loads: list[Load | None] = loads) -> Tensor:
            balance = [load.balancing_loss() for load in loads if load is not None]
            assert not any(balance), "nothing is counted yet"
            logits = model(tokens(), loads=loads)
            return logits.square().mean() + sum(load.balancing_loss() for load in loads if load is not None)

        found.append((gradients(model, loss), loads))
    (kept, once), (again, twice) = found
    assert same(kept, again)
    for one, other in zip(once, twice, strict=True):
        assert one is not None and other is not None and int(other.tokens) == 4 * 64
        assert torch.equal(one.counts, other.counts) and torch.equal(one.probabilities, other.probabilities)


def count_calls(module: nn.Module) -> list[int]:
    calls: list[int] = []
    module.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def test_an_encoder_and_a_decoder_that_looks_at_it_have_equal_gradients() -> None:
    config = small_model(num_layers=2).config
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(encoder=config, decoder=config)).double()
    valid = torch.ones(4, 8, dtype=torch.bool)
    valid[1, 5:] = False

    def loss() -> Tensor:
        logits = model(tokens(8), tokens(8), source_valid=valid)
        return next_token_loss(lambda _: logits, (tokens(8), tokens(8))).total

    kept = gradients(model, loss)
    recompute_blocks(model)
    assert same(kept, gradients(model, loss))


def saved_bytes(model: nn.Module) -> int:
    """What autograd keeps for the backward pass: each storage once, and without the weights."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = next_token_loss(model, (tokens(), tokens()))
    size = sum(storage.nbytes() for storage in kept.values())
    loss.total.backward()
    return size


def test_each_block_keeps_its_input_and_no_more() -> None:
    """Eight blocks together keep a tenth or less of what they did."""
    plain = saved_bytes(deep_model(8))
    sizes = {}
    for layers in (2, 4, 8):
        model = deep_model(layers)
        recompute_blocks(model)
        sizes[layers] = saved_bytes(model)
    one_input = 4 * 64 * 32 * 8  # batch, time, d_model, bytes of a float64
    assert sizes[4] - sizes[2] == 2 * one_input and sizes[8] - sizes[4] == 4 * one_input
    assert plain > 10 * sizes[8]


def test_the_model_is_otherwise_as_it_was() -> None:
    model, plain = small_model(), small_model()
    recompute_blocks(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_modules()] == [name for name, _ in plain.named_modules()]
    ends = [train(one, next_token_loss, small_batches(), small_config(steps=3)).model for one in (model, plain)]
    assert same(*(list(end.parameters()) for end in ends))
    runs = count_calls(model.blocks[0])
    cache = model.new_cache(4, 8)
    logits = torch.cat([model.eval()(part, cache=cache) for part in tokens(8).split([5, 3], dim=1)], dim=1)
    torch.testing.assert_close(logits, plain.eval()(tokens(8)), atol=1e-5, rtol=0)
    assert len(runs) == 2


def test_a_copy_is_recomputed_with_its_own_weights() -> None:
    model = deep_model()
    recompute_blocks(model)
    other = copy.deepcopy(model)
    nn.init.zeros_(other.blocks[0].attention.to_out.weight)
    expected = deep_model()
    expected.load_state_dict(other.state_dict())
    both = [gradients(one, lambda one=one: one(tokens()).square().sum()) for one in (other, expected)]
    assert same(*both)


def test_a_compiled_model_is_recomputed_without_a_graph_break() -> None:
    run_in_a_process(compile_and_compare)  # free of the tests' type checker, which dynamo cannot trace


def compile_and_compare() -> None:
    ends = []
    for recomputed in (False, True):
        model = deep_model()
        if recomputed:
            recompute_blocks(model)
        model.compile(backend="aot_eager", fullgraph=True)
        size = saved_bytes(model)
        loss = lambda model=model: next_token_loss(model, (tokens(), tokens())).total  # noqa: E731
        ends.append((size, gradients(model, loss)))
    assert same(ends[0][1], ends[1][1]), "with dropout"
    assert ends[0][0] > 3 * ends[1][0]


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match="model must have a Block, got 'Linear'"):
        recompute_blocks(nn.Linear(2, 2))
    model = small_model()
    with pytest.raises(ValueError, match="model must have been recomputed, got 'DecoderLM'"):
        keep_blocks(model)
    recompute_blocks(model)
    with pytest.raises(ValueError, match=r"model must not be recomputed already; these blocks are, got \['blocks.0'\]"):
        recompute_blocks(model)
    assert isinstance(model.blocks[0], Block)
