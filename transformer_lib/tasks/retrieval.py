"""Which passages may hold the answer: by the words that they share with the question, or by an encoder's vectors.

BM25 (Robertson and Zaragoza 2009) needs no training: a rare word that stands often in a short passage counts most.
Dense retrieval compares one vector per text, the mean over the encoder's outputs, by the cosine. Left out: an inverted
file and approximate search, which pay from about a hundred thousand passages on.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from transformer_lib.checks import require, require_kind, require_positive
from transformer_lib.contract import checked
from transformer_lib.data.batching import pad
from transformer_lib.extras import needed
from transformer_lib.models.encoder import Encoder
from transformer_lib.text.words import LETTER, MARK

with needed():
    import regex

# A Chinese or Japanese character is a word of its own, since these scripts do not mark where a word ends.
IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = regex.compile(rf"[{IDEOGRAPHS}]|(?!{MARK})(?:(?![{IDEOGRAPHS}\p{{Pc}}]){LETTER})+")


@checked
def words(text: str) -> list[str]:
    """The runs of letters and digits of a text in lower case; each ideograph is a word.

    A letter and its mark are one character, however the text spells them (NFC), so that "Zoë" is found as "Zoe" + "¨".
    """
    found: list[str] = WORD.findall(unicodedata.normalize("NFC", text).lower())
    return found


@checked
class BM25:
    """Scores passages for a question by

        sum over the words w of the question of  idf(w) * f (k1 + 1) / (f + k1 (1 - b + b n / mean n)),

    where f is how often w stands in the passage, n the passage's number of words, and, of N passages of which N_w hold
    w, idf(w) = ln(1 + (N - N_w + 1/2) / (N_w + 1/2)); the 1 keeps a word that most passages hold from counting against
    them. `k1` says how soon more of the same word stops counting, `b` how much a long passage is held against.
    """

    def __init__(self, passages: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> None:
        require(len(passages) > 0, "passages", "must not be empty", passages)
        require(0 <= k1 <= 1e12, "k1", "must be from 0 to 1e12", k1)
        require(0 <= b <= 1, "b", "must be from 0 to 1", b)
        counts = [Counter(words(passage)) for passage in passages]
        lengths = [count.total() for count in counts]
        mean = sum(lengths) / len(lengths) or 1.0  # passages without a single word have no scores to divide
        holding = Counter(word for count in counts for word in count)
        self.passages = len(passages)
        self._weights: dict[str, dict[int, float]] = {word: {} for word in holding}  # of each word in each passage
        for index, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            damping = k1 * (1 - b + b * length / mean)
            for word, often in count.items():
                idf = math.log1p((len(passages) - holding[word] + 0.5) / (holding[word] + 0.5))
                self._weights[word][index] = idf * often * (k1 + 1) / (often + damping)

    def scores(self, question: str) -> Float[Tensor, " passage"]:
        """One score per passage; 0 where no word is shared."""
        total = torch.zeros(self.passages, dtype=torch.float64)
        for word in words(question):
            for index, weight in self._weights.get(word, {}).items():
                total[index] += weight
        return total


@checked
class DenseIndex:
    """Scores passages by the cosine between their vectors and the question's; `embed` gives a vector per text."""

    def __init__(
        self, passages: Sequence[str], embed: Callable[[Sequence[str]], Float[Tensor, "text d_model"]]
    ) -> None:
        require(len(passages) > 0, "passages", "must not be empty", passages)
        self._embed = embed
        self._vectors = self._unit_vectors(passages)

    def scores(self, question: str) -> Float[Tensor, " passage"]:
        """One cosine per passage."""
        return self._vectors @ self._unit_vectors([question])[0]

    def _unit_vectors(self, texts: Sequence[str]) -> Float[Tensor, "text d_model"]:
        found = self._embed(texts)
        require_kind(found, Tensor, "embed", "a function that gives a tensor")
        shape = tuple(found.shape)
        right = found.ndim == 2 and len(found) == len(texts) and found.is_floating_point()
        require(right, "embed", f"must give {len(texts)} vectors of floating-point numbers", (found.dtype, shape))
        return F.normalize(found, dim=-1)


@checked
@torch.no_grad()
def mean_vectors(
    encoder: Encoder, texts: Sequence[Sequence[int]], *, token_budget: int = 8192
) -> Float[Tensor, "text d_model"]:
    """The mean over each text's tokens of the encoder's outputs; a text without tokens gets zeros.

    A text is cut to the encoder's `max_length`; a batch holds at most `token_budget` tokens, padding included.
    """
    require_positive(token_budget=token_budget)
    weight = next(encoder.parameters())
    rows = [list(text[: encoder.config.max_length]) for text in texts]
    vectors = torch.zeros(len(rows), encoder.config.d_model, dtype=weight.dtype, device=weight.device)
    order = sorted((i for i in range(len(rows)) if rows[i]), key=lambda i: -len(rows[i]))
    while order:
        count = max(1, token_budget // len(rows[order[0]]))  # the first is the longest
        part, order = order[:count], order[count:]
        tokens, valid = (side.to(weight.device) for side in pad([rows[i] for i in part], 0))
        out = encoder(tokens, valid=valid) * valid[..., None]
        vectors[part] = (out.sum(dim=1) / valid.sum(dim=1, keepdim=True)).to(vectors.dtype)
    return vectors


@checked
def ranked(scores: Float[Tensor, " passage"], k: int | None = None) -> list[int]:
    """The numbers of the `k` best passages (None: all), the best first; of equals the earlier."""
    require(k is None or k >= 1, "k", "must be at least 1", k)
    return scores.argsort(descending=True, stable=True)[:k].tolist()


@checked
def recall_at(k: int, rankings: Sequence[Sequence[int]], relevant: Sequence[int]) -> float:
    """The share of questions whose passage is among the first `k` of its ranking."""
    require_positive(k=k)
    _check(rankings, relevant)
    return sum(right in ranking[:k] for ranking, right in zip(rankings, relevant, strict=True)) / len(relevant)


@checked
def mean_reciprocal_rank(rankings: Sequence[Sequence[int]], relevant: Sequence[int]) -> float:
    """The mean over questions of 1 / rank of their passage, counted from 1; 0 where it is not in the ranking."""
    _check(rankings, relevant)
    pairs = zip(rankings, relevant, strict=True)
    return sum(1 / (1 + list(ranking).index(right)) for ranking, right in pairs if right in ranking) / len(relevant)


def _check(rankings: Sequence[Sequence[int]], relevant: Sequence[int]) -> None:
    require(len(relevant) > 0, "relevant", "must not be empty", relevant)
    require(len(rankings) == len(relevant), "rankings", f"must be {len(relevant)} in number", len(rankings))
