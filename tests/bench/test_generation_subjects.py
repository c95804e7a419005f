"""The benchmarks of writing, attention, tokenisers and start-up run, refuse unequal work, and record what they say."""

import math
import sys
from argparse import Namespace

import pytest
import torch

from bench import attention_op, beam, decode, peers, peers_generation, quality, start, tokenise
from bench.harness import OURS
from tests.oracles import unchecked


def options(**given: object) -> Namespace:
    standard = {"rounds": 2, "steps": 1, "threads": 1, "quick": True, "nanogpt": None, "minbpe": None, "peers": None}
    standard["device"] = "cpu"
    return Namespace(**standard | given)


def test_decoding_is_measured_and_the_texts_are_equal() -> None:
    chosen = options(peers=["huggingface-dynamic"])
    (row,) = decode.rows(chosen)
    record = decode.run(row, chosen)
    ours, theirs = record["candidates"][OURS], record["candidates"]["huggingface-dynamic"]
    assert len(ours["cpu_seconds"]) == len(theirs["wall_seconds"]) == 2
    assert theirs["tokens_as_transformer_lib"] == 1
    assert ours["regret"] == theirs["regret"] <= 1e-5
    assert ours["parameters"] == theirs["parameters"] > 100_000
    assert "values" not in ours
    ratio = record["theirs_over_ours"]["huggingface-dynamic"]["cpu_time"]["median"]
    assert [target["is"] for target in record["targets"]] == [ratio, ratio]
    assert record["tokens_per_step"] == 2 * 24
    assert f"{ratio:.3f}" in decode.lines(record)


def test_engines_write_the_same_and_what_is_rounded_is_only_recorded() -> None:
    chosen = options(peers=["ctranslate2-int8", "ctranslate2-llama"])
    (row,) = decode.rows(chosen)
    record = decode.run(row, chosen)
    candidates = record["candidates"]
    assert [name for name, facts in candidates.items() if "failed" in facts] == []
    assert candidates["ctranslate2-llama"]["tokens_as_" + decode.OURS_LLAMA] == 1
    assert 0 <= candidates["ctranslate2-int8"]["tokens_as_transformer_lib"] <= 1
    alike = {name: over["ours"] for name, over in record["like_for_like"].items()}
    assert alike == {"ctranslate2-llama": decode.OURS_LLAMA} and record["best_peer"]["name"] in alike


def test_engines_search_with_the_same_beams() -> None:
    chosen = options(peers=["ctranslate2", "ctranslate2-int8"])
    row, _ = beam.rows(chosen)
    record = beam.run(row, chosen)
    assert [name for name, facts in record["candidates"].items() if "failed" in facts] == []
    assert [*record["like_for_like"]] == ["ctranslate2"]
    assert record["targets"][0]["over"] == "ctranslate2"


@pytest.mark.parametrize("row", quality.rows(options()))
def test_quality_is_measured_without_a_clock(row: str) -> None:
    if row == "translation tatoeba":
        pytest.skip("needs the sentences, which are downloaded")
    with unchecked():  # a symbolic size is no int for beartype
        record = quality.run(row, options())
    candidates, key = record["candidates"], "loss" if row == "language model" else "bleu"
    assert candidates["ctranslate2"][key] == pytest.approx(candidates[OURS][key], abs=1e-4)
    assert candidates["ctranslate2-int8"][key] == pytest.approx(candidates[OURS][key], rel=0.1)
    (target,) = record["targets"]
    assert target["over"] == "ctranslate2-int8" and target["target"] in quality.lines(record)


def test_the_judge_finds_a_token_that_is_not_the_likeliest() -> None:
    task = decode.task_of("quick", 2, "float32")
    _, write = peers_generation.ours()(task)
    greedy = write(peers_generation.prompts_of(task))
    other = greedy.clone()
    other[1, 20] = (other[1, 20] + 1) % task.shape.vocab
    found = peers_generation.regrets(peers.ours, task, {"greedy": greedy.tolist(), "other": other.tolist()}, 1)
    assert found["greedy"] < 1e-5
    assert found["other"] > decode.REGRET["bfloat16"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regret": 1.0}, "below the highest"),
        ({"tokens_as_transformer_lib": 0.9}, "another text from the same weights"),
        ({"parameters": 1100}, "1,100 parameters"),
        ({"turns": [[[1] * 24] * 2, [[2] * 24] * 2]}, "another turn"),
        ({"turns": [[[1] * 23] * 2] * 2}, "tokens, not 2 of 24"),
        ({"regret": math.nan}, "below the highest"),
    ],
)
def test_other_work_in_decoding_is_named(change: dict[str, object], message: str) -> None:
    facts = {"regret": 0.0, "tokens_as_transformer_lib": 1.0, "parameters": 1000}
    turns = [[[1] * 24] * 2] * 2
    task = ("quick", 2, "float32")
    assert decode._difference(facts, turns, facts, task) == ""
    changed = facts | {key: value for key, value in change.items() if key != "turns"}
    assert message in decode._difference(changed, change.get("turns", turns), facts, task)  # type: ignore[arg-type]


