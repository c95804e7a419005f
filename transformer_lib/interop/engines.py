"""CTranslate2: a model as a folder, with which an engine in C++ writes texts, without PyTorch.

`convert` writes the folder, `EngineLM` continues texts with it, and `EngineSeq2Seq` translates. Both take and give ids
of tokens as lists, of any lengths together. In float32 they write what `generate` and `beam_search` write, token by
token, with two exceptions: a tie may be broken otherwise by rounding; and at `max_new_tokens` this engine counts every
text that is still open, ours only as many as there is room for beside the closed ones.

The weights are in float32; in bfloat16, where the processor multiplies such numbers; or in int8, a quarter of the
bytes, with a scale for each row of a matrix. Then the products' inputs are rounded to int8 too, each token by itself.
Left out: GPUs, and what `engine_specs` leaves out.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from transformer_lib.checks import require, require_numbers, require_positive
from transformer_lib.config import Learned, ModelConfig, Seq2SeqConfig, Sinusoidal
from transformer_lib.contract import checked
from transformer_lib.generation.beam import MOST_PENALTY, Beams
from transformer_lib.interop.engine_folder import open_engine, read_engine
from transformer_lib.nn.memory import require_memory

MOST_SEED = 2**32 - 1
COLDEST, HOTTEST = 1e-4, 1e4  # the engine divides logits by the temperature as they are, in float32


@checked
class EngineLM:
    """A language model that CTranslate2 runs on the CPU, with as many threads as torch; `folder` is of `convert`.

    What is drawn depends on `seed` and on all that was drawn before.
    """

    def __init__(self, folder: str | Path, *, seed: int = 0) -> None:
        config, self.compute, longest = read_engine(Path(folder), ModelConfig)
        self.config: ModelConfig = config
        self.context = _context(config, longest)
        self.folder = Path(folder)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Draw from now on as if nothing had been drawn; this loads the weights anew, from the same folder."""
        require(0 <= seed <= MOST_SEED, "seed", f"must be from 0 to {MOST_SEED}", seed)
        self.seed = seed
        self.engine = open_engine("Generator", self.folder, self.compute)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop_ids: Collection[int] = (),
        forbidden_ids: Collection[int] = (),
    ) -> list[list[int]]:
        """Continue each prompt by up to `max_new_tokens` tokens, or to one of `stop_ids`, which it then ends with.

        Temperature 0 takes the most likely token at each step, otherwise one is drawn, as by `sample`. `ValueError`
        for ids outside the vocabulary, and for texts beyond the table of positions.
        """
        vocab = self.config.vocab_size
        require_numbers(temperature=temperature)
        fits = temperature == 0 or COLDEST <= temperature <= HOTTEST
        require(fits, "temperature", f"must be 0 or from {COLDEST:g} to {HOTTEST:g}", temperature)
        require(top_k is None or 1 <= top_k <= vocab, "top_k", f"must be from 1 to {vocab}", top_k)
        require(top_p is None or 0 < top_p <= 1, "top_p", "must be above 0 and at most 1", top_p)
        drawn = {"sampling_topk": top_k or 0, "sampling_topp": top_p or 1.0, "sampling_temperature": temperature}
        options = {"sampling_topk": 1} if temperature == 0 else drawn
        found = self._write(prompts, max_new_tokens, stop_ids, forbidden_ids, options)
        return [_ids(result.sequences[0]) for result in found]

    def beam_search(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        beams: int,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        length_penalty: float = 1.0,
        forbidden_ids: Collection[int] = (),
    ) -> Beams:
        """The `beams` best texts that the engine's search finds after each prompt; arguments as of `beam_search`."""
        options = _search_options(beams, length_penalty, max_new_tokens, self.config.vocab_size)
        found = self._write(prompts, max_new_tokens, stop_ids, forbidden_ids, options)
        return _beams([(each.sequences, each.scores) for each in found], beams, length_penalty)

    def log_probs(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """The natural log-probability of each token of each text but its first, given those before it."""
        _check_ids("texts", texts, self.config.vocab_size)
        require(min(map(len, texts)) > 1, "texts", "must have at least two tokens each", min(map(len, texts)))
        _check_room("texts", max(map(len, texts)), self.context)
        return [list(each.log_probs) for each in self.engine.score_batch(_texts(texts), max_input_length=0)]

    def _write(
        self,
        prompts: Sequence[Sequence[int]],
        new: int,
        stop_ids: Collection[int],
        forbidden_ids: Collection[int],
        options: dict[str, Any],
    ) -> list[Any]:
        """The engine's results, prompts of one length together: of others, it would count the longest's as new."""
        import ctranslate2

        require_positive(max_new_tokens=new)
        _check_ids("prompts", prompts, self.config.vocab_size)
        _check_room("prompts", max(map(len, prompts)) + new - 1, self.context)
        texts_at_once = len(prompts) * options.get("beam_size", 1)
        _check_memory(self.config, max(map(len, prompts)) + new, texts_at_once, new)
        options |= _limits(stop_ids, forbidden_ids, self.config.vocab_size)
        ctranslate2.set_random_seed(self.seed)  # which the engine reads before it draws for the first time
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            groups[len(prompt)].append(row)
        found: dict[int, Any] = {}
        for rows in groups.values():
            texts = _texts([prompts[row] for row in rows])
            results = self.engine.generate_batch(texts, max_length=new, include_prompt_in_result=False, **options)
            found |= zip(rows, results, strict=True)
        return [found[row] for row in range(len(prompts))]


@checked
class EngineSeq2Seq:
    """An encoder-decoder that CTranslate2 runs on the CPU, with as many threads as torch; `folder` is of `convert`."""

    def __init__(self, folder: str | Path) -> None:
        config, self.compute, longest = read_engine(Path(folder), Seq2SeqConfig)
        self.config: Seq2SeqConfig = config
        self.contexts = _context(config.encoder, longest), _context(config.decoder, longest)
        self.engine = open_engine("Translator", Path(folder), self.compute)

    def beam_search(
        self,
        sources: Sequence[Sequence[int]],
        *,
        start_id: int,
        beams: int,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        length_penalty: float = 1.0,
        forbidden_ids: Collection[int] = (),
    ) -> Beams:
        """The `beams` best texts for each source, written after `start_id`; other arguments as of `beam_search`."""
        read, written = self.config.encoder.vocab_size, self.config.decoder.vocab_size
        require_positive(max_new_tokens=max_new_tokens)
        _check_ids("sources", sources, read)
        _check_ids("start_id", [[start_id]], written)
        _check_room("sources", max(map(len, sources)), self.contexts[0])
        _check_room("max_new_tokens", max_new_tokens, self.contexts[1])
        _check_memory(self.config.decoder, max_new_tokens, len(sources) * beams, max_new_tokens)
        options = _search_options(beams, length_penalty, max_new_tokens, written) | _limits(
            stop_ids, forbidden_ids, written
        )
        found = self.engine.translate_batch(
            _texts(sources),
            target_prefix=[[str(start_id)]] * len(sources),
            max_input_length=0,  # nothing is cut
            max_decoding_length=max_new_tokens,
            min_decoding_length=0,
            **options,
        )
        return _beams([(each.hypotheses, each.scores) for each in found], beams, length_penalty)


# To the engine and back -----------------------------------------------------------------------------------------------


def _texts(rows: Sequence[Sequence[int]]) -> list[list[str]]:
    return [[str(token) for token in row] for row in rows]


def _ids(texts: Sequence[str]) -> list[int]:
    return [int(text) for text in texts]


def _search_options(beams: int, length_penalty: float, new: int, vocab: int) -> dict[str, Any]:
    require_positive(beams=beams, max_new_tokens=new)
    require(beams <= vocab, "beams", f"must be at most the vocabulary of {vocab}", beams)
    require_numbers(length_penalty=length_penalty)
    most = math.log(MOST_PENALTY) / math.log(max(new, 2))
    rule = f"must be at most {most:.4g} on either side of 0, for texts of up to {new} tokens"
    require(abs(length_penalty) <= most, "length_penalty", rule, length_penalty)
    return {"beam_size": beams, "num_hypotheses": beams, "length_penalty": length_penalty, "return_scores": True}


def _check_memory(config: ModelConfig, length: int, texts: int, new: int) -> None:
    """The engine sets memory aside for keys and values as it goes, and says nothing before there is none left."""
    a_token = 8 * config.num_layers * config.heads.kv_heads * config.head_dim
    require_memory(a_token * length * texts, max_new_tokens=new)


def _limits(stop_ids: Collection[int], forbidden_ids: Collection[int], vocab: int) -> dict[str, Any]:
    for name, ids in (("stop_ids", stop_ids), ("forbidden_ids", forbidden_ids)):
        outside = [token for token in ids if not 0 <= token < vocab]
        require(not outside, name, f"must be at least 0 and below the vocabulary of {vocab}", outside)
    require(len({*forbidden_ids}) < vocab, "forbidden_ids", "must leave a token", len({*forbidden_ids}))
    suppressed = [[str(token)] for token in sorted({*forbidden_ids})]
    return {"end_token": sorted({*stop_ids}), "return_end_token": True, "suppress_sequences": suppressed or None}


def _check_ids(name: str, rows: Sequence[Sequence[int]], vocab: int) -> None:
    require(len(rows) > 0 and all(len(row) > 0 for row in rows), name, "must not be empty", rows)
    low, high = min(map(min, rows)), max(map(max, rows))
    require(low >= 0, name, "must not be negative", low)
    require(high < vocab, name, f"must be below the vocabulary of {vocab}", high)


def _context(config: ModelConfig, longest: int) -> int | None:
    """How many positions there are; None for no limit."""
    match config.positions:
        case Learned():
            return config.max_length
        case Sinusoidal():
            return longest
        case _:
            return None


def _check_room(name: str, read: int, context: int | None) -> None:
    """The last new token is not read."""
    rule = f"must make no text of more than the {context} positions that the model has"
    require(context is None or read <= context, name, rule, read)


def _beams(found: list[tuple[list[list[str]], list[float]]], beams: int, length_penalty: float) -> Beams:
    """As `beam_search` gives it; the engine may find fewer texts than asked."""
    longest = max((len(text) for texts, _ in found for text in texts), default=0)
    tokens = torch.zeros(len(found), beams, max(longest, 1), dtype=torch.int64)
    lengths = torch.zeros(len(found), beams, dtype=torch.int64)
    scores = torch.full((len(found), beams), -math.inf)
    for row, (texts, points) in enumerate(found):
        for place, (text, score) in enumerate(zip(texts, points, strict=True)):
            ids = _ids(text)
            tokens[row, place] = torch.tensor(ids + ids[-1:] * (tokens.shape[2] - len(ids)))
            lengths[row, place], scores[row, place] = len(ids), score
    return Beams(tokens, lengths, scores * lengths.clamp(min=1) ** length_penalty, scores)
