"""The parity ladder over every pair of engines: `python -m compare.parity --help`.

Each engine computes in a process of its own, with one thread, and they meet as files. Every
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

import dataclasses
import io
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common import architecture, checkpoint, config
from common.checkpoint import Arrays
from common.config import Config, UserError
from common.run import git_commit, processor
from compare import engines
from compare.engines import Engine
from compare.probe import ANCHOR_STEPS

# Float64 bounds per rung. Float32 is bounded on rungs 0 to 2 only: its runs part after ten steps.
BOUNDS = {0: 0.0, 1: 1e-13, 2: 1e-11, 3: 1e-12, 4: 1e-10, 5: 1e-10}
FLOAT32_BOUNDS = {0: 0.0, 1: 1e-5, 2: 1e-4}
FREE_STEPS = 30  # of the free run, bounded as rung 4


@dataclass(frozen=True)
class ParityArguments:
    """What to compare."""

    engines: str = engines.DEFAULT
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    steps: int = 300
    """Iterations of rung 4."""

    relay_steps: int = 10
    """Iterations in A, and then in B, on rung 5."""

    batch_size: int = 16
    """Images per iteration."""

    seed: int = 0
    """Seed of the experiment."""

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
    """||a - b|| / ||b||; ||a - b|| where b is zero; infinite where the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    norm = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / (norm or 1.0)


