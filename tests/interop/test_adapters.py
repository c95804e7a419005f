"""An adapter goes to peft and comes back: the outputs are those of peft on the model of transformers, both ways."""

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.interop.families import CASES, TOKENS, Case
from tests.interop.wide import Float64
from tests.oracles import rejects
from transformer_lib.interop.adapters import load_adapter, save_adapter, targets_of
from transformer_lib.interop.huggingface import from_hf
from transformer_lib.models import Seq2Seq
from transformer_lib.nn.lora import LoraConfig, add_lora, additions_of, merge_lora

KINDS = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM", "bert": "BertForMaskedLM"}
KINDS |= {"bare": "BertModel", "distilbert": "DistilBertForMaskedLM", "marian": "MarianMTModel"}
TARGETS = {"gpt2": ["c_attn"], "marian": ["q_proj", "v_proj", "fc2"], "distilbert": ["q_lin", "lin1"]}


def case_of(kind: str) -> Case:
    return next(case for case in CASES.values() if case.architecture == KINDS[kind])


def theirs_say(model: Any) -> torch.Tensor:
    pair = (
        {"decoder_input_ids": TOKENS[:, :5]}
        if "Marian" in str(type(getattr(model, "base_model", model))) + str(model.config.model_type).title()
        else {}
    )
    with Float64(), torch.no_grad():
        return model(input_ids=TOKENS, **pair)[0]


def ours_say(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS, TOKENS[:, :5]) if isinstance(model, Seq2Seq) else model(TOKENS)


def filled(model: torch.nn.Module) -> None:
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if weight.requires_grad or "lora_" in name:
            weight.data.normal_(0, 0.3)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_ours_in_peft(kind: str, tmp_path: Path) -> None:
    case = case_of(kind)
    theirs = case.save(tmp_path / "model").eval()
    ours, model_type = from_hf(tmp_path / "model", drop=case.drop), case.written["model_type"]
    before = ours_say(ours)
    add_lora(ours, LoraConfig(rank=3, alpha=7.0, targets=targets_of(ours, model_type=model_type)))
    filled(ours)
    save_adapter(ours, tmp_path / "adapter", model_type=model_type, base="somewhere")
    with Float64():
        loaded = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter", autocast_adapter_dtype=False)
    torch.testing.assert_close(theirs_say(loaded), ours_say(ours), atol=1e-10, rtol=0)
    assert float((ours_say(ours) - before).abs().max()) > 1e-2
    again = from_hf(tmp_path / "model", drop=case.drop)
    load_adapter(again, tmp_path / "adapter", model_type=model_type)
    assert torch.equal(ours_say(again), ours_say(ours))
    merge_lora(again)
    torch.testing.assert_close(ours_say(again), ours_say(ours), atol=1e-10, rtol=0)


HEADED = {"tags": "BertForTokenClassification", "span": "BertForQuestionAnswering"}


@pytest.mark.parametrize("kind", sorted(HEADED))
def test_a_head_goes_with_an_adapter(kind: str, tmp_path: Path) -> None:
    """To peft and back: the head that is new and the additions, on a model that has another head."""
    case = next(case for case in CASES.values() if case.architecture == HEADED[kind])
    theirs, ours = case.save(tmp_path / "model").eval(), from_hf(tmp_path / "model")
    add_lora(ours, LoraConfig(rank=3, targets=targets_of(ours)))
    ours.get_submodule("head").requires_grad_(True)
    filled(ours)
    save_adapter(ours, tmp_path / "adapter", head=True)
    with Float64():
        loaded = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter", autocast_adapter_dtype=False)
        with torch.no_grad():
            found = loaded(input_ids=TOKENS)
    expected = ours_say(ours)
    if kind == "span":
        found, expected = torch.stack([found.start_logits, found.end_logits]), torch.stack(expected)
    else:
        found = found.logits
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    loaded.save_pretrained(tmp_path / "theirs")
    for folder in ("adapter", "theirs"):
        again = from_hf(tmp_path / "model")
        load_adapter(again, tmp_path / folder)
        same = ours_say(again) if kind == "tags" else torch.stack(ours_say(again))
        torch.testing.assert_close(same, expected, atol=1e-10, rtol=0)
    with rejects("head", "must be False"):
        save_adapter(from_hf_decoder(tmp_path), tmp_path / "no", head=True)


