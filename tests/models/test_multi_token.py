"""Heads for further tokens against a head made of transformers' layers, and the laws that all models keep."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from tests.models.huggingface import to_llama
from tests.oracles import CONFIG, carry_over, integers, randomise, rejects
from transformer_lib.config import Experts, Learned, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM, MultiTokenLM
from transformer_lib.nn.further import FurtherHead
from transformer_lib.training import token_loss
from transformer_lib.training.further import multi_token_loss

LLAMA = dataclasses.replace(CONFIG, norm=Norm(kind="rms", eps=1e-6), positions=Rope(theta=500.0), tie_embeddings=False)
FAMILIES = [
    LLAMA,
    dataclasses.replace(CONFIG, positions=Learned(), feedforward=Experts(num_experts=4, top_k=2, d_ff=8)),
]


def theirs(layers: int) -> LlamaForCausalLM:
    shared = {"vocab_size": 13, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
    more = {"num_key_value_heads": 2, "rope_theta": 500.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": False}
    return LlamaForCausalLM(LlamaConfig(**shared, **more, num_hidden_layers=layers, max_position_embeddings=24)).eval()


def as_decoder(model: MultiTokenLM, head: FurtherHead) -> DecoderLM:
    """A decoder of one layer, that of the head, between the model's embedding and its output head."""
    alone = DecoderLM(head.config)
    alone.blocks = nn.ModuleList([head.block])
    alone.embedding, alone.head, alone.final_norm = model.model.embedding, model.model.head, head.out_norm
    return alone