def worst(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """The largest difference over two sets of arrays, and the array it is in."""
    if set(a) != set(b):
        return float("inf"), "names: " + ", ".join(sorted(set(a) ^ set(b)))
    return max((difference(a[name], b[name]), name) for name in a)


# ------------------------------------------------------------------ rungs 0 to 4


def run_ladder(
    chosen: list[Engine],
    settings: Config,
    steps: int,
    folder: Path,
    anchors: bool = False,
    nudge: bool = False,
) -> dict[str, Arrays]:
    """Engine name -> the arrays that compare/probe.py's `ladder` writes. One process each.

    With anchors, the first engine leaves checkpoints, and `windows/losses` holds each engine's
    losses in windows from them.
    """
    results: dict[str, Arrays] = {}
    files = [str(folder / f"anchor-{i}.safetensors") for i in range(-(-steps // ANCHOR_STEPS))]
    base = {"config": config.to_json(settings), "steps_count": steps}
    for engine in _progress(chosen, f"{settings.precision}, {steps} steps"):
        own = files if anchors and engine is chosen[0] else []
        task = base | {"anchors": own, "nudge": nudge}
        results[engine.name] = _probe(engine, "ladder", task, folder / "ladder.npz")
    if anchors:
        for engine in _progress(chosen, f"windows of {ANCHOR_STEPS} steps"):
            task = base | {"anchors": files}
            found = _probe(engine, "windows", task, folder / "windows.npz")
            results[engine.name]["windows/losses"] = found["losses"]
        for file in files:
            Path(file).unlink()
    return results


def _progress(chosen: list[Engine], title: str) -> Iterable[Engine]:
    return tqdm(chosen, desc=title, disable=not sys.stderr.isatty())


def _probe(engine: Engine, name: str, task: dict[str, Any], out: Path) -> Arrays:
    task = task | {"package": engine.package, "out": str(out)}
    engines.finish(
        engine, engines.start(engine, "compare.probe", name, json.dumps(task), threads=1)
    )
    with np.load(out) as file:
        arrays = dict(file)
    out.unlink()
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
    """Rungs 0 to 4 for every pair."""
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
            windows = loss_differences(x["windows/losses"], y["windows/losses"])
            rungs.append((4, float(windows.max()), f"windows, step {int(windows.argmax())}"))
            free = loss_differences(x["losses"], y["losses"])[:FREE_STEPS]
            rungs.append((4, float(free.max()), f"free run, step {int(free.argmax())}"))
        findings += [
            Finding(rung, settings.precision, (a, b), value, bounds[rung], name)
            for rung, value, name in rungs
        ]
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


def run_relay(chosen: list[Engine], settings: Config, steps: int, folder: Path) -> list[Finding]:
    """Train `steps` in A and as many in B, against all in A, for every ordered pair."""
    halves = {engine.name: str(folder / f"{engine.name}-half.safetensors") for engine in chosen}
    bar = tqdm(total=2 * len(chosen), desc="relay", disable=not sys.stderr.isatty())
    for engine in chosen:
        _relay(engine, settings, 0, steps, {"": halves[engine.name]})
        bar.update()
    ends: dict[tuple[str, str], Path] = {}
    for engine in chosen:
        for first in chosen:
            ends[first.name, engine.name] = folder / f"{first.name}-{engine.name}.safetensors"
        files = {halves[first.name]: str(ends[first.name, engine.name]) for first in chosen}
        _relay(engine, settings, steps, steps, files)
        bar.update()
    bar.close()
    loaded = {pair: checkpoint.load(path).arrays for pair, path in ends.items()}
    findings = []
    for a, b in itertools.permutations((engine.name for engine in chosen), 2):
        value, name = worst(loaded[a, b], loaded[a, a])
        findings.append(Finding(5, settings.precision, (a, b), value, BOUNDS[5], name))
    return findings


def _relay(engine: Engine, settings: Config, first: int, steps: int, files: dict[str, str]) -> None:
    task = {
        "package": engine.package,
        "config": config.to_json(settings),
        "first": first,
        "steps_count": steps,
        "files": files,
    }
    process = engines.start(engine, "compare.probe", "relay", json.dumps(task), threads=1)
    engines.finish(engine, process)


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


def plot(results: dict[str, dict[str, Arrays]], nudged: dict[str, Arrays], path: Path) -> None:
    """The difference of the losses of free runs against the step, per pair and precision.

    nudged: an engine's run from a start one unit in the last place away, the yardstick.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for precision, style in (("float64", "-"), ("float32", "--")):
        for index, (a, b) in enumerate(itertools.combinations(results[precision], 2)):
            values = loss_differences(
                results[precision][a]["losses"], results[precision][b]["losses"]
            )
            axes.semilogy(
                np.arange(len(values)),
                np.maximum(values, 1e-17),
                style,
                color=f"C{index}",
                linewidth=1,
                label=f"{a} - {b}, {precision}",
            )
    for name, arrays in nudged.items():
        values = loss_differences(results["float64"][name]["losses"], arrays["losses"])
        label = f"{name} - itself, one weight one ulp away, float64"
        axes.semilogy(np.maximum(values, 1e-17), ":", color="black", linewidth=1, label=label)
    axes.set_xlabel("iteration")
    axes.set_ylabel("relative difference of the losses")
    axes.set_title("One training in several engines, and in one engine from a start one ulp away")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    checkpoint.write_atomically(path, content.getvalue())


def main() -> None:
    try:
        arguments, _ = config.parse(
            ParityArguments,
            sys.argv[1:],
            prog="python -m compare.parity",
            description="Climb the parity ladder with every pair of engines.",
        )
        for name in ("steps", "relay_steps"):
            if not 2 <= getattr(arguments, name) <= 100_000:
                raise UserError(
                    f"{config.flag(name)} takes a whole number from 2 to 100000, "
                    f"not {getattr(arguments, name)}."
                )
        chosen = engines.choose(arguments.engines)
        if len(chosen) < 2:
            raise UserError("--engines needs two names at least, to compare them.")
        settings = dataclasses.replace(
            Config(),
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            precision="float64",
            device="cpu",
            data_dir=arguments.data_dir,
        )
        config.check(settings)
        with tempfile.TemporaryDirectory() as folder:
            results = {}
            findings = []
            for precision in ("float64", "float32"):
                each = dataclasses.replace(settings, precision=precision)
                float64 = precision == "float64"
                results[precision] = run_ladder(
                    chosen, each, arguments.steps, Path(folder), anchors=float64
                )
                for arrays in results[precision].values():
                    check_counts(arrays, settings)
                findings += compare_ladders(results[precision], each)
            findings += run_relay(chosen, settings, arguments.relay_steps, Path(folder))
            nudged = run_ladder(chosen[:1], settings, arguments.steps, Path(folder), nudge=True)
    except UserError as error:
        config.fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    out = Path(arguments.out)
    text = table(findings)
    record = {
        "processor": processor(),
        "commit": git_commit(),
        "command": ["python", "-m", "compare.parity", *sys.argv[1:]],
        "findings": [dataclasses.asdict(f) | {"holds": f.holds} for f in findings],
    }
    checkpoint.write_atomically(out / "parity.json", (json.dumps(record, indent=2) + "\n").encode())
    checkpoint.write_atomically(out / "parity.md", (text + "\n").encode())
    plot(results, nudged, out / "divergence.png")
    print(f"{text}\n\n-> {out / 'parity.json'}, {out / 'parity.md'}, {out / 'divergence.png'}")
    if not all(f.holds for f in findings):
        print("error: a bound does not hold.", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
