"""Several workers train what one does, and end as one when one of them does.

Rung 6 of the parity ladder, through the commands, against a state of this process that sees whole
batches; and what happens to a run of which a worker is stopped, killed or frozen.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import batches, checkpoint, datasets
from common.config import Config
from common.outputs import read_metrics
from compare.parity.ladder import LEARNING_RATES, draw_pictures
from compare.parity.rungs import BOUNDS, loss_differences, worst
from tests.conftest import ONE_THREAD, ROOT, start

STEPS = 20
BATCH = 16
LONG = 100_000  # steps of a run that is ended


class Run:
    """What one worker, in this process, makes of some settings."""

    def __init__(self, lend_state: Callable, backend: Any, **changes: Any) -> None:
        self.changes = changes
        settings = {"train_images": 50_000, "batch_size": BATCH, "steps": STEPS} | changes
        self.state = lend_state(**settings)
        self.config: Config = self.state.config
        data = batches.data_of(datasets.load(self.config), self.config, range(STEPS))
        self.losses = backend.train_chunk(self.state, *data)
        self.arrays = backend.to_canonical(self.state)

    @property
    def flags(self) -> list[str]:
        """The same for a command."""
        given = {"precision": "float64", "device": "cpu", "batch_size": BATCH, **self.changes}
        return [
            word
            for name, value in given.items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    def is_like(self, directory: Path) -> None:
        """A run directory holds the same training, from its first step to its last."""
        found = checkpoint.load(checkpoint.find(directory))
        assert found.step == STEPS
        value, name = worst(found.arrays, self.arrays)
        assert value <= BOUNDS[6], name
        _, metrics = read_metrics(directory)
        losses = np.stack(list(metrics.values()), 1)
        assert loss_differences(losses, self.losses).max() <= BOUNDS[6]


@pytest.fixture(scope="module")
def alone(
    lend_state: Callable, backend: Any, data_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable:
    """A kind of run as one worker trains it."""
    runs: dict[str, Run] = {}

    def make(kind: str) -> Run:
        if kind not in runs:
            changes: dict[str, Any] = {"data_dir": data_dir}
            if kind == "tuned":
                changes |= {"recipe": "tuned", "learning_rate": LEARNING_RATES["mnist28 tuned"]}
            if kind == "dcgan":
                folder = tmp_path_factory.mktemp("drawn")
                draw_pictures(folder / "pictures", 32)
                changes = {
                    "dataset": str(folder / "pictures"), "data_dir": str(folder), "width": 8,
                    "architecture": "dcgan", "image_size": 32,
                }  # fmt: skip
                settings = Config(**changes, batch_size=BATCH)
                whole = datasets.counted(settings)
                changes |= {
                    "train_images": whole.train_images, "pictures_digest": whole.pictures_digest
                }  # fmt: skip
            runs[kind] = Run(lend_state, backend, **changes)
            runs[kind].changes.pop("pictures_digest", None)
            if kind == "dcgan":
                runs[kind].changes.pop("train_images")
        return runs[kind]

    return make


@contextlib.contextmanager
def launched(world: int, package: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`python -m common.launch`, with nothing of it left at the end."""
    process = start("common.launch", world, *arguments)
    try:
        yield process
    finally:
        for worker in workers_of(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        process.kill()
        process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The process numbers of a launcher's workers, in their order."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return [int(number) for number in children.split()]
    return []


def wait_for_step(directory: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until a run has written the metrics of a step."""
    until = time.monotonic() + 200
    while len(read_metrics(directory)[0]) <= step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


# Two workers of the other kinds: `make parity`; four of the published: the run that goes on with
# another number.
KINDS = [
    pytest.param("published", 2, marks=pytest.mark.whole_run),
    *(pytest.param(kind, 4, marks=pytest.mark.slow) for kind in ("tuned", "dcgan")),
]


@pytest.mark.parametrize(("kind", "world"), KINDS)
def test_workers_train_as_one_does(
    alone: Callable, package: str, tmp_path: Path, command: Callable, kind: str, world: int
) -> None:
    run = alone(kind)
    out = tmp_path / "run"
    done = command(
        "common.launch", world, f"{package}.train", *run.flags, "--steps", STEPS, "--out", out
    )
    assert f"{world} workers" in done.stdout
    assert done.stdout.count("Finished") == 1  # worker 0 alone speaks
    run.is_like(out)
    environment = json.loads((out / "environment.json").read_text())
    assert environment["workers"] == world


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers(
    alone: Callable, package: str, tmp_path: Path, command: Callable
) -> None:
    run, out = alone("published"), tmp_path / "run"
    first = [*run.flags, "--steps", 7, "--out", out]
    command("common.launch", 4, f"{package}.train", *first)
    command("common.launch", 2, f"{package}.train", "--resume", out, "--steps", 13)
    command(f"{package}.train", "--resume", out, "--steps", STEPS)
    run.is_like(out)


@pytest.mark.whole_run
def test_a_killed_worker_is_named_and_a_restart_goes_on(
    alone: Callable, package: str, tmp_path: Path
) -> None:
    run, out = alone("published"), tmp_path / "run"
    flags = [*run.flags, "--steps", STEPS, "--checkpoint-every", 2, "--out", out]
    with launched(2, package, "--restarts", 1, f"{package}.train", *flags) as process:
        wait_for_step(out, 4, process)
        os.kill(workers_of(process)[1], signal.SIGKILL)
        said, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    how = f"start the workers again with --resume {out}"
    assert errors.count(f"error: Worker 1 of 2 (on 127.0.0.1) has ended; {how}.") == 1, errors
    assert "Starting the workers again (1 of 1)." in said
    run.is_like(out)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.of_common), 1])
def test_a_frozen_worker_is_named_within_a_minute(
    alone: Callable, package: str, tmp_path: Path, rank: int
) -> None:
    out = tmp_path / "run"
    flags = [*alone("published").flags, "--steps", LONG, "--checkpoint-every", 2, "--out", out]
    with launched(2, package, f"{package}.train", *flags) as process:
        wait_for_step(out, 4, process)
        pids = workers_of(process)
        os.kill(pids[rank], signal.SIGSTOP)
        frozen = time.monotonic()
        while Path(f"/proc/{pids[1 - rank]}/stat").exists() and "Z" not in state_of(pids[1 - rank]):
            assert time.monotonic() - frozen < 60
            time.sleep(0.2)
        os.kill(pids[rank], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    how = f"start the workers again with --resume {out}"
    assert f"Worker {rank} of 2 (on 127.0.0.1) has not answered for 20 s; {how}." in errors
    assert checkpoint.load(checkpoint.find(out)).step >= 4  # whole


def state_of(pid: int) -> str:
    """A process's letter: Z has ended, T is stopped."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    return "Z"


@pytest.mark.whole_run
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.of_common), 1])
def test_a_signal_to_one_worker_stops_all_after_the_same_step(
    alone: Callable, package: str, tmp_path: Path, rank: int
) -> None:
    out = tmp_path / "run"
    flags = [*alone("published").flags, "--steps", LONG, "--out", out]
    with launched(2, package, f"{package}.train", *flags) as process:
        wait_for_step(out, 2, process)
        os.kill(workers_of(process)[rank], signal.SIGTERM)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "error" not in errors
    step = checkpoint.load(checkpoint.find(out)).step
    assert f"Stopped after step {step} of {LONG}; continue with --resume {out}" in said
    assert len(read_metrics(out)[0]) == step


