"""What the engines' rounding costs on trained models: BLEU of translations, and the loss of a language model.

Random weights cannot tell, for their likeliest tokens are nearly ties. The translators are those of `recipes/models`,
on sentences held out, with five beams; BLEU is compared by a paired bootstrap over them. The language model is trained
here, under three seeds, on files of Python's standard library, and its loss is taken on others. Nothing is timed.
"""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.harness import OURS, Facts, version_of
from bench.ratios import target_lines

TITLE = "what int8 and bfloat16 cost: BLEU, and the loss of a language model"
MODELS = Path(__file__).parent.parent / "recipes" / "models"
TRANSLATORS = {"authored": ("authored sentences", 0), "tatoeba": ("tatoeba en-zh", 400)}  # and how many, 0 for all
FOLDERS = {"authored": "authored-translation", "tatoeba": "tatoeba-en-zh"}
BEAMS, RESAMPLES = 5, 1000
LEAST_BLEU, MOST_LOSS = -0.5, 0.01  # what int8 may cost

# layers, d_model, heads, vocabulary, context, batch, steps; sequences that the loss is taken on
LM = {"full": (4, 128, 4, 1024, 128, 16, 300, 64), "quick": (1, 32, 2, 300, 32, 4, 10, 4)}
SEEDS = (0, 1, 2)
LoglikesOf = Callable[[list[list[int]]], list[list[float]]]


def rows(options: Namespace) -> list[str]:
    """Two translators and a language model."""
    return ["translation authored", "translation tatoeba", "language model"][:: 2 if options.quick else 1]


def run(row: str, options: Namespace) -> dict[str, Any]:
    """What each engine scores, its difference to ours in float32, and whether int8 keeps within its bounds."""
    import torch

    torch.set_num_threads(options.threads)
    if version_of("ctranslate2") is None:
        return {"row": row, "left_out": ["ctranslate2"], "candidates": {}, "targets": []}
    kind, _, name = row.partition(" ")
    return {"row": row, "left_out": []} | (_translation(name, options) if kind == "translation" else _loss(options))


def lines(record: dict[str, Any]) -> str:
    """A line for each engine, and how the targets stand."""
    found = []
    for name, facts in record["candidates"].items():
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in facts.items() if isinstance(value, float | int))
        found.append(f"  {name:28} {numbers}")
    return "\n".join([*found, *target_lines(record["targets"])])


def computes() -> list[str]:
    """The types that CTranslate2 computes with here."""
    import ctranslate2

    able = ctranslate2.get_supported_compute_types("cpu")
    return [name for name in ("float32", "bfloat16", "int8") if name in able]


def _name(compute: str) -> str:
    return "ctranslate2" if compute == "float32" else f"ctranslate2-{compute}"


# Translation ----------------------------------------------------------------------------------------------------------


def _translation(name: str, options: Namespace) -> Facts:
    from transformer_lib.tasks.engines import on_engine
    from transformer_lib.tasks.evaluation import load_examples
    from transformer_lib.tasks.metrics import bleu_resampled
    from transformer_lib.tasks.translation import Translator

    data, count = TRANSLATORS[name]
    pairs = load_examples(data)[: 20 if options.quick else count or None]
    sources, references = [pair.source for pair in pairs], [pair.target for pair in pairs]
    translator = Translator.load(MODELS / FOLDERS[name])
    texts = {OURS: translator(sources, beams=BEAMS)}
    with tempfile.TemporaryDirectory() as folder:
        for compute in computes():
            texts[_name(compute)] = on_engine(translator, folder, compute=compute)(sources, beams=BEAMS)

    found = bleu_resampled(texts, references, tokenize="zh", samples=20 if options.quick else RESAMPLES)
    candidates: dict[str, Facts] = {}
    for who, scored in found.items():
        same = sum(a == b for a, b in zip(texts[who], texts[OURS], strict=True)) / len(pairs)
        gap = scored.value - found[OURS].value
        candidates[who] = {"bleu": scored.value, "bleu_over_ours": gap, "same_texts": same}
        if scored.p_value is not None:
            candidates[who]["p_value"] = scored.p_value  # of a difference at least this large, if there were none
    target = {"target": f"int8 keeps BLEU to {-LEAST_BLEU}", "over": "ctranslate2-int8", "at_least": LEAST_BLEU}
    target |= {"is": candidates["ctranslate2-int8"]["bleu_over_ours"]}
    return {"data": data, "pairs": len(pairs), "beams": BEAMS, "candidates": candidates, "targets": [target]}


