"""One backend in a process of its own: what `compare` starts, and whose files it reads.

`python -m compare.probe TASK JSON`; the backend is loaded by name, so that this process holds one
framework and `compare` none.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import batches, checkpoint, datasets
from common.config import Config, from_json


def load(package: str, config: Config) -> tuple[Any, Any, Any]:
    """A backend's modules `state` and `step`, and a state with the initial weights."""
    states = importlib.import_module(f"{package}.state")
    steps = importlib.import_module(f"{package}.step")
    state = states.TrainState(config)
    states.from_canonical(state, checkpoint.initial(config))
    return states, steps, state


def chunk(config: Config, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps start .. start + count of the experiment: images (K, B, H, W, C), noise (K, B, Z)."""
    dataset = datasets.load(config)
    steps, batch = range(start, start + count), config.batch_size
    which = [batches.indices(config.seed, s, batch, dataset.shape[0]) for s in steps]
    images = np.stack([dataset.gather(indices) for indices in which])
    noise = np.stack([batches.noise(config.seed, s, batch, config.noise_size) for s in steps])
    return images, noise


def ladder(package: str, config: Config, steps_count: int, out: str) -> None:
    """Rungs 0 to 4 as one .npz: outputs/*, first/* (the state after one step), losses (S, 4)."""
    states, steps, state = load(package, config)
    images, noise = chunk(config, 0, steps_count)
    arrays = {f"initial/{name}": array for name, array in states.to_canonical(state).items()}
    _, _, forward = load(package, config)
    for name, array in steps.outputs(forward, images[0], noise[0]).items():
        arrays[f"outputs/{name}"] = array
    metrics = [steps.train_chunk(state, images[:1], noise[:1])]
    for name, array in states.to_canonical(state).items():
        arrays[f"first/{name}"] = array
    for start in range(1, steps_count, 10):
        metrics.append(
            steps.train_chunk(state, images[start : start + 10], noise[start : start + 10])
        )
        _progress(min(start + 10, steps_count), steps_count)
    arrays["losses"] = np.concatenate(metrics)
    np.savez(out, **arrays)


def relay(
    package: str, config: Config, first: int, steps_count: int, files: dict[str, str]
) -> None:
    """Rung 5: continue each checkpoint in `files` from step `first`, or begin; {in: out}."""
    for source, target in files.items():
        states, steps, state = load(package, config)
        if source:
            states.from_canonical(state, checkpoint.load(Path(source)).arrays)
        images, noise = chunk(config, first, steps_count)
        for start in range(0, steps_count, 10):
            steps.train_chunk(state, images[start : start + 10], noise[start : start + 10])
        checkpoint.save(Path(target), states.to_canonical(state), config, package, {})


def timing(package: str, config: Config, count: int) -> None:
    """Serve timed chunks of `count` steps, see serve()."""
    images, noise = chunk(config, 0, count)
    _, steps, state = load(package, config)
    if config.compile:
        steps.compile_step(state)
    steps.train_chunk(state, images[:1], noise[:1])
    serve(lambda: steps.train_chunk(state, images, noise), count)


def serve(work: Callable[[], object], count: int) -> None:
    """Answer each line on standard input with the seconds per step of one `work` of `count` steps.

    The first answer comes unasked, after the first step: it ends the start-up. Peak memory in MiB.
    """
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        work()
        seconds = (time.perf_counter() - began) / count
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total}", end="", file=sys.stderr, flush=True)


def main() -> None:
    tasks = {"ladder": ladder, "relay": relay, "timing": timing}
    arguments = json.loads(sys.argv[2])
    arguments["config"] = from_json(arguments["config"])
    tasks[sys.argv[1]](**arguments)  # type: ignore[operator]


if __name__ == "__main__":
    main()
