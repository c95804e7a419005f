"""What a folder says about writing, beside the `generate` of transformers."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from tests.interop.families import CASES, TOKENS
from tests.oracles import integers, rejects
from transformer_lib.generation import Conditioned, beam_search, generate
from transformer_lib.interop.generation_config import ASIDE, FIELDS, NEUTRAL, READ, GenerationSettings, read_generation
from transformer_lib.interop.huggingface import from_hf

CONFIG, FILE = "config.json", "generation_config.json"
NEW = 12


def put(folder: Path, name: str, **fields: Any) -> None:
    """Change fields of a file; None takes one out."""
    file = folder / name
    whole = (json.loads(file.read_text()) if file.exists() else {}) | fields
    file.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def folder_with(tmp_path: Path, *, config: dict[str, Any] | None = None, **fields: Any) -> Path:
    """A folder with nothing but the two files."""
    tmp_path.mkdir(exist_ok=True)
    put(tmp_path, CONFIG, **({"model_type": "llama", "vocab_size": 13} | (config or {})))
    put(tmp_path, FILE, **fields)
    return tmp_path


def theirs_and_ours(folder: Path) -> tuple[list[list[int]], list[list[int]]]:
    """What both write greedily after each prompt, up to and with the first token that ends a text."""
    theirs, mine = hf.AutoModelForCausalLM.from_pretrained(folder).eval(), from_hf(folder)
    settings = read_generation(folder)
    options: dict[str, Any] = {"attention_mask": torch.ones_like(TOKENS), "max_new_tokens": NEW, "do_sample": False}
    written = theirs.generate(TOKENS, pad_token_id=0, **options)[:, TOKENS.shape[1] :].tolist()
    ends = [next((i + 1 for i, token in enumerate(row) if token in settings.stop_ids), len(row)) for row in written]
    found = generate(mine, TOKENS, max_new_tokens=NEW, stop_ids=settings.stop_ids).rows()
    return [row[:end] for row, end in zip(written, ends, strict=True)], found


def test_a_text_ends_where_theirs_does(tmp_path: Path) -> None:
    """A number or a list, in generation_config.json, or, without that file, in config.json."""
    model = CASES["gpt2"].build(torch.float32)
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    model.save_pretrained(tmp_path)
    (tmp_path / FILE).unlink(missing_ok=True)
    put(tmp_path, CONFIG, eos_token_id=None)
    whole, found = theirs_and_ours(tmp_path)
    assert found == whole and {len(row) for row in found} == {NEW}
    first, second = whole[0][3], whole[1][5]
    for name, stops in ((CONFIG, first), (CONFIG, [first, second]), (FILE, second), (FILE, [second])):
        put(tmp_path, name, eos_token_id=stops)  # from the third on, config.json says another thing and is not asked
        expected, found = theirs_and_ours(tmp_path)
        assert found == expected != whole
        assert read_generation(tmp_path).stop_ids == tuple(sorted(stops if isinstance(stops, list) else [stops]))


@pytest.mark.parametrize("beams", [1, 4])
def test_tokens_are_forbidden_and_forced_as_there(beams: int, tmp_path: Path) -> None:
    """Marian's padding, which begins a text and is forbidden in it; here nothing has a higher logit."""
    theirs = CASES["marian"].build(torch.float32)
    with torch.no_grad():
        theirs.final_logits_bias[0, 0] = 9.0
    theirs.generation_config = hf.GenerationConfig(
        bad_words_ids=[[0]],
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
        forced_bos_token_id=6,
        forced_eos_token_id=1,
    )
    theirs.save_pretrained(tmp_path)
    theirs, mine, settings = theirs.eval(), from_hf(tmp_path), read_generation(tmp_path)
    assert settings == GenerationSettings(stop_ids=(1,), forbidden_ids=(0,), start_id=0, first_id=6, last_id=1)
    source = integers(13, 10, 7, seed=3)
    with torch.inference_mode():
        first = theirs(input_ids=source, decoder_input_ids=torch.zeros(10, 1, dtype=torch.long)).logits
    assert (first.argmax(dim=-1) == 0).all()
    written = theirs.generate(source, max_new_tokens=8, num_beams=beams, early_stopping=beams > 1, do_sample=False)
    start = torch.full((10, 1), settings.start_id)
    found = beam_search(
        Conditioned(mine, source),
        start,
        beams=beams,
        max_new_tokens=8,
        stop_ids=settings.stop_ids,
        forbidden_ids=settings.forbidden_ids,
        forced_ids=settings.forced_ids(8),
    ).best()
    expected = [row[1 : row.index(1) + 1 if 1 in row else None] for row in written.tolist()]
    expected = [[token for token in row if token != 0] for row in expected]  # which pads what is shorter
    assert found == expected and all(found)


