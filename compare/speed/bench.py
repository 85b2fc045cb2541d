"""Time the engines: `python -m compare.bench --help`.

Each engine takes turns with the plain loop of its own framework (baselines/), the two alone
on the machine, so that what else the machine does falls on both alike; the ratio is the median of
the turns' ratios. The limit is limits.py's least work at the rates measured at the start.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from common import architecture, checkpoint, commandline, config
from common.architecture import Architecture
from common.config import Config, Device, Precision
from common.datasets import ensure_mnist
from common.environment import git_commit, processor, versions
from compare import engines
from compare.engines import Engine
from compare.speed import limits
from compare.speed.timing import Timed, baseline_of, quartiles, shape_of
from compare.worker import Worker

FRAMEWORKS = ("torch", "tensorflow", "jax")
BASELINES = {
    "pytorch": "published PyTorch loop",
    "tensorflow": "TensorFlow tutorial's loop",
    "keras": "Keras `train_step` under `fit`",
    "keras-torch": "Keras `train_step` under `fit`, on torch",
    "keras-jax": "Keras in a jitted loop, on JAX",
}
PAPER_BASELINES = BASELINES | {"pytorch": "PyTorch's DCGAN example"}


@dataclass(frozen=True)
class BenchArguments:
    """What to time."""

    engines: str = engines.DEFAULT
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    precisions: str = "float32,bfloat16"
    """Names separated by commas: float32, bfloat16, float64."""

    devices: str = "auto"
    """Names separated by commas: auto, cpu, cuda."""

    batch_sizes: str = "128"
    """Images per iteration, separated by commas."""

    architecture: config.Architecture = "mnist28"
    """The two networks; dcgan's on random images."""

    image_size: int = 64
    """Side of dcgan's images in pixels: 32, 64 or 128, in colour."""

    compile: bool = False
    """Let each framework's compiler fuse the steps."""

    rounds: int = 8
    """Turns of each process."""

    turn: int = 0
    """Timed iterations in a turn; 0 means 10 on a processor and 250 on a GPU."""

    data_dir: str = "data"
    """Folder of the data set."""

    out: str = "bench/bench.json"
    """The figures with hardware, versions, commit and command; the plot lies beside it."""

    growth: bool = False
    """Instead: what an image costs as batches and data sets grow; its flags: --growth --help."""


# ------------------------------------------------------------------ pairs


def measure_pair(engine: Engine, chosen: Config, rounds: int, turn: int) -> list[dict[str, Any]]:
    """An engine's row and its baseline's, from turns that alternate."""
    plain = dataclasses.replace(chosen, precision="float32", compile=False)
    paper = chosen.architecture == "dcgan"  # of any pictures: random ones do
    with (
        Timed(engine, chosen, random_images=paper) as ours,
        Timed(engine, plain, baseline_of(engine, plain), random_images=paper) as baseline,
    ):
        steps = turn or (10 if ours.on_cpu else 250)
        # What a process finds in the caches after another's turn is not its own: the first
        # iterations of a turn are not timed. On a GPU they have a turn's length, whose graph may
        # have to be captured first.
        warm = 1 if ours.on_cpu else steps
        title = f"{engine.name} {chosen.precision} {chosen.batch_size}"
        for _ in tqdm(range(rounds), title, disable=not sys.stderr.isatty(), leave=False):
            for each in (ours, baseline):
                each.turn(warm, steps)
    ratios = [b / a for a, b in zip(ours.seconds, baseline.seconds, strict=True)]
    device = "cpu" if ours.on_cpu else "gpu"
    shared = {"engine": engine.name, "device": device, "batch_size": chosen.batch_size}
    return [
        {
            **shared,
            "name": engine.name,
            "precision": chosen.precision,
            "compile": chosen.compile,
            "times_baseline": statistics.median(ratios),
            **ours.figures(chosen.batch_size),
        },
        {
            **shared,
            "name": (PAPER_BASELINES if paper else BASELINES)[engine.name],
            "precision": "float32",
            "compile": False,
            "times_baseline": None,
            **baseline.figures(chosen.batch_size),
        },
    ]


