"""What an image costs as batches and data sets grow: `python -m compare.bench --growth --help`.

Flat means that nothing but the arithmetic grows. The data sets repeat MNIST in a memory-mapped
file, which is made in the temporary folder and deleted.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import batches, commandline, config, datasets
from common.config import Config, Device, Precision, UserError, from_json
from compare import engines
from compare.engines import Engine
from compare.speed import bench, timing
from compare.worker import Worker, serve

TRAINED = 60  # iterations per data set, the first ten of them not timed
PREPARED = 500  # iterations' batches that are prepared without training


@dataclass(frozen=True)
class GrowthArguments:
    """What to let grow."""

    engines: str = "pytorch"
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    batch_sizes: str = "32,64,128,256,512,1024,2048,4096"
    """Images per iteration, separated by commas."""

    dataset_sizes: str = "50000,500000,5000000"
    """Images of the data set, 784 bytes each, separated by commas."""

    precision: Precision = "float32"
    """Arithmetic."""

    device: Device = "auto"
    """Where to compute."""

    rounds: int = 3
    """Timed turns per batch size; a turn is at least a thousand images long."""

    data_dir: str = "data"
    """Folder of MNIST."""

    out: str = "bench/growth.json"
    """The figures; the plot lies beside it."""


# ------------------------------------------------------------------ batch size


def against_batch_size(
    chosen: list[Engine], base: Config, sizes: list[int], rounds: int
) -> list[dict[str, Any]]:
    """A row per engine and batch size."""
    rows = []
    work = [(engine, size) for engine in chosen for size in sizes]
    for engine, size in tqdm(work, "batch sizes", disable=not sys.stderr.isatty(), leave=False):
        settings = dataclasses.replace(base, batch_size=size)
        with timing.Timed(engine, settings) as timed:
            for _ in range(rounds):
                timed.turn(1, max(1, 1024 // size))
        figures = timed.figures(size)
        del figures["ms_all"]
        rows.append(
            {"engine": engine.name, "batch_size": size, **figures}
            | {"us_per_image": 1000 * figures["ms"] / size}
        )
    return rows


# ------------------------------------------------------------------ data set size


def make_dataset(path: Path, size: int, digits: np.ndarray) -> None:
    """A .npy file of `size` images: digits (N, H, W, C) uint8, over and over."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (size, *digits.shape[1:]))
    for start in range(0, size, len(digits)):
        part = images[start : start + len(digits)]
        part[:] = digits[: len(part)]
    images.flush()


def against_dataset_size(
    chosen: list[Engine], base: Config, sizes: list[int]
) -> list[dict[str, Any]]:
    """A row per engine and data set size; each in a process of its own."""
    digits = datasets.mnist_images(base.data_dir)
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npy"
            if shutil.disk_usage(folder).free < 1.1 * size * digits[0].size:
                raise UserError(
                    f"--dataset-sizes {size} needs {size * digits[0].size / 1e9:.1f} GB in "
                    f"{tempfile.gettempdir()}, which are not free; leave it out, or set TMPDIR."
                )
            make_dataset(path, size, digits)
            for engine in chosen:
                with Worker(engine, "compare.speed.growth", base) as worker:
                    answer = worker.ask("measure", package=engine.package, path=str(path))
                rows.append({"engine": engine.name, "dataset_size": size, **answer})
    return rows


def measure(config: dict[str, Any], package: str, path: str) -> dict[str, Any]:
    """A worker's task: prepare batches of a data set alone, then train on it as a run does."""
    settings = from_json(config)
    images = np.load(path, mmap_mode="r")
    dataset = datasets.ArrayDataset(np.asarray(images))
    size, batch = len(images), settings.batch_size

    # A new epoch's order is sorted once for `size` images; its share of each is counted. Of more
    # images than are sorted nothing is done in advance.
    began = time.perf_counter()
    batches.order(settings.seed, 0, size, 0, batch)
    order = (time.perf_counter() - began) / size

    prepared = dataclasses.replace(settings, steps=PREPARED)
    began = time.perf_counter()
    for _ in batches.chunks(dataset, prepared, 0):
        pass
    pipeline = (time.perf_counter() - began) / (PREPARED * batch) + order
    alone = timing.peak_memory()["peak_mib"]

    _, train, _ = timing.steps_of(settings, package)
    seconds = []
    began = time.perf_counter()
    trained = dataclasses.replace(settings, steps=TRAINED)
    for chunk in batches.chunks(dataset, trained, 0):
        train((chunk.images, chunk.noise))
        now = time.perf_counter()
        seconds.append((now - began) / (len(chunk.images) * batch))
        began = now
    step = statistics.median(seconds[1:])
    return {
        "order_us_per_image": 1e6 * order,
        "pipeline_us_per_image": 1e6 * pipeline,
        "us_per_image": 1e6 * step,
        "pipeline_times_step": step / pipeline,
        "pipeline_peak_mib": alone,
        **timing.peak_memory(),
        "anonymous_mib": anonymous_memory(),
    }


