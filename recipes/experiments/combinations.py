"""Does a translator carry a construction over to words that it never saw in it, and where does it look?

An encoder-decoder of 268 thousand weights learns to translate the authored sentences for 400 steps of 2,048 tokens,
with its rate tuned alike. In the arm "never shown" training lacks sixteen combinations: four verbs never stand in the
passive, four never with 把, four nouns never have a relative clause, four nouns never have a certain adjective. In the
control, "shown", a hundred sentences of each take the place of as many others, and the sentences that measure are the
same. `known` counts the sentences of the test that have the construction, `held-out` those with the words held out.
"""

import re
from collections import Counter
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.data.batching import pad
from transformer_lib.data.examples import Pair
from transformer_lib.data.toy_grammar import Clause, Meaning, alignment, chinese_words, english_words, pair
from transformer_lib.data.toy_translation import HELD_OUT, Meanings, combinations, held_out_combinations, meanings
from transformer_lib.generation import Conditioned, generate
from transformer_lib.models import Seq2Seq
from transformer_lib.runs.experiment import Experiment
from transformer_lib.tasks.metrics import bleu
from transformer_lib.tasks.translation import (
    END,
    IGNORE,
    START,
    Translator,
    encode_pairs,
    pair_batches,
    train_tokenizer,
    translation_loss,
)
from transformer_lib.training import TrainConfig, evaluate, train, warmup_cosine
from transformer_lib.viz.alignment import word_weights

V, STEPS, SHOWN = 1100, 400, 100
SEARCHED = 300  # sentences of the test that beams are tried on
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


@cache
def data(shown: bool) -> Meanings:
    """The splits; if `shown`, training has `SHOWN` more sentences of each combination instead of its last ones."""
    plain = meanings(0)
    if not shown:
        return plain
    more = meanings(0, held_out=60 + SHOWN).held_out
    assert set(plain.held_out) <= set(more)
    new = tuple(meaning for meaning in more if meaning not in set(plain.held_out))
    return plain._replace(train=plain.train[: -len(new)] + new)


