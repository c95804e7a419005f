"""The pencil-and-paper Transformer: a whole model whose every number can be computed by hand.

Four tokens, width 4, two heads of width 2, one pre-norm block, a tied head. Its weights are 0, quarters, halves and
ones. The rows of the embedding are orthonormal and, divided by their root mean square, have entries 1 and -1; `eps` is
so small that this holds to twelve digits. It reads "a 3 a" and should say "3 a 3".
"""

import numpy as np

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Norm, Rope
from transformer_lib.scratch.functions import Arrays

VOCABULARY = ("a", "b", "3", "5")
TOKENS = np.array([0, 2, 0])  # a 3 a
TARGETS = np.array([2, 0, 2])  # 3 a 3

CONFIG = ModelConfig(
    vocab_size=4,
    d_model=4,
    num_layers=1,
    max_length=4,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=4, activation="gelu", bias=False),
    positions=Rope(),
    norm=Norm(kind="rms", eps=1e-12),
)


def pencil_weights() -> Arrays:
    """The weights in float64, under the names of `DecoderLM(CONFIG)`; a linear map lies there as W^T, (out, in)."""
    halves = np.array(
        [[1, 1, 1, -1], [1, -1, 1, 1], [-1, 1, 1, 1], [1, 1, -1, 1]]  # a, b, 3, 5
    )
    w_q = np.array([[2, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 0], [1, 0, 0, -1]])
    w_k = np.array([[1, 0, 0, 1], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 2, -1]])
    w_v = np.array([[2, 0, 1, 0], [0, 2, 0, 1], [1, 0, -2, 0], [0, 1, 0, 2]])
    w_o = np.array([[1, 0, 2, 0], [0, 2, 0, -1], [2, 0, -1, 0], [0, 1, 0, 2]])
    w_1 = np.array([[2, -1, 0, 0], [0, 2, 1, 0], [1, 0, 0, 2], [0, 1, 2, 0]])
    w_2 = np.array([[1, 0, 0, 2], [2, 1, 0, 0], [0, 2, 1, 0], [0, 0, -2, 1]])
    return {
        "embedding.tokens.weight": halves / 2,
        "blocks.0.attention_norm.weight": np.ones(4),
        "blocks.0.attention.to_qkv.weight": np.concatenate([w_q.T, w_k.T, w_v.T]) / 4,
        "blocks.0.attention.to_out.weight": w_o.T / 4,
        "blocks.0.feedforward_norm.weight": np.ones(4),
        "blocks.0.feedforward.to_hidden.weight": w_1.T / 4,
        "blocks.0.feedforward.to_out.weight": w_2.T / 4,
        "final_norm.weight": np.ones(4),
    }
