"""Speculative decoding: the greedy text token for token, and the law of the large model, whatever the draft."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import CONFIG, integers, normal, randomise, rejects
from transformer_lib.config import AttentionConfig, Learned, Sinusoidal
from transformer_lib.generation import distribution, generate, speculate
from transformer_lib.models import DecoderLM
from transformer_lib.nn import KVCache

MODEL = randomise(DecoderLM(CONFIG))
SMALL = dataclasses.replace(CONFIG, d_model=8, num_layers=1, attention=AttentionConfig(num_heads=2, window=3))
DRAFT = randomise(DecoderLM(dataclasses.replace(SMALL, positions=Sinusoidal())))
ENOUGH = 0.001  # a correct sampler is called wrong once in a thousand seeds; the seeds are fixed


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 14), st.integers(1, 6))
def test_at_temperature_0_it_is_the_greedy_text(prompt: list[int], new: int, lookahead: int) -> None:
    tokens = torch.tensor([prompt])
    expected = generate(MODEL, tokens, max_new_tokens=new).rows()[0]
    for draft in (DRAFT, MODEL):
        found = speculate(MODEL, draft, tokens, max_new_tokens=new, lookahead=lookahead, temperature=0.0)
        assert found.tokens.tolist() == expected
        assert 0 <= found.accepted <= found.drafted
        assert found.passes + found.accepted == new


def test_a_perfect_draft_is_never_refused_and_saves_passes() -> None:
    found = speculate(MODEL, MODEL, torch.tensor([[1, 2]]), max_new_tokens=20, lookahead=4, temperature=0.0)
    assert found.drafted == found.accepted == 15 and found.passes == 5


class Bigrams:
    """A model whose next token depends on the last one alone, so that the law of any text is known."""

    training = False
    context = None

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        valid: Tensor | None = None,
        cache: KVCache | None = None,
        past: Tensor | None = None,
        newest: int | None = None,
    ) -> Tensor:
        assert cache is not None and cache.length + tokens.shape[1] <= cache.max_length
        slots = torch.arange(cache.length, cache.length + tokens.shape[1])
        cache.extend(slots[None], None, batch=1, plain=True)
        return self.logits[tokens][:, -(newest or tokens.shape[1]) :]

    def new_cache(self, batch: int, max_length: int) -> KVCache:
        return KVCache(SMALL, batch, max_length)


@pytest.mark.parametrize(
    ("lookahead", "settings"), [(1, {}), (3, {"temperature": 0.7, "top_k": 4}), (2, {"top_p": 0.8})]
)
def test_its_law_is_the_models(lookahead: int, settings: dict[str, float]) -> None:
    """Chi-square over all texts of four written tokens of which at least 5 are expected."""
    draws, logits = 2000, 2 * normal(5, 5)
    model, draft = Bigrams(logits), Bigrams(logits / 2 + normal(5, 5, seed=1))
    generator = torch.Generator().manual_seed(0)
    law = distribution(model.logits, **settings)
    expected = draws * torch.einsum("a,ab,bc,cd->abcd", law[2], law, law, law).flatten()
    counts, accepted = torch.zeros(5**4, dtype=torch.float64), 0
    for _ in range(draws):
        found = speculate(
            model,
            draft,
            torch.tensor([[4, 2]]),
            max_new_tokens=4,
            lookahead=lookahead,
            generator=generator,
            **settings,
        )
        counts[int(found.tokens @ torch.tensor([125, 25, 5, 1]))] += 1
        accepted += found.accepted
    assert (counts[expected == 0] == 0).all()
    assert 0.4 * draws < accepted < 1.6 * draws  # the draft is neither useless nor perfect
    often = expected >= 5
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]])
    if wanted[-1] < 5:  # too rare to be a class of its own
        observed, wanted = observed[:-1], wanted[:-1]
    statistic = ((observed - wanted).square() / wanted).sum()
    freedom = torch.tensor(len(wanted) - 1.0, dtype=torch.float64)
    assert torch.special.gammaincc(freedom / 2, statistic / 2) > ENOUGH


def test_it_ends_with_the_first_stop_id() -> None:
    tokens = integers(13, 1, 3)
    whole = generate(MODEL, tokens, max_new_tokens=12).rows()[0]
    for stop in set(whole):
        for draft in (DRAFT, MODEL):
            found = speculate(MODEL, draft, tokens, max_new_tokens=12, lookahead=5, temperature=0.0, stop_ids={stop})
            assert found.tokens.tolist() == whole[: whole.index(stop) + 1]
            assert found.accepted <= len(found.tokens)


def test_bad_input() -> None:
    prompt = torch.tensor([[1, 2]])
    wide = randomise(DecoderLM(dataclasses.replace(CONFIG, vocab_size=14)))
    with rejects("draft", "the model's vocabulary of 13", "14"):
        speculate(MODEL, wide, prompt, max_new_tokens=4, temperature=0.0)
    with rejects("prompt", "one row", "2"):
        speculate(MODEL, DRAFT, prompt.expand(2, -1), max_new_tokens=4)
    with rejects("lookahead", "at least 1", "0"):
        speculate(MODEL, DRAFT, prompt, max_new_tokens=4, lookahead=0)
    with rejects("temperature", "not be negative", "-1"):
        speculate(MODEL, DRAFT, prompt, max_new_tokens=4, temperature=-1.0)
    with rejects("top_k", "at most the vocabulary of 13", "14"):
        speculate(MODEL, DRAFT, prompt, max_new_tokens=4, top_k=14)
    with rejects("draft", "eval mode"):
        speculate(MODEL, DecoderLM(SMALL).train(), prompt, max_new_tokens=4)
    with rejects("position table"):
        short = dataclasses.replace(CONFIG, positions=Learned(), max_length=3)
        speculate(randomise(DecoderLM(short)), DRAFT, prompt, max_new_tokens=4)