@pytest.mark.of_common
@pytest.mark.whole_run
def test_a_mistake_is_said_once_and_ends_all(
    package: str, tmp_path: Path, command: Callable
) -> None:
    out = tmp_path / "run"
    flags = ["--batch-size", 15, "--out", out]
    done = command("common.launch", 2, f"{package}.train", *flags, status=2)
    assert done.stderr.count("error:") == 1
    assert "A batch of 15 images cannot be shared by 2 workers equally" in done.stderr
    assert not out.exists()
    done = command("common.launch", 3, f"{package}.train", "--batch", 15, status=2)
    assert done.stderr.count("error:") == 1


@pytest.mark.of_common
@pytest.mark.whole_run
def test_workers_of_a_finished_run_say_so_and_end(
    alone: Callable, package: str, tmp_path: Path, command: Callable
) -> None:
    run, out = alone("published"), tmp_path / "run"
    flags = [*run.flags, "--steps", 1, "--out", out, "--resume", "auto"]
    command("common.launch", 2, f"{package}.train", *flags)
    done = command("common.launch", 2, f"{package}.train", *flags)
    assert done.stdout.count("is finished: all 1 steps are done") == 1
    assert done.stderr == ""


# ------------------------------------------------------------------ other launchers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 65533)


def of_tf_config(rank: int, port: int) -> dict[str, str]:
    cluster = {"worker": [f"127.0.0.1:{port}", f"127.0.0.1:{port - 7}"]}
    return {
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    }


