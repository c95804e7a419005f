"""See what a model does and is made of: `record` and `outputs` watch it, `plot` shows numbers, `drawings` its parts."""

from transformer_lib.viz.names import name_points as name_points
from transformer_lib.viz.plot import plot_attention as plot_attention
from transformer_lib.viz.plot import plot_curves as plot_curves
from transformer_lib.viz.plot import plot_mask as plot_mask
from transformer_lib.viz.plot import write_values as write_values
from transformer_lib.viz.record import Look as Look
from transformer_lib.viz.record import record_attention as record_attention
from transformer_lib.viz.style import pale as pale
from transformer_lib.viz.style import panels as panels
from transformer_lib.viz.style import use_style as use_style
