"""What it costs to be several: `python -m compare.bench --scaling --help`.

N workers that train together are timed against N processes that train alone at the same time, each
with a worker's share of the batch: the machine is as busy, so the difference is what they send each
other and how long they wait. What is sent is read off the kernel's counter of its loopback device,
as the difference of a longer and a shorter run, which both begin and end alike.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tqdm import tqdm

from common import architecture, checkpoint, commandline, datasets, limits
from common.config import Config, UserError
from common.environment import git_commit, processor
from compare import engines
from compare.engines import Engine

WORLDS = (2, 4)
SHORT = 20  # iterations of the shorter run


@dataclass(frozen=True)
class ScalingArguments:
    """What to time."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = {"steps": limits.whole_number(40, 100_000)}

    engines: str = engines.ALL
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    steps: int = 80
    """Iterations of the longer run."""

    data_dir: str = "data"
    """Folder of MNIST."""

    out: str = "bench/scaling.json"
    """The figures."""


def least_bytes(settings: Config) -> int:
    """What every worker has to learn of the others: both networks' gradients once, float32."""
    shapes = architecture.of(settings).parameters()
    running = ("/moving_mean", "/moving_variance")
    return 4 * sum(math.prod(shapes[name]) for name in shapes if not name.endswith(running))


def loopback_bytes() -> int:
    """Bytes that this machine has sent to itself since it was started. UserError elsewhere."""
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
    except OSError:
        raise UserError("--scaling reads Linux's /proc/net/dev, which is not here.") from None
    return next(int(line.split()[9]) for line in lines if line.split()[:1] == ["lo:"])


class Timings:
    """Runs of one engine."""

    def __init__(self, engine: Engine, settings: Config, folder: Path) -> None:
        self._engine, self._settings, self._folder = engine, settings, folder

    def _flags(self, out: Path, batch: int, steps: int) -> list[object]:
        return [
            "--batch-size", batch, "--steps", steps, "--data-dir", self._settings.data_dir,
            "--device", "cpu", "--overwrite", "--out", out,
        ]  # fmt: skip

    def _milliseconds(self, out: Path, batch: int) -> float:
        result = json.loads((out / "result.json").read_text())
        return 1000 * batch / float(result["images_per_second"])

    def together(self, world: int, steps: int) -> tuple[float, int]:
        """Of `world` workers: milliseconds per iteration, and bytes sent in the whole run."""
        out, before = self._folder / "together", loopback_bytes()
        module, batch = f"{self._engine.package}.train", self._settings.batch_size
        flags = self._flags(out, batch, steps)
        process = engines.start(self._engine, "common.launch", world, module, *flags, threads=1)
        engines.finish(self._engine, process)
        return self._milliseconds(out, batch), loopback_bytes() - before

    def apart(self, world: int, steps: int) -> float:
        """Of `world` processes at once, each with a worker's share: milliseconds per iteration."""
        module, batch = f"{self._engine.package}.train", self._settings.batch_size // world
        outs = [self._folder / f"apart-{rank}" for rank in range(world)]
        processes = [
            engines.start(self._engine, module, *self._flags(out, batch, steps), threads=1)
            for out in outs
        ]
        for process in processes:
            engines.finish(self._engine, process)
        return statistics.mean(self._milliseconds(out, batch) for out in outs)


def measure(chosen: list[Engine], settings: Config, steps: int) -> list[dict[str, Any]]:
    """A row per engine and number of workers."""
    rows = []
    work = [(engine, world) for engine in chosen for world in WORLDS]
    for engine, world in tqdm(work, "scaling", disable=not sys.stderr.isatty(), leave=False):
        with tempfile.TemporaryDirectory() as folder:
            timings = Timings(engine, settings, Path(folder))
            _, short = timings.together(world, SHORT)
            together, long = timings.together(world, steps)
            rows.append(
                {
                    "engine": engine.name,
                    "workers": world,
                    "ms_together": together,
                    "ms_apart": timings.apart(world, steps),
                    "bytes": (long - short) / (steps - SHORT) / world,  # a worker's, an iteration's
                }
            )
    return rows


def table(record: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| | workers | ms per iteration | alone, with a share each | communication and waiting "
        "| MB sent by a worker | of the least |",
        "|" + "---|" * 7,
    ]
    for row in record["rows"]:
        world = row["workers"]
        # In a ring, the way to do it with the fewest bytes, each sends 2 (N - 1) / N of them.
        least = record["gradients"] * 2 * (world - 1) / world
        lines.append(
            f"| {row['engine']} | {world} | {row['ms_together']:.0f} | {row['ms_apart']:.0f} "
            f"| {row['ms_together'] - row['ms_apart']:.0f} ms | {row['bytes'] / 1e6:.1f} "
            f"| {row['bytes'] / least:.2f} x {least / 1e6:.1f} |"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            ScalingArguments,
            argv,
            prog="python -m compare.bench --scaling",
            description="Time several workers against as many processes that train alone.",
        )
        chosen = engines.choose(arguments.engines)
        out = Path(arguments.out)
        commandline.check_place("out", out, folder=False)
        settings = Config(data_dir=arguments.data_dir)
        datasets.load(settings)
        loopback_bytes()
        record = {
            "processor": processor(),
            "commit": git_commit(),
            "command": ["python", "-m", "compare.bench", "--scaling", *argv],
            "batch_size": settings.batch_size,
            "gradients": least_bytes(settings),
            "rows": measure(chosen, settings, arguments.steps),
        }
        with commandline.writing(out):
            checkpoint.write_json(out, record)
    print(f"{table(record)}\n\n-> {out}")
