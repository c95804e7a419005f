"""A translator of own sentence pairs, from scratch.

    python -m transformer_lib train translation --data pairs.tsv --out my-translator

Model and vocabulary follow the number of pairs. The test, if there is none, is a tenth of the sources, drawn by the
seed, of which no other translation is trained on. The files are gone through several times and never held as a whole:
200,000 pairs of 24 words took 190 MB.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import torch

from transformer_lib.checks import require, require_kind, require_positive
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.extras import needed
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.evaluation import OWN
from transformer_lib.tasks.metrics import Tokenize
from transformer_lib.tasks.own.material import OPTIONS as SHARED
from transformer_lib.tasks.own.material import Material, Rows, number_of, size_named
from transformer_lib.tasks.own.training import layers_of, train_own
from transformer_lib.tasks.sureness import judge, unsure_below
from transformer_lib.tasks.translation import (
    END,
    PAD,
    START,
    PairIds,
    Translator,
    clean,
    encode_pairs,
    pair_batches,
    translation_loss,
)
from transformer_lib.text.tokenizer import Tokenizer

with needed():
    from tqdm import tqdm

NAME = "translation"
OPTIONS = SHARED | {"lowercase": "no"}
MAX_LENGTH = 256  # tokens of a side; longer pairs are left out
MOST_SPELLED = 400_000  # pairs that the tokeniser learns from: it keeps all of them in memory
AT_ONCE = 10_000
JUDGED, FEWEST_JUDGED = 1000, 100  # pairs of validation at most and at least, to tell when a translation is unsure


@checked
class Size(NamedTuple):
    """A model, and how long it learns."""

    vocab: int
    width: int
    layers: int
    dropout: float
    epochs: int


SIZES = {
    "tiny": Size(2_000, 128, 2, 0.3, 100),
    "small": Size(8_000, 128, 4, 0.3, 40),
    "medium": Size(16_000, 256, 4, 0.2, 20),
    "large": Size(32_000, 512, 6, 0.1, 6),
}


@checked
def size_for(pairs: int) -> str:
    """The name of the size for so many pairs."""
    require(pairs >= 0, "pairs", "must not be negative", pairs)
    return "tiny" if pairs < 2_000 else "small" if pairs < 50_000 else "medium" if pairs < 500_000 else "large"


def train_on_pairs(run: Run) -> dict[str, Any]:
    """BLEU and chrF on the test, the number of pairs on each side, and the facts of the training."""
    material = Material.of(run, ["pairs"])
    lowercase = run.options["lowercase"] == "yes"
    count = sum(1 for _ in tqdm(material.examples("train"), desc="read", unit="pair", disable=None))
    size = SIZES[size_named(run.options, SIZES, size_for(count))]
    vocab = number_of(run.options, "vocab", size.vocab)
    tokenizer = Tokenizer.train(
        _spelled(material.examples("train"), count, lowercase), vocab, (PAD, START, END), at_most=True
    )
    train = Encoded(material.examples("train"), tokenizer, lowercase)
    held_out = Encoded(material.examples("validation"), tokenizer, lowercase)
    test = list(material.examples("test"))
    budget = 4096 if size.width < 512 else 16_384
    batches = pair_batches(train, token_budget=budget // run.processes, seed=run.seed)
    checks = list(pair_batches(held_out, token_budget=budget, seed=0, epochs=1))
    side = layers_of(
        tokenizer.vocab_size,
        width=size.width,
        layers=size.layers,
        d_ff=2 * size.width,
        max_length=MAX_LENGTH,
        dropout=size.dropout,
    )
    torch.manual_seed(run.seed)
    model = Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)).to(run.device)
    facts = train_own(
        run,
        model,
        translation_loss,
        batches,
        checks,
        steps_per_epoch=-(-batches.per_epoch // run.processes),
        epochs=size.epochs,
        peak=0.005 if size.width < 512 else 0.001,
        optimizer="muon",
    )
    counts = {"train": len(train), "validation": len(held_out), "test": len(test)}
    facts |= {"examples": counts, "too_long": train.too_long + held_out.too_long, "vocab_size": tokenizer.vocab_size}
    translator = Translator(model.to(torch.float16).to(torch.float32).eval(), tokenizer, lowercase)
    return facts | _finish(run, translator, list(islice(material.examples("validation"), JUDGED)), test)


run = train_on_pairs  # what a recipe is asked for


def _finish(run: Run, translator: Translator, validation: Sequence[Pair], test: Sequence[Pair]) -> dict[str, Any]:
    """Measure when it is unsure, score the weights as they are saved, and save them."""
    if not run.is_first:
        return {}
    readable = [pair for pair in validation if not translator.unreadable([pair.source])]
    if len(readable) >= FEWEST_JUDGED:
        translator = replace(translator, unsure_below=unsure_below(judge(translator, readable)))
    readable = [pair for pair in test if not translator.unreadable([pair.source])]
    scoring: dict[str, Any] = {"beams": 5, "tokenize": tokenize_for(pair.target for pair in readable)}
    record = translator.evaluate(readable, **scoring) if readable else {}
    translator.save(run.model_folder(), evaluation={"data": OWN, **scoring}, record=record, dtype=torch.float16)
    return {"test": record, "unsure_below": translator.unsure_below}


def _spelled(pairs: Iterable[Pair], count: int, lowercase: bool) -> Iterator[str]:
    """What the tokeniser learns from: all sentences, or of very many every so manyth pair."""
    stride = -(-count // MOST_SPELLED)
    for number, pair in enumerate(pairs):
        if number % max(1, stride) == 0:
            yield from (clean(text, lowercase=lowercase) for text in pair)


@checked
def tokenize_for(texts: Iterable[str]) -> Tokenize:
    """How sacrebleu is to cut the words of such texts: Chinese characters one by one, everything else as in 13a."""
    signs = [sign for text, _ in zip(texts, range(100), strict=False) for sign in text if sign.isalpha()]
    han = sum("\u4e00" <= sign <= "\u9fff" for sign in signs)
    return "zh" if han > len(signs) / 2 else "13a"


@checked
class PairRows(Sequence[PairIds]):
    """Pairs as token ids in little memory; `too_long` counts those left out, with more than `most` tokens on a side."""

    def __init__(self, pairs: Iterable[PairIds], most: int = MAX_LENGTH) -> None:
        require_positive(most=most)
        self._sources, self._targets, self.too_long = Rows(), Rows(), 0
        for ids in pairs:
            require_kind(ids, PairIds, "pairs", "PairIds")
            if max(map(len, ids)) > most:
                self.too_long += 1
            else:
                self._sources.append(ids.source)
                self._targets.append(ids.target)

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: Any) -> Any:
        return PairIds(self._sources[index], self._targets[index])


@checked
class Encoded(PairRows):
    """`PairRows` of pairs that are cut by a tokenizer."""

    def __init__(self, pairs: Iterable[Pair], tokenizer: Tokenizer, lowercase: bool) -> None:
        super().__init__(
            ids for part in pairs_in_parts(pairs) for ids in encode_pairs(tokenizer, part, lowercase=lowercase)
        )


@checked
def pairs_in_parts(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """The pairs, some at a time, with a bar on a terminal."""
    rest = iter(tqdm(pairs, desc="encode", unit="pair", disable=None))
    while part := list(islice(rest, AT_ONCE)):
        yield part
