"""How workers meet, agree and miss each other; no framework. Each is a process: it may end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Client
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

WORKER = """
import sys, time
from common import workers
from common.limits import UserError
from common.place import Place
rank, world, port, task = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
workers.BEAT, workers.SILENCE, workers.PATIENCE = 0.1, 20, 3.0
try:
    me = workers.Workers(Place(rank, world, rank, "127.0.0.1", port))
except UserError as error:
    print(error)
    sys.exit(2)
me.advice = lambda: "try again"
if task == "exchange":
    for i in range(200):
        assert me.exchange(b"%d/%d" % (rank, i)) == [b"%d/%d" % (r, i) for r in range(world)]
    assert me.exchange(b"x" * 3_000_000 if rank == 0 else b"")[0] == b"x" * 3_000_000
    assert len(set(me.addresses)) == world
    me.close()
    print("done")
elif task == "leave":
    if rank == world - 1:
        me.leave(3)
        sys.exit(3)
    time.sleep(60)
else:
    me.exchange(b"")
    print("ready", flush=True)
    time.sleep(60)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Crew:
    """Some workers, ended with the block."""

    def __init__(self, world: int, task: str, ranks: list[int] | None = None) -> None:
        self.port = free_port()
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, *map(str, (rank, world, self.port, task))],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for rank in (range(world) if ranks is None else ranks)
        ]  # fmt: skip

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def ready(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"


@pytest.mark.parametrize("world", [2, 5])
def test_all_learn_what_each_gives(world: int) -> None:
    with Crew(world, "exchange") as crew:
        for process in crew.processes:
            assert process.communicate(timeout=60) == ("done\n", "")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_worker_that_is_gone_is_named_by_all_others(lost: int) -> None:
    with Crew(3, "wait") as crew:
        crew.ready()
        crew.processes[lost].kill()
        for process in crew.processes[:lost] + crew.processes[lost + 1 :]:
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 1
            sentence = f"error: Worker {lost} of 3 (on 127.0.0.1) has ended; try again."
            assert errors == f"\n{sentence}\n"


@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_that_is_frozen_is_named(lost: int) -> None:
    with Crew(2, "wait") as crew:
        crew.ready()
        os.kill(crew.processes[lost].pid, signal.SIGSTOP)
        _, errors = crew.processes[1 - lost].communicate(timeout=30)
        assert errors == (
            f"\nerror: Worker {lost} of 2 (on 127.0.0.1) has not answered for 2 s; try again.\n"
        )


def test_workers_that_were_frozen_together_miss_nobody() -> None:
    with Crew(2, "wait") as crew:
        crew.ready()
        for process in crew.processes:
            os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3)  # longer than the silence that is borne
        for process in crew.processes:
            os.kill(process.pid, signal.SIGCONT)
        time.sleep(3)
        assert [process.poll() for process in crew.processes] == [None, None]


def test_a_worker_that_leaves_takes_all_with_it_without_a_word() -> None:
    with Crew(3, "leave") as crew:
        for process in crew.processes:
            assert process.communicate(timeout=30) == ("", "")
            assert process.returncode == 3


def test_a_worker_that_does_not_come_is_named() -> None:
    with Crew(3, "wait", ranks=[0, 1]) as crew:
        said, _ = crew.processes[0].communicate(timeout=30)
        assert "Worker 2 of 3 did not come to 127.0.0.1" in said
        assert crew.processes[0].returncode == 2


def test_worker_0_that_does_not_come_is_missed() -> None:
    with Crew(2, "wait", ranks=[1]) as crew:
        said, _ = crew.processes[0].communicate(timeout=30)
        assert "Worker 1 of 2 could not reach worker 0 at 127.0.0.1" in said
        assert crew.processes[0].returncode == 2


def test_a_number_that_comes_twice_is_refused() -> None:
    with Crew(3, "wait", ranks=[0, 1, 1]) as crew:
        said, _ = crew.processes[0].communicate(timeout=30)
        assert "A worker came as number 1 of 3" in said


def test_a_port_in_use_is_one_sentence() -> None:
    with Crew(2, "wait", ranks=[]) as crew, socket.socket() as other:
        other.bind(("127.0.0.1", crew.port))
        other.listen()
        command = [sys.executable, "-c", WORKER, "0", "2", str(crew.port), "wait"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"Worker 0 cannot listen on port {crew.port}" in done.stdout


def test_a_stranger_is_sent_away() -> None:
    with Crew(2, "exchange", ranks=[0]) as crew:
        while True:
            try:
                stranger = Client(("127.0.0.1", crew.port))
                break
            except OSError:
                time.sleep(0.05)
        stranger.send_bytes(b"GET / HTTP/1.1")
        command = [sys.executable, "-c", WORKER, "1", "2", str(crew.port), "exchange"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert done.stdout == "done\n"
        stranger.close()
