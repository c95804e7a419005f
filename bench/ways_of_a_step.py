"""The ways of one step of greedy decoding that `ways` races: the same model and weights, one thing changed in each."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import peers
from bench.decode import agreement
from transformer_lib.generation import generate
from transformer_lib.generation.layout import store_by_column
from transformer_lib.models import DecoderLM
from transformer_lib.nn import attend

Size = tuple[int, int, int, int, int, int]  # layers, d_model, heads, vocabulary; prompt and new tokens
SLOW_TO_MAKE = ("compiled", "compiled to C++")  # half a minute each


def model_of(size: Size, batch: int) -> tuple[DecoderLM, Tensor]:
    """The benchmark's decoder, its weights stored by column, and prompts for it."""
    layers, width, heads, vocab, prompt, new = size
    model, _ = peers.ours()(peers.Shape(layers, width, heads, prompt + new, batch, vocab))
    model = model.eval()
    store_by_column(model)
    return model, torch.randint(vocab, (batch, prompt), generator=torch.Generator().manual_seed(1))


def works(size: Size, batch: int, only: Sequence[str] | None) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """What writes the texts in each way, and the share of its tokens that are the library's; `only` names ways."""
    model, prompts = model_of(size, batch)
    new = size[-1]

    def written(other: nn.Module) -> list[list[int]]:
        return generate(other, prompts, max_new_tokens=new).tokens.tolist()

    def without_onednn() -> list[list[int]]:
        with torch.backends.mkldnn.flags(enabled=False):
            return written(model)

    ways: dict[str, Callable[[], Any]] = {
        "transformer_lib": partial(written, model),
        "bare loop": lambda: bare_loop(model, prompts, new).tolist(),
        "weights by row": partial(written, _by_row(model)),
        "weights packed by oneDNN": partial(written, _replaced(model, _Packed)),
        "one query as two products": partial(written, _with_two_products(model)),
        "without oneDNN": without_onednn,
        "straight-line Python": partial(written, _compiled(model, backend="eager")),
        "compiled": partial(written, _compiled(model)),
        "compiled to C++": partial(written, _compiled(model, options={"cpp_wrapper": True})),
        "int8 weights": partial(written, _replaced(model, _int8)),
    }
    if only is not None or size[0] < 3:
        ways = {name: way for name, way in ways.items() if name in (only or set(ways) - set(SLOW_TO_MAKE))}
        ways = {"transformer_lib": partial(written, model)} | ways
    ours = written(model)
    return ways, {name: {"tokens as ours": agreement(way(), ours)} for name, way in ways.items()}


def bare_loop(model: DecoderLM, prompts: Tensor, new: int) -> Tensor:
    """The kernels of a GPT-2 alone: no modules, no checks, no log-probabilities, no way to stop."""
    heads, width = model.blocks[0].attention.heads[0], model.config.d_model
    batch, time = prompts.shape
    room = (2, batch, heads, time + new, width // heads)
    caches = [torch.empty(room) for _ in model.blocks]
    places = model.embedding.positions.weight
    tokens, length, found = prompts, 0, []
    with torch.inference_mode():
        for _ in range(new):
            at = slice(length, length + tokens.shape[1])
            x = model.embedding.tokens.weight[tokens] + places[at]
            for block, cache in zip(model.blocks, caches, strict=True):
                x = _bare_block(block, x, cache, at)
            x = _normed(x[:, -1], model.final_norm)
            tokens, length = F.linear(x, model.head.weight).argmax(dim=-1, keepdim=True), at.stop
            found.append(tokens)
    return torch.cat(found, dim=1)


def _bare_block(block: nn.Module, x: Tensor, cache: Tensor, at: slice) -> Tensor:
    look, feed = block.attention, block.feedforward
    qkv = F.linear(_normed(x, block.attention_norm), look.to_qkv.weight, look.to_qkv.bias)
    q, k, v = qkv.view(*x.shape[:2], 3, *cache.shape[2::2]).permute(2, 0, 3, 1, 4)
    cache[0, :, :, at], cache[1, :, :, at] = k, v
    k, v = cache[:, :, :, : at.stop]
    out = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1).transpose(1, 2).flatten(2)
    x = x + F.linear(out, look.to_out.weight, look.to_out.bias)
    wide = F.gelu(F.linear(_normed(x, block.feedforward_norm), feed.to_hidden.weight, feed.to_hidden.bias))
    return x + F.linear(wide, feed.to_out.weight, feed.to_out.bias)


def _normed(x: Tensor, norm: nn.Module) -> Tensor:
    return torch.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _by_row(model: DecoderLM) -> DecoderLM:
    other = copy.deepcopy(model)
    for part in other.modules():
        if isinstance(part, nn.Linear):
            part.weight.data = part.weight.data.contiguous()
    return other


class _Packed(nn.Module):
    """A linear map whose weight oneDNN has brought into the order that its own kernels read."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().contiguous())
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def _int8(layer: nn.Linear) -> nn.Module:
    """Weights of 8 bits with a scale for each row, inputs rounded to 8 bits at each call (torch.ao)."""
    from torch.ao.nn.quantized.dynamic import Linear
    from torch.ao.quantization import per_channel_dynamic_qconfig

    layer.qconfig = per_channel_dynamic_qconfig
    layer.weight.data = layer.weight.data.contiguous()
    return Linear.from_float(layer)


def _replaced(model: DecoderLM, make: Callable[[nn.Linear], nn.Module]) -> DecoderLM:
    """Each linear map by another; the head keeps its own weight too, of which the library reads the type."""
    other = copy.deepcopy(model)
    for part in list(other.blocks.modules()):
        for name, layer in part.named_children():
            if isinstance(layer, nn.Linear):
                setattr(part, name, make(layer))
    head = make(copy.deepcopy(other.head))
    other.head.forward = head.forward  # type: ignore[method-assign]
    return other


def _with_two_products(model: DecoderLM) -> DecoderLM:
    """q k^T, softmax, and the product with v as three calls, where there is one query that may look at everything."""

    other = copy.deepcopy(model)
    for block in other.blocks:
        vars(block.attention)["attend"] = _two_products
    return other


def _two_products(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    if q.shape[2] > 1:
        return attend(q, k, v, **options)
    queries, keys, values = ((q * q.shape[-1] ** -0.5).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
    return torch.bmm(torch.bmm(queries, keys.mT).softmax(dim=-1), values).view(q.shape)


def _compiled(model: DecoderLM, **how: Any) -> DecoderLM:
    other = copy.deepcopy(model)
    other.compile(**how)
    return other