def test_targets_are_over_the_default_cache_and_the_best() -> None:
    ratios = {name: {"cpu_time": {"median": value}} for name, value in (("dynamic", 1.6), ("static", 1.2))}
    ratios = {f"huggingface-{name}": over for name, over in ratios.items()} | {"litgpt": {"cpu_time": {"median": 0.5}}}
    first, second = decode.targets(ratios, "cpu_time")
    assert first["target"] == ">= 1.5 x the speed of huggingface-dynamic, batch 1"
    assert (first["is"], first["at_least"]) == (1.6, 1.5)
    assert (second["is"], second["at_least"]) == (1.2, 1.3)
    assert "static" in second["over"]
    *_, engine = decode.targets({"ctranslate2": {"cpu_time": {"median": 0.5}}}, "cpu_time", "16")
    assert (engine["target"], engine["is"]) == (">= 0.75 x the speed of ctranslate2, batch 16", 0.5)
    plain, compiled, best = decode.targets(ratios | {decode.OURS_COMPILED: {"cpu_time": {"median": 0.8}}}, "cpu_time")
    assert plain == first
    assert (compiled["is"], compiled["at_least"]) == (1.6 / 0.8, 1.5)
    assert (best["is"], best["at_least"]) == (1.2 / 0.8, 1.3)


def test_beams_are_measured_and_the_texts_are_equal() -> None:
    chosen = options(peers=["huggingface-dynamic"])
    for row, least in zip(beam.rows(chosen), (1.5, 1.3), strict=True):
        record = beam.run(row, chosen)
        ours, theirs = record["candidates"][OURS], record["candidates"]["huggingface-dynamic"]
        assert "failed" not in theirs
        assert ours["parameters"] == theirs["parameters"] > 100_000
        target, _ = record["targets"]
        assert target["is"] == record["theirs_over_ours"]["huggingface-dynamic"]["cpu_time"]["median"]
        assert target["at_least"] == least
        assert record["tokens_per_step"] == 2 * 12


def test_a_compiled_step_counts_as_the_best_of_ours() -> None:
    reached = {"huggingface-dynamic": 1.2, beam.HF_COMPILED: 1.0, "ctranslate2": 0.6, beam.OURS_COMPILED: 0.8}
    plain, best, engine = beam.targets(reached, "batch 16 beams 1 float32")
    assert (plain["is"], plain["at_least"]) == (1.2, 1.3)
    assert best["over"].startswith(f"its best cache ({beam.HF_COMPILED})")
    assert best["is"] == pytest.approx(1.25)
    assert (engine["is"], engine["at_least"]) == (pytest.approx(0.75), 0.75)


def test_another_text_of_a_beam_search_is_other_work() -> None:
    row, _ = beam.rows(options())
    text = [[1] * 12, [2] * 12]
    other = [[1] * 12, [2] * 11 + [3]]
    record = {
        OURS: {"parameters": 5, "values": [text, text]},
        "peer": {"parameters": 5, "values": [text, other]},
        "large": {"parameters": 6, "values": [text, text]},
        "short": {"parameters": 5, "values": [text, text[:1]]},
    }
    beam.check_equal_work(record, row)
    assert "failed" not in record[OURS]
    assert "0.958 of the tokens" in record["peer"]["failed"]
    assert "6 parameters" in record["large"]["failed"]
    assert "not 2 of 12" in record["short"]["failed"]


