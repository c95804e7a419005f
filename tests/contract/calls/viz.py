"""How each public callable of `transformer_lib.viz` is called validly."""

from collections.abc import Callable
from typing import Any

import torch

from tests.contract.calls.base import SMALL

HERE = "transformer_lib.viz."


def _model() -> torch.nn.Module:
    from transformer_lib.models import DecoderLM

    return DecoderLM(SMALL)


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}plot.plot_attention": lambda: {
        "weights": torch.rand(2, 3, 4),
        "query_labels": ["a", "b", "c"],
        "key_labels": ["a", "b", "c", "d"],
        "heads": [0, 1],
        "titles": ["first", "second"],
    },
    f"{HERE}plot.plot_mask": lambda: {"*masks": [torch.ones(2, 3, dtype=torch.bool)], "titles": ["all"]},
    f"{HERE}plot.plot_curves": lambda: {
        "curves": {"loss": ([1, 2, 3], [3.0, 2.0, 1.0])},
        "baselines": {"chance": 4.0},
        "x_label": "step",
        "y_label": "loss",
        "x_scale": "log",
    },
    f"{HERE}record.Look": lambda: {"name": "attention", "weights": torch.rand(1, 2, 3, 3)},
    f"{HERE}record.record_attention": lambda: {"model": _model()},
    f"{HERE}style.panels": lambda: {
        "height": 2.5,
        "rows": 2,
        "columns": 3,
        "sharex": True,
        "sharey": True,
        "width_ratios": [1, 1, 2.5],
    },
    f"{HERE}style.use_style": lambda: {},
}

EXCUSED: dict[str, str] = {}
