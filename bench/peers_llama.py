"""More candidates of the training-step benchmark: Llama as written by us and by others, and x-transformers.

Llama has rotary positions, RMSNorm, SwiGLU and no bias; the feed-forward width makes it as large as the GPT-2 of the
same shape to within 1 %. Here too the candidates of the family have the same weights, drawn under Hugging Face's names.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.peers import Loss, Make, Shape, chunked_loss, plain_loss, renamed

OUR_NAMES = {
    "model.embed_tokens": "embedding.tokens",
    "model.layers.": "blocks.",
    "model.norm": "final_norm",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "feedforward_norm",
    "self_attn.o_proj": "attention.to_out",
    "self_attn.qkv": "attention.to_qkv",
    "mlp.gate_proj": "feedforward.to_gate",
    "mlp.up_proj": "feedforward.to_hidden",
    "mlp.down_proj": "feedforward.to_out",
    "lm_head": "head",
}
LITGPT_NAMES = {
    "model.embed_tokens": "transformer.wte",
    "model.layers.": "transformer.h.",
    "model.norm": "transformer.ln_f",
    "input_layernorm": "norm_1",
    "post_attention_layernorm": "norm_2",
    "self_attn.o_proj": "attn.proj",
    "self_attn.qkv": "attn.qkv",
    "mlp.gate_proj": "mlp.fc_1",
    "mlp.up_proj": "mlp.fc_2",
    "mlp.down_proj": "mlp.proj",
}


def ours_llama(our_loss: Callable[..., Tensor] = chunked_loss) -> Make:
    from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
    from transformer_lib.models import DecoderLM

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        config = ModelConfig(
            vocab_size=shape.vocab,
            d_model=shape.d_model,
            num_layers=shape.layers,
            max_length=shape.context,
            attention=AttentionConfig(num_heads=shape.heads),
            feedforward=SwiGlu(d_ff=gated_width(shape)),
            positions=Rope(),
            norm=Norm(kind="rms"),
        )
        model = DecoderLM(config)
        model.load_state_dict(renamed(llama_weights(shape, fused=True), OUR_NAMES))
        return model, lambda tokens, targets: our_loss(model, tokens, targets)

    return make


def huggingface_llama() -> Make:
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        config = LlamaConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.d_model,
            intermediate_size=gated_width(shape),
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=shape.context,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",
        )
        model = LlamaForCausalLM(config)
        model.load_state_dict(llama_weights(shape, fused=False))
        return model, lambda tokens, targets: model(tokens, labels=targets, shift_labels=targets).loss

    return make


def litgpt() -> Make:
    from litgpt import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        config = Config(
            block_size=shape.context,
            vocab_size=shape.vocab,
            padded_vocab_size=shape.vocab,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_embd=shape.d_model,
            intermediate_size=gated_width(shape),
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            norm_eps=1e-5,
            mlp_class_name="LLaMAMLP",
        )
        model = GPT(config)
        model.lm_head.weight = model.transformer.wte.weight
        model.load_state_dict(renamed(llama_weights(shape, fused=True), LITGPT_NAMES))
        return model, lambda tokens, targets: chunked_cross_entropy(model(tokens), targets)

    return make


def x_transformers() -> Make:
    """Its own defaults: LayerNorm without bias, learned positions, no bias in attention."""
    from x_transformers import Decoder, TransformerWrapper

    def make(shape: Shape) -> tuple[nn.Module, Loss]:
        layers = Decoder(
            dim=shape.d_model,
            depth=shape.layers,
            heads=shape.heads,
            attn_dim_head=shape.d_model // shape.heads,
            attn_flash=True,
        )
        torch.manual_seed(0)
        model = TransformerWrapper(
            num_tokens=shape.vocab, max_seq_len=shape.context, attn_layers=layers, tie_embedding=True
        )
        return model, plain_loss(model)

    return make


def gated_width(shape: Shape) -> int:
    """Two thirds of 4 d_model, since a gated network has three matrices for two; up to the next multiple of 16."""
    return -(-8 * shape.d_model // 3 // 16) * 16


def llama_weights(shape: Shape, *, fused: bool) -> dict[str, Tensor]:
    """Weights of a Llama of this shape, matrices as (out, in); `fused` joins the matrices of q, k and v in one."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int, around: float = 0.0) -> Tensor:
        return around + 0.02 * torch.randn(*size, generator=generator)

    d, width = shape.d_model, gated_width(shape)
    state = {"model.embed_tokens.weight": draw(shape.vocab, d), "model.norm.weight": draw(d, around=1.0)}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        q, k, v = (draw(d, d) for _ in range(3))
        if fused:
            state[f"{at}self_attn.qkv.weight"] = torch.cat([q, k, v])
        else:
            for name, part in zip("qkv", (q, k, v), strict=True):
                state[f"{at}self_attn.{name}_proj.weight"] = part
        sizes = {"gate": (width, d), "up": (width, d), "down": (d, width)}
        state |= {f"{at}mlp.{name}_proj.weight": draw(*size) for name, size in sizes.items()}
        state[f"{at}self_attn.o_proj.weight"] = draw(d, d)
        for name in ("input_layernorm", "post_attention_layernorm"):
            state[f"{at}{name}.weight"] = draw(d, around=1.0)
    return state | {"lm_head.weight": state["model.embed_tokens.weight"]}
