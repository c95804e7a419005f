"""Question answering: a reader points at the answer in a passage, or says that there is none.

One `Encoder` reads question and passage together, and a `SpanHead` scores each token as the first and as the last of
the answer (BERT's reader, Devlin et al. 2018). Left out: answers that are not a piece of the passage (yes and no,
counting), and writing an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from transformer_lib.checks import require, require_numbers, require_positive
from transformer_lib.config import ModelConfig
from transformer_lib.contract import checked
from transformer_lib.data.batching import BucketedBatches
from transformer_lib.data.examples import Question
from transformer_lib.device import check_device
from transformer_lib.models.classifiers import SpanFinder
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import SpanHead, SpanScores
from transformer_lib.tasks.answer_scores import best_threshold as best_threshold
from transformer_lib.tasks.answer_scores import f1_of
from transformer_lib.tasks.answer_scores import score_answers as score_answers
from transformer_lib.tasks.calibration import Platt, read_platt
from transformer_lib.tasks.encoder import read_headed
from transformer_lib.tasks.metrics import Language
from transformer_lib.tasks.readable import fault_of_text
from transformer_lib.tasks.reading import BEHIND, Example, Layout, ReadingBatch, Window
from transformer_lib.tasks.retrieval import BM25, ranked
from transformer_lib.tasks.saved import load_any_tokenizer, load_config, load_model, read_about, save_model
from transformer_lib.text.stored import AnyTokenizer
from transformer_lib.training.loss import LossSum, token_loss

TASK = "question answering"
OWN_FIELDS = ("max_answer", "overlap", "threshold", "language")
CALIBRATION = "calibration"  # in `about.json`, of an answerer that has one
ALWAYS = -1e9  # a threshold that no margin is below


# The model and its training -------------------------------------------------------------------------------------------


@checked
class Reader(nn.Module):
    """An encoder and a span head; -inf forbids every token but the passage's and the first, which means no answer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.head = SpanHead(config.d_model)

    def forward(self, batch: ReadingBatch) -> SpanScores:
        """Scores of each token; with two segments the config tells the passage apart, with three shared tokens too."""
        batch, kinds = ReadingBatch(*batch), self.config.segments
        behind = batch.segments == BEHIND
        segments = batch.segments.masked_fill(behind, 1).clamp(max=kinds - 1) if kinds else None
        x = self.encoder(batch.tokens, valid=batch.valid, segments=segments)
        allowed = (batch.segments > 0) & ~behind
        allowed[:, 0] = True
        return self.head(x, valid=allowed)


@checked
def reading_batches(
    layout: Layout, questions: Sequence[Question], *, token_budget: int, seed: int, epochs: int | None = None
) -> BucketedBatches[ReadingBatch]:
    """Shuffled batches of windows of like length, each of at most `token_budget` tokens with its padding."""
    examples = layout.examples(questions)
    lengths = [len(example.window.tokens) for example in examples]
    collate = lambda rows: layout.collate([examples[i] for i in rows])  # noqa: E731
    return BucketedBatches(lengths, collate, token_budget=token_budget, seed=seed, epochs=epochs)


@checked
def reading_loss(reader: nn.Module, batch: ReadingBatch) -> LossSum:
    """The sum of -log p(start) and -log p(end), which counts as two."""
    batch = _moved(batch, reader)
    return token_loss(torch.stack(reader(batch), dim=1), batch.targets)


def _moved(batch: ReadingBatch, reader: nn.Module) -> ReadingBatch:
    device = next(reader.parameters()).device
    return ReadingBatch(*(part.to(device) for part in ReadingBatch(*batch)))


# The answer -----------------------------------------------------------------------------------------------------------


@checked
class BestSpan(NamedTuple):
    """The likeliest span of each row, both ends included, and its score."""

    start: Int[Tensor, " batch"]
    end: Int[Tensor, " batch"]
    score: Float[Tensor, " batch"]