def test_our_weights_make_the_same_marian_in_float64() -> None:
    task = peers_generation.Translation(*beam.SIZES["batch 2 beams 3 float32"])
    marian, _ = peers_generation.marian_beams()(task)
    ours = peers_generation.our_translator(task).double()
    source, target = peers_generation.sources_of(task), torch.arange(10).view(2, 5)
    with torch.no_grad():
        theirs = marian.double()(input_ids=source, decoder_input_ids=target).logits
        # Marian's table of positions is stored in float32.
        torch.testing.assert_close(ours(source, target), theirs, rtol=1e-5, atol=1e-5)


def test_attention_is_measured_and_fused_memory_grows_less_than_the_matrix() -> None:
    chosen = options()
    (row,) = attention_op.rows(chosen)
    record = attention_op.run(row, chosen)
    assert [length["keys"] for length in record["lengths"]] == [512, 2048]
    slopes = record["slopes"]
    assert slopes["time"].keys() == {OURS, attention_op.EXPLICIT}
    last = record["lengths"][-1]["candidates"]
    if sys.platform == "linux":
        matrix = 4 * 8 * 2048**2 / 2**20
        assert last[attention_op.EXPLICIT]["memory"]["added_mib"] > 2 * matrix
        assert last[OURS]["memory"]["added_mib"] < matrix / 4
        # Between 1, that of the inputs, and 2, that of the matrices; the shorter length is half inputs.
        assert slopes["memory"][attention_op.EXPLICIT] > 1.2
    assert "slope of memory" in attention_op.lines(record)


def test_another_result_of_attention_is_other_work() -> None:
    record = {OURS: {"values": [[1.0, 2.0]]}, "near": {"values": [[1.0, 2.00001]]}, "far": {"values": [[1.0, 2.1]]}}
    attention_op.check_equal_work(record)
    assert "failed" not in record["near"]
    assert "differs by" in record["far"]["failed"]


def test_slopes() -> None:
    assert attention_op.slope([(10, 3.0), (100, 300.0), (1000, 30_000.0)]) == pytest.approx(2)
    assert attention_op.slope([(1, 5.0), (8, 40.0)]) == pytest.approx(1)


def test_the_fast_tokeniser_is_measured_against_the_library_below_it() -> None:
    record = tokenise.run("fast train", options(rounds=1))
    ours, theirs = record["candidates"][OURS], record["candidates"]["tokenizers"]
    assert ours["result_sha256"] == theirs["result_sha256"]
    assert record["megabytes"] == 0.1
    assert record["megabytes_per_second"].keys() == {OURS, "tokenizers"}
    (target,) = record["targets"]
    assert target["at_least"] == 0.95


def test_without_a_checkout_the_lesson_is_measured_alone() -> None:
    record = tokenise.run("lesson encode", options(rounds=1))
    assert record["left_out"] == ["minbpe"]
    assert record["candidates"].keys() == {OURS}
    assert record["targets"] == []


def test_other_merges_are_other_work() -> None:
    record = {name: {"result_sha256": name[0]} for name in (OURS, "tokenizers", "minbpe")}
    tokenise.check_equal_work(record)
    assert "failed" not in record["tokenizers"]
    assert "not ours" in record["minbpe"]["failed"]


def test_starts_are_compared_within_a_round() -> None:
    wall = {"a": iter([9.0, 1.0, 5.0]), "b": iter([9.0, 2.0, 7.0])}
    order: list[str] = []

    def pretend(code: str) -> tuple[float, float]:
        order.append(code)
        return next(wall[code]), 0.5

    record = start.measure({"first": "a", "second": "b"}, 2, pretend)
    assert record["first"] == {"wall_seconds": [1.0, 5.0], "cpu_seconds": [0.5, 0.5]}
    assert order == ["a", "b", "a", "b", "b", "a"]


def test_an_import_takes_time_and_a_missing_one_is_named() -> None:
    wall, cpu = start.start("sum(range(10**6))")
    assert 0 < cpu < wall + 1
    record = start.measure({"nothing": "pass", "peer": "import no_such_library"}, 1, start.start)
    assert "no_such_library" in record["peer"]["failed"]
    assert len(record["nothing"]["wall_seconds"]) == 1


def test_start_records_seconds_over_torch() -> None:
    record = start.run("import", options(rounds=1))
    ours = record["candidates"][OURS]
    over = ours["wall_seconds"][0] - record["candidates"]["torch"]["wall_seconds"][0]
    assert record["targets"] == [{"over": "torch", "at_most_seconds": 0.1, "is": over}]
    assert record["theirs_over_ours"]["torch"]["cpu_time"]["median"] > 0.5
    assert "over torch" in start.lines(record)
