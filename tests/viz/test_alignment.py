"""Weights from word to word: against the weights of the tokens, added up by hand."""

import pytest
import torch

from transformer_lib.config import AttentionConfig, ModelConfig, Rope, Seq2SeqConfig, SwiGlu
from transformer_lib.data.examples import Pair
from transformer_lib.models import Seq2Seq
from transformer_lib.tasks.translation import Translator, train_tokenizer
from transformer_lib.viz import record_attention
from transformer_lib.viz.alignment import word_weights

PAIR = Pair("Two dogs ran.", "两只狗跑了。")


@pytest.fixture(scope="module")
def translator() -> Translator:
    torch.manual_seed(0)
    tokenizer = train_tokenizer([PAIR, Pair("dogs ran", "狗跑")], 271)
    side = ModelConfig(
        vocab_size=271,
        d_model=16,
        num_layers=2,
        max_length=32,
        attention=AttentionConfig(num_heads=2),
        feedforward=SwiGlu(d_ff=16),
        positions=Rope(),
    )
    return Translator(Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)).eval(), tokenizer)


def test_tokens_of_a_word_are_added_up_and_averaged(translator: Translator) -> None:
    source, target = ["Two", "dogs", "ran", "."], ["两", "只", "狗", "跑", "了", "。"]
    found = word_weights(translator, PAIR, source, target)
    batch = translator.batch([PAIR])
    with record_attention(translator.model) as looks, torch.no_grad():
        translator.model(batch.source, batch.target, source_valid=batch.source_valid)
    cross = {look.name: look.weights[0] for look in looks if "cross" in look.name}
    assert found.keys() == cross.keys() and len(found) == 2
    spelling = translator.tokenizer.to_bpe().vocabulary

    def owners(ids: list[int], words: list[bytes]) -> list[set[int]]:
        # For each token the words whose bytes it has.
        owner = [i for i, word in enumerate(words) for _ in word]
        ends = torch.tensor([len(spelling[i]) for i in ids]).cumsum(0).tolist()
        return [set(owner[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    read = owners(batch.source[0, :-1].tolist(), [b" Two", b" dogs", b" ran", b"."])
    write = owners(batch.labels[0, :-1].tolist(), [(" " * (i == 0) + w).encode() for i, w in enumerate(target)])
    for name, weights in cross.items():
        for j in range(len(target)):
            rows = [t for t, words in enumerate(write) if j in words]
            for i in range(len(source)):
                columns = [s for s, words in enumerate(read) if i in words]
                wanted = weights[:, rows][:, :, columns].sum(2).mean(1)
                torch.testing.assert_close(found[name][:, j, i], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (["Two", "cats", "ran", "."], r"^source\[1\] must be the next word"),
        (["Two", "ran", "."], r"^source\[1\] must be the next word"),
        (["Two", "dogs"], r"^source must be all words"),
    ],
)
def test_other_words_are_refused(translator: Translator, source: list[str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        word_weights(translator, PAIR, source, ["两只狗跑了。"])
