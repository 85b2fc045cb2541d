"""One backend in a process of its own: what `compare` starts, and whose files it reads.

`python -m compare.probe TASK JSON`; the backend is loaded by name, so that this process holds one
framework and `compare` none.
"""

from __future__ import annotations

import importlib
import itertools
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

# Rung 4's windows: long enough for a wrong step to show, too short for rounding to grow far.
ANCHOR_STEPS = 20


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


def ladder(
    package: str, config: Config, steps_count: int, out: str, anchors: list[str], nudge: bool
) -> None:
    """Rungs 0 to 4 as one .npz: initial/*, outputs/*, first/* (after one step), losses (S, 4).

    anchors: checkpoint files to write on the way, before every ANCHOR_STEPS-th step. nudge: begin
    with one weight moved by one unit in its last place.
    """
    states, steps, state = load(package, config)
    arrays = {f"initial/{name}": array for name, array in states.to_canonical(state).items()}
    images, noise = chunk(config, 0, steps_count)
    if nudge:
        moved = checkpoint.initial(config)
        weight = moved["generator/dense1/kernel"]
        weight[0, 0] = np.nextafter(weight[0, 0], weight.dtype.type(1))
        states.from_canonical(state, moved)
    _, _, forward = load(package, config)
    for name, array in steps.outputs(forward, images[0], noise[0]).items():
        arrays[f"outputs/{name}"] = array
    metrics = []
    cuts = sorted({1, *range(0, steps_count, ANCHOR_STEPS), steps_count})
    for start, end in itertools.pairwise(cuts):
        if anchors and start % ANCHOR_STEPS == 0:
            path = Path(anchors[start // ANCHOR_STEPS])
            checkpoint.save(path, states.to_canonical(state), config, package, {})
        metrics.append(steps.train_chunk(state, images[start:end], noise[start:end]))
        if end == 1:
            for name, array in states.to_canonical(state).items():
                arrays[f"first/{name}"] = array
    arrays["losses"] = np.concatenate(metrics)
    np.savez(out, **arrays)


def windows(package: str, config: Config, steps_count: int, anchors: list[str], out: str) -> None:
    """Rung 4: ANCHOR_STEPS steps from each anchor, as one .npz: losses (S, 4)."""
    states, steps, state = load(package, config)
    images, noise = chunk(config, 0, steps_count)
    metrics = []
    for index, anchor in enumerate(anchors):
        states.from_canonical(state, checkpoint.load(Path(anchor)).arrays)
        window = slice(index * ANCHOR_STEPS, (index + 1) * ANCHOR_STEPS)
        metrics.append(steps.train_chunk(state, images[window], noise[window]))
    np.savez(out, losses=np.concatenate(metrics))


def relay(
    package: str, config: Config, first: int, steps_count: int, files: dict[str, str]
) -> None:
    """Rung 5: continue each checkpoint in `files` from step `first`, or begin; {in: out}."""
    for source, target in files.items():
        states, steps, state = load(package, config)
        if source:
            states.from_canonical(state, checkpoint.load(Path(source)).arrays)
        steps.train_chunk(state, *chunk(config, first, steps_count))
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


def main() -> None:
    tasks = {"ladder": ladder, "windows": windows, "relay": relay, "timing": timing}
    arguments = json.loads(sys.argv[2])
    arguments["config"] = from_json(arguments["config"])
    tasks[sys.argv[1]](**arguments)  # type: ignore[operator]


if __name__ == "__main__":
    main()
