"""Configs as their authors published them: each is read, and the model that it describes is theirs to the last bits.

`published.json` holds their fields, which are facts. gpt-oss stands there without its quantisation. The models are
built with all of these, but with sizes that a test can afford, and with random weights.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.interop.families import Case, our_output, their_output
from tests.interop.wide import Float64
from tests.oracles import close, integers, rejects
from transformer_lib.config import ModelConfig, Seq2SeqConfig
from transformer_lib.interop.configs import model_type_of, read_config
from transformer_lib.interop.huggingface import from_hf_state, to_hf
from transformer_lib.interop.labels import labels_of
from transformer_lib.training.plan import parameters

PUBLISHED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text())
VOCAB, LENGTH, HEAD = 61, 40, 4
TOKENS = integers(VOCAB - 5, 2, 30) + 3  # none of them is padding
VALID = torch.arange(30) < torch.tensor([[30], [17]])

# How many layers there must be for one of each kind.
PERIODS = {"gemma3_text": 6, "gpt_oss": 2, "smollm3": 4, "qwen3_next": 4, "deepseek_v3": 4, "modernbert": 4}

_CLASSES = {str(fields.get("architectures")): name for name, fields in reversed(PUBLISHED.items())}
FIRST = frozenset(_CLASSES.values())

published = pytest.mark.parametrize("name", PUBLISHED)


def shrunk(fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields with small sizes; what is a ratio stays, such as that of heads that share keys."""
    names = ("num_attention_heads", "n_head", "n_heads", "encoder_attention_heads")
    heads = next(fields[key] for key in names if key in fields)
    kind = fields.get("model_type")
    layers = PERIODS.get(kind, 2)
    first = 2 if "roberta" in fields.get("model_type", "") else 0
    small = {
        **dict.fromkeys(("vocab_size", "decoder_vocab_size"), VOCAB),
        **dict.fromkeys(("hidden_size", "n_embd", "dim", "d_model"), heads * HEAD),
        **dict.fromkeys(("intermediate_size", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 24),
        **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"), layers),
        **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), LENGTH + first),
        "max_window_layers": layers,
        "head_dim": 16 if "partial_rotary_factor" in fields else 6,
        **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "linear_key_head_dim"), 8),
        **{"num_experts": 12, "n_routed_experts": 32, "num_local_experts": 8, "linear_value_head_dim": 6},
        **{"q_lora_rank": 12, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5},
        "local_attention": 8,
        "sliding_window": None if fields.get("sliding_window") is None else 7,
    }
    changed = fields | {key: value for key, value in small.items() if key in fields}
    changed |= {key: changed[key][:layers] for key in ("layer_types", "no_rope_layers") if key in fields}
    if isinstance(rope := fields.get("rope_scaling"), dict):
        changed["rope_scaling"] = rope | {"original_max_position_embeddings": 16}
    return {key: _token(value) if "token_id" in key else value for key, value in changed.items()} | (
        {"bad_words_ids": [[VOCAB - 1]]} if "bad_words_ids" in fields else {}
    )


def _token(value: Any) -> Any:
    """The last tokens of a vocabulary stay the last."""
    return [_token(part) for part in value] if isinstance(value, list) else min(value, VOCAB - 1)


def case_of(name: str) -> Case:
    fields = shrunk(PUBLISHED[name])
    architecture = fields.get("architectures", ["BertForMaskedLM"])[0]
    return Case(architecture, fields | {"model_type": model_type_of(fields)})


def padded(case: Case) -> torch.Tensor:
    """A row that is shorter is filled up with the padding token, from which RoBERTa tells what is padding."""
    return TOKENS.masked_fill(~VALID, case.settings.get("pad_token_id") or 0)


@published
def test_it_is_read(name: str) -> None:
    config = read_config(PUBLISHED[name])
    fields = PUBLISHED[name]
    sides = (config.encoder, config.decoder) if isinstance(config, Seq2SeqConfig) else (config,)
    sizes = {key: fields[key] for key in ("vocab_size", "hidden_size", "n_embd", "dim", "d_model") if key in fields}
    for side in sides:
        assert [side.vocab_size, side.d_model] == list(sizes.values())
        assert side.dropout == fields.get("dropout", fields.get("hidden_dropout_prob", fields.get("resid_pdrop", 0.0)))


BILLION = 10**9
# All weights, to the last one where the published files have been counted, and those that a token meets in a matrix,
# the head's included. The rounded numbers are the authors': the model card of gpt-oss (arXiv 2508.10925), Mistral's
# note on Mixtral, the cards of Qwen3-30B-A3B and Qwen3-Next, DeepSeek-V3's README_WEIGHTS, the paper on ModernBERT
# (arXiv 2412.13663). DeepSeek's leave out the layer that predicts a second token; the second numbers of Mixtral and
# Qwen3 count the table of the embedding as well.
COUNTED = {
    "gemma-3-1b-it": (999_885_952, None),
    "gpt-oss-20b": (20_914_757_184, 3.61 * BILLION),
    "Mixtral-8x7B": (46_702_792_704, 12.9 * BILLION),
    "SmolLM3-3B": (3_075_098_624, None),
    "OLMo-2-1B": (1_484_916_736, None),
    "Qwen3-30B-A3B": (30_532_122_624, 3.3 * BILLION),
    "Qwen3-Next-80B-A3B": (80 * BILLION, None),
    "DeepSeek-V3": (671 * BILLION, 36.6 * BILLION),
    "ModernBERT-base": (0.149 * BILLION, None),
}