@checked
def best_span(scores: SpanScores, max_answer: int) -> BestSpan:
    """The start i and end j with the highest start_i + end_j, where i <= j < i + max_answer.

    For each end the best start lies among the `max_answer` tokens up to it: a sliding maximum, so that the work is
    time * max_answer at most, instead of time^2. A row of -inf gives the score -inf.
    """
    require_positive(max_answer=max_answer)
    scores = SpanScores(*scores)
    width = min(max_answer, scores.start.shape[-1])
    before = F.pad(scores.start, (width - 1, 0), value=-torch.inf)
    start, place = F.max_pool1d(before[:, None], width, stride=1, return_indices=True)
    score, end = (start[:, 0] + scores.end).max(dim=-1)
    first = place[:, 0].gather(-1, end[:, None])[:, 0] - (width - 1)
    return BestSpan(first.clamp(min=0), end, score)


@checked
class AnswerFound(NamedTuple):
    """The characters `start` to `end - 1` of passage number `passage`; or nothing, "" and no passage.

    `score` is by how much the best span's score exceeds that of no answer in its window, which is the logarithm of how
    many times likelier the reader thinks it. `probability`, of a calibrated answerer, is how likely the best span is
    right, whether it is given or withheld.
    """

    text: str
    score: float
    passage: int | None
    start: int
    end: int
    probability: float | None = None

    @property
    def abstained(self) -> bool:
        return self.passage is None


