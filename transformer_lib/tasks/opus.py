"""A published translator of the Marian family, such as OPUS-MT's: a folder with two models of SentencePiece.

The encoder reads the pieces of the source and `</s>`; the decoder starts from the token that the folder says (padding,
most often) and writes up to `</s>`. What the authors forbid or force is forbidden and forced, and padding is never
written. One model may know several target languages: a sentence then begins with the one that is asked for, `>>fra<<`.

Junczys-Dowmunt et al. (2018), arXiv:1804.00344; Tiedemann and Thottingal (2020), "OPUS-MT". `paragraphs.py` splits a
text into sentences.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from transformer_lib.checks import require, require_numbers, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import pad
from transformer_lib.device import check_device
from transformer_lib.generation.beam import Beams, beam_search
from transformer_lib.generation.conditioned import Conditioned
from transformer_lib.interop.generation_config import GenerationSettings, read_generation
from transformer_lib.interop.huggingface import from_hf
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.tasks.candidates import NOTHING, Translation, best_of, check_count
from transformer_lib.tasks.readable import fault_of_length, fault_of_text, refuse_first
from transformer_lib.text.published import PairOfTokenizers, read_pair

MOST_NEW = 512
STEP = 16  # sentences are translated with others whose longest translation is the same multiple


@checked
@dataclass(frozen=True)
class OpusTranslator:
    """Call it with sentences, and it gives their translations.

    `settings` say where a translation starts and ends, and which tokens it may not hold or must. `ValueError` if the
    tokenizers do not fit the model, or nothing says where a translation starts.
    """

    model: Seq2Seq
    tokenizers: PairOfTokenizers
    settings: GenerationSettings

    def __post_init__(self) -> None:
        size, known = self.model.config.decoder.vocab_size, self.tokenizers.target.vocab_size
        require(known <= size, "tokenizers", f"must have at most the {size} tokens of the model", known)
        start = self.settings.start_id
        require(start is not None and start < size, "start_id", f"must be given, below {size}", start)

    @classmethod
    def from_hf(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        drop: Collection[str] = (),
        ignore: Collection[str] = (),
        device: torch.device | str = "cpu",
    ) -> "OpusTranslator":
        """The translator in a folder that transformers wrote; arguments as of `Writer.from_hf`."""
        device = check_device(device)
        settings, pair = read_generation(folder, ignore=ignore), read_pair(folder)
        model = from_hf(folder, dtype=dtype, dropout=0.0, drop=drop, device=device)
        require(isinstance(model, Seq2Seq), "folder", "must hold an encoder-decoder", type(model).__name__)
        assert isinstance(model, Seq2Seq)
        return cls(model, pair, settings)

    def __call__(
        self,
        texts: Sequence[str],
        *,
        beams: int = 5,
        length_penalty: float = 1.0,
        max_new_tokens: int | None = None,
        batch: int = 64,
    ) -> list[str]:
        """The translation of each sentence: the best that beam search finds, or the greedy one with `beams=1`.

        A sentence without words gives "". A translation has at most `max_new_tokens` tokens, or, unless that is said,
        twice its source's and a little. `ValueError` for a sentence that `unreadable` names.
        """
        found = self.candidates(
            texts, beams=beams, length_penalty=length_penalty, max_new_tokens=max_new_tokens, batch=batch
        )
        return [best.text for best, *_ in found]

    def candidates(
        self,
        texts: Sequence[str],
        *,
        beams: int = 5,
        length_penalty: float = 1.0,
        n_best: int = 1,
        max_new_tokens: int | None = None,
        batch: int = 64,
    ) -> list[list[Translation]]:
        """Up to `n_best` different translations of each sentence, best first, with their log-probabilities.

        They come from a search with `beams`, so there are no more than that. Other arguments and errors as of a call.
        """
        require_positive(beams=beams, batch=batch)
        check_count(n_best, beams)
        require_numbers(length_penalty=length_penalty)
        vocab = self.model.config.decoder.vocab_size
        require(beams <= vocab, "beams", f"must be at most the vocabulary of {vocab}", beams)
        if max_new_tokens is not None:
            require_positive(max_new_tokens=max_new_tokens)
        sources, faults = self._read(texts)
        refuse_first(faults, "texts")
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for row, source in enumerate(sources):
            if source:
                groups[max_new_tokens or 2 * STEP * -(-len(source) // STEP) + STEP].append(row)
        written = [[NOTHING]] * len(sources)
        for limit, rows in sorted(groups.items()):
            for start in range(0, len(rows), batch):
                some = rows[start : start + batch]
                found = self._write([sources[row] for row in some], limit, beams, length_penalty)
                best = best_of(found, [texts[row] for row in some], self._spell, n_best=n_best)
                for row, each in zip(some, best, strict=True):
                    written[row] = each
        return written

    def unreadable(self, texts: Sequence[str]) -> dict[int, str]:
        """By number from 0, the sentences that cannot be translated, with the reason: too long, or no text."""
        return self._read(texts)[1]

    def _read(self, texts: Sequence[str]) -> tuple[list[list[int]], dict[int, str]]:
        most = self.model.config.encoder.max_length
        found = {number: fault_of_text(text, tokens=most) for number, text in enumerate(texts)}
        readable = ["" if found[number] else text for number, text in enumerate(texts)]
        ids = self.tokenizers.source.encode_batch(readable, special=True)
        sources = [each if text.strip() else [] for text, each in zip(readable, ids, strict=True)]
        for number, source in enumerate(sources):
            found[number] = found[number] or fault_of_length(source, most, "tokens with its end")
        return sources, {number: fault for number, fault in found.items() if fault}

    def _write(self, sources: list[list[int]], limit: int, beams: int, length_penalty: float) -> Beams:
        device = self.model.head.weight.device
        source = pad(sources, 0)
        reader = Conditioned(self.model, source.tokens.to(device), source.valid.to(device))
        assert self.settings.start_id is not None
        limit = min(limit, self.model.context or MOST_NEW)
        return beam_search(
            reader,
            torch.full((len(sources), 1), self.settings.start_id, device=device),
            beams=beams,
            max_new_tokens=limit,
            stop_ids=self._stops,
            length_penalty=length_penalty,
            forbidden_ids=self._forbidden,
            forced_ids=self.settings.forced_ids(limit),
        )

    @property
    def _stops(self) -> tuple[int, ...]:
        return self.settings.stop_ids or self.tokenizers.target.after

    @property
    def _forbidden(self) -> list[int]:
        """Also padding, which begins a text in these models, and what has no piece."""
        target = self.tokenizers.target
        lacking = [i for i in range(self.model.config.decoder.vocab_size) if not target.has(i)]
        pads = [i for text, i in target.special_tokens.items() if text == "<pad>"]
        return sorted({*self.settings.forbidden_ids, *lacking, *pads} - {*self._stops})

    def _spell(self, ids: list[int]) -> str:
        special = {*self.tokenizers.target.special_tokens.values(), *self._stops}
        return self.tokenizers.target.decode([i for i in ids if i not in special]).strip()