def from_hf_decoder(folder: Path) -> Any:
    case_of("llama").save(folder / "llama")
    model = from_hf(folder / "llama")
    add_lora(model, LoraConfig(rank=3))
    return model


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "distilbert", "marian"])
def test_pefts_in_ours(kind: str, root: bool, tmp_path: Path) -> None:
    case = case_of(kind)
    theirs = case.save(tmp_path / "model").eval()
    default = ["query", "value"] if kind == "bert" else ["q_proj", "v_proj", "down_proj"]
    config = peft.LoraConfig(r=2, lora_alpha=5, target_modules=TARGETS.get(kind, default), use_rslora=root)
    with Float64():
        theirs = peft.get_peft_model(theirs, config, autocast_adapter_dtype=False).eval()
    filled(theirs)
    theirs.save_pretrained(tmp_path / "adapter")
    ours = from_hf(tmp_path / "model", drop=case.drop)
    load_adapter(ours, tmp_path / "adapter", model_type=case.written["model_type"])
    torch.testing.assert_close(ours_say(ours), theirs_say(theirs), atol=1e-10, rtol=0)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and an adapter for it."""
    folder = tmp_path_factory.mktemp("llama")
    case_of("llama").save(folder / "model")
    ours = from_hf(folder / "model")
    add_lora(ours, LoraConfig(rank=3, targets=("queries", "to_out")))
    save_adapter(ours, folder / "adapter")
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type must be 'LORA'"),
        ({"r": 4}, "must have the shape"),
        ({"r": "3"}, "r must be a whole number"),
        ({"lora_alpha": None}, "lora_alpha must be a number"),
        ({"lora_alpha": True}, "lora_alpha must be a number"),
        ({"use_dora": True}, "use_dora must be False"),
        ({"bias": "all"}, "bias must be 'none'"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern must be"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save must be None or a list of classifier"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights must be True"),
        ({"something_new": 3}, "something_new is not honoured"),
    ],
)
def test_a_config_that_is_not_honoured(change: dict[str, Any], words: str, llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    ours = from_hf(llama / "model")
    with rejects(words):
        load_adapter(ours, tmp_path / "adapter")
    assert not additions_of(ours)


def _infinite(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = torch.inf


def _alone(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(iter(tensors))]


def _unknown(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.ones(3, 13)


def _wide(tensors: dict[str, torch.Tensor]) -> None:
    name = next(iter(tensors))
    tensors[name] = torch.ones(3, 99)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_infinite, "must be finite"),
        (_alone, "is missing"),
        (_unknown, "is of no map of this model"),
        (_wide, "must have the shape"),
        (dict.clear, "must hold weights"),
    ],
)
def test_weights_that_are_not_of_the_model(change: Any, words: str, llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    ours = from_hf(llama / "model")
    with rejects(words):
        load_adapter(ours, tmp_path / "adapter")
    assert not additions_of(ours)


def test_what_cannot_be_written(llama: Path, tmp_path: Path) -> None:
    ours = from_hf(llama / "model")
    with rejects("model must have additions"):
        save_adapter(ours, tmp_path / "a")
    with rejects("must be a"):
        save_adapter(ours, tmp_path / "a", model_type="bert")
    add_lora(ours, LoraConfig(rank=3, targets=("to_qkv",)))
    with rejects("must be one of"):
        save_adapter(ours, tmp_path / "a")  # their queries, keys and values are three maps
    assert not (tmp_path / "a").exists()