def merge_baselines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Engines' rows first; the rows of one baseline, measured beside each precision, become one."""
    ours = [row for row in rows if row["times_baseline"] is not None]
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        if row["times_baseline"] is None:
            key = (row["engine"], row["device"], row["batch_size"])
            groups.setdefault(key, []).append(row)
    merged = []
    for group in groups.values():
        ms = [value for row in group for value in row["ms_all"]]
        low, median, high = quartiles(ms)
        memory = {
            name: max((row[name] for row in group if row[name] is not None), default=None)
            for name in ("peak_mib", "peak_gpu_mib")
        }
        merged.append(
            group[0]
            | {"ms": median, "ms_quartiles": [low, high], "ms_all": ms}
            | {"images_per_second": 1000 * group[0]["batch_size"] / median}
            | {
                name: statistics.median(row[name] for row in group)
                for name in ("start_seconds", "compile_seconds")
            }
            | memory
        )
    return ours + merged


# ------------------------------------------------------------------ limits


def measure_rates(precision: str, device: str) -> dict[str, dict[str, Any]]:
    """Framework -> {"flops", "bandwidth", "device"} of each one that is installed."""
    found = {}
    for framework in FRAMEWORKS:
        bare = Engine(framework, package="", requires=(framework,))
        if not bare.missing:
            with Worker(bare, "compare.speed.baselines.product") as worker:
                found[framework] = worker.ask(
                    "rates", framework=framework, precision=precision, device=device
                )
    return found


def best_rates(found: dict[str, dict[str, Any]]) -> limits.Rates:
    """The best of the frameworks that compute on the fastest kind of device among them."""
    gpu = any(rate["device"] == "cuda" for rate in found.values())
    there = [rate for rate in found.values() if (rate["device"] == "cuda") == gpu]
    return limits.Rates(
        max(rate["flops"] for rate in there), max(rate["bandwidth"] for rate in there)
    )


def with_limits(
    rows: list[dict[str, Any]],
    rates: dict[tuple[str, str], limits.Rates],
    table: Architecture,
) -> list[dict[str, Any]]:
    """The rows with the least ms of an iteration, and how many times that they take.

    rates: of a (precision, device) as it was asked for.
    """
    done = []
    for row in rows:
        rate = rates.get((row["precision"], row["asked_device"]))
        size = 8 if row["precision"] == "float64" else 4
        least = 1000 * limits.seconds(table, row["batch_size"], rate, size) if rate else None
        ratio = row["ms"] / least if least else None
        done.append(row | {"limit_ms": least, "times_limit": ratio})
    return done


# ------------------------------------------------------------------ the whole


@dataclass(frozen=True)
class Request:
    """The command line, read."""

    engines: list[Engine]
    precisions: list[Precision]
    devices: list[Device]
    batch_sizes: list[int]


def read(arguments: BenchArguments) -> Request:
    """The lists in the flags, or UserError for the first value that cannot be."""
    chosen = engines.choose(arguments.engines)
    precisions = commandline.names(
        "precisions", arguments.precisions, ("float32", "bfloat16", "float64")
    )
    devices = commandline.names("devices", arguments.devices, ("auto", "cpu", "cuda"))
    sizes = commandline.numbers("batch_sizes", arguments.batch_sizes, 2, Config().train_images)
    commandline.check_place("out", Path(arguments.out), folder=False)
    config.check(Config(**shape_of(arguments.architecture, arguments.image_size)))
    return Request(chosen, cast(list[Precision], precisions), cast(list[Device], devices), sizes)


def measure(arguments: BenchArguments, request: Request) -> dict[str, Any]:
    """The record: hardware, versions, commit, command, rates, and a row per engine and baseline."""
    asked: set[tuple[str, str]] = {
        (p, d) for p in {*request.precisions, "float32"} for d in request.devices
    }
    found = {pair: measure_rates(*pair) for pair in sorted(asked)}
    rows, shape = [], shape_of(arguments.architecture, arguments.image_size)
    for device, engine, batch_size, precision in itertools.product(
        request.devices, request.engines, request.batch_sizes, request.precisions
    ):
        chosen = Config(
            precision=precision,
            device=device,
            batch_size=batch_size,
            compile=arguments.compile,
            data_dir=arguments.data_dir,
            **shape,
        )
        config.check(chosen)
        print(f"Timing {engine.name} in {precision} ...", file=sys.stderr, flush=True)
        for row in measure_pair(engine, chosen, arguments.rounds, arguments.turn):
            rows.append(row | {"asked_device": device})
    rates = {pair: best_rates(each) for pair, each in found.items()}
    table = architecture.of(Config(**shape))
    return {
        **surroundings(),
        "command": ["python", "-m", "compare.bench", *sys.argv[1:]],
        "rates": [
            {"precision": p, "asked_device": d, "framework": framework, **rate}
            for (p, d), each in found.items()
            for framework, rate in each.items()
        ],
        "architecture": arguments.architecture,
        "images": table.image_shape,
        "rows": with_limits(merge_baselines(rows), rates, table),
    }


