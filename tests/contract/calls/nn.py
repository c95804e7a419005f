"""How each public callable of `transformer_lib.nn` is called validly."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.contract.calls import mixers
from tests.contract.calls.config import SMALL
from transformer_lib import config, nn
from transformer_lib.nn import local, lora
from transformer_lib.nn.cache import KVCache, LayerCache
from transformer_lib.nn.tiled import start

HERE = "transformer_lib.nn."
ALIBI = dataclasses.replace(SMALL, positions=config.Alibi(), norm=config.Norm(kind="rms"), segments=2)
SHAPE = (2, 2, 3, 4)  # batch, heads, time and head_dim of what SMALL attends with


def _x(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 8)), generator=torch.Generator().manual_seed(0))


def _ids(below: int = 11) -> Tensor:
    return torch.tensor([[1, 2, 0], [0, 1, 1]]).clamp(max=below - 1)


def _valid() -> Tensor:
    return torch.tensor([[False, True, True], [True, True, True]])


def _places() -> Tensor:
    return torch.arange(3)[None]


def _cache(kind: type = KVCache, **options: Any) -> Any:
    """A cache of one token for each of two rows."""
    options = options or {"max_length": 8}
    cache = kind(SMALL, 2, **options)
    cache.extend(torch.zeros(1, 1, dtype=torch.int64), None, batch=2, plain=True)
    return cache


def _fixed() -> nn.FixedCache:
    return _cache(nn.FixedCache, max_length=8)


def _rolling() -> nn.RollingCache:
    return _cache(nn.RollingCache, window=3)


def _span() -> local.Span:
    span = local.Span(3, 8)
    span.open(0, 3, in_order=True)
    return span


def _spans() -> local.Spans:
    return local.Spans((3, None), 8)


def _told() -> dict[str, Any]:
    return {"self": _spans(), "positions": _places().expand(2, -1), "valid": _valid()}


def _opened() -> KVCache:
    """A cache whose newest three slots wait for keys."""
    cache = KVCache(SMALL, 2, 8)
    cache.extend(_places(), _valid(), batch=2, plain=False)
    return cache


def _lora() -> nn.LoraLinear:
    return nn.LoraLinear(torch.nn.Linear(8, 12), (lora.Rows("keys", 4, 8),), 2, 0.5)


def _stack() -> torch.nn.Module:
    stack = torch.nn.Module()
    stack.blocks = torch.nn.ModuleList([nn.Block(SMALL)])
    return stack


def _added() -> torch.nn.Module:
    stack = _stack()
    nn.add_lora(stack, nn.LoraConfig(rank=2))
    return stack


def _attend(**others: Any) -> dict[str, Any]:
    mask = torch.ones(2, 1, 3, 3, dtype=torch.bool).tril()
    return {"q": _x(*SHAPE), "k": _x(*SHAPE), "v": _x(*SHAPE), "mask": mask, "scale": 0.5, **others}


def _bias() -> Tensor:
    return _x(1, 2, 3, 3)


def _weights() -> dict[str, Any]:
    arguments = _attend(bias=_bias())
    return {name: value for name, value in arguments.items() if name != "v"}


def _cross() -> dict[str, Any]:
    attention = nn.Attention(8, config.AttentionConfig(num_heads=2, qk_norm=True))
    memory = attention.keys_values(_x(2, 4, 8))
    return {"self": attention, "x": _x(), "context": memory, "mask": torch.ones(2, 1, 3, 4, dtype=torch.bool)}


def _block() -> dict[str, Any]:
    rotation = nn.rope_rotation(_places(), 4)
    relations = nn.Relations(torch.ones(2, 1, 3, 3, dtype=torch.bool), _bias(), rotation)
    block = nn.Block(SMALL, cross_attention=True)
    memory = block.project_memory(_x(2, 4, 8))
    mask = torch.ones(2, 1, 1, 4, dtype=torch.bool)
    layer = _opened().layer(0)
    return {
        **{"self": block, "x": _x(), "relations": relations, "cache": layer},
        **{"memory": memory, "memory_mask": mask},
    }


def _causal() -> dict[str, Any]:
    return {
        **{"config": ALIBI, "positions": _places(), "valid": _valid(), "cache": None, "plain": False},
        **{"dtype": torch.float32, "past": torch.ones(2, 3, 3, dtype=torch.bool)},
    }


def _held() -> dict[str, Any]:
    arguments = {"config": SMALL, "positions": _places(), "valid": _valid(), "cache": _opened()}
    return {**arguments, "plain": False, "dtype": torch.float32}


def _new(cache: KVCache) -> dict[str, Any]:
    return {"self": cache, "positions": _places()[:, :2] + 1, "valid": _valid()[:, 1:], "batch": 2, "plain": False}


def _write(cache: KVCache) -> dict[str, Any]:
    return {"self": cache, "layer": 0, "k": _x(2, 2, 1, 4), "v": _x(2, 2, 1, 4)}


def _rows(cache: KVCache) -> dict[str, Any]:
    return {"self": cache, "rows": torch.tensor([1, 0])}


def _learned() -> nn.LearnedPositions:
    return nn.LearnedPositions(6, 8)


def _scaled() -> config.YarnScaling:
    return config.YarnScaling(factor=2.0, original_length=64)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}memory.memory_of": lambda: {"device": "cpu"},
    f"{HERE}memory.require_memory": lambda: {"size": 1e6, "device": torch.device("cpu"), "width": 3},
    f"{HERE}memory.require_stack_memory": lambda: {"config": SMALL},
    f"{HERE}fit.require_fit": lambda: {"field": "x", "x": _x(), "weight": _x(4, 8)},
    f"{HERE}fit.require_same_dtype": lambda: {"field": "x", "x": _x(), "dtype": torch.float32},
    f"{HERE}fit.require_index": lambda: {"field": "rows", "x": _ids()},
    f"{HERE}fit.check_rows": lambda: {"rows": torch.tensor([1, 0]), "batch": 2, "device": torch.device("cpu")},
    f"{HERE}fit.require_floating": lambda: {"dtype": torch.float16},
    f"{HERE}fit.require_probability": lambda: {"field": "p", "p": 0.1},
    f"{HERE}norm.layer_norm": lambda: {"x": _x(), "gain": _x(8), "bias": _x(8), "eps": 1e-5},
    f"{HERE}norm.rms_norm": lambda: {"x": _x(), "gain": _x(8), "eps": 1e-6},
    f"{HERE}norm.LayerNorm": lambda: {"width": 8, "eps": 1e-5},
    f"{HERE}norm.LayerNorm.forward": lambda: {"self": nn.LayerNorm(8), "x": _x()},
    f"{HERE}norm.RMSNorm": lambda: {"width": 8, "eps": 1e-5},
    f"{HERE}norm.RMSNorm.forward": lambda: {"self": nn.RMSNorm(8), "x": _x()},
    f"{HERE}norm.build_norm": lambda: {"config": config.Norm(), "width": 8},
    f"{HERE}norm.build_final_norm": lambda: {"config": SMALL},
    f"{HERE}dropout.Dropout": lambda: {"p": 0.25},
    f"{HERE}dropout.Dropout.forward": lambda: {"self": nn.Dropout(0.25), "x": _x()},
    f"{HERE}dropout.dropout": lambda: {"x": _x(), "p": 0.25},
    f"{HERE}positions.sinusoidal": lambda: {
        "positions": _places(),
        "d_model": 8,
        "base": 100.0,
        "dtype": torch.float64,
    },
    f"{HERE}positions.LearnedPositions": lambda: {"max_length": 6, "d_model": 8},
    f"{HERE}positions.LearnedPositions.forward": lambda: {"self": _learned(), "positions": _places()},
    f"{HERE}positions.Rotation": lambda: nn.rope_rotation(_places(), 4)._asdict(),
    f"{HERE}positions.rope_rotation": lambda: {
        **{"positions": _places(), "head_dim": 4, "theta": 100.0},
        **{"scaling": _scaled(), "dtype": torch.float32},
    },
    f"{HERE}positions.apply_rope": lambda: {"x": _x(*SHAPE), "rotation": nn.rope_rotation(_places(), 4)},
    f"{HERE}positions.check_rotation": lambda: {
        **{"rotation": nn.rope_rotation(_places(), 4), "shape": SHAPE, "like": _x(*SHAPE)}
    },
    f"{HERE}positions.alibi_slopes": lambda: {"heads": 6},
    f"{HERE}positions.alibi_bias": lambda: {
        **{"query_positions": _places(), "key_positions": _places(), "heads": 2, "dtype": torch.float32}
    },
    f"{HERE}positions.rope_frequencies": lambda: {
        **{"positions": _places(), "head_dim": 4, "theta": 100.0},
        **{"scaling": config.NtkScaling(factor=2.0, original_length=8), "wide": torch.float64},
    },
    f"{HERE}positions.attention_factor": lambda: {"scaling": _scaled()},
    f"{HERE}masks.causal_mask": lambda: {"query_positions": _places(), "key_positions": _places(), "window": 2},
    f"{HERE}masks.padding_mask": lambda: {"valid": _valid()},
    f"{HERE}masks.check_mask": lambda: {
        **{"mask": torch.ones(2, 1, 3, 3, dtype=torch.bool), "shape": (2, 2, 3, 3), "device": torch.device("cpu")}
    },
    f"{HERE}cache.KVCache": lambda: {
        **{"config": SMALL, "batch": 2, "max_length": 8, "dtype": torch.float64, "device": "cpu"}
    },
    f"{HERE}cache.KVCache.check_fits": lambda: {"self": _cache(), "config": SMALL},
    f"{HERE}cache.KVCache.check_meets": lambda: {"self": _cache(), "weight": _x()},
    f"{HERE}cache.KVCache.check_new": lambda: {
        **{"self": _cache(), "layer": 0, "shape": (2, 2, 1, 4), "dtype": torch.float32}
    },
    f"{HERE}cache.KVCache.extend": lambda: _new(_cache()),
    f"{HERE}cache.KVCache.write": lambda: _write(_cache()),
    f"{HERE}cache.KVCache.select": lambda: _rows(_cache()),
    f"{HERE}cache.KVCache.rewind": lambda: {"self": _cache(), "length": 1},
    f"{HERE}cache.KVCache.require_rewinding": lambda: {"self": _cache()},
    f"{HERE}cache.KVCache.mark": lambda: {"self": _cache()},
    f"{HERE}cache.KVCache.reserve": lambda: {"self": _cache(), "tokens": 1},
    f"{HERE}cache.KVCache.seen_from": lambda: {"self": _cache(), "window": 3},
    f"{HERE}local.Span": lambda: {"window": 3, "max_length": 8},
    f"{HERE}local.Span.reserve": lambda: {"self": local.Span(3, 8), "spare": 1},
    f"{HERE}local.Span.open": lambda: {"self": local.Span(3, 8), "length": 0, "new": 2, "in_order": True},
    f"{HERE}local.Span.rewind": lambda: {"self": local.Span(3, 8), "length": 0},
    f"{HERE}local.Span.put": lambda: {"self": _span(), "stored": _x(2, 2, 8, 4), "new": _x(2, 2, 3, 4)},
    f"{HERE}local.Spans": lambda: {"windows": (3, None), "max_length": 8},
    f"{HERE}local.Spans.of": lambda: {"self": _spans(), "window": 3},
    f"{HERE}local.Spans.slots": lambda: {"self": _spans(), "window": 3},
    f"{HERE}local.Spans.open": lambda: {**_told(), "new": 2, "plain": False},
    f"{HERE}local.Spans.check_reach": lambda: {**_told(), "new": _places() + 3, "real": _valid()},
    f"{HERE}local.Spans.check_rewind": lambda: {"self": _spans(), "held": 3, "length": 2},
    f"{HERE}local.Spans.rewind": lambda: {**_told(), "plain": False},
    f"{HERE}local.Spans.reserve": lambda: {"self": _spans(), "held": 3, "tokens": 1},
    f"{HERE}kept.require_keys_and_values": lambda: {"config": SMALL},
    f"{HERE}kept.kept_by": lambda: {"config": SMALL},
    f"{HERE}kept.shown_kept": lambda: {"kept": ((2, 4), (2, 4))},
    f"{HERE}kept.window_of": lambda: {"config": SMALL},
    f"{HERE}kept.Room": lambda: {"keys": [_x()], "values": [_x()], "place": {0: 0}, "states": {}},
    f"{HERE}kept.room_for": lambda: {
        **{"config": SMALL, "spans": _spans(), "batch": 2, "max_length": 8},
        **{"dtype": torch.float32, "device": "cpu"},
    },
    f"{HERE}cache.KVCache.layer": lambda: {"self": _cache(), "index": 0},
    f"{HERE}cache.LayerCache": lambda: {"cache": _cache(), "layer": 0},
    f"{HERE}cache.LayerCache.write": lambda: {
        **{"self": LayerCache(_cache(), 0), "k": _x(2, 2, 1, 4), "v": _x(2, 2, 1, 4)}
    },
    f"{HERE}kept_slots.can_give_up_slots": lambda: {"cache": _cache()},
    f"{HERE}kept_slots.keep_slots": lambda: {"cache": _cache(), "slots": torch.tensor([[0], [0]])},
    f"{HERE}fixed_cache.FixedCache": lambda: {"config": SMALL, "batch": 2, "max_length": 8, "device": "cpu"},
    f"{HERE}fixed_cache.FixedCache.write": lambda: _write(_fixed()),
    f"{HERE}fixed_cache.FixedCache.rewind": lambda: {"self": _fixed(), "length": 1},
    f"{HERE}rolling_cache.RollingCache": lambda: {
        **{"config": SMALL, "batch": 2, "window": 3, "sinks": 1, "dtype": torch.float32, "device": "cpu"}
    },
    f"{HERE}rolling_cache.RollingCache.rewind": lambda: {"self": _rolling(), "length": 1},
    f"{HERE}rolling_cache.RollingCache.extend": lambda: _new(_rolling()),
    f"{HERE}rolling_cache.RollingCache.write": lambda: _write(_rolling()),
    f"{HERE}rolling_cache.RollingCache.select": lambda: _rows(_rolling()),
    f"{HERE}relations.Kinds": lambda: {"configs": (SMALL,), "of_layer": (0,)},
    f"{HERE}relations.kinds_of": lambda: {"config": SMALL},
    f"{HERE}relations.Relations": lambda: {
        **{"mask": "causal", "bias": _bias(), "rotation": nn.rope_rotation(_places(), 4)}
    },
    f"{HERE}relations.place": lambda: {"tokens": _ids(), "valid": _valid(), "cache": _cache()},
    f"{HERE}relations.causal_relations": _causal,
    f"{HERE}relations.full_relations": lambda: {
        **{"config": ALIBI, "positions": _places(), "valid": _valid(), "dtype": torch.float32}
    },
    f"{HERE}attend.attention_weights": _weights,
    f"{HERE}attend.attend_explicit": lambda: _attend(bias=_bias(), dropout=0.1),
    f"{HERE}attend.attend": lambda: _attend(bias=_bias(), dropout=0.1),
    f"{HERE}blocks.mean_key_scores": lambda: {"q": _x(*SHAPE), "k": _x(*SHAPE), "block": 1},
    f"{HERE}blocks.block_mask": lambda: {"scores": _x(2, 2, 4, 2), "block": 2, "top": 1},
    f"{HERE}tiled.Running": lambda: start(_x(*SHAPE), _x(*SHAPE))._asdict(),
    f"{HERE}tiled.start": lambda: {"queries": _x(*SHAPE), "values": _x(*SHAPE)},
    f"{HERE}tiled.absorb": lambda: {
        **{"seen": start(_x(*SHAPE), _x(*SHAPE)), "scores": _x(2, 2, 3, 3), "values": _x(*SHAPE)}
    },
    f"{HERE}tiled.finish": lambda: {"seen": start(_x(*SHAPE), _x(*SHAPE))},
    f"{HERE}kernels.fuses_dropout": lambda: {"q": _x()},
    f"{HERE}kernels.check_scale": lambda: {"scale": 0.5},
    f"{HERE}kernels.fused_attention": lambda: {
        **{name: value for name, value in _attend().items() if name != "mask"},
        **{"added": _bias(), "causal": False, "dropout": 0.0},
    },
    f"{HERE}tiled.tiled_attention": lambda: _attend(block=2),
    f"{HERE}lora.LoraConfig": lambda: {"rank": 2, "alpha": 4.0, "targets": ("queries", "to_out")},
    f"{HERE}lora.Rows": lambda: {"name": "queries", "start": 0, "stop": 8},
    f"{HERE}lora.LoraLinear": lambda: {
        **{"base": torch.nn.Linear(8, 12), "parts": (lora.Rows("keys", 4, 8),), "rank": 2, "scale": 0.5}
    },
    f"{HERE}lora.LoraLinear.forward": lambda: {"self": _lora(), "x": _x()},
    f"{HERE}lora.LoraLinear.rows": lambda: {"self": _lora(), "x": _x(), "rows": slice(2, 6)},
    f"{HERE}lora.LoraLinear.pair": lambda: {"self": _lora(), "name": "keys"},
    f"{HERE}lora.LoraLinear.merged": lambda: {"self": _lora()},
    f"{HERE}lora.project_rows": lambda: {"layer": _lora(), "x": _x(), "rows": slice(2, 6)},
    f"{HERE}lora.add_lora": lambda: {"model": _stack(), "config": nn.LoraConfig(rank=2)},
    f"{HERE}lora.put_lora": lambda: {
        **{"model": _stack(), "parts": {"blocks.0.attention.to_qkv": (lora.Rows("keys", 8, 16),)}},
        **{"rank": 2, "scale": 0.5},
    },
    f"{HERE}lora.merge_lora": lambda: {"model": _added()},
    f"{HERE}lora.additions_of": lambda: {"model": _added()},
    f"{HERE}lora.maps_of": lambda: {"model": _stack()},
    f"{HERE}lora.row_parts": lambda: {"model": _stack(), "name": "blocks.0.attention.to_qkv"},
    f"{HERE}attention.KeyValues": lambda: {"k": _x(*SHAPE), "v": _x(*SHAPE)},
    f"{HERE}attention.Attention": lambda: {
        **{"d_model": 8, "config": config.AttentionConfig(num_heads=2), "dropout": 0.1, "norm_eps": 1e-5}
    },
    f"{HERE}attention.Attention.forward": _cross,
    f"{HERE}attention.Attention.keys_values": lambda: {
        **{"self": nn.Attention(8, config.AttentionConfig(num_heads=2)), "context": _x()}
    },
    f"{HERE}feedforward.FeedForward": lambda: {"d_model": 8, "config": config.Mlp(d_ff=16)},
    f"{HERE}feedforward.FeedForward.forward": lambda: {"self": nn.FeedForward(8, config.Mlp(d_ff=16)), "x": _x()},
    f"{HERE}feedforward.GatedFeedForward": lambda: {"d_model": 8, "config": config.SwiGlu(d_ff=16)},
    f"{HERE}feedforward.GatedFeedForward.forward": lambda: {
        **{"self": nn.GatedFeedForward(8, config.SwiGlu(d_ff=16)), "x": _x()}
    },
    f"{HERE}feedforward.activate": lambda: {"x": _x(), "activation": "silu"},
    f"{HERE}experts.build_feedforward": lambda: {"d_model": 8, "config": config.SwiGlu(d_ff=16)},
    f"{HERE}block.build_mixer": lambda: {"config": SMALL},
    f"{HERE}block.Block": lambda: {"config": SMALL, "cross_attention": True},
    f"{HERE}block.Block.forward": _block,
    f"{HERE}block.Block.project_memory": lambda: {"self": nn.Block(SMALL, cross_attention=True), "states": _x()},
    f"{HERE}embedding.Embedding": lambda: {"config": ALIBI},
    f"{HERE}embedding.Embedding.forward": lambda: {
        **{"self": nn.Embedding(ALIBI), "tokens": _ids(), "positions": _places(), "segments": _ids(2)}
    },
    f"{HERE}embedding.check_tokens": lambda: {"tokens": _ids(), "vocab_size": 11, "name": "source"},
    f"{HERE}embedding.check_positions": lambda: {"positions": _places(), "tokens": _ids()},
    f"{HERE}embedding.check_segments": lambda: {"segments": _ids(2), "tokens": _ids(), "kinds": 2},
    f"{HERE}embedding.check_newest": lambda: {"newest": 1, "time": 3},
    f"{HERE}embedding.check_valid": lambda: {"valid": _valid(), "tokens": _ids(), "name": "source_valid"},
    f"{HERE}init.init_weights": lambda: {"model": nn.Block(SMALL), "config": SMALL, "std": 0.1},
    **mixers.CALLS,
}

EXCUSED: dict[str, str] = {
    f"{HERE}triton_attend.triton_attention": "it needs Triton; tests/nn/test_triton_attend.py calls it wrongly",
}
