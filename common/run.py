"""A training run: what the three train.py drive.

It leaves in its directory:

    config.json  environment.json  metrics.jsonl  result.json  checkpoint.safetensors
    samples/step-000250.png  samples.gif  losses.png  tensorboard/
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common import (
    batches,
    checkpoint,
    config,
    images,
    messages,
)
from common.clock import Clock
from common.config import total_steps
from common.directory import RunDirectory
from common.environment import describe, versions
from common.limits import UserError, quoted
from common.outputs import write_overviews
from common.plan import Plan
from common.progress import Progress
from common.records import Records
from common.signals import Signals, Stopped
from common.watch import Watch

if TYPE_CHECKING:
    from common.workers import Workers

SHOWN_IMAGES = 16


class Diverged(UserError):
    """A loss is NaN or infinite: the training cannot go on."""


class Run:
    """One run. Used as `with run.open(...)` by each train.py."""

    def __init__(
        self, plan: Plan, backend: str, signals: Signals, workers: Workers | None = None
    ) -> None:
        """workers: of which this process is one; None if it trains alone."""
        self.config = plan.config
        self.directory = plan.directory
        self.arrays = plan.arrays
        self.step = plan.step  # updates done
        self.total = total_steps(plan.config)
        self.noise = batches.shown_noise(plan.config.seed, SHOWN_IMAGES, plan.config.noise_size)
        self.saved: int | None = None  # the step of the last checkpoint that this run wrote
        self.workers = workers
        self._plan = plan
        self._backend = backend
        self._signals = signals
        self._save_failed = False
        self.stopping: int | None = None  # the signal that all workers have agreed to stop for
        self._chunk_steps = 1
        self._clock = Clock(plan.config.batch_size)
        self._watch = Watch(
            plan.config.architecture, penalized=config.recipe_of(plan.config).penalty > 0
        )

    @contextlib.contextmanager
    def open(self, device: str, threads: int, packages: tuple[str, ...]) -> Iterator[None]:
        """Create or continue the directory; at the end of the block write what sums it up.

        device: in words, for the reader; threads: of the processor; packages: whose versions
        matter. Raises UserError if the directory is in use or cannot be written.
        """
        self._versions = versions(packages)

        def start() -> None:
            self._resume_result()
            world = self.workers.world if self.workers else 1
            environment = describe(self._backend, self._versions, device, threads, world)
            checkpoint.write_json(self.directory / "environment.json", environment)
            done = f" from step {self.step}" if self.step else ""
            print(
                f"{self._backend}: training {self.config.architecture} on {self.config.dataset}"
                f"{done} to step {self.total}, batch {self.config.batch_size}, "
                f"{self.config.precision}, {f'{world} workers, ' if world > 1 else ''}{device} "
                f"-> {self.directory}",
                flush=True,
            )
            self._records = Records(self.directory, self.step, self._say)

        with RunDirectory(self._plan).held(start):
            with Progress(self.step, self.total) as self._progress:
                self._signals.deferred = True
                yield
            self._finish()

    def _resume_result(self) -> None:
        """Go on with the clock and the watch of the run that is resumed, as far as it has them."""
        if self._plan.source is None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            result = checkpoint.read_json(self._plan.source / "result.json")
            if result["step"] == self.step and result["images_per_second"]:
                self._clock.restore(float(result["seconds"]), float(result["images_per_second"]))
            self._watch.restore(result["watch"])

    # -------------------------------------------------------------- while it trains

    def chunks(self, dataset: batches.Dataset, most: int, vary: bool) -> Iterator[batches.Chunk]:
        """The batches from here to the end, `most` steps at a time.

        With vary, chunks are shortened to about a second, so that Ctrl-C is honoured soon on a
        slow processor; without, a compiled chunk meets as few lengths as possible. Ends early,
        after the checkpoint, when a signal came.
        """
        first = batches.indices(self.config.seed, 0, self.config.batch_size, dataset.shape[0])
        real = dataset.gather(first[:SHOWN_IMAGES])
        self._watch.real(real)
        if self.step == 0:
            self._records.picture("real", real, 0)
        yield from self._chunks(dataset, most, vary)

    def _chunks(self, dataset: batches.Dataset, most: int, vary: bool) -> Iterator[batches.Chunk]:
        rank, world = (self.workers.rank, self.workers.world) if self.workers else (0, 1)
        self._most = most if vary else None
        self._chunk_steps = 1 if vary else most
        for chunk in batches.chunks(
            dataset, self.config, self.step, rank, world, lambda: self._chunk_steps
        ):
            yield chunk
            # After the last step there is nothing to continue: the run is finished instead.
            if self.stopping is not None and self.saved == self.step < self.total:
                self._stop()
            self._clock.begin()

    def _stop(self) -> None:
        raise Stopped

    def _agree(self) -> None:
        """Learn of signals and choose the next chunk's length; all workers alike."""
        steps = self._clock.steps_in_a_second(self._most) if self._most else self._chunk_steps
        self.stopping = self._signals.received
        if self.workers:
            mine = json.dumps([self.stopping, steps]).encode()
            theirs = [json.loads(each) for each in self.workers.exchange(mine)]
            steps = theirs[0][1]
            self.stopping = next((each for each, _ in theirs if each is not None), None)
        self._chunk_steps = steps

    def record(self, chunk: batches.Chunk, metrics: NDArray[np.floating[Any]]) -> None:
        """Note the metrics of a chunk, (K, 4) in METRICS' order: file, bar, TensorBoard, lines.

        Raises Diverged at the first step whose losses are not finite.
        """
        self._clock.end(len(metrics))
        finite = np.isfinite(metrics).all(axis=1)
        good = len(metrics) if finite.all() else int(finite.argmin())
        for step, row in enumerate(metrics[:good].tolist(), start=chunk.step):
            self._records.add(step, row)
            if step % self.config.show_every == 0:
                self._say("Iter: {}, D: {:.4}, G:{:.4}".format(step, *row[:2]))
        self._records.flush(self.step)
        if good < len(metrics):
            raise Diverged(messages.not_finite(chunk.step + good, self.directory, self.config))
        self.step = chunk.end
        self._warn(self._watch.metrics(self.step, metrics))
        d_loss, g_loss = (float(loss) for loss in metrics[-1, :2])
        self._progress.advance(len(metrics), d_loss, g_loss, self._clock.images_per_second)

    def shows(self, end: int) -> bool:
        """Is a sample grid due after `end` updates?"""
        return end % self.config.show_every == 0 or end == self.total

    def show(self, samples: NDArray[np.floating[Any]]) -> None:
        """Save the grid of the generator's images of self.noise, (16, H, W, C) in [-1, 1]."""
        pictures = images.to_uint8(samples)
        self._records.sample(pictures, self.step)
        self._warn(self._watch.samples(self.step, pictures))

    def saves(self, end: int) -> bool:
        """Is a checkpoint due after `end` updates? At its interval, at the end, on a signal."""
        self._agree()
        due = end % self.config.checkpoint_every == 0 or end == self.total
        return due or self._save_failed or self.stopping is not None

    def save(self, arrays: checkpoint.Arrays) -> None:
        """Write the checkpoint. A disk that refuses is reported and tried again after the chunk."""
        step, path = self.step, self.directory / checkpoint.FILE_NAME
        self._records.check_there(step)
        try:
            self._records.sync()
            checkpoint.save(path, arrays, self.config, self._backend, self._versions)
            # A folder that was deleted meanwhile has been made anew, with a checkpoint alone.
            self._records.check_there(step)
            self._write_result(finished=False)
        except checkpoint.CheckpointError as error:
            raise Diverged(f"The state after step {step} is no longer usable: {error}.") from None
        except OSError as error:
            self._records.check_there(step)
            if step == self.total or self.stopping is not None:
                raise UserError(
                    f"The checkpoint of step {step} could not be written ({error}); "
                    f"{messages.last_checkpoint(self.directory)}."
                ) from None
            self._say(
                f"warning: the checkpoint of step {step} could not be written ({error}); trying "
                "again after the next chunk"
            )
            self._save_failed = True
            return
        self._save_failed = False
        self.saved = step

    def _warn(self, warning: str | None) -> None:
        if warning is not None:
            self._say(warning)

    def _say(self, line: str) -> None:
        self._progress.say(line)

    # -------------------------------------------------------------- how it ends

    def _finish(self) -> None:
        self._records.flush(self.step)
        write_overviews(self.directory)
        try:
            self._write_result(finished=True)
        except OSError as error:
            raise UserError(
                f"All {self.total} steps are done and saved, but result.json could not be written "
                f"({error}); when it can be, {quoted('--resume', self.directory)} writes it."
            ) from None
        print(messages.finished(self._backend, self.directory, self.total, self._clock), flush=True)

    def _write_result(self, finished: bool) -> None:
        result = {
            "step": self.step,
            "seconds": self._clock.seconds,
            "images_per_second": self._clock.images_per_second,
            "finished": finished,
            "watch": self._watch.verdict(),
        }
        checkpoint.write_json(self.directory / "result.json", result)

    def too_large(self) -> UserError:
        """What to say and try when an iteration does not fit into memory."""
        return messages.too_large(
            self.config.batch_size, saved=self._plan.step > 0 or self.saved is not None
        )
