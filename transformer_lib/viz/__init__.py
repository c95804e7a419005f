"""See what a model does: `record` keeps attention weights, `plot` draws them, masks and training curves."""

from transformer_lib.viz.plot import plot_attention as plot_attention
from transformer_lib.viz.plot import plot_curves as plot_curves
from transformer_lib.viz.plot import plot_mask as plot_mask
from transformer_lib.viz.record import Look as Look
from transformer_lib.viz.record import record_attention as record_attention
