"""The drawing of data parallelism."""

from tests.viz.drawn.case import Case
from transformer_lib.models.presets import gpt2, llama3_8b
from transformer_lib.viz.drawings.devices import draw_data_parallel

DRAWINGS = {
    "fig-draw-data-parallel": Case(
        draw_data_parallel,
        lambda n: {"config": [gpt2, llama3_8b][n - 1](), "gpus": 2 * n},
        lambda n: [
            [f"data parallel: {whole} GB on each device", f"sharded: {part} GB on each device"]
            for whole, part in (("1.99", "0.996"), ("128", "32.1"))
        ][n - 1],
    ),
}