def trained(seed: int, rate: float, shown: bool) -> tuple[Translator, float]:
    """The translator, and its loss on validation in nats per token."""
    splits = data(shown)
    pairs = [pair(meaning) for meaning in splits.train]
    tokenizer = train_tokenizer(pairs, V)
    torch.manual_seed(seed)
    model = Seq2Seq(Seq2SeqConfig(encoder=SIDE, decoder=SIDE))
    config = TrainConfig(
        steps=STEPS,
        learning_rate=partial(warmup_cosine, warmup=STEPS // 10, total=STEPS, peak=rate),
        optimizer="muon",
        betas=(0.9, 0.98),
        weight_decay=0.01,
        progress=False,
        seed=seed,
    )
    batches = pair_batches(encode_pairs(tokenizer, pairs), token_budget=2048, seed=seed)
    train(model, translation_loss, batches, config)
    model.eval()
    chosen = encode_pairs(tokenizer, [pair(meaning) for meaning in splits.validation])
    held_out = list(pair_batches(chosen, token_budget=8192, seed=0, epochs=1))
    return Translator(model, tokenizer), evaluate(model, translation_loss, held_out)


# What is right --------------------------------------------------------------------------------------------------------


def of_constructions(splits: Meanings, right: dict[str, list[bool]]) -> dict[str, Any]:
    """The share of right sentences for each construction, with known words and with held-out ones."""
    found: dict[str, Any] = {}
    words = []
    for construction, held in HELD_OUT.items():
        known = [
            ok
            for meaning, ok in zip(splits.test, right["test"], strict=True)
            if construction in {name for name, _ in combinations(meaning)}
        ]
        each = {
            word: [
                ok
                for meaning, ok in zip(splits.held_out, right["held-out"], strict=True)
                if held_out_combinations(meaning) == [(construction, word)]
            ]
            for word in sorted(held)
        }
        words += [share(ok) for ok in each.values()]
        found[f"{construction}, known"] = share(known)
        found[f"{construction}, held-out"] = share([ok for part in each.values() for ok in part])
        found[f"{construction}, loss"] = found[f"{construction}, known"] - found[f"{construction}, held-out"]
    return found | {"words": words}


def of_mistakes(splits: Meanings, wanted: dict[str, list[str]], written: dict[str, list[str]]) -> dict[str, float]:
    """What the wrong sentences have in common: 把 left out, right words in a wrong order, their length."""
    texts = {word.text for meaning in splits.train for word in chinese_words(meaning)}
    cut = re.compile("|".join(sorted(texts, key=lambda text: (-len(text), text))) + "|.")
    found = {}
    for name, meant in (("test", splits.test), ("held-out", splits.held_out)):
        rows = list(zip(meant, wanted[name], written[name], strict=True))
        wrong = [(meaning, Counter(cut.findall(a)), Counter(cut.findall(b))) for meaning, a, b in rows if a != b]
        found[f"wrong, order only, {name}"] = share([a == b for _, a, b in wrong])
        found[f"wrong, one word, {name}"] = share([(a - b).total() == (b - a).total() == 1 for _, a, b in wrong])
        for key, chosen in (("right", [m for m, a, b in rows if a == b]), ("wrong", [m for m, _, _ in wrong])):
            found[f"words of the {key}, {name}"] = share([len(chinese_words(meaning)) for meaning in chosen])
        if name == "held-out":
            ba = [(a, b) for meaning, a, b in wrong if held_out_combinations(meaning)[0][0] == "ba"]
            found["ba, wrong ones that lack it"] = share([b["把"] < a["把"] for a, b in ba])
    return found


def share(values: list[Any]) -> float:
    """The mean; 0 of nothing."""
    return sum(values) / max(len(values), 1)


# How it is written ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def forced(translator: Translator, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
    """The log-probabilities at each position after the true beginning, and the true tokens."""
    batch = translator.batch(pairs)
    logits = translator.model(batch.source, batch.target, source_valid=batch.source_valid)
    return logits.log_softmax(-1), batch.labels


def log_probs(translator: Translator, pairs: list[Pair]) -> Tensor:
    laws, labels = forced(translator, pairs)
    return (laws.gather(2, labels.clamp(min=0)[..., None])[..., 0] * (labels != IGNORE)).sum(1)


def of_search(translator: Translator, pairs: list[Pair], greedy: list[str]) -> dict[str, float]:
    """Greedy search and five beams; search errors are references likelier than what was written instead."""
    found = {}
    references = [each.target for each in pairs]
    beams = translator([each.source for each in pairs], beams=5)
    for name, written in (("greedy", greedy), ("beams", beams)):
        wrong = [(each, text) for each, text in zip(pairs, written, strict=True) if each.target != text]
        true = log_probs(translator, [each for each, _ in wrong])
        own = log_probs(translator, [Pair(each.source, text or "。") for each, text in wrong])
        found[f"{name}, exact"] = 1 - len(wrong) / len(pairs)
        found[f"{name}, BLEU"] = bleu(written, references, tokenize="zh").value
        found[f"{name}, search errors"] = (true > own).sum().item() / len(wrong)
    for name in ("exact", "BLEU"):
        found[f"gain of beams, {name}"] = found[f"beams, {name}"] - found[f"greedy, {name}"]
    return found


def of_forcing(translator: Translator, pairs: list[Pair]) -> dict[str, float]:
    """The share of right tokens before and after the first mistake, after the true beginning and after its own."""
    laws, labels = forced(translator, pairs)
    batch = translator.batch(pairs)
    special = translator.tokenizer.special_tokens
    assert isinstance(translator.model, Seq2Seq)
    reader = Conditioned(translator.model, batch.source, batch.source_valid)
    start = torch.full((len(pairs), 1), special[START])
    written = generate(reader, start, max_new_tokens=labels.shape[1], stop_ids=[special[END]])
    own = pad([row[: labels.shape[1]] for row in written.rows()], IGNORE).tokens
    own = torch.nn.functional.pad(own, (0, labels.shape[1] - own.shape[1]), value=IGNORE)
    true = labels != IGNORE
    wrong = (laws.argmax(-1) != labels) & true
    first = torch.where(wrong.any(1), wrong.float().argmax(1), 999)
    after = true & (torch.arange(labels.shape[1]) > first[:, None])
    return {
        f"tokens right, {beginning} beginning{where}": (ok & part).sum().item() / part.sum().item()
        for beginning, ok in (("true", laws.argmax(-1) == labels), ("own", own == labels))
        for where, part in (("", true), (", after a mistake", after))
    }


# Where it looks -------------------------------------------------------------------------------------------------------


def of_alignment(translator: Translator, splits: Meanings) -> dict[str, Any]:
    """How often the source word read most is a true partner, by layer, and by part for the best head.

    The head is chosen on sentences of validation, and everything is measured on sentences of the test.
    """
    read = {
        name: looks(translator, clauses(part)) for name, part in (("choice", splits.validation), ("test", splits.test))
    }
    layers = list(read["test"][0][1])
    heads = [(layer, head) for layer in layers for head in range(4)]
    by_head = {(layer, head): agreement(read["choice"], layer, head) for layer, head in heads}
    layer, head = max(by_head, key=lambda each: by_head[each])
    names = zip(("lower", "upper"), layers, strict=True)
    found: dict[str, Any] = {f"aligned, {name} layer": agreement(read["test"], each, None) for name, each in names}
    found["aligned, straight line"] = share([hit for meaning, _ in read["test"] for hit in straight(meaning)])
    found["aligned, best head"] = agreement(read["test"], layer, head)
    parts: dict[str, list[bool]] = {}
    for meaning, weights in read["test"]:
        links, english, chinese = alignment(meaning), english_words(meaning), chinese_words(meaning)
        for j, word in enumerate(chinese[:-1]):
            seen, part = int(weights[layer][head, j].argmax()), word.part.split(".")[-1]
            if any(k == j for _, k in links):
                parts.setdefault(f"aligned, {part}", []).append((seen, j) in links)
            if word.text in ("把", "的", "被"):
                parts.setdefault(f"{word.text}, looks at its partner", []).append((seen, j) in links)
                parts.setdefault(f"{word.text}, looks at the next word's", []).append((seen, j + 1) in links)
            if part == "determiner" and j and chinese[j - 1].part == word.part:
                noun = word.part.removesuffix("determiner") + "noun"
                parts.setdefault("measure word, looks at the noun", []).append(english[seen].part == noun)
                parts.setdefault("measure word, looks at the determiner", []).append((seen, j) in links)
    return found | {name: share(hits) for name, hits in sorted(parts.items())}


def clauses(part: tuple[Meaning, ...]) -> list[Meaning]:
    return [meaning for meaning in part if isinstance(meaning, Clause)][:200]


def looks(translator: Translator, chosen: list[Meaning]) -> list[tuple[Meaning, dict[str, Tensor]]]:
    return [
        (meaning, word_weights(translator, pair(meaning), texts(english_words(meaning)), texts(chinese_words(meaning))))
        for meaning in chosen
    ]


def texts(words: Any) -> list[str]:
    return [word.text for word in words]


def partners(meaning: Meaning) -> list[int]:
    """The Chinese words that have a partner, without the full stop."""
    return sorted({j for _, j in alignment(meaning)} - {len(chinese_words(meaning)) - 1})


def agreement(read: list[tuple[Meaning, dict[str, Tensor]]], layer: str, head: int | None) -> float:
    """The share of words whose partner is read most by a head, or by all heads of the layer together."""
    hits = []
    for meaning, weights in read:
        of_layer = weights[layer].mean(0) if head is None else weights[layer][head]
        hits += [(int(of_layer[j].argmax()), j) in alignment(meaning) for j in partners(meaning)]
    return share(hits)


def straight(meaning: Meaning) -> list[bool]:
    """The same for the source word at the same share of the way."""
    most, last = len(english_words(meaning)) - 1, max(len(chinese_words(meaning)) - 1, 1)
    return [(round(j * most / last), j) in alignment(meaning) for j in partners(meaning)]


def run(seed: int, rate: float, shown: bool) -> dict[str, Any]:
    translator, loss = trained(seed, rate, shown)
    if seed >= 100:  # only the rate is chosen by this run
        return {"choice": loss}
    splits = data(shown)
    pairs = {
        "test": [pair(meaning) for meaning in splits.test],
        "held-out": [pair(meaning) for meaning in splits.held_out],
    }
    written = {name: translator([each.source for each in part], beams=1) for name, part in pairs.items()}
    wanted = {name: [each.target for each in part] for name, part in pairs.items()}
    right = {name: [a == b for a, b in zip(wanted[name], written[name], strict=True)] for name in pairs}
    scores = {f"exact, {name}": share(ok) for name, ok in right.items()}
    scores |= {f"BLEU, {name}": bleu(written[name], wanted[name], tokenize="zh").value for name in pairs}
    return {
        "choice": loss,
        **scores,
        **of_constructions(splits, right),
        **of_mistakes(splits, wanted, written),
        **of_search(translator, pairs["test"][:SEARCHED], written["test"][:SEARCHED]),
        **of_forcing(translator, pairs["test"] + pairs["held-out"]),
        **of_alignment(translator, splits),
    }


EXPERIMENT = Experiment(
    arms={"never shown": {"shown": False}, "shown": {"shown": True}},
    run=run,
    seeds=(0, 1, 2),
    rates=(0.005, 0.01, 0.02),
    chosen_by="choice",
    choice_seeds=(100,),
)
