"""A worker that is killed under `torchrun` is replaced, on one machine or two, and the run ends bit for bit as ever."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_run import next_token_loss, run_together, small_batches, small_config, small_model, start_process
from torch import distributed, nn

from transformer_lib.training import LossSum, load_weights, read_log, train
from transformer_lib.training.parallel import call_with_loss, parallelize, place_of
from transformer_lib.training.share import Share
from transformer_lib.training.state import model_tensors

STEPS, PATIENCE = 6, 1800  # seconds: only a job that hangs takes so long, not one on a busy machine
JOB = """
import sys
from pathlib import Path

from test_elastic import take_part
from torch import distributed

distributed.init_process_group("gloo")
take_part(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def take_part(folder: Path, killed: Path) -> None:
    """Train as one of the processes; the second of them is killed after three steps, if it was not before."""

    def loss(model: nn.Module, batch: Any) -> LossSum:
        if any(folder.glob("step-00000003")) and distributed.get_rank() == 1 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return next_token_loss(model, batch)

    shared = parallelize(small_model(), loss, "fsdp2")
    batches = Share(small_batches(), *place_of(shared))
    train(shared, call_with_loss, batches, small_config(steps=STEPS, progress=False), folder=folder, resume=True)
    distributed.barrier()
    distributed.destroy_process_group()


def be_a_rank(rank: int, place: Path) -> None:
    store = distributed.FileStore(str(place / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    take_part(place / "run", place / "killed")


def launch(job: Path, folder: Path, killed: Path, *options: str) -> "subprocess.Popen[str]":
    start = [sys.executable, "-m", "torch.distributed.run", "--max-restarts", "3", "--monitor-interval", "0.1"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # see runs/recipe.py
    }
    with (job.parent / f"{'-'.join(options[-1:])}-{time.monotonic_ns()}.err").open("w") as errors:
        return subprocess.Popen(
            [*start, *options, str(job), str(folder), str(killed)],
            stdout=errors,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,
        )


def finish(agents: list["subprocess.Popen[str]"], job: Path) -> None:
    try:
        codes = [agent.wait(timeout=PATIENCE) for agent in agents]
    finally:
        for agent in agents:
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGTERM)  # torchrun ends its workers
    said = "\n".join(file.read_text()[-3000:] for file in job.parent.glob("*.err"))
    assert codes == [0] * len(agents), said


def run(job: Path, folder: Path, killed: Path, nodes: int) -> None:
    """Two processes, on one machine or on two that meet at a port."""
    if nodes == 1:
        finish([launch(job, folder, killed, "--standalone", "--nproc-per-node", "2")], job)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "one job"]
    options = [*meet, "--local-addr", "127.0.0.1", "--nnodes", "2", "--nproc-per-node", "1"]
    finish([launch(job, folder, killed, *options) for _ in range(nodes)], job)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    place = tmp_path_factory.mktemp("straight")
    (place / "killed").touch()
    run_together([start_process(be_a_rank, rank, place) for rank in range(2)])
    return place / "run"


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_killed_worker_is_replaced_and_nothing_is_changed(nodes: int, straight: Path, tmp_path: Path) -> None:
    job, killed = tmp_path / "job.py", tmp_path / "killed"
    job.write_text(JOB)
    run(job, tmp_path / "run", killed, nodes)
    assert killed.exists(), "there was something to replace"
    assert read_log(tmp_path / "run" / "log.jsonl") == read_log(straight / "log.jsonl")
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == (straight / "log.jsonl").read_bytes()
    ends = []
    for folder in (tmp_path / "run", straight):
        model = small_model()
        load_weights(folder / f"step-{STEPS:08d}", model)
        ends.append(model_tensors(model))
    for name, tensor in ends[0].items():
        assert tensor.equal(ends[1][name]), name
