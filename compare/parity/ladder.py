"""The parity ladder over every pair of engines: `python -m compare.parity --help`.

Each engine computes in a process of its own with one thread, since two busy threads make a small
float64 step many times slower, and as many at once as there are cores. They meet as files. Every
difference is ||a - b|| / ||b|| of one array; a rung reports its worst.

    0  names, shapes, counts, and the initial weights themselves
    1  outputs of D and of G, in training and evaluation mode
    2  gradients of both losses
    3  one iteration: parameters, both Adam moments, running statistics
    4  every loss of many iterations, in windows of 20 that begin in one engine's states; and of one
       free run, for as long as it means anything
    5  train in A, continue in B, against all in A

Why windows: this training is chaotic. Two runs of one engine whose first weight differs by one unit
in its last place part by a factor of ten every ten steps or so, float64 or not, so after 100 free
steps no two computations of it agree, however equal their engines. `make parity` plots that beside
the differences between engines. A window shows an unequal step at any stage of the training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common import architecture, checkpoint, commandline, config, limits
from common.checkpoint import Arrays
from common.config import Config, UserError
from common.datasets import ensure_mnist
from common.environment import git_commit, processor
from compare import engines
from compare.engines import Engine, Worker
from compare.parity.probe import ANCHOR_STEPS

T = TypeVar("T")
Recipe = Literal["published", "tuned"]

# Float64 bounds per rung. Float32 is bounded on rungs 0 to 2 only: its runs part after ten steps.
BOUNDS = {0: 0.0, 1: 1e-13, 2: 1e-11, 3: 1e-12, 4: 1e-10, 5: 1e-10}
FLOAT32_BOUNDS = {0: 0.0, 1: 1e-5, 2: 1e-4}
FREE_STEPS = 30  # of the free run, bounded as rung 4
# By its own rates, and with beta1 = 0, recipe tuned is so chaotic that a difference of 1e-15 is
# 1e-5 after 20 steps, in one engine as between two.
LEARNING_RATES = {"published": 3e-4, "tuned": 1e-4}


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

    recipe: Recipe = "published"
    """The training recipe. Of tuned, with R1, averaged weights and a learning rate that falls over
    the second half, the run ends with the longest rung, so that the ladder meets all of it."""

    data_dir: str = "data"
    """Folder of the data set."""

    out: str = "parity"
    """Folder for parity.json, parity.md and divergence.png."""


@dataclass(frozen=True)
class Finding:
    """The worst difference of one rung between two engines."""

    rung: int
    precision: str
    pair: tuple[str, str]
    difference: float
    bound: float
    worst: str  # which array, gradient or step

    @property
    def holds(self) -> bool:
        return bool(self.difference <= self.bound)  # False for NaN


def difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """||a - b|| / ||b||; ||a - b|| where b is zero; infinite where shapes differ or with a NaN."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    value = float(np.linalg.norm(a - b)) / (float(np.linalg.norm(b)) or 1.0)
    return value if math.isfinite(value) else float("inf")  # max() would pass over a NaN


