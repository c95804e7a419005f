"""A checkpoint gives back what was saved, or says exactly why not; it never executes anything."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_run import next_token_loss, small_batches, small_config, small_model

from transformer_lib.config import Experts
from transformer_lib.files import SUMS, new_folder
from transformer_lib.training import (
    TrainState,
    latest,
    load_state,
    load_weights,
    new_state,
    read_about,
    save_latest,
    save_state,
    train,
)
from transformer_lib.training.state import model_tensors, training_tensors

FILES = ["model.safetensors", "training.safetensors", "state.json", SUMS]


def fresh() -> TrainState:
    return new_state(small_model(), small_batches(), small_config())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run after three steps."""
    folder = tmp_path_factory.mktemp("run")
    train(small_model(), next_token_loss, small_batches(), small_config(steps=3), folder=folder)
    path = latest(folder)
    assert path is not None
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "copy")


def reseal(path: Path) -> None:
    """Recompute the sums, as a checkpoint made by someone else would have them right."""
    shutil.move(path, path.with_name("unsealed"))
    unsealed = path.with_name("unsealed")
    (unsealed / SUMS).unlink()
    with new_folder(path) as folder:
        for file in unsealed.iterdir():
            shutil.copy(file, folder)
    shutil.rmtree(unsealed)


def assert_refused(path: Path, *words: str) -> None:
    """The error names the file, the rule and the value, and the state is as it was."""
    state = fresh()
    before = {name: tensor.clone() for name, tensor in (model_tensors(state.model) | training_tensors(state)).items()}
    position = state.batches.state_dict()
    with pytest.raises(ValueError) as error:
        load_state(path, state)
    for word in words:
        assert word in str(error.value), str(error.value)
    after = model_tensors(state.model) | training_tensors(state)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert state.step == 0 and state.batches.state_dict() == position


def test_what_was_saved_is_what_is_loaded_and_saved_again(saved: Path, tmp_path: Path) -> None:
    state = fresh()
    load_state(saved, state)
    assert state.step == 3
    save_state(tmp_path / "again", state)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name


def test_it_is_safetensors_and_json_alone_and_names_are_the_models_own(saved: Path) -> None:
    assert sorted(file.name for file in saved.iterdir()) == sorted(FILES)
    weights = load_file(saved / "model.safetensors")
    assert "embedding.tokens.weight" in weights and "head.weight" not in weights, "a tied weight is stored once"
    about = json.loads((saved / "state.json").read_text())
    assert about["step"] == 3 and about["settings"]["training"]["learning_rate"]["function"] == "warmup_cosine"
    assert about["settings"]["model"]["d_model"] == 8


def test_going_on_from_a_loaded_checkpoint_leaves_its_files_alone(copy: Path) -> None:
    before = {name: (copy / name).read_bytes() for name in FILES}
    state = fresh()
    load_state(copy, state)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(1)
            state.optimizer.state[parameter]["exp_avg"].add_(1)
    assert before == {name: (copy / name).read_bytes() for name in FILES}


def test_an_untied_model_and_a_compiled_model_keep_their_names(tmp_path: Path) -> None:
    model = small_model(tie_embeddings=False)
    plain_names = set(model.state_dict())
    model.compile(backend="eager")
    save_state(tmp_path / "untied", new_state(model, small_batches(), small_config()))
    assert set(load_file(tmp_path / "untied" / "model.safetensors")) == plain_names
    other = small_model(tie_embeddings=False)
    torch.nn.init.zeros_(other.head.weight)
    load_weights(tmp_path / "untied", other)
    assert torch.equal(other.head.weight, model.head.weight)


def test_the_routers_correction_is_kept(tmp_path: Path) -> None:
    experts = Experts(num_experts=3, top_k=1, d_ff=4, router="sigmoid", correction=True)
    model, other = small_model(feedforward=experts), small_model(feedforward=experts)
    model.blocks[0].feedforward.router.correction.copy_(torch.tensor([0.25, -0.5, 2.0]))
    save_state(tmp_path / "experts", new_state(model, small_batches(), small_config()))
    state = new_state(other, small_batches(), small_config())
    load_state(tmp_path / "experts", state)
    assert other.blocks[0].feedforward.router.correction.tolist() == [0.25, -0.5, 2.0]


