"""Every family of Hugging Face's: their weights in our models give their numbers, and the reverse."""

import copy
import dataclasses
import fnmatch
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import tokenizers
import torch
import transformers as hf
from safetensors.torch import load_file

from tests.interop.families import CASES, DECODERS, LENGTH, LONG, TOKENS, VALID, Case, our_output, their_output
from tests.interop.wide import Float64
from tests.oracles import CONFIG, close, randomise, rejects, unchecked
from transformer_lib.__main__ import main
from transformer_lib.config import Alibi, AttentionConfig, Mlp, ModelConfig, Norm, NtkScaling, Rope, SwiGlu
from transformer_lib.generation import generate
from transformer_lib.interop.hub import find
from transformer_lib.interop.huggingface import from_hf, from_hf_state, lacking_ids, read_tokenizer, to_hf
from transformer_lib.models import DecoderLM, MaskedLM, Seq2Seq, SequenceClassifier, presets
from transformer_lib.text.tokenizer import Tokenizer
from transformer_lib.training import token_loss

F32, F64 = torch.float32, torch.float64
TOKEN_IDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}

MANY = 2_000_000_000  # near the most that a config takes

families = pytest.mark.parametrize("name", CASES)
decoders = pytest.mark.parametrize("name", DECODERS)


def opened(case: Case, folder: Path) -> Any:
    return from_hf(folder, drop=case.drop)


def near(found: torch.Tensor, theirs: torch.Tensor) -> None:
    """Sums of large numbers are rounded as large ones: in float32 the size of the largest logit counts."""
    if found.dtype == F64:
        close(found, theirs)
        return
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-5 * max(1.0, float(theirs.abs().max())))


