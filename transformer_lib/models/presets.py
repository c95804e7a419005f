"""Published configurations, as functions that return a `ModelConfig`; vary one with `dataclasses.replace`."""

from transformer_lib.config import (
    AttentionConfig,
    Learned,
    Mlp,
    ModelConfig,
    Norm,
    Rope,
    Seq2SeqConfig,
    Sinusoidal,
    SwiGlu,
)
from transformer_lib.contract import checked_once


@checked_once
def tiny(vocab_size: int = 512, *, max_length: int = 128) -> ModelConfig:
    """A modern decoder small enough to train in a minute: pre-norm, RMSNorm, RoPE, SwiGLU."""
    return ModelConfig(
        vocab_size=vocab_size,
        d_model=96,
        num_layers=2,
        max_length=max_length,
        attention=AttentionConfig(num_heads=4),
        feedforward=SwiGlu(d_ff=256),
        positions=Rope(),
        norm=Norm(kind="rms"),
    )


def gpt2() -> ModelConfig:
    """GPT-2 small, 124,439,808 parameters (Radford et al. 2019)."""
    return ModelConfig(
        vocab_size=50_257,
        d_model=768,
        num_layers=12,
        max_length=1024,
        attention=AttentionConfig(num_heads=12, bias=True),
        feedforward=Mlp(d_ff=3072, activation="gelu_tanh"),
        positions=Learned(),
    )


def llama3_8b() -> ModelConfig:
    """Llama 3 8B, 8,030,261,248 parameters (Grattafiori et al. 2024)."""
    return ModelConfig(
        vocab_size=128_256,
        d_model=4096,
        num_layers=32,
        max_length=8192,
        attention=AttentionConfig(num_heads=32, num_kv_heads=8),
        feedforward=SwiGlu(d_ff=14_336),
        positions=Rope(theta=500_000.0),
        norm=Norm(kind="rms", eps=1e-5),
        tie_embeddings=False,
    )


def qwen3_0_6b() -> ModelConfig:
    """Qwen3 0.6B, 596,049,920 parameters; heads wider than d_model / num_heads, and QK-norm (Qwen Team 2025)."""
    return ModelConfig(
        vocab_size=151_936,
        d_model=1024,
        num_layers=28,
        max_length=40_960,
        attention=AttentionConfig(num_heads=16, num_kv_heads=8, head_dim=128, qk_norm=True),
        feedforward=SwiGlu(d_ff=3072),
        positions=Rope(theta=1_000_000.0),
        norm=Norm(kind="rms", eps=1e-6),
    )


def bert_base() -> ModelConfig:
    """BERT base (uncased), an encoder of 108,891,648 parameters without its pooler (Devlin et al. 2018)."""
    return ModelConfig(
        vocab_size=30_522,
        d_model=768,
        num_layers=12,
        max_length=512,
        attention=AttentionConfig(num_heads=12, bias=True),
        feedforward=Mlp(d_ff=3072),
        positions=Learned(),
        norm=Norm(eps=1e-12),
        norm_order="post",
        dropout=0.1,
        embedding_norm=True,
        segments=2,
    )


@checked_once
def transformer_base(vocab_size: int = 37_000) -> Seq2SeqConfig:
    """The base model of Vaswani et al. (2017): 6 + 6 layers, shared embeddings."""
    side = ModelConfig(
        vocab_size=vocab_size,
        d_model=512,
        num_layers=6,
        max_length=512,
        attention=AttentionConfig(num_heads=8),
        feedforward=Mlp(d_ff=2048, activation="relu"),
        positions=Sinusoidal(),
        norm_order="post",
        dropout=0.1,
        scale_embeddings=True,
    )
    return Seq2SeqConfig(encoder=side, decoder=side)
