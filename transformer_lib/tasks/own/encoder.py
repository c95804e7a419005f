"""An encoder that learns from own texts without any marks, by guessing hidden tokens: for other tasks to start from.

    python -m transformer_lib train encoder --data my-texts/ --out my-encoder
    python -m transformer_lib train extraction --data sentences.jsonl --out my-extractor --from my-encoder

With `--from` an encoder that others trained goes on with texts of one's own field.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from transformer_lib.checks import require, require_kind
from transformer_lib.contract import checked
from transformer_lib.data.batching import PackedBatches
from transformer_lib.data.packing import LMBatch, held_out_batches
from transformer_lib.models.heads import MaskedLM
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.encoder import MASK, MASKS, PretrainedEncoder
from transformer_lib.tasks.evaluation import OWN
from transformer_lib.tasks.inputs import SPECIAL_TOKENS
from transformer_lib.tasks.own.adapting import Tuning, adapt, all_targets, base_of, conclude, known_by
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material, number_of, size_named
from transformer_lib.tasks.own.starting import read_encoder
from transformer_lib.tasks.own.text import END, texts_of
from transformer_lib.tasks.own.training import layers_of, train_own
from transformer_lib.tasks.pretraining import IGNORED, MaskedBatch, mask_tokens, masked_loss
from transformer_lib.text.stored import AnyTokenizer
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training.loss import LossSum

NAME = "encoder"
OPTIONS = SHARED
BATCH, CONTEXT, MAX_LENGTH = 32, 128, 512
EPOCHS_FROM = 5  # of an encoder that was trained before
SIZES = {  # vocabulary, width, layers, dropout, epochs
    "tiny": (1000, 96, 2, 0.1, 40),
    "small": (4000, 128, 4, 0.1, 20),
    "medium": (16_000, 384, 6, 0.1, 4),
}


def train_on_texts(run: Run) -> dict[str, Any]:
    """How well hidden tokens of the test are guessed, and the facts of the training."""
    train, validation, test = texts_of(Material.of(run, ["texts"]))
    torch.manual_seed(run.seed)
    encoder, tuning, epochs = _adapted(run) if run.options["from"] else _fresh(run, train)
    model = encoder.model
    assert isinstance(model, MaskedLM)
    run = known_by(run, model) if run.options["from"] else run
    inside = _context(encoder)
    stream = _stream(encoder.tokenizer, train)
    require(len(stream) > inside, "data", f"must have more than {inside} tokens", len(stream))
    batches = PackedBatches(stream, batch=max(1, BATCH // run.processes), context=inside, seed=run.seed)

    def loss(each: nn.Module, batch: LMBatch | MaskedBatch) -> LossSum:
        require_kind(each, MaskedLM, "model", "a MaskedLM")
        assert isinstance(each, MaskedLM)
        return masked_loss(each, batch if isinstance(batch, MaskedBatch) else masked_windows(encoder, batch.inputs))

    facts = train_own(
        run,
        model,
        loss,
        batches,
        hidden_batches(encoder, validation),
        steps_per_epoch=max(1, batches.per_epoch // BATCH),
        epochs=epochs,
        peak=tuning.peak,
        rates=tuning.rates,
    )
    if run.options["from"]:
        assert isinstance(model, MaskedLM)
        conclude(run, model, base_of(run.options))
    model.to(torch.float16).to(torch.float32).eval()
    record = guessed(encoder, test)
    if run.is_first:
        encoder.save(run.model_folder(), evaluation={"data": OWN}, record=record, dtype=torch.float16)
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    return facts | {"test": record, "texts": counts, "tokens": len(stream)}


run = train_on_texts  # what a recipe is asked for


def _fresh(run: Run, train: list[str]) -> tuple[PretrainedEncoder, Tuning, int]:
    """An encoder from scratch, as large as the texts allow, its rate, and how long it learns."""
    characters = sum(map(len, train))
    usual = "tiny" if characters < 3_000_000 else "small" if characters < 50_000_000 else "medium"
    vocab, width, layers, dropout, epochs = SIZES[size_named(run.options, SIZES, usual)]
    special = (MASK, END, *SPECIAL_TOKENS)
    tokenizer = Tokenizer.train(
        [" " + text for text in train], number_of(run.options, "vocab", vocab), special, at_most=True
    )
    config = layers_of(
        tokenizer.vocab_size, width=width, layers=layers, d_ff=8 * width // 3, max_length=MAX_LENGTH, dropout=dropout
    )
    return PretrainedEncoder(MaskedLM(config).to(run.device), tokenizer), Tuning(0.003, {}, []), epochs


def _adapted(run: Run) -> tuple[PretrainedEncoder, Tuning, int]:
    """An encoder that can guess already."""
    base = base_of(run.options)
    encoder = read_encoder(base, run.device)
    model = encoder.model
    require(isinstance(model, MaskedLM), "--from", "must have the head that guesses", type(model).__name__)
    assert isinstance(model, MaskedLM)
    return encoder, adapt(model, run.options, targets=all_targets(model, base, run.options)), EPOCHS_FROM


@checked
def masked_windows(encoder: PretrainedEncoder, tokens: Int[Tensor, "batch time"]) -> MaskedBatch:
    """Windows of a text with some tokens hidden, each between the special tokens of the encoder."""
    require(encoder.mask is not None, "encoder", "must have a token that hides others", list(MASKS))
    assert encoder.mask is not None
    tokenizer, frame = encoder.tokenizer, encoder.tokenizer.frame
    batch = mask_tokens(tokens, mask=tokenizer.special_tokens[encoder.mask], vocab_size=tokenizer.vocab_size)
    ends = [torch.tensor([part]).expand(len(tokens), -1).to(tokens) for part in (frame.before, frame.after)]
    asked = [torch.full_like(end, IGNORED) for end in ends]
    return MaskedBatch(
        torch.cat([ends[0], batch.inputs, ends[1]], 1), torch.cat([asked[0], batch.targets, asked[1]], 1)
    )


@checked
def hidden_batches(encoder: PretrainedEncoder, texts: Sequence[str]) -> list[MaskedBatch]:
    """All of the texts, with the same tokens hidden at every call; `ValueError` for texts of fewer than two tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        windows = held_out_batches(_stream(encoder.tokenizer, texts), batch=BATCH, context=_context(encoder))
        found = [masked_windows(encoder, window.inputs) for window in windows]
    asked = [batch for batch in found if bool((batch.targets != IGNORED).any())]
    require(len(asked) > 0, "texts", "must have enough tokens that some are hidden", len(texts))
    return asked


