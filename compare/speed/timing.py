"""Timed steps of one backend, in a process of its own: `python -m compare.speed.timing JSON`.

The process answers each line on its standard input, a JSON object, with one on its standard output.
The baselines (baselines/) serve the same way; Timed is who asks. Neither needs more than
numpy where the task says `"random_images": true`.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common import architecture, batches
from common.config import Config, UserError, from_json
from compare import engines
from compare.engines import Engine

T = TypeVar("T")


class Stream:
    """The experiment's own batches, one after another; a repeated batch would be learned by heart.

    dataset: what to draw from; its images need not be digits for a timing.
    """

    def __init__(self, config: Config, dataset: batches.Dataset) -> None:
        self.config, self.dataset, self.step = config, dataset, 0

    def next(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The next `count` steps: images (K, B, H, W, C), noise (K, B, Z) in [-1, 1)."""
        steps = range(self.step, self.step + count)
        self.step += count
        return batches.data_of(self.dataset, self.config, steps)


def serve(prepare: Callable[[int], T], work: Callable[[T], object], device: str = "") -> None:
    """Take turns: {"warm": W, "steps": K} -> {"seconds": of a step, "peak_mib", "peak_gpu_mib"}.

    prepare(n) makes the data of n steps, which is not timed; work(data) does them and returns when
    they are done. W steps come first and are not timed. The first answer comes unasked, after the
    first step, which it times: that ends the start-up. device: in words, for that answer.
    """
    data = prepare(1)
    began = time.perf_counter()
    work(data)
    first = {"first_seconds": time.perf_counter() - began, "device": device}
    print(json.dumps(first), flush=True)
    for line in sys.stdin:
        turn = json.loads(line)
        warm, timed = (prepare(turn[name]) if turn[name] else None for name in ("warm", "steps"))
        if warm is not None:
            work(warm)
        assert timed is not None
        began = time.perf_counter()
        work(timed)
        seconds = (time.perf_counter() - began) / turn["steps"]
        print(json.dumps({"seconds": seconds, **peak_memory()}), flush=True)


def peak_memory() -> dict[str, float | None]:
    """The most memory held so far, in MiB: of the process, and of its GPU (None without one)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return {"peak_mib": peak / scale, "peak_gpu_mib": gpu_memory()}


def gpu_memory() -> float | None:
    """What the framework of this process says it took of the first GPU at most, in MiB."""
    torch, tf, jax = (sys.modules.get(name) for name in ("torch", "tensorflow", "jax"))
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved() / 2**20
    if tf is not None and tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    if jax is not None and tf is None and (stats := jax.local_devices()[0].memory_stats()):
        return stats["peak_bytes_in_use"] / 2**20
    return None


class RandomImages:
    """Images of noise, made anew for each batch; a step takes as long on them as on digits."""

    dtype = np.dtype(np.uint8)

    def __init__(self, config: Config) -> None:
        image = architecture.get(config.architecture, config.noise_size).image_shape
        self.shape = (config.train_images, *image)

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n,) int64 -> (n, H, W, C) uint8."""
        count = len(indices) * prod(self.shape[1:])
        values = batches.words(0, batches.NOISE, int(indices[0]), -(-count // 8)).view(np.uint8)
        return values[:count].reshape(len(indices), *self.shape[1:])


def images_of(task: dict[str, Any], config: Config) -> batches.Dataset:
    """The training images of a Config, or random ones if the task says so."""
    if task.get("random_images"):
        return RandomImages(config)
    from common import datasets  # here, so that a bare machine can do without what it needs

    return datasets.load(config, say=lambda line: print(line, file=sys.stderr))


def steps_of(
    package: str, config: Config, dataset: batches.Dataset
) -> tuple[Callable[[int], Any], Callable[[Any], object], str]:
    """A backend's steps as serve() takes them, and its device in words."""
    from common.checkpoint import initial

    backend = engines.load(package)
    state = backend.make_state(config, initial(config))
    if config.compile:
        backend.compile_step(state)
    prepare = Stream(config, dataset).next
    return prepare, lambda data: backend.train_chunk(state, *data), str(state.device)


# ------------------------------------------------------------------ the other end


class Timed:
    """A process that serves timed turns (compare/speed/timing.py)."""

    def __init__(self, name: str, engine: Engine, module: str, task: dict[str, Any]) -> None:
        self.name = name
        began = time.perf_counter()
        self.process = engines.start(engine, module, json.dumps(task))
        try:
            first = self._answer()
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - began
        self.first_seconds: float = first["first_seconds"]
        self.on_cpu = "cpu" in first["device"].lower()  # each framework has its own word
        self.seconds: list[float] = []
        self.memory: dict[str, float | None] = {}

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, err = self.process.communicate()
            tail = " | ".join(err.strip().splitlines()[-1:])
            raise UserError(f"The process of {self.name} ended early: {tail}")
        return json.loads(line)

    def turn(self, warm: int, steps: int) -> None:
        """`warm` iterations, then `steps` timed ones."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"warm": warm, "steps": steps}) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer.pop("seconds"))
        self.memory = answer

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def figures(self, batch_size: int) -> dict[str, Any]:
        """Times in ms and seconds, memory in MiB."""
        ms = [1000 * s for s in self.seconds]
        low, median, high = quartiles(ms)
        return {
            "ms": median,
            "ms_quartiles": [low, high],
            "ms_all": ms,
            "images_per_second": 1000 * batch_size / median,
            "start_seconds": self.start_seconds,
            # Of the first step, what a later one does not need: tracing, compiling, allocating.
            "compile_seconds": max(0.0, self.first_seconds - median / 1000),
            **self.memory,
        }


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """25, 50 and 75 per cent of the values lie below; one value is all three."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def main() -> None:
    task = json.loads(sys.argv[1])
    config = from_json(task["config"])
    serve(*steps_of(task["package"], config, images_of(task, config)))


if __name__ == "__main__":
    main()
