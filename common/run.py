"""A training run as a directory: how it begins, what it records, how it stops.

config.json  environment.json  metrics.jsonl  result.json  checkpoint.safetensors
samples/step-000250.png  samples.gif  losses.png  tensorboard/
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tqdm import tqdm

from common import batches, checkpoint, commandline, config, datasets, early, images
from common.appending import Appended, Curves
from common.config import Config, UserError, total_steps
from common.environment import git_commit, processor, versions
from common.outputs import METRICS, continue_records, write_overviews
from common.plan import Plan, TrainArguments, check_directory, make_plan, same_path, stamp_of
from common.watch import Watch

SHOWN_IMAGES = 16
TENSORBOARD_EVERY = 10  # steps between two points of its curves; metrics.jsonl has every step


class Diverged(UserError):
    """A loss is NaN or infinite: the training cannot go on."""


class Stopped(BaseException):
    """SIGINT or SIGTERM was honoured."""


# ------------------------------------------------------------------ signals


class Signals:
    """Ctrl-C and SIGTERM: at once before training, after the chunk (and its checkpoint) in it.

    A second one leaves immediately.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False  # True while a training state exists that is worth saving
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        if not self.deferred:
            raise Stopped


# ------------------------------------------------------------------ the run


class Run:
    """One run's directory, opened for writing. Used as `with run.open(...)` by each train.py."""

    def __init__(self, plan: Plan, backend: str, signals: Signals) -> None:
        self.config = plan.config
        self.directory = plan.directory
        self.arrays = plan.arrays
        self.step = plan.step
        self.total = total_steps(plan.config)
        self.noise = batches.shown_noise(plan.config.seed, SHOWN_IMAGES, plan.config.noise_size)
        self._plan = plan
        self._backend = backend
        self._signals = signals
        self._seconds = 0.0
        self._timed_images = 0
        self._began: float | None = None
        self._step_seconds: float | None = None
        self._saved = -1
        self._save_failed = False
        self._emptied = False
        self._refused: set[str] = set()  # names of files that a disk does not take at the moment
        self._watch = Watch(penalized=config.recipe_of(plan.config).penalty > 0)

    @contextlib.contextmanager
    def open(self, device: str, threads: int, packages: tuple[str, ...]) -> Iterator[None]:
        """Create or continue the directory; at the end of the block write what sums it up.

        device: in words, for the reader; threads: of the processor; packages: whose versions
        matter. Raises UserError if the directory is in use or cannot be written.
        """
        self._versions = versions(packages)
        missing: list[Path] = []
        with contextlib.ExitStack() as stack:
            try:
                missing = [p for p in (self.directory, *self.directory.parents) if not p.exists()]
                self.directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self.directory / ".lock", timeout=0))
                self._prepare(device, threads)
                self._open_records(stack)
            except Timeout:
                raise UserError(f"Another process is training in {self.directory}.") from None
            except OSError as error:
                self._undo(missing)
                raise UserError(
                    f"The run directory {self.directory} cannot be written "
                    f"({error.strerror or error}); choose another with --out."
                ) from None
            self._signals.deferred = True
            yield
            self._finish()

    def _prepare(self, device: str, threads: int) -> None:
        plan, directory = self._plan, self.directory
        in_place = plan.source is not None and same_path(plan.source, directory)
        if in_place and stamp_of(plan.read) != plan.stamp:
            # Going on from the older state would cut metrics that the newer one needs.
            raise UserError(
                f"Another process has trained in {directory} since its checkpoint of step "
                f"{plan.step} was read; give the command again."
            )
        current = directory / checkpoint.FILE_NAME
        if in_place and plan.read is not None and not same_path(plan.read, current):
            # An older copy: the run is at its step from here on, before later metrics are cut.
            checkpoint.write_atomically(current, checkpoint.read_regular(plan.read))
        if not in_place:
            check_directory(directory, plan.overwrite)  # again, now that nobody else can
            # A kill meanwhile leaves no half of an old run that could be continued, and a folder
            # that --overwrite still takes for a run's.
            rank = {checkpoint.FILE_NAME: 0, "config.json": 2}
            for path in sorted(directory.iterdir(), key=lambda path: rank.get(path.name, 1)):
                if path.name == ".lock":
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            self._emptied = True
        checkpoint.write_json(directory / "config.json", config.to_json(self.config))
        (directory / "samples").mkdir(exist_ok=True)
        if plan.source is not None:
            continue_records(plan.source, directory, plan.step)
            self._resume_clock(plan.source)
        checkpoint.write_json(
            directory / "environment.json",
            {
                "backend": self._backend,
                "versions": self._versions,
                "python": platform.python_version(),
                "system": platform.platform(),
                "processor": processor(),
                "device": device,
                "threads": threads,
                "git_commit": git_commit(),
                "command": [f"{self._backend}_impl.train", *sys.argv[1:]],
            },
        )
        done = f" from step {plan.step}" if plan.step else ""
        print(
            f"{self._backend}: training {self.config.architecture} on {self.config.dataset}{done} "
            f"to step {self.total}, batch {self.config.batch_size}, {self.config.precision}, "
            f"{device} -> {directory}",
            flush=True,
        )

    def _undo(self, missing: list[Path]) -> None:
        """Take back a start that a disk ended: half of a run would be in the next one's way.

        missing: the folders that were not there before.
        """
        with contextlib.suppress(OSError):
            for path in self.directory.iterdir() if self._emptied else ():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock" or missing:
                    path.unlink()
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()

    def _open_records(self, stack: contextlib.ExitStack) -> None:
        self._metrics = Appended(self.directory / "metrics.jsonl")
        with _without_torch():
            self._curves = Curves(self.directory / "tensorboard", self.step)
        self._curves.flush()
        self._bar = stack.enter_context(
            tqdm(
                total=self.total,
                initial=self.step,
                unit="step",
                disable=not sys.stderr.isatty(),  # quiet in a log file
                dynamic_ncols=True,
            )
        )

    def _resume_clock(self, source: Path) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
            result = checkpoint.read_json(source / "result.json")
            if result["step"] == self.step and result["images_per_second"]:
                seconds, rate = float(result["seconds"]), float(result["images_per_second"])
                if seconds > 0 and rate > 0 and math.isfinite(seconds * rate):
                    self._seconds, self._timed_images = seconds, round(seconds * rate)
            self._watch.restore(result["watch"])

    # -------------------------------------------------------------- while it trains

    def chunks(self, dataset: batches.Dataset, most: int, vary: bool) -> Iterator[batches.Chunk]:
        """The batches from here to the end, `most` steps at a time.

        With vary, chunks are shortened to about a second, so that Ctrl-C is honoured soon on a
        slow processor; without, a compiled chunk meets as few lengths as possible. Ends early,
        after the checkpoint, when a signal came.
        """

        def chunk_steps() -> int:
            if not vary:
                return most
            return max(1, min(most, int(1.0 / self._step_seconds))) if self._step_seconds else 1

        first = batches.indices(self.config.seed, 0, self.config.batch_size, dataset.shape[0])
        real = dataset.gather(first[:SHOWN_IMAGES])
        self._watch.real(real)
        if self.step == 0:
            self._picture("real", real, 0)
        for chunk in batches.chunks(dataset, self.config, self.step, chunk_steps=chunk_steps):
            yield chunk
            # After the last step there is nothing to continue: the run is finished instead.
            if self._signals.received is not None and self._saved == chunk.end < self.total:
                raise Stopped
            # The wait for the next chunk belongs to the training's time.
            self._began = time.perf_counter()

    def record(self, chunk: batches.Chunk, metrics: NDArray[np.floating[Any]]) -> None:
        """Note the metrics of a chunk, (K, 4) in METRICS' order: file, bar, TensorBoard, lines.

        Raises Diverged at the first step whose losses are not finite.
        """
        now, count = time.perf_counter(), len(metrics)
        if self._began is not None:  # None in the first chunk, which compiles and warms up
            self._seconds += now - self._began
            self._timed_images += count * self.config.batch_size
            self._step_seconds = (now - self._began) / count
        finite = np.isfinite(metrics).all(axis=1)
        good = count if finite.all() else int(finite.argmin())
        for offset, row in enumerate(metrics[:good].tolist()):
            step, values = chunk.step + offset, dict(zip(METRICS, row, strict=True))
            self._metrics.add((json.dumps({"step": step, **values}) + "\n").encode("ascii"))
            if step % self.config.show_every == 0:
                self._say("Iter: {}, D: {:.4}, G:{:.4}".format(step, *row[:2]))
            if step % TENSORBOARD_EVERY == 0:
                for name, value in values.items():
                    self._curves.scalar(name, value, step)
        self._flush()
        if good < count:
            self._diverged(chunk.step + good)
        self.step = chunk.end
        self._say_warning(self._watch.metrics(self.step, metrics))
        self._bar.update(count)
        d_loss, g_loss = (float(v) for v in metrics[-1, :2])
        rate = self._images_per_second
        speed = {} if rate is None else {"images/s": f"{rate:.0f}"}
        self._bar.set_postfix({"D": f"{d_loss:.3f}", "G": f"{g_loss:.3f}", **speed}, refresh=False)

    def _flush(self) -> None:
        """Write the metrics and curves. A disk that refuses is reported once, and asked again."""
        self._check_there()
        for file in (self._metrics, self._curves):
            name = file.path.relative_to(self.directory).parts[0]
            try:
                file.flush()
                self._refused.discard(name)
            except OSError as error:
                if name not in self._refused:
                    self._say(f"warning: {name} could not be written ({error}); trying again")
                self._refused.add(name)

    def _check_there(self) -> None:
        """Raise UserError if the run directory was deleted: nothing may be made there again."""
        try:
            self._metrics.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"The run directory {self.directory} was deleted, or metrics.jsonl in it, while "
                f"it was trained in; the training ends after step {self.step}."
            ) from None
        except OSError:
            pass  # whoever writes says what it is

    def shows(self, end: int) -> bool:
        """Is a sample grid due after `end` updates?"""
        return end % self.config.show_every == 0 or end == self.total

    def show(self, samples: NDArray[np.floating[Any]]) -> None:
        """Save the grid of the generator's images of self.noise, (16, H, W, C) in [-1, 1]."""
        pictures = images.to_uint8(samples)
        grid = images.grid(pictures)
        self._check_there()
        try:
            images.save_png(self._sample_path(self.step), grid, zoom=3)
        except OSError as error:
            self._say(f"warning: the samples of step {self.step} could not be written: {error}")
        self._picture("fake", pictures, self.step)
        self._say_warning(self._watch.samples(self.step, pictures))

    def saves(self, end: int) -> bool:
        """Is a checkpoint due after `end` updates? At its interval, at the end, on a signal."""
        due = end % self.config.checkpoint_every == 0 or end == self.total
        return due or self._save_failed or self._signals.received is not None

    def save(self, arrays: checkpoint.Arrays) -> None:
        """Write the checkpoint. A disk that refuses is reported and tried again after the chunk."""
        last = self.step == self.total or self._signals.received is not None
        self._check_there()
        try:
            self._metrics.flush(sync=True)
            path = self.directory / checkpoint.FILE_NAME
            checkpoint.save(path, arrays, self.config, self._backend, self._versions)
            self._check_there()  # a folder deleted meanwhile was made anew, with a checkpoint alone
            self._write_result(finished=False)
        except checkpoint.CheckpointError as error:
            raise Diverged(
                f"The state after step {self.step} is no longer usable: {error}."
            ) from None
        except OSError as error:
            self._check_there()
            message = f"he checkpoint of step {self.step} could not be written ({error})"
            if last:
                raise UserError(f"T{message}; {self._last_checkpoint()}.") from None
            self._say(f"warning: t{message}; trying again after the next chunk")
            self._save_failed = True
            return
        self._save_failed = False
        self._saved = self.step

    # -------------------------------------------------------------- how it ends

    def _finish(self) -> None:
        self._bar.close()
        self._flush()
        directory = self.directory
        write_overviews(directory)
        try:
            self._write_result(finished=True)
        except OSError as error:
            raise UserError(
                f"All {self.total} steps are done and saved, but result.json could not be written "
                f"({error}); when it can be, --resume {directory} writes it."
            ) from None
        rate = self._images_per_second
        speed = "" if rate is None else f": {self._seconds:.1f} s of training, {rate:.0f} images/s"
        python = _relative(Path(sys.executable))
        print(
            f"Finished {self.total} steps{speed}.\n"
            f"  pictures     {directory / 'samples'} and {directory / 'samples.gif'}\n"
            f"  losses       {directory / 'losses.png'} (numbers: metrics.jsonl; "
            f"curves: tensorboard --logdir {directory / 'tensorboard'})\n"
            f"  checkpoint   {directory / checkpoint.FILE_NAME}\n"
            f"  more images  {python} -m {self._backend}_impl.sample {directory} "
            "--count 64 --seed 1 --out samples.png",
            flush=True,
        )

    def _diverged(self, step: int) -> None:
        raise Diverged(
            f"The losses of step {step} are not finite, so the training cannot go on; "
            f"{self._last_checkpoint()}. Try a lower --learning-rate than "
            f"{self.config.learning_rate}, or --precision float32."
        )

    def too_large(self) -> UserError:
        """What to say and try when an iteration does not fit into memory."""
        batch = self.config.batch_size
        message = f"An iteration with a batch of {batch} images does not fit into the memory here; "
        if self._plan.step or self._saved >= 0:
            # The batch size is part of the experiment, which a resume cannot change.
            return UserError(
                f"{message}resume where there is more memory, or with another --device, or train "
                f"anew with --batch-size {max(1, batch // 2)} in another --out."
            )
        smaller = f"--batch-size {batch // 2}" if batch > 1 else "another --device"
        return UserError(f"{message}start again with {smaller} and --overwrite.")

    def _last_checkpoint(self) -> str:
        path = self.directory / checkpoint.FILE_NAME
        if not path.exists():
            return "no checkpoint was written yet"
        return f"the last good checkpoint is {path}"

    @property
    def _images_per_second(self) -> float | None:
        return self._timed_images / self._seconds if self._seconds > 0 else None

    def _write_result(self, finished: bool) -> None:
        checkpoint.write_json(
            self.directory / "result.json",
            {
                "step": self.step,
                "seconds": self._seconds,
                "images_per_second": self._images_per_second,
                "finished": finished,
                "watch": self._watch.verdict(),
            },
        )

    def _sample_path(self, step: int) -> Path:
        return self.directory / "samples" / f"step-{step:06d}.png"

    def _picture(self, name: str, pictures: NDArray[np.uint8], step: int) -> None:
        self._curves.image(name, images.grid(pictures), step)

    def _say_warning(self, warning: str | None) -> None:
        if warning is not None:
            self._say(warning)

    def _say(self, line: str) -> None:
        self._bar.clear()  # the bar is on stderr, the line on stdout
        try:
            print(line, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            pass  # a log file on a full disk; Python keeps the line and tries again
        self._bar.refresh()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Keep tensorboardX from importing torch, which it does for tensors that it never sees here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# ------------------------------------------------------------------ the command


def main(backend: str, train: Callable[[Run, batches.Dataset], None]) -> None:
    """`python -m <backend>_impl.train`. `train` imports its framework only when it is called."""
    signals = Signals()
    run: Run | None = None
    try:
        arguments, given = commandline.parse(
            TrainArguments,
            sys.argv[1:],
            prog=f"python -m {backend}_impl.train",
            description=f"Train the DCGAN with the {backend} backend.",
        )
        planned = make_plan(arguments, given, backend)
        if planned.step == total_steps(planned.config):
            _complete(planned)
            print(
                f"{arguments.resume} is finished: all {planned.step} steps are done."
                + _to_go_on(planned.config)
            )
            return
        dataset = datasets.load(planned.config)
        run = Run(planned, backend, signals)
        train(run, dataset)
    except UserError as error:
        if not isinstance(error, Diverged):
            commandline.fail(error)
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BaseException as error:
        # Whatever an interrupted import or thread turned the signal into, it was the signal.
        if signals.received is None:
            if run is not None and _out_of_memory(error):
                commandline.fail(run.too_large())
            raise
        _say_stopped(run)
        sys.stdout.flush()
        raise SystemExit(128 + signals.received) from None


def _complete(planned: Plan) -> None:
    """Write what a run lacks that ended between its last checkpoint and its last file."""
    directory, step = planned.directory, planned.step
    if planned.source is None or not same_path(planned.source, directory):
        return
    result = {"step": step, "seconds": 0.0, "images_per_second": None, "watch": Watch().verdict()}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        result |= checkpoint.read_json(directory / "result.json")  # of this step or an earlier one
        if result["finished"] and result["step"] == step:
            return
    try:
        with FileLock(directory / ".lock", timeout=0):
            write_overviews(directory)
            checkpoint.write_json(
                directory / "result.json", result | {"step": step, "finished": True}
            )
    except Timeout:  # a process that is writing them itself
        raise UserError(f"Another process is training in {directory}.") from None
    except OSError:
        pass  # a folder that cannot be written is as finished


def _out_of_memory(error: BaseException) -> bool:
    """Did an allocation fail? Told by class or words, as no framework is imported here.

    torch.OutOfMemoryError on a GPU, a RuntimeError on a processor; TensorFlow's
    ResourceExhaustedError; JAX's JaxRuntimeError RESOURCE_EXHAUSTED; numpy's MemoryError.
    """
    words = ("OutOfMemoryError", "ResourceExhausted", "RESOURCE_EXHAUSTED", "t allocate memory")
    said = f"{type(error).__name__} {error}"
    return isinstance(error, MemoryError) or any(word in said for word in words)


def _to_go_on(settings: Config) -> str:
    if config.resume_may_change(settings) >= config.LENGTH:
        return " To go on, raise --steps or --epochs."
    return f" Recipe {settings.recipe} ends there; for a longer run, start one with --steps."


def _say_stopped(run: Run | None) -> None:
    if run is None or run._saved < 0:
        print(f"\n{early.NOTHING_SAVED}")
    else:
        print(
            f"\nStopped after step {run.step} of {run.total}; continue with "
            f"--resume {run.directory}"
        )
