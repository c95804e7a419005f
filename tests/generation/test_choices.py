"""Forbidden and forced tokens against `transformers`, which knows them as bad_words_ids and forced_..._token_id."""

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.models.huggingface import to_gpt2
from tests.oracles import CONFIG, carry_over, randomise
from transformer_lib.config import AttentionConfig, Learned, Mlp
from transformer_lib.generation import beam_search, generate
from transformer_lib.models import DecoderLM

NEW, STOP = 6, 2
FORBIDDEN = [0, 5, 11]
GPT2 = dataclasses.replace(
    CONFIG,
    attention=AttentionConfig(num_heads=4, bias=True),
    feedforward=Mlp(d_ff=24, activation="gelu_tanh"),
    positions=Learned(),
)


@cache
def models() -> tuple[DecoderLM, GPT2LMHeadModel]:
    mine = randomise(DecoderLM(GPT2))
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 24, "vocab_size": 13, "n_positions": GPT2.max_length}
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return mine, carry_over(mine, GPT2LMHeadModel(GPT2Config(**sizes, **ids)), to_gpt2)


RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # ours and theirs
    "none": ({}, {}),
    "forbidden": ({"forbidden_ids": FORBIDDEN}, {"bad_words_ids": [[token] for token in FORBIDDEN]}),
    "first": ({"forced_ids": {0: 7}}, {"forced_bos_token_id": 7}),
    "last": ({"forced_ids": {NEW - 1: STOP}}, {"forced_eos_token_id": STOP}),
    "all": (
        {"forbidden_ids": FORBIDDEN, "forced_ids": {0: 7, NEW - 1: STOP}},
        {"bad_words_ids": [[t] for t in FORBIDDEN], "forced_bos_token_id": 7, "forced_eos_token_id": STOP},
    ),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_texts_and_scores_are_those_of_transformers(rule: str, beams: int, penalty: float) -> None:
    mine, theirs = models()
    prompts = torch.arange(13)[:, None]  # of one token, after which transformers forces the first
    ours, options = RULES[rule]
    options = {"max_new_tokens": NEW, "eos_token_id": STOP, "pad_token_id": STOP, "do_sample": False, **options}
    if beams > 1:
        options |= {"num_beams": beams, "early_stopping": True, "length_penalty": penalty}
    asked = theirs.generate(
        prompts, attention_mask=torch.ones_like(prompts), return_dict_in_generate=True, output_scores=True, **options
    )
    expected = [row[1:].tolist() for row in asked.sequences]
    expected = [row[: row.index(STOP) + 1] if STOP in row else row for row in expected]
    settings = {"max_new_tokens": NEW, "stop_ids": [STOP], **ours}
    found = beam_search(mine, prompts, beams=beams, length_penalty=penalty, **settings)
    assert found.best() == expected
    if beams == 1:
        assert generate(mine, prompts, **settings).rows() == expected
    else:
        best = found.scores[:, 0]
        torch.testing.assert_close(best, asked.sequences_scores.to(best.dtype), atol=1e-5, rtol=0)


def test_the_rules_change_these_texts() -> None:
    mine, _ = models()
    prompts = torch.arange(13)[:, None]
    free, *ruled = (generate(mine, prompts, max_new_tokens=NEW, stop_ids=[STOP], **RULES[r][0]).rows() for r in RULES)
    assert all(rows != free for rows in ruled)
    assert {token for row in free for token in row} & set(FORBIDDEN)
