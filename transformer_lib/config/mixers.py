"""What mixes the positions of a text, other than attention over keys and values, as data.

Attention keeps the keys and the values of every token. These keep less: `LatentAttention` one short vector a token,
`GatedDelta` and `LinearAttention` one matrix a head, however long the text. The modules are in `transformer_lib.nn`.
Left out: state-space layers (Mamba), and attention over chosen blocks.
"""

from dataclasses import dataclass
from typing import Literal

from transformer_lib.checks import require, require_between, require_sizes
from transformer_lib.contract import checked

LEAST_FACTOR, MOST_FACTOR = 1e-3, 1e3  # of scores; beyond, softmax is even or a maximum


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class GatedDelta:
    """The gated delta rule: each head has a matrix that forgets, and that every token corrects (Yang et al. 2024).

    The matrix of each of `num_heads` heads has `key_dim` x `value_dim` numbers. With fewer `num_key_heads` (None: as
    many), several heads share their queries and keys. A short convolution lets queries, keys and values see `conv`
    tokens, the newest included.
    """

    num_heads: int
    key_dim: int
    value_dim: int
    num_key_heads: int | None = None
    conv: int = 4

    def __post_init__(self) -> None:
        require_sizes(num_heads=self.num_heads, num_key_heads=self.key_heads)
        require_sizes(key_dim=self.key_dim, value_dim=self.value_dim, conv=self.conv)
        divides = self.num_heads % self.key_heads == 0
        require(divides, "num_key_heads", f"must divide num_heads={self.num_heads}", self.key_heads)

    @property
    def key_heads(self) -> int:
        """Number of heads of queries and keys."""
        return self.num_heads if self.num_key_heads is None else self.num_key_heads


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class LatentAttention:
    """Multi-head latent attention: keys and values of all heads are made from one short vector a token (DeepSeek-V2).

    A token keeps `kv_rank` numbers, from which each head makes a key of `head_dim` and a value of `value_dim`, and one
    more key of `rope_dim` for all heads, which alone is turned by its position. `pairs` says which channels turn
    together: i and i + rope_dim / 2 ("half"), or 2i and 2i + 1 ("interleaved", as DeepSeek's weights are laid out).
    Queries come from a vector of `q_rank` numbers, or straight from the stream (None). `bias` gives one to the
    projections into these vectors and to that back into the stream. Scores are multiplied by `score_factor` besides
    1 / sqrt(head_dim + rope_dim): for YaRN the square of its factor.
    """

    num_heads: int
    head_dim: int
    rope_dim: int
    value_dim: int
    kv_rank: int
    q_rank: int | None = None
    bias: bool = False
    pairs: Literal["half", "interleaved"] = "half"
    score_factor: float = 1.0

    def __post_init__(self) -> None:
        require_sizes(num_heads=self.num_heads, head_dim=self.head_dim, rope_dim=self.rope_dim)
        require_sizes(value_dim=self.value_dim, kv_rank=self.kv_rank)
        if self.q_rank is not None:
            require_sizes(q_rank=self.q_rank)
        require(self.rope_dim % 2 == 0, "rope_dim", "must be even to be turned", self.rope_dim)
        require_between(LEAST_FACTOR, MOST_FACTOR, score_factor=self.score_factor)

    def absorbing_pays(self, queries: int, keys: int) -> bool:
        """Whether fewer numbers are multiplied if queries go into the latent space, rather than keys and values out.

        A head expands `keys` latents with kv_rank * (head_dim + value_dim) products each, or absorbs `queries` queries
        with as many; but each pair then takes 2 * kv_rank products in the place of head_dim + value_dim.
        """
        require_sizes(queries=queries, keys=keys)
        expanded = self.head_dim + self.value_dim
        more_a_pair = 2 * self.kv_rank - expanded
        return queries * keys * more_a_pair < (keys - queries) * self.kv_rank * expanded


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearAttention:
    """Attention without the softmax: each head keeps one matrix, to which every token adds (Katharopoulos et al. 2020).

    `head_dim=None` means `d_model / num_heads`; the matrix has head_dim x (head_dim + 1) numbers.
    """

    num_heads: int
    head_dim: int | None = None

    def __post_init__(self) -> None:
        require_sizes(num_heads=self.num_heads)
        if self.head_dim is not None:
            require_sizes(head_dim=self.head_dim)
