"""How fast a run trains: without start-up, the first chunk, samples and checkpoints."""

from __future__ import annotations

import math
import time


class Clock:
    """Seconds spent on iterations, and images per second of them."""

    def __init__(self, batch_size: int) -> None:
        self.seconds = 0.0
        self._batch_size = batch_size
        self._images = 0
        self._began: float | None = None  # None in the first chunk, which compiles and warms up
        self._step_seconds: float | None = None  # of the last chunk

    def begin(self) -> None:
        """The wait for the next chunk begins, which is part of the training's time."""
        self._began = time.perf_counter()

    def end(self, steps: int) -> None:
        """So many iterations are done since begin()."""
        if self._began is not None:
            elapsed = time.perf_counter() - self._began
            self.seconds += elapsed
            self._images += steps * self._batch_size
            self._step_seconds = elapsed / steps

    def steps_in_a_second(self, most: int) -> int:
        """How many iterations take about a second, 1 to `most`; 1 while nothing is known."""
        if self._step_seconds is None:
            return 1
        return max(1, min(most, int(1.0 / self._step_seconds)))

    @property
    def images_per_second(self) -> float | None:
        return self._images / self.seconds if self.seconds > 0 else None

    def restore(self, seconds: float, images_per_second: float) -> None:
        """Go on from an earlier run's figures; such as cannot be are passed over."""
        images = seconds * images_per_second
        if seconds > 0 and images_per_second > 0 and math.isfinite(images):
            self.seconds, self._images = seconds, round(images)
