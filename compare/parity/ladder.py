"""The parity ladder over every pair of engines: `python -m compare.parity --help`.

Each engine computes in a process of its own with one thread, since two busy threads make a small
float64 step many times slower, and as many at once as there are cores. They meet as files, which
rungs.py compares.

    0  names, shapes, counts, and the initial weights themselves
    1  outputs of D and of G, in training and evaluation mode
    2  gradients of both losses
    3  one iteration: parameters, both Adam moments, running statistics
    4  every loss of many iterations, in windows of 20 that begin in one engine's states; and of one
       free run, for as long as it means anything
    5  train in A, continue in B, against all in A
    6  two and four workers against one: the last window, and the state at its end

Why windows: this training is chaotic. Two runs of one engine of which one weight differs by one
unit in its last place part by a factor of ten every ten steps or so, float64 or not, so after 100
free steps no two computations of it agree, however equal their engines. `make parity` plots that
beside the differences between engines. A window shows an unequal step at any stage of the training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
from tqdm import tqdm

from common import architecture, batches, checkpoint, commandline, config, datasets, limits
from common.checkpoint import Arrays
from common.config import BY_ARCHITECTURE, Config, UserError
from common.environment import git_commit, processor
from common.plan import decided
from compare import engines
from compare.engines import Engine
from compare.parity.figures import Free, curves, plot, table
from compare.parity.rungs import (
    ANCHOR_STEPS,
    BOUNDS,
    Finding,
    check_counts,
    compare_ladders,
    compare_windows,
    worst,
)
from compare.parity.shares import run_shares
from compare.worker import Worker

T = TypeVar("T")

LAST = "last.safetensors"  # the state that the last window begins in

# By their own rates, and with beta1 = 0, recipes tuned and fast of mnist28 are so chaotic that a
# difference of 1e-15 is 1e-5 after 20 steps, in one engine as between two.
LEARNING_RATES = {"mnist28 tuned": 1e-4, "mnist28 fast": 1e-4}
PICTURES = 256  # drawn for dcgan, unless --dataset names some


@dataclass(frozen=True)
class ParityArguments:
    """What to compare."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = dict.fromkeys(
        ("steps", "free_steps", "relay_steps"), limits.whole_number(2, 100_000)
    )

    engines: str = engines.ALL
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    steps: int = 300
    """Iterations of rung 4's windows."""

    free_steps: int = 150
    """Iterations of the free run, which the plot shows."""

    relay_steps: int = 10
    """Iterations in A, and then in B, on rung 5."""

    batch_size: int = 16
    """Images per iteration; few, as float64 steps are slow with one thread, most so in Keras on JAX
    and PyTorch, and more images test nothing else."""

    seed: int = 0
    """Seed of the experiment."""

    architecture: config.Architecture = "mnist28"
    """The two networks."""

    recipe: Annotated[
        config.RecipeName, decided(config.RecipeName, "published for mnist28, paper for dcgan")
    ] = BY_ARCHITECTURE
    """The training recipe. Of tuned, with R1, averaged weights and a
    learning rate that falls over the second half, the run ends with the longest rung, so that the
    ladder meets all of it."""

    dataset: str | None = None
    """What to train on: mnist, or for dcgan colour pictures that are drawn for it, unless told."""

    image_size: int = 64
    """Side of dcgan's images in pixels: 32, 64 or 128."""

    width: int = 16
    """Filters of dcgan's layers next to the image. Wider networks test nothing else."""

    data_dir: str = "data"
    """Folder of the data set."""

    out: str = "parity"
    """Folder for parity.json, parity.md and divergence.png."""


