"""Programs against running them in Python."""

import pytest
import torch

from transformer_lib.data.toy import Programs, order_blind_ceiling, programs, render, tokens_of


def run(statements: list[str]) -> tuple[list[int], list[bool]]:
    """The answers and which of them concern a reassigned name, by executing the statements."""
    variables: dict[str, list[int]] = {}
    answers, again = [], []
    for statement in statements:
        name, _, value = statement.partition("=")
        if value:
            variables.setdefault(name, []).append(int(value))
        history = variables[name[0]] if not value else [-100]
        answers.append(history[-1])
        again.append(not value and len(history) > 1)
    return answers, again


@pytest.mark.parametrize(("names", "values"), [(6, 6), (2, 3), (26, 1)])
def test_targets_are_what_running_the_program_answers(names: int, values: int) -> None:
    batch = programs(50, 20, names=names, values=values, generator=torch.Generator().manual_seed(0))
    for tokens, targets, reassigned in zip(*batch, strict=True):
        answers, again = run(render(tokens, names=names, values=values))
        assert targets.tolist() == answers
        assert reassigned.tolist() == again


def test_tokens_of_is_the_inverse_of_render() -> None:
    batch = programs(20, 12, generator=torch.Generator().manual_seed(1))
    for tokens in batch.tokens:
        assert torch.equal(tokens_of(" ".join(render(tokens))), tokens)


def test_questions_are_common_and_some_concern_a_reassigned_name() -> None:
    batch = programs(200, 16, generator=torch.Generator().manual_seed(2))
    asked = batch.targets >= 0
    assert 0.3 < asked.float().mean() < 0.5
    assert 0.2 < (batch.reassigned.sum() / asked.sum()) < 0.6


def test_the_order_blind_ceiling_counts_the_most_common_value() -> None:
    tokens = torch.stack([tokens_of("a=1 a=1 a=2 a? b=1"), tokens_of("b=5 a=3 b=4 b=3 b?")])
    reassigned = torch.zeros(2, 5, dtype=torch.bool)
    reassigned[0, 3] = reassigned[1, 4] = True
    ceiling = order_blind_ceiling(Programs(tokens, torch.full((2, 5), -100), reassigned))
    assert ceiling == pytest.approx((2 / 3 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="batch must hold a question about a reassigned name, got 0"):
        order_blind_ceiling(Programs(tokens, tokens, torch.zeros(2, 5, dtype=torch.bool)))


@pytest.mark.parametrize("program", ["a=", "a=6", "z=1", "a3", "ab?", "?", "a=-1", "=3", "a?=3"])
def test_what_is_not_a_statement(program: str) -> None:
    with pytest.raises(ValueError, match="program must be statements like"):
        tokens_of(program)


def test_bad_sizes() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match="names must be at most 26, got 27"):
        programs(1, 1, names=27, generator=generator)
    with pytest.raises(ValueError, match="time must be a whole number of at least 1, got 0"):
        programs(1, 0, generator=generator)
    with pytest.raises(ValueError, match="tokens must be from 0 to 41"):
        render(torch.tensor([42]))