def test_weights_alone_load_into_a_model_of_any_run(saved: Path) -> None:
    state, model = fresh(), small_model()
    load_state(saved, state)
    load_weights(saved, model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), state.model.parameters(), strict=True))
    assert model.head.weight is model.embedding.tokens.weight


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_or_missing_byte_is_noticed(name: str, copy: Path) -> None:
    dice, file = random.Random(0), copy / name
    whole = file.read_bytes()
    for place in [0, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(20))]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << dice.randrange(8)
        file.write_bytes(flipped)
        with pytest.raises(ValueError, match="must have the sha256 recorded in SHA256SUMS, got '"):
            read_about(copy)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="must have the sha256 recorded in SHA256SUMS, got '"):
            read_about(copy)
    assert_refused(copy, "sha256")
    file.unlink()
    assert_refused(copy, "must hold exactly", "copy")


def test_a_foreign_file_is_refused(copy: Path) -> None:
    (copy / "code.pkl").write_bytes(b"cos\nsystem\n.")
    assert_refused(copy, "must hold exactly", "code.pkl")
    assert_refused(copy / "nowhere", "path must be a folder", "nowhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about: "{", ["must be JSON: "]),
        (lambda about: "[]", ["fields must be", "['list']"]),
        (lambda about: json.dumps({"step": 3}), ["fields must be", "['step']"]),
        (lambda about: json.dumps(about | {"format": "other"}), ["format must be", "'other'"]),
        (lambda about: json.dumps(about | {"step": -1}), ["step must be a whole number", "-1"]),
        (lambda about: json.dumps(about | {"step": "3"}), ["step must be a whole number", "'3'"]),
        (lambda about: json.dumps(about | {"batches": {}}), ["must have exactly the keys"]),
        (lambda about: json.dumps(about | {"settings": None}), ["settings must equal this run's", "None"]),
    ],
)
def test_foreign_json_is_refused(change: Callable[[dict[str, object]], str], words: list[str], copy: Path) -> None:
    file = copy / "state.json"
    file.write_text(change(json.loads(file.read_text())))
    reseal(copy)
    assert_refused(copy, *words)


def test_another_runs_settings_are_named(saved: Path) -> None:
    state = new_state(small_model(), small_batches(), small_config(weight_decay=0.7))
    with pytest.raises(
        ValueError,
        match=r"settings.training.weight_decay must equal this run's 0.7 .*'training.weight_decay'.*, got 0.1",
    ):
        load_state(saved, state)
    state = new_state(small_model(), small_batches(), small_config(optimizer="muon"))
    with pytest.raises(ValueError, match=r"settings.training.optimizer must equal this run's 'muon', got None"):
        load_state(saved, state)
    state = new_state(small_model(), small_batches(), small_config(precision="bfloat16"))
    with pytest.raises(
        ValueError, match=r"settings.training.precision must equal this run's 'bfloat16' .*, got 'float32'"
    ):
        load_state(saved, state)
    state = new_state(small_model(dropout=0.5), small_batches(), small_config())
    with pytest.raises(ValueError, match=r"settings.model.dropout must equal this run's 0.5, got 0.2"):
        load_state(saved, state)
    state = new_state(small_model(), small_batches(seed=9), small_config())
    with pytest.raises(ValueError, match=r"state\['seed'\] must be 9 .* got 3"):
        load_state(saved, state)


def test_a_run_by_adamw_has_the_settings_it_had_before_there_was_muon() -> None:
    """Else no older checkpoint could be resumed."""
    names = {"learning_rate", "micro_batches", "clip", "weight_decay", "betas", "precision", "seed"}
    assert set(small_config().settings()) == names
    assert set(small_config(optimizer="muon").settings()) == names | {"optimizer"}


def test_what_is_only_watched_may_differ(saved: Path) -> None:
    config = small_config(steps=400, checkpoint_every=7, eval_every=None, keep=5, progress=False)
    load_state(saved, new_state(small_model(), small_batches(), config))


