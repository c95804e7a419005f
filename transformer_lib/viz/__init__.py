"""See what a model does: `record` keeps attention weights, `plot` draws them in the `style` of the book."""

from transformer_lib.viz.plot import plot_attention as plot_attention
from transformer_lib.viz.plot import plot_curves as plot_curves
from transformer_lib.viz.plot import plot_mask as plot_mask
from transformer_lib.viz.record import Look as Look
from transformer_lib.viz.record import record_attention as record_attention
from transformer_lib.viz.style import panels as panels
from transformer_lib.viz.style import use_style as use_style