@checked
@dataclass(frozen=True)
class QuestionAnswerer:
    """Reads passages for the answer to a question, and abstains unless the best span's score is above `threshold`.

    `max_answer` is the longest answer in tokens, `overlap` what the windows on a long passage share (see `Layout`).
    `calibration` makes probabilities of the scores (`answer_calibration`).
    """

    reader: Reader
    tokenizer: AnyTokenizer
    max_answer: int = 30
    overlap: int | None = None
    threshold: float = 0.0
    language: Language = "en"
    calibration: Platt | None = None

    def __post_init__(self) -> None:
        require_positive(max_answer=self.max_answer)
        require_numbers(threshold=self.threshold)
        size, found = self.reader.config.vocab_size, self.tokenizer.vocab_size
        # A published table may have more rows than tokens.
        fits = found == size or (found < size and bool(self.tokenizer.frame.between))
        require(fits, "tokenizer", f"must have {size} tokens", found)
        self.layout  # noqa: B018  it checks the rest

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.tokenizer, max_length=self.reader.config.max_length, overlap=self.overlap)

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "QuestionAnswerer":
        """The answerer that `save` wrote; `ValueError` for anything else."""
        device = check_device(device)
        calibrated = [CALIBRATION] if CALIBRATION in read_about(folder, task=TASK) else []
        about = read_about(folder, task=TASK, own_fields=[*OWN_FIELDS, *calibrated])
        config = load_config(folder)
        require(isinstance(config, ModelConfig), "config", "must be a ModelConfig", type(config).__name__)
        reader = load_model(folder, lambda: Reader(config), device=device)
        tokenizer = load_any_tokenizer(folder)
        try:
            platt = read_platt(about[CALIBRATION]) if calibrated else None
            return cls(reader, tokenizer, **{name: about[name] for name in OWN_FIELDS}, calibration=platt)
        except (TypeError, ValueError) as error:  # the file is at fault, not the caller
            raise ValueError(f"{folder}: {error}") from error

    @classmethod
    def from_hf(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "QuestionAnswerer":
        """A span finder of Hugging Face's; it always answers, since its folder does not say when to abstain."""
        finder, tokenizer = read_headed(folder, device=device)
        rule = "must hold a ...ForQuestionAnswering"
        require(isinstance(finder, SpanFinder), str(folder), rule, type(finder).__name__)
        assert isinstance(finder, SpanFinder)
        reader = Reader(finder.config).to(finder.head.to_scores.weight.device)
        reader.load_state_dict(finder.state_dict())
        return cls(reader.eval(), tokenizer, threshold=ALWAYS)

    def save(
        self,
        folder: str | Path,
        *,
        evaluation: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write the new folder `folder` (see `saved.py`)."""
        own = {name: getattr(self, name) for name in OWN_FIELDS}
        if self.calibration is not None:
            own[CALIBRATION] = self.calibration._asdict()
        about = own | {"evaluation": evaluation or {}, "record": record or {}}
        save_model(folder, self.reader, self.tokenizer, task=TASK, about=about, dtype=dtype)

    def __call__(self, question: str, passages: Sequence[str], *, retrieve: int | None = None) -> AnswerFound:
        """The best answer that any of the passages gives; only the best `retrieve` by BM25 are read (None: all)."""
        require(len(passages) > 0, "passages", "must not be empty", passages)
        numbers = ranked(BM25(passages).scores(question), retrieve)
        found = self.best([(question, passages[number]) for number in numbers])
        number, best = max(zip(numbers, found, strict=True), key=lambda pair: pair[1].score)
        return self._decide(best._replace(passage=number))

    def unreadable(self, questions: Sequence[str]) -> dict[int, str]:
        """By number from 0, the questions that cannot be read whatever the passage, with the reason.

        They are empty, no text, or so long that less than half of the reader's length is left to the passage.
        """
        found = ((number, self._fault(question)) for number, question in enumerate(questions))
        return {number: fault for number, fault in found if fault}

    def _fault(self, question: str) -> str | None:
        fault = fault_of_text(question, tokens=self.reader.config.max_length)
        if fault is None:
            try:
                self.layout.windows(question, self.layout.pieces("any"))
            except ValueError as error:
                fault = str(error).removeprefix("question ")
        return fault

    def answer_all(self, questions: Sequence[Question]) -> list[AnswerFound]:
        """Each question's answer from its own passage, or abstention."""
        return [self._decide(found) for found in self.best([(q.question, q.context) for q in questions])]

    def evaluate(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Exact match and F1, 0 to 100, over all questions and by whether there is an answer (`score_answers`)."""
        return score_answers([found.text for found in self.answer_all(questions)], questions, language=self.language)

    def with_threshold_from(self, questions: Sequence[Question]) -> "QuestionAnswerer":
        """This answerer with the threshold that gives the best F1 on these questions (not those of the test)."""
        require(len(questions) > 0, "questions", "must not be empty", questions)
        found = self.best([(q.question, q.context) for q in questions])
        gains = [
            f1_of(best.text, q, self.language) - f1_of("", q, self.language)
            for best, q in zip(found, questions, strict=True)
        ]
        return replace(self, threshold=best_threshold([best.score for best in found], gains))

    @torch.no_grad()
    def best(self, pairs: Sequence[tuple[str, str]], *, token_budget: int = 8192) -> list[AnswerFound]:
        """The best span for each question and its passage, whatever its score; of a long passage, in any window."""
        require_positive(token_budget=token_budget)
        texts = [self.layout.pieces(passage) for _, passage in pairs]
        windows = [
            (number, window)
            for number, (question, _) in enumerate(pairs)
            for window in self.layout.windows(question, texts[number])
        ]
        windows.sort(key=lambda pair: len(pair[1].tokens), reverse=True)
        found: dict[int, AnswerFound] = {}
        while windows:
            count = max(1, token_budget // len(windows[0][1].tokens))
            part, windows = windows[:count], windows[count:]
            read = self._read([window for _, window in part])
            for (number, window), start, end, margin in zip(part, *read, strict=True):
                if number not in found or margin > found[number].score:
                    shift = window.first - window.body
                    start, end = texts[number].characters(start + shift, end + shift)
                    found[number] = AnswerFound(texts[number].text[start:end], margin, 0, start, end)
        return [found[number] for number in range(len(pairs))]

    def _read(self, windows: Sequence[Window]) -> tuple[list[int], list[int], list[float]]:
        """For each window the first and the last token of its best span, and by how much that exceeds no answer."""
        batch = self.layout.collate([Example(window, 0, 0) for window in windows])
        was_training = self.reader.training
        start, end = self.reader.eval()(_moved(batch, self.reader))
        self.reader.train(was_training)
        nothing = start[:, 0] + end[:, 0]
        start[:, 0] = -torch.inf
        best = best_span(SpanScores(start, end), self.max_answer)
        margin = best.score - nothing
        require(bool(margin.isfinite().all()), "reader", "must give finite scores", margin.tolist())
        return best.start.tolist(), best.end.tolist(), margin.tolist()

    def _decide(self, best: AnswerFound) -> AnswerFound:
        if self.calibration is not None:
            best = best._replace(probability=self.calibration.probability(best.score))
        if best.text and best.score > self.threshold:  # white space alone is no answer
            return best
        return AnswerFound("", best.score, None, 0, 0, best.probability)
