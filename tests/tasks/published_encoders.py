"""Small encoders of Hugging Face's with random weights, as the folders that transformers reads: one of each family."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch
import transformers as hf

from tests.interop.wide import Float64
from tests.oracles import randomise
from tests.text.published import put

TEXTS = (
    "Ada Lovelace wrote notes in London, and Zoë Müller read them in Zürich.",
    "The engine of 1843 was never built; its plans (all 25,000 of them) were.",
    "Über den Flüssen fährt naïve façade 東京 Москва café — it's well-known.",
)
KINDS = ("bert", "distilbert", "roberta", "xlm-roberta")
CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
LENGTH = 160  # tokens that such an encoder reads
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@cache
def _vocabulary(kind: str) -> dict[str, Any]:
    if kind in ("bert", "distilbert"):
        rust = tokenizers.BertWordPieceTokenizer()
        rust.train_from_iterator(TEXTS, vocab_size=150, show_progress=False)
        words = sorted(rust.get_vocab(), key=rust.get_vocab().__getitem__)
        return {"vocab__txt": "\n".join(words).encode()}
    if kind == "roberta":
        byte = tokenizers.ByteLevelBPETokenizer()
        byte.train_from_iterator(TEXTS * 2, vocab_size=320, show_progress=False, special_tokens=SPECIAL)
        vocabulary = byte.get_vocab()
        merges = [" ".join(pair) for pair in json.loads(byte.to_str())["model"]["merges"]]
        return {"vocab__json": vocabulary, "merges__txt": "\n".join(merges).encode()}
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=out, model_type="unigram", vocab_size=80, minloglevel=2
    )
    return {"sentencepiece__bpe__model": out.getvalue()}


def tokenizer_folder(folder: Path, kind: str) -> Path:
    """A folder of the tokenizer alone."""
    fields: dict[str, Any] = {"tokenizer_class": f"{CLASSES[kind]}Tokenizer"}
    if kind == "roberta":  # whose mask has the space before it
        mask = {"content": "<mask>", "special": True, "lstrip": True, "rstrip": False, "normalized": False}
        fields["added_tokens_decoder"] = {"4": mask | {"single_word": False}}
    return put(folder, **_vocabulary(kind), tokenizer_config__json=fields)


def their_tokenizer(folder: Path, kind: str, **options: Any) -> Any:
    """That of transformers; it cuts words only with a space in front, if it is RoBERTa's."""
    options |= {"add_prefix_space": True} if kind == "roberta" and options.pop("words", False) else {}
    options.pop("words", None)
    return getattr(hf, f"{CLASSES[kind]}Tokenizer").from_pretrained(folder, **options)


def encoder_folder(folder: Path, kind: str, head: str = "ForMaskedLM", **settings: Any) -> Any:
    """Write a folder with tokenizer and weights, and give the model in float64."""
    tokenizer_folder(folder, kind)
    size = len(their_tokenizer(folder, kind))
    name = CLASSES[kind] + head
    small: dict[str, Any] = {"vocab_size": size, "max_position_embeddings": LENGTH + 2 * ("roberta" in kind)}
    if kind == "distilbert":
        small |= {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 4}
    else:
        small |= {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
        small |= {"type_vocab_size": 1 if "roberta" in kind else 2}
    model_class = getattr(hf, name)
    with torch.no_grad(), Float64():
        torch.manual_seed(0)
        model = randomise(model_class(model_class.config_class(**small | settings)))
    for weight in model.parameters():
        weight.data = weight.data.float().double()  # as float32 has them, in which such a folder is read
    model.save_pretrained(folder)
    return model