def surroundings() -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": gpu(),
        "python": platform.python_version(),
        "versions": versions(("torch", "tensorflow", "keras", "jax")),
        "commit": git_commit(),
    }


def gpu() -> str | None:
    """The NVIDIA cards in words, as their driver calls them."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    names = ", ".join(done.stdout.split("\n")).strip(", ")
    return names if done.returncode == 0 and names else None


# ------------------------------------------------------------------ output


def title(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """A row's name, with what tells it from the others."""
    words = [row["name"]]
    if row["compile"]:
        words.append("compiled")
    if len({r["device"] for r in rows}) > 1:
        words.append(row["device"])
    if len({r["batch_size"] for r in rows}) > 1:
        words.append(f"batch {row['batch_size']}")
    return ", ".join(words)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | precision | ms per iteration (quartiles) | images/s "
        "| speed-up over the framework's own loop | of the limit | start to first step "
        "| compiling | peak memory |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        ratio, times = row["times_baseline"], row["times_limit"]
        digits = 1 if row["ms"] >= 10 else 3
        low, high = (f"{value:.{digits}f}" for value in row["ms_quartiles"])
        limit = f"{times:.1f} x {row['limit_ms']:.{digits}f} ms" if times else "-"
        memory = f"{row['peak_mib']:.0f} MiB"
        if row["peak_gpu_mib"] is not None:
            memory += f" + {row['peak_gpu_mib']:.0f} MiB GPU"
        lines.append(
            f"| {title(row, rows)} | {row['precision']} "
            f"| {row['ms']:.{digits}f} ({low} to {high}) "
            f"| {row['images_per_second']:.0f} | {f'{ratio:.2f}' if ratio else '-'} "
            f"| {limit} | {row['start_seconds']:.1f} s | {row['compile_seconds']:.1f} s "
            f"| {memory} |"
        )
    return "\n".join(lines)


def summary(record: dict[str, Any]) -> str:
    """One line on what the record was measured on, with which products and copies."""
    where = record["gpu"] or f"{record['processor']}, {record['cores']} cores"
    sizes = sorted({row["batch_size"] for row in record["rows"]})
    best: dict[str, dict[str, Any]] = {}
    for rate in record["rates"]:
        if rate["flops"] > best.get(rate["precision"], {"flops": 0})["flops"]:
            best[rate["precision"]] = rate
    products = ", ".join(
        f"{rate['flops'] / 1e9:.0f} GFLOP/s in {name} ({rate['framework']})"
        for name, rate in sorted(best.items(), reverse=True)
    )
    bandwidth = max((rate["bandwidth"] for rate in record["rates"]), default=math.nan) / 1e9
    return (
        f"Measured on {where}, batch {', '.join(map(str, sizes))}. The best large product here "
        f"reaches {products}; a copy {bandwidth:.0f} GB/s."
    )


def plot(record: dict[str, Any], path: Path) -> None:
    """Milliseconds of every row as bars, a tick where its limit is."""
    from matplotlib.figure import Figure

    rows = record["rows"]
    figure = Figure(figsize=(9, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(rows):
        low, high = row["ms_quartiles"]
        plain = row["times_baseline"] is None
        axes.barh(position, row["ms"], color="0.75" if plain else "C0", height=0.7)
        axes.plot([low, high], [position, position], color="black", linewidth=1)
        if row["limit_ms"]:
            axes.plot([row["limit_ms"]] * 2, [position - 0.4, position + 0.4], color="C3")
        axes.annotate(
            f" {row['ms']:.3g}", (max(row["ms"], high), position), va="center", fontsize=9
        )
    labels = [f"{title(row, rows)}, {row['precision']}".replace("`", "") for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(
        "milliseconds per iteration: median, quartiles\nred: limit; grey: the framework's own loop"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def save(record: dict[str, Any], plot: Callable[[dict[str, Any], Path], None], out: Path) -> str:
    """Write a record and, beside it, its plot; where they are."""
    with commandline.writing(out):
        checkpoint.write_json(out, record)
        plot(record, out.with_suffix(".png"))
    return f"-> {out}, {out.with_suffix('.png')}"


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            BenchArguments,
            sys.argv[1:],
            prog="python -m compare.bench",
            description="Time the engines, each in turns with its framework's own plain loop.",
        )
        request = read(arguments)
        ensure_mnist(arguments.data_dir, wanted=())  # once, and before the first process
        record = measure(arguments, request)
        saved = save(record, plot, Path(arguments.out))
    print(f"{table(record['rows'])}\n\n{summary(record)}\n{saved}")
