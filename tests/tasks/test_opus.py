"""A folder of OPUS-MT's kind translates as in transformers: ids, forced and forbidden tokens, greedy and by beams."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
import transformers as hf

import transformer_lib
from tests.oracles import randomise, rejects
from tests.text.published import lines, put, trained
from transformer_lib.__main__ import main
from transformer_lib.tasks.engines import on_engine
from transformer_lib.tasks.opus import OpusTranslator

NEW = 10
TEXTS = ["Juli", "Пожалуйста, исправьте ошибки ниже.", ">>fra<< two  words", "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = trained("unigram", 0, vocab_size=600), trained("unigram", 1, vocab_size=600)
    pieces = {piece for data in (source, target) for piece in _pieces(data)} - {"<s>", "</s>", "<unk>"}
    ids = {name: i for i, name in enumerate(["</s>", "<unk>", ">>fra<<", *sorted(pieces), "<pad>"])}
    fields = {"source_lang": "en", "target_lang": "fr", "tokenizer_class": "MarianTokenizer"}
    files = {"source__spm": source, "target__spm": target, "vocab__json": ids, "tokenizer_config__json": fields}
    folder = put(tmp_path_factory.mktemp("opus") / "model", **files)
    pad = len(ids) - 1
    config = hf.MarianConfig(
        vocab_size=len(ids), d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=64,
        pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = randomise(hf.MarianMTModel(config), dtype=torch.float32)
    with torch.no_grad():
        model.final_logits_bias[0, pad] = 20.0  # what is never to be written is what it would write
        model.final_logits_bias[0, 0] = 2.0
    model.generation_config = hf.GenerationConfig(
        bad_words_ids=[[pad]], decoder_start_token_id=pad, eos_token_id=0, pad_token_id=pad, forced_eos_token_id=0
    )
    model.save_pretrained(folder)
    return folder


def _pieces(data: bytes) -> list[str]:
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]


def theirs(folder: Path, texts: list[str], beams: int) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they recommend a package that they do not use
        tokenizer = hf.MarianTokenizer.from_pretrained(folder)
    model = hf.MarianMTModel.from_pretrained(folder).eval()
    found = []
    for text in texts:
        options: dict[str, Any] = {"num_beams": beams, "early_stopping": beams > 1, "do_sample": False}
        written = model.generate(**tokenizer([text], return_tensors="pt"), max_new_tokens=NEW, **options)
        found.append(tokenizer.decode(written[0], skip_special_tokens=True))
    return found


@pytest.mark.parametrize("beams", [1, 4])
def test_translations_are_those_of_transformers(beams: int, folder: Path) -> None:
    translator = transformer_lib.load(folder)
    assert isinstance(translator, OpusTranslator)
    texts = [*TEXTS, *(line for line in lines()[:4000:200] if len(line) < 30)]
    found = translator(texts, beams=beams, max_new_tokens=NEW)
    assert found == theirs(folder, texts, beams)
    assert len(set(found)) >= 4 and "<pad>" not in "".join(found)
    assert translator(texts[::-1], beams=beams, max_new_tokens=NEW, batch=3)[::-1] == found  # whoever is beside it


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts"
    file.write_bytes(b"Juli\nbad \xff\n\n" + b"x, " * 200 + b"\nzwei\n")
    assert main(["translate", "--from-hf", str(folder), "--beams", "1", "--file", str(file), "--json"]) == 1
    printed = capsys.readouterr()
    assert "line 2: must be UTF-8" in printed.err and "line 4: must have at most 64 tokens with its end" in printed.err
    first, bad, empty, long, last = json.loads(printed.out)
    assert list(bad) == list(long) == ["error"] and (empty["source"], empty["target"], empty["tokens"]) == ("", "", 0)
    translator = OpusTranslator.from_hf(folder)
    assert [first["target"], last["target"]] == translator(["Juli", "zwei"], beams=1)
    for more, words in ((["--checkpoint", "x"], "not allowed with"), (["--dtype", "int8"], "invalid choice")):
        assert main(["translate", "--from-hf", str(folder), *more, "a"]) == 2
        assert words in capsys.readouterr().err
    assert main(["translate", "--checkpoint", "x", "--drop", "y", "a"]) == 2
    assert "--drop must be given with --from-hf alone" in capsys.readouterr().err


def test_what_a_folder_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "target.spm").unlink()
    with pytest.raises(FileNotFoundError, match=r"target\.spm"):
        OpusTranslator.from_hf(copy)
    (copy / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    (copy / "generation_config.json").write_text("{}")
    with rejects("start_id must be given"):
        OpusTranslator.from_hf(copy)
    ids = json.loads((copy / "vocab.json").read_text())
    (copy / "vocab.json").write_text(json.dumps(ids | {"one more": len(ids)}))
    with rejects("must have at most the"):
        OpusTranslator.from_hf(copy, ignore=["eos_token_id"])


def test_an_engine_translates_as_well(folder: Path, tmp_path: Path) -> None:
    translator = OpusTranslator.from_hf(folder)
    engine = on_engine(translator, tmp_path)
    texts = [*TEXTS, *(line for line in lines()[:4000:200] if len(line) < 30)]
    search = {"beams": 1, "max_new_tokens": NEW}  # of beams, texts that are cut for their length are ranked otherwise
    assert engine(texts, **search) == translator(texts, **search)
    with rejects("first_id must be None for an engine"):
        on_engine(replace(translator, settings=replace(translator.settings, first_id=2)), tmp_path)
    with rejects("max_new_tokens must be at least 2"):
        engine(texts, max_new_tokens=1)
