"""What `book.check` knows of the exercises of `chapters/code.ipynb`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope
from transformer_lib.exercises.exercise import Exercise
from transformer_lib.exercises.function import Function
from transformer_lib.exercises.made import Made
from transformer_lib.exercises.numbers import Numbers
from transformer_lib.models import DecoderLM

# Who reaches whom ----------------------------------------------------------------------------------------------------


class _Averages(nn.Module):
    """Each position reads the mean of what it may see: all before it, or everything; as logits or probabilities."""

    def __init__(self, causal: bool, ends: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embed = nn.Embedding.from_pretrained(torch.randn(7, 4, generator=generator, dtype=torch.float64))
        self.head = torch.randn(4, 7, generator=generator, dtype=torch.float64)
        self.causal, self.ends = causal, ends

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens).requires_grad_()
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.float64)
        allowed = allowed.tril() if self.causal else allowed
        logits = (allowed / allowed.sum(1, keepdim=True)) @ x @ self.head
        return logits.softmax(dim=-1) if self.ends else logits


def _gradients(model: Any, embedding: Any, tokens: Tensor, weighed: bool = True) -> list[Tensor]:
    caught: list[Tensor] = []

    def catch(module: Any, given: Any, out: Tensor) -> None:
        caught.append(out)

    hook = embedding.register_forward_hook(catch)
    logits = model(tokens)
    hook.remove()
    weighing = torch.randn(logits.shape[-1], generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    scalars = (logits[0] * (weighing if weighed else 1)).sum(-1)
    return [torch.autograd.grad(scalar, caught[0], retain_graph=True)[0][0] for scalar in scalars]


def _reach(model: Any, embedding: Any, tokens: Tensor, weighed: bool = True) -> Tensor:
    return torch.stack([g.abs().sum(-1) > 1e-12 for g in _gradients(model, embedding, tokens, weighed)])


def _sizes(model: Any, embedding: Any, tokens: Tensor) -> Tensor:
    return torch.stack([g.abs().sum(-1) for g in _gradients(model, embedding, tokens)])


def _reach_cases() -> list[list[Any]]:
    tokens = torch.tensor([[3, 0, 6, 1, 1]])
    models = [_Averages(causal, ends) for causal in (True, False) for ends in (False, True)]
    return [[model, model.embed, tokens] for model in models]


# A prompt continued with a cache -------------------------------------------------------------------------------------


def _continue(start: Callable[..., int]) -> Callable[..., Tensor]:
    """Greedily, with the first position of a piece as `start` gives it for the step, the cache and the prompt."""

    def continue_greedily(model: Any, prompt: Tensor, count: int) -> Tensor:
        cache = model.new_cache(len(prompt), prompt.shape[1] + count)
        tokens = step = prompt
        for index in range(count):
            positions = torch.arange(step.shape[1])[None] + start(index, cache, prompt)
            with torch.no_grad():
                logits = model(step, positions=positions, cache=cache)
            step = logits[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, step], dim=1)
        return tokens

    return continue_greedily


def _cache_cases() -> list[list[Any]]:
    config = ModelConfig(
        vocab_size=97,
        d_model=16,
        num_layers=2,
        max_length=64,
        attention=AttentionConfig(num_heads=4),
        feedforward=Mlp(d_ff=64),
        positions=Rope(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = DecoderLM(config).double().eval()
        prompt = torch.randint(97, (4, 10))
    for weight in model.parameters():
        weight.data *= 5  # an untrained model is nearly uniform; this one is not
    return [[model, prompt[:1], 4], [model, prompt, 12]]


# The smallest set that reaches p -------------------------------------------------------------------------------------


def _top_p(logits: Tensor, p: float, reached: str = "without", back: bool = True, drop: float = -torch.inf) -> Tensor:
    ranked = logits.argsort(dim=-1, descending=True, stable=True)
    probs = logits.softmax(dim=-1).gather(-1, ranked)
    sums = probs.cumsum(dim=-1)
    keep = sums - probs < p if reached == "without" else sums <= p
    keep = torch.zeros_like(keep).scatter(-1, ranked, keep) if back else keep
    return logits.masked_fill(~keep, drop)


def _min_p(logits: Tensor, p: float) -> Tensor:
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < p * probs.amax(dim=-1, keepdim=True), -torch.inf)


def _top_p_cases() -> list[list[Any]]:
    generator = torch.Generator().manual_seed(0)
    five = torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]], dtype=torch.float64).log()
    rows = 3 * torch.randn(20, 12, generator=generator, dtype=torch.float64)
    return [[five, 0.8], *([rows, p] for p in (0.1, 0.5, 0.9))]


EXERCISES: dict[str, Exercise] = {
    "ex-read-curves": Made(
        laws={
            "Give four numbers: the fault of A, B, C and D, and 0 for the right loop.": lambda found: len(found) == 4,
            "A loses nearly all of its loss in 100 steps, and so does no model of a real text: which fault makes the "
            "task that easy?": lambda found: found[0] in (5, 10),
            "B stays between 3.87 and 4.87 from step 100 on, within one nat. Which fault pens a loss in like that?": (
                lambda found: found[1] == 9
            ),
            "C falls as far as the right models of this chapter. Nothing is wrong with it.": lambda found: (
                found[2] == 0
            ),
            "D learns, but badly, and C is the right one. Which fault lets a loss fall and then spoils it?": (
                lambda found: found[3] == 8
            ),
        },
        example=lambda: [10, 9, 0, 8],
        wrong=lambda: [[10, 9, 8], [6, 9, 0, 8], [10, 8, 0, 8], [10, 9, 11, 8], [10, 9, 0, 0]],
        why="None is certain from its numbers: each has a probe that settles it.",
    ),
    "ex-which-axis": Numbers(
        right={"batch size": 8, "outputs that move": 5},
        wrong={
            "That batch was the example's. The mask must be as large as the axis that is taken for time.": {
                "batch size": 5
            },
            "That expects the mask to have repaired the axis. It orders the *sentences*.": {"outputs that move": 6},
            "All sentences would move without a mask. Under it those before sentence 3 do not see it.": {
                "outputs that move": 8
            },
            "Later sentences look back at sentence 3, at the same position.": {"outputs that move": 1},
            "Sentence 3 looks at itself, too.": {"outputs that move": 4},
        },
        why="Position 2 of sentences 3 to 7: the mask orders the batch.",
    ),
    "ex-causality-probe": Function(
        right=_reach,
        wrong={
            "You sum the outputs without weights. Probabilities always sum to 1, so this sum has no gradient.": (
                lambda model, embedding, tokens: _reach(model, embedding, tokens, weighed=False)
            ),
            "The table is transposed: a row belongs to an *output*, a column to an input.": lambda *given: (
                _reach(*given).T
            ),
            "Those are the sizes of the gradients. The table says whether there is one.": _sizes,
            "That is only the last position. Each output needs a backward pass of its own.": lambda *given: _reach(
                *given
            )[-1],
        },
        cases=_reach_cases,
        properties={
            "The table must have a row and a column for each position.": lambda reach, model, embedding, tokens: (
                tuple(reach(model, embedding, tokens).shape) == (tokens.shape[1], tokens.shape[1])
            ),
            "Each output reads its own token, so the diagonal must be true.": lambda reach, *given: bool(
                reach(*given).diagonal().all()
            ),
        },
        why="No gap below the diagonal, and nothing above it, is what a language model must show.",
    ),
    "ex-find-fault": Made(
        laws={
            "Give two numbers. The third fault, that the saved model is never loaded, has none.": lambda found: (
                len(found) == 2
            ),
            "What is a position asked for? Compare what the model reads with what the loss gets.": lambda found: (
                10 in found
            ),
            "What does `backward` do to the gradient of the step before?": lambda found: 8 in found,
        },
        example=lambda: [8, 10],
        wrong=lambda: [[8, 9, 10], [8, 9], [10, 11]],
        why="The first hides the second: copying is learned even from wrong gradients.",
    ),
    "ex-repair-cache": Function(
        right=_continue(lambda index, cache, prompt: cache.length),
        wrong={
            "That is the function as it was: the number of the *step* is not the length of what was read.": _continue(
                lambda index, cache, prompt: index
            ),
            "All new tokens get the same position. Count those that are already written as well.": _continue(
                lambda index, cache, prompt: prompt.shape[1] if index else 0
            ),
            "One too high from the second piece on: the first new token stands at `cache.length`.": _continue(
                lambda index, cache, prompt: cache.length + (index > 0)
            ),
            "One too low: the first new token gets the position of the prompt's last one.": _continue(
                lambda index, cache, prompt: max(cache.length - 1, 0)
            ),
        },
        cases=_cache_cases,
        properties={
            "The prompt must stand before what is written.": lambda f, model, prompt, count: torch.equal(
                f(model, prompt, count)[:, : prompt.shape[1]], prompt
            ),
        },
        why="Positions come from what has been read, and never from the shape of the newest piece.",
    ),
    "ex-top-p": Function(
        right=_top_p,
        wrong={
            "That drops the token which crosses $p$, and it belongs to the set: ask what the likelier ones have.": (
                lambda logits, p: _top_p(logits, p, reached="with")
            ),
            "The answer is still in the order of rank. Put it back, with `scatter`.": lambda logits, p: _top_p(
                logits, p, back=False
            ),
            "A logit of 0 is not a probability of 0. What is dropped needs $-\\infty$.": lambda logits, p: _top_p(
                logits, p, drop=0.0
            ),
            "That is min-p, which compares each token with the likeliest one.": _min_p,
            "Return logits, as they came, and not probabilities.": lambda logits, p: _top_p(logits, p).softmax(dim=-1),
        },
        cases=_top_p_cases,
        properties={
            "The likeliest token must always stay.": lambda top_p, logits, p: bool(
                top_p(logits, p).gather(-1, logits.argmax(-1, keepdim=True)).isfinite().all()
            ),
        },
        tolerance=1e-8,
        why="A token stays if the likelier ones together are still below $p$.",
    ),
    "ex-lora": Numbers(
        right={"parameters": 8192, "share": 1 / 32},
        wrong={
            "There are two factors, $A_1$ and $A_2$.": {"parameters": 4096, "share": 1 / 64},
            "$W$ is frozen: it is there, and it is not trained.": {"parameters": 512 * 512 + 8192},
            "That is the size of the product. What is trained are its factors.": {"parameters": 512 * 512, "share": 1},
            "The share is of $W$ alone, $512^2$.": {"share": 8192 / (512 * 512 + 8192)},
        },
        tolerance=0.0001,
        why="$2 \\cdot 512 \\cdot 8$, a thirty-second of $W$.",
    ),
}
NOT_CHECKED: dict[str, str] = {}