@families
@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_theirs_gives_the_same_numbers_in_ours(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    case = CASES[name]
    theirs = case.save(tmp_path / "model", dtype=dtype)
    mine = opened(case, tmp_path / "model")
    assert next(mine.parameters()).dtype is dtype and not mine.training
    near(our_output(mine, TOKENS), their_output(theirs, TOKENS))


@families
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_are_the_same(name: str, side: str, tmp_path: Path) -> None:
    case = CASES[name]
    if side == "left" and not case.is_decoder:
        pytest.skip("their encoders count padding on the left as positions")
    theirs = case.save(tmp_path / "model")
    valid = VALID if side == "right" else VALID.flip(1)
    found, expected = our_output(opened(case, tmp_path / "model"), TOKENS, valid), their_output(theirs, TOKENS, valid)
    rows = valid if found.shape[:2] == valid.shape and "marian" not in name else slice(None)  # whose source is padded
    close(found[rows], expected[rows])


@families
def test_long_texts_are_the_same(name: str, tmp_path: Path) -> None:
    """Past the length from which the scaled positions differ."""
    case = CASES[name]
    theirs = case.save(tmp_path / "model")
    close(our_output(opened(case, tmp_path / "model"), LONG), their_output(theirs, LONG))


@decoders
def test_distant_positions_are_the_same(name: str, tmp_path: Path) -> None:
    if "gpt2" in name:
        pytest.skip("its table has no more positions")
    theirs = CASES[name].save(tmp_path / "model")
    positions = torch.arange(9)[None] + 20_000
    found = from_hf(tmp_path / "model")(TOKENS, positions=positions)
    close(found, their_output(theirs, TOKENS, position_ids=positions))


@decoders
def test_steps_with_a_cache_are_the_same(name: str, tmp_path: Path) -> None:
    theirs = CASES[name].save(tmp_path / "model")
    mine = from_hf(tmp_path / "model")
    cache, past = mine.new_cache(1, LENGTH), hf.DynamicCache(config=theirs.config)
    with torch.no_grad():
        for start, end in [(0, 14), *((step, step + 1) for step in range(14, LENGTH))]:
            with Float64():
                expected = theirs(LONG[:, start:end], past_key_values=past, use_cache=True).logits
            close(mine(LONG[:, start:end], cache=cache), expected, f"tokens from {start}")


@families
def test_a_round_trip_keeps_every_key(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    theirs = case.save(tmp_path / "model", dtype=F32)
    mine = opened(case, tmp_path / "model")
    to_hf(mine, tmp_path / "again", **case.written)
    again, report = type(theirs).from_pretrained(tmp_path / "again", output_loading_info=True)
    pooler = {key for key in theirs.state_dict() if key.startswith("pooler.")}
    assert set(report["missing_keys"]) == pooler
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    expected, found = theirs.state_dict(), again.state_dict()
    assert found.keys() == expected.keys()
    tables = {key for key in expected if "embed_positions" in key}  # which each computes, and are not in the file
    first = mine.config.max_length if "roberta" in name else 0
    for state in (expected, found):  # without the rows that stand for no position
        state |= {key: state[key][-first:] for key in state if "position_embeddings" in key}
    assert [key for key in expected.keys() - pooler - tables if not torch.equal(found[key], expected[key])] == []
    for key in tables:
        close(found[key], expected[key], key)
    close(their_output(again.eval(), LONG), their_output(theirs, LONG))
    second = from_hf(tmp_path / "again")
    if hasattr(mine, "labels"):
        assert second.labels == mine.labels == ("bad", "so so", "good") == tuple(again.config.id2label.values())
    assert second.config == mine.config or "gpt2 relu" in name
    for key, tensor in mine.state_dict().items():
        assert torch.equal(second.state_dict()[key], tensor), key


def test_a_model_that_we_trained_writes_the_same_text_in_theirs(tmp_path: Path) -> None:
    """Two letters take turns; greedy writing then repeats what was learnt."""
    torch.manual_seed(0)
    mine = DecoderLM(presets.tiny(13))
    optimizer = torch.optim.AdamW(mine.parameters(), lr=3e-3)
    text = torch.arange(65).remainder(7)[None] + 3
    for _ in range(60):
        optimizer.zero_grad()
        token_loss(mine(text[:, :-1]), text[:, 1:]).mean().backward()
        optimizer.step()
    mine.eval()
    to_hf(mine, tmp_path / "model", token_ids={"eos_token_id": 0, "pad_token_id": 0})
    theirs = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    prompt = text[:, :4]
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False)
    found = generate(mine, prompt, max_new_tokens=20).tokens
    assert found.tolist() == expected[:, 4:].tolist()
    assert found.tolist() == (torch.arange(4, 24).remainder(7)[None] + 3).tolist()  # it did learn


def test_an_encoder_decoder_of_2017_opens_in_theirs(tmp_path: Path) -> None:
    config = presets.transformer_base(13)
    sides = [
        dataclasses.replace(
            side,
            d_model=16,
            num_layers=2,
            attention=AttentionConfig(num_heads=4, bias=True),
            feedforward=Mlp(d_ff=24, activation="relu"),
        )
        for side in (config.encoder, config.decoder)
    ]
    mine = randomise(Seq2Seq(dataclasses.replace(config, encoder=sides[0], decoder=sides[1])), dtype=F32)
    to_hf(mine, tmp_path / "model", token_ids=TOKEN_IDS)
    theirs = hf.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    close(our_output(mine, TOKENS), their_output(theirs, TOKENS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_as_it_is(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = CASES["qwen3"].save(tmp_path / "model", dtype=dtype)
    mine = from_hf(tmp_path / "model")
    assert {weight.dtype for weight in mine.parameters()} == {dtype}
    assert torch.equal(mine.embedding.tokens.weight, theirs.model.embed_tokens.weight)
    wide = from_hf(tmp_path / "model", dtype=F32)
    assert torch.equal(wide.embedding.tokens.weight, theirs.model.embed_tokens.weight.float())
    to_hf(wide, tmp_path / "again", dtype=dtype)
    again = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert again.dtype is dtype
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in again.state_dict().items())


@families
def test_shards_are_read_and_written(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    theirs = case.save(tmp_path / "model", dtype=F32, max_shard_size=5000)
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 1
    mine = opened(case, tmp_path / "model")
    near(our_output(mine, TOKENS), their_output(theirs, TOKENS))
    to_hf(mine, tmp_path / "again", max_shard_bytes=5000, **case.written)
    files = list((tmp_path / "again").glob("model-*.safetensors"))
    largest = max(tensor.nbytes for tensor in theirs.state_dict().values())  # of which one may fill a file by itself
    assert len(files) > 1 and all(file.stat().st_size < max(5000, largest) + 3000 for file in files)  # and a header
    again = type(theirs).from_pretrained(tmp_path / "again").eval()
    near(their_output(again, TOKENS), our_output(mine, TOKENS))


def test_tied_weights_stay_tied_and_untied_ones_apart(tmp_path: Path) -> None:
    for name, tied in (("qwen3", True), ("llama", False), ("marian", True)):
        CASES[name].save(tmp_path / name)
        mine = from_hf(tmp_path / name, dropout=0.0)
        assert (mine.embedding.tokens.weight is mine.head.weight) is tied


def test_dropout_is_theirs_or_the_callers(tmp_path: Path) -> None:
    CASES["gpt2"].save(tmp_path / "same")
    assert from_hf(tmp_path / "same").config.dropout == 0.1
    CASES["marian"].save(tmp_path / "unlike")  # 0.1 in the stream, none in attention
    assert from_hf(tmp_path / "unlike").config.encoder.dropout == 0.1
    assert from_hf(tmp_path / "same", dropout=0.0).config.dropout == 0.0


# Files as others wrote them -------------------------------------------------------------------------------------------


def fields_of(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return fields


def test_the_first_gpt2_checkpoint_opens(tmp_path: Path) -> None:
    """Without the prefix of the bare model, with its mask among the weights, and with a config of few fields."""
    theirs = CASES["gpt2"].save(tmp_path / "model")
    state = {name.removeprefix("transformer."): tensor for name, tensor in theirs.state_dict().items()}
    del state["lm_head.weight"]
    for layer in range(2):
        state[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
        state[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    names = ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "model_type", "layer_norm_epsilon")
    old = {name: fields_of(tmp_path / "model")[name] for name in names}
    old |= {"n_ctx": 64, "task_specific_params": {"text-generation": {"do_sample": True}}}
    close(our_output(from_hf_state(old, state), TOKENS), their_output(theirs, TOKENS))
    state["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    with rejects("transformer.h.0.attn.bias", "computed"):
        from_hf_state(old, state)


def test_the_first_bert_checkpoint_opens(tmp_path: Path) -> None:
    theirs = CASES["bert masked"].save(tmp_path / "model")
    state = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in theirs.state_dict().items()
    }
    state |= {"bert.embeddings.position_ids": torch.arange(64)[None]}
    state |= {"bert.pooler.dense.weight": torch.zeros(16, 16), "cls.seq_relationship.bias": torch.zeros(2)}
    fields = fields_of(tmp_path / "model")
    close(our_output(from_hf_state(fields, state), TOKENS), their_output(theirs, TOKENS))
    with rejects("cls.predictions.bias is unknown", "bert.pooler.dense.weight is unknown"):
        from_hf_state(fields | {"architectures": ["BertModel"]}, state)
    pair = ("bert.pooler.*", "cls.seq_relationship.*")  # of sentences, which is half of what it was trained on
    with rejects("bert.pooler.dense.weight is unknown", "cls.seq_relationship.bias is unknown"):
        from_hf_state(fields | {"architectures": ["BertForPreTraining"]}, state)
    mine = from_hf_state(fields | {"architectures": ["BertForPreTraining"]}, state, drop=pair)
    close(our_output(mine, TOKENS), their_output(theirs, TOKENS))
    for name in ("architectures", "model_type"):
        del fields[name]
    close(our_output(from_hf_state(fields, state), TOKENS), their_output(theirs, TOKENS))


def test_a_llama_config_of_transformers_4_opens(tmp_path: Path) -> None:
    theirs = CASES["llama llama3"].save(tmp_path / "model")
    fields = fields_of(tmp_path / "model")
    rope = fields.pop("rope_parameters")
    fields |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": fields.pop("dtype")}
    close(our_output(from_hf_state(fields, theirs.state_dict()), LONG), their_output(theirs, LONG))
    rope["type"] = rope.pop("rope_type")
    close(our_output(from_hf_state(fields, theirs.state_dict()), LONG), their_output(theirs, LONG))


def test_both_spellings_of_a_rope_are_written_and_must_agree(tmp_path: Path) -> None:
    theirs = CASES["llama llama3"].save(tmp_path / "theirs")
    to_hf(from_hf(tmp_path / "theirs"), tmp_path / "model")
    fields, state = fields_of(tmp_path / "model"), theirs.state_dict()
    old, new = fields["rope_scaling"], fields["rope_parameters"]
    assert new == old | {"rope_theta": 500.0} and fields["rope_theta"] == 500.0 and old["factor"] == 4.0
    for alone in ({"rope_parameters": None}, {"rope_parameters": old}, {"rope_theta": None}):
        close(our_output(from_hf_state(fields | alone, state), LONG), their_output(theirs, LONG))
    for change in (
        {"rope_theta": 600.0},
        {"rope_theta": 0},
        {"rope_scaling": None},
        {"rope_scaling": old | {"factor": 5.0}},
        {"rope_scaling": old | {"type": "yarn"}},
        {"rope_scaling": old | {"rope_theta": 600.0}},
        {"rope_parameters": {"rope_type": "default"}},
    ):
        with rejects("must have one"):
            from_hf_state(fields | change, state)
    with rejects("rope_scaling must be an object or null, got 'linear'"):
        from_hf_state(fields | {"rope_scaling": "linear"}, state)
    with rejects("rope_theta must be a finite number, got inf"):
        from_hf_state(fields | {"rope_theta": float("inf")}, state)


_GEMMA = {"rope_parameters": {"full_attention": {"factor": 2.0, "rope_type": "linear"}, "sliding_attention": {}}}


@pytest.mark.parametrize(
    "name, absent, said",
    [
        ("gpt_oss", ("rope_parameters",), {"max_position_embeddings": 131_072}),
        ("gpt_oss", ("rope_parameters",), {"max_position_embeddings": 131_072, "rope_theta": 70.0}),
        ("gpt_oss", (), {"max_position_embeddings": 131_072, "rope_parameters": None}),
        ("gemma3", (), _GEMMA),
        ("gemma3", (), _GEMMA | {"rope_theta": 300.0, "rope_local_base_freq": 40.0}),
        ("gemma3", ("rope_parameters",), {}),
    ],
)
def test_a_rope_that_is_not_said_is_the_familys(
    name: str, absent: tuple[str, ...], said: dict[str, Any], tmp_path: Path
) -> None:
    case = CASES[name]
    case.save(tmp_path / "model")
    fields = {key: part for key, part in fields_of(tmp_path / "model").items() if key not in absent} | said
    theirs = Case(case.architecture, copy.deepcopy(fields)).build(torch.float64)
    close(our_output(from_hf_state(fields, theirs.state_dict()), LONG), their_output(theirs, LONG))


@pytest.mark.parametrize("dtype", [F32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "llama linear", "llama llama3"])
def test_stored_frequencies_are_compared_with_the_config(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Old checkpoints have them in each layer, some newer ones once, with the scaling or without."""
    theirs = CASES[name].save(tmp_path / "model", dtype=F32)
    state, fields = dict(theirs.state_dict()), fields_of(tmp_path / "model")
    plain = 500.0 ** -(torch.arange(0, 8, 2) / 8)
    for frequencies in (plain, theirs.model.rotary_emb.inv_freq):
        for place in ("model.rotary_emb", "model.layers.0.self_attn.rotary_emb"):
            stored = state | {f"{place}.inv_freq": frequencies.to(dtype)}
            close(our_output(from_hf_state(fields, stored), LONG), their_output(theirs, LONG))
    others = [500.0 * 1.05, 10_000.0]
    wrong = [base ** -(torch.arange(0, 8, 2) / 8) for base in others] + [plain[:3], plain * 2, plain.long()]
    for frequencies in wrong:
        kind = dtype if frequencies.is_floating_point() else torch.long
        with rejects("model.rotary_emb.inv_freq must be what the config says"):
            from_hf_state(fields, state | {"model.rotary_emb.inv_freq": frequencies.to(kind)})


def test_a_marian_checkpoint_with_its_tables_opens(tmp_path: Path) -> None:
    theirs = CASES["marian relu scaled"].save(tmp_path / "model")
    state = theirs.state_dict()
    tables = [name for name in state if "embed_positions" in name or "embed_tokens" in name]
    assert len(tables) == 4
    fields = fields_of(tmp_path / "model") | {"static_position_embeddings": True, "normalize_before": False}
    close(our_output(from_hf_state(fields, state), TOKENS), their_output(theirs, TOKENS))
    state["model.decoder.embed_tokens.weight"] = state["model.shared.weight"] + 1
    with rejects("model.decoder.embed_tokens.weight", "must equal model.shared.weight"):
        from_hf_state(fields, state)


# Tokenizers -----------------------------------------------------------------------------------------------------------

TEXTS = ["the cat sat on the mat. " * 20, "the dog and the cat, again and again! " * 20]


def test_our_tokenizer_opens_in_theirs(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(TEXTS, 270, ["<end>"])
    to_hf(randomise(DecoderLM(presets.tiny(270)), dtype=F32), tmp_path / "model", tokenizer=tokenizer)
    theirs = hf.AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "the cat and 猫 sat\n on"
    assert theirs(text)["input_ids"] == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == text
    assert read_tokenizer(tmp_path / "model").encode(text) == tokenizer.encode(text)


def test_their_tokenizer_opens_in_ours(tmp_path: Path) -> None:
    """With rules of its own: another way to cut, and a first token that it adds by itself."""
    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=270, special_tokens=["<s>"], initial_alphabet=alphabet)
    rust.train_from_iterator(TEXTS, trainer)
    rust.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", rust.token_to_id("<s>"))]
    )
    theirs = hf.PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>")
    theirs.save_pretrained(tmp_path)
    mine = read_tokenizer(tmp_path)
    assert mine.encode("the cat's", special=True) == theirs("the cat's")["input_ids"] != []
    assert mine.special_tokens == {"<s>": 0} and mine.vocab_size == len(theirs)
    assert mine.decode(mine.encode("the cat", special=True)) == "<s>the cat"
    assert mine.decode(mine.encode("the cat")) == "the cat"
    with rejects("merges"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    with rejects("must hold tokenizer.json"):
        read_tokenizer(tmp_path / "nothing")


def test_the_command_line_writes_with_a_model_of_theirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = Tokenizer.train(TEXTS, 270, ["<end>"])
    config = hf.GPT2Config(vocab_size=270, n_embd=16, n_layer=2, n_head=4, n_positions=64, eos_token_id=None)
    torch.manual_seed(0)
    theirs = randomise(hf.GPT2LMHeadModel(config), dtype=F32)
    theirs.save_pretrained(tmp_path / "model")
    tokenizer.save(tmp_path / "model" / "tokenizer.json")
    command = ["generate", "the cat", "--temperature", "0", "--max-new-tokens", "12", "--json"]
    assert main([*command, "--from-hf", str(tmp_path / "model")]) == 0
    [found] = json.loads(capsys.readouterr().out)
    prompt = torch.tensor([tokenizer.encode("the cat")])
    written = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False)
    expected = written[0, prompt.shape[1] :].tolist()
    assert found["prompt"] == "the cat" and len(expected) == 12
    assert found["text"] == tokenizer.decode(expected)
    assert main([*command, "--from-hf", "x", "--checkpoint", "y"]) == 2
    assert "not allowed with" in capsys.readouterr().err
    assert main([*command, "--from-hf", str(tmp_path / "no" / "such" / "model")]) == 2
    assert "OWNER/MODEL" in capsys.readouterr().err


def test_their_rows_are_not_cut_or_filled_up(tmp_path: Path) -> None:
    """Truncation and padding in a tokenizer.json are for whoever makes a batch; transformers passes over them, too."""
    tokenizer = Tokenizer.train(TEXTS, 270, ["<end>"])
    rust = tokenizers.Tokenizer.from_str(tokenizer._rust.to_str())
    rust.enable_truncation(8)
    rust.enable_padding(length=12, pad_id=1)
    rust.save(str(tmp_path / "tokenizer.json"))
    theirs = hf.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in ("the cat", "again and again and again, the dog and the cat sat on the mat"):
        found = read_tokenizer(tmp_path).encode(text)
        assert found == theirs(text)["input_ids"] == tokenizer.encode(text)
    assert len(found) > 8


def test_ids_that_a_tokenizer_lacks_are_listed() -> None:
    tokenizer = Tokenizer.train(TEXTS, 265, ["<end>"])
    assert lacking_ids(tokenizer, 270) == (265, 266, 267, 268, 269)
    assert lacking_ids(tokenizer, 265) == () == lacking_ids(tokenizer, 260)
    gaps = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "c": 4}, unk_token="a"))
    assert lacking_ids(Tokenizer(gaps), 6) == (2, 3, 5)


def test_a_model_of_the_hub_is_looked_up_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        if name == "no/network":
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot be reached")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert find(str(tmp_path)) == tmp_path and asked == []
    assert find("openai-community/gpt2") == tmp_path
    assert len(asked) == 2  # for there were no safetensors
    first, second = (patterns for _, patterns in asked)
    files = ["config.json", "generation_config.json", "tokenizer.json", "vocab.txt", "source.spm"]
    safe, old = ["model.safetensors", "model.safetensors.index.json"], ["pytorch_model.bin"]
    assert all(any(fnmatch.fnmatch(file, pattern) for pattern in first) for file in files + safe)
    assert not any(fnmatch.fnmatch(file, pattern) for pattern in first for file in [*old, "training_args.bin"])
    assert all(any(fnmatch.fnmatch(file, pattern) for pattern in second) for file in old)
    assert not any(fnmatch.fnmatch("training_args.bin", pattern) for pattern in second)
    (tmp_path / "model.safetensors").touch()
    assert find("openai-community/gpt2") == tmp_path and len(asked) == 3
    with rejects("no/network", "cannot be reached"):
        find("no/network")


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gpt2", {"scale_attn_weights": False}, ["scale_attn_weights must be True, got False"]),
        ("gpt2", {"activation_function": "mish"}, ["activation_function", "'mish'"]),
        (
            "gpt2",
            {"rotary": True, "experts": 8},
            ["rotary is not honoured, got True", "experts is not honoured, got 8"],
        ),
        ("gpt2", {"n_head": 5}, ["d_model", "num_heads=5"]),
        ("gpt2", {"n_layer": -1}, ["num_layers", "-1"]),
        ("gpt2", {"vocab_size": None}, ["vocab_size must be given"]),
        ("llama", {"hidden_size": "wide"}, ["d_model", "'wide'"]),
        ("llama", {"hidden_act": "gelu"}, ["hidden_act must be 'silu', got 'gelu'"]),
        ("llama", {"rope_parameters": {"rope_type": "longrope"}}, ["rope_type", "'longrope'"]),
        ("llama", {"rope_parameters": {"rope_type": "linear"}}, ["rope factor must be a number, got None"]),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
            ["partial_rotary_factor"],
        ),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 0.5}}, ["factor must be at least 1 ", "got 0.5"]),
        ("gemma3", {"attn_logit_softcapping": 3.0}, ["attn_logit_softcapping must be None, got 3.0"]),
        ("gpt_oss", {"rope_parameters": None, "rope_scaling": None}, ["rope_scaling must be an object", "got None"]),
        (
            "qwen3_moe",
            {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 28},
            ["max_window_layers must be 0, got 28"],
        ),
        ("llama", {"quantization_config": {"bits": 4}}, ["quantization_config is not honoured"]),
        ("llama", {"auto_map": {"AutoModel": "code.Model"}}, ["auto_map is not honoured"]),
        ("llama", {"model_type": "mamba"}, ["model_type must be one of", "'mamba'"]),
        ("llama", {"model_type": None}, ["model_type must be one of"]),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, ["architectures", "LlamaForCausalLM"]),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, ["layer_types must be the same"]),
        ("qwen3", {"layer_types": ["full_attention"]}, ["layer_types must be a list of num_hidden_layers=2 kinds"]),
        ("qwen3", {"layer_types": ["sliding_attention"] * 2}, ["layer_types must be full_attention without a sliding"]),
        (
            "qwen3",
            {"layer_types": None, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
            ["layer_types must be the same for every layer"],
        ),
        ("llama", {"rms_norm_eps": float("nan")}, ["rms_norm_eps must be a finite number, got nan"]),
        ("gpt2", {"n_inner": 0}, ["d_ff", "got 0"]),
        ("bert", {"is_decoder": True}, ["is_decoder must be False"]),
        ("bert", {"position_embedding_type": "relative_key"}, ["position_embedding_type"]),
        ("marian", {"normalize_before": True}, ["normalize_before must be False"]),
        ("marian", {"decoder_vocab_size": 14}, ["decoder_vocab_size must be 13, got 14"]),
    ],
)
def test_a_config_that_we_do_not_honour_is_refused(
    name: str, change: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    theirs = CASES[name].save(tmp_path / "model")
    fields = fields_of(tmp_path / "model") | change
    with rejects(*words):
        from_hf_state(fields, theirs.state_dict(), drop=CASES[name].drop)


def test_heads_behind_the_last_layer_are_left_out_when_asked(tmp_path: Path) -> None:
    """DeepSeek-V3 is published with heads for further tokens, which transformers passes over by the layer's number."""
    CASES["deepseek_v3"].save(tmp_path / "model")
    fields, state = fields_of(tmp_path / "model"), load_file(tmp_path / "model" / "model.safetensors")
    heads = f"model.layers.{fields['num_hidden_layers']}."
    more = state | {f"{heads}eh_proj.weight": torch.zeros(2, 4), f"{heads}enorm.weight": torch.ones(2)}
    with rejects(f"{heads}eh_proj.weight", f"{heads}enorm.weight"):
        from_hf_state(fields, more)
    mine, whole = from_hf_state(fields, more, drop=[f"{heads}*"]), from_hf_state(fields, state)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(mine.state_dict()[name], tensor), name


def test_wrong_weights_are_listed(tmp_path: Path) -> None:
    theirs = CASES["llama"].save(tmp_path / "model")
    state, fields = dict(theirs.state_dict()), fields_of(tmp_path / "model")
    del state["model.norm.weight"]
    state["model.layers.7.mlp.up_proj.weight"] = torch.zeros(24, 16)
    state["model.layers.1.self_attn.k_proj.weight"] = torch.zeros(12, 16)
    with rejects(
        "model.norm.weight is missing",
        "model.layers.7.mlp.up_proj.weight is unknown",
        "model.layers.1.self_attn.k_proj.weight must have the shape (16, 16), got (12, 16)",
    ):
        from_hf_state(fields, state)


def test_types_that_differ_are_read_as_the_one_that_holds_all(tmp_path: Path) -> None:
    """As fine-tuning leaves them: norms in float32 among weights in bfloat16."""
    theirs = CASES["qwen3"].save(tmp_path / "model", dtype=torch.bfloat16)
    state, fields = dict(theirs.state_dict()), fields_of(tmp_path / "model")
    mixed = {name: tensor.float() if "norm" in name else tensor for name, tensor in state.items()}
    wide = {name: tensor.float() for name, tensor in state.items()}
    found, expected = from_hf_state(fields, mixed), from_hf_state(fields, wide)
    assert {weight.dtype for weight in found.parameters()} == {F32}
    assert torch.equal(our_output(found, TOKENS), our_output(expected, TOKENS))
    narrow = from_hf_state(fields, mixed, dtype=torch.bfloat16)
    assert {weight.dtype for weight in narrow.parameters()} == {torch.bfloat16}
    state["model.norm.weight"] = state["model.norm.weight"].to(torch.int8)
    with rejects("weights must be stored as float64, float32, bfloat16 or float16", "torch.int8"):
        from_hf_state(fields, state)
    with rejects("weights must be stored as", "torch.int8"):
        from_hf_state(fields, state, dtype=F32)
    with rejects("dtype must be one of", "torch.int8"):
        from_hf_state(fields, mixed, dtype=torch.int8)


@families
def test_weights_that_are_not_finite_are_refused_by_name(name: str, tmp_path: Path) -> None:
    CASES[name].save(tmp_path / "model", dtype=F32)
    # As the file has them: a model of theirs may hold what stands there by expert as one.
    fields, state = fields_of(tmp_path / "model"), load_file(tmp_path / "model" / "model.safetensors")
    key = next(key for key in state if key.endswith(("norm.weight", "fc1.weight", "ln_f.weight", "dense.weight")))
    for number in (float("nan"), float("inf"), -float("inf")):
        broken = {other: tensor.clone() for other, tensor in state.items()}
        broken[key].view(-1)[1] = number
        with rejects(f"{key} must be finite in torch.float32"):
            from_hf_state(fields, broken, drop=CASES[name].drop)
    broken[key].view(-1)[1] = 1e6
    with rejects(f"{key} must be finite in torch.float16"):
        from_hf_state(fields, broken, drop=CASES[name].drop, dtype=torch.float16)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gpt2", {"n_layer": 10**9}, ["1000000000 layers must have at least as many weights"]),
        ("llama", {"num_hidden_layers": 10**9}, ["1000000000 layers must have at least as many weights"]),
        ("qwen3 window biases", {"num_hidden_layers": 10**9, "layer_types": None}, ["1000000000 layers"]),
        ("bert", {"num_hidden_layers": 10**9}, ["1000000000 layers must have at least as many weights"]),
        ("marian", {"decoder_layers": 10**9}, ["1000000002 layers must have at least as many weights"]),
        ("marian", {"d_model": MANY}, ["model.shared.weight must have the shape (13, 2000000000), got (13, 16)"]),
        ("llama", {"hidden_size": MANY}, ["model.embed_tokens.weight must have the shape"]),
        ("llama", {"intermediate_size": MANY}, ["up_proj.weight must have the shape (2000000000, 16), got (24, 16)"]),
        ("llama", {"head_dim": 10**8}, ["q_proj.weight must have the shape (400000000, 16), got (32, 16)"]),
        ("gpt2", {"vocab_size": MANY}, ["transformer.wte.weight must have the shape (2000000000, 16)"]),
        ("gpt2", {"n_positions": MANY}, ["transformer.wpe.weight must have the shape (2000000000, 16)"]),
        ("llama", {"num_hidden_layers": 2**63}, ["num_layers", "got 9223372036854775808"]),
    ],
)
def test_nothing_is_built_that_the_weights_do_not_hold(
    name: str, change: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    """Each would take the machine, for a file of a few hundred bytes."""
    CASES[name].save(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(fields_of(tmp_path / "model") | change))
    with rejects(*words):
        from_hf(tmp_path / "model", drop=CASES[name].drop)


_SCALED = AttentionConfig(num_heads=4, scale=0.7)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (dataclasses.replace(CONFIG, positions=Alibi()), ["'gpt2'", "positions=Alibi()"]),
        (
            dataclasses.replace(CONFIG, norm=Norm(kind="rms"), feedforward=SwiGlu(d_ff=24), attention=_SCALED),
            ["'llama'", "attention.scale=0.7']"],
        ),
        (dataclasses.replace(CONFIG, norm_order="post"), ["'llama'", "norm_order='post'"]),
        (dataclasses.replace(CONFIG, norm=Norm(kind="layer")), ["'llama'", "norm.kind='layer'"]),
        (dataclasses.replace(CONFIG, norm=Norm(kind="rms"), head_bias=True), ["head_bias=True"]),
        (dataclasses.replace(CONFIG, norm=Norm(kind="rms"), scale_embeddings=True), ["scale_embeddings=True"]),
        (
            dataclasses.replace(
                CONFIG,
                norm=Norm(kind="rms"),
                positions=Rope(scaling=NtkScaling(factor=2.0, original_length=CONFIG.max_length - 1)),
            ),
            ["positions.scaling.original_length=23"],
        ),
    ],
)
def test_a_model_that_their_format_cannot_describe_is_refused(
    config: ModelConfig, words: list[str], tmp_path: Path
) -> None:
    with rejects("config must fit the format", *words):
        to_hf(DecoderLM(config), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_heads_that_differ_in_a_non_linearity_are_refused(tmp_path: Path) -> None:
    """No config names it: theirs has that of the layers in BERT's head, and GELU in RoBERTa's, as ours always."""
    sizes = {"vocab_size": 13, "d_model": 16, "num_layers": 1, "max_length": 64, "segments": 1}
    parts = {"attention": AttentionConfig(num_heads=4, bias=True), "feedforward": Mlp(d_ff=24, activation="relu")}
    config = dataclasses.replace(presets.bert_base(), **sizes, **parts)
    masked = MaskedLM(config)
    with rejects("activation must be 'gelu' in a masked language model"):
        to_hf(masked, tmp_path / "model")
    to_hf(masked, tmp_path / "roberta", model_type="roberta", token_ids={"pad_token_id": 0})
    fields = fields_of(tmp_path / "roberta")
    assert (fields["max_position_embeddings"], fields["pad_token_id"]) == (65, 0)
    theirs = CASES["bert masked"].save(tmp_path / "theirs")
    with rejects("activation must be 'gelu' in a masked language model"):
        from_hf_state(fields_of(tmp_path / "theirs") | {"hidden_act": "relu"}, theirs.state_dict())
    classifier = SequenceClassifier(config, ("no", "yes"), pooling="relu")
    with rejects("pooling must be 'tanh' for 'bert', got 'relu'"):
        to_hf(classifier, tmp_path / "model")
    for model_type, words in (
        ("roberta", "a model of type 'roberta' cannot be without, got ['pad_token_id']"),
        ("gpt2", "model must be a DecoderLM for 'gpt2', got 'SequenceClassifier'"),
        ("albert", "model_type must be one of"),
    ):
        with rejects(words):
            to_hf(classifier, tmp_path / "model", model_type=model_type)


def test_a_classifier_has_as_many_labels_as_weights(tmp_path: Path) -> None:
    theirs = CASES["bert labels"].save(tmp_path / "model")
    fields, state = fields_of(tmp_path / "model"), theirs.state_dict()
    assert from_hf_state(fields, state).labels == ("bad", "so so", "good")
    with rejects("id2label must name the 3 labels of the weights, or num_labels count them"):
        from_hf_state(fields | {"id2label": {"0": "bad"}, "num_labels": 10**12}, state)
    del state["classifier.weight"]
    with rejects("weights must hold classifier.weight"):
        from_hf_state(fields, state)


def test_nothing_is_written_for_bad_arguments(tmp_path: Path) -> None:
    model = randomise(DecoderLM(presets.tiny(270)), dtype=F32)
    large = Tokenizer.train(TEXTS, 275)
    with rejects("tokenizer must have at most 270 tokens, got 275"):
        to_hf(model, tmp_path / "model", tokenizer=large)
    with rejects("eos_token_id must be a token below 270, got 270"):
        to_hf(model, tmp_path / "model", token_ids={"eos_token_id": 270})
    with rejects("token_ids must be named *_token_id, got 'eos'"):
        to_hf(model, tmp_path / "model", token_ids={"eos": 1})
    with rejects("max_shard_bytes must be a whole number of at least 1, got 0"):
        to_hf(model, tmp_path / "model", max_shard_bytes=0)
    with unchecked(), pytest.raises(TypeError, match=r"model must be a DecoderLM or .* of type Linear"):
        to_hf(torch.nn.Linear(2, 2), tmp_path / "model")  # type: ignore[arg-type]
    with torch.no_grad():
        model.final_norm.weight[0] = 1e6
    with rejects("model.norm.weight must be finite in torch.float16"):
        to_hf(model, tmp_path / "model", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model").mkdir()
    with rejects("must not exist yet"):
        to_hf(model, tmp_path / "model")