def test_logits_are_those_of_transformers_layers() -> None:
    model = randomise(MultiTokenLM(DecoderLM(LLAMA), further=2), dtype=torch.float32)
    trunk = carry_over(model.model, theirs(2), to_llama(LLAMA))
    tokens = integers(13, 3, 9)
    states = trunk.model(tokens).last_hidden_state
    mine = model.ahead(tokens)
    torch.testing.assert_close(mine[0], trunk(tokens).logits, atol=1e-5, rtol=1e-5)
    for k, head in enumerate(model.heads, start=1):
        assert isinstance(head, FurtherHead)
        layer = carry_over(as_decoder(model, head), theirs(1), to_llama(head.config))
        out_norm, layer.model.norm = layer.model.norm, nn.Identity()
        both = (states[:, :-1], head.state_norm), (trunk.model.embed_tokens(tokens[:, k:]), head.token_norm)
        normed = [F.rms_norm(vectors, (16,), norm.weight, eps=1e-6) for vectors, norm in both]
        joined = torch.cat(normed, dim=-1) @ head.join.weight.T
        states = layer.model(inputs_embeds=joined).last_hidden_state
        torch.testing.assert_close(mine[k], layer.lm_head(out_norm(states)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", FAMILIES)
def test_each_head_sees_the_tokens_before_its_own_and_no_other(config: ModelConfig) -> None:
    model = randomise(MultiTokenLM(DecoderLM(config), further=2))
    tokens = integers(13, 1, 8)
    before = model.ahead(tokens)
    for at in range(8):
        changed = tokens.clone()
        changed[0, at] = (changed[0, at] + 1) % 13
        for k, (old, new) in enumerate(zip(before, model.ahead(changed), strict=True)):
            same = torch.isclose(old, new, atol=1e-10, rtol=0).all(dim=-1)[0]
            assert same[: max(0, at - k)].all() and not same[max(0, at - k) :].any()


@pytest.mark.parametrize("config", FAMILIES)
def test_padding_on_the_left_changes_nothing(config: ModelConfig) -> None:
    model = randomise(MultiTokenLM(DecoderLM(config), further=2))
    tokens = integers(13, 1, 7)
    valid = torch.ones(1, 7, dtype=torch.bool)
    padded, real = F.pad(tokens, (3, 0)), F.pad(valid, (3, 0))
    for mine, alone in zip(model.ahead(padded, valid=real), model.ahead(tokens), strict=True):
        torch.testing.assert_close(mine[:, 3:], alone, atol=1e-10, rtol=0)


@pytest.mark.parametrize("config", FAMILIES)
def test_steps_behind_a_cache_give_what_one_pass_gives(config: ModelConfig) -> None:
    model = randomise(MultiTokenLM(DecoderLM(config), further=2))
    tokens = integers(13, 2, 9)
    whole = model.ahead(tokens)
    states, caches = model.model.hidden(tokens), model.head_caches(2, 9)
    pieces: list[list[Tensor]] = [[], []]
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        made = states[:, start:stop]
        for index, cache in enumerate(caches):
            made = model.step(index, made, tokens[:, start + index + 1 : stop + index + 1], start, cache)
            pieces[index].append(model.logits_of(index, made))
    for index, found in enumerate(pieces):
        torch.testing.assert_close(torch.cat(found, dim=1), whole[index + 1][:, :7], atol=1e-10, rtol=0)


def test_the_loss_is_that_of_pytorch_for_each_head() -> None:
    model = randomise(MultiTokenLM(DecoderLM(CONFIG), further=2))
    tokens = integers(13, 3, 9)
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[1, 3:] = -100
    loss = multi_token_loss(model.ahead(inputs), targets, weight=0.3)
    expected = torch.zeros((), dtype=torch.float64)
    for k, weight in ((0, 1.0), (1, 0.15), (2, 0.15)):
        logits = model.ahead(inputs)[k].flatten(0, 1)
        expected += weight * F.cross_entropy(logits, targets[:, k:].flatten(), reduction="sum")
    torch.testing.assert_close(loss.total, expected, atol=1e-10, rtol=0)
    assert loss.count == (targets != -100).sum()
    loss.mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_without_weight_the_heads_do_not_reach_the_decoder() -> None:
    model = randomise(MultiTokenLM(DecoderLM(CONFIG), further=1))
    tokens = integers(13, 2, 9)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    multi_token_loss(model.ahead(inputs), targets, weight=0.0).total.backward()
    mine = {name: weight.grad for name, weight in model.model.named_parameters()}
    assert not any(weight.grad is not None and weight.grad.any() for weight in model.heads.parameters())
    model.zero_grad()
    token_loss(model.model(inputs), targets).total.backward()
    for name, weight in model.model.named_parameters():
        torch.testing.assert_close(mine[name], weight.grad, atol=1e-10, rtol=0)


def test_it_is_the_decoder_where_nobody_asks_for_more() -> None:
    model = randomise(MultiTokenLM(DecoderLM(CONFIG), further=2))
    tokens = integers(13, 2, 6)
    assert torch.equal(model(tokens), model.model(tokens))
    assert model.config is CONFIG and model.context == model.model.context
    assert {name.partition(".")[0] for name in model.state_dict()} == {"model", "heads"}


def test_loads_are_told_apart_by_layer_and_by_head() -> None:
    model = randomise(MultiTokenLM(DecoderLM(FAMILIES[1]), further=2))
    loads = model.new_loads()
    model.ahead(integers(13, 3, 8), loads=loads)
    assert [int(load.tokens) for load in loads if load is not None] == [24, 24, 21, 18]


def test_bad_input() -> None:
    with rejects("further", "at least 1", "0"):
        MultiTokenLM(DecoderLM(CONFIG), further=0)
    with rejects("further", "below 24", "24"):
        MultiTokenLM(DecoderLM(CONFIG), further=24)
    model = randomise(MultiTokenLM(DecoderLM(CONFIG), further=2))
    with rejects("tokens", "more than the 2 that the heads look ahead", "2"):
        model.ahead(integers(13, 1, 2))
    with rejects("loads", "each of 4 blocks", "2"):
        model.ahead(integers(13, 1, 5), loads=[None, None])
    with rejects("index", "one of 2 heads", "2"):
        model.logits_of(2, torch.zeros(1, 16, dtype=torch.float64))
    with rejects("states", "vectors of 16 numbers"):
        model.heads[0](torch.zeros(1, 2, 8).double(), torch.zeros(1, 2, 8).double(), torch.arange(2)[None])
    logits = model.ahead(integers(13, 1, 5))
    with rejects("weight", "from 0 to", "-1"):
        multi_token_loss(logits, integers(13, 1, 5), weight=-1.0)
    with rejects("logits", "at least one further", "1"):
        multi_token_loss(logits[:1], integers(13, 1, 5))
    with rejects("logits", "one vocabulary", "[13, 12, 13]"):
        multi_token_loss((logits[0], logits[1][..., 1:], logits[2]), integers(13, 1, 5))
    with rejects("targets", "logits' shape"):
        multi_token_loss(logits, integers(13, 1, 4))


def test_a_head_of_another_layer_is_that_of_the_last_one() -> None:
    wide = dataclasses.replace(CONFIG, feedforward=SwiGlu(d_ff=32))
    model = MultiTokenLM(DecoderLM(wide))
    own = sum(weight.numel() for weight in model.heads.parameters())
    layer = sum(weight.numel() for weight in model.model.blocks[-1].parameters())
    norm = sum(weight.numel() for weight in model.model.final_norm.parameters())
    assert own == layer + 2 * 16 * 16 + 3 * norm
