"""Which tokens are hidden, what they cost beside PyTorch's own loss, and that hidden tokens are learned."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.oracles import CONFIG, randomise
from transformer_lib.models.heads import MaskedLM
from transformer_lib.tasks.pretraining import IGNORED, learn_masked, mask_tokens, masked_loss

MASK = 3


def test_of_the_tokens_asked_for_eight_in_ten_are_hidden() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(4, 1000, (100, 1000))
    inputs, targets = mask_tokens(tokens, mask=MASK, vocab_size=1000)
    asked = targets != IGNORED
    assert torch.equal(targets[asked], tokens[asked]) and torch.equal(inputs[~asked], tokens[~asked])
    assert asked.float().mean().item() == pytest.approx(0.15, abs=0.005)
    assert (inputs[asked] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (inputs[asked] == tokens[asked]).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_the_loss_is_pytorchs_over_the_tokens_asked_for() -> None:
    model = randomise(MaskedLM(CONFIG)).double().eval()
    torch.manual_seed(1)
    batch = mask_tokens(torch.randint(CONFIG.vocab_size, (3, 8)), mask=MASK, vocab_size=CONFIG.vocab_size, share=0.5)
    loss = masked_loss(model, batch)
    expected = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten(), reduction="sum")
    assert loss.count == (batch.targets != IGNORED).sum()
    torch.testing.assert_close(loss.total, expected.to(loss.total.dtype))


def test_a_rhyme_is_learned() -> None:
    torch.manual_seed(0)
    model = MaskedLM(replace(CONFIG, dropout=0.0))
    tokens = torch.arange(600) % 6 + 4
    learn_masked(model, tokens, mask=MASK, rate=0.03, steps=200, seed=0, batch=8, context=8)
    hidden = tokens[:8].clone()
    hidden[3] = MASK
    assert model.eval()(hidden[None])[0, 3].argmax() == tokens[3]


def test_refused() -> None:
    with pytest.raises(ValueError, match="mask must be one of 8 tokens"):
        mask_tokens(torch.zeros(1, 2, dtype=torch.long), mask=8, vocab_size=8)
    with pytest.raises(ValueError, match="share must be between 0 and 1"):
        mask_tokens(torch.zeros(1, 2, dtype=torch.long), mask=1, vocab_size=8, share=0.0)
