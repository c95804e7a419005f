"""Candidates that write text: decoder-only models behind their caches, and an encoder-decoder with beam search.

Each function does its imports and returns how to build the model and the call that writes. The models and their weights
are those of the training-step benchmark, so candidates of one family must write the same text. Everybody writes inside
`torch.inference_mode`, nobody stops early, and Hugging Face's cache stands here in each of its settings.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench import peers, peers_llama

Write = Callable[[Tensor], Tensor]


class Task(NamedTuple):
    """Continue prompts of `prompt` tokens by `new` tokens each; the batch stands in the shape."""

    shape: peers.Shape
    prompt: int
    new: int
    dtype: torch.dtype
    device: str


Make = Callable[[Task], tuple[nn.Module, Write]]


def ours(family: Callable[[], peers.Make] = peers.ours, *, compiled: bool = False, recorded: bool = False) -> Make:
    from transformer_lib.generation import Recorded, generate

    build = family()

    def make(task: Task) -> tuple[nn.Module, Write]:
        model = ready(build, task)
        if compiled:
            model.compile()
        writer = Recorded(model) if recorded else model
        return model, lambda prompts: generate(writer, prompts, max_new_tokens=task.new).tokens

    return make


def huggingface(family: Callable[[], peers.Make] = peers.huggingface_gpt2, *, cache: str = "dynamic") -> Make:
    build, settings = family(), cached(cache)

    def make(task: Task) -> tuple[nn.Module, Write]:
        model = ready(build, task)
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        options = {"max_new_tokens": task.new, "do_sample": False, "use_cache": True} | settings

        def write(prompts: Tensor) -> Tensor:
            text = model.generate(prompts, attention_mask=torch.ones_like(prompts), **options)
            return text[:, task.prompt :]

        return model, write

    return make


def cached(cache: str) -> dict[str, Any]:
    """What Hugging Face's `generate` takes for a cache that is dynamic (concatenated at each step), static (allocated
    once), or compiled (static, and a step is compiled)."""
    from transformers import CompileConfig

    compilation = CompileConfig(fullgraph=True, mode="reduce-overhead" if torch.cuda.is_available() else "default")
    compilation._compile_all_devices = True  # by default a step is compiled on accelerators only
    return {
        "dynamic": {},
        "static": {"cache_implementation": "static", "disable_compile": True},
        "compiled": {"cache_implementation": "static", "compile_config": compilation},
    }[cache]


def x_transformers() -> Make:
    from x_transformers import AutoregressiveWrapper

    build = peers_llama.x_transformers()

    def make(task: Task) -> tuple[nn.Module, Write]:
        model = ready(build, task)
        writer = AutoregressiveWrapper(model).eval()
        return model, lambda prompts: writer.generate(prompts, task.new, temperature=0.0, cache_kv=True)

    return make


def litgpt() -> Make:
    """Its loop writes one text at a time."""
    from litgpt.generate.base import generate

    build = peers_llama.litgpt()

    def make(task: Task) -> tuple[nn.Module, Write]:
        model = ready(build, task)
        length = task.prompt + task.new
        model.set_kv_cache(batch_size=1, max_seq_length=length, dtype=task.dtype)

        def write(prompts: Tensor) -> Tensor:
            return generate(model, prompts[0], length, temperature=0.0, include_prompt=False)[None]

        return model, write

    return make


def nanogpt(path: str) -> Make:
    """It has no cache; drawing from the one most likely token is greedy."""
    build = peers.nanogpt(path)

    def make(task: Task) -> tuple[nn.Module, Write]:
        model = ready(build, task)

        def write(prompts: Tensor) -> Tensor:
            torch.manual_seed(0)  # several tokens can be the most likely one in bfloat16: it then draws among them
            return model.generate(prompts, task.new, top_k=1)[:, task.prompt :]

        return model, write

    return make


def ready(build: peers.Make, task: Task) -> nn.Module:
    """The model on the task's device and in its precision.

    On the CPU all of its weights are stored by column, which helps us, so everybody gets it.
    """
    from transformer_lib.generation.layout import store_by_column

    model, _ = build(task.shape)
    model = model.to(task.device, task.dtype).eval()
    if task.device == "cpu":
        store_by_column(model)
    return model


def prompts_of(task: Task) -> Tensor:
    """Random prompts, the same for everybody."""
    size = (task.shape.batch, task.prompt)
    return torch.randint(task.shape.vocab, size, generator=torch.Generator().manual_seed(1)).to(task.device)


def regrets(
    family: Callable[[], peers.Make], task: Task, texts: dict[str, list[list[int]]], threads: int
) -> dict[str, float]:
    """How far the tokens of each text lie at most below the likeliest one, as a difference of logits.

    A judge of the same weights reads each text once, in float64 and without a cache. Two texts of one model may part
    at a tie that rounding broke, and differ from there on; each is greedy all the same if its own regret is small.
    """
    torch.set_num_threads(threads)
    judge = ready(family(), task).to(torch.float64)
    prompts = prompts_of(task)
    found = {}
    with torch.inference_mode():
        for name, text in texts.items():
            written = torch.tensor(text, device=task.device)
            logits = judge(torch.cat([prompts, written], dim=1)[:, :-1])[:, task.prompt - 1 :]
            taken = logits.gather(-1, written[..., None]).squeeze(-1)
            found[name] = float((logits.amax(dim=-1) - taken).max())
    return found


class Translation(NamedTuple):
    """Write `new` tokens for each of `batch` sources of `source` tokens, keeping `beams` texts at each step."""

    layers: int
    d_model: int
    heads: int
    vocab: int
    batch: int
    source: int
    new: int
    beams: int


MakeTranslator = Callable[[Translation], tuple[nn.Module, Write]]
START = 0  # the token that every target begins with; nobody counts it as written

MARIAN_NAMES = {
    "embedding.tokens": "embed_tokens",
    "blocks.": "layers.",
    "cross_attention.": "encoder_attn.",
    "cross_norm": "encoder_attn_layer_norm",
    ".attention.": ".self_attn.",
    "attention_norm": "self_attn_layer_norm",
    "feedforward.to_hidden": "fc1",
    "feedforward.to_out": "fc2",
    "feedforward_norm": "final_layer_norm",
    "to_out": "out_proj",
}


def our_beams(*, compiled: bool = False) -> MakeTranslator:
    """With one beam the greedy loop: nothing is kept that would have to be reordered."""
    from transformer_lib.generation import Conditioned, beam_search, generate, store_by_column

    def make(task: Translation) -> tuple[nn.Module, Write]:
        model = our_translator(task)
        store_by_column(model)
        if compiled:
            vars(model)["decode"] = torch.compile(model.decode)
        start = torch.full((task.batch, 1), START)

        def write(source: Tensor) -> Tensor:
            reading = Conditioned(model, source)
            if task.beams == 1:
                return generate(reading, start, max_new_tokens=task.new).tokens
            return beam_search(reading, start, beams=task.beams, max_new_tokens=task.new).tokens[:, 0]

        return model, write

    return make


def marian_beams(*, cache: str = "dynamic") -> MakeTranslator:
    from transformers import MarianConfig, MarianMTModel

    from transformer_lib.generation import store_by_column

    settings = cached(cache)

    def make(task: Translation) -> tuple[nn.Module, Write]:
        sides = ("encoder", "decoder")
        sizes = {f"{side}_layers": task.layers for side in sides} | {
            f"{side}_ffn_dim": 4 * task.d_model for side in sides
        }
        sizes |= {f"{side}_attention_heads": task.heads for side in sides}
        config = MarianConfig(
            **sizes,
            vocab_size=task.vocab,
            d_model=task.d_model,
            max_position_embeddings=max(task.source, task.new + 1),
            activation_function="relu",
            scale_embedding=True,
            pad_token_id=START,
            decoder_start_token_id=START,
            eos_token_id=None,
            forced_eos_token_id=None,
            attn_implementation="sdpa",
        )
        model = MarianMTModel(config).eval()
        computed = {"final_logits_bias", *(f"model.{side}.embed_positions.weight" for side in sides)}
        missing, unknown = model.load_state_dict(marian_state(our_translator(task)), strict=False)
        assert set(missing) <= computed and not unknown, (missing, unknown)
        store_by_column(model)
        options = {"max_new_tokens": task.new, "num_beams": task.beams, "do_sample": False} | settings

        def write(source: Tensor) -> Tensor:
            return model.generate(source, attention_mask=torch.ones_like(source), **options)[:, 1:]

        return model, write

    return make


def our_translator(task: Translation) -> nn.Module:
    """Our encoder-decoder of 2017, every parameter drawn; the same weights at every call."""
    from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Seq2SeqConfig, Sinusoidal
    from transformer_lib.models import Seq2Seq

    side = ModelConfig(
        vocab_size=task.vocab,
        d_model=task.d_model,
        num_layers=task.layers,
        max_length=max(task.source, task.new + 1),
        attention=AttentionConfig(num_heads=task.heads, bias=True),
        feedforward=Mlp(d_ff=4 * task.d_model, activation="relu"),
        positions=Sinusoidal(),
        norm_order="post",
        scale_embeddings=True,
    )
    model = Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if name.endswith("norm.weight") else 0.0
            parameter.copy_(around + 0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def marian_state(model: nn.Module) -> dict[str, Tensor]:
    """Our weights under Marian's names.

    Marian's positions hold all sines and then all cosines where ours alternate. Nothing else in the model knows an
    order of the channels of the residual stream, so all that reads or writes them is put in Marian's order.
    """
    width = model.config.decoder.d_model
    order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    state = {}
    for name, tensor in model.state_dict().items():
        writes = name.endswith(("to_out.weight", "to_out.bias")) or "norm" in name
        tensor = tensor[order] if writes else tensor[:, order] if name.endswith("weight") else tensor
        if name == "head.weight":
            state["lm_head.weight"] = state["model.shared.weight"] = tensor
            continue
        prefix = "model." if name.startswith("encoder.") else "model.decoder."
        theirs = next(iter(peers.renamed({name: tensor}, MARIAN_NAMES)))
        if "to_qkv" in theirs:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                state[prefix + theirs.replace("to_qkv", f"{part}_proj")] = rows
        else:
            state[prefix + theirs] = tensor
    return state


def sources_of(task: Translation) -> Tensor:
    """Random sources without padding, the same for everybody."""
    return torch.randint(1, task.vocab, (task.batch, task.source), generator=torch.Generator().manual_seed(1))
