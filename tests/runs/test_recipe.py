"""A recipe's run: the same however many processes and interruptions, and a record that says where it comes from."""

import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from tests.training.small_run import run_together
from transformer_lib.__main__ import main
from transformer_lib.config import AttentionConfig, Mlp, ModelConfig, Rope, Seq2SeqConfig
from transformer_lib.models import Seq2Seq
from transformer_lib.runs.account import PARTS
from transformer_lib.runs.recipe import Run, execute, load_recipe
from transformer_lib.tasks.translation import PairIds, pair_batches, translation_loss
from transformer_lib.training import TrainConfig, latest, load_weights, read_log, warmup_stable_decay
from transformer_lib.training.state import model_tensors

VOCAB = 11
SEED = 3
STEPS = 6


def small_model(dropout: float) -> Seq2Seq:
    torch.manual_seed(1)
    side = ModelConfig(
        vocab_size=VOCAB,
        d_model=8,
        num_layers=1,
        max_length=16,
        attention=AttentionConfig(num_heads=2),
        feedforward=Mlp(d_ff=16),
        positions=Rope(),
        dropout=dropout,
    )
    return Seq2Seq(Seq2SeqConfig(encoder=side, decoder=side)).double()


def small_pairs() -> list[PairIds]:
    """Of unequal length, so that the batches hold unequal numbers of tokens."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(2, 7, (40, 2), generator=generator).tolist()
    draw = functools.partial(torch.randint, VOCAB, generator=generator)
    return [PairIds(draw((s,)).tolist(), draw((t + 1,)).tolist()) for s, t in lengths]


def small_config(**changes: Any) -> TrainConfig:
    schedule = functools.partial(warmup_stable_decay, warmup=2, decay=2, total=STEPS, peak=0.01)
    parts = {"steps": STEPS, "learning_rate": schedule, "micro_batches": 2, "checkpoint_every": 1, "keep": 3}
    return TrainConfig(**(parts | changes))


def run_small(folder: Path, *, dropout: float = 0.0, resume: bool = False, **changes: Any) -> tuple[Seq2Seq, dict]:
    run = Run(SEED, torch.device("cpu"), folder, resume)
    model = small_model(dropout)
    batches = pair_batches(small_pairs(), token_budget=40, seed=SEED)
    held_out = list(pair_batches(small_pairs()[:9], token_budget=40, seed=0, epochs=1))
    averages = changes.pop("averages", (1, 3))
    loss = functools.partial(translation_loss, smoothing=0.1)
    return model, run.train(model, loss, batches, small_config(**changes), held_out=held_out, averages=averages)


def be_a_rank(rank: int, folder: Path, stops: bool) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / f"store-{stops}"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    if stops:  # begun in another life, and ended early
        run_small(folder / "run", steps=4)
    model, facts = run_small(folder / "run", resume=stops)
    torch.save({"weights": model_tensors(model), "facts": facts}, folder / f"{rank}.pt")
    distributed.barrier()  # as in `execute`
    distributed.destroy_process_group()


@pytest.mark.parametrize("stops", [False, True])
def test_two_processes_give_the_weights_of_one(stops: bool, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "torch._dynamo", "transformer_lib.runs.recipe"])
    processes = [context.Process(target=be_a_rank, args=(rank, tmp_path, stops)) for rank in range(2)]
    for process in processes:
        process.start()
    run_together(processes)
    model, facts = run_small(tmp_path / "alone")
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found["weights"], model_tensors(model), atol=1e-10, rtol=0)
        assert found["facts"]["held_out_loss"] == pytest.approx(facts["held_out_loss"], abs=1e-10, rel=0)
    untrained = model_tensors(small_model(0.0))
    assert max(float((untrained[n] - t).abs().max()) for n, t in model_tensors(model).items()) > 0.01


def test_a_killed_run_goes_on_bit_for_bit_and_its_time_is_counted(tmp_path: Path) -> None:
    straight, facts = run_small(tmp_path / "straight", dropout=0.2)
    run_small(tmp_path / "killed", dropout=0.2, steps=3)
    resumed, resumed_facts = run_small(tmp_path / "killed", dropout=0.2, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
    assert facts == resumed_facts
    parts = json.loads((tmp_path / "killed" / "training" / PARTS).read_text())
    assert [part["until_step"] for part in parts] == [3, 6] and all(part["seconds"] >= 0 for part in parts)
    with pytest.raises(ValueError, match="folder must not hold an earlier run unless resume=True"):
        run_small(tmp_path / "killed", dropout=0.2)


def test_the_best_mean_of_the_last_checkpoints_is_kept(tmp_path: Path) -> None:
    steady = functools.partial(warmup_stable_decay, warmup=2, decay=0, total=STEPS, peak=0.01)
    model, facts = run_small(tmp_path, averages=(1, 2, 3), learning_rate=steady)
    losses = facts["held_out_losses_of_averages"]
    count = int(min(losses, key=losses.get))
    assert facts["held_out_loss"] == losses[str(count)] and len(set(losses.values())) == 3
    newest = sorted((tmp_path / "training").glob("step-*"))[-count:]
    other, sums = small_model(0.0), [0] * len(list(model.parameters()))
    for path in newest:
        load_weights(path, other)
        sums = [total + parameter.detach() / count for total, parameter in zip(sums, other.parameters(), strict=True)]
    torch.testing.assert_close(list(model.parameters()), sums, atol=1e-10, rtol=0)
    assert newest[-1] == latest(tmp_path / "training")


def test_what_a_run_cannot_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"averages must be at most keep=3, got \(1, 4\)"):
        run_small(tmp_path, averages=(1, 4))


# The record -----------------------------------------------------------------------------------------------------------

RECIPE = """
from torch import nn
from transformer_lib.runs.recipe import Run

