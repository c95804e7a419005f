"""Translation: sentence pairs to batches, the loss, and a translator that writes, scores itself and can be saved.

Both languages share one byte-level BPE, so every script can be read. A sentence is cut with a space in front, so that a
word has the same tokens wherever it stands; line ends and other runs of white space count as one space. The encoder
reads the sentence and `</s>`; the decoder starts from `<s>` and writes up to `</s>`.
Left out: several references. `paragraphs.py` splits a text into sentences.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor, nn

from transformer_lib.checks import is_finite, require, require_kind, require_numbers, require_positive
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.data.batching import BucketedBatches, pad
from transformer_lib.data.examples import Pair
from transformer_lib.device import check_device
from transformer_lib.generation.beam import Beams, beam_search
from transformer_lib.generation.conditioned import Conditioned
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.tasks.candidates import NOTHING, Translation, best_of, check_count, together
from transformer_lib.tasks.metrics import Tokenize, bleu, chrf
from transformer_lib.tasks.readable import fault_of_length, fault_of_text, refuse_first
from transformer_lib.tasks.saved import load_config, load_model, load_tokenizer, read_about, save_model
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.chunked import chunked_token_loss
from transformer_lib.training.loss import LossSum

TASK = "translation"
UNSURE = "unsure_below"  # in `about.json`, of a translator that has a threshold
PAD, START, END = "<pad>", "<s>", "</s>"
IGNORE = -100
Result = TypeVar("Result")


# From text to batches -------------------------------------------------------------------------------------------------


@checked
def clean(text: str, *, lowercase: bool = False) -> str:
    """One line with a space in front of each word, or nothing if there is no word."""
    line = "".join(f" {word}" for word in text.split())
    return line.lower() if lowercase else line


@checked
def train_tokenizer(pairs: Sequence[Pair], vocab_size: int, *, lowercase: bool = False) -> Tokenizer:
    """One BPE for both languages, with the special tokens that translation needs."""
    texts = [clean(text, lowercase=lowercase) for pair in pairs for text in pair]
    return Tokenizer.train(texts, vocab_size, (PAD, START, END))


@checked
class PairIds(NamedTuple):
    """A pair as token ids: the source with `</s>`, and the target between `<s>` and `</s>`."""

    source: list[int]
    target: list[int]


@checked
def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair], *, lowercase: bool = False) -> list[PairIds]:
    """The ids of each pair; a sentence without words is a `ValueError` that gives its number."""
    texts = [clean(text, lowercase=lowercase) for pair in pairs for text in pair]
    for index, text in enumerate(texts):
        require(bool(text), f"pairs[{index // 2}]", "must have words on both sides", pairs[index // 2])
    start, end = tokenizer.special_tokens[START], tokenizer.special_tokens[END]
    ids = tokenizer.encode_batch(texts)
    return [PairIds([*s, end], [start, *t, end]) for s, t in zip(ids[::2], ids[1::2], strict=True)]


@checked
class Batch(NamedTuple):
    """Pairs padded on the right; `labels` is what each position of `target` should predict, or IGNORE."""

    source: Int[Tensor, "batch source"]
    source_valid: Bool[Tensor, "batch source"]
    target: Int[Tensor, "batch target"]
    labels: Int[Tensor, "batch target"]


@checked
def make_batch(pairs: Sequence[PairIds]) -> Batch:
    """The pairs as one batch. What fills the rows up is never looked at, so it may be any id."""
    source = pad([pair.source for pair in pairs], 0)
    target = pad([pair.target[:-1] for pair in pairs], 0)
    labels = pad([pair.target[1:] for pair in pairs], IGNORE)
    return Batch(*source, target.tokens, labels.tokens)


@checked
def pair_batches(
    pairs: Sequence[PairIds], *, token_budget: int, seed: int, epochs: int | None = None
) -> BucketedBatches[Batch]:
    """Shuffled batches of pairs of like length; source and target with their padding keep to the budget together."""
    lengths = [(len(pair.source), len(pair.target) - 1) for pair in pairs]

    def collate(rows: list[int]) -> Batch:
        return make_batch([pairs[i] for i in rows])

    return BucketedBatches(lengths, collate, token_budget=token_budget, seed=seed, epochs=epochs)


@checked
def translation_loss(model: nn.Module, batch: Batch, *, smoothing: float = 0.0) -> LossSum:
    """The loss of the target's tokens given the source, through the chunked head; `smoothing` in training mode only.

    So the loss on held-out pairs is the model's own, in nats per token.
    """
    require_kind(model, Seq2Seq, "model", "a Seq2Seq")
    assert isinstance(model, Seq2Seq)
    weight, bias = model.head.weight, model.head.bias
    source, valid, target, labels = (part.to(weight.device) for part in Batch(*batch))
    # No mask for the target's padding: it stands on the right, where no real token looks.
    hidden = model.hidden(target, model.encode(source, valid))
    if bias is not None:  # the chunked loss knows a weight alone: x W + b is (x, 1) times W above b
        hidden, weight = F.pad(hidden, (0, 1), value=1.0), torch.cat([weight, bias[:, None]], dim=1)
    return chunked_token_loss(hidden, weight, labels, ignore=IGNORE, smoothing=smoothing if model.training else 0.0)


# From a model to translations -----------------------------------------------------------------------------------------


@checked
@dataclass(frozen=True)
class Translator:
    """A trained model with its tokeniser: call it with sentences. `lowercase` is for a model of lower-cased text.

    A translation with less log-probability per token than `unsure_below` is unsure; None where nobody measured that.
    """

    model: Seq2Seq
    tokenizer: Tokenizer
    lowercase: bool = False
    unsure_below: float | None = None

    def __post_init__(self) -> None:
        if self.unsure_below is not None:
            require_numbers(unsure_below=self.unsure_below)
        missing = [name for name in (PAD, START, END) if name not in self.tokenizer.special_tokens]
        require(not missing, "tokenizer", "must have the special tokens of translation; missing are", missing)
        config, size = self.model.config, self.tokenizer.vocab_size
        for side in ("encoder", "decoder"):
            own = getattr(config, side).vocab_size
            require(own == size, "tokenizer", f"must have the {own} tokens of the model's {side}", size)

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "Translator":
        """The translator that `save` wrote; `ValueError` for anything else."""
        device = check_device(device)
        measured = [UNSURE] if UNSURE in read_about(folder, task=TASK) else []
        about = read_about(folder, task=TASK, own_fields=["lowercase", *measured])
        lowercase, unsure = about["lowercase"], about.get(UNSURE)
        require(not measured or is_finite(unsure), f"{folder}: {UNSURE}", "must be a finite number", unsure)
        require(isinstance(lowercase, bool), f"{folder}: lowercase", "must be true or false", lowercase)
        config = load_config(folder)
        require(isinstance(config, Seq2SeqConfig), "config", "must be a Seq2SeqConfig", type(config).__name__)
        model = load_model(folder, lambda: Seq2Seq(config), device=device)
        return cls(model, load_tokenizer(folder), lowercase, unsure)

    def save(
        self,
        folder: str | Path,
        *,
        evaluation: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write the new folder `folder` (see `saved.py`)."""
        about = {"lowercase": self.lowercase, "evaluation": evaluation or {}, "record": record or {}}
        about |= {} if self.unsure_below is None else {UNSURE: self.unsure_below}
        save_model(folder, self.model, self.tokenizer, task=TASK, about=about, dtype=dtype)

    def __call__(
        self, texts: Sequence[str], *, beams: int = 5, length_penalty: float = 1.0, batch: int = 64
    ) -> list[str]:
        """The translation of each sentence: the best that beam search finds, or the greedy one with `beams=1`.

        A sentence without words gives "". Raises `ValueError` for one that `unreadable` names. A translation ends at
        twice its source's length and a little: who has not stopped by then is repeating.
        """
        found = self.candidates(texts, beams=beams, length_penalty=length_penalty, batch=batch)
        return [best.text for best, *_ in found]

    def candidates(
        self, texts: Sequence[str], *, beams: int = 5, length_penalty: float = 1.0, n_best: int = 1, batch: int = 64
    ) -> list[list[Translation]]:
        """Up to `n_best` different translations of each sentence, best first, with their log-probabilities.

        They come from a search with `beams`, so there are no more than that. Other arguments and errors as of a call.
        """
        check_count(n_best, beams)

        def best(found: Beams, sources: list[str]) -> list[list[Translation]]:
            return best_of(found, sources, self._spell, n_best=n_best)

        return self._search(texts, beams, length_penalty, batch, best, [NOTHING])

    def _search(
        self,
        texts: Sequence[str],
        beams: int,
        length_penalty: float,
        batch: int,
        take: Callable[[Beams, list[str]], list[Result]],
        nothing: Result,
    ) -> list[Result]:
        """What is to be taken of the texts that beam search finds for each sentence."""
        require_positive(beams=beams, batch=batch)
        require_numbers(length_penalty=length_penalty)
        vocab = self.tokenizer.vocab_size
        require(beams <= vocab, "beams", f"must be at most the vocabulary of {vocab}", beams)
        sources, faults = self._read(texts)
        refuse_first(faults, "texts")
        written = [nothing] * len(sources)
        for limit, rows in together(list(map(len, sources)), batch):
            found = self._write([sources[i] for i in rows], limit, beams, length_penalty)
            for row, each in zip(rows, take(found, [texts[i] for i in rows]), strict=True):
                written[row] = each
        return written

    def unreadable(self, texts: Sequence[str]) -> dict[int, str]:
        """By number from 0, the sentences that cannot be translated, with the reason.

        They have more tokens than `max_length` of the encoder's config, or are not text.
        """
        return self._read(texts)[1]

    def evaluate(
        self,
        pairs: Sequence[Pair],
        *,
        beams: int = 5,
        length_penalty: float = 1.0,
        lowercase: bool = False,
        tokenize: Tokenize = "13a",
    ) -> dict[str, Any]:
        """Corpus BLEU and chrF of the translations, from 0 to 100, with sacrebleu's signatures.

        Computed in float64: a difference in rounding between two machines must not decide between two words. What is
        scored is the search's best text, also where a call would not give it, since its bytes are no characters.
        """
        exact = replace(self, model=copy.deepcopy(self.model).double())
        best = lambda found, _: [self._spell(ids) for ids in found.best()]  # noqa: E731
        written = exact._search([pair.source for pair in pairs], beams, length_penalty, 64, best, "")
        references = [pair.target for pair in pairs]
        scores = {
            "bleu": bleu(written, references, lowercase=lowercase, tokenize=tokenize),
            "chrf": chrf(written, references, lowercase=lowercase),
        }
        return {
            "pairs": len(pairs),
            **{name: score.value for name, score in scores.items()},
            **{f"{name}_signature": score.signature for name, score in scores.items()},
        }

    def batch(self, pairs: Sequence[Pair]) -> Batch:
        """The pairs as the model reads them: `model(source, target, source_valid=...)` scores a given translation.

        Within `viz.record_attention(translator.model)` this shows what each target token looks at in the source.
        """
        batch = make_batch(encode_pairs(self.tokenizer, pairs, lowercase=self.lowercase))
        return Batch(*(part.to(self.model.head.weight.device) for part in batch))

    def _read(self, texts: Sequence[str]) -> tuple[list[list[int]], dict[int, str]]:
        """The ids of each sentence with `</s>`, none for a sentence without words; and what is wrong with which."""
        most, end = self.model.config.encoder.max_length, self.tokenizer.special_tokens[END]
        lines = [clean(text, lowercase=self.lowercase) for text in texts]
        found = {number: fault_of_text(line, tokens=most) for number, line in enumerate(lines)}
        ids = self.tokenizer.encode_batch("" if found[number] else line for number, line in enumerate(lines))
        sources = [[*each, end] if each else [] for each in ids]
        for number, source in enumerate(sources):
            found[number] = found[number] or fault_of_length(source, most, "tokens with its end")
        return sources, {number: fault for number, fault in found.items() if fault}

    def _write(self, sources: list[list[int]], limit: int, beams: int, length_penalty: float) -> Beams:
        device = self.model.head.weight.device
        source = pad(sources, 0)
        reader = Conditioned(self.model, source.tokens.to(device), source.valid.to(device))
        start = torch.full((len(sources), 1), self.tokenizer.special_tokens[START], device=device)
        return beam_search(
            reader,
            start,
            beams=beams,
            max_new_tokens=min(limit, self.model.context or limit),
            stop_ids=[self.tokenizer.special_tokens[END]],
            length_penalty=length_penalty,
        )

    def _spell(self, ids: list[int]) -> str:
        special = self.tokenizer.special_tokens.values()
        return self.tokenizer.decode([i for i in ids if i not in special], whole_characters=True).strip()
