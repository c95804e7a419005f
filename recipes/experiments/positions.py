"""Which way of telling positions learns the order of statements, how fast, and what becomes of it on longer programs?

One layer learns programs of 12 statements with each scheme, for 120 or 600 steps, with its rate tuned alike. It is
tested on programs of 12 statements (`once`, `reassigned`) and on the questions in the second half of programs of 24
(`longer once`, `longer reassigned`), which are longer than anything it was trained on.
"""

from dataclasses import replace
from typing import Any

import torch

from transformer_lib.config import Alibi, AttentionConfig, Learned, Mlp, ModelConfig, NoPositions, Rope, Sinusoidal
from transformer_lib.models import DecoderLM
from transformer_lib.runs.experiment import Experiment
from transformer_lib.runs.practice import NAMES, TIME, VALUES, learn_programs, program_scores, start_as_pytorch

SCHEMES = {
    "none": NoPositions(),
    "sinusoids": Sinusoidal(),
    "scaled sinusoids": Sinusoidal(),
    "learned": Learned(),
    "RoPE": Rope(),
    "ALiBi": Alibi(),
}
CONFIG = ModelConfig(
    vocab_size=NAMES * (VALUES + 1),
    d_model=32,
    num_layers=1,
    max_length=2 * TIME,
    attention=AttentionConfig(num_heads=4),
    feedforward=Mlp(d_ff=128),
    positions=Rope(),  # each arm puts its own here
    tie_embeddings=False,
)


def run(seed: int, rate: float, scheme: str, steps: int, start: str) -> dict[str, Any]:
    torch.manual_seed(seed)
    scaled = scheme == "scaled sinusoids"
    model = DecoderLM(replace(CONFIG, positions=SCHEMES[scheme], scale_embeddings=scaled))
    if start == "pytorch" and not scaled:  # scaled embeddings have a start of their own, which brings them to size 1
        start_as_pytorch(model)
    learn_programs(model, rate=rate, seed=seed, steps=steps)
    longer = program_scores(model, time=2 * TIME, first=TIME)
    return program_scores(model) | {f"longer {name}": longer[name] for name in ("once", "reassigned")}


EXPERIMENT = Experiment(
    arms={
        f"{scheme}, {start} start, {steps} steps": {"scheme": scheme, "steps": steps, "start": start}
        for steps, start in ((120, "small"), (120, "pytorch"), (600, "small"))
        for scheme in SCHEMES
        if not (scheme == "scaled sinusoids" and start == "pytorch")
    },
    run=run,
    seeds=(0, 1, 2, 3, 4),
    rates=(0.0015, 0.003, 0.006, 0.012),
    chosen_by="choice",
)