Tensors = dict[str, torch.Tensor]
MOMENT = "optimizer/embedding.tokens.weight/exp_avg"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("model", lambda t: t.pop("embedding.tokens.weight"), ["every weight", "['embedding.tokens.weight']"]),
        ("model", lambda t: t.update(new=torch.ones(1)), ["no weight that the model lacks", "['new']"]),
        (
            "model",
            lambda t: t.update({"embedding.tokens.weight": torch.ones(24, 8)}),
            ["embedding.tokens.weight must have the shape (23, 8), got (24, 8)"],
        ),
        (
            "model",
            lambda t: t.update({"embedding.tokens.weight": torch.ones(23, 8).double()}),
            ["embedding.tokens.weight must have the type torch.float32, got torch.float64"],
        ),
        ("training", lambda t: t.update({"optimizer/new/step": torch.ones(())}), ["belong to a parameter", "'new'"]),
        ("training", lambda t: t.update({MOMENT: torch.ones(8, 23)}), [MOMENT, "the shape (23, 8), got (8, 23)"]),
        ("training", lambda t: t.pop(MOMENT), ["the same slots for every parameter", "exp_avg"]),
        ("training", lambda t: t.pop("generator/cpu"), ["generator/cpu must be there"]),
        (
            "training",
            lambda t: t.update({"generator/cpu": torch.ones(3, dtype=torch.uint8)}),
            ["generator/cpu must have the shape", "got (3,)"],
        ),
    ],
)
def test_foreign_tensors_are_refused(name: str, change: Callable[[Tensors], object], words: list[str], copy: Path):
    file = copy / f"{name}.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)
    reseal(copy)
    assert_refused(copy, file.name, *words)


@pytest.mark.parametrize("slot", ["momentum_buffer", "exp_avg"])
def test_each_of_two_optimisers_has_slots_of_its_own(slot: str, tmp_path: Path) -> None:
    config = small_config(steps=1, optimizer="muon")
    train(small_model(), next_token_loss, small_batches(), config, folder=tmp_path)
    path = tmp_path / "step-00000001"
    load_state(path, new_state(small_model(), small_batches(), config))
    file = path / "training.safetensors"
    tensors = load_file(file)
    assert {key.rpartition("/")[2] for key in tensors if "to_out" in key and key.endswith("r")} == {"momentum_buffer"}
    key = "optimizer/blocks.0.attention.to_out.weight"
    tensors[f"{key}/{slot}"] = torch.ones(8, 8 if slot == "exp_avg" else 9)
    save_file(tensors, file)
    reseal(path)
    with pytest.raises(ValueError, match=r"must have the shape \(8, 8\), got \(8, 9\)|'exp_avg', 'momentum_buffer'"):
        load_state(path, new_state(small_model(), small_batches(), config))


def test_slots_of_a_frozen_parameter_are_refused(saved: Path) -> None:
    model = small_model()
    model.embedding.tokens.weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"must belong to a parameter that is trained, got 'embedding.tokens.weight'"):
        load_state(saved, new_state(model, small_batches(), small_config()))


def test_a_file_that_is_not_safetensors_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n.")
    reseal(copy)
    assert_refused(copy, "model.safetensors must be a safetensors file")


def test_nothing_is_written_over_and_a_leftover_is_cleared_away(tmp_path: Path) -> None:
    state = fresh()
    leftover = tmp_path / "step-00000009.partial"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"x")
    assert latest(tmp_path) is None
    path = save_latest(tmp_path, state, keep=2)
    assert path == latest(tmp_path) == tmp_path / "step-00000000" and not leftover.exists()
    with pytest.raises(ValueError, match=r"path must not exist yet, got '.*step-00000000'"):
        save_state(path, state)


def test_a_failed_save_shows_nothing(tmp_path: Path) -> None:
    state = dataclasses.replace(fresh(), settings={"rate": float("nan")})
    with pytest.raises(ValueError):
        save_state(tmp_path / "bad", state)
    assert not (tmp_path / "bad").exists()


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    state = fresh()
    for state.step in (1, 2, 10, 100):
        save_latest(tmp_path, state, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert latest(tmp_path) == tmp_path / "step-00000100"
