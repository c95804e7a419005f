"""Models that were really trained, as their authors left them: old configs, and weights of torch.save."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from tests.interop.pretrained import unpack
from tests.interop.wide import Float64
from tests.oracles import close, rejects
from transformer_lib.interop.huggingface import from_hf, to_hf
from transformer_lib.models import Encoder, MaskedLM, SequenceClassifier

REACTIONS = (
    "C C ( = O ) O . O C C >> C C ( = O ) O C C",
    "O = C ( O ) c 1 c c c c c 1 . N C C >> O = C ( N C C ) c 1 c c c c c 1",
)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    unpack(folder)
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Each reaction as often as it has tokens, one of which is masked; the tokens that stood there; the real tokens."""
    ids = {token: i for i, token in enumerate((folder / "bert_pretrained" / "vocab.txt").read_text().splitlines())}
    texts = [torch.tensor([ids[word] for word in f"[CLS] {text} [SEP]".split()]) for text in REACTIONS]
    places = [(text, i) for text in texts for i in range(1, len(text) - 1)]
    masked = [text.masked_fill(torch.arange(len(text)) == i, ids["[MASK]"]) for text, i in places]
    tokens = torch.nn.utils.rnn.pad_sequence(masked, batch_first=True, padding_value=ids["[PAD]"])
    return tokens, torch.cat([text[1:-1] for text in texts]), tokens != ids["[PAD]"]


def theirs(kind: Any, folder: Path, dtype: torch.dtype, **options: Any) -> hf.PreTrainedModel:
    return kind.from_pretrained(folder, **options).to(dtype).eval()


def same(found: Tensor, expected: Tensor) -> None:
    """Judged by the largest number, which is 16: each is a sum over twelve layers of what is as large."""
    size = expected.abs().max()
    close(found / size, expected / size)


def their_output(model: hf.PreTrainedModel, tokens: Tensor, valid: Tensor) -> Tensor:
    with torch.no_grad(), Float64() if model.dtype is torch.float64 else nullcontext():
        return model(tokens, attention_mask=valid.long())[0]


@types
def test_masked_tokens_are_predicted_alike(
    dtype: torch.dtype, folder: Path, rows: tuple[Tensor, Tensor, Tensor], tmp_path: Path
) -> None:
    tokens, stood, valid = rows
    mine = from_hf(folder / "bert_pretrained", dtype=dtype)
    assert isinstance(mine, MaskedLM)
    with torch.no_grad():
        found = mine(tokens, valid=valid)
    expected = their_output(theirs(hf.BertForMaskedLM, folder / "bert_pretrained", dtype), tokens, valid)
    same(found[valid], expected[valid])
    where = (torch.arange(len(tokens)), (tokens == tokens[0, 1]).int().argmax(dim=1))
    assert torch.equal(found[where].argmax(dim=-1), expected[where].argmax(dim=-1))
    assert (found[where].argmax(dim=-1) == stood).double().mean() > 0.7  # it has learnt what a reaction is
    to_hf(mine, tmp_path / "model")
    same(their_output(theirs(hf.BertForMaskedLM, tmp_path / "model", dtype), tokens, valid)[valid], expected[valid])


def test_texts_are_labelled_alike(folder: Path, rows: tuple[Tensor, Tensor, Tensor]) -> None:
    """Its config names two labels, and counts fifty."""
    tokens, _, valid = rows
    mine = from_hf(folder / "bert_ft_10k_25s", dtype=torch.float64)
    assert isinstance(mine, SequenceClassifier) and len(mine.labels) == 50
    config = hf.BertConfig.from_pretrained(folder / "bert_ft_10k_25s", num_labels=50)
    with torch.no_grad():
        found = mine(tokens, valid=valid)
    model = theirs(hf.BertForSequenceClassification, folder / "bert_ft_10k_25s", torch.float64, config=config)
    same(found, their_output(model, tokens, valid))


def test_vectors_are_the_same(folder: Path, rows: tuple[Tensor, Tensor, Tensor]) -> None:
    """A bare encoder with names of its own; its pooler has to be left out by name."""
    tokens, _, valid = rows
    with rejects("bert.pooler.dense.weight is unknown"):
        from_hf(folder / "bert_ft")
    mine = from_hf(folder / "bert_ft", dtype=torch.float64, drop=["bert.pooler.*"])
    assert isinstance(mine, Encoder)
    with torch.no_grad():
        found = mine(tokens, valid=valid)
    same(found[valid], their_output(theirs(hf.BertModel, folder / "bert_ft", torch.float64), tokens, valid)[valid])