# Language model -------------------------------------------------------------------------------------------------------


def _loss(options: Namespace) -> Facts:
    size = LM["quick" if options.quick else "full"]
    losses: dict[str, list[float]] = {}
    for seed in SEEDS[: 1 if options.quick else None]:
        model, held_out = _trained(size, seed)
        with _readers(model) as readers:
            for name, read in readers.items():
                found = [each for text in read(held_out) for each in text]
                losses.setdefault(name, []).append(-sum(found) / len(found))
    candidates: dict[str, Facts] = {}
    for name, each in losses.items():
        gaps = [loss - own for loss, own in zip(each, losses[OURS], strict=True)]
        candidates[name] = {"loss": sum(each) / len(each), "most_over_ours": max(gaps), "losses": each}
    rule = {"over": "ctranslate2-int8", "at_least": -MOST_LOSS, "is": -candidates["ctranslate2-int8"]["most_over_ours"]}
    target = {"target": f"int8 adds at most {MOST_LOSS} nats a token under every seed"} | rule
    return {"seeds": len(losses[OURS]), "candidates": candidates, "targets": [target]}


def _trained(size: tuple[int, ...], seed: int) -> tuple[Any, list[list[int]]]:
    """A GPT-2 of this size after its steps, and texts that it has not seen."""
    import torch

    from transformer_lib.config import AttentionConfig, Learned, Mlp, ModelConfig
    from transformer_lib.data.corpora import stdlib_source
    from transformer_lib.models import DecoderLM
    from transformer_lib.text.tokenizer import Tokenizer
    from transformer_lib.training.loss import token_loss

    layers, width, heads, vocab, context, batch, steps, held = size
    corpus = stdlib_source("small")
    tokenizer = Tokenizer.train([document.text for document in corpus.train], vocab)
    train, held_out = (
        torch.tensor([token for text in tokenizer.encode_batch([each.text for each in part]) for token in text])
        for part in corpus
    )
    train, held_out = (part[: len(part) // context * context].view(-1, context) for part in (train, held_out))
    torch.manual_seed(seed)
    model = DecoderLM(
        ModelConfig(
            vocab_size=vocab,
            d_model=width,
            num_layers=layers,
            max_length=context,
            attention=AttentionConfig(num_heads=heads, bias=True),
            feedforward=Mlp(d_ff=4 * width),
            positions=Learned(),
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = train[torch.randint(len(train), (batch,))]
        token_loss(model(rows[:, :-1]), rows[:, 1:]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval(), held_out[:held].tolist()


@contextmanager
def _readers(model: Any) -> Iterator[dict[str, LoglikesOf]]:
    """By name, what gives the log-probability of each token of some texts but the first."""
    import torch

    from transformer_lib.interop.engine_folder import convert
    from transformer_lib.interop.engines import EngineLM
    from transformer_lib.interop.onnx import OnnxLM, export, quantize

    def by_logits(reader: Any) -> LoglikesOf:
        def read(texts: list[list[int]]) -> list[list[float]]:
            tokens = torch.tensor(texts)
            with torch.inference_mode():
                found = reader(tokens)[:, :-1].log_softmax(-1)
            return found.gather(-1, tokens[:, 1:, None])[..., 0].tolist()

        return read

    readers = {OURS: by_logits(model)}
    with tempfile.TemporaryDirectory() as folder:
        for compute in computes():
            convert(model, Path(folder, compute), compute=compute)
            readers[_name(compute)] = EngineLM(Path(folder, compute)).log_probs
        if version_of("onnxruntime") is not None:
            export(model, Path(folder, "float32.onnx"), cache=True)
            quantize(Path(folder, "float32.onnx"), Path(folder, "int8.onnx"))
            readers |= {"onnxruntime": by_logits(OnnxLM(Path(folder, "float32.onnx")))}
            readers |= {"onnxruntime-int8": by_logits(OnnxLM(Path(folder, "int8.onnx")))}
        yield readers
