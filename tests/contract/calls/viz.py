"""How each public callable of `transformer_lib.viz` is called validly."""

from collections.abc import Callable
from typing import Any

import torch

from tests.contract.calls.config import SMALL
from tests.contract.calls.task_models import SIDE, TRANSLATING
from tests.viz.drawn.case import every_case
from transformer_lib.config import Seq2SeqConfig
from transformer_lib.data.examples import Pair
from transformer_lib.models.seq2seq import Seq2Seq
from transformer_lib.tasks.translation import Translator
from transformer_lib.viz.diagram import Box, Sheet

HERE = "transformer_lib.viz."


def _axes() -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def _model() -> torch.nn.Module:
    from transformer_lib.models import DecoderLM

    return DecoderLM(SMALL)


BOX = Box(0, 0, 20, 10)
ON_A_SHEET: list[tuple[str, dict[str, Any]]] = [
    ("text", {"at": (5, 5), "label": "$W_Q$", "side": "start", "bold": True}),
    ("area", {"box": BOX, "colour": "none", "rounded": True, "amount": 0.5}),
    ("module", {"box": BOX, "label": "norm", "colour": "none", "copies": 2}),
    ("tensor", {"box": BOX, "label": "$Q$", "rows": "6", "columns": "64", "colour": "none", "copies": 2}),
    ("frame", {"box": BOX, "label": "head"}),
    ("line", {"*points": [(0, 0), (1, 1)], "broken": True, "weight": 2}),
    ("arrow", {"*points": [(0, 0), (1, 1)], "broken": True, "weight": 2}),
    ("sign", {"at": (5, 5), "label": "+"}),
    ("dots", {"at": (5, 5), "upright": False}),
    ("bars", {"box": BOX, "values": [1, -2.5], "colour": "none", "most": 3}),
    ("grid", {"box": BOX, "rows": [[0, 1], [True, 0.5]], "colour": "none"}),
    ("legend", {"at": (5, 5), "entries": [("none", "keys")]}),
]


def _sheet() -> Sheet:
    sheet = Sheet()
    sheet.module(BOX)
    return sheet


def _word_weights() -> dict[str, Any]:
    translator = Translator(Seq2Seq(Seq2SeqConfig(encoder=SIDE, decoder=SIDE)).eval(), TRANSLATING)
    return {"translator": translator, "pair": Pair("a dog", "猫"), "source": ["a", "dog"], "target": ["猫"]}


CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    f"{HERE}alignment.word_weights": _word_weights,
    f"{HERE}plot.plot_attention": lambda: {
        "weights": torch.rand(2, 3, 4),
        "query_labels": ["a", "b", "c"],
        "key_labels": ["a", "b", "c", "d"],
        "heads": [0, 1],
        "titles": ["first", "second"],
    },
    f"{HERE}plot.plot_mask": lambda: {"*masks": [torch.ones(2, 3, dtype=torch.bool)], "titles": ["all"]},
    f"{HERE}plot.write_values": lambda: {"axes": _axes(), "values": torch.rand(2, 3), "least": 0.0, "most": 1.0},
    f"{HERE}names.name_points": lambda: {"axes": _axes(), "points": {"here": (0.5, 0.5), "there": (0.7, 0.2)}},
    f"{HERE}label.label_width": lambda: {"label": "a label"},
    f"{HERE}style.space_between": lambda: {"rows": 2, "height": 3.0},
    f"{HERE}style.pale": lambda: {"colour": "#0b5bd0"},
    f"{HERE}plot.plot_curves": lambda: {
        "curves": {"loss": ([1, 2, 3], [3.0, 2.0, 1.0])},
        "baselines": {"chance": 4.0},
        "x_label": "step",
        "y_label": "loss",
        "x_scale": "log",
    },
    f"{HERE}outputs.record_outputs": lambda: {"model": _model()},
    f"{HERE}label.Run": lambda: {"text": "Q", "size": 17, "symbol": True, "below": 4},
    f"{HERE}label.parse_label": lambda: {"label": "keys $K^T$"},
    f"{HERE}label.label_svg": lambda: {"label": "keys $K^T$"},
    f"{HERE}diagram.Drawing": lambda: {"name": "box", "alt": "A box.", "svg": "<svg/>"},
    f"{HERE}diagram.Box": lambda: {"x": 0, "y": 0.5, "width": 10, "height": 20},
    f"{HERE}diagram.Box.around": lambda: {"x": 0, "y": 0.5, "width": 10, "height": 20},
    f"{HERE}diagram.Sheet": dict,
    **{f"{HERE}diagram.Sheet.{name}": lambda a=arguments: {"self": Sheet(), **a} for name, arguments in ON_A_SHEET},
    f"{HERE}diagram.Sheet.drawing": lambda: {"self": _sheet(), "name": "x", "title": "A box", "alt": "A box."},
    f"{HERE}parts.Beside": lambda: {"box": BOX, "top": (0, 0)},
    f"{HERE}parts.part_beside": lambda: {"sheet": Sheet(), "at": (0, 0), "label": "attention", "norm": "LayerNorm"},
    f"{HERE}parts.module_above": lambda: {"sheet": Sheet(), "at": (0, 0), "label": "head"},
    f"{HERE}parts.draw_words": lambda: {"sheet": Sheet(), "box": BOX, "words": ["a", "b"]},
    f"{HERE}parts.shape_text": lambda: {"shape": (6, 64)},
    f"{HERE}parts.number_text": lambda: {"value": -0.0103, "digits": 2},
    f"{HERE}parts.token_box": lambda: {"sheet": Sheet(), "at": (0, 0), "word": " the", "width": 60, "colour": "none"},
    f"{HERE}parts.two_lines": lambda: {"sheet": Sheet(), "box": BOX, "first": "a", "second": "b", "colour": "none"},
    f"{HERE}parts.norm_text": lambda: {"norm": torch.nn.Identity()},
    f"{HERE}parts.hidden_width": lambda: {"block": _model().blocks[0]},
    f"{HERE}parts.positions_text": lambda: {"positions": SMALL.positions},
    f"{HERE}parts.added_positions": lambda: {"config": SMALL},
    **{f"{f.__module__}.{f.__name__}": lambda f=f, a=a: a(1) for f, a, _ in every_case().values()},
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
