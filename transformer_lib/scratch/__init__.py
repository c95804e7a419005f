"""A Transformer in NumPy alone: the forward pass, and the backward pass derived by hand. For reading, not for speed."""

from transformer_lib.scratch.autograd import Value as Value
from transformer_lib.scratch.decoder import backward as backward
from transformer_lib.scratch.decoder import forward as forward
from transformer_lib.scratch.decoder import initial_weights as initial_weights
from transformer_lib.scratch.functions import cross_entropy as cross_entropy
from transformer_lib.scratch.functions import cross_entropy_backward as cross_entropy_backward
from transformer_lib.scratch.optim import Moments as Moments
from transformer_lib.scratch.optim import adam_step as adam_step
from transformer_lib.scratch.optim import adamw_step as adamw_step
from transformer_lib.scratch.optim import clip as clip
from transformer_lib.scratch.optim import sgd_step as sgd_step
