"""One backend in a process of its own: what `compare.parity` starts, and whose files it reads.

A worker (compare/worker.py) that begins with {"package", "config"}; its tasks are Probe's.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from common import batches, checkpoint, datasets
from common.config import Config, from_json
from compare import engines
from compare.parity.rungs import ANCHOR_STEPS, OUTPUTS
from compare.worker import Tasks, serve

# Whose first value the nudged run moves. One of dcgan's kernels is so small that sums round its
# last place away, and the run would be the same to the last bit; a scale is about 1.
NUDGED = {"mnist28": "generator/dense1/kernel", "dcgan": "generator/norm1/scale"}


class Probe:
    """A backend, one state of it, and the data. Files hold canonical arrays."""

    def __init__(self, package: str, config: Config) -> None:
        self.package, self.config = package, config
        self.dataset = datasets.load(config)
        self.backend = engines.load(package)
        self.initial = checkpoint.initial(config)
        self.state = self.backend.make_state(config, self.initial)

    def _set(self, arrays: checkpoint.Arrays) -> None:
        self.backend.from_canonical(self.state, arrays)

    def _get(self) -> checkpoint.Arrays:
        return self.backend.to_canonical(self.state)

    def _save(self, path: str) -> None:
        checkpoint.save(Path(path), self._get(), self.config, self.package, {})

    def _data(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Of those steps of the experiment: images (K, B, H, W, C), noise (K, B, Z)."""
        return batches.data_of(self.dataset, self.config, range(first, first + count))

    def _train(self, first: int, count: int) -> np.ndarray:
        """Train the steps first .. first + count of the experiment: metrics (count, 4)."""
        return self.backend.train_chunk(self.state, *self._data(first, count))

    def ladder(self, steps_count: int, out: str, anchors: list[str]) -> None:
        """Rungs 0 to 4 as one .npz: initial/*, outputs/*, first/* (after one step), losses (S, 4).

        anchors: checkpoint files to write on the way, before every ANCHOR_STEPS-th step.
        """
        self._set(self.initial)
        arrays: dict[str, Any] = {f"initial/{name}": array for name, array in self._get().items()}
        images, noise = self._data(0, 1)
        for _ in range(OUTPUTS[self.config.architecture]):
            outputs = self.backend.outputs(self.state, images[0], noise[0])
        for name, array in outputs.items():
            arrays[f"outputs/{name}"] = array
        self._set(self.initial)  # outputs() moved the running statistics
        metrics = []
        cuts = sorted({1, *range(0, steps_count, ANCHOR_STEPS), steps_count})
        for start, end in itertools.pairwise(cuts):
            if anchors and start % ANCHOR_STEPS == 0:
                self._save(anchors[start // ANCHOR_STEPS])
            metrics.append(self._train(start, end - start))
            if end == 1:
                arrays |= {f"first/{name}": array for name, array in self._get().items()}
        arrays["losses"] = np.concatenate(metrics)
        np.savez(out, **arrays)

    def windows(self, anchors: list[str], out: str) -> None:
        """Rung 4: ANCHOR_STEPS steps from each anchor, as one .npz: losses (S, 4)."""
        metrics = []
        for index, anchor in enumerate(anchors):
            self._set(checkpoint.load(Path(anchor)).arrays)
            metrics.append(self._train(index * ANCHOR_STEPS, ANCHOR_STEPS))
        np.savez(out, losses=np.concatenate(metrics))

    def nudged(self, steps_count: int, out: str) -> None:
        """A free run; one weight of G's is one unit in its last place away: losses (S, 4)."""
        moved = checkpoint.initial(self.config)
        weight = moved[NUDGED[self.config.architecture]]
        weight.flat[0] = np.nextafter(weight.flat[0], weight.dtype.type(1))
        self._set(moved)
        np.savez(out, losses=self._train(0, steps_count))

    def relay(self, first: int, steps_count: int, files: dict[str, str]) -> None:
        """Rung 5: continue each checkpoint in `files` from step `first`, or begin; {in: out}."""
        for source, target in files.items():
            self._set(checkpoint.load(Path(source)).arrays if source else self.initial)
            self._train(first, steps_count)
            self._save(target)


def begin(package: str, config: dict[str, Any]) -> Tasks:
    """The tasks, of one state with the initial weights."""
    probe = Probe(package, from_json(config))
    tasks = (probe.ladder, probe.windows, probe.nudged, probe.relay)
    return {task.__name__: task for task in tasks}


if __name__ == "__main__":
    serve(begin)
