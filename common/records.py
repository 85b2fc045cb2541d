"""What a run writes as it goes, besides checkpoints: metrics.jsonl, tensorboard/, samples/."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import images
from common.appending import Appended
from common.events import Curves
from common.limits import UserError
from common.outputs import METRICS, sample_path

TENSORBOARD_EVERY = 10  # steps between two points of its curves; metrics.jsonl has every step


class Records:
    """A run's records. A disk that refuses some is reported once, and asked again later."""

    def __init__(self, directory: Path, step: int, say: Callable[[str], None]) -> None:
        """step: where the run begins or goes on. say: takes a line for the reader."""
        self._directory = directory
        self._say = say
        self._metrics = Appended(directory / "metrics.jsonl")
        self._curves = Curves(directory / "tensorboard", step)
        self._curves.flush()
        self._refused: set[str] = set()  # names of files that the disk does not take at the moment

    def add(self, step: int, values: list[float]) -> None:
        """Note a step's metrics, in METRICS' order; flush() writes them."""
        named = dict(zip(METRICS, values, strict=True))
        self._metrics.add((json.dumps({"step": step, **named}) + "\n").encode("ascii"))
        if step % TENSORBOARD_EVERY == 0:
            for name, value in named.items():
                self._curves.scalar(name, value, step)

    def picture(self, name: str, pictures: NDArray[np.uint8], step: int) -> None:
        """A grid of images (N, H, W, C) for TensorBoard; flush() writes it."""
        self._curves.image(name, images.grid(pictures), step)

    def sample(self, pictures: NDArray[np.uint8], step: int) -> None:
        """Write the grid of the generator's images (N, H, W, C) after `step` updates."""
        self.check_there(step)
        try:
            images.save_grid(sample_path(self._directory, step), pictures)
        except OSError as error:
            self._say(f"warning: the samples of step {step} could not be written: {error}")
        self.picture("fake", pictures, step)

    def flush(self, step: int) -> None:
        """Write the metrics and curves of the first `step` steps."""
        self.check_there(step)
        for file in (self._metrics, self._curves):
            name = file.path.relative_to(self._directory).parts[0]
            try:
                file.flush()
                self._refused.discard(name)
            except OSError as error:
                if name not in self._refused:
                    self._say(f"warning: {name} could not be written ({error}); trying again")
                self._refused.add(name)

    def sync(self) -> None:
        """Bring the metrics onto the disk itself. OSError if it refuses."""
        self._metrics.flush(sync=True)

    def check_there(self, step: int) -> None:
        """Raise UserError if the run directory was deleted: nothing may be made there again."""
        try:
            self._metrics.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"The run directory {self._directory} was deleted, or metrics.jsonl in it, while "
                f"it was trained in; the training ends after step {step}."
            ) from None
        except OSError:
            pass  # whoever writes says what it is
