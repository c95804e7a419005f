"""Cross-attention from word to word: what a translator reads of the source while it writes a word of the target.

A model attends from token to token. Tokens are parts of words, or several words at once, so their weights are added up
over the tokens of a source word and averaged over those of a target word. Left out: which head to believe.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require
from transformer_lib.contract import checked
from transformer_lib.data.examples import Pair
from transformer_lib.tasks.translation import Translator, clean
from transformer_lib.viz.record import record_attention


@checked
@torch.no_grad()
def word_weights(
    translator: Translator, pair: Pair, source: Sequence[str], target: Sequence[str]
) -> dict[str, Float[Tensor, "heads target source"]]:
    """For each cross-attention of the model, by its name, how much a head reads each source word for each target word.

    `source` and `target` are the words of the pair in order, without its spaces. The weights for a target word are
    those of the positions that write its tokens; a row sums to less than 1 if the head also looks at the source's end.
    `ValueError` if the words are not those of the pair.
    """
    batch = translator.batch([pair])
    with record_attention(translator.model) as looks:
        translator.model(batch.source, batch.target, source_valid=batch.source_valid)
    read = _shares(translator, batch.source[0, :-1].tolist(), pair.source, source, "source")
    # The query at a position writes the next token, whose id is its label; the last label is the end mark.
    write = _shares(translator, batch.labels[0, :-1].tolist(), pair.target, target, "target")
    mean = write / write.sum(1, keepdim=True)
    found = {}
    for look in looks:
        if "cross" in look.name:
            weights = look.weights[0, :, : write.shape[1], : read.shape[1]].float().cpu()
            found[look.name] = mean @ weights @ read.T
    return found


def _shares(
    translator: Translator, ids: Sequence[int], text: str, words: Sequence[str], side: str
) -> Float[Tensor, "word token"]:
    """1 where a word and a token have a byte in common; a space belongs to the word behind it."""
    line, owner, start = clean(text, lowercase=translator.lowercase), list[int](), 0
    for number, word in enumerate(words):
        end = line.find(word, start) + len(word)
        fits = bool(word) and line[start:end].strip() == word
        require(fits, f"{side}[{number}]", f"must be the next word of {text!r}", word)
        owner += [number] * len(line[start:end].encode())
        start = end
    require(start == len(line), side, f"must be all words of {text!r}, missing is", line[start:])
    spelling = translator.tokenizer.to_bpe().vocabulary
    shared, start = torch.zeros(len(words), len(ids)), 0
    for column, token in enumerate(ids):
        end = start + len(spelling[token])
        shared[owner[start:end], column] = 1
        start = end
    return shared
