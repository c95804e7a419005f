"""Trained models go on with own data by one command: ours and Hugging Face's, all weights or LoRA, as typed."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers as hf
from tokenizers import decoders, models, pre_tokenizers

import transformer_lib
from tests.tasks.test_opus import folder as opus_folder
from tests.text.templates import CHATML
from transformer_lib.__main__ import main
from transformer_lib.interop.adapters import load_adapter
from transformer_lib.interop.huggingface import from_hf
from transformer_lib.models import DecoderLM
from transformer_lib.nn.lora import merge_lora
from transformer_lib.tasks.language_model import Writer
from transformer_lib.tasks.opus import OpusTranslator
from transformer_lib.tasks.own.adapting import Base, base_of
from transformer_lib.tasks.own.further_text import read_writer
from transformer_lib.tasks.own.material import has_chats
from transformer_lib.tasks.own.training import layers_of
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import ALPHABET, Tokenizer
from transformer_lib.training import loop

opus = opus_folder  # a fixture: a folder as OPUS-MT has them
NOUNS, VERBS = ("cat", "dog", "bird", "fish", "horse"), ("sees", "helps", "finds")
SIZES: dict[str, Any] = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 128, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a chat model, as transformers writes it."""
    rust = tokenizers.Tokenizer(models.BPE({spelling: i for i, spelling in enumerate(ALPHABET)}, []))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    rust.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=rust, eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES)).to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [257, 258]}))
    (folder / "LICENSE").write_text("theirs")
    return folder


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a language model of ours."""
    torch.manual_seed(0)
    config = layers_of(257, width=32, layers=1, d_ff=48, max_length=64, dropout=0.1)
    folder = tmp_path_factory.mktemp("own") / "model"
    Writer(DecoderLM(config), Tokenizer.from_bpe(BPE([], ["<|end|>"]))).save(folder)
    return folder


def sentences(count: int) -> list[tuple[str, str, str]]:
    rng = random.Random(0)
    return [(rng.choice(NOUNS), rng.choice(VERBS), rng.choice(NOUNS)) for _ in range(count)]


def chats(file: Path) -> Path:
    rows = []
    for a, v, b in sentences(60):
        asked, answer = {"role": "user", "content": f"Who {v} the {b}?"}, {"role": "assistant", "content": f"A {a}."}
        rows.append({"messages": [asked, answer]})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def texts(file: Path) -> Path:
    file.write_text("".join(f"the {a} {v} the {b}.\n" for a, v, b in sentences(400)))
    return file


def pairs(file: Path) -> Path:
    file.write_text("".join(f"the {a} {v} the {b}\t{b} {v} {a}\n" for a, v, b in sentences(60)))
    return file


def go(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    capsys.readouterr()  # transformers shows bars while it saves
    assert main([*map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_chat_model_by_lora(chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = chats(tmp_path / "c.jsonl"), tmp_path / "out"
    train = ["train", "text", "--data", data, "--from", chat, "--tune", "lora", "--rank", 4, "--out", out]
    results = go(capsys, *train, "--epochs", 1)["results"]
    assert results["held_out_loss"] < results["held_out_loss_before"]
    # the small adapter on the model as it was is the model that came out, and the rest of the folder is the same
    merged, base = from_hf(out / "model"), from_hf(chat, dtype=torch.float32)
    load_adapter(base, out / "adapter")
    merge_lora(base)
    tokens = torch.randint(0, 257, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(merged(tokens), base(tokens), atol=1e-5, rtol=0)
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "LICENSE"):
        assert (out / "model" / name).read_bytes() == (chat / name).read_bytes()
    size = (out / "adapter" / "adapter_model.safetensors").stat().st_size
    assert size < 0.5 * (out / "model" / "model.safetensors").stat().st_size
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["r"] == 4
    # transformers reads it, and our own commands score and use it
    theirs = hf.AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32).eval()
    torch.testing.assert_close(theirs(tokens).logits, merged(tokens), atol=1e-5, rtol=0)
    found = go(capsys, "evaluate", out, "--data", data)
    low, high = found["intervals"]["nats_per_token"]
    assert low < found["scores"]["nats_per_token"] < high and found["examples"] == 60
    assert go(capsys, "generate", "--checkpoint", out, "--chat", "Who?", "--max-new-tokens", 3)[0]["reply"] is not None
    assert isinstance(transformer_lib.load(out / "model"), Writer)
    assert "--data must be given" in refused(capsys, "evaluate", out)


def test_only_the_answers_are_learned(chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every answer is the same, and every question is noise: the loss falls below what any letter costs."""
    rng, rows = random.Random(0), []
    for _ in range(60):
        asked = "".join(rng.choice("abcdefghijklmnop") for _ in range(20))
        rows.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "No."}]})
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = ["train", "text", "--data", tmp_path / "c.jsonl", "--from", chat, "--out", tmp_path / "out"]
    results = go(capsys, *train, "--epochs", 4)["results"]
    assert results["answer_tokens"] == 4 * results["examples"]["test"]  # N o . and the end of the turn
    assert results["nats_per_token"] < 4.0 < 5.0 < results["held_out_loss_before"]