def test_everything_that_theirs_knows_is_accounted_for(tmp_path: Path) -> None:
    """Each field has one treatment, and at its default it does nothing."""
    known = set(vars(hf.GenerationConfig()))
    assert known <= FIELDS, known - FIELDS
    aside = [name for names in ASIDE.values() for name in names]
    assert len(FIELDS) == len(READ) + len(NEUTRAL) + len(set(aside)) == len(READ) + len(NEUTRAL) + len(aside)
    defaults = hf.GenerationConfig._get_default_generation_params()
    assert set(defaults) <= FIELDS
    assert read_generation(folder_with(tmp_path / "some", **defaults)) == GenerationSettings()
    everything = json.loads(hf.GenerationConfig(do_sample=True, top_k=20, temperature=0.6).to_json_string())
    assert read_generation(folder_with(tmp_path / "more", **everything)) == GenerationSettings()


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_what_changes_the_text_is_refused(name: str, tmp_path: Path) -> None:
    for value in NEUTRAL[name]:
        read_generation(folder_with(tmp_path / "neutral", **{name: value}))
    for value in (1.25, True, "strange", [[1]]):
        if (name, value) == ("token_healing", False):
            continue
        folder = folder_with(tmp_path / "other", **{name: value})
        with rejects(str(folder / FILE), name, "ignore=[...]"):
            read_generation(folder)
        assert read_generation(folder, ignore=[name]) == GenerationSettings()


def test_ids_are_passed_on(tmp_path: Path) -> None:
    two_sided = {"is_encoder_decoder": True}
    fields: dict[str, Any] = {
        "eos_token_id": [2, 1, 2],
        "bad_words_ids": [[5], [1], [4]],  # of which transformers lets the one through that ends a text
        "suppress_tokens": [7, 2],
        "decoder_start_token_id": 3,
        "forced_bos_token_id": 6,
        "forced_eos_token_id": 1,
    }
    expected = GenerationSettings(stop_ids=(1, 2), forbidden_ids=(2, 4, 5, 7), start_id=3, first_id=6, last_id=1)
    assert read_generation(folder_with(tmp_path / "file", config=two_sided, **fields)) == expected
    assert read_generation(folder_with(tmp_path / "marian", config={"model_type": "marian"}, **fields)) == expected
    old = folder_with(tmp_path / "old", config=two_sided | fields)
    (old / FILE).unlink()
    assert read_generation(old) == expected
    assert expected.forced_ids(5) == {0: 6, 4: 1} and expected.forced_ids(1) == {0: 1}
    assert GenerationSettings(first_id=6).forced_ids(1) == {0: 6} and GenerationSettings().forced_ids(3) == {}
    with rejects("forced_bos_token_id must be null, got 6; forced_eos_token_id must be null, got 1"):
        read_generation(folder_with(tmp_path / "decoder", **fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"eos_token_id": 13}, ["eos_token_id must be made of ids of tokens below 13, got 13"]),
        ({"eos_token_id": -1}, ["eos_token_id", "got -1"]),
        ({"eos_token_id": True}, ["eos_token_id", "got True"]),
        ({"eos_token_id": "</s>"}, ["eos_token_id", "got '</s>'"]),
        ({"eos_token_id": [1, [2]]}, ["eos_token_id", "got [1, [2]]"]),
        ({"bad_words_ids": [[1, 2]]}, ["bad_words_ids must be a list of words of one token, got [[1, 2]]"]),
        ({"bad_words_ids": [3]}, ["bad_words_ids must be a list of words"]),
        ({"bad_words_ids": [[99]]}, ["bad_words_ids must be made of ids of tokens below 13"]),
        ({"suppress_tokens": {"a": 1}}, ["suppress_tokens"]),
        ({"decoder_start_token_id": [1, 2]}, ["decoder_start_token_id"]),
        ({"steering": 3, "eos_token_id": 13}, ["steering is not known, got 3", "eos_token_id"]),
    ],
)
def test_what_is_wrong_is_listed(fields: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with rejects("cannot be honoured", *words):
        read_generation(folder_with(tmp_path, **fields))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with rejects("folder must hold config.json"):
        read_generation(tmp_path)
    folder = folder_with(tmp_path)
    (folder / FILE).write_text("[1]")
    with rejects(f"{FILE} must be a JSON object, got [1]"):
        read_generation(folder)
    (folder / FILE).write_text('{"eos_token_id": NaN}')
    with rejects(f"{FILE} must be JSON", "NaN"):
        read_generation(folder)
    (folder / FILE).unlink()
    os.mkfifo(folder / FILE)
    with rejects(f"folder must hold {FILE}, as a regular file"):
        read_generation(folder)
