"""Candidates of the training-step benchmark: one GPT-2 architecture as written by us and by others.

All of them get the same weights, drawn once per cell under GPT-2's own names, so equal losses show that equal work is
done; a parameter too many or too few fails the loading. What the peers compute is theirs: each trains through the
forward and the loss that its authors wrote, with the activation set to the exact GELU everywhere.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch._dynamo  # an optimiser imports it at its first step: 70 MiB that only some peers' imports bring along
import torch.nn.functional as F
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


def chunked_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of either of our models, without the logits of all tokens at once."""
    from transformer_lib.training.chunked import chunked_token_loss

    return chunked_token_loss(model.hidden(tokens), model.head.weight, targets).mean()


def whole_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    """The mean loss with them, which a compiled step on a GPU finishes sooner."""
    from transformer_lib.training.loss import token_loss

    return token_loss(model(tokens), targets).mean()


def ours(our_loss: Callable[..., Tensor] = chunked_loss) -> Make:
    from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig
    from transformer_lib.models import DecoderLM

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
        model.load_state_dict(renamed(weights(shape), OUR_NAMES))
        return model, lambda tokens, targets: our_loss(model, tokens, targets)

    return make


def huggingface_gpt2() -> Make:
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


def torch_encoder() -> Make:
    """What torch itself offers: an encoder's layers under a causal mask."""
    names = {"transformer.": "", "attn.c_attn.": "self_attn.in_proj_", "attn.c_proj": "self_attn.out_proj"}
    names |= {"mlp.c_fc": "linear1", "mlp.c_proj": "linear2", "ln_1": "norm1", "ln_2": "norm2", "h.": "blocks.layers."}

    class Model(nn.Module):
        def __init__(self, shape: Shape) -> None:
            super().__init__()
            self.wte = nn.Embedding(shape.vocab, shape.d_model)
            self.wpe = nn.Embedding(shape.context, shape.d_model)
            width = 4 * shape.d_model
            options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
            layer = nn.TransformerEncoderLayer(shape.d_model, shape.heads, width, **options)
            self.blocks = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
            self.ln_f = nn.LayerNorm(shape.d_model)
            self.lm_head = nn.Linear(shape.d_model, shape.vocab, bias=False)
            self.lm_head.weight = self.wte.weight
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(shape.context), False)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
            return self.lm_head(self.ln_f(self.blocks(x, mask=self.mask, is_causal=True)))

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        model = Model(shape)
        model.load_state_dict(renamed(weights(shape), names))
        return model, plain_loss(model)

    return make


def llms_from_scratch() -> Make:
    """The faster of the two models of its chapter 4; its GELU is the tanh approximation."""
    from llms_from_scratch.ch04 import GPTModelFast

    names = {"transformer.": "", "wte": "tok_emb", "wpe": "pos_emb", "h.": "trf_blocks.", "ln_1": "norm1"}
    names |= {"ln_2": "norm2", "ln_f": "final_norm", "lm_head": "out_head", "attn.c_attn": "att.qkv"}
    names |= {"attn.c_proj": "att.proj", "mlp.c_fc": "ff.layers.0", "mlp.c_proj": "ff.layers.2"}

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        model = GPTModelFast(
            {
                "vocab_size": shape.vocab,
                "context_length": shape.context,
                "emb_dim": shape.d_model,
                "n_heads": shape.heads,
                "n_layers": shape.layers,
                "drop_rate": 0.0,
                "qkv_bias": True,
            }
        )
        model.out_head.weight = model.tok_emb.weight
        model.load_state_dict(renamed(weights(shape), names))
        return model, plain_loss(model)

    return make


def plain_loss(model: nn.Module) -> Loss:
    """For authors who leave the loss to their user."""
    return lambda tokens, targets: F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


def stepper(
    model: nn.Module, loss_of: Callable[..., Tensor], precision: str, device: str = "cpu"
) -> Callable[..., Tensor]:
    """The training step that every candidate takes: from a batch, given as `loss_of` takes it, to its loss before."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(*batch: Any) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


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


def renamed(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """The state with each name's parts replaced, in order."""
    for theirs, our in names.items():
        state = {name.replace(theirs, our): tensor for name, tensor in state.items()}
    return state
