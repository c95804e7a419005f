"""Text to train on, and the ways from it to batches."""

from transformer_lib.data.batching import BucketedBatches as BucketedBatches
from transformer_lib.data.batching import PackedBatches as PackedBatches
from transformer_lib.data.batching import Padded as Padded
from transformer_lib.data.batching import pad as pad
from transformer_lib.data.corpora import Corpus as Corpus
from transformer_lib.data.corpora import Document as Document
from transformer_lib.data.corpora import stdlib_source as stdlib_source
from transformer_lib.data.ngram import NGram as NGram
from transformer_lib.data.packing import LMBatch as LMBatch
from transformer_lib.data.packing import bits_per_byte as bits_per_byte
from transformer_lib.data.packing import held_out_batches as held_out_batches
from transformer_lib.data.packing import pack as pack
