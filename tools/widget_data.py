"""The numbers of the widgets, taken from the library and from the records of experiments, never typed.

Each function gives what `Widget.data` of a page gets, as lists, words and numbers. A widget whose numbers are all the
reader's has no entry. The library, which needs PyTorch, is asked only for a page that has such a widget.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_lib.config import ModelConfig
    from transformer_lib.runs.records import Record

RESULTS = Path(__file__).parents[1] / "recipes" / "results"

# Records with arms that differ in a few settings: what is measured, in words and in the record, and over how many steps
# each point of its learning curve is the mean, 0 without a curve.
COMPARED = {
    "ablation": ("share of right answers about reassigned names", "reassigned", 20),
    "block": ("nats per token of Python source, on texts not seen before", "test", 0),
    "scale": ("share of right answers about reassigned names", "reassigned", 0),
    "warmup": ("loss of the last steps, in nats", "loss", 10),
    "valley": ("loss of the last steps, in nats", "loss", 0),
}
WORDS = {
    "without": "Taken away",
    "layers": "Layers",
    "start": "Start",
    "steps": "Steps",
    "change": "Changed",
    "scaled": "Divided by the root of the width",
    "width": "Width of the keys",
    "warmup": "Steps of warm-up",
    "order": "Norm, before or after",
    "kind": "Scores bounded by",
    "rate": "Learning rate",
}
FIRST = {"scale": "scaled", "warmup": "warmup"}  # the setting that is switched, where it is not the first


def query() -> dict[str, Any]:
    """The running example of the chapter on attention: about a, about b, is a question, value."""
    statements = {"a=3": [1, 0, 0, 3], "b=5": [0, 1, 0, 5], "a?": [1, 0, 1, 0]}
    asked = [row[:2] for row in statements.values()]
    return {"names": [*statements], "queries": asked, "keys": asked, "values": [row[2:] for row in statements.values()]}


def rope() -> dict[str, Any]:
    """A query and a key of eight numbers, those that the chapter on the architecture turns."""
    import torch

    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    return {"q": q.tolist(), "k": k.tolist()}


def pencil() -> dict[str, Any]:
    """The pencil model: its words, its weights, and the text that it reads."""
    from transformer_lib.scratch import pencil as model

    weights = {name: weight.tolist() for name, weight in model.pencil_weights().items()}
    text = {"tokens": model.TOKENS.tolist(), "targets": model.TARGETS.tolist()}
    return {"vocabulary": list(model.VOCABULARY), "weights": weights, **text}


def cache() -> dict[str, Any]:
    """What published models keep of a token: layers, and heads of keys and values or a latent."""
    from transformer_lib.models import presets

    library = {"GPT-2": presets.gpt2(), "Llama 3 8B": presets.llama3_8b(), "Qwen3 0.6B": presets.qwen3_0_6b()}
    return {"models": [{"name": name, **kept(config)} for name, config in (library | published()).items()]}


def published() -> "dict[str, ModelConfig]":
    """Stacks whose configs the chapter on memory gives; what does not concern the cache is left at its least."""
    from dataclasses import replace

    from transformer_lib.config import AttentionConfig, LatentAttention, LayerConfig, Mlp, ModelConfig, NoPositions

    def stack(layers: int, attention: AttentionConfig | LatentAttention, *pattern: LayerConfig) -> ModelConfig:
        return ModelConfig(
            vocab_size=2,
            d_model=64,
            num_layers=layers,
            max_length=2**20,
            attention=attention,
            feedforward=Mlp(d_ff=1),
            positions=NoPositions(),
            pattern=pattern,
        )

    def near(attention: AttentionConfig, window: int) -> LayerConfig:
        return LayerConfig(attention=replace(attention, window=window))

    gemma = AttentionConfig(num_heads=4, num_kv_heads=1, head_dim=256)
    oss = AttentionConfig(num_heads=64, num_kv_heads=8, head_dim=64)
    latent = LatentAttention(num_heads=128, head_dim=128, rope_dim=64, value_dim=128, kv_rank=512, q_rank=1536)
    return {
        "DeepSeek-V3": stack(61, latent),
        "Gemma 3 1B": stack(26, gemma, *[near(gemma, 512)] * 5, LayerConfig()),
        "gpt-oss-20b": stack(24, oss, near(oss, 128), LayerConfig()),
    }


def kept(config: "ModelConfig") -> dict[str, Any]:
    """The settings of the widget that stand for a config."""
    from transformer_lib.config import AttentionConfig, LatentAttention

    windows = [getattr(layer.attention, "window", None) for layer in config.layers]
    found = {"layers": config.num_layers, "windowed": sum(map(bool, windows)), "window": max(w or 0 for w in windows)}
    match config.attention:
        case LatentAttention(kv_rank=latent, rope_dim=turned):
            return {"kind": "latent", "latent": latent, "turned": turned, **found}
        case AttentionConfig(kv_heads=heads):
            return {"kind": "heads", "heads": heads, "width": config.head_dim, **found}
    raise ValueError(f"attention must be of heads or a latent, got {config.attention}")


def ablation() -> dict[str, Any]:
    """Records in which something is switched: every seed of every arm, and curves where there are any."""
    from transformer_lib.runs.records import Record

    return {"records": [compared(Record(RESULTS / f"{name}.json"), *COMPARED[name]) for name in COMPARED]}


def compared(record: "Record", words: str, measure: str, every: int) -> dict[str, Any]:
    """A record as the widget reads it: its settings with their values, and what each arm came to.

    The first value of the first setting is what the others are compared with.
    """
    settings = [record.content["arms"][arm]["settings"] for arm in record.arms]
    first = FIRST.get(record.name)
    keys = sorted(settings[0], key=lambda key: key != first)  # the one that is switched, then the others in order
    factors = [
        {"label": WORDS[key], "options": list(dict.fromkeys(said(found[key]) for found in settings))} for key in keys
    ]
    arms = [
        {
            "at": [said(found[key]) for key in keys],
            "values": list(record.spread(arm, measure).values),
            "curves": record.each(arm, "curve") if every else [],
        }
        for arm, found in zip(record.arms, settings, strict=True)
    ]
    said_of_it = {"name": record.name, "question": record.question, "measure": words, "every": every}
    return {**said_of_it, "factors": factors, "arms": arms}


def said(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"


NUMBERS: dict[str, Callable[[], dict[str, Any]]] = {
    "query": query,
    "rope": rope,
    "pencil": pencil,
    "cache": cache,
    "ablation": ablation,
}
