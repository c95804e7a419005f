"""From text to ids and back: `bpe` is the lesson; `tokenizer` the parallel path, imported only by its own name."""

from transformer_lib.text.bpe import BPE as BPE
