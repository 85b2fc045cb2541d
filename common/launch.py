"""Start several workers of a training on this machine: `python -m common.launch --help`.

For machines with one GPU a worker, or to try it on processors; what other launchers there are,
torchrun, Slurm, Kubernetes, is in docs/scale.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from common.place import restarted

GRACE = 60.0  # seconds that the others have to end after one has


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m common.launch",
        description="Start workers that train together on this machine.",
    )
    parser.add_argument("workers", type=int, help="how many; with GPUs, one a GPU")
    parser.add_argument(
        "--restarts", type=int, default=0, help="how often to start all again after a failure"
    )
    parser.add_argument("module", help="for example pytorch_impl.train")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="the module's own")
    arguments = parser.parse_args()
    if arguments.workers < 1 or arguments.restarts < 0:
        parser.error("workers takes a whole number of at least 1, --restarts of at least 0.")
    launch = Launch()
    status = 1
    for count in range(arguments.restarts + 1):
        if count:
            print(f"Starting the workers again ({count} of {arguments.restarts}).", flush=True)
        status = launch.run(arguments.workers, [arguments.module, *arguments.flags], count)
        if status in (0, 2) or launch.signalled:  # done; misused; told to stop
            break
    raise SystemExit(status)


class Launch:
    """The workers that run now."""

    def __init__(self) -> None:
        self.signalled = False
        self._processes: list[subprocess.Popen[bytes]] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._forward)

    def run(self, world: int, command: list[str], count: int) -> int:
        """Start all, wait for all: 0, or the status of the first that failed by itself; of workers
        that a signal ended the shell's, 128 and its number."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = min(probe.getsockname()[1], 65533)
        environment = os.environ | {
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        if count or restarted():
            environment["TORCHELASTIC_RESTART_COUNT"] = str(count or 1)
        threads = max(1, (os.cpu_count() or 1) // world)
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            environment.setdefault(name, str(threads))
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", *command],
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                start_new_session=True,  # a terminal's Ctrl-C comes once, from here
            )
            for rank in range(world)
        ]
        until = None
        failed = 0  # what a worker that was killed leaves says less than what the others say of it
        while any(process.poll() is None for process in self._processes):
            statuses = [process.poll() for process in self._processes]
            failed = failed or _own_failure(statuses)
            if any(status is not None for status in statuses) and until is None:
                until = time.monotonic() + GRACE
            if until is not None and any(statuses) and time.monotonic() > until:
                for process in self._processes:  # a frozen one
                    process.kill()
            time.sleep(0.05)
        ended = [process.wait() for process in self._processes]
        return failed or _own_failure(ended) or (128 - min(ended) if any(ended) else 0)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def _own_failure(statuses: Sequence[int | None]) -> int:
    """The first status of a worker that ended by itself and failed, or 0."""
    return next((status for status in statuses if status is not None and status > 0), 0)


if __name__ == "__main__":
    main()
