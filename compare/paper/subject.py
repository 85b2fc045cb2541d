"""What is tried: a run's networks, asked through a process of an engine, and its data set."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from common import batches, checkpoint, datasets, images
from common.catalogue import CATALOGUE
from common.config import Config, Precision
from compare import runs
from compare.engines import Engine
from compare.paper.probe import Weights
from compare.worker import Worker

Floats = NDArray[np.floating[Any]]
Images = NDArray[np.uint8]  # (N, H, W, C)

LARGEST = 250_000_000  # values of the training images that are looked at: 81,380 of 32 x 32 x 3
HELD_OUT = 10_000  # images, at most
SEED = 1  # of the samples' noise, as `sample` has it


class Networks:
    """The networks of a checkpoint file. They end with the `with` block that they are made for."""

    def __init__(self, engine: Engine, file: Path, precision: Precision = "float32") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._worker = Worker(
            engine,
            "compare.paper.probe",
            package=engine.package,
            run=str(file.resolve()),
            precision=precision,
        )

    def features(self, pictures: Images, weights: Weights = "trained") -> Floats:
        """D's features (N, F)."""
        return self._ask("features", images=pictures, weights=weights)

    def guided(self, pictures: Images, channels: Any, weights: Weights = "trained") -> Floats:
        """Guided gradients of a channel of D's last map, for each image one: (N, H, W, C)."""
        chosen = np.asarray(channels, np.int64)
        return self._ask("guided", images=pictures, channels=chosen, weights=weights)

    def generate(self, noise: Floats) -> Floats:
        """Images (N, H, W, C) in (-1, 1) of noise (N, Z)."""
        return self._ask("generate", noise=noise.astype(np.float32))

    def draw(self, noise: Floats) -> Images:
        """The same as bytes."""
        return images.to_uint8(self.generate(noise))

    def maps(self, noise: Floats) -> Floats:
        """G's last maps (N, h, w, C)."""
        return self._ask("maps", noise=noise.astype(np.float32))

    def draw_without(self, noise: Floats, dropped: list[int]) -> Images:
        """Images of noise (N, Z) without some of G's last maps."""
        found = self._ask("without", noise=noise.astype(np.float32), dropped=dropped)
        return images.to_uint8(found)

    def _ask(self, task: str, **arguments: Any) -> Floats:
        """A task's result. Arrays go and come as files."""
        sent = {name: self._sent(name, value) for name, value in arguments.items()}
        out = Path(self._folder.name) / "out.npy"
        self._worker.ask(task, out=str(out), **sent)
        found: Floats = np.load(out)
        return found

    def _sent(self, name: str, value: Any) -> Any:
        """What of an argument goes into JSON: of an array the name of its file."""
        if not isinstance(value, np.ndarray):
            return value
        path = Path(self._folder.name) / f"{name}.npy"
        np.save(path, value)
        return str(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.close()
        self._folder.cleanup()


@dataclass(frozen=True)
class Subject:
    """A run: its checkpoint, settings and images."""

    name: str
    file: Path
    step: int
    backend: str  # which one wrote it
    config: Config

    @functools.cached_property
    def training(self) -> Images:
        """The images it was trained on, or of too many the first."""
        dataset = datasets.load(self.config, _silent)
        count, *shape = dataset.shape
        return dataset.gather(np.arange(min(count, LARGEST // int(np.prod(shape)))))

    @functools.cached_property
    def held_out(self) -> Images | None:
        """HELD_OUT images it was not trained on, at most; None of a folder."""
        dataset = datasets.held_out(self.config, HELD_OUT, _silent)
        return None if dataset is None else dataset.gather(np.arange(dataset.shape[0]))

    @property
    def is_labelled(self) -> bool:
        """Has its data set classes?"""
        return self.config.dataset in CATALOGUE

    def labels(self, split: datasets.Split) -> NDArray[np.uint8]:
        """The classes of `training` (`train`) or of `held_out` (`test`)."""
        found = datasets.labels(self.config, split, _silent)
        return found[: len(self.training)] if split == "train" else found[:HELD_OUT]

    def noise(self, count: int, seed: int = SEED) -> NDArray[np.float32]:
        """Noise (count, Z) in [-1, 1)."""
        return batches.sampled_noise(seed, count, self.config.noise_size)


def subject(name: str, data_dir: str) -> Subject:
    """A run directory or checkpoint file of the command line. UserError if it is none."""
    file = checkpoint.find(Path(name))
    saved = checkpoint.load(file)
    config = replace(saved.config, data_dir=data_dir)
    return Subject(name, file, saved.step, saved.backend, config)


def drawn(purpose: int, index: int, count: int) -> NDArray[np.int64]:
    """A permutation of range(count), the same for everybody."""
    return np.argsort(batches.words(0, purpose, index, count), kind="stable").astype(np.int64)


def _silent(line: str) -> None:
    """What data sets say of where they lie was said in training."""


@contextlib.contextmanager
def snapshot(tried: Subject) -> Iterator[Subject]:
    """The same with a copy of its checkpoint, for the time of a `with` block (runs.copied)."""
    with runs.copied(tried.file) as file:
        yield replace(tried, file=file, step=checkpoint.load(file).step)
