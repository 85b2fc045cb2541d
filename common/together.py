"""A training run of several workers: what differs from a run alone.

Worker 0 plans the run, and alone writes and speaks of it; the others get the plan from it, so that
their machines need the data but not the run directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from common import batches, checkpoint, config, messages, plan
from common.catalogue import CATALOGUE
from common.config import Config
from common.limits import UserError
from common.place import Place
from common.plan import Plan, TrainArguments
from common.run import Run
from common.signals import Signals
from common.workers import BEAT, SILENCE, Workers, choose_gpu


class Member:
    """One worker of a run."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.workers: Workers | None = None  # from make_plan on
        self._saved = False  # is there a checkpoint in the run directory before it begins?

    def make_plan(self, arguments: TrainArguments, given: set[str], backend: str) -> Plan:
        """plan.make_plan of worker 0, for all of them. UserError if they cannot share a batch."""
        choose_gpu(self._place)
        sys.stderr = sys.__stderr__
        workers = self.workers = Workers(self._place)
        if self._place.rank == 0:
            made = plan.make_plan(arguments, given, backend)
            if made.config.batch_size % workers.world:
                raise UserError(
                    f"A batch of {made.config.batch_size} images cannot be shared by "
                    f"{workers.world} workers equally; start a number of workers that divides it, "
                    "or another --batch-size."
                )
            initial = made.read is None  # each worker can compute it
            self._saved = made.source is not None and plan.same_path(made.source, made.directory)
            said = [config.to_json(made.config), str(made.directory), initial, self._saved]
            workers.exchange(json.dumps(said).encode())
            workers.exchange(b"" if initial else safetensors.save(made.arrays))
            return made
        settings, directory, initial, self._saved = json.loads(workers.exchange(b"")[0])
        arrays = workers.exchange(b"")[0]
        own: dict[str, Any] = {}  # where the data lie on this machine
        if "data_dir" in given:
            own["data_dir"] = arguments.data_dir
        if "dataset" in given and settings["dataset"] not in CATALOGUE:
            own["dataset"] = arguments.dataset
        chosen = Config(**settings | own)
        if self._place.local == 0:
            print(
                f"{backend}: worker {workers.rank} of {workers.world} trains with worker 0 on "
                f"{self._place.host}, which writes {directory}.",
                file=sys.stderr,
            )
        return Plan(
            chosen,
            Path(directory),
            checkpoint.initial(chosen) if initial else safetensors.load(arrays),
        )

    def run(self, made: Plan, backend: str, signals: Signals) -> Run:
        """The run, as this worker sees it."""
        kind = Run if self._place.rank == 0 else Follower
        run = kind(made, backend, signals, self.workers)
        assert self.workers is not None
        self.workers.advice = lambda: messages.go_on(
            made.directory, saved=self._saved or run.saved is not None
        )
        return run


@contextlib.contextmanager
def member(place: Place) -> Iterator[Member]:
    """A worker's whole life: the others learn how it ends."""
    if place.rank:
        # For the process's life: worker 0 alone speaks of the run. What is wrong with the command
        # line it says for all; from make_plan on each says what is wrong with itself.
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    worker = Member(place)
    try:
        yield worker
        if worker.workers is not None:
            worker.workers.close()
    except SystemExit as ending:
        if worker.workers is not None:
            status = ending.code if isinstance(ending.code, int) else 1
            worker.workers.leave(status)
            # At once, as the others end: a framework's own farewell would wait for them.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        raise
    except BaseException:
        # A framework's words for a worker that is gone or frozen, often sooner than ours. Who it
        # is comes over the connection, and ends this process; if nothing comes, it is our own.
        if worker.workers is not None:
            time.sleep(SILENCE * BEAT + 5)
        raise


class Follower(Run):
    """A run of which another process keeps the records."""

    @contextlib.contextmanager
    def open(self, device: str, threads: int, packages: tuple[str, ...]) -> Iterator[None]:
        self._signals.deferred = True
        yield

    def chunks(self, dataset: batches.Dataset, most: int, vary: bool) -> Iterator[batches.Chunk]:
        return self._chunks(dataset, most, vary)

    def record(self, chunk: batches.Chunk, metrics: NDArray[np.floating[Any]]) -> None:
        if not np.isfinite(metrics).all():
            self._stop()
        self.step = chunk.end

    def shows(self, end: int) -> bool:
        return False

    def show(self, samples: NDArray[np.floating[Any]]) -> None:
        """Worker 0 does."""

    def save(self, arrays: checkpoint.Arrays) -> None:
        """Worker 0 does, after this step as well."""
        self.saved = self.step

    def _stop(self) -> None:
        """All of them stop here; worker 0 says why, and ends the others."""
        assert self.workers is not None
        self.workers.await_end()
