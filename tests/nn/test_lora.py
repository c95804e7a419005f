"""LoRA is the published sum, merged or not; nothing else of the model moves, and what cannot be meant is refused."""

import pytest
import torch

from tests.oracles import CONFIG, integers, normal, rejects
from transformer_lib.config import AttentionConfig, Seq2SeqConfig, SwiGlu
from transformer_lib.models import DecoderLM, Encoder, Seq2Seq
from transformer_lib.nn.block import Block
from transformer_lib.nn.lora import EVERYWHERE, LoraConfig, LoraLinear, add_lora, additions_of, merge_lora

GROUPED = AttentionConfig(num_heads=4, num_kv_heads=2)
TOKENS = integers(CONFIG.vocab_size, 2, 5)


def model(kind: type = DecoderLM, **changes: object) -> torch.nn.Module:
    import dataclasses

    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    return kind(Seq2SeqConfig(encoder=config, decoder=config) if kind is Seq2Seq else config).double().eval()


def call(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(TOKENS, TOKENS) if isinstance(module, Seq2Seq) else module(TOKENS)


def fill(module: torch.nn.Module) -> None:
    """Additions as large as the weights themselves."""
    for seed, layer in enumerate(additions_of(module).values()):
        for part in layer.parts:
            for own in layer.pair(part.name):
                own.data.copy_(normal(*own.shape, seed=seed))


@pytest.mark.parametrize("targets", [EVERYWHERE, ("to_qkv", "to_out"), ("queries", "values"), ("keys",)])
@pytest.mark.parametrize("kind", [DecoderLM, Encoder, Seq2Seq])
def test_it_begins_at_the_model_and_merged_equals_unmerged(kind: type, targets: tuple[str, ...]) -> None:
    ours = model(kind, attention=GROUPED, feedforward=SwiGlu(d_ff=12))
    before, names = call(ours), list(ours.state_dict())
    add_lora(ours, LoraConfig(rank=2, alpha=3.0, targets=targets))
    torch.testing.assert_close(call(ours), before, atol=1e-12, rtol=0)
    trained = {name for name, weight in ours.named_parameters() if weight.requires_grad}
    assert trained and all(name.endswith(("_down", "_up")) for name in trained)
    fill(ours)
    changed = call(ours)
    assert float((changed - before).abs().max()) > 1e-2
    merge_lora(ours)
    torch.testing.assert_close(call(ours), changed, atol=1e-10, rtol=0)
    assert sorted(ours.state_dict()) == sorted(names) and not additions_of(ours)


def test_each_part_is_the_published_sum_in_its_own_rows() -> None:
    """W x + alpha/rank B A x (Hu et al. 2021), by hand for the queries and the values of one map."""
    ours = model(attention=GROUPED)
    assert isinstance(ours, DecoderLM)
    add_lora(ours, LoraConfig(rank=2, alpha=3.0, targets=("queries", "values")))
    fill(ours)
    block = ours.blocks[0]
    assert isinstance(block, Block) and isinstance(block.attention.to_qkv, LoraLinear)
    layer, x = block.attention.to_qkv, normal(4, CONFIG.d_model)
    width = CONFIG.head_dim
    wanted = x @ layer.weight.T + (0 if layer.bias is None else layer.bias)
    a, b = layer.pair("queries")
    wanted[:, : 4 * width] += 1.5 * x @ a.T @ b.T
    a, b = layer.pair("values")
    wanted[:, 6 * width :] += 1.5 * x @ a.T @ b.T
    torch.testing.assert_close(layer(x), wanted, atol=1e-10, rtol=0)
    for rows in (slice(0, 3), slice(4 * width, 7 * width)):
        torch.testing.assert_close(layer.rows(x, rows), wanted[:, rows], atol=1e-10, rtol=0)


def test_only_the_additions_learn() -> None:
    ours = model()
    frozen = {name: weight.clone() for name, weight in ours.named_parameters()}
    add_lora(ours, LoraConfig(rank=2))
    optimizer = torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        ours(TOKENS).square().mean().backward()
        optimizer.step()
    own = dict(ours.named_parameters())
    for name, weight in frozen.items():
        assert torch.equal(own[name], weight) and own[name].grad is None
    assert all(
        float(layer.pair("whole")[1].detach().abs().max()) > 0 for n, layer in additions_of(ours).items() if "out" in n
    )


def test_a_target_may_be_the_end_of_a_name() -> None:
    ours = model(Seq2Seq)
    found = add_lora(ours, LoraConfig(rank=2, targets=("cross_attention.queries", "feedforward.to_out")))
    assert {name.split(".", 3)[-1] if name.startswith("encoder") else name.split(".", 2)[-1] for name in found} == {
        "cross_attention.to_qkv",
        "feedforward.to_out",
    }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rank": 0}, "rank must be a whole number of at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"targets": ()}, "targets must name at least one map"),
        ({"targets": ("head",)}, "targets must end in one of"),
    ],
)
def test_a_config_that_cannot_be_meant(config: dict, words: str) -> None:
    with rejects(words):
        LoraConfig(**config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rank": 64}, "rank must be below"),
        ({"targets": ("cross_attention.to_out",)}, "targets must be maps of the model"),
        ({"targets": ("to_out", "mixer.to_gate")}, "targets must be maps of the model"),
        ({"rank": 2, "targets": ("to_qkv", "keys")}, "not both"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_and_leaves_it(config: dict, words: str) -> None:
    ours = model()
    with rejects(words):
        add_lora(ours, LoraConfig(**config))
    assert not additions_of(ours) and all(weight.requires_grad for weight in ours.parameters())


def test_once_is_enough() -> None:
    ours = model()
    with rejects("model must have additions of LoRA"):
        merge_lora(ours)
    add_lora(ours, LoraConfig(rank=2))
    with rejects("model must have no additions yet"):
        add_lora(ours, LoraConfig(rank=2))
