"""A training without a framework, for where it matters that two processes meet in a millisecond.

`python -m tests.torture.plain` takes the flags of any training and keeps a run directory as any.
Only its arithmetic is none: step s fills every array of the state with the number s + 1, so that a
reader sees whether all of a checkpoint is of one step. Before it opens its run directory it waits
at the gate, a file that the variable GATE names.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common import training
from common.batches import Dataset
from common.outputs import METRICS
from common.run import SHOWN_IMAGES, Run
from compare.engines import Engine

PLAIN = Engine("plain", "tests.torture.plain", ())


def train(run: Run, dataset: Dataset) -> None:
    """Train from the run's state to its last step."""
    gate = Path(os.environ.get("GATE", os.devnull))
    if not gate.exists():
        wait_at(gate)
    arrays = run.arrays
    pictures = np.zeros((SHOWN_IMAGES, *dataset.shape[1:]), np.float32)
    with run.open("no device", 1, ()):
        if run.step == 0:
            run.show(pictures)
        for chunk in run.chunks(dataset, most=10, vary=False):
            steps = np.arange(chunk.step, chunk.end)[:, None]
            run.record(chunk, 1 / (1.0 + steps + np.arange(len(METRICS))))
            if run.shows(chunk.end):
                run.show(pictures + np.sin(chunk.end))
            if run.saves(chunk.end):
                for array in arrays.values():
                    array[...] = chunk.end
                run.save(arrays)


def wait_at(gate: Path) -> None:
    """Say by a file that this process is there, and wait for the gate's own."""
    gate.with_name(f"{gate.name}-{os.getpid()}").touch()
    while not gate.exists():
        time.sleep(0.0002)


def all_at(gate: Path, processes: Iterable[subprocess.Popen[str]]) -> None:
    """Wait until each of the processes is at the gate, or has ended."""
    for process in processes:
        while process.poll() is None and not gate.with_name(f"{gate.name}-{process.pid}").exists():
            time.sleep(0.01)


if __name__ == "__main__":
    training.main("plain", train)
