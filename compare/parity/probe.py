"""One backend in a process of its own: what `compare.parity` starts, and whose files it reads.

`python -m compare.parity.probe PACKAGE CONFIG`, then a task a line on standard input. The
backend is loaded by name, so that this process holds one framework and `compare` none.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import batches, checkpoint, datasets
from common.backend import Backend, State
from common.config import Config, from_json
from compare import engines

# Rung 4's windows: long enough for a wrong step to show, too short for rounding to grow far.
ANCHOR_STEPS = 20


@dataclass
class Loaded:
    """A backend, one state of it, and the data."""

    package: str
    config: Config
    backend: Backend[Any]
    state: State
    dataset: batches.Dataset

    def set(self, arrays: checkpoint.Arrays) -> None:
        """Give the state canonical values."""
        self.backend.from_canonical(self.state, arrays)

    def get(self) -> checkpoint.Arrays:
        """The state as canonical arrays."""
        return self.backend.to_canonical(self.state)

    def save(self, path: str) -> None:
        """Write the state as a checkpoint."""
        checkpoint.save(Path(path), self.get(), self.config, self.package, {})

    def data(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Of those steps of the experiment: images (K, B, H, W, C), noise (K, B, Z)."""
        return batches.data_of(self.dataset, self.config, range(first, first + count))

    def train(self, first: int, count: int) -> np.ndarray:
        """Train the steps first .. first + count of the experiment: metrics (count, 4)."""
        return self.backend.train_chunk(self.state, *self.data(first, count))


def load(package: str, config: Config) -> Loaded:
    """A backend, and a state with the initial weights."""
    backend = engines.load(package)
    state = backend.make_state(config, checkpoint.initial(config))
    return Loaded(package, config, backend, state, datasets.load(config))


# ------------------------------------------------------------------ the parity ladder's tasks


def ladder(loaded: Loaded, steps_count: int, out: str, anchors: list[str]) -> None:
    """Rungs 0 to 4 as one .npz: initial/*, outputs/*, first/* (after one step), losses (S, 4).

    anchors: checkpoint files to write on the way, before every ANCHOR_STEPS-th step.
    """
    loaded.set(checkpoint.initial(loaded.config))
    arrays: dict[str, Any] = {f"initial/{name}": array for name, array in loaded.get().items()}
    images, noise = loaded.data(0, 1)
    for name, array in loaded.backend.outputs(loaded.state, images[0], noise[0]).items():
        arrays[f"outputs/{name}"] = array
    loaded.set(checkpoint.initial(loaded.config))  # outputs() moved the running statistics
    metrics = []
    cuts = sorted({1, *range(0, steps_count, ANCHOR_STEPS), steps_count})
    for start, end in itertools.pairwise(cuts):
        if anchors and start % ANCHOR_STEPS == 0:
            loaded.save(anchors[start // ANCHOR_STEPS])
        metrics.append(loaded.train(start, end - start))
        if end == 1:
            arrays |= {f"first/{name}": array for name, array in loaded.get().items()}
    arrays["losses"] = np.concatenate(metrics)
    np.savez(out, **arrays)


def windows(loaded: Loaded, anchors: list[str], out: str) -> None:
    """Rung 4: ANCHOR_STEPS steps from each anchor, as one .npz: losses (S, 4)."""
    metrics = []
    for index, anchor in enumerate(anchors):
        loaded.set(checkpoint.load(Path(anchor)).arrays)
        metrics.append(loaded.train(index * ANCHOR_STEPS, ANCHOR_STEPS))
    np.savez(out, losses=np.concatenate(metrics))


def nudged(loaded: Loaded, steps_count: int, out: str) -> None:
    """A free run whose first weight is one unit in its last place away, as .npz: losses (S, 4)."""
    moved = checkpoint.initial(loaded.config)
    weight = moved["generator/dense1/kernel"]
    weight[0, 0] = np.nextafter(weight[0, 0], weight.dtype.type(1))
    loaded.set(moved)
    np.savez(out, losses=loaded.train(0, steps_count))


def relay(loaded: Loaded, first: int, steps_count: int, files: dict[str, str]) -> None:
    """Rung 5: continue each checkpoint in `files` from step `first`, or begin; {in: out}."""
    for source, target in files.items():
        begin = checkpoint.load(Path(source)).arrays if source else None
        loaded.set(checkpoint.initial(loaded.config) if begin is None else begin)
        loaded.train(first, steps_count)
        loaded.save(target)


TASKS: dict[str, Callable[..., None]] = {
    "ladder": ladder,
    "windows": windows,
    "nudged": nudged,
    "relay": relay,
}


def tasks(package: str, config: Config) -> None:
    """Do the task that each line on standard input names, as JSON; answer each with a line."""
    loaded = load(package, config)
    for line in sys.stdin:
        arguments = json.loads(line)
        TASKS[arguments.pop("task")](loaded, **arguments)
        print("done", flush=True)


if __name__ == "__main__":
    tasks(sys.argv[1], from_json(json.loads(sys.argv[2])))