NAME = "toy-{side}"
OPTIONS = {"side": "left"}


def run(run: Run):
    return {"side": run.options["side"], "resume": run.resume, "folder": run.folder.name, "first": run.is_first}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "recipes" / "toy.py"
    path.write_text(RECIPE)
    return path


def test_the_record_says_where_the_numbers_are_from(recipe: Path) -> None:
    record = execute(recipe, seed=7, options={"side": "right"})
    written = json.loads((recipe.parent / "results" / "toy-right-seed7.json").read_text())
    assert written == record
    assert record["results"] == {"side": "right", "resume": False, "folder": "toy-right-seed7", "first": True}
    assert record["recipe"] == "toy.py" and record["options"] == {"side": "right"} and record["seed"] == 7
    assert record["machine"]["cores"] >= 1 and record["machine"]["processor"] and record["processes"] == 1
    assert record["versions"]["torch"] == torch.__version__ and record["minutes"] == 0
    assert str(recipe.parents[1]) not in json.dumps(record), "no path of this machine"


def test_the_commit_is_that_of_the_recipe_and_changes_are_owned_up_to(recipe: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(recipe.parent), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert execute(recipe)["commit"] == "unknown"
    git("init", "-q", "..")
    git("add", "toy.py")
    git("commit", "-qm", "recipe")
    record = execute(recipe)  # the results of the run before do not count as a change
    assert (record["commit"], record["clean"]) == (git("rev-parse", "HEAD"), True)
    recipe.write_text(RECIPE + "\n")
    assert execute(recipe)["clean"] is False


def test_what_is_no_recipe_or_no_option_of_it_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"options must be among \['side'\] for toy-\{side\}, got 'speed'"):
        execute(recipe, options={"speed": "1"})
    with pytest.raises(FileNotFoundError, match=r"no recipe .*nowhere\.py"):
        execute(tmp_path / "nowhere.py")
    recipe.write_text("NAME = 'x'")
    with pytest.raises(ValueError, match=r"must define NAME and run\(run\); missing are, got \['run'\]"):
        execute(recipe)
    recipe.with_suffix(".txt").write_text("NAME = 'x'")
    with pytest.raises(ValueError, match="recipe must be a Python file"):
        execute(recipe.with_suffix(".txt"))


