"""Pre-trained encoders: guesses against transformers, folders that come back, and what they refuse."""

from pathlib import Path

import pytest
import torch

import transformer_lib
from tests.interop.wide import Float64
from tests.oracles import close, rejects
from tests.tasks.published_encoders import KINDS, encoder_folder, their_tokenizer
from transformer_lib.config import AttentionConfig, ModelConfig, Rope, SwiGlu
from transformer_lib.models.encoder import Encoder
from transformer_lib.models.heads import MaskedLM
from transformer_lib.tasks.encoder import MASK, PretrainedEncoder, encoder_of
from transformer_lib.text.bpe import BPE
from transformer_lib.text.tokenizer import Tokenizer

BYTES = Tokenizer.from_bpe(BPE([], [MASK]))
CONFIG = ModelConfig(
    vocab_size=257,
    d_model=16,
    num_layers=1,
    max_length=24,
    attention=AttentionConfig(num_heads=2),
    feedforward=SwiGlu(d_ff=16),
    positions=Rope(),
)


@pytest.mark.parametrize("kind", KINDS)
def test_guesses_are_transformers(kind: str, tmp_path: Path) -> None:
    theirs = encoder_folder(tmp_path / "folder", kind)
    mine = transformer_lib.load(tmp_path / "folder")
    assert isinstance(mine, PretrainedEncoder) and mine.mask is not None
    mine.model.double()
    text = f"Ada {mine.mask} notes in {mine.mask} London."
    wanted = their_tokenizer(tmp_path / "folder", kind)(text, return_tensors="pt")
    with torch.no_grad(), Float64():
        logits = theirs(**wanted).logits[0]
    places = (wanted["input_ids"][0] == mine.tokenizer.special_tokens[mine.mask]).nonzero()[:, 0]
    expected = logits[places].softmax(-1).topk(3)
    [found] = mine([text], best=3)
    assert len(found) == len(places) == 2
    close(torch.tensor([[guess.probability for guess in row] for row in found], dtype=torch.float64), expected.values)
    first = mine.tokenizer.decode([int(expected.indices[0, 0])]).strip()
    assert found[0][0].text == first


@pytest.mark.parametrize("head", ["Model", "ForPreTraining", "ForSequenceClassification"])
def test_only_the_head_that_guesses_is_kept(head: str, tmp_path: Path) -> None:
    theirs = encoder_folder(tmp_path / "folder", "bert", head)
    mine = PretrainedEncoder.from_hf(tmp_path / "folder")
    assert isinstance(mine.model, MaskedLM) == (head == "ForPreTraining")
    body = theirs if head == "Model" else theirs.bert
    tokens = torch.tensor([[2, 9, 8, 7, 3]])
    with torch.no_grad(), Float64():
        expected = body(tokens).last_hidden_state
    close(mine.encoder.double()(tokens).detach(), expected)


def test_roberta_has_one_segment_whatever_its_table(tmp_path: Path) -> None:
    theirs = encoder_folder(tmp_path / "folder", "roberta", type_vocab_size=2)
    mine = PretrainedEncoder.from_hf(tmp_path / "folder")
    assert mine.model.config.segments == 1
    tokens = torch.tensor([[0, 9, 8, 7, 2]])
    with torch.no_grad(), Float64():
        expected = theirs(tokens).logits
    close(mine.model.double()(tokens).detach(), expected)


@pytest.mark.parametrize("kind", [MaskedLM, Encoder])
def test_a_folder_comes_back(kind: type[MaskedLM] | type[Encoder], tmp_path: Path) -> None:
    torch.manual_seed(0)
    mine = PretrainedEncoder(kind(CONFIG).eval(), BYTES)
    transformer_lib.save(mine, tmp_path / "folder")
    again = transformer_lib.load(tmp_path / "folder")
    assert isinstance(again, PretrainedEncoder) and type(again.model) is kind
    tokens = torch.arange(20)[None]
    assert torch.equal(again.encoder(tokens), mine.encoder(tokens))
    if kind is MaskedLM:
        assert again([f"a {MASK} b"]) == mine([f"a {MASK} b"])


def test_our_mask_has_the_space_before_it() -> None:
    mine = PretrainedEncoder(MaskedLM(CONFIG).eval(), BYTES)
    assert mine._ids(f"a  {MASK} b") == [*b" a", BYTES.special_tokens[MASK], *b" b"]
    assert mine._ids(f"{MASK} b") == [BYTES.special_tokens[MASK], *b" b"]


def test_bad_input() -> None:
    mine = PretrainedEncoder(MaskedLM(CONFIG).eval(), BYTES)
    with rejects("texts[1] must hold", MASK):
        mine([MASK, "nothing hidden"])
    with rejects("texts[0] must have at most 24 tokens, got 31"):
        mine([MASK + "a" * 30])
    with rejects("best"):
        mine([MASK], best=0)
    with rejects("tokenizer", "at most 257", "258"):
        PretrainedEncoder(MaskedLM(CONFIG), Tokenizer.from_bpe(BPE([], [MASK, "<|end|>"])))
    with pytest.raises(TypeError, match="model must be a MaskedLM"):
        PretrainedEncoder(Encoder(CONFIG), BYTES)([MASK])
    with rejects("model must be an encoder"):
        encoder_of(torch.nn.Linear(1, 1))
