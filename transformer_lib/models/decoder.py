"""A decoder-only language model: GPT-2, Llama and Qwen are this file with different configs.

Each position predicts the next token from itself and what came before. Left out: dropout of whole layers, and any
knowledge of devices, precision or compilation, which are applied from outside.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.config import Learned, ModelConfig, require
from transformer_lib.contract import also, checked_once
from transformer_lib.nn.block import Block
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.embedding import Embedding, check_newest, check_positions, check_tokens
from transformer_lib.nn.experts import MixtureOfExperts
from transformer_lib.nn.fit import require_fit
from transformer_lib.nn.init import init_weights
from transformer_lib.nn.memory import require_stack_memory
from transformer_lib.nn.norm import build_final_norm
from transformer_lib.nn.relations import causal_relations, kinds_of, place
from transformer_lib.nn.router import Load


@checked_once
class DecoderLM(nn.Module):
    """logits = head(norm(block_L(... block_1(embed(tokens))))) with causal self-attention (Radford et al. 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        require_stack_memory(config)
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(Block(layer) for layer in config.layers)
        self.kinds = kinds_of(config)
        self.final_norm = build_final_norm(config)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=config.head_bias)
        init_weights(self, config)
        if config.tie_embeddings:
            self.head.weight = self.embedding.tokens.weight

    def _check_loads(self, loads: Sequence[Load | None] | None) -> None:
        layers = len(self.blocks)
        if loads is not None:
            require(len(loads) == layers, "loads", f"must be one (or None) for each of {layers} layers", len(loads))

    def _check_cache(self, cache: KVCache | None) -> None:
        if cache is not None:
            cache.check_fits(self.config)
            cache.check_meets(self.head.weight)

    @also(_check_cache, _check_loads)
    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "#batch time"] | None = None,
        valid: Bool[Tensor, "batch time"] | None = None,
        cache: KVCache | None = None,
        past: Bool[Tensor, "batch time key"] | None = None,
        newest: int | None = None,
        loads: Sequence[Load | None] | None = None,
    ) -> Float[Tensor, "batch newest vocab"]:
        """The logits of the token after each position.

        `valid` marks real tokens in a padded batch; `positions` are counted from it unless given. With a cache, the
        tokens are the continuation of what it holds, and it is extended in place. Where several continuations share
        a cache, as in beam search, `past` says which of its slots, the new ones included, each token continues.
        `newest` asks for the logits of that many last positions only; reading a prompt needs but one. `loads`, one for
        each layer, are told how the tokens spread over the experts (`new_loads`).
        """
        if newest is not None:
            check_newest(newest, tokens.shape[1])
        x = self.hidden(tokens, positions=positions, valid=valid, cache=cache, past=past, loads=loads)
        return self.logits(x if newest is None else x[:, -newest:])

    @also(_check_cache, _check_loads)
    def hidden(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "#batch time"] | None = None,
        valid: Bool[Tensor, "batch time"] | None = None,
        cache: KVCache | None = None,
        past: Bool[Tensor, "batch time key"] | None = None,
        loads: Sequence[Load | None] | None = None,
    ) -> Float[Tensor, "batch time d_model"]:
        """The residual stream after the final norm: what the head reads."""
        check_tokens(tokens, self.config.vocab_size)
        plain = positions is None and valid is None and past is None
        if positions is None:
            positions = place(tokens, valid, cache)
        check_positions(positions, tokens)
        x = self.embedding(tokens, positions)
        if cache is not None:
            cache.extend(positions, valid, batch=tokens.shape[0], plain=plain)
        relations = [
            causal_relations(kind, positions, valid, cache, plain=plain, dtype=x.dtype, past=past)
            for kind in self.kinds.configs
        ]
        layers = zip(self.blocks, self.kinds.of_layer, loads or [None] * len(self.blocks), strict=True)
        for index, (block, kind, load) in enumerate(layers):
            kept = None if cache is None else cache.layer(index)
            x = block(x, relations=relations[kind], cache=kept, valid=valid, load=load)
        return self.final_norm(x)

    @also(lambda self, x: require_fit("x", x, self.head.weight))
    def logits(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """x W with the head's weights, which are the embedding's if tied (Press and Wolf 2016), bent by `logit_cap`."""
        logits, cap = self.head(x), self.config.logit_cap
        return logits if cap is None else cap * (logits / cap).tanh()

    @property
    def context(self) -> int | None:
        """The most tokens of a text that it can read: the size of its position table, None without one."""
        return self.config.max_length if isinstance(self.config.positions, Learned) else None

    def new_loads(self) -> list[Load | None]:
        """For each layer what its experts can be counted into, or None if it has none; anew for each training step."""
        device = self.head.weight.device
        return [
            Load(block.feedforward.router.config.num_experts, device=device)
            if isinstance(block, Block) and isinstance(block.feedforward, MixtureOfExperts)
            else None
            for block in self.blocks
        ]

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache that fits this model, on its device and in its precision."""
        weight = self.head.weight
        return KVCache(self.config, batch, max_length, dtype=weight.dtype, device=weight.device)
