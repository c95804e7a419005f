"""Every model compiles as one graph: forward, backward and a step of decoding; the numbers stay the same.

Each case runs in a plain process, free of the tests' own type checker, which dynamo cannot trace.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from transformer_lib import DecoderLM, Encoder, Seq2Seq, presets
from transformer_lib.config import (
    Alibi,
    AttentionConfig,
    Experts,
    GatedDelta,
    LatentAttention,
    LayerConfig,
    Learned,
    LinearAttention,
    Mlp,
    ModelConfig,
    NoPositions,
    Norm,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
)
from transformer_lib.nn import local

TINY = presets.tiny(vocab_size=50, max_length=32)
GPT2 = dataclasses.replace(
    TINY, attention=AttentionConfig(num_heads=4, bias=True), feedforward=Mlp(d_ff=64), positions=Learned(), norm=Norm()
)
DECODERS = {
    "gpt2": GPT2,
    "llama": TINY,
    "window": dataclasses.replace(TINY, attention=AttentionConfig(num_heads=4, num_kv_heads=2, window=4, qk_norm=True)),
    "alibi": dataclasses.replace(TINY, positions=Alibi()),
}
SIDE = dataclasses.replace(GPT2, positions=Sinusoidal(), norm_order="post", scale_embeddings=True)
HEADS = AttentionConfig(num_heads=4, num_kv_heads=2)
MIXED = dataclasses.replace(
    TINY,
    num_layers=5,
    logit_cap=5.0,
    pattern=(
        LayerConfig(
            attention=dataclasses.replace(HEADS, window=4, sinks=True, soft_cap=3.0), positions=Rope(share=0.5)
        ),
        LayerConfig(attention=GatedDelta(num_heads=2, key_dim=4, value_dim=4), norm_order="both"),
        LayerConfig(attention=LatentAttention(num_heads=2, head_dim=4, rope_dim=4, value_dim=4, kv_rank=6)),
        LayerConfig(attention=LinearAttention(num_heads=2), norm_order="part"),
        LayerConfig(
            attention=dataclasses.replace(HEADS, gate=True, qk_norm="whole"),
            positions=NoPositions(),
            feedforward=Experts(num_experts=4, top_k=2, d_ff=8),
        ),
    ),
)
TOKENS = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(0))
VALID = torch.arange(9) >= torch.tensor([[0], [3]])


def check_forward_and_backward(model: nn.Module, *arguments: Tensor, **named: Tensor) -> None:
    model.double()
    outputs, gradients = [], []
    for compiled in (False, True):
        if compiled:
            model.compile(fullgraph=True, backend="aot_eager")
        model.zero_grad()
        out = model(*arguments, **named)
        out.square().mean().backward()
        outputs.append(out)
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*outputs, atol=1e-10, rtol=0)
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
    assert not any("_orig_mod" in name for name in model.state_dict())


def check_decoding(config: ModelConfig, *, graphs: int = 3) -> None:
    """Nine compiled steps give what one pass gives, and are not compiled once a length.

    They are compiled for an empty cache, for one token, and for any number; once more where keys leave a window, and
    where they are given up.
    """
    model = DecoderLM(config).double().eval()
    whole = model(TOKENS)
    step = torch.compile(model, fullgraph=True, backend="aot_eager")
    cache = model.new_cache(2, 9)
    torch._dynamo.utils.counters.clear()
    with torch.inference_mode():
        steps = [step(TOKENS[:, at : at + 1], cache=cache) for at in range(9)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-10, rtol=0)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= graphs


def check_giving_up() -> None:
    """A layer with a window of 4 keeps 4 + 2 slots at most."""
    with mock.patch.object(local, "SPARE", 1):
        check_decoding(DECODERS["window"], graphs=6)
        model = DecoderLM(DECODERS["window"]).double().eval()
        read, cache = torch.compile(model, fullgraph=True, backend="aot_eager"), model.new_cache(2, 9)
        found = read(TOKENS, valid=VALID, cache=cache)  # which cannot be asked for its padding, and gives up nothing
        torch.testing.assert_close(found[VALID], model(TOKENS, valid=VALID)[VALID], atol=1e-10, rtol=0)


def decoder(name: str) -> None:
    check_forward_and_backward(DecoderLM(DECODERS[name]), TOKENS)
    check_forward_and_backward(DecoderLM(DECODERS[name]), TOKENS, valid=VALID)


def mixed() -> None:
    check_forward_and_backward(DecoderLM(MIXED), TOKENS, valid=VALID)


def encoder() -> None:
    check_forward_and_backward(Encoder(GPT2), TOKENS, valid=VALID)


def seq2seq() -> None:
    model = Seq2Seq(Seq2SeqConfig(encoder=SIDE, decoder=SIDE))
    check_forward_and_backward(model, TOKENS, TOKENS, source_valid=VALID, target_valid=VALID)


CASES: dict[str, Callable[[], None]] = {
    **{f"decoder-{name}": lambda name=name: decoder(name) for name in DECODERS},
    **{
        f"decoding-{name}": lambda name=name: check_decoding(DECODERS[name], graphs=4 if name == "window" else 3)
        for name in DECODERS
    },
    "decoding-mixed": lambda: check_decoding(MIXED, graphs=4),
    "decoding-giving-up": check_giving_up,
    "mixed": mixed,
    "encoder": encoder,
    "seq2seq": seq2seq,
}


@pytest.mark.parametrize("case", CASES)
def test_it_compiles_as_one_graph(case: str) -> None:
    done = subprocess.run([sys.executable, __file__, case], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    torch.set_num_threads(1)
    CASES[sys.argv[1]]()