def test_an_own_language_model_and_its_own_text(
    writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = texts(tmp_path / "t.txt"), tmp_path / "out"
    train = ["train", "text", "--data", data, "--from", writer, "--out", out, "--epochs", 2]
    results = go(capsys, *train)["results"]
    assert results["held_out_loss"] < results["held_out_loss_before"] - 0.5
    assert go(capsys, "evaluate", out, "--data", data)["scores"]["bits_per_byte"] < 7
    assert go(capsys, "generate", "--checkpoint", out, "the", "--max-new-tokens", 3)
    # once more from what came out; another base is another run
    again = ["train", "text", "--data", data, "--from", out, "--tune", "lora", "--rank", 2, "--out", tmp_path / "two"]
    assert go(capsys, *again, "--epochs", 1)["results"]["held_out_loss_before"] == pytest.approx(
        results["held_out_loss"], abs=1e-4
    )
    again[again.index(out)] = writer
    assert "recipe.options.from" in refused(capsys, *again, "--epochs", 1, "--resume")


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_translator_of_marians(tune: str, opus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = pairs(tmp_path / "p.tsv"), tmp_path / "out"
    train = ["train", "translation", "--data", data, "--from", opus, "--out", out, "--tune", tune, "--epochs", 1]
    results = go(capsys, *train)["results"]
    assert results["examples"]["train"] + results["examples"]["test"] + results["examples"]["validation"] == 60
    assert isinstance(transformer_lib.load(out / "model"), OpusTranslator)
    before, after = from_hf(opus), from_hf(out / "model")
    assert torch.equal(before.head.bias, after.head.bias)  # a constant of theirs
    moved = [name for name, own in before.named_parameters() if not torch.equal(own, after.get_parameter(name))]
    assert ("encoder.embedding.tokens.weight" in moved) == (tune == "full") and len(moved) > 4
    few = tmp_path / "few.tsv"
    few.write_text("".join(data.read_text().splitlines(keepends=True)[:3]))
    assert go(capsys, "evaluate", out, "--data", few)["examples"] == 3
    assert len(go(capsys, "translate", "--checkpoint", out, "the cat", "--beams", 1)) == 1


def test_interrupted_and_resumed_is_straight_bit_for_bit(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chats(tmp_path / "c.jsonl")
    train = ["train", "text", "--data", data, "--from", chat, "--tune", "lora", "--epochs", 1, "--out"]
    go(capsys, *train, tmp_path / "straight")
    step = loop.train_step

    def until_the_tenth(state: Any, *arguments: Any) -> Any:
        if state.step == 10:
            raise KeyboardInterrupt
        return step(state, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", until_the_tenth)
        assert main([*map(str, train), str(tmp_path / "broken")]) == 130
    go(capsys, *train, tmp_path / "broken", "--resume")
    for name in ("model/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    changed = tmp_path / "changed"
    shutil.copytree(chat, changed)
    moved = tmp_path / "moved"
    shutil.move(chat, moved)
    try:
        torch.manual_seed(1)
        shutil.copytree(changed, chat)
        hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES)).save_pretrained(chat)
        assert "recipe.from" in refused(capsys, *train, tmp_path / "broken", "--resume")
    finally:
        shutil.rmtree(chat)
        shutil.move(moved, chat)


def test_what_cannot_go_on(
    chat: Path, writer: Path, opus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, talk, pair = texts(tmp_path / "t.txt"), chats(tmp_path / "c.jsonl"), pairs(tmp_path / "p.tsv")
    bert = tmp_path / "bert"
    hf.BertForMaskedLM(hf.BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                                     intermediate_size=8)).save_pretrained(bert)  # fmt: skip
    lora = ["--tune", "lora", "--rank"]
    for task, data, base, more, words in (
        ("text", text, bert, [], "--from must be a language model"),
        ("text", text, opus, [], "--from must be a language model"),
        ("translation", pair, chat, [], "--from must be a translator"),
        ("translation", pair, writer, [], "task must be 'translation', got 'language model'"),
        ("text", talk, writer, [], "--from must be a chat model, with a template"),
        ("text", text, chat, ["--tune", "frozen"], "tune must be full or lora here"),
        ("text", text, chat, [*lora, "16"], "rank must be below 16"),
        ("text", text, chat, [*lora, "0"], "whole number from 1"),
        ("text", text, chat, ["--rank", "4"], "--rank must be given with --tune lora"),
        ("text", text, chat, ["--vocab", "300"], "--vocab must be left out with --from"),
        ("text", text, chat, ["--size", "tiny"], "--size must be left out with --from"),
        ("text", text, tmp_path / "nowhere", [], "must be a folder, or OWNER/MODEL of the Hub"),
        ("text", text, tmp_path, [], "--from must be a folder with about.json"),
        ("translation", pair, opus, ["--lowercase"], "--lowercase must be left out with --from"),
    ):
        out = tmp_path / "out"
        assert words in refused(capsys, "train", task, "--data", data, "--from", base, "--out", out, *more), words
        assert not (out / "model").exists()
    plain = ["train", "text", "--data", text, "--out", tmp_path / "out"]
    assert "--rank must be given with --from" in refused(capsys, *plain, "--rank", 3)
    assert "--tune must be given with --from" in refused(capsys, *plain, "--tune", "full")
    assert "data must be texts" in refused(capsys, "train", "text", "--data", talk, "--out", tmp_path / "out")
    assert "--from must come after" in refused(capsys, "train", "recipe.py", "--from", chat)


def test_a_conversation_that_the_template_refuses_is_named(
    chat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(chat, folder)
    refuse = "{% if messages[0].content == 'bad' %}{{ raise_exception('No bad words') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refuse + CHATML)
    data = chats(tmp_path / "c.jsonl")
    bad = {"messages": [{"role": "user", "content": "bad"}, {"role": "assistant", "content": "x"}]}
    data.write_text(data.read_text() + json.dumps(bad) + "\n")
    said = refused(capsys, "train", "text", "--data", data, "--from", folder, "--out", tmp_path / "out")
    assert "c.jsonl, line 61: " in said and "No bad words" in said


def test_where_a_model_lies(chat: Path, writer: Path, tmp_path: Path) -> None:
    assert base_of({"from": str(chat)}) == Base(chat, True, "llama")
    assert base_of({"from": str(writer.parent)}) == base_of({"from": str(writer)}) == Base(writer, False, None)
    assert read_writer(base_of({"from": str(chat)}), "cpu").model.head.weight.dtype is torch.float32
    assert has_chats([chats(tmp_path / "c.jsonl")]) and not has_chats([texts(tmp_path / "t.txt")])
