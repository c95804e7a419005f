"""Every kind of weight and buffer counts: with it at zero, the comparison with transformers is red."""

import copy
import re
from pathlib import Path

import pytest

from tests.interop.families import CASES, TOKENS, our_output, their_output
from tests.oracles import close
from transformer_lib.interop.huggingface import from_hf

NEW = (
    *("qwen2", "gemma3", "olmo2 biases", "smollm3", "smollm3 window", "mixtral", "qwen3_moe", "gpt_oss"),
    *("deepseek_v3 yarn biases", "deepseek_v3 queries of the stream", "qwen3_next", "modernbert masked"),
)
LEAST = 1e-4


@pytest.mark.parametrize("name", NEW)
def test_a_kind_of_tensor_at_zero_is_noticed(name: str, tmp_path: Path) -> None:
    """A kind is one name in all layers; what is compared is what the tests of the family compare."""
    case = CASES[name]
    theirs = case.save(tmp_path / "model")
    mine = from_hf(tmp_path / "model", drop=case.drop)
    expected = their_output(theirs, TOKENS)
    close(our_output(mine, TOKENS), expected)
    kinds = {re.sub(r"\.\d+\.", ".*.", key) for key in theirs.state_dict()}
    without_effect = []
    for kind in sorted(kinds):
        broken = copy.deepcopy(theirs)
        for key, tensor in broken.state_dict().items():
            if re.sub(r"\.\d+\.", ".*.", key) == kind:
                tensor.zero_()
        difference = (their_output(broken, TOKENS) - expected).abs().max()
        if difference < LEAST:
            without_effect.append(kind)
    assert without_effect == []