def of_slurm(rank: int, port: int) -> dict[str, str]:
    return {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_STEP_NODELIST": "localhost",
        "MASTER_PORT": str(port),
    }


@pytest.mark.of_common
@pytest.mark.slow
def test_workers_that_others_start(alone: Callable, package: str, tmp_path: Path) -> None:
    run, out, port = alone("published"), tmp_path / "run", free_port()
    uses_tensorflow = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
    variables = of_tf_config if package != "pytorch_impl" and uses_tensorflow else of_slurm
    flags = [*run.flags, "--steps", STEPS, "--out", out]
    started = [start(f"{package}.train", *flags, **variables(rank, port)) for rank in (1, 0)]
    try:
        for process in started:
            said, errors = process.communicate(timeout=300)
            assert process.returncode == 0, said + errors
    finally:
        for process in started:
            process.kill()
    run.is_like(out)


@pytest.mark.of_common
@pytest.mark.slow
def test_torchrun_starts_them_and_starts_them_again(
    alone: Callable, package: str, tmp_path: Path
) -> None:
    if package != "pytorch_impl" and os.environ.get("KERAS_BACKEND") != "torch":
        pytest.skip("torchrun comes with PyTorch")
    run, out = alone("published"), tmp_path / "run"
    flags = [*run.flags, "--steps", STEPS, "--checkpoint-every", 2, "--out", out]
    options = ["--standalone", "--nproc-per-node", 2, "--max-restarts", 1, "-m"]
    process = start("torch.distributed.run", *options, f"{package}.train", *flags)
    try:
        wait_for_step(out, 4, process)
        os.kill(workers_of(process)[1], signal.SIGKILL)
        said, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert said.count("Finished") == 1
    run.is_like(out)


# ------------------------------------------------------------------ two machines


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces with a link between them: 10.77.0.1 and 10.77.0.2."""
    names = [f"dcgan-{os.getpid()}-{i}" for i in (1, 2)]
    ends = [f"dc{os.getpid()}x{i}" for i in (1, 2)]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
            ip("link", "set", end, "netns", name, "name", "wire")
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_two_machines_train_until_the_link_between_them_is_cut(
    alone: Callable, package: str, tmp_path: Path, hosts: list[str]
) -> None:
    run, out = alone("published"), tmp_path / "run"
    flags = [*run.flags, "--steps", LONG, "--checkpoint-every", STEPS, "--out", out]
    processes = []
    for rank, host in enumerate(hosts):
        place = {
            "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "2900",
        }  # fmt: skip
        command = ["ip", "netns", "exec", host, sys.executable, "-m", f"{package}.train"]
        processes.append(
            subprocess.Popen(
                [*command, *map(str, flags)],
                cwd=ROOT,
                env=os.environ | ONE_THREAD | place,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        wait_for_step(out, STEPS, processes[0])
        losses = np.stack(list(read_metrics(out, STEPS)[1].values()), 1)
        assert loss_differences(losses, run.losses).max() <= BOUNDS[6]
        subprocess.run(["ip", "-n", hosts[1], "link", "set", "wire", "down"], check=True)
        for process, other in zip(processes, (1, 0), strict=True):
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 1, errors
            silent = f"Worker {other} of 2 (on 10.77.0.{other + 1}) has not answered for 20 s"
            assert f"error: {silent}; start the workers again with --resume {out}." in errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert checkpoint.load(checkpoint.find(out)).step >= STEPS