def test_the_committed_recipes_are_recipes() -> None:
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.py")):
        recipe = load_recipe(path)
        defaults = getattr(recipe, "OPTIONS", {})
        assert recipe.NAME.format(**defaults) and recipe.__doc__, path.name


KILLED = """
import os, signal
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_recipe import small_config, small_model, small_pairs

from transformer_lib.runs.recipe import Run
from transformer_lib.tasks.translation import pair_batches, translation_loss
from transformer_lib.training.state import model_tensors

NAME = "killed"


def run(run: Run):
    def loss(model, batch):
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT")
        reached = any(run.folder.glob("training/step-00000003"))
        if again == "0" and reached and not run.is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        return translation_loss(model, batch)

    model = small_model(0.0)
    batches = pair_batches(small_pairs(), token_budget=40, seed=run.seed)
    held_out = list(pair_batches(small_pairs()[:9], token_budget=40, seed=0, epochs=1))
    facts = run.train(model, loss, batches, small_config(), held_out=held_out, averages=(1, 3))
    if run.is_first:
        folder = run.model_folder()
        folder.mkdir()
        save_file(model_tensors(model), folder / "model.safetensors")
    return facts
"""


def torchrun(*arguments: str, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
    """Two processes that may be restarted once, all of them ended should they hang: not if the machine is slow."""
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
    ]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    command = [*start, "--monitor-interval", "0.1", "-m", "transformer_lib", "train", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # torchrun ends its workers
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_torchrun_restarts_a_job_that_lost_a_process_and_nothing_is_lost(
    parallel: str, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    recipe.write_text(KILLED)
    alone = execute(recipe, seed=SEED, folder=recipe.parent / "alone")
    folder = recipe.parent / "killed"
    options = ["--seed", str(SEED), "--folder", str(folder), "--resume", "--parallel", parallel]
    done = torchrun(str(recipe), *options)
    assert done.returncode == 0 and "exitcode: -9" in done.stderr, done.stderr[-3000:]
    record = json.loads((recipe.parent / "results" / f"killed-seed{SEED}.json").read_text())
    assert (record["processes"], record["parallel"], "parallel" in alone) == (2, parallel, False)
    found, expected = (load_file(place / "model" / "model.safetensors") for place in (folder, recipe.parent / "alone"))
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    for name in ("held_out_loss", "steps", "parameters"):
        assert record["results"][name] == pytest.approx(alone["results"][name], abs=1e-10, rel=0)
    steps = [entry.step for entry in read_log(folder / "training" / "log.jsonl")]
    assert steps == list(range(1, STEPS + 1))


def test_a_way_to_share_the_work_is_refused_without_torchrun(recipe: Path) -> None:
    with pytest.raises(ValueError, match=r"parallel must be one of \('ddp', 'fsdp2'\), got 'ddp2'"):
        execute(recipe, parallel="ddp2")
    with pytest.raises(ValueError, match="parallel must be left out unless torchrun starts the processes, got 'fsdp2'"):
        execute(recipe, parallel="fsdp2")
    assert main(["train", str(recipe), "--parallel", "ddp"]) == 2


def test_without_averages_the_newest_checkpoint_is_the_model(tmp_path: Path) -> None:
    run, model = Run(SEED, torch.device("cpu"), tmp_path), small_model(0.0)
    batches = pair_batches(small_pairs(), token_budget=40, seed=SEED)
    held_out = list(pair_batches(small_pairs()[:9], token_budget=40, seed=0, epochs=1))
    facts = run.train(model, translation_loss, batches, small_config(), held_out=held_out)
    assert list(facts["held_out_losses_of_averages"]) == ["1"]
    newest = small_model(0.0)
    load_weights(latest(tmp_path / "training"), newest)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), newest.parameters(), strict=True))


# The same run ---------------------------------------------------------------------------------------------------------

