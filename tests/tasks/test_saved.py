"""A saved model gives back what was saved, or a ValueError that says where it is wrong; nothing in it is executed."""

import dataclasses
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from transformer_lib.config import (
    AttentionConfig,
    Experts,
    GatedDelta,
    LayerConfig,
    Mlp,
    ModelConfig,
    Rope,
    Seq2SeqConfig,
)
from transformer_lib.models import DecoderLM, Seq2Seq
from transformer_lib.tasks.saved import (
    load_config,
    load_model,
    load_tokenizer,
    load_weights_into,
    read_about,
    save_model,
)
from transformer_lib.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["a bab ab aba"], 259, ["<s>"])
SIDE = ModelConfig(
    vocab_size=259,
    d_model=8,
    num_layers=2,
    max_length=8,
    attention=AttentionConfig(num_heads=2),
    feedforward=Mlp(d_ff=16),
    positions=Rope(),
)
ABOUT = {"note": "née", "evaluation": {"beams": 5}, "record": {"bleu": 39.123456789}}


def small_model(seed: int = 0) -> DecoderLM:
    torch.manual_seed(seed)
    return DecoderLM(SIDE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, small_model(), TOKENIZER, task="language model", about=ABOUT)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "copy")


def reseal(folder: Path) -> None:
    """Write the sums anew, as somebody would who wants the folder to look whole."""
    files = sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def assert_refused(folder: Path, *words: str) -> None:
    model = small_model(1)
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(ValueError) as error:
        load_tokenizer(folder)
        load_config(folder)
        load_weights_into(folder, model)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)), "the model was touched"


def test_what_was_saved_is_what_is_loaded(saved: Path) -> None:
    model = load_model(saved, lambda: DecoderLM(load_config(saved)))
    assert model.config == SIDE and not model.training
    assert model.head.weight is model.embedding.tokens.weight
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), small_model().parameters(), strict=True))
    about = read_about(saved, task="language model", own_fields=["note"])
    assert ABOUT.items() <= about.items()
    assert load_tokenizer(saved).encode(" abab") == TOKENIZER.encode(" abab")
    assert "head.weight" not in load_file(saved / "model.safetensors"), "a tied weight is stored once"