def anonymous_memory() -> float | None:
    """This process's memory that no file stands behind, in MiB; None where the system hides it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("RssAnon")]
    return int(found[0]) / 1024 if found else None


# ------------------------------------------------------------------ output


def tables(record: dict[str, Any]) -> str:
    """Both tables as Markdown."""
    lines = ["| engine | batch | us per image | ms per iteration | peak memory |", "|" + "---|" * 5]
    for row in record["batch_sizes"]:
        lines.append(
            f"| {row['engine']} | {row['batch_size']} | {row['us_per_image']:.1f} "
            f"| {row['ms']:.1f} | {row['peak_mib']:.0f} MiB |"
        )
    lines += [
        "",
        "| engine | data set | us per image | data pipeline alone, in its own thread "
        "| the step takes | peak memory | memory without the file's pages |",
        "|" + "---|" * 7,
    ]
    for row in record["dataset_sizes"]:
        own = row["anonymous_mib"]
        lines.append(
            f"| {row['engine']} | {row['dataset_size']:,} | {row['us_per_image']:.1f} "
            f"| {row['pipeline_us_per_image']:.2f} "
            f"| {row['pipeline_times_step']:.0f} times as long "
            f"| {row['peak_mib']:.0f} MiB | {'-' if own is None else f'{own:.0f} MiB'} |"
        )
    return "\n".join(lines)


def plot(record: dict[str, Any], path: Path) -> None:
    """Microseconds per image against both sizes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row["engine"] for row in record["batch_sizes"]):
        rows = [row for row in record["batch_sizes"] if row["engine"] == name]
        left.loglog(
            [r["batch_size"] for r in rows], [r["us_per_image"] for r in rows], "o-", label=name
        )
    for name in dict.fromkeys(row["engine"] for row in record["dataset_sizes"]):
        rows = [row for row in record["dataset_sizes"] if row["engine"] == name]
        sizes = [r["dataset_size"] for r in rows]
        right.loglog(sizes, [r["us_per_image"] for r in rows], "o-", label=f"{name}, training")
        right.loglog(
            sizes, [r["pipeline_us_per_image"] for r in rows], "s--", label=f"{name}, data pipeline"
        )
    left.set_xlabel("batch size")
    right.set_xlabel("images in the data set")
    left.set_ylabel("microseconds per image")
    for axes in (left, right):
        axes.set_ylim(bottom=0.1)
        axes.grid(which="major", alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main(argv: list[str]) -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            GrowthArguments,
            argv,
            prog="python -m compare.bench --growth",
            description="The cost of an image against batch size and data set size.",
        )
        chosen = engines.choose(arguments.engines)
        batch_sizes = commandline.numbers("batch_sizes", arguments.batch_sizes, 2, 50_000)
        dataset_sizes = commandline.numbers("dataset_sizes", arguments.dataset_sizes, 128, 10**9)
        commandline.check_place("out", Path(arguments.out), folder=False)
        base = Config(
            precision=arguments.precision, device=arguments.device, data_dir=arguments.data_dir
        )
        config.check(base)
        datasets.ensure_mnist(base.data_dir, wanted=())
        record = {
            **bench.surroundings(),
            "command": ["python", "-m", "compare.bench", "--growth", *argv],
            "precision": arguments.precision,
            "batch_sizes": against_batch_size(chosen, base, batch_sizes, arguments.rounds),
            "dataset_sizes": against_dataset_size(chosen, base, dataset_sizes),
        }
        saved = bench.save(record, plot, Path(arguments.out))
    print(f"{tables(record)}\n\n{saved}")


if __name__ == "__main__":
    serve(lambda **beginning: {"measure": partial(measure, **beginning)})
