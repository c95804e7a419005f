"""Own extractors and answerers that go on from an encoder: of Hugging Face's, pre-trained here, or of one another."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf

from tests.tasks.own.test_own_training import _columns, _questions, _texts
from tests.tasks.published_encoders import encoder_folder
from transformer_lib.__main__ import main
from transformer_lib.tasks.extraction import EntityRelationExtractor
from transformer_lib.tasks.own.adapting import base_of
from transformer_lib.tasks.own.starting import Start, reader_from
from transformer_lib.tasks.own.starting import read_start as read_base
from transformer_lib.tasks.saved import read_about
from transformer_lib.tensor_files import load_tensors


def _json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def read_start(folder: Path) -> Start:
    return read_base(base_of({"from": str(folder)}))


def _body(folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_tensors(folder / "model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}


def _is_the_model(out: Path, base: Path) -> None:
    """The adapter, put by peft to the encoder that it is for, labels as the model that was saved, which is rounded."""
    extractor = EntityRelationExtractor.load(out / "model")
    theirs = hf.BertForTokenClassification.from_pretrained(
        base, num_labels=len(extractor.model.config.tags), dtype=torch.float32
    )
    theirs = peft.PeftModel.from_pretrained(theirs, out / "adapter").eval()
    ids = torch.tensor([[2, 5, 6, 7, 8, 3]])
    with torch.no_grad():
        mine = extractor.model.to_tags(extractor.model.encoder(ids))
        torch.testing.assert_close(theirs(input_ids=ids).logits, mine, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("tune", ["full", "frozen", "lora"])
def test_an_extractor_from_a_bert(tune: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder_folder(tmp_path / "bert", "bert")
    data, out = _columns(tmp_path / "c.conll"), tmp_path / "out"
    train = ["train", "extraction", "--data", data, "--out", out, "--from", tmp_path / "bert", "--epochs", "5"]
    options = ["--tune", tune, *(["--rank", "2"] if tune == "lora" else [])]
    record = _json(capsys, *train, *options)
    assert record["options"]["tune"] == tune and record["results"]["steps"] > 0
    before = {name: weight.half() for name, weight in read_start(tmp_path / "bert").encoder.state_dict().items()}
    after = _body(out / "model")
    assert after.keys() == {f"encoder.{name}" for name in before}
    changed = {name for name, weight in before.items() if not torch.equal(after[f"encoder.{name}"], weight)}
    maps = ("to_qkv.weight", "to_out.weight", "to_hidden.weight")
    match tune:
        case "full":
            assert "embedding.tokens.weight" in changed
        case "frozen":
            assert not changed
        case "lora":
            assert changed and all(name.endswith(maps) for name in changed)
            _is_the_model(out, tmp_path / "bert")
    assert (out / "adapter").exists() == (tune == "lora")
    text = "the cat sees the dog"
    (found,) = _json(capsys, "extract", text, "--checkpoint", out)
    assert found["text"] == text
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in found["entities"])
    assert _json(capsys, "evaluate", out, "--data", data)["examples"] == 40
    # what was begun so is not gone on with otherwise
    other = "full" if tune != "full" else "frozen"
    assert main([*map(str, train), "--tune", other, "--resume"]) == 2
    assert "must equal this run's" in capsys.readouterr().err


def test_from_texts_to_an_extractor_and_an_answerer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, encoder = _texts(tmp_path / "t.txt"), tmp_path / "encoder"
    record = _json(capsys, "train", "encoder", "--data", texts, "--out", encoder, "--epochs", "6")
    assert record["results"]["test"]["nats_per_hidden_token"] < 5  # 5.7 if all tokens were as likely
    scored = _json(capsys, "evaluate", encoder, "--data", texts)
    assert scored["task"] == "masked text" and scored["scores"]["nats_per_hidden_token"] < 5
    data, out = _columns(tmp_path / "c.conll"), tmp_path / "extractor"
    _json(capsys, "train", "extraction", "--data", data, "--out", out, "--from", encoder, "--epochs", "1")
    kept = read_start(encoder).tokenizer.encode_batch(["the cat sees"])
    assert read_start(out).tokenizer.encode_batch(["the cat sees"]) == kept
    questions, answerer = _questions(tmp_path / "q.jsonl"), tmp_path / "answerer"
    train = ["train", "answers", "--data", questions, "--epochs", "1"]
    _json(capsys, *train, "--out", answerer, "--from", encoder, "--tune", "frozen")
    assert read_about(answerer / "model")["config"]["segments"] == 3
    # and once more, from the answerer, whose head goes on; of no family of transformers, it has no adapter for peft
    _json(capsys, *train, "--out", tmp_path / "again", "--from", answerer, "--tune", "lora")
    assert not (tmp_path / "again" / "adapter").exists()
    assert main([*map(str, train), "--out", str(tmp_path / "no"), "--from", str(answerer), "--tune", "frozen"]) == 2
    assert "tune must be full or lora" in capsys.readouterr().err
    # texts of one's own field, for an encoder that others trained
    again = tmp_path / "field"
    _json(capsys, "train", "encoder", "--data", texts, "--out", again, "--from", encoder, "--epochs", "1")
    for name, weight in read_start(again).encoder.state_dict().items():
        assert weight.shape == read_start(encoder).encoder.state_dict()[name].shape


def test_an_answerer_and_more_text_for_a_roberta(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder_folder(tmp_path / "roberta", "roberta")
    questions, out = _questions(tmp_path / "q.jsonl"), tmp_path / "out"
    base = ["--from", tmp_path / "roberta", "--epochs", "1", "--tune", "lora", "--rank", "2"]
    _json(capsys, "train", "answers", "--data", questions, "--out", out, *base)
    fields = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert fields["modules_to_save"] == ["qa_outputs"] and fields["task_type"] == "QUESTION_ANS"
    (tmp_path / "passage.txt").write_text("The cat sees the dog.")
    found = _json(capsys, "answer", "What?", "--passages", tmp_path / "passage.txt", "--checkpoint", out)
    assert found["abstained"] in (True, False)
    assert _json(capsys, "evaluate", out, "--data", questions)["examples"] == 40
    texts = _texts(tmp_path / "t.txt")
    field = tmp_path / "field"
    _json(capsys, "train", "encoder", "--data", texts, "--out", field, *base)
    assert (field / "adapter").is_dir()
    assert read_start(field).tokenizer.frame == read_start(tmp_path / "roberta").tokenizer.frame


def test_segments_that_are_added_begin_without_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = _texts(tmp_path / "t.txt")
    _json(capsys, "train", "encoder", "--data", texts, "--out", tmp_path / "encoder", "--epochs", "1")
    start = read_start(tmp_path / "encoder")
    reader, new = reader_from(start)
    assert new == ("head", "encoder.embedding.segments")
    tokens = torch.arange(9)[None]
    found = reader.eval().encoder(tokens, segments=tokens % 3)  # type: ignore[operator, union-attr]
    assert torch.equal(found, start.encoder(tokens))


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, texts = _columns(tmp_path / "c.conll"), _texts(tmp_path / "t.txt")
    train = ["train", "extraction", "--data", str(data), "--out", str(tmp_path / "out"), "--from"]
    assert main([*train, str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    _json(capsys, "train", "text", "--data", texts, "--out", tmp_path / "writer", "--epochs", "1", "--size", "tiny")
    assert main([*train, str(tmp_path / "writer")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--from must be a model with an encoder" in said and "'language model'" in said
