"""An encoder that was trained on text without marks, with its tokenizer: what other tasks start from.

It guesses hidden tokens, which is all that it has learnt (`pretraining.py`). Ours is a folder as every saved model,
with `masked text` as its task; those of Hugging Face's are BERT, RoBERTa, XLM-R and DistilBERT, bare or with any head,
of which only that of a masked language model is kept. Left out: writing one for transformers, which `to_hf` does.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from transformer_lib.checks import require, require_kind, require_positive
from transformer_lib.config import ModelConfig
from transformer_lib.contract import checked
from transformer_lib.device import check_device
from transformer_lib.files import read_json
from transformer_lib.interop.huggingface import CONFIG, from_hf
from transformer_lib.models.classifiers import SequenceClassifier, SpanFinder, TokenClassifier
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import MaskedLM
from transformer_lib.tasks.readable import fault_of_text, refuse_first
from transformer_lib.tasks.saved import load_any_tokenizer, load_config, load_model, read_about, save_model
from transformer_lib.text.published import read_published
from transformer_lib.text.stored import AnyTokenizer

TASK = "masked text"
ENCODERS = ("bert", "distilbert", "roberta", "xlm-roberta")  # families of Hugging Face's
MASK = "<|mask|>"  # ours
MASKS = (MASK, "[MASK]", "<mask>")
POOLERS = ("*.pooler.*", "cls.seq_relationship.*")  # of texts as a whole, which no task here asks for
WITHOUT_SEGMENTS = ("roberta", "xlm-roberta")  # their tokenizers put both texts into one, whatever the table has
HEADED = (Encoder, MaskedLM, SequenceClassifier, TokenClassifier, SpanFinder)
DROPOUT = 0.1  # of theirs, whose config may have a different one in each place


@checked
class Guess(NamedTuple):
    """What may stand where a token is hidden, and how probable that is."""

    text: str
    probability: float


@checked
class PretrainedEncoder:
    """An encoder, with or without the head that guesses hidden tokens, and its tokenizer."""

    def __init__(self, model: MaskedLM | Encoder, tokenizer: AnyTokenizer) -> None:
        size = model.config.vocab_size
        require(tokenizer.vocab_size <= size, "tokenizer", f"must have at most {size} tokens", tokenizer.vocab_size)
        self.model, self.tokenizer = model, tokenizer
        self.mask = next((name for name in MASKS if name in tokenizer.special_tokens), None)

    @property
    def encoder(self) -> Encoder:
        """The encoder without a head."""
        return self.model.encoder if isinstance(self.model, MaskedLM) else self.model

    def __call__(self, texts: Sequence[str], *, best: int = 5) -> list[list[list[Guess]]]:
        """For each text, and each `mask` that is written in it, the `best` guesses, the likeliest first.

        `ValueError` for an encoder that cannot guess, and for a text without a mask, or with more tokens than fit.
        """
        require_positive(best=best)
        require_kind(self.model, MaskedLM, "model", "a MaskedLM, whose head can guess")
        refuse_first(self.unreadable(texts), "texts")
        return [self._guess(ids, best) for ids in map(self._ids, texts)]

    def unreadable(self, texts: Sequence[str]) -> dict[int, str]:
        """By number from 0, the texts in which nothing can be guessed, with the reason."""
        faults: dict[int, str] = {}
        for number, text in enumerate(texts):
            most = self.model.config.max_length
            fault = fault_of_text(text, tokens=most)
            if fault is None and (self.mask is None or self.mask not in text):
                fault = f"must hold {self.mask or 'a mask, which this tokenizer has not'}, got {text!r}"
            if fault is None and len(ids := self._ids(text)) > most:
                fault = f"must have at most {most} tokens, got {len(ids)}"
            if fault is not None:
                faults[number] = fault
        return faults

    def _ids(self, text: str) -> list[int]:
        """The token of a hidden word has the space before it, as that of any word has."""
        assert self.mask is not None
        frame = self.tokenizer.frame
        text = re.sub(rf"\s+(?={re.escape(self.mask)})", "", text)
        ids = self.tokenizer.parse(text if frame.size or text.startswith(self.mask) else " " + text)
        return [*frame.before, *ids, *frame.after]

    @torch.inference_mode()
    def _guess(self, ids: list[int], best: int) -> list[list[Guess]]:
        assert isinstance(self.model, MaskedLM) and self.mask is not None
        tokens = torch.tensor([ids], device=next(self.model.parameters()).device)
        was_training = self.model.training
        logits = self.model.eval()(tokens)[0, tokens[0] == self.tokenizer.special_tokens[self.mask]]
        self.model.train(was_training)
        found = logits[:, : self.tokenizer.vocab_size].softmax(dim=-1).topk(min(best, self.tokenizer.vocab_size))
        return [
            [Guess(self.tokenizer.decode([i]).strip(), p) for p, i in zip(*row, strict=True)]
            for row in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        ]

    def save(
        self,
        folder: str | Path,
        *,
        evaluation: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write the new folder, with how it was evaluated and what it scored (`saved.py`)."""
        about = {"evaluation": evaluation or {}, "record": record or {}, "head": isinstance(self.model, MaskedLM)}
        save_model(folder, self.model, self.tokenizer, task=TASK, about=about, dtype=dtype)

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "PretrainedEncoder":
        """Read what `save` wrote; `ValueError` for anything else."""
        device = check_device(device)
        about, config = read_about(folder, task=TASK, own_fields=("head",)), load_config(folder)
        require(isinstance(config, ModelConfig), "config", "must be a ModelConfig", type(config).__name__)
        require(isinstance(about["head"], bool), f"{folder}: head", "must be true or false", about["head"])
        kind: type[MaskedLM] | type[Encoder] = MaskedLM if about["head"] else Encoder
        model: MaskedLM | Encoder = load_model(folder, lambda: kind(config), device=device)
        return cls(model, load_any_tokenizer(folder))

    @classmethod
    def from_hf(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "PretrainedEncoder":
        """An encoder of Hugging Face's with the folder's tokenizer; `ValueError` for a model of another kind."""
        model, tokenizer = read_headed(folder, device=device)
        return cls(model if isinstance(model, MaskedLM) else encoder_of(model), tokenizer)


@checked
class Headed(NamedTuple):
    """An encoder with whatever head its folder has, or none, and the tokenizer."""

    model: Encoder | MaskedLM | SequenceClassifier | TokenClassifier | SpanFinder
    tokenizer: AnyTokenizer


@checked
def read_headed(folder: str | Path, *, device: torch.device | str = "cpu") -> Headed:
    """An encoder of Hugging Face's with its head, in float32; `ValueError` for a model of another kind."""
    device, fields = check_device(device), read_json(Path(folder) / CONFIG)
    require(isinstance(fields, dict), str(Path(folder) / CONFIG), "must be a JSON object", fields)
    assert isinstance(fields, dict)
    classifies = str(fields.get("architectures")).endswith("ForSequenceClassification']")
    found = from_hf(folder, dtype=torch.float32, dropout=DROPOUT, drop=() if classifies else POOLERS)
    encoder = encoder_of(found)
    assert isinstance(found, HEADED)
    if fields.get("model_type") in WITHOUT_SEGMENTS and encoder.config.segments > 1:
        found = _of_one_segment(found)
    return Headed(found.to(device), read_published(folder))


@checked
def encoder_of(model: object) -> Encoder:
    """The encoder of a model, without its head; `ValueError` for one that has none."""
    if isinstance(model, Encoder):
        return model
    require(isinstance(model, HEADED), "model", "must be an encoder, with or without a head", type(model).__name__)
    assert isinstance(model, MaskedLM | SequenceClassifier | TokenClassifier | SpanFinder)
    return model.encoder


def _of_one_segment(model: Any) -> Any:
    """The same for whoever puts all tokens into the first segment."""
    config = replace(model.config, segments=1)
    made = type(model)(config, model.labels) if hasattr(model, "labels") else type(model)(config)
    state = model.state_dict()
    for name in state:
        if name.endswith("embedding.segments.weight"):
            state[name] = state[name][:1]
    made.load_state_dict(state)
    return made.eval()
