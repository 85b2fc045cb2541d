"""Timed steps of one backend, or of a baseline (baselines/), in a process of its own.

`serve` is that process, and Timed who asks. On random images neither needs more than numpy.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture, batches
from common.checkpoint import initial
from common.config import Config, from_json
from compare import engines, worker
from compare.engines import Engine
from compare.worker import Tasks, Worker

IMPLEMENTATION = "compare.speed.timing"  # the module that serves a backend's steps: this one
Images = NDArray[np.uint8]  # (K, B, H, W, C)
Noise = NDArray[np.float32]  # (K, B, Z) in [-1, 1)


class Stream:
    """The experiment's own batches, one after another; a repeated batch would be learned by heart.

    dataset: what to draw from; its images need not be digits for a timing.
    """

    def __init__(self, config: Config, dataset: batches.Dataset) -> None:
        self.config, self.dataset, self.step = config, dataset, 0

    def next(self, count: int) -> tuple[Images, Noise]:
        """The data of the next `count` steps."""
        steps = range(self.step, self.step + count)
        self.step += count
        return batches.data_of(self.dataset, self.config, steps)


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
        image = architecture.of(config).image_shape
        self.shape = (config.train_images, *image)

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n,) int64 -> (n, H, W, C) uint8."""
        count = len(indices) * prod(self.shape[1:])
        values = batches.words(0, batches.NOISE, int(indices[0]), -(-count // 8)).view(np.uint8)
        return values[:count].reshape(len(indices), *self.shape[1:])


def shape_of(architecture: str, image_size: int = 64) -> dict[str, Any]:
    """The fields of a Config that say which networks are timed: dcgan's on random colour images."""
    if architecture == "mnist28":
        return {}
    return {"dataset": "random", "train_images": 50_000, "image_size": image_size}


def images_of(config: Config, random: bool = False) -> batches.Dataset:
    """The training images of a Config, or random ones."""
    if random:
        return RandomImages(config)
    from common import datasets  # here, so that a bare machine can do without what it needs

    return datasets.load(config, say=lambda line: print(line, file=sys.stderr))


# What is timed: how the data of steps is made of images (K, B, H, W, C) and noise (K, B, Z), which
# is not timed; what does those steps and returns when they are done; the device in words, if known.
Loop = tuple[Callable[[Images, Noise], Any], Callable[[Any], object], str]


def serve(loop: Callable[..., Loop]) -> None:
    """A worker (compare/worker.py) that times a loop.

    It begins with {"config", "random_images": not digits but random images, which need no files}
    and what else loop(config, ...) takes. Its tasks:

        first   {}                        -> {"seconds": of the first step, "device"}
        turn    {"warm": W, "steps": K}   -> {"seconds": of a step, "peak_mib", "peak_gpu_mib"}

    Of a turn W steps come first and are not timed.
    """

    def begin(config: dict[str, Any], random_images: bool = False, **rest: Any) -> Tasks:
        settings = from_json(config)
        prepare, work, device = loop(settings, **rest)
        stream = Stream(settings, images_of(settings, random_images))

        def first() -> dict[str, Any]:
            return {"seconds": timed(prepare(*stream.next(1))), "device": device}

        def turn(warm: int, steps: int) -> dict[str, Any]:
            before = prepare(*stream.next(warm)) if warm else None
            data = prepare(*stream.next(steps))
            if warm:
                work(before)
            return {"seconds": timed(data) / steps, **peak_memory()}

        def timed(data: Any) -> float:
            began = time.perf_counter()
            work(data)
            return time.perf_counter() - began

        return {"first": first, "turn": turn}

    worker.serve(begin)


def steps_of(config: Config, package: str) -> Loop:
    """A backend's steps."""
    backend = engines.load(package)
    state = backend.make_state(config, initial(config))
    if config.compile:
        backend.compile_step(state)
    return lambda *data: data, lambda data: backend.train_chunk(state, *data), str(state.device)


# ------------------------------------------------------------------ the other end


class Timed(Worker):
    """A worker that times a loop, its first step done."""

    def __init__(
        self,
        engine: Engine,
        settings: Config,
        module: str = IMPLEMENTATION,
        random_images: bool = False,
    ) -> None:
        """module: IMPLEMENTATION or baseline_of(engine, settings)."""
        began = time.perf_counter()
        beginning: dict[str, Any] = {"random_images": random_images}
        if module == IMPLEMENTATION:
            beginning["package"] = engine.package
        super().__init__(engine, module, settings, **beginning)
        try:
            first = self.ask("first")
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - began
        self.first_seconds: float = first["seconds"]
        self.on_cpu = "cpu" in first["device"].lower()  # each framework has its own word
        self.seconds: list[float] = []
        self.memory: dict[str, float | None] = {}

    def turn(self, warm: int, steps: int) -> None:
        """`warm` iterations, then `steps` timed ones."""
        answer = self.ask("turn", warm=warm, steps=steps)
        self.seconds.append(answer.pop("seconds"))
        self.memory = answer

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


def baseline_of(engine: Engine, settings: Config) -> str:
    """The module of the plain loop of an engine's framework; PyTorch has a tutorial of its own for
    the paper's networks."""
    name = engine.name.split("-")[0]
    if (name, settings.architecture) == ("pytorch", "dcgan"):
        name = "example"
    return f"compare.speed.baselines.{name}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """25, 50 and 75 per cent of the values lie below; one value is all three."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


if __name__ == "__main__":
    serve(steps_of)