def ladder_settings(steps: int, **given: Any) -> Config:
    """What the engines train in float64: a run that ends with the window that has its last step.

    given: of a Config's fields those that are not its defaults.
    """
    chosen = Config(**given)
    return dataclasses.replace(
        chosen,
        steps=-(-steps // ANCHOR_STEPS) * ANCHOR_STEPS,
        learning_rate=LEARNING_RATES.get(
            f"{chosen.architecture} {chosen.recipe}", chosen.learning_rate
        ),
        precision="float64",
        device="cpu",
    )


def draw_pictures(folder: Path, size: int) -> None:
    """PICTURES files of size x size pixels in colour: a disc on a ground that shades off."""
    from PIL import Image

    folder.mkdir()
    down, right = np.mgrid[:size, :size] / size
    for i in range(PICTURES):
        drawn = (batches.uniform(0, batches.SHOWN, i, 9) + 1) / 2  # in [0, 1)
        ground = drawn[:3] * right[..., None] + drawn[3:6] * (1 - down[..., None])
        disc = (down - drawn[6]) ** 2 + (right - drawn[7]) ** 2 < 0.1 * drawn[8]
        picture = np.where(disc[..., None], 1 - drawn[3:6], ground / 2)
        Image.fromarray((picture * 255).astype(np.uint8)).save(folder / f"{i:03d}.png")


# ------------------------------------------------------------------ rungs 0 to 4


@contextlib.contextmanager
def start(chosen: list[Engine], settings: Config) -> Iterator[list[Worker]]:
    """A process for each engine, waiting for tasks; at the end they are gone."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                Worker(engine, "compare.parity.probe", settings, threads=1, package=engine.package)
            )
            for engine in chosen
        ]


def run_ladder(workers: list[Worker], free_steps: int, folder: Path) -> dict[str, Arrays]:
    """Engine name -> the arrays that the probe's `ladder` writes: rungs 0 to 3, free run."""
    return _each(
        workers,
        f"free runs, {free_steps} steps",
        lambda worker: _arrays(worker, folder, "ladder", steps_count=free_steps, anchors=[]),
    )


def run_windows(workers: list[Worker], steps: int, folder: Path) -> dict[str, Arrays]:
    """Engine name -> its losses in windows that begin in states of the first engine's free run."""
    files = [str(folder / f"anchor-{i}.safetensors") for i in range(-(-steps // ANCHOR_STEPS))]
    last = (len(files) - 1) * ANCHOR_STEPS + 1
    _arrays(workers[0], folder, "ladder", steps_count=last, anchors=files)
    results = _each(
        workers,
        f"windows of {ANCHOR_STEPS} steps",
        lambda worker: _arrays(worker, folder, "windows", anchors=files),
    )
    for file in files[:-1]:
        Path(file).unlink()
    Path(files[-1]).rename(folder / LAST)
    return results


def run_nudged(worker: Worker, free_steps: int, folder: Path) -> Arrays:
    """A free run of one engine of which one weight is one unit in its last place away."""
    return _arrays(worker, folder, "nudged", steps_count=free_steps)


def _arrays(worker: Worker, folder: Path, task: str, **arguments: object) -> Arrays:
    """What a worker's task writes."""
    path = folder / f"{worker.engine.name}.npz"
    worker.ask(task, out=str(path), **arguments)
    with np.load(path) as file:
        arrays = dict(file)
    path.unlink()
    return arrays


def _each(workers: list[Worker], title: str, task: Callable[[Worker], T]) -> dict[str, T]:
    """Engine name -> the task's result; as many at once as there are cores."""
    bar = tqdm(total=len(workers), desc=title, disable=not sys.stderr.isatty())

    def counted(worker: Worker) -> T:
        result = task(worker)
        bar.update()
        return result

    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(counted, workers))
    return {worker.engine.name: result for worker, result in zip(workers, results, strict=True)}


# ------------------------------------------------------------------ rung 5


def run_relay(workers: list[Worker], settings: Config, steps: int, folder: Path) -> list[Finding]:
    """Train `steps` in A and as many in B, against all in A, for every ordered pair."""
    names = [worker.engine.name for worker in workers]
    halves = {name: str(folder / f"{name}-half.safetensors") for name in names}
    ends = {(a, b): folder / f"{a}-{b}.safetensors" for a in names for b in names}

    def first(worker: Worker) -> None:
        worker.ask("relay", first=0, steps_count=steps, files={"": halves[worker.engine.name]})

    def last(worker: Worker) -> None:
        files = {halves[a]: str(ends[a, worker.engine.name]) for a in names}
        worker.ask("relay", first=steps, steps_count=steps, files=files)

    _each(workers, f"relay, first {steps} steps", first)
    _each(workers, f"relay, last {steps} steps", last)
    findings = []
    for a in names:
        alone = checkpoint.load(ends[a, a]).arrays
        for b in names:
            if b != a:
                value, name = worst(checkpoint.load(ends[a, b]).arrays, alone)
                findings.append(Finding(5, settings.precision, (a, b), value, BOUNDS[5], name))
    return findings


# ------------------------------------------------------------------ the command


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            ParityArguments,
            sys.argv[1:],
            prog="python -m compare.parity",
            description="Climb the parity ladder with every pair of engines.",
        )
        chosen = engines.choose(arguments.engines)
        if len(chosen) < 2:
            raise UserError("--engines needs two names at least, to compare them.")
        commandline.check_place("out", Path(arguments.out), folder=True)
        with tempfile.TemporaryDirectory() as name:
            settings = _settings(arguments, Path(name))
            began = time.monotonic()
            free, findings, nudged = _climb(chosen, settings, arguments)
        out, text = Path(arguments.out), table(findings)
        record = {
            "processor": processor(),
            "commit": git_commit(),
            "command": ["python", "-m", "compare.parity", *sys.argv[1:]],
            "engines": [engine.name for engine in chosen],
            "architecture": settings.architecture,
            "recipe": settings.recipe,
            "images": architecture.of(settings).image_shape,
            "width": settings.width,
            "seconds": round(time.monotonic() - began),
            "findings": [dataclasses.asdict(f) | {"holds": f.holds} for f in findings],
            "free": curves(free, nudged),
        }
        with commandline.writing(out):
            checkpoint.write_json(out / "parity.json", record)
            checkpoint.write_atomically(out / "parity.md", (text + "\n").encode())
            plot(free, nudged, out / "divergence.png")
    print(f"{text}\n\n-> {out / 'parity.json'}, {out / 'parity.md'}, {out / 'divergence.png'}")
    if not all(f.holds for f in findings):
        print("error: a bound does not hold.", file=sys.stderr)
        raise SystemExit(1)


def _settings(arguments: ParityArguments, folder: Path) -> Config:
    """What the command line asks to train, with its data at hand. UserError if it cannot be."""
    shape: dict[str, Any] = {}
    if arguments.architecture == "dcgan":
        shape = {"image_size": arguments.image_size, "width": arguments.width}
    dataset = arguments.dataset or ("mnist" if not shape else str(folder / "pictures"))
    longest = max(arguments.steps, arguments.free_steps, 2 * arguments.relay_steps)
    settings = ladder_settings(
        longest,
        architecture=arguments.architecture,
        recipe=arguments.recipe,
        dataset=dataset,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        data_dir=arguments.data_dir,
        **shape,
    )
    config.check(settings)
    if arguments.dataset is None and shape:
        draw_pictures(folder / "pictures", arguments.image_size)
        settings = dataclasses.replace(settings, data_dir=str(folder))
    settings = datasets.counted(settings)
    config.check(settings)
    datasets.load(settings)  # fetched and decoded once, not in five processes
    return settings


def _climb(
    chosen: list[Engine], settings: Config, arguments: ParityArguments
) -> tuple[Free, list[Finding], Arrays]:
    """Every rung in float64 and float32: the free runs by precision, the findings, a nudged run."""
    free: Free = {}
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in (settings, dataclasses.replace(settings, precision="float32")):
            with start(chosen, each) as workers:
                results = run_ladder(workers, arguments.free_steps, folder)
                for arrays in results.values():
                    check_counts(arrays, each)
                findings += compare_ladders(results, each)
                free[each.precision] = results
                if each.precision == "float64":
                    windows = run_windows(workers, arguments.steps, folder)
                    findings += compare_windows(windows, each)
                    findings += run_relay(workers, each, arguments.relay_steps, folder)
                    nudged = run_nudged(workers[0], arguments.free_steps, folder)
            if each.precision == "float64":  # the processes above have ended: memory
                findings += run_shares(chosen, folder / LAST, folder)
    return free, findings, nudged