TRAINED = """
import functools
from test_recipe import *

NAME = "trained"
OPTIONS = {"steps": "4", "smoothing": "0.1"}


def run(run: Run):
    batches = pair_batches(small_pairs(), token_budget=40, seed=run.seed)
    held_out = list(pair_batches(small_pairs()[:9], token_budget=40, seed=0, epochs=1))
    loss = functools.partial(translation_loss, smoothing=float(run.options["smoothing"]))
    config = small_config(steps=int(run.options["steps"]))
    return run.train(small_model(0.2), loss, batches, config, held_out=held_out)
"""


@pytest.fixture
def trained(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    recipe.write_text(TRAINED)
    return recipe


def go_on(recipe: Path, **settings: Any) -> dict[str, Any]:
    return execute(recipe, seed=SEED, folder=recipe.parent / "p", **({"resume": True} | settings))


def test_a_recipe_is_known_by_its_program_options_and_seed(trained: Path) -> None:
    go_on(trained)
    trained.write_text("# a remark changes nothing\n" + TRAINED.replace("\n\n\n", "\n\n"))
    go_on(trained)
    with pytest.raises(ValueError, match=r"settings.recipe.options.steps must equal this run's '6' .* got '4'"):
        go_on(trained, options={"steps": "6"})
    with pytest.raises(ValueError, match=r"settings.loss.smoothing must equal this run's 0.3"):
        go_on(trained, options={"smoothing": "0.3"})
    with pytest.raises(ValueError, match=r"settings.recipe.seed must equal this run's 4 .* got 3"):
        execute(trained, seed=SEED + 1, folder=trained.parent / "p", resume=True)
    trained.write_text(TRAINED.replace("token_budget=40, seed=run", "token_budget=39 + 1, seed=run"))
    go_on(trained)  # the compiler adds the two
    trained.write_text(TRAINED.replace("small_pairs()[:9]", "small_pairs()[:8]"))
    with pytest.raises(ValueError, match=r"settings.recipe.program must equal this run's '\w+' .* got '\w+'"):
        go_on(trained)


@pytest.mark.parametrize("name", ["3", "'a-{other}'", "'a-{0}'", "'a-{'", "'{side.x}'"])
def test_a_name_that_is_none_is_refused(name: str, recipe: Path) -> None:
    recipe.write_text(RECIPE.replace('"toy-{side}"', name))
    with pytest.raises(ValueError, match=r"NAME must (be a string|have only the names of OPTIONS, \['side'\])"):
        execute(recipe)


def test_more_steps_are_named_and_the_record_says_so(trained: Path) -> None:
    assert "changes" not in go_on(trained)["results"]
    record = go_on(trained, options={"steps": "6"}, change=["recipe.options.steps"])
    changes = [{"step": 4, "name": "recipe.options.steps", "from": "4", "to": "6"}]
    assert record["results"]["changes"] == changes and record["results"]["steps"] == 6
    assert json.loads((trained.parent / "results" / f"trained-seed{SEED}.json").read_text()) == record
    assert go_on(trained, options={"steps": "6"})["results"]["changes"] == changes
    with pytest.raises(ValueError, match=r"change needs resume, got \['loss'\]"):
        go_on(trained, resume=False, change=["loss"])


def test_what_killed_writers_left_of_small_files_is_no_obstacle(trained: Path) -> None:
    go_on(trained)
    training = trained.parent / "p" / "training"
    (training / "parts.json.partial").touch()
    (training / "parts.json.123.partial").write_text("[")
    (training / "step-00000009.partial").mkdir()
    (training / "log.jsonl").open("a").write('{"step": 5, "lo')
    go_on(trained, options={"steps": "6"}, change=["recipe"])
    assert not list(training.glob("*.partial"))
    assert [record.step for record in read_log(training / "log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_damaged_account_of_time_is_refused_before_the_training(trained: Path) -> None:
    go_on(trained)
    (trained.parent / "p" / "training" / PARTS).write_text('[{"a": 1}]')
    with pytest.raises(ValueError, match=r"parts.json must hold parts with until_step and seconds, got \{'a': 1\}"):
        go_on(trained, options={"steps": "6"}, change=["recipe"])
    assert latest(trained.parent / "p" / "training").name == "step-00000004"
