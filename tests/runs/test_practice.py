"""The trainings that experiments share: parts that do not overlap, starts of the right size, and scores by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.plain import unchecked
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.models import DecoderLM
from transformer_lib.runs.practice import (
    NAMES,
    TIME,
    VALUES,
    deal,
    learn_programs,
    learn_text,
    overlapping_nats,
    program_scores,
    start_as_pytorch,
    start_small,
    streams,
    text_scores,
)


def small(vocab: int = NAMES * (VALUES + 1), *, tied: bool = False) -> DecoderLM:
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=vocab,
        d_model=16,
        num_layers=1,
        max_length=2 * TIME,
        attention=AttentionConfig(num_heads=2),
        feedforward=Mlp(d_ff=32),
        positions=Rope(),
        tie_embeddings=tied,
    )
    return DecoderLM(config)


class Bigram(nn.Module):
    """Scores for the next token that depend on the last alone."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table(tokens)


def test_programs_are_learnt_and_the_loss_falls() -> None:
    model = small()
    losses = learn_programs(model, rate=0.02, seed=0, steps=150)
    assert len(losses) == 150 and abs(losses[0] - math.log(NAMES * (VALUES + 1))) < 0.5
    scores = program_scores(model)
    assert scores["once"] > 0.9 and scores["choice"] < 0.6


def test_the_same_seed_gives_the_same_training() -> None:
    first, second, other = (small() for _ in range(3))
    curves = [learn_programs(m, rate=0.01, seed=s, steps=5) for m, s in ((first, 3), (second, 3), (other, 4))]
    assert curves[0] == curves[1] != curves[2]


def test_a_rate_that_is_too_high_ends_the_training() -> None:
    losses = learn_programs(small(), rate=1e30, seed=0, steps=30)
    assert len(losses) < 30 and not math.isfinite(losses[-1])


def test_scores_are_shares_of_right_answers_to_each_kind_of_question() -> None:
    class Remembers(nn.Module):
        """Answers with the value that was assigned to the name first."""

        def forward(self, tokens: Tensor) -> Tensor:
            scores = torch.zeros(*tokens.shape, NAMES * (VALUES + 1))
            for row, program in enumerate(tokens.tolist()):
                known: dict[int, int] = {}
                for t, token in enumerate(program):
                    if token < NAMES * VALUES:
                        known.setdefault(token // VALUES, token % VALUES)
                    else:
                        scores[row, t, known[token - NAMES * VALUES]] = 9.0
            return scores

    scores = program_scores(Remembers(), rows=128)
    assert scores["once"] == 1.0
    assert 0.25 < scores["reassigned"] < 0.6
    longer = program_scores(Remembers(), rows=128, time=2 * TIME, first=TIME)
    assert longer["once"] == 1.0 and longer["choice"] == scores["choice"]


def test_a_model_that_gives_nan_has_no_score() -> None:
    model = small()
    nn.init.constant_(model.head.weight, math.nan)
    assert all(math.isnan(value) for value in program_scores(model, rows=8).values())


def test_programs_to_choose_by_are_not_those_that_are_reported() -> None:
    chosen, reported, trained = (set(map(tuple, deal(256, seed).tokens.tolist())) for seed in (998, 999, 0))
    assert not chosen & reported and not trained & (chosen | reported)


def test_a_rate_is_chosen_by_the_loss_on_the_programs_kept_for_it() -> None:
    model, chosen = small(), deal(16, 998)
    expected = F.cross_entropy(model(chosen.tokens).flatten(0, 1), chosen.targets.flatten())
    assert abs(program_scores(model, rows=16)["choice"] - expected.item()) < 1e-6


def passages(stream: Tensor, every: int) -> set[bytes]:
    tokens = stream.numpy().astype("int16")
    return {tokens[i : i + 40].tobytes() for i in range(0, len(tokens) - 40, every)}


@unchecked()
def test_the_parts_of_the_text_do_not_overlap() -> None:
    text, more = streams(1024), streams(1024, "full")
    assert torch.equal(text.test, more.test) and torch.equal(text.choice, more.choice)
    assert len(more.train) > 4 * len(text.train) and len(text.choice) == 20_000
    trained = passages(more.train, every=1)
    for part in (text.test, text.choice):
        held_out = passages(part, every=7)
        assert len(held_out & trained) < 0.01 * len(held_out), "but for a licence or an import here and there"
    assert 2.6 < text.bytes_per_token < 3.2


def test_text_is_learnt_and_scored_on_both_parts() -> None:
    text, model = streams(1024), Bigram(1024)
    learn_text(model, text, rate=0.3, seed=0, steps=60)
    scores = text_scores(model, text)
    by_hand = F.cross_entropy(model(text.test[:-1]), text.test[1:]).item()
    assert abs(scores["test"] - by_hand) < 1e-4, "a bigram needs no history, so the windows cost nothing"
    assert scores["test"] < math.log(1024) and scores["choice"] < math.log(1024)


def test_settings_reach_the_training() -> None:
    seen: list[int] = []
    learn_text(small(1024), streams(1024), rate=0.01, seed=0, steps=3, context=8, on_step=lambda r: seen.append(r.step))
    assert seen == [1, 2, 3]
    with pytest.raises(FloatingPointError):
        learn_text(small(1024), streams(1024), rate=1e30, seed=0, steps=30, context=8, clip=None)


@pytest.mark.parametrize("length", [2, 9, 17, 40])
def test_overlapping_windows_count_every_token_once(length: int) -> None:
    torch.manual_seed(0)
    stream, model = torch.randint(20, (length,)), Bigram(20)
    expected = F.cross_entropy(model(stream[:-1]), stream[1:]).item()
    assert abs(overlapping_nats(model, stream, context=8) - expected) < 1e-6


def test_a_token_in_overlapping_windows_has_half_a_window_before_it() -> None:
    lengths: list[int] = []

    class Counts(Bigram):
        def forward(self, tokens: Tensor) -> Tensor:
            lengths.append(tokens.shape[1])
            return super().forward(tokens)

    overlapping_nats(Counts(20), torch.randint(20, (17,)), context=8)
    assert lengths == [4, 8, 8, 8]


def test_pytorchs_start_has_its_own_sizes() -> None:
    model = small(1000)
    start_as_pytorch(model)
    assert abs(model.embedding.tokens.weight.std().item() - 1) < 0.05
    bound = 16**-0.5
    assert model.head.weight.abs().max() <= bound and model.head.weight.std() > bound / 2


def test_a_tied_head_keeps_the_embeddings_start() -> None:
    model = small(1000, tied=True)
    start_as_pytorch(model)
    assert model.head.weight is model.embedding.tokens.weight
    assert abs(model.head.weight.std().item() - 1) < 0.05


def test_a_small_start_is_small_everywhere() -> None:
    model = nn.LSTM(64, 64)
    start_small(model, std=0.02)
    for name, weight in model.named_parameters():
        assert (weight.std() - 0.02).abs() < 0.002 if weight.ndim > 1 else not weight.any(), name