@pytest.mark.parametrize("name", COUNTED)
def test_it_has_as_many_weights_as_they_say(name: str) -> None:
    total, active = COUNTED[name]
    config = read_config(PUBLISHED[name])
    assert isinstance(config, ModelConfig)
    found = parameters(config)
    assert found.total == pytest.approx(total, rel=0 if isinstance(total, int) and total % BILLION else 0.005)
    if active is not None:
        tables = config.vocab_size * config.d_model if name.startswith(("Mixtral", "Qwen3-30B")) else 0
        assert found.matmul + tables == pytest.approx(active, rel=0.02)


@published
def test_it_is_their_model(name: str, tmp_path: Path) -> None:
    """And the first of each class is written again, for them to read."""
    case = case_of(name)
    theirs, tokens = case.build(torch.float64), padded(case)
    fields = shrunk(PUBLISHED[name])
    state = theirs.state_dict()
    if any(".experts." in key for key in state):  # which lie otherwise in their files than in memory
        theirs.save_pretrained(tmp_path / "theirs")
        state = load_file(tmp_path / "theirs" / "model.safetensors")
    mine = from_hf_state(fields, state, drop=case.drop)
    # RoBERTa tells positions from the tokens, where nothing else is said.
    options = {"position_ids": None} if "roberta" in case.settings["model_type"] else {}
    expected, found = their_output(theirs, tokens, VALID, **options), our_output(mine, tokens, VALID)
    rows = VALID if found.shape[:2] == VALID.shape and "Marian" not in case.architecture else slice(None)
    close(found[rows], expected[rows])
    if name not in FIRST:
        return
    to_hf(mine, tmp_path / "model", **case.written)
    with Float64():
        again = type(theirs).from_pretrained(tmp_path / "model", dtype=torch.float64)
    tables = {key: table for key, table in theirs.state_dict().items() if "embed_positions" in key}
    again.config._experts_implementation = "eager"  # the other way knows no float64
    again.load_state_dict(tables, strict=False)  # Marian's sines, which it rounds to float32
    close(their_output(again.eval(), tokens, VALID, **options)[rows], expected[rows])


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("SmolLM2-135M", {"rope_interleaved": True}, "rope_interleaved must be False, got True"),
        ("Llama-2-7b-hf", {"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1.0, got 0.5"),
        ("Llama-2-7b-hf", {"attention_bias": "qkv"}, "attention_bias must be true or false, got 'qkv'"),
        ("Qwen2.5-0.5B", {"use_mrope": True}, "use_mrope must be False, got True"),
        ("rxnfp bert_ft", {"pruned_heads": {"1": [0, 2]}}, "pruned_heads must be {}, got {'1': [0, 2]}"),
        ("opus-mt-en-zh", {"force_bos_token_to_be_generated": True}, "force_bos_token_to_be_generated must be False"),
        ("opus-mt-en-zh", {"add_final_layer_norm": True}, "add_final_layer_norm must be False"),
        ("roberta-base", {"pad_token_id": None}, "pad_token_id must be the id of a token, got None"),
        ("roberta-base", {"pad_token_id": 513}, "max_length must be a whole number of at least 1"),
        ("roberta-base", {"is_decoder": True}, "is_decoder must be False"),
        ("distilbert-base-uncased", {"layers": 6}, "layers is not honoured, got 6"),
        ("distilbert-base-uncased", {"activation": ["gelu"]}, "activation must be one of"),
        ("structbert", {"type_vocab_size": 1}, "model_type must be one of"),
    ],
)
def test_what_changes_the_numbers_is_refused(name: str, change: dict[str, Any], words: str) -> None:
    with rejects(words):
        read_config(PUBLISHED[name] | change)


def test_null_and_the_value_that_is_honoured_change_nothing() -> None:
    fields = PUBLISHED["SmolLM2-135M"]
    for value in ({"partial_rotary_factor": 1.0}, {"rope_interleaved": None}, {"pruned_heads": {}}):
        assert read_config(fields | value) == read_config(fields)


def test_labels_have_the_names_of_the_config() -> None:
    fields = PUBLISHED["bert-base-NER"]
    assert labels_of(fields, 9)[:2] == ("O", "B-MISC")
    assert labels_of({}, 2) == ("LABEL_0", "LABEL_1") == labels_of({"num_labels": 2}, 2)
    assert labels_of(PUBLISHED["rxnfp bert_ft_10k_25s"], 50)[49] == "LABEL_49"  # it names 2, and counts 50
    for wrong, rows in ((fields, 8), ({}, 3), ({"num_labels": True}, 1), ({"id2label": {"0": "a", "2": "b"}}, 2)):
        with rejects("id2label must name the"):
            labels_of(wrong, rows)
    with rejects("id2label must name the labels 0 to 0"):
        labels_of({"id2label": {"0": 1}}, 1)
