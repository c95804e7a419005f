"""Translators and writers on CTranslate2 say what they say on PyTorch, in a call and on the command line."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import ctranslate2
import pytest
import torch

from tests.oracles import randomise, rejects
from transformer_lib.__main__ import main
from transformer_lib.config import Alibi, AttentionConfig, Mlp, ModelConfig, Rope, Seq2SeqConfig, Sinusoidal
from transformer_lib.data.examples import Pair
from transformer_lib.generation.beam import Beams
from transformer_lib.interop.engine_folder import convert
from transformer_lib.interop.engines import EngineSeq2Seq
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.tasks.engines import EngineTranslator, EngineWriter, ended, on_engine
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.translation import Translator, train_tokenizer
from transformer_lib.text.tokenizer import Tokenizer

PAIRS = [Pair("Ein Hund bellt .", "A dog barks ."), Pair("Zwei Katzen schlafen .", "Two cats sleep .")]
TATOEBA = Path(__file__).parents[2] / "recipes" / "models" / "tatoeba-en-zh"
TEXTS = [
    *("Where do you live?", "I have lost my keys.", "", "She went to the market yesterday.", "It is raining."),
    *("Tom is taller than me, but I can run faster than he can.", "Why?", "The children are playing in the park."),
]
SIDE = ModelConfig(
    vocab_size=262,
    d_model=16,
    num_layers=1,
    max_length=32,
    attention=AttentionConfig(num_heads=2, bias=True),
    feedforward=Mlp(d_ff=16),
    positions=Rope(),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    return tmp_path / "cache" / "transformer_lib" / "engines"


def writer() -> Writer:
    model = randomise(DecoderLM(replace(SIDE, vocab_size=259)), dtype=torch.float32)
    return Writer(model, Tokenizer.train(["a bab ab aba"], 259, ["<|end|>"]), forbidden_ids=(5,))


def test_the_committed_translator_says_the_same(tmp_path: Path) -> None:
    """In the same words, as sure of each; in int8 nearly so."""
    plain = Translator.load(TATOEBA)
    engine = on_engine(plain, tmp_path)
    assert isinstance(engine, EngineTranslator) and engine.unsure_below == plain.unsure_below
    for search in ({"beams": 1}, {"beams": 5, "n_best": 3}):
        found, wanted = engine.candidates(TEXTS, **search), plain.candidates(TEXTS, **search)
        assert [[each.text for each in row] for row in found] == [[each.text for each in row] for row in wanted]
        scores = [[each.log_prob for row in rows for each in row] for rows in (found, wanted)]
        torch.testing.assert_close(*map(torch.tensor, scores), atol=1e-4, rtol=1e-4)
    rounded = on_engine(plain, tmp_path, compute="int8")
    assert sum(a == b for a, b in zip(rounded(TEXTS), plain(TEXTS), strict=True)) >= 4


def test_it_scores_itself_as_it_translates(tmp_path: Path) -> None:
    translator = on_engine(Translator.load(TATOEBA), tmp_path)
    assert isinstance(translator, EngineTranslator)
    pairs = [Pair(text, "我") for text in TEXTS[:2]]
    assert translator.evaluate(pairs, beams=2) == Translator.load(TATOEBA).evaluate(pairs, beams=2)


def test_a_writer_goes_on_in_the_same_way(tmp_path: Path) -> None:
    plain = writer()
    engine = on_engine(plain, tmp_path)
    assert isinstance(engine, EngineWriter)
    for prompt in ("ab", "bab a", "b"):
        settings = {"max_new_tokens": 12, "temperature": 0.0}
        assert engine(prompt, **settings) == plain(prompt, **settings)
    drawn = [engine("ab", temperature=1.5, seed=seed) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    rejects(lambda: engine.write([]), "ids must not be empty")
    rejects(lambda: engine("ab", temperature=-1.0), "temperature must be 0 or from")


def test_an_engine_of_another_model(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(PAIRS, 262)
    sides = [replace(SIDE, positions=positions) for positions in (Rope(), Sinusoidal())]
    models = [Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)).eval() for side in sides]
    convert(models[1], tmp_path / "engine")
    engine = EngineSeq2Seq(tmp_path / "engine")
    rejects(lambda: EngineTranslator(models[0], tokenizer, engine=engine), "engine must have the config of the model")


# The command line.


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main([*words]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_translate_converts_once_and_says_the_same(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["translate", "--checkpoint", str(TATOEBA), *TEXTS[:2]]
    plain = printed(capsys, *command)
    assert printed(capsys, *command, "--engine", "ctranslate2") == plain
    [folder] = cache.iterdir()
    stamp = (folder / "model.bin").stat().st_mtime_ns
    assert printed(capsys, *command, "--engine", "ctranslate2", "--compute", "float32") == plain
    assert (folder / "model.bin").stat().st_mtime_ns == stamp
    rounded = json.loads(printed(capsys, *command, "--engine", "ctranslate2", "--compute", "int8", "--json"))
    assert [row["source"] for row in rounded] == TEXTS[:2] and all(row["target"] for row in rounded)
    assert sorted(path.name.rpartition("-")[2] for path in cache.iterdir()) == ["float32", "int8"]


def test_generate_goes_on_in_the_same_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer().save(tmp_path / "model")
    command = ["generate", "--checkpoint", str(tmp_path / "model"), "--max-new-tokens", "9", "ab", "ba"]
    greedy = [*command, "--temperature", "0"]
    assert printed(capsys, *greedy, "--engine", "ctranslate2") == printed(capsys, *greedy)
    texts = [printed(capsys, *command, "--engine", "ctranslate2", "--seed", seed) for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_options_that_do_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["translate", "--checkpoint", str(TATOEBA), "a"]
    engine = ["--engine", "ctranslate2"]
    chat = ["generate", "--from-hf", "x", "--chat", *engine, "a"]
    for words, said in (
        ([*command, "--compute", "int8"], "--compute must be given with --engine, got 'int8'"),
        ([*command, "--engine", "llama"], "invalid choice: 'llama'"),
        ([*command, *engine, "--compute", "int4"], "invalid choice: 'int4'"),
        (chat, "--engine must be given without --chat and --messages"),
    ):
        assert said in printed(capsys, *words, code=2)
    if "bfloat16" not in ctranslate2.get_supported_compute_types("cpu"):
        said = printed(capsys, *command, *engine, "--compute", "bfloat16", code=2)
        assert "compute must be one of ['float32', 'int8'] on this processor, got 'bfloat16'" in said
    sides = replace(SIDE, positions=Alibi())
    model = Seq2Seq(Seq2SeqConfig(encoder=sides, decoder=sides)).eval()
    Translator(model, train_tokenizer(PAIRS, 262)).save(tmp_path / "model")
    said = printed(capsys, "translate", "--checkpoint", str(tmp_path / "model"), *engine, "a", code=2)
    assert "encoder.positions must be Learned, Sinusoidal or Rope to be converted, got Alibi()" in said
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    said = printed(capsys, *command, *engine, code=2)
    assert said == 'error: ctranslate2 is needed for this: pip install "transformer_lib[engines]"\n'


def test_a_forced_end_is_put_behind_what_is_open() -> None:
    found = Beams(
        torch.tensor([[[4, 5, 6], [4, 0, 0], [7, 8, 0]]]),
        torch.tensor([[3, 2, 3]]),
        torch.tensor([[-3.0, -2.2, -4.5]]),
        torch.tensor([[-1.0, -1.1, -1.5]]),
    )
    texts = ended(found, 4, 0, [0], 1.0)
    assert texts.tokens.tolist() == [[[4, 5, 6, 0], [4, 0, 0, 0], [7, 8, 0, 0]]]
    assert texts.lengths.tolist() == [[4, 2, 3]] and texts.log_probs.tolist() == found.log_probs.tolist()
    torch.testing.assert_close(texts.scores, torch.tensor([[-0.75, -1.1, -1.5]]))
