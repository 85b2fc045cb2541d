"""Time the backends against the published loop: `python -m compare.bench --help`.

Each engine and each baseline is a process of its own; they take turns of a few steps, so that what
else the machine does falls on all of them alike.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tqdm import tqdm

from common import checkpoint, config
from common.config import Config, Precision, UserError
from common.run import git_commit, processor
from compare import engines
from compare.engines import ENGINES, Engine


@dataclass(frozen=True)
class BenchArguments:
    """What to time."""

    engines: str = engines.DEFAULT
    """Names separated by commas: pytorch, tensorflow, keras, keras-torch, keras-jax."""

    precisions: str = "float32,bfloat16"
    """Names separated by commas: float32, bfloat16, float64."""

    batch_size: int = 128
    """Images per iteration."""

    rounds: int = 8
    """Timed turns of each; one more comes first as warm-up."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""

    data_dir: str = "data"
    """Folder of the data set."""

    out: str = "bench/bench.json"
    """The figures with hardware, versions, commit and command."""


class Timed:
    """A process that answers each line with the seconds per step of one turn."""

    def __init__(self, name: str, precision: str, process: subprocess.Popen[str]) -> None:
        self.name, self.precision, self.process = name, precision, process
        self.seconds: list[float] = []
        self.peak_mib = 0.0
        began = time.perf_counter()
        self._answer()
        self.start_seconds = time.perf_counter() - began

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            _, err = self.process.communicate()
            tail = " | ".join(err.strip().splitlines()[-3:])
            raise UserError(f"{self.name} in {self.precision} failed: {tail}")
        return json.loads(line)

    def turn(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.peak_mib = answer["peak_mib"]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def row(self, published: dict[str, float]) -> dict[str, Any]:
        """The figures, without the warm-up turn. published: framework -> its baseline's ms."""
        ms = [1000 * s for s in self.seconds[1:]]
        median = statistics.median(ms)
        framework = self.name.split(" ")[0]
        baseline = published.get(framework)
        return {
            "name": self.name,
            "precision": self.precision,
            "ms": median,
            "ms_low": min(ms),
            "ms_high": max(ms),
            "ms_all": ms,
            "start_seconds": self.start_seconds,
            "peak_mib": self.peak_mib,
            "times_published": baseline / median if baseline else None,
        }


def measure(arguments: BenchArguments, chosen: list[Engine]) -> list[dict[str, Any]]:
    """One row per engine and precision, and one per published loop (float32)."""
    base = dataclasses.replace(
        Config(),
        batch_size=arguments.batch_size,
        device=arguments.device,
        data_dir=arguments.data_dir,
    )
    steps = 5 if arguments.device != "cuda" else 100
    timed: list[Timed] = []
    try:
        for engine in chosen:
            for precision in cast(list[Precision], arguments.precisions.split(",")):
                values = config.to_json(dataclasses.replace(base, precision=precision))
                task = {"package": engine.package, "config": values, "count": steps}
                process = engines.start(engine, "compare.probe", "timing", json.dumps(task))
                timed.append(Timed(engine.name, precision, process))
        for name in BASELINES:
            if ENGINES[name] in chosen:
                task = {"config": config.to_json(base), "count": steps}
                module = f"compare.baselines.{name}"
                process = engines.start(ENGINES[name], module, json.dumps(task))
                timed.append(Timed(f"{name} {PUBLISHED}", "float32", process))
        for _ in tqdm(range(arguments.rounds + 1), desc="rounds", disable=not sys.stderr.isatty()):
            for each in timed:
                each.turn()
    finally:
        for each in timed:
            each.close()
    published = {
        each.name.split(" ")[0]: 1000 * statistics.median(each.seconds[1:])
        for each in timed
        if each.name.endswith(PUBLISHED)
    }
    return [each.row(published) for each in timed]


PUBLISHED = "published loop"
BASELINES = ("pytorch",)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | precision | ms per iteration (low to high) | images/s | times the published loop "
        "| start to first step | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = row["times_published"]
        lines.append(
            f"| {row['name']} | {row['precision']} "
            f"| {row['ms']:.1f} ({row['ms_low']:.1f} to {row['ms_high']:.1f}) "
            f"| {row['images_per_second']:.0f} | {f'{ratio:.2f}' if ratio else '-'} "
            f"| {row['start_seconds']:.1f} s | {row['peak_mib']:.0f} MiB |"
        )
    return "\n".join(lines)


def main() -> None:
    try:
        arguments, _ = config.parse(
            BenchArguments,
            sys.argv[1:],
            prog="python -m compare.bench",
            description="Time the backends against the published loop, interleaved.",
        )
        if not 1 <= arguments.rounds <= 10_000:
            raise UserError(
                f"--rounds takes a whole number from 1 to 10000, not {arguments.rounds}."
            )
        for precision in arguments.precisions.split(","):
            if precision not in ("float32", "bfloat16", "float64"):
                raise UserError(
                    f"--precisions takes float32, bfloat16 and float64, not {precision!r}."
                )
        chosen = engines.choose(arguments.engines)
        rows = measure(arguments, chosen)
    except UserError as error:
        config.fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    for row in rows:
        row["images_per_second"] = 1000 * arguments.batch_size / row["ms"]
    record = {
        "processor": processor(),
        "commit": git_commit(),
        "command": ["python", "-m", "compare.bench", *sys.argv[1:]],
        "batch_size": arguments.batch_size,
        "rows": rows,
    }
    out = Path(arguments.out)
    checkpoint.write_atomically(out, (json.dumps(record, indent=2) + "\n").encode())
    print(table(rows))
    print(f"\n{processor()}, batch {arguments.batch_size}, {arguments.rounds} rounds -> {out}")


if __name__ == "__main__":
    main()
