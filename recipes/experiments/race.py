"""Which network predicts a short text best: an MLP over four tokens, an RNN, an LSTM or a Transformer?

Each sees the same 51,200 tokens of the standard library's source in windows of 32. What differs beside the network is
how its weights start: as PyTorch's layers do (embeddings from N(0, 1)), or small (every matrix with a standard
deviation of 0.02, as GPT-2's). Each has its learning rate tuned alike. An LSTM of width 82 has as many weights as the
Transformer.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_lib.config import AttentionConfig, ModelConfig, Norm, Rope, SwiGlu
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import learn_text, start_as_pytorch, start_small, streams, text_scores

V = 1024
TRANSFORMER = ModelConfig(
    vocab_size=V,
    d_model=64,
    num_layers=2,
    max_length=32,
    attention=AttentionConfig(num_heads=4),
    feedforward=SwiGlu(d_ff=160),
    positions=Rope(),
    norm=Norm(kind="rms"),
    tie_embeddings=False,
)


class NeuralNGram(nn.Module):
    """An MLP that reads the last four tokens side by side."""

    def __init__(self, width: int = 32, history: int = 4, hidden: int = 128) -> None:
        super().__init__()
        self.history = history
        self.embed = nn.Embedding(V + 1, width)
        self.hidden = nn.Linear(history * width, hidden)
        self.head = nn.Linear(hidden, V)

    def forward(self, tokens: Tensor) -> Tensor:
        padded = F.pad(tokens, (self.history - 1, 0), value=V)
        windows = padded.unfold(1, self.history, 1)
        return self.head(torch.tanh(self.hidden(self.embed(windows).flatten(2))))


class Recurrent(nn.Module):
    """An embedding, one recurrent layer, and a head."""

    def __init__(self, kind: type[nn.RNNBase], width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, width)
        self.recur = kind(width, width, batch_first=True)
        self.head = nn.Linear(width, V)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.recur(self.embed(tokens))[0])


def build(network: str, width: int) -> nn.Module:
    match network:
        case "mlp":
            return NeuralNGram(width)
        case "rnn":
            return Recurrent(nn.RNN, width)
        case "lstm":
            return Recurrent(nn.LSTM, width)
        case _:
            return DecoderLM(TRANSFORMER)


def run(seed: int, rate: float, network: str, width: int, start: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = build(network, width)
    start_small(model) if start == "small" else start_as_pytorch(model)
    learn_text(model, streams(V), rate=rate, seed=seed)
    return text_scores(model, streams(V)) | {"weights": sum(weight.numel() for weight in model.parameters())}


EXPERIMENT = Experiment(
    arms={
        f"{network}, {start}": {"network": network.split()[0], "width": width, "start": start}
        for network, width in (("mlp", 32), ("rnn", 64), ("lstm", 64), ("lstm of width 82", 82), ("transformer", 64))
        for start in ("pytorch", "small")
    },
    run=run,
    seeds=tuple(range(8)),
    rates=(0.005, 0.01, 0.02, 0.04, 0.08),
    chosen_by="choice",
    data=lambda: (streams(V).train, streams(V).test),
)
