"""A step of decoding recorded once as a CUDA graph: the GPU replays it without waiting for Python.

A small step is more than a hundred kernels of a few microseconds each, and Python needs longer to ask for one than the
GPU to run it. A graph asks for all of them at once.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from transformer_lib.config import Alibi, require
from transformer_lib.contract import checked_once
from transformer_lib.models.decoder import DecoderLM
from transformer_lib.nn.cache import KVCache
from transformer_lib.nn.embedding import check_newest
from transformer_lib.nn.fixed_cache import FixedCache

WARMUP = 3  # steps before the recording, in which libraries allocate what they keep (and a compiled model compiles)


@checked_once
class Recorded:
    """A `DecoderLM` on a CUDA device for `generate`: reads prompts as it is, and replays its step for one token.

    It owns one cache: `new_cache` of the same size empties it and gives it out again, so that the recording serves text
    after text, one text (or batch) at a time.
    """

    def __init__(self, model: DecoderLM) -> None:
        device, positions = model.head.weight.device, model.config.positions
        require(device.type == "cuda", "model", "must be on a CUDA device, whose steps can be recorded", str(device))
        require(
            not isinstance(positions, Alibi),
            "positions",
            "must not be Alibi, whose slopes come from the CPU",
            positions,
        )
        self.model = model
        self._cache: FixedCache | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return self.model.training

    @property
    def context(self) -> int | None:
        """The most tokens of a text that the model can read, None for no limit."""
        return self.model.context

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        """The cache, empty; who still writes into it loses what it holds."""
        cache = self._cache
        if cache is not None and (cache.batch, cache.max_length) == (batch, max_length):
            cache.rewind(0)
            return cache
        weight = self.model.head.weight
        self._graph = None
        self._cache = FixedCache(self.model.config, batch, max_length, dtype=weight.dtype, device=weight.device)
        return self._cache

    def __call__(
        self,
        tokens: Int[Tensor, "batch time"],
        *,
        positions: Tensor | None = None,
        valid: Tensor | None = None,
        cache: KVCache | None = None,
        past: Tensor | None = None,
        newest: int | None = None,
    ) -> Float[Tensor, "batch newest vocab"]:
        """The logits after each token; those of a replayed step stand where the next replay will write."""
        own = self._cache
        begun = own is not None and cache is own and own.length > 0
        if not begun or tokens.shape[1] > 1 or any(part is not None for part in (positions, valid, past)):
            return self.model(tokens, positions=positions, valid=valid, cache=cache, past=past, newest=newest)
        assert own is not None
        check_newest(newest, 1)
        require(own.room > 0, "cache", f"has room for 0 more tokens of max_length={own.max_length}", 1)
        graph = self._record(own) if self._graph is None else self._graph
        with torch.inference_mode():
            self._tokens.copy_(tokens)
            graph.replay()
        own.length += 1
        return self._logits

    @torch.inference_mode()
    def _record(self, cache: FixedCache) -> torch.cuda.CUDAGraph:
        """Capture one step; the steps before it, and what Python counted during it, are undone."""
        length = cache.length
        self._tokens = torch.zeros(cache.batch, 1, dtype=torch.int64, device=cache.device)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARMUP):
                self.model(self._tokens, cache=cache)
                cache.rewind(length)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = self.model(self._tokens, cache=cache)
        cache.length = length
        return self._graph
