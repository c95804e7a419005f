"""Speculative decoding: the greedy text token for token, and the law of the large model, whatever the draft."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.oracles import CONFIG, integers, normal, randomise, rejects, unchecked
from transformer_lib.config import AttentionConfig, Experts, GatedDelta, LatentAttention, Learned, Sinusoidal
from transformer_lib.generation import distribution, generate, speculate
from transformer_lib.models import DecoderLM, MultiTokenLM
from transformer_lib.nn import KVCache

EXPERTS = Experts(num_experts=4, top_k=2, d_ff=8)
LATENT = LatentAttention(num_heads=2, head_dim=4, rope_dim=4, value_dim=4, kv_rank=6)
MODEL = randomise(DecoderLM(CONFIG))
SMALL = dataclasses.replace(CONFIG, d_model=8, num_layers=1, attention=AttentionConfig(num_heads=2, window=3))
DRAFT = randomise(DecoderLM(dataclasses.replace(SMALL, positions=Sinusoidal())))
OWN = {
    name: randomise(MultiTokenLM(DecoderLM(config), further=3))
    for name, config in (
        ("rotary", CONFIG),
        ("experts and a table", dataclasses.replace(CONFIG, positions=Learned(), feedforward=EXPERTS)),
        ("latent", dataclasses.replace(CONFIG, attention=LATENT)),
    )
}
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


@pytest.mark.parametrize("model", OWN.values(), ids=OWN)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 14), st.integers(1, 3))
def test_with_heads_of_its_own_it_is_the_greedy_text(
    model: MultiTokenLM, prompt: list[int], new: int, lookahead: int
) -> None:
    tokens = torch.tensor([prompt])
    expected = generate(model, tokens, max_new_tokens=new).rows()[0]
    found = speculate(model, None, tokens, max_new_tokens=new, lookahead=lookahead, temperature=0.0)
    assert found.tokens.tolist() == expected
    assert 0 <= found.accepted <= found.drafted
    assert found.passes + found.accepted == new


@pytest.mark.parametrize("model", OWN.values(), ids=OWN)
def test_heads_draft_what_they_predict_of_the_whole_text(model: MultiTokenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every law from which a token was drafted, whatever was refused before, is that of one pass over the text."""
    seen: list[tuple[int, int, list[int], Tensor]] = []
    step, logits_of = MultiTokenLM.step, MultiTokenLM.logits_of

    def step_seen(
        model: MultiTokenLM, index: int, states: Tensor, tokens: Tensor, start: int, cache: KVCache
    ) -> Tensor:
        made = step(model, index, states, tokens, start, cache)
        seen.append((index, start, tokens[0].tolist(), logits_of(model, index, made[:, -1])))
        return made

    monkeypatch.setattr(MultiTokenLM, "step", step_seen)
    prompt = integers(13, 1, 4)
    found = speculate(model, None, prompt, max_new_tokens=18, lookahead=3, generator=torch.Generator().manual_seed(3))
    monkeypatch.undo()
    assert 0 < found.accepted < found.drafted == len(seen)
    written = [*prompt[0].tolist(), *found.tokens.tolist()]
    for index, start, following, logits in seen:
        whole = torch.tensor([written[: start + index + 1] + following])
        torch.testing.assert_close(logits, model.ahead(whole)[index + 1][:, -1], atol=1e-10, rtol=0)


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
@unchecked()
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


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_k": 3}])
@unchecked()
def test_the_law_with_heads_of_its_own_is_the_models(settings: dict[str, float]) -> None:
    """Chi-square over all texts of three written tokens, whose law one pass over each of them gives."""
    draws, prompt = 2000, torch.tensor([[2, 1]])
    config = dataclasses.replace(CONFIG, vocab_size=4, d_model=8, num_layers=1)
    model = randomise(MultiTokenLM(DecoderLM(config), further=2))
    texts = torch.cartesian_prod(*[torch.arange(4)] * 3)
    rows = torch.cat([prompt.expand(64, -1), texts], dim=1)
    laws = distribution(model(rows)[:, 1:-1].flatten(0, 1).detach(), **settings).view(64, 3, 4)
    expected = draws * laws.gather(2, texts[..., None]).prod(dim=1)[:, 0]
    generator, counts, accepted = torch.Generator().manual_seed(1), torch.zeros(64, dtype=torch.float64), 0
    for _ in range(draws):
        found = speculate(model, None, prompt, max_new_tokens=3, lookahead=2, generator=generator, **settings)
        counts[int(found.tokens @ torch.tensor([16, 4, 1]))] += 1
        accepted += found.accepted
    assert (counts[expected == 0] == 0).all()
    assert 0.1 * draws < accepted < 0.9 * draws
    often = expected >= 5
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]])
    if wanted[-1] < 5:
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
    with rejects("draft", "unless the model is a MultiTokenLM"):
        speculate(MODEL, None, prompt, max_new_tokens=4)
    with rejects("lookahead", "at most the 3 heads", "4"):
        speculate(OWN["rotary"], None, prompt, max_new_tokens=4, lookahead=4)
    recurrent = dataclasses.replace(CONFIG, attention=GatedDelta(num_heads=2, key_dim=4, value_dim=4))
    with rejects("cache", "recurrent state"):
        speculate(
            randomise(MultiTokenLM(DecoderLM(recurrent))), None, prompt, max_new_tokens=4, lookahead=1, temperature=0.0
        )
    with rejects("position table"):
        short = dataclasses.replace(CONFIG, positions=Learned(), max_length=3)
        speculate(randomise(DecoderLM(short)), DRAFT, prompt, max_new_tokens=4)
