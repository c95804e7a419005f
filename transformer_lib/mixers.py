"""What mixes the positions of a text, other than attention over keys and values, as data.

Attention keeps the keys and the values of every token. These keep less: `LatentAttention` one short vector a token,
`GatedDelta` and `LinearAttention` one matrix a head, however long the text. The modules are in `transformer_lib.nn`.
Left out: state-space layers (Mamba), and attention over chosen blocks.
"""

from dataclasses import dataclass

from transformer_lib.checks import require, require_sizes
from transformer_lib.contract import checked


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
