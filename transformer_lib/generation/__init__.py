"""Writing text with a model."""

from transformer_lib.generation.generate import Generation as Generation
from transformer_lib.generation.generate import generate as generate
from transformer_lib.generation.generate import pad_left as pad_left
from transformer_lib.generation.sampling import greedy as greedy
from transformer_lib.generation.sampling import sample as sample
from transformer_lib.generation.sampling import truncate as truncate