def worst(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """The largest difference over two sets of arrays, and the array it is in."""
    if set(a) != set(b):
        return float("inf"), "names: " + ", ".join(sorted(set(a) ^ set(b)))
    return max((difference(a[name], b[name]), name) for name in a)


def ladder_settings(recipe: Recipe, steps: int, seed: int, batch_size: int, data: str) -> Config:
    """What the engines train in float64: a run that ends with the window that has its last step."""
    return Config(
        recipe=recipe,
        steps=-(-steps // ANCHOR_STEPS) * ANCHOR_STEPS,
        learning_rate=LEARNING_RATES[recipe],
        seed=seed,
        batch_size=batch_size,
        precision="float64",
        device="cpu",
        data_dir=data,
    )


# ------------------------------------------------------------------ rungs 0 to 4


@contextlib.contextmanager
def start(chosen: list[Engine], settings: Config) -> Iterator[list[Worker]]:
    """A process for each engine, waiting for tasks; at the end they are gone."""
    workers: list[Worker] = []
    try:
        for engine in chosen:
            workers.append(Worker(engine, settings))
        yield workers
    finally:
        for worker in workers:
            worker.close()


def run_ladder(workers: list[Worker], free_steps: int, folder: Path) -> dict[str, Arrays]:
    """Engine name -> the arrays that the probe's `ladder` writes: rungs 0 to 3, free run."""

    def ladder(worker: Worker) -> Arrays:
        out = folder / f"{worker.engine.name}-ladder.npz"
        worker.do("ladder", steps_count=free_steps, anchors=[], out=str(out))
        return _take(out)

    return _each(workers, f"free runs, {free_steps} steps", ladder)


def run_windows(workers: list[Worker], steps: int, folder: Path) -> dict[str, Arrays]:
    """Engine name -> its losses in windows that begin in states of the first engine's free run."""
    files = [str(folder / f"anchor-{i}.safetensors") for i in range(-(-steps // ANCHOR_STEPS))]
    last = (len(files) - 1) * ANCHOR_STEPS + 1
    workers[0].do("ladder", steps_count=last, anchors=files, out=str(folder / "anchors.npz"))

    def windows(worker: Worker) -> Arrays:
        out = folder / f"{worker.engine.name}-windows.npz"
        worker.do("windows", anchors=files, out=str(out))
        return _take(out)

    results = _each(workers, f"windows of {ANCHOR_STEPS} steps", windows)
    for file in files:
        Path(file).unlink()
    return results


def run_nudged(worker: Worker, free_steps: int, folder: Path) -> Arrays:
    """A free run of one engine whose first weight is one unit in its last place away."""
    worker.do("nudged", steps_count=free_steps, out=str(folder / "nudged.npz"))
    return _take(folder / "nudged.npz")


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


def _take(path: Path) -> Arrays:
    with np.load(path) as file:
        arrays = dict(file)
    path.unlink()
    return arrays


def part(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays below a prefix, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def gradients(first: Arrays, settings: Config) -> Arrays:
    """Both losses' gradients, read off Adam: after one step m = (1 - beta1) g, exactly."""
    moments = part(first, "optimizer/")
    return {
        name.removesuffix("/first_moment"): a / (1 - settings.beta1)
        for name, a in moments.items()
        if name.endswith("/first_moment")
    }


def compare_ladders(results: dict[str, Arrays], settings: Config) -> list[Finding]:
    """Rungs 0 to 3 and the free run of rung 4, for every pair; in float32 rungs 0 to 2."""
    float64 = settings.precision == "float64"
    bounds = BOUNDS if float64 else FLOAT32_BOUNDS
    findings = []
    for a, b in itertools.combinations(results, 2):
        x, y = results[a], results[b]
        first = part(x, "first/"), part(y, "first/")
        rungs = [
            (0, *worst(part(x, "initial/"), part(y, "initial/"))),
            (1, *worst(part(x, "outputs/"), part(y, "outputs/"))),
            (2, *worst(gradients(first[0], settings), gradients(first[1], settings))),
        ]
        if float64:
            rungs.append((3, *worst(*first)))
            free = loss_differences(x["losses"], y["losses"])[:FREE_STEPS]
            rungs.append((4, float(free.max()), f"free run, step {int(free.argmax())}"))
        findings += [
            Finding(rung, settings.precision, (a, b), value, bounds[rung], name)
            for rung, value, name in rungs
        ]
    return findings


def compare_windows(results: dict[str, Arrays], settings: Config) -> list[Finding]:
    """Rung 4's windows for every pair."""
    findings = []
    for a, b in itertools.combinations(results, 2):
        found = loss_differences(results[a]["losses"], results[b]["losses"])
        where = f"windows, step {int(found.argmax())}"
        findings.append(
            Finding(4, settings.precision, (a, b), float(found.max()), BOUNDS[4], where)
        )
    return findings


def loss_differences(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """The larger relative difference of the two losses, per step: (S, 4), (S, 4) -> (S,)."""
    return np.abs(a[:, :2].astype(np.float64) / b[:, :2] - 1).max(axis=1)


def check_counts(arrays: Arrays, settings: Config) -> None:
    """Rung 0 against the table: names, shapes, and with them the counts. UserError at the first."""
    table = architecture.get(settings.architecture, settings.noise_size).parameters()
    found = part(arrays, "initial/")
    for name, shape in table.items():
        if name not in found or found[name].shape != shape:
            raise UserError(f"{name} should have shape {shape}; found {found.get(name)}.")


# ------------------------------------------------------------------ rung 5


def run_relay(workers: list[Worker], settings: Config, steps: int, folder: Path) -> list[Finding]:
    """Train `steps` in A and as many in B, against all in A, for every ordered pair."""
    names = [worker.engine.name for worker in workers]
    halves = {name: str(folder / f"{name}-half.safetensors") for name in names}
    ends = {(a, b): folder / f"{a}-{b}.safetensors" for a in names for b in names}

    def first(worker: Worker) -> None:
        worker.do("relay", first=0, steps_count=steps, files={"": halves[worker.engine.name]})

    def last(worker: Worker) -> None:
        files = {halves[a]: str(ends[a, worker.engine.name]) for a in names}
        worker.do("relay", first=steps, steps_count=steps, files=files)

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


# ------------------------------------------------------------------ what a person sees

TITLES = {
    0: "initial weights, names, shapes",
    1: "outputs",
    2: "gradients",
    3: "one iteration",
    4: "losses of a run",
    5: "A continued in B",
}


def table(findings: list[Finding]) -> str:
    """The findings as Markdown."""
    lines = [
        "| rung | precision | pair | worst difference | bound | holds | where |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in sorted(findings, key=lambda f: (f.rung, f.precision)):
        arrow = " -> " if f.rung == 5 else " - "
        lines.append(
            f"| {f.rung} {TITLES[f.rung]} | {f.precision} | {arrow.join(f.pair)} "
            f"| {f.difference:.1e} | {f.bound:.0e} | {'yes' if f.holds else 'NO'} | {f.worst} |"
        )
    return "\n".join(lines)


def worst_of_rungs(findings: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Of parity.json's findings the worst of each rung and precision, in their order; of rung 4 the
    worst of each kind of run: [(kind, finding)], kind "" on other rungs."""
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for f in findings:
        kind = f["worst"].split(",")[0] if f["rung"] == 4 else ""
        key = (f["rung"], f["precision"], kind)
        if key not in found or f["difference"] > found[key]["difference"]:
            found[key] = f
    return [(key[2], found[key]) for key in sorted(found)]


def plot(free: dict[str, dict[str, Arrays]], nudged: Arrays, path: Path) -> None:
    """The difference of the losses of free runs from the first engine's, against the iteration.

    free: precision -> engine name -> run_ladder's arrays. nudged: the first engine's float64 run
    from a start one unit in the last place away, the yardstick.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()

    def draw(a: Arrays, b: Arrays, style: str, color: str, label: str) -> None:
        values = loss_differences(a["losses"], b["losses"])
        values = np.maximum(values, 1e-17)  # equal to the last bit; a logarithm has no 0
        axes.semilogy(values, style, color=color, linewidth=1, label=label)

    reference, *others = free["float64"]
    for precision, style in (("float32", "--"), ("float64", "-")):
        for index, name in enumerate(others):
            arrays = free[precision]
            draw(arrays[name], arrays[reference], style, f"C{index}", f"{name}, {precision}")
    label = f"{reference} itself, one weight\none ulp away, float64"
    draw(nudged, free["float64"][reference], ":", "black", label)
    axes.set_xlabel("iteration")
    axes.set_ylabel(f"relative difference of the losses from {reference}'s")
    axes.set_title("One training in several engines, and in one engine from a start one ulp away")
    figure.legend(fontsize="small", loc="outside right upper")
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    checkpoint.write_atomically(path, content.getvalue())


def curves(free: dict[str, dict[str, Arrays]], nudged: Arrays) -> dict[str, Any]:
    """What plot() draws, three digits each: precision -> engine -> differences by iteration."""
    reference, *others = free["float64"]

    def differences(a: Arrays, b: Arrays) -> list[float]:
        return [float(f"{value:.3g}") for value in loss_differences(a["losses"], b["losses"])]

    return {
        "reference": reference,
        "nudged": differences(nudged, free["float64"][reference]),
        **{
            precision: {name: differences(arrays[name], arrays[reference]) for name in others}
            for precision, arrays in free.items()
        },
    }


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
        longest = max(arguments.steps, arguments.free_steps, 2 * arguments.relay_steps)
        settings = ladder_settings(
            arguments.recipe, longest, arguments.seed, arguments.batch_size, arguments.data_dir
        )
        config.check(settings)
        commandline.check_place("out", Path(arguments.out), folder=True)
        ensure_mnist(settings.data_dir, wanted=())  # once, not in five processes
        began = time.monotonic()
        free, findings, nudged = _climb(chosen, settings, arguments)
    out = Path(arguments.out)
    text = table(findings)
    record = {
        "processor": processor(),
        "commit": git_commit(),
        "command": ["python", "-m", "compare.parity", *sys.argv[1:]],
        "engines": [engine.name for engine in chosen],
        "recipe": settings.recipe,
        "seconds": round(time.monotonic() - began),
        "findings": [dataclasses.asdict(f) | {"holds": f.holds} for f in findings],
        "free": curves(free, nudged),
    }
    checkpoint.write_json(out / "parity.json", record)
    checkpoint.write_atomically(out / "parity.md", (text + "\n").encode())
    plot(free, nudged, out / "divergence.png")
    print(f"{text}\n\n-> {out / 'parity.json'}, {out / 'parity.md'}, {out / 'divergence.png'}")
    if not all(f.holds for f in findings):
        print("error: a bound does not hold.", file=sys.stderr)
        raise SystemExit(1)


def _climb(
    chosen: list[Engine], settings: Config, arguments: ParityArguments
) -> tuple[dict[str, dict[str, Arrays]], list[Finding], Arrays]:
    """Every rung in float64 and float32: the free runs by precision, the findings, a nudged run."""
    free: dict[str, dict[str, Arrays]] = {}
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
    return free, findings, nudged
