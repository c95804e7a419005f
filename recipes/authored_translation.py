"""A translator of the book's own authored sentences, English to Chinese: the one that the translation chapter studies.

It is trained as that chapter begins to train it, and as `recipes/experiments/combinations.py` does with its first seed,
and it knows some three hundred words: it shows what a translator does, and cannot translate real text. The curve in its
record follows a few sentences of validation and of the held-out combinations at every fiftieth update.

    OMP_NUM_THREADS=1 python -m transformer_lib train recipes/authored_translation.py --seed 0
"""

from functools import partial
from typing import Any

import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.data.examples import Pair
from transformer_lib.data.toy_grammar import pair
from transformer_lib.data.toy_translation import meanings
from transformer_lib.models import Seq2Seq
from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.metrics import bleu
from transformer_lib.tasks.translation import (
    Translator,
    encode_pairs,
    pair_batches,
    train_tokenizer,
    translation_loss,
)
from transformer_lib.training.checkpoint import checkpoint_at, load_weights
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.schedule import warmup_cosine

NAME = "authored-translation"
OPTIONS = {"steps": "400"}
LIMITS = "this model has learned an authored world of some three hundred words: it is for trying out, not for real text"
V, WATCHED = 1100, 50
SIDE = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=2,
    max_length=64,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=128),
    positions=Rope(),
    norm=Norm(kind="rms"),
)


def run(run: Run) -> dict[str, Any]:
    """BLEU and chrF on the test with greedy decoding, and the curve of the training."""
    parts = {name: [pair(meaning) for meaning in part] for name, part in meanings(0)._asdict().items()}
    tokenizer = train_tokenizer(parts["train"], V)
    torch.manual_seed(run.seed)
    model = Seq2Seq(Seq2SeqConfig(encoder=SIDE, decoder=SIDE)).to(run.device)
    translator = Translator(model, tokenizer)
    batches = pair_batches(encode_pairs(tokenizer, parts["train"]), token_budget=2048, seed=run.seed)
    chosen = encode_pairs(tokenizer, parts["validation"])
    held_out = list(pair_batches(chosen, token_budget=8192, seed=0, epochs=1))
    steps = int(run.options["steps"])
    config = TrainConfig(
        steps=steps,
        learning_rate=partial(warmup_cosine, warmup=steps // 10, total=steps, peak=0.01),
        optimizer="muon",
        betas=(0.9, 0.98),
        weight_decay=0.01,
        seed=run.seed,
        checkpoint_every=WATCHED,
        keep=steps // WATCHED + 1,
    )
    facts = run.train(model, translation_loss, batches, config, held_out=held_out)
    if not run.is_first:
        return {}
    watched = {"validation": parts["validation"][::16], "held-out": parts["held_out"][::16]}
    facts["curve"] = curve_of(run, translator, watched, steps)
    return facts | finish(run, translator, parts["test"])


def curve_of(run: Run, translator: Translator, watched: dict[str, list[Pair]], steps: int) -> list[dict[str, Any]]:
    """At every checkpoint the exact match, from 0 to 1, and BLEU of the watched sentences; it ends with the last."""
    rows = []
    for step in range(WATCHED, steps + 1, WATCHED):
        load_weights(checkpoint_at(run.folder / "training", step), translator.model)
        translator.model.eval()
        row: dict[str, Any] = {"step": step}
        for name, part in watched.items():
            written = translator([each.source for each in part], beams=1)
            wanted = [each.target for each in part]
            row[f"exact, {name}"] = sum(a == b for a, b in zip(written, wanted, strict=True)) / len(part)
            row[f"BLEU, {name}"] = bleu(written, wanted, tokenize="zh").value
        rows.append(row)
    return rows


def finish(run: Run, translator: Translator, test: list[Pair]) -> dict[str, Any]:
    """Round the weights, score, and save the model as `model` in the run's folder."""
    translator.model.to(torch.float16).to(torch.float32).eval()
    scoring: dict[str, Any] = {"beams": 1, "tokenize": "zh"}
    record = translator.evaluate(test, **scoring)
    folder = run.model_folder()
    evaluation = {"data": "authored sentences", "split": "test", "limits": LIMITS, **scoring}
    translator.save(folder, evaluation=evaluation, record=record, dtype=torch.float16)
    return {"test": record, "bytes": sum(file.stat().st_size for file in folder.iterdir())}