def test_the_sums_are_those_of_another_program(saved: Path) -> None:
    lines = (saved / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["about.json", "model.safetensors", "tokenizer.json"]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((saved / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_half_the_size_and_is_rounded_once(dtype: torch.dtype, saved: Path, tmp_path: Path) -> None:
    model = small_model()
    save_model(tmp_path / "half", model, TOKENIZER, task="language model", about={}, dtype=dtype)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half" / "model.safetensors").values()} == {dtype}
    loaded = load_model(tmp_path / "half", lambda: DecoderLM(SIDE))
    for own, read in zip(model.parameters(), loaded.parameters(), strict=True):
        assert read.dtype == torch.float32 and torch.equal(read, own.to(dtype).float())
    save_model(tmp_path / "again", loaded, TOKENIZER, task="language model", about={}, dtype=dtype)
    files = [tmp_path / name / "model.safetensors" for name in ("half", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_size < 0.6 * (saved / "model.safetensors").stat().st_size


def test_an_encoder_decoder_keeps_its_one_embedding(tmp_path: Path) -> None:
    config = Seq2SeqConfig(encoder=SIDE, decoder=SIDE)
    torch.manual_seed(0)
    model = Seq2Seq(config)
    save_model(tmp_path / "pair", model, TOKENIZER, task="translation", about={})
    loaded = load_model(tmp_path / "pair", lambda: Seq2Seq(load_config(tmp_path / "pair")))
    assert loaded.head.weight is loaded.encoder.embedding.tokens.weight is loaded.embedding.tokens.weight
    source = torch.arange(6).view(1, 6)
    torch.testing.assert_close(loaded(source, source), model.eval()(source, source), rtol=0, atol=0)


def test_the_correction_of_a_router_is_kept(tmp_path: Path) -> None:
    experts = Experts(num_experts=3, top_k=1, d_ff=4, router="sigmoid", correction=True)
    layers = (LayerConfig(feedforward=experts), LayerConfig(attention=GatedDelta(num_heads=2, key_dim=4, value_dim=4)))
    torch.manual_seed(0)
    model = DecoderLM(dataclasses.replace(SIDE, pattern=layers)).eval()
    model.blocks[0].feedforward.router.correction.copy_(torch.tensor([0.25, -0.5, 2.0]))
    save_model(tmp_path / "mixed", model, TOKENIZER, task="language model", about={})
    loaded = load_model(tmp_path / "mixed", lambda: DecoderLM(load_config(tmp_path / "mixed")))
    assert loaded.blocks[0].feedforward.router.correction.tolist() == [0.25, -0.5, 2.0]
    tokens = torch.arange(6).view(1, 6)
    torch.testing.assert_close(loaded(tokens), model(tokens), rtol=0, atol=0)


def test_saving_refuses_what_could_not_be_read(tmp_path: Path) -> None:
    model = small_model()
    for about, words in [
        ({"record": {"bleu": float("nan")}}, "not JSON compliant"),
        ({"note": {1, 2}}, "must hold JSON values"),
        ({"record": 3}, "record must be a JSON object"),
        ({"config": None}, "config must be a JSON object"),
    ]:
        with pytest.raises(ValueError, match=words):
            save_model(tmp_path / "bad", model, TOKENIZER, task="language model", about=about)
    with pytest.raises(ValueError, match="fields must include"):
        save_model(tmp_path / "bad", torch.nn.Linear(2, 2), TOKENIZER, task="language model", about={})
    with pytest.raises(ValueError, match=r"dtype must be one of .* got torch.int8"):
        save_model(tmp_path / "bad", model, TOKENIZER, task="language model", about={}, dtype=torch.int8)
    torch.nn.init.constant_(model.final_norm.weight, 1e6)
    with pytest.raises(ValueError, match=r"final_norm.weight must be finite in torch.float16"):
        save_model(tmp_path / "bad", model, TOKENIZER, task="language model", about={}, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []
    save_model(tmp_path / "good", model, TOKENIZER, task="language model", about={})
    with pytest.raises(ValueError, match="path must not exist yet"):
        save_model(tmp_path / "good", model, TOKENIZER, task="language model", about={})


@pytest.mark.parametrize("name", ["about.json", "model.safetensors", "tokenizer.json", "SHA256SUMS"])
def test_damage_is_noticed(name: str, copy: Path) -> None:
    file, whole = copy / name, (copy / name).read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert_refused(copy, "must have the sha256 recorded in SHA256SUMS")
        file.write_bytes(whole[:place])
        assert_refused(copy, "must have the sha256 recorded in SHA256SUMS")
    file.unlink()
    assert_refused(copy, "must hold exactly", name)


def test_files_that_do_not_belong_are_refused(copy: Path) -> None:
    assert_refused(copy / "nowhere", "path must be a folder")
    assert_refused(copy / "about.json", "path must be a folder")
    (copy / "more.safetensors").write_bytes(b"")
    assert_refused(copy, "must hold exactly", "more.safetensors")


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickle_is_refused_and_not_executed(copy: Path, tmp_path: Path) -> None:
    trap, trace = pickle.dumps(Trap(tmp_path / "trace")), tmp_path / "trace"
    for name in ("model.safetensors", "about.json", "tokenizer.json"):
        shutil.rmtree(copy)
        save_model(copy, small_model(), TOKENIZER, task="language model", about=ABOUT)
        (copy / name).write_bytes(trap)
        reseal(copy)
        assert_refused(copy, name, "must be")
    torch.save({"embedding.tokens.weight": Trap(trace)}, copy / "pytorch_model.bin")
    reseal(copy)
    assert_refused(copy, "must hold exactly", "pytorch_model.bin")
    assert not trace.exists()
    pickle.loads(trap)
    assert trace.exists(), "the trap itself works"


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update(format="transformer_lib model 99"), ["format must be 'transformer_lib model 1'", "99"]),
        (lambda a: a.update(format=["../../x"]), ["format must be"]),
        (lambda a: a.pop("format"), ["missing are some", "['format']"]),
        (lambda a: a.pop("config"), ["missing are some", "['config']"]),
        (lambda a: a.update(task=3), ["task must be a string"]),
        (lambda a: a.update(record=[]), ["record must be a JSON object"]),
        (lambda a: a["config"].update(type="os.system"), ["type must be one of", "os.system"]),
        (lambda a: a["config"].update(code="import os"), ["fields of ModelConfig must be among"]),
        (lambda a: a["config"].update(d_model=0), ["d_model must be a whole number"]),
    ],
)
def test_a_foreign_about_is_refused(change: Change, words: list[str], copy: Path) -> None:
    about = json.loads((copy / "about.json").read_text())
    change(about)
    (copy / "about.json").write_text(json.dumps(about))
    reseal(copy)
    assert_refused(copy, *words)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff"])
def test_an_about_that_is_no_json_object_is_refused(text: str, copy: Path) -> None:
    (copy / "about.json").write_text(text, encoding="latin-1")
    reseal(copy)
    assert_refused(copy, "about.json must be")


def test_another_task_or_other_fields_are_named(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"task must be 'translation', got 'language model'"):
        read_about(saved, task="translation")
    with pytest.raises(ValueError, match=r"fields must be exactly \[.*'lowercase'.*\], got \[.*'note'"):
        read_about(saved, own_fields=["lowercase"])
    with pytest.raises(ValueError, match=r"fields must be exactly"):
        read_about(saved, own_fields=[])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update({"../../evil": torch.ones(1)}), ["no weight that the model lacks", "../../evil"]),
        (lambda t: t.pop("final_norm.weight"), ["every weight", "final_norm.weight"]),
        (lambda t: t.update({"final_norm.weight": torch.ones(9)}), ["must have the shape (8,), got (9,)"]),
        (lambda t: t.update({"final_norm.weight": torch.ones(8).int()}), ["one of the types", "int32"]),
    ],
)
def test_other_weights_are_refused(change: Change, words: list[str], copy: Path) -> None:
    file = copy / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)
    reseal(copy)
    assert_refused(copy, "model.safetensors", *words)


def test_names_in_the_sums_lead_nowhere(copy: Path, tmp_path: Path) -> None:
    """The names that are read are fixed; a line for another path is never followed."""
    outside = tmp_path / "outside"
    outside.write_text("x")
    with (copy / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../outside\n")
    load_weights_into(copy, small_model(1))
    assert outside.read_text() == "x"


def test_a_config_that_asks_for_too_much_memory_gets_none(copy: Path) -> None:
    about = json.loads((copy / "about.json").read_text())
    about["config"]["d_model"] = 8_000_000
    (copy / "about.json").write_text(json.dumps(about))
    reseal(copy)
    config = load_config(copy)
    with pytest.raises(ValueError, match=r"config.d_model must be at most \d+, by what .* holds, got 8000000"):
        load_model(copy, lambda: DecoderLM(config))


def test_a_tokenizer_with_other_rules_is_refused(copy: Path) -> None:
    rules = json.loads((copy / "tokenizer.json").read_text())
    rules["normalizer"] = {"type": "Lowercase"}
    (copy / "tokenizer.json").write_text(json.dumps(rules))
    reseal(copy)
    assert_refused(copy, "tokenizer.json must have the rules of this library")
