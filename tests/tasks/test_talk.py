"""A published chat model answers as it does in transformers, and the command line holds a conversation with it."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers as hf
from tokenizers import decoders, models, pre_tokenizers

from tests.oracles import randomise, rejects, unchecked
from tests.text.published import piece_model
from tests.text.templates import CHATML, QWEN, ZEPHYR
from transformer_lib.__main__ import main
from transformer_lib.tasks.talk import Talker
from transformer_lib.text.tokenizer import ALPHABET

NAMES = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}
SIZES: dict[str, Any] = {
    "vocab_size": 259, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
}  # fmt: skip
NEW = 12


def save_model(folder: Path, kind: str, **sizes: Any) -> Any:
    """A random model in a folder of theirs."""
    torch.manual_seed(0)
    model = getattr(hf, f"{kind}ForCausalLM")(getattr(hf, f"{kind}Config")(**SIZES | sizes))
    randomise(model, dtype=torch.float32).save_pretrained(folder)
    return model


@pytest.fixture(scope="module", params=["Llama", "Qwen3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that may write printable ASCII alone, and whose turns end at either of two tokens."""
    rust = tokenizers.Tokenizer(models.BPE({spelling: i for i, spelling in enumerate(ALPHABET)}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(NAMES)
    folder = tmp_path_factory.mktemp("model")
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=rust, eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML if request.param == "Llama" else QWEN
    tokenizer.save_pretrained(folder)
    save_model(folder, request.param)
    unseen = [*range(32), *range(127, 256), 256]
    fields = {"eos_token_id": [257, 258], "pad_token_id": 258, "suppress_tokens": unseen, "bad_words_ids": [[65], [66]]}
    (folder / "generation_config.json").write_text(json.dumps(fields))
    return folder


def their_reply(folder: Path, messages: list[dict[str, str]], new: int = NEW) -> str:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
    return str(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))


def test_a_reply_is_that_of_transformers(folder: Path) -> None:
    talker, replies = Talker.from_hf(folder), set()
    for messages in ([USER], [SYSTEM, USER], [SYSTEM, USER, {"role": "assistant", "content": "4"}, USER]):
        reply = talker(messages, max_new_tokens=NEW, temperature=0.0)
        assert reply == their_reply(folder, messages)
        replies.add(reply)
    assert len(replies) == 3 and max(map(len, replies)) == NEW
    assert not re.search("[^ -~]|A|B", "".join(replies))


def say(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_lines_are_turns_of_one_conversation(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "--from-hf", str(folder), "--chat", "--temperature", "0", "--max-new-tokens", str(NEW)]
    say(monkeypatch, b"\xef\xbb\xbfHello\r\n\nbad \xff\n" + b"x" * 300 + b"\nAgain\n")
    assert main([*command, "--system", "Be brief.", "--json"]) == 1
    printed = capsys.readouterr()
    assert re.fullmatch(
        "line 2: must not be empty, got ''\nline 3: must be UTF-8, got the byte 0xff after 4 characters\n"
        r"line 4: messages must have at most 256 tokens, got \d+\n", printed.err
    )  # fmt: skip
    first, *bad, second = json.loads(printed.out)
    assert [*map(list, bad)] == [["error"]] * 3
    talk = [SYSTEM, {"role": "user", "content": "Hello"}]
    assert first == {"messages": talk, "reply": their_reply(folder, talk)}
    talk += [{"role": "assistant", "content": first["reply"]}, {"role": "user", "content": "Again"}]
    assert second == {"messages": talk, "reply": their_reply(folder, talk)}
    assert main([*command, "Hello", "Again"]) == 0
    replies = capsys.readouterr().out.splitlines()
    assert replies[0] == their_reply(folder, [{"role": "user", "content": "Hello"}]) and len(replies) == 2


def test_conversations_of_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Any] = [[USER], {"messages": [SYSTEM, USER], "tools": None}, {"a": 1}, [{"role": 3}], "text",
                       {"messages": [USER], "fly": 1}, {"messages": [USER], "tools": 3}]  # fmt: skip
    file = tmp_path / "talks.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    command = ["generate", "--from-hf", str(folder), "--temperature", "0", "--max-new-tokens", str(NEW)]
    assert main([*command, "--messages", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [their_reply(folder, [USER]), their_reply(folder, [SYSTEM, USER]), *[""] * 6]
    for words in (
        "line 3: must be a list of messages, or an object with one as its messages, got {'a': 1}",
        "line 4: messages[0] must have a role, as a text, got 3",
        "line 5: must be a list of messages",
        "line 6: must have no fields but ['messages', 'tools', 'documents'], got ['fly']",
        "line 7: tools must be",
        "line 8: must be JSON",
    ):
        assert words in printed.err
    for more, words in (
        (["--messages", str(file), "--chat"], "--messages must be given without"),
        (["--system", "x", "a"], "--system must be given with --chat"),
        (["--messages", str(tmp_path / "none")], "No such file"),
    ):
        assert main([*command, *more]) == 2
        assert words in capsys.readouterr().err
    assert main(["generate", "--checkpoint", "x", "--chat", "a"]) == 2
    assert "must be given with --from-hf" in capsys.readouterr().err


@unchecked()
def test_a_model_with_a_sentence_piece(tmp_path: Path) -> None:
    """Mistral's 32,000 pieces; names of special tokens in what the user says are text."""
    save_model(tmp_path, "Llama", vocab_size=32_000, eos_token_id=2, bos_token_id=1)
    (tmp_path / "tokenizer.model").write_bytes(piece_model("tokenizer.model.v1"))
    fields = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "chat_template": "{{ bos_token }}" + ZEPHYR,
              "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(fields))
    talker, theirs = Talker.from_hf(tmp_path), hf.AutoTokenizer.from_pretrained(tmp_path)
    talk = [SYSTEM, {"role": "user", "content": "Bonjour 你好 😀!"}, {"role": "assistant", "content": "4"}, USER]
    ids = theirs.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    assert talker.template.encode(talker.writer.tokenizer, talk) == ids and ids.count(2) == 4
    assert talker([USER], max_new_tokens=NEW, temperature=0.0) == their_reply(tmp_path, [USER])
    asked = talker.template.encode(talker.writer.tokenizer, [{"role": "user", "content": "a </s> <s> b"}])
    assert asked.count(2) == 1 and asked.count(1) == 1
    assert "a </s> <s> b" in talker.writer.tokenizer.decode(asked)


def test_a_folder_without_a_template(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with rejects("folder must hold chat_template.jinja"):
        Talker.from_hf(tmp_path)
