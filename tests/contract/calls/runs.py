"""How the public callables of `transformer_lib.runs` are called validly."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.contract.calls.config import SMALL
from tests.contract.calls.training import own_loss
from transformer_lib.data.batching import PackedBatches
from transformer_lib.models import DecoderLM
from transformer_lib.runs import experiment, haystacks, practice, recall, recipe, records
from transformer_lib.training.config import TrainConfig
from transformer_lib.training.schedule import warmup_cosine

HERE = "transformer_lib.runs."


def _new(name: str = "new") -> Path:
    return Path(tempfile.mkdtemp(dir=".")) / name


def _recipe() -> str:
    path = _new("toy.py")
    path.write_text("NAME = 'toy'\nOPTIONS = {'x': '1'}\ndef run(run): return {'x': run.options['x']}\n")
    return str(path)


def _parts_file() -> Path:
    path = _new("parts.json")
    path.write_text('[{"until_step": 3, "seconds": 1.5}]')
    return path


def new_run() -> recipe.Run:
    return recipe.Run(0, torch.device("cpu"), _new(), options={"x": "1"})


def _small() -> DecoderLM:
    return DecoderLM(SMALL)


def _batches() -> PackedBatches:
    return PackedBatches(_streams().train, batch=2, context=4, seed=0)


def _training() -> dict[str, Any]:
    config = TrainConfig(steps=1, learning_rate=partial(warmup_cosine, warmup=1, total=2, peak=1e-3), progress=False)
    return {
        **{
            "self": new_run(),
            "model": _small(),
            "loss_fn": own_loss,
            "batches": _batches(),
            "config": config,
        },
        **{
            "held_out": practice.held_out_batches(_streams().test, batch=2, context=4),
            "averages": [1],
            "name": "training",
        },
    }


def _experiment() -> str:
    path = _new("toy.py")
    path.write_text(
        '"""Why?"""\nfrom transformer_lib.runs.experiment import Experiment\n'
        "def run(seed): return {'x': seed}\nEXPERIMENT = Experiment({'a': {}}, run)\n"
    )
    return str(path)


def _record() -> records.Record:
    return records.Record(experiment.execute(_experiment(), results=_new()))


def _reader() -> nn.Module:
    torch.manual_seed(0)
    return nn.Embedding(haystacks.VOCABULARY, haystacks.VOCABULARY)


def _streams() -> practice.Streams:
    tokens = torch.arange(40) % SMALL.vocab_size
    return practice.Streams(practice.Tokenizer.train(["ab"], 256, []), tokens, tokens, tokens, 1.0)


class _Answers(nn.Module):
    """Scores of programs, by chance; one weight, so that there is something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(20, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.scores(tokens)


class _Recalls(nn.Module):
    """Scores of texts with names to recall, by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(recall.NAMES * (recall.VALUES + 1), recall.VALUES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.scores(tokens)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}account.keep_time": lambda: {"file": _parts_file(), "steps": 3, "write": False},
    f"{HERE}account.parts_below": lambda: {"folder": _parts_file().parent},
    f"{HERE}account.read_parts": lambda: {"file": _parts_file()},
    f"{HERE}provenance.commit_of": lambda: {"folder": Path()},
    f"{HERE}provenance.machine_of": lambda: {"device": torch.device("cpu")},
    f"{HERE}provenance.versions": dict,
    f"{HERE}recipe.Run.model_folder": lambda: {"self": new_run()},
    f"{HERE}recipe.Run.train": _training,
    f"{HERE}recipe.load_recipe": lambda: {"path": _recipe()},
    f"{HERE}recipe.Run": lambda: {
        **{"seed": 0, "device": torch.device("cpu"), "folder": Path("run"), "resume": False, "options": {"x": "1"}},
        **{"parallel": "ddp", "change": ["x"], "recipe": {"x": 1}},
    },
    f"{HERE}recipe.execute": lambda: {
        **{"path": _recipe(), "seed": 1, "device": "cpu", "folder": str(_new()), "resume": False},
        **{"options": {"x": "2"}, "parallel": None, "change": []},
    },
    f"{HERE}experiment.Experiment": lambda: {
        **{"arms": {"a": {}}, "run": dict, "seeds": (0, 1, 2), "rates": (0.1, 1.0, 10.0), "chosen_by": "loss"},
        **{"choice_seeds": (7, 8), "data": dict},
    },
    f"{HERE}experiment.load_experiment": lambda: {"path": _experiment()},
    f"{HERE}experiment.execute": lambda: {"path": _experiment(), "again": True, "results": str(_new())},
    f"{HERE}experiment.program_of": lambda: {"source": "x = 1"},
    f"{HERE}practice.deal": lambda: {"rows": 2, "seed": 0, "time": 5},
    f"{HERE}practice.learn_programs": lambda: {
        **{"model": _Answers(), "rate": 0.01, "seed": 0, "steps": 2, "batch": 2, "warmup": 1}
    },
    f"{HERE}practice.program_scores": lambda: {"model": _Answers(), "time": 12, "first": 2, "rows": 8},
    f"{HERE}recall.recall_texts": lambda: {"rows": 2, "pairs": 3, "seed": 0},
    f"{HERE}recall.learn_recall": lambda: {"model": _Recalls(), "rate": 0.01, "seed": 0, "steps": 2, "batch": 2},
    f"{HERE}recall.recall_scores": lambda: {"model": _Recalls(), "rows": 4},
    f"{HERE}practice.Streams": lambda: {
        name: getattr(_streams(), name) for name in ("tokenizer", "train", "choice", "test", "bytes_per_token")
    },
    f"{HERE}practice.text_scores": lambda: {"model": _small(), "text": _streams(), "context": 4},
    f"{HERE}practice.overlapping_nats": lambda: {"model": _small(), "stream": _streams().test, "context": 4},
    f"{HERE}practice.start_as_pytorch": lambda: {"model": _small()},
    f"{HERE}practice.start_small": lambda: {"model": _small(), "std": 0.1},
    f"{HERE}haystacks.haystacks": lambda: {"batch": 2, "time": 40, "seed": 0},
    f"{HERE}haystacks.Haystacks": lambda: haystacks.haystacks(2, 40, seed=0)._asdict(),
    f"{HERE}haystacks.learn_haystacks": lambda: {
        **{"model": _reader(), "rate": 0.01, "seed": 0, "steps": 2, "batch": 2, "time": 40},
    },
    f"{HERE}records.Spread": lambda: {"values": (1.0, 2.0)},
    f"{HERE}records.Spread.ties": lambda: {"self": records.Spread((1.0,)), "other": records.Spread((2.0,))},
    f"{HERE}records.Spread.above": lambda: {"self": records.Spread((1.0,)), "other": records.Spread((2.0,))},
    f"{HERE}records.Spread.below": lambda: {"self": records.Spread((1.0,)), "other": records.Spread((2.0,))},
    f"{HERE}records.Record": lambda: {"path": str(experiment.execute(_experiment(), results=_new()))},
    f"{HERE}records.Record.runs": lambda: {"self": _record(), "arm": "a"},
    f"{HERE}records.Record.seeds": lambda: {"self": _record(), "arm": "a"},
    f"{HERE}records.Record.measures": lambda: {"self": _record(), "arm": "a"},
    f"{HERE}records.Record.each": lambda: {"self": _record(), "arm": "a", "measure": "x"},
    f"{HERE}records.Record.spread": lambda: {"self": _record(), "arm": "a", "measure": "x"},
    f"{HERE}records.Record.rate": lambda: {"self": _record(), "arm": "a"},
    f"{HERE}records.Record.tried": lambda: {"self": _record(), "arm": "a"},
}

EXCUSED: dict[str, str] = {
    **{
        f"{HERE}{name}": "its program is part of the records of experiments, which a check would make anew"
        for name in ("practice.next_token_loss", "practice.learn_text", "haystacks.haystack_loss")
    },
    f"{HERE}haystacks.haystack_scores": "it says NaN where nothing is asked, and its program is part of the records",
    f"{HERE}ranks.*": "it starts processes that join one another; tests/runs/test_ranks.py tries it",
    f"{HERE}practice.streams": "it takes seconds to train its tokenizer; tests/runs/test_practice.py tries it",
}
