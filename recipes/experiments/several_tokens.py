"""Does a small model that learns to predict further tokens, too, predict the next one better, and does it draft well?

A decoder of two layers with two further heads learns four small languages. `on the side`, the heads learn from their
own loss and the decoder from its own alone, so the decoder is what it would be without heads; otherwise the heads' loss
is added to the decoder's with a weight, and reaches it. Each arm has its learning rate tuned alike, by the loss of the
next token.

`above floor` is the decoder's loss over the last four of eight sentences, less the entropy. `acceptance k` is the
chance that a token which head k drafts is kept, sum min(p, q), on texts of their own, and `greedy k` the share of
tokens where both name the same; `table` drafts by counts of pairs of words. `tokens a pass` is measured by drafting in
earnest, with samples, one or two tokens ahead.
"""

from typing import Any

import torch
from torch import Tensor

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.data.toy_languages import SENTENCE, WORDS, floor, speech
from transformer_lib.generation import speculate
from transformer_lib.models import DecoderLM, MultiTokenLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.training import token_loss
from transformer_lib.training.counts import parameters
from transformer_lib.training.further import multi_token_loss

SENTENCES, STEPS, BATCH, HEADS = 8, 400, 24, 2
CHOICE, REPORT = 998, 999  # seeds of the texts that a rate is chosen by, and of those that are reported


def config(width: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=len(WORDS),
        d_model=width,
        num_layers=2,
        max_length=SENTENCES * SENTENCE,
        attention=AttentionConfig(num_heads=4),
        feedforward=SwiGlu(d_ff=width * 3 // 2),
        positions=Rope(),
        norm=Norm(kind="rms"),
    )


def learn(model: MultiTokenLM, weight: float, rate: float, seed: int) -> None:
    """Train in place; a weight of 0 keeps the heads' loss from the decoder, and the heads learn all the same."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / (0.1 * STEPS), (STEPS - step) / (0.5 * STEPS))
        tokens = speech(BATCH, SENTENCES, generator=generator).tokens
        logits, targets = model.ahead(tokens[:, :-1]), tokens[:, 1:]
        optimiser.zero_grad()
        if weight:
            multi_token_loss(logits, targets, weight=weight).mean().backward()
        else:
            whole = multi_token_loss(logits, targets, weight=1.0).mean()
            whole.backward(inputs=list(model.heads.parameters()), retain_graph=True)
            token_loss(logits[0], targets).mean().backward()
        optimiser.step()


def nats(logits: Tensor, tokens: Tensor, after: int = 1) -> float:
    """Nats per word from the word numbered `after` on."""
    return token_loss(logits[:, after - 1 :], tokens[:, after:]).mean().item()


def pairs() -> Tensor:
    """The law of a word after the last one alone, from counts."""
    tokens = speech(4000, SENTENCES, generator=torch.Generator().manual_seed(CHOICE)).tokens
    counts = torch.zeros(len(WORDS), len(WORDS))
    counts.index_put_((tokens[:, :-1].flatten(), tokens[:, 1:].flatten()), torch.tensor(1.0), accumulate=True)
    return counts / counts.sum(dim=1, keepdim=True)


def agreement(p: Tensor, q: Tensor) -> tuple[float, float]:
    """How likely a draft from q is kept under p, and how often both name the same word."""
    same = p.argmax(dim=-1) == q.argmax(dim=-1)
    return torch.minimum(p, q).sum(dim=-1).mean().item(), same.float().mean().item()


def tokens_a_pass(model: MultiTokenLM, lookahead: int) -> float:
    generator = torch.Generator().manual_seed(REPORT)
    prompts = speech(4, 1, generator=generator).tokens
    found = [
        speculate(model, None, prompt[None], max_new_tokens=42, lookahead=lookahead, generator=generator)
        for prompt in prompts
    ]
    return sum(len(one.tokens) for one in found) / sum(one.passes for one in found)


def run(seed: int, rate: float, weight: float, width: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = MultiTokenLM(DecoderLM(config(width)), further=HEADS)
    learn(model, weight, rate, seed)
    model.eval()
    chosen, tokens = (
        speech(400, SENTENCES, generator=torch.Generator().manual_seed(s)).tokens for s in (CHOICE, REPORT)
    )
    with torch.no_grad():
        found: dict[str, Any] = {"choice": nats(model(chosen[:, :-1]), chosen)}
        laws = [logits.softmax(dim=-1) for logits in model.ahead(tokens[:, :-1])]
        logits = model(tokens[:, :-1])
    found |= {"test": nats(logits, tokens), "weights": parameters(model.config).total}
    found |= {"above floor": nats(logits, tokens, after=SENTENCES // 2 * SENTENCE) - floor()}
    found |= {"weights of a head": sum(part.numel() for part in model.heads[0].parameters())}
    for k in range(1, HEADS + 1):
        found[f"acceptance {k}"], found[f"greedy {k}"] = agreement(laws[0][:, k:], laws[k])
    found["acceptance table"], found["greedy table"] = agreement(laws[0], pairs()[tokens[:, :-1]])
    for lookahead in range(1, HEADS + 1):
        found[f"tokens a pass, {lookahead} ahead"] = tokens_a_pass(model, lookahead)
    return found


EXPERIMENT = Experiment(
    arms={
        "on the side": {"weight": 0.0, "width": 32},
        "weight 0.3": {"weight": 0.3, "width": 32},
    },
    run=run,
    seeds=(0, 1, 2),
    rates=(0.0035, 0.007, 0.014),
    chosen_by="choice",
    choice_seeds=(100,),
    data=lambda: speech(64, SENTENCES, generator=torch.Generator().manual_seed(0)),
)
