"""A writer gives what a tokeniser spells of the tokens it wrote, ends where it should, and says what it cannot read."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, normalizers

from transformer_lib.config import AttentionConfig, Learned, ModelConfig, Norm, Positions, Rope, SwiGlu
from transformer_lib.interop.huggingface import to_hf
from transformer_lib.models import DecoderLM
from transformer_lib.tasks import language_model
from transformer_lib.tasks.language_model import Writer
from transformer_lib.text.tokenizer import Tokenizer

OURS = Tokenizer.train(["a bab ab aba"], 259, ["<|end|>"])
ROPE = Rope()
END = OURS.special_tokens["<|end|>"]


def insisting(wanted: Mapping[int, float], *, positions: Positions = ROPE, vocab_size: int = 264) -> DecoderLM:
    """A model whose logits are the same whatever it reads: those given, and 0 for all others."""
    config = ModelConfig(
        vocab_size=vocab_size,
        d_model=8,
        num_layers=1,
        max_length=16,
        attention=AttentionConfig(num_heads=2),
        feedforward=SwiGlu(d_ff=16),
        norm=Norm(kind="rms"),
        positions=positions,
        tie_embeddings=False,
        head_bias=True,
    )
    model = DecoderLM(config).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
        for token, logit in wanted.items():
            model.head.bias[token] = logit
    return model


def llama() -> Tokenizer:
    """The rules of Llama 2: a space before the text, which is dropped again when a text is spelled."""
    pieces = ["<unk>", "\u2581the", "\u2581cat", "\u2581sat", *(f"<0x{byte:02X}>" for byte in range(256))]
    rust = RustTokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    rust.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return Tokenizer(rust)


def test_a_space_at_the_beginning_of_the_continuation_stays() -> None:
    tokenizer = llama()
    sat = 3
    assert tokenizer.decode([sat]) == "sat"
    writer = Writer(insisting({sat: 9.0}), tokenizer)
    assert writer("the cat", max_new_tokens=2, temperature=0.0) == " sat sat"


def test_no_text_ends_within_a_character() -> None:
    first_byte = "é".encode()[0]
    assert OURS.decode([first_byte]) == "\ufffd"
    assert Writer(insisting({first_byte: 9.0}), OURS)("ab", max_new_tokens=1, temperature=0.0) == ""
    both = Writer(insisting({}), OURS)._continuation(OURS.encode("ab"), [*OURS.encode(" é"), first_byte])
    assert both == " é"
    byte = llama().encode("\xc3")[-2]  # <0xC3>, one token for each byte
    assert Writer(insisting({byte: 9.0}), llama())("the", max_new_tokens=1, temperature=0.0) == ""


def test_it_ends_at_special_tokens_and_at_stop_ids() -> None:
    a, b = OURS.encode("a") + OURS.encode("b")
    assert Writer(insisting({END: 9.0}), OURS)("ab", temperature=0.0) == ""
    assert Writer(insisting({a: 9.0}), OURS)("ab", max_new_tokens=3, temperature=0.0) == "aaa"
    assert Writer(insisting({a: 9.0}), OURS, stop_ids=(b, a))("ab", temperature=0.0) == ""


def test_tokens_that_the_tokenizer_lacks_are_never_drawn() -> None:
    a = OURS.encode("a")[0]
    lacking = {i: 99.0 for i in range(OURS.vocab_size, 264)}
    assert len(lacking) == 5
    writer = Writer(insisting({a: 9.0} | lacking), OURS)
    assert writer("ab", max_new_tokens=3, temperature=0.0) == "aaa"
    assert len(writer("ab", max_new_tokens=3, temperature=0.5)) == 3
    b = OURS.encode("b")[0]
    forbidding = Writer(insisting({a: 9.0, b: 8.0}), OURS, forbidden_ids=(a,))
    assert forbidding("ab", max_new_tokens=2, temperature=0.0) == "bb"


def test_as_many_as_fit_and_at_most_200(monkeypatch: pytest.MonkeyPatch) -> None:
    a = OURS.encode("a")[0]
    bounded = Writer(insisting({a: 9.0}, positions=Learned()), OURS)
    assert bounded("bbb", temperature=0.0) == "a" * 14  # 3 + 14 - 1 tokens are read
    assert bounded("b" * 16, temperature=0.0) == "a"
    assert Writer(insisting({a: 9.0}), OURS)("b", temperature=0.0) == "a" * 200
    with pytest.raises(
        ValueError, match="prompt must leave room for 15 new tokens: it has 3, after which at most 14 fit"
    ):
        bounded("bbb", max_new_tokens=15)
    monkeypatch.setattr(
        language_model, "memory_of", lambda device: 10 * (2 * 8 * 4 + 9)
    )  # ten tokens and where they stand
    unbounded = Writer(insisting({a: 9.0}), OURS)
    assert unbounded("bbb", max_new_tokens=8, temperature=0.0) == "a" * 8
    assert unbounded("bbb", temperature=0.0) == "a" * 8
    with pytest.raises(ValueError, match="it has 3, after which at most 8 fit"):
        unbounded("bbb", max_new_tokens=9)


def test_what_cannot_be_read_is_known_before(unchecked_types: None) -> None:
    for positions in (Rope(), Learned()):
        writer = Writer(insisting({}, positions=positions), OURS)
        faults = writer.unreadable(["b", "", "b" * 17, "\ud800", "b" * 1025, "b\0"])
        assert faults == {
            1: "must not be empty, got ''",
            2: "must have at most 16 tokens, got 17",
            3: "must not hold a lone surrogate, got '\\ud800' at index 0",
            4: "must have at most 1024 characters for a model that reads 16 tokens, got 1025",
        }
    for wrong, error in ((0, ValueError), (-1, ValueError), (2**63, ValueError), (1.5, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="max_new_tokens must be"):
            writer("b", max_new_tokens=wrong)
    for temperature in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="temperature must"):
            writer("b", max_new_tokens=1, temperature=temperature)
    with pytest.raises(ValueError, match=r"stop_ids must be at least 0 and below the vocabulary of 264, got \[999\]"):
        Writer(writer.model, OURS, stop_ids=(1, 999))


def test_where_texts_end_is_saved_and_read(tmp_path: Path) -> None:
    writer = Writer(insisting({}), OURS, stop_ids=(7,), forbidden_ids=(9, 8))
    writer.save(tmp_path / "with")
    loaded = Writer.load(tmp_path / "with")
    assert loaded.stop_ids == (7,) and loaded.forbidden_ids == (9, 8)
    Writer(insisting({}), OURS).save(tmp_path / "without")
    assert "stop_ids" not in (tmp_path / "without" / "about.json").read_text()
    assert Writer.load(tmp_path / "without").stop_ids == ()


def test_a_folder_of_theirs_says_where_texts_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = DecoderLM(replace(insisting({}).config, head_bias=False))
    to_hf(model, tmp_path / "hf", tokenizer=OURS, token_ids={"eos_token_id": 65})
    writer = Writer.from_hf(tmp_path / "hf", dtype=torch.bfloat16)
    assert writer.stop_ids == (65,) and writer.model.head.weight.dtype == torch.bfloat16
    assert "A" not in writer("ab", max_new_tokens=10, temperature=5.0)


def test_what_is_saved_from_a_compiled_model_can_be_loaded(tmp_path: Path, unchecked_types: None) -> None:
    model = insisting({70: 1.0})
    tokenizer = Tokenizer.train(["a"], 264 - 8)
    wrapped = torch.compile(model, backend="eager")
    writer = Writer(wrapped, tokenizer)  # type: ignore[arg-type]
    writer.save(tmp_path / "saved")
    loaded = Writer.load(tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), model.parameters(), strict=True))
    assert writer("a", max_new_tokens=3, temperature=0) == loaded("a", max_new_tokens=3, temperature=0)
