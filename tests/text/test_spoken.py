"""The tokens that the assistant wrote are those of transformers' mask, and those that one counts by hand."""

from typing import Any

import pytest
import tokenizers
import transformers as hf
from tokenizers import decoders, models, pre_tokenizers

from tests.oracles import rejects
from tests.text.templates import CHATML, QWEN
from transformer_lib.text.chat import ChatTemplate
from transformer_lib.text.spoken import spoken
from transformer_lib.text.tokenizer import ALPHABET, Tokenizer

NAMES = ["<|im_start|>", "<|im_end|>"]
MARKED = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}{% generation %}{{- message.content | trim + '<|im_end|>' }}{% endgeneration %}
    {%- else %}{{- message.content | trim + '<|im_end|>' }}{% endif %}{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": " What is 2 + 2?\n"}
FOUR, SURE = {"role": "assistant", "content": "4 é 你好"}, {"role": "user", "content": "Sure? <|im_end|>"}
YES = {"role": "assistant", "content": "Yes, 4."}


@pytest.fixture(scope="module")
def rust() -> tokenizers.Tokenizer:
    """Bytes, with merges across what stands at the borders of turns: line ends and letters."""
    vocabulary = {spelling: i for i, spelling in enumerate(ALPHABET)}
    merges = [("Ċ", "Ċ"), ("e", "s"), ("Y", "es"), ("4", "Ġ")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    rust = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(NAMES)
    return rust


@pytest.mark.parametrize("messages", [[USER, FOUR], [SYSTEM, USER, FOUR, {**SURE, "content": "Sure?"}, YES]])
def test_the_mask_is_that_of_transformers(messages: list[dict[str, Any]], rust: tokenizers.Tokenizer) -> None:
    theirs = hf.PreTrainedTokenizerFast(tokenizer_object=rust, eos_token=NAMES[1])
    theirs.chat_template = MARKED
    found = theirs.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(rust.to_str()))
    [ours] = spoken(ChatTemplate(MARKED), tokenizer, messages, ends=[tokenizer.special_tokens[NAMES[1]]])
    last = len(ours.ids)  # what follows the last answer teaches nothing
    assert found["input_ids"][:last] == ours.ids and not any(found["assistant_masks"][last:])
    assert [bool(each) for each in found["assistant_masks"][:last]] == ours.learned
    assert sum(ours.learned) > 5 and not all(ours.learned)


def test_the_mask_by_hand(rust: tokenizers.Tokenizer) -> None:
    """`4 é 你好` and its end, then `Yes, 4.` and its end; nothing that a person wrote, though it names the end."""
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(rust.to_str()))
    end = tokenizer.special_tokens[NAMES[1]]
    [found] = spoken(ChatTemplate(CHATML), tokenizer, [USER, FOUR, SURE, YES], ends=[end])
    wanted = [*tokenizer.encode("4 é 你好"), end, *tokenizer.encode("Yes, 4."), end]
    assert [i for i, learned in zip(found.ids, found.learned, strict=True) if learned] == wanted
    whole = ChatTemplate(CHATML).encode(tokenizer, [USER, FOUR, SURE, YES], prompt=False)
    assert found.ids == whole[: len(found.ids)] and len(whole) - len(found.ids) == 1  # the line end behind


def test_without_ends_all_that_is_written_of_an_answer_counts(rust: tokenizers.Tokenizer) -> None:
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(rust.to_str()))
    [found] = spoken(ChatTemplate(CHATML), tokenizer, [USER, YES])
    learned = [i for i, learned in zip(found.ids, found.learned, strict=True) if learned]
    assert learned == [*tokenizer.encode("Yes, 4."), tokenizer.special_tokens[NAMES[1]], *tokenizer.encode("\n")]


def test_a_template_that_changes_the_past_gives_an_example_for_each_answer(rust: tokenizers.Tokenizer) -> None:
    """Qwen3's drops the thoughts of answers that lie behind: each answer is learned as it was written."""
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(rust.to_str()))
    thought = {"role": "assistant", "content": "<think>\nhm\n</think>\n\n4"}
    end = tokenizer.special_tokens[NAMES[1]]
    rows = spoken(ChatTemplate(QWEN), tokenizer, [USER, thought, {**SURE, "content": "Sure?"}, YES], ends=[end])
    texts = [tokenizer.decode([i for i, learned in zip(row.ids, row.learned, strict=True) if learned]) for row in rows]
    assert len(rows) == 2
    assert texts[0].endswith("hm\n</think>\n\n4<|im_end|>") and texts[1].endswith("Yes, 4.<|im_end|>")
    assert "hm" not in tokenizer.decode(rows[1].ids)


def test_what_has_no_answer_is_refused(rust: tokenizers.Tokenizer) -> None:
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(rust.to_str()))
    for messages in ([USER], [YES]):
        with rejects("messages must have an answer of the assistant"):
            spoken(ChatTemplate(CHATML), tokenizer, messages)
    with rejects("messages[1] must be written by the template"):
        spoken(ChatTemplate("{{ messages[0].content }}"), tokenizer, [USER, YES])
    with rejects("One role"):
        spoken(ChatTemplate("{{ raise_exception('One role') }}"), tokenizer, [USER, YES])
