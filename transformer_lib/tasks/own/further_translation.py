"""A translator that goes on learning from own sentence pairs: ours, or one of the Marian family, such as OPUS-MT's.

    python -m transformer_lib train translation --data pairs.tsv --from opus-mt-en-de/ --out my-translator

The pairs are cut and read as the translator cuts and reads them. The result is a folder like the one it came from.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.data.own import Split
from transformer_lib.interop.alike import save_like
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import OWN
from transformer_lib.tasks.metrics import bleu, chrf
from transformer_lib.tasks.opus import OpusTranslator
from transformer_lib.tasks.own.adapting import Base, adapt, all_targets, base_of, conclude, known_by, require_family
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material
from transformer_lib.tasks.own.training import BUDGET, GOING_ON, budget_for, train_own
from transformer_lib.tasks.own.translation import MAX_LENGTH, PairRows, pairs_in_parts, tokenize_for
from transformer_lib.tasks.translation import PairIds, Translator, encode_pairs, pair_batches, translation_loss

NAME = "translation"
OPTIONS = SHARED | {"lowercase": "no"}
EPOCHS = 5
HELD: tuple[Split, Split] = ("train", "validation")  # as token ids


def go_on_with_pairs(run: Run) -> dict[str, Any]:
    """BLEU and chrF on the test, before and after, the number of pairs on each side, and the facts of the training."""
    base = base_of(run.options)
    lowercase = run.options["lowercase"]
    require(lowercase == "no", "--lowercase", "must be left out with --from: the translator knows it", lowercase)
    material = Material.of(run, ["pairs"])
    torch.manual_seed(run.seed)
    translator = read_translator(base, run.device)
    model = translator.model
    run = known_by(run, model)
    test = list(material.examples("test"))
    most = min(MAX_LENGTH, model.config.encoder.max_length, model.context or MAX_LENGTH)
    train, validation = (pair_rows(translator, material.examples(split), most) for split in HELD)
    for name, rows in (("data", train), ("validation", validation)):
        require(len(rows) > 0, name, f"must have pairs of at most {most} tokens a side", rows.too_long)
    budget = budget_for([len(source) + len(target) for source, target in train], run.processes)
    batches = pair_batches(train, token_budget=budget, seed=run.seed)
    checks = list(pair_batches(validation, token_budget=max(2 * most, BUDGET), seed=0, epochs=1))
    before = _scores(translator, test) if run.is_first else {}
    tuning = adapt(model, run.options, targets=all_targets(model, base, run.options))
    if model.head.bias is not None:
        model.head.bias.requires_grad_(False)  # Marian's is no weight there, but a constant
    facts = train_own(
        run,
        model,
        translation_loss,
        batches,
        checks,
        steps_per_epoch=-(-batches.per_epoch // run.processes),
        epochs=EPOCHS,
        peak=tuning.peak,
        rates=tuning.rates,
        pace=GOING_ON,
    )
    conclude(run, model, base)
    model.eval()
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    facts |= {"examples": counts, "too_long": train.too_long + validation.too_long}
    return facts | _finish(run, base, translator, test, before)


run = go_on_with_pairs  # what a recipe is asked for


@checked
def read_translator(base: Base, device: torch.device | str) -> Translator | OpusTranslator:
    """The translator of a folder, in float32; `ValueError` if it holds another kind of model."""
    if not base.published:
        return Translator.load(base.folder, device=device)
    require_family(base, "Seq2Seq", "a translator")
    return OpusTranslator.from_hf(base.folder, dtype=torch.float32, device=device)


@checked
def pair_ids(translator: Translator | OpusTranslator, pairs: Sequence[Pair]) -> list[PairIds]:
    """The pairs as this translator reads and writes them."""
    if isinstance(translator, Translator):
        return encode_pairs(translator.tokenizer, pairs, lowercase=translator.lowercase)
    start = translator.settings.start_id
    assert start is not None  # which a translator has
    sources = translator.tokenizers.source.encode_batch([pair.source for pair in pairs], special=True)
    targets = translator.tokenizers.target.encode_batch([pair.target for pair in pairs], special=True)
    return [PairIds(source, [start, *target]) for source, target in zip(sources, targets, strict=True)]


@checked
def pair_rows(translator: Translator | OpusTranslator, pairs: Iterable[Pair], most: int) -> PairRows:
    """All of these pairs in little memory, but for those with more than `most` tokens on a side."""
    return PairRows((ids for part in pairs_in_parts(pairs) for ids in pair_ids(translator, part)), most)


def _finish(
    run: Run, base: Base, translator: Translator | OpusTranslator, test: Sequence[Pair], before: dict[str, Any]
) -> dict[str, Any]:
    """Score the weights, and save them."""
    if not run.is_first:
        return {}
    record = _scores(translator, test)
    if isinstance(translator, Translator):
        scoring: dict[str, Any] = {"beams": 5, "tokenize": tokenize_for(pair.target for pair in test)}
        readable = _readable(translator, test)
        own = translator.evaluate(readable, **scoring) if readable else {}
        translator.save(run.model_folder(), evaluation={"data": OWN, **scoring}, record=own)
    else:
        save_like(translator.model, base.folder, run.model_folder())
    return {"test": record, "test_before": before}


def _scores(translator: Translator | OpusTranslator, test: Sequence[Pair]) -> dict[str, Any]:
    """BLEU and chrF, as `evaluate --data` gives them."""
    readable = _readable(translator, test)
    if not readable:
        return {}
    references = [pair.target for pair in readable]
    translator.model.eval()
    written = translator([pair.source for pair in readable])
    scores = {
        "bleu": bleu(written, references, tokenize=tokenize_for(references)),
        "chrf": chrf(written, references),
    }
    return {"pairs": len(readable)} | {name: score.value for name, score in scores.items()}


def _readable(translator: Translator | OpusTranslator, pairs: Iterable[Pair]) -> list[Pair]:
    return [pair for pair in pairs if not translator.unreadable([pair.source])]
