"""Translation: what goes into a batch, what the loss sums, and a translator on a language small enough to be learnt."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import sacrebleu
import torch
import torch.nn.functional as F

from transformer_lib.config import AttentionConfig, Learned, ModelConfig, Norm, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.data.examples import Pair
from transformer_lib.generation import Conditioned, generate
from transformer_lib.models import Seq2Seq
from transformer_lib.tasks.saved import save_model
from transformer_lib.tasks.translation import (
    IGNORE,
    Translator,
    clean,
    encode_pairs,
    make_batch,
    pair_batches,
    train_tokenizer,
    translation_loss,
)
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import TrainConfig, evaluate, train, warmup_cosine
from transformer_lib.viz import record_attention

NUMBERS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
THINGS = {"dogs": "Hunde", "cats": "Katzen", "birds": "Vögel", "fish": "Fische"}
VERBS = {"see": "sehen", "hear": "hören", "like": "mögen"}


def sentences() -> list[Pair]:
    """Every sentence of a tiny language in which the verb moves to the end."""
    return [
        Pair(f"{n} {a} {v} {m} {b}.", f"{NUMBERS[n]} {THINGS[a]} {NUMBERS[m]} {THINGS[b]} {VERBS[v]}.")
        for n, a, v, m, b in product(NUMBERS, THINGS, VERBS, NUMBERS, THINGS)
        if a != b
    ]


PAIRS = sentences()
TOKENIZER = train_tokenizer(PAIRS, 310)


def small_model(**changes: object) -> Seq2Seq:
    torch.manual_seed(0)
    side = ModelConfig(
        vocab_size=TOKENIZER.vocab_size,
        d_model=32,
        num_layers=1,
        max_length=40,
        attention=AttentionConfig(num_heads=2),
        feedforward=SwiGlu(d_ff=64),
        positions=Rope(),
        norm=Norm(kind="rms"),
    )
    side = replace(side, **changes)  # type: ignore[arg-type]
    return Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side))


@pytest.fixture(scope="module")
def translator() -> Translator:
    """Trained on three of four sentences until it knows the language."""
    ids = encode_pairs(TOKENIZER, [pair for i, pair in enumerate(PAIRS) if i % 4])
    model = small_model()
    schedule = functools.partial(warmup_cosine, warmup=20, total=250, peak=5e-3)
    config = TrainConfig(steps=250, learning_rate=schedule, optimizer="muon", progress=False)
    loss = functools.partial(translation_loss, smoothing=0.1)
    train(model, loss, pair_batches(ids, token_budget=1500, seed=0), config)
    return Translator(model.eval(), TOKENIZER)


@pytest.fixture
def untrained() -> Iterator[Translator]:
    yield Translator(small_model().eval(), TOKENIZER)


def test_every_run_of_white_space_is_one_space() -> None:
    assert clean("A  dog\nruns\r\n\tand\u3000barks ") == " A dog runs and barks"
    assert clean("ÄRGER Straße", lowercase=True) == " ärger straße"
    assert clean(" \n ") == ""


def test_a_pair_is_cut_where_each_side_begins_and_ends() -> None:
    [pair] = encode_pairs(TOKENIZER, [Pair("two dogs", "ZWEI Hunde")], lowercase=True)
    assert TOKENIZER.decode(pair.source) == " two dogs</s>"
    assert TOKENIZER.decode(pair.target) == "<s> zwei hunde</s>"
    with pytest.raises(ValueError, match=r"pairs\[1\] must have words on both sides, got Pair\(source='a', target=' "):
        encode_pairs(TOKENIZER, [Pair("a", "b"), Pair("a", " \n")])


def test_a_text_cannot_write_special_tokens() -> None:
    [pair] = encode_pairs(TOKENIZER, [Pair("</s> <pad>", "<s>")])
    special = set(TOKENIZER.special_tokens.values())
    assert [i in special for i in pair.source] == [False] * (len(pair.source) - 1) + [True]


def test_a_batch_is_padded_and_shifted() -> None:
    ids = encode_pairs(TOKENIZER, [PAIRS[0], Pair("two dogs", "zwei Hunde")])
    batch = make_batch(ids)
    for row, pair in enumerate(ids):
        assert batch.source[row][batch.source_valid[row]].tolist() == pair.source
        length = len(pair.target) - 1
        assert batch.target[row, :length].tolist() == pair.target[:-1]
        assert batch.labels[row, :length].tolist() == pair.target[1:]
        assert set(batch.labels[row, length:].tolist()) <= {IGNORE}


def test_batches_keep_to_the_budget_and_hold_every_pair_once() -> None:
    ids = encode_pairs(TOKENIZER, PAIRS)
    seen = []
    for batch in pair_batches(ids, token_budget=400, seed=0, epochs=1):
        assert batch.source.numel() + batch.target.numel() <= 400
        seen += [tuple(row[valid].tolist()) for row, valid in zip(batch.source, batch.source_valid, strict=True)]
    assert sorted(seen) == sorted(tuple(pair.source) for pair in ids)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_over_real_tokens_and_smoothed_in_training_only(smoothing: float) -> None:
    model = small_model().double()
    short, long = encode_pairs(TOKENIZER, [Pair("two dogs", "zwei Hunde"), PAIRS[0]])
    model.train()
    found = translation_loss(model, make_batch([short, long]), smoothing=smoothing).detach()
    wanted = 0.0
    for pair in (short, long):  # each alone, without padding
        logits = model(torch.tensor([pair.source]), torch.tensor([pair.target[:-1]]))[0]
        labels = torch.tensor(pair.target[1:])
        wanted += float(F.cross_entropy(logits.detach(), labels, reduction="sum", label_smoothing=smoothing))
    assert int(found.count) == len(short.target) + len(long.target) - 2
    assert float(found.total) == pytest.approx(wanted, abs=1e-10, rel=0)
    plain = float(translation_loss(model, make_batch([short, long])).detach().mean())
    assert evaluate(model, functools.partial(translation_loss, smoothing=smoothing), [make_batch([short, long])]) == (
        pytest.approx(plain, abs=1e-10, rel=0)
    )


@pytest.mark.parametrize("beams", [1, 4])
def test_it_translates_sentences_it_has_not_seen(translator: Translator, beams: int) -> None:
    held_out = [pair for i, pair in enumerate(PAIRS) if not i % 4]
    written = translator([pair.source for pair in held_out], beams=beams)
    right = sum(text == pair.target for text, pair in zip(written, held_out, strict=True))
    assert right >= 0.9 * len(held_out)


def test_scores_are_sacrebleus(translator: Translator) -> None:
    held_out = [Pair(pair.source, pair.target.upper()) for pair in PAIRS[::4]]
    held_out[0] = Pair(held_out[0].source, "etwas anderes")
    found = translator.evaluate(held_out, beams=2, lowercase=True)
    written = translator([pair.source for pair in held_out], beams=2)
    references = [[pair.target for pair in held_out]]
    assert found["bleu"] == sacrebleu.corpus_bleu(written, references, lowercase=True).score
    assert 50 < found["bleu"] < 100 and "case:lc" in found["bleu_signature"]
    assert (
        found["chrf"] == sacrebleu.corpus_chrf([w.lower() for w in written], [[r.lower() for r in references[0]]]).score
    )
    assert found["pairs"] == len(held_out)
    assert translator.evaluate(held_out, beams=2)["bleu"] < found["bleu"], "case counts unless it is said not to"


def test_greedy_is_generates_greedy(untrained: Translator) -> None:
    model, end = untrained.model.double(), TOKENIZER.special_tokens["</s>"]
    [pair] = encode_pairs(TOKENIZER, [PAIRS[7]])
    start = torch.tensor([[TOKENIZER.special_tokens["<s>"]]])
    reader = Conditioned(model, torch.tensor([pair.source]))
    [wanted] = generate(reader, start, max_new_tokens=48, stop_ids=[end]).rows()
    [found] = untrained([PAIRS[7].source], beams=1)
    special = set(TOKENIZER.special_tokens.values())
    assert found == TOKENIZER.decode([i for i in wanted if i not in special]).strip()


def test_neither_order_nor_company_changes_a_translation(untrained: Translator) -> None:
    untrained.model.double()
    texts = [pair.source for pair in PAIRS[::90]] + ["dogs", "two dogs see", ""]
    together = untrained(texts, beams=3)
    assert together == [untrained([text], beams=3)[0] for text in texts]
    assert together[::-1] == untrained(texts[::-1], beams=3, batch=2)
    assert len(set(together)) > 2


def test_bad_sentences_have_a_stated_end(translator: Translator, unchecked_types: None) -> None:
    assert translator(["", " \n\t"]) == ["", ""]
    assert translator([]) == []
    plain, broken = translator(["two dogs see one fish.", "two dogs\nsee\r\none  fish.\n"])
    assert plain == broken != ""
    for text in ["我们喜欢猫。", "Ελληνικά", "שלום", "🙂🙂", "\x00\x7f", "\ufffd"]:  # scripts it has never seen
        assert isinstance(translator([text])[0], str)
    with pytest.raises(ValueError, match=r"texts\[1\] must have at most 40 tokens with its end, got 41"):
        translator(["two", "\u4e00" * 13])  # three bytes each
    with pytest.raises(TypeError, match=r"texts must be a list of strings, got 'two dogs' of type str"):
        translator("two dogs")
    with pytest.raises(ValueError, match=r"texts\[0\] must not hold a lone surrogate, got '.ud800' at index 1"):
        translator(["\ud800"])
    with pytest.raises(TypeError, match=r"texts\[0\] must be a string, got None of type NoneType"):
        translator([None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="beams must be a whole number of at least 1, got 0"):
        translator(["two"], beams=0)
    with pytest.raises(ValueError, match="beams must be at most the vocabulary of 310, got 99999999999"):
        translator(["two"], beams=99999999999)
    for penalty in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="length_penalty must"):
            translator([], length_penalty=penalty)


def test_what_cannot_be_read_is_known_before(translator: Translator) -> None:
    texts = ["two dogs", "\u4e00" * 13, "", "\ud800", "a " * 40, "x" * 2560, "x" * 2561, "two \0 dogs"]
    faults = translator.unreadable(texts)
    assert sorted(faults) == [1, 3, 4, 5, 6]
    assert faults[1] == "must have at most 40 tokens with its end, got 41"
    assert faults[6] == "must have at most 2560 characters for a model that reads 40 tokens, got 2562"
    assert faults[5].startswith("must have at most 2560 characters")  # with the space in front
    good = [text for number, text in enumerate(texts) if number not in faults]
    assert translator.unreadable(good) == {} and len(translator(good, beams=1)) == 3


def test_a_translation_ends_with_a_whole_character(translator: Translator) -> None:
    half = translator.tokenizer.encode(" two 我")
    while "\ufffd" not in translator.tokenizer.decode(half):
        half = half[:-1]
    assert translator._spell(half) == "two"


def test_a_position_table_bounds_what_is_written() -> None:
    model = small_model(positions=Learned(), max_length=12).eval()
    [written] = Translator(model, TOKENIZER)(["two dogs"], beams=2)
    assert len(TOKENIZER.encode(written)) <= 12


def test_it_is_saved_and_loaded(translator: Translator, tmp_path: Path) -> None:
    translator.save(tmp_path / "whole", record={"bleu": 1.0})
    loaded = Translator.load(tmp_path / "whole")
    texts = [pair.source for pair in PAIRS[::50]]
    assert loaded(texts) == translator(texts)
    translator.save(tmp_path / "half", dtype=torch.float16)
    assert Translator.load(tmp_path / "half")(texts) == translator(texts)


def test_what_does_not_fit_together_is_refused(untrained: Translator, tmp_path: Path, unchecked_types: None) -> None:
    other = Tokenizer.train([pair.source for pair in PAIRS], 280, ["<pad>", "<s>", "</s>"])
    with pytest.raises(ValueError, match="tokenizer must have the 310 tokens of the model's encoder, got 280"):
        Translator(untrained.model, other)
    bare = Tokenizer.train([pair.source for pair in PAIRS], 280)
    with pytest.raises(ValueError, match=r"special tokens of translation; missing are, got \['<pad>', '<s>', '</s>'\]"):
        Translator(untrained.model, bare)
    save_model(tmp_path / "model", untrained.model, TOKENIZER, task="translation", about={"lowercase": 1})
    with pytest.raises(ValueError, match="model: lowercase must be true or false, got 1"):
        Translator.load(tmp_path / "model")
    config = {"config": {"type": "Rope", "theta": 3.0}, "lowercase": False}
    save_model(tmp_path / "rope", untrained.model, TOKENIZER, task="translation", about=config)
    with pytest.raises(ValueError, match="config must be a Seq2SeqConfig, got 'Rope'"):
        Translator.load(tmp_path / "rope")


def test_its_cross_attention_can_be_looked_at(translator: Translator) -> None:
    batch = translator.batch([Pair("two dogs see one fish.", "zwei Hunde eins Fische sehen.")])
    with torch.no_grad(), record_attention(translator.model) as looks:
        translator.model(batch.source, batch.target, source_valid=batch.source_valid)
    [look] = [look for look in looks if "cross" in look.name]
    assert look.weights.shape == (1, 2, batch.target.shape[1], batch.source.shape[1])


def test_case_counts_in_both_scores_unless_it_is_said_not_to(
    untrained: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For given translations that differ from their references in case alone; sacrebleu says what they are worth."""
    written = ["Zwei Hunde sehen einen Fisch.", "drei katzen mögen vier vögel."]
    pairs = [Pair("a", "zwei Hunde sehen einen Fisch."), Pair("b", "Drei Katzen mögen vier Vögel.")]
    monkeypatch.setattr(Translator, "_search", lambda self, texts, *_: written)
    found, references = untrained.evaluate(pairs), [[pair.target for pair in pairs]]
    scorer = sacrebleu.metrics.CHRF()
    assert found["chrf"] == scorer.corpus_score(written, references).score < 99
    assert found["chrf_signature"] == str(scorer.get_signature()) and "case:mixed" in found["chrf_signature"]
    assert found["bleu"] == sacrebleu.corpus_bleu(written, references).score < 99
    assert "case:mixed" in found["bleu_signature"]
    folded = untrained.evaluate(pairs, lowercase=True)
    assert (folded["chrf"], folded["bleu"]) == pytest.approx((100, 100))
