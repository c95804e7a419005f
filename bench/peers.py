"""The candidates of the training-step benchmark: one GPT-2 architecture as written by us and by others.

All of them get the same weights, drawn once per cell under GPT-2's own names, so equal losses show that equal work is
done; a parameter too many or too few fails the loading. What the peers compute is theirs: each trains through the
forward and the loss that its authors wrote, with the activation set to the exact GELU everywhere.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


class Shape(NamedTuple):
    """The size of a model and of the batch it is trained on."""

    layers: int
    d_model: int
    heads: int
    context: int
    batch: int
    vocab: int


Make = Callable[[Shape], tuple[nn.Module, Loss]]

OUR_NAMES = {
    "transformer.wte": "embedding.tokens",
    "transformer.wpe": "embedding.positions",
    "transformer.h.": "blocks.",
    "transformer.ln_f": "final_norm",
    "ln_1": "attention_norm",
    "attn.c_attn": "attention.to_qkv",
    "attn.c_proj": "attention.to_out",
    "ln_2": "feedforward_norm",
    "mlp.c_fc": "feedforward.to_hidden",
    "mlp.c_proj": "feedforward.to_out",
    "lm_head": "head",
}


def ours() -> Make:
    from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig
    from transformer_lib.models import DecoderLM
    from transformer_lib.training.loss import token_loss

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        config = ModelConfig(
            vocab_size=shape.vocab,
            d_model=shape.d_model,
            num_layers=shape.layers,
            max_length=shape.context,
            attention=AttentionConfig(num_heads=shape.heads, bias=True),
            feedforward=Mlp(d_ff=4 * shape.d_model),
            positions=Learned(),
        )
        model = DecoderLM(config)
        model.load_state_dict({_our_name(name): tensor for name, tensor in weights(shape).items()})
        return model, lambda tokens, targets: token_loss(model(tokens), targets).mean()

    return make


def huggingface() -> Make:
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        config = GPT2Config(
            vocab_size=shape.vocab,
            n_positions=shape.context,
            n_embd=shape.d_model,
            n_layer=shape.layers,
            n_head=shape.heads,
            activation_function="gelu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            attn_implementation="sdpa",
            bos_token_id=0,
            eos_token_id=0,
        )
        model = GPT2LMHeadModel(config)
        state = weights(shape)
        for name, module in model.named_modules():
            if isinstance(module, Conv1D):  # its matrices stand (in, out)
                state[f"{name}.weight"] = state[f"{name}.weight"].T
        model.load_state_dict(state)
        # `shift_labels` are targets that are already shifted, as everybody's are here.
        return model, lambda tokens, targets: model(tokens, labels=targets, shift_labels=targets).loss

    return make


def nanogpt(path: str) -> Make:
    """`path` is a checkout of nanoGPT; its model.py is imported from there."""
    specification = importlib.util.spec_from_file_location("nanogpt_model", f"{path}/model.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # its dataclass looks itself up there
    specification.loader.exec_module(module)

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        config = module.GPTConfig(
            block_size=shape.context,
            vocab_size=shape.vocab,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_embd=shape.d_model,
            dropout=0.0,
            bias=True,
        )
        with contextlib.redirect_stdout(None):  # it reports its size there
            model = module.GPT(config)
        model.load_state_dict(weights(shape))
        return model, lambda tokens, targets: model(tokens, targets)[1]

    return make


def weights(shape: Shape) -> dict[str, Tensor]:
    """Weights of a GPT-2 of this shape under its own names, matrices as (out, in); the same at every call."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int, around: float = 0.0) -> Tensor:
        return around + 0.02 * torch.randn(*size, generator=generator)

    d = shape.d_model
    state = {"transformer.wte.weight": draw(shape.vocab, d), "transformer.wpe.weight": draw(shape.context, d)}
    for layer in range(shape.layers):
        at = f"transformer.h.{layer}."
        linears = {"attn.c_attn": (3 * d, d), "attn.c_proj": (d, d), "mlp.c_fc": (4 * d, d), "mlp.c_proj": (d, 4 * d)}
        for name, size in linears.items():
            state |= {f"{at}{name}.weight": draw(*size), f"{at}{name}.bias": draw(size[0])}
        for name in ("ln_1", "ln_2"):
            state |= {f"{at}{name}.weight": draw(d, around=1.0), f"{at}{name}.bias": draw(d)}
    state |= {"transformer.ln_f.weight": draw(d, around=1.0), "transformer.ln_f.bias": draw(d)}
    return state | {"lm_head.weight": state["transformer.wte.weight"]}


def _our_name(name: str) -> str:
    for theirs, our in OUR_NAMES.items():
        name = name.replace(theirs, our)
    return name


PEERS: dict[str, Callable[..., Make]] = {"transformer_lib": ours, "huggingface": huggingface, "nanogpt": nanogpt}
