"""Whatever works is saved in a folder and comes back by one call, whatever its task is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import transformer_lib
from tests.contract.calls.task_models import _answerer, _extractor, _translator, _writer
from tests.oracles import rejects, unchecked
from transformer_lib.config import Norm, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.tasks.language_model import Writer

TOOLS = {"writer": _writer, "translator": _translator, "extractor": _extractor, "answerer": _answerer}


@pytest.mark.parametrize("name", TOOLS)
def test_it_comes_back_as_what_it_was(name: str, tmp_path: Path) -> None:
    tool: Any = TOOLS[name]()
    transformer_lib.save(tool, tmp_path / "tool")
    found: Any = transformer_lib.load(tmp_path / "tool")
    assert type(found) is type(tool)
    part = "reader" if name == "answerer" else "model"
    expected, state = getattr(tool, part).state_dict(), getattr(found, part).state_dict()
    assert expected.keys() == state.keys() and all(torch.equal(state[key], expected[key]) for key in state)
    assert found.tokenizer.encode("ab c") == tool.tokenizer.encode("ab c")


def test_a_language_model_opens_in_transformers_and_comes_back(tmp_path: Path) -> None:
    small = _writer()
    config = dataclasses.replace(small.model.config, feedforward=SwiGlu(d_ff=16), norm=Norm(kind="rms"))
    torch.manual_seed(0)
    tool = Writer(DecoderLM(config).eval(), small.tokenizer, stop_ids=(5,))
    transformer_lib.save(tool, tmp_path / "model", form="hugging face")
    theirs = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert theirs.config.eos_token_id == 5
    found: Any = transformer_lib.load(tmp_path / "model")
    assert found.stop_ids == (5,)
    assert found("ab", temperature=0.0, max_new_tokens=8) == tool("ab", temperature=0.0, max_new_tokens=8)
    for change, words in (
        ({"stop_ids": (5, 6)}, "stop_ids must be one token"),
        ({"forbidden_ids": (7,)}, "forbidden_ids must be none"),
    ):
        with rejects(words):
            transformer_lib.save(dataclasses.replace(tool, **change), tmp_path / "no", form="hugging face")
    with rejects("tool must be a Writer to be written in this form, got 'Translator'"):
        transformer_lib.save(_translator(), tmp_path / "no", form="hugging face")
    assert not (tmp_path / "no").exists()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with rejects("folder must be a folder"):
        transformer_lib.load(tmp_path / "nothing")
    with rejects("folder must hold about.json (ours) or config.json (Hugging Face's)"):
        transformer_lib.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with rejects("model_type must be one of"):
        transformer_lib.load(tmp_path)
    with unchecked(), pytest.raises(TypeError, match="tool must be what `load` gives, got"):
        transformer_lib.save(torch.nn.Linear(2, 2), tmp_path / "no")