@checked
@torch.no_grad()
def guessed(encoder: PretrainedEncoder, texts: Sequence[str]) -> dict[str, float]:
    """`nats_per_hidden_token`, and `guessed`, the share of hidden tokens that are the likeliest guess."""
    model = encoder.model
    require_kind(model, MaskedLM, "encoder", "an encoder with a head that guesses")
    assert isinstance(model, MaskedLM)
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    nats, right, count = 0.0, 0, 0
    for batch in hidden_batches(encoder, texts):
        loss = masked_loss(model, batch)
        asked = batch.targets != IGNORED
        best = model.head(model.encoder(batch.inputs.to(device))[asked.to(device)][None])[0].argmax(-1).cpu()
        nats, count = nats + loss.total.item(), count + int(loss.count)
        right += int((best == batch.targets[asked]).sum())
    model.train(was_training)
    return {"nats_per_hidden_token": nats / count, "guessed": right / count}


def _context(encoder: PretrainedEncoder) -> int:
    return min(CONTEXT, encoder.model.config.max_length) - encoder.tokenizer.frame.size


def _stream(tokenizer: AnyTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """All texts in one row, each followed by the token that ends a document, or else a text."""
    end = [tokenizer.special_tokens[END]] if END in tokenizer.special_tokens else list(tokenizer.frame.after)
    spaced = texts if tokenizer.frame.size else [" " + text for text in texts]
    return torch.tensor([i for ids in tokenizer.encode_batch(spaced) for i in (*ids, *end)])
