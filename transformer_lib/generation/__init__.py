"""Writing text with a model."""

from transformer_lib.generation.batching import Served as Served
from transformer_lib.generation.batching import continuous_batches as continuous_batches
from transformer_lib.generation.batching import static_batches as static_batches
from transformer_lib.generation.beam import Beams as Beams
from transformer_lib.generation.beam import beam_search as beam_search
from transformer_lib.generation.conditioned import Conditioned as Conditioned
from transformer_lib.generation.generate import Generation as Generation
from transformer_lib.generation.generate import Step as Step
from transformer_lib.generation.generate import generate as generate
from transformer_lib.generation.generate import pad_left as pad_left
from transformer_lib.generation.generate import room as room
from transformer_lib.generation.generate import stop_at as stop_at
from transformer_lib.generation.generate import stream as stream
from transformer_lib.generation.layout import store_by_column as store_by_column
from transformer_lib.generation.recorded import Recorded as Recorded
from transformer_lib.generation.sampling import distribution as distribution
from transformer_lib.generation.sampling import draw as draw
from transformer_lib.generation.sampling import greedy as greedy
from transformer_lib.generation.sampling import sample as sample
from transformer_lib.generation.sampling import truncate as truncate
from transformer_lib.generation.speculative import Speculation as Speculation
from transformer_lib.generation.speculative import speculate as speculate
