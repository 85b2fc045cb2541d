"""Long runs: neither memory nor open files may grow while a training goes on and on.

The bound was set before anything was measured. A run is cut into fifths by its samples; of the
first one, which compiles and warms up, nothing is asked. Between the second and the last fifth the
median of the resident memory may grow by no more than 10 MiB, and that of the open files by none.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from compare import engines
from compare.engines import Engine
from compare.pages.torture import Row, Say

MAY_GROW = 10.0  # MiB
INTERVAL = 0.5  # seconds between two samples
# Every 250 steps a checkpoint and a picture, so that what they leave behind is seen.
FLAGS = ("--batch-size", 8, "--show-every", 250, "--checkpoint-every", 250, "--device", "cpu")


@dataclass(frozen=True)
class Sample:
    """A training process, looked at once."""

    memory: float  # MiB that are resident
    handles: int  # open files, pipes and sockets


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """A row for each engine: 10,000 steps in PyTorch, 2,000 in the others."""
    if not Path("/proc/self/fd").exists():
        say("steady: skipped: memory and open files are read from Linux's /proc")
        return []
    return [
        long_run(work, engine, 10_000 if engine.name == "pytorch" else 2_000, data_dir, say)
        for engine in chosen
    ]


def long_run(work: Path, engine: Engine, steps: int, data_dir: str, say: Say) -> Row:
    """Train so many steps, looking at the process all the while."""
    out = work / engine.name
    arguments = ("--steps", steps, *FLAGS, "--data-dir", data_dir, "--out", out)
    with tempfile.TemporaryFile("w+") as said:
        process = engines.start(
            engine, f"{engine.package}.train", *arguments, threads=1, stderr=said
        )
        samples, told = [], time.monotonic()
        while process.poll() is None:
            time.sleep(INTERVAL)
            # Neither start-up nor the last overviews are training.
            if not _lines(out / "metrics.jsonl") or _step(out) == steps:
                continue
            with contextlib.suppress(OSError):  # it has just ended
                samples.append(sample(process.pid))
            if time.monotonic() - told > 10:
                told = time.monotonic()
                now = samples[-1]
                say(
                    f"steady: {engine.name} at step {_step(out)}: {now.memory:.0f} MiB, "
                    f"{now.handles} handles"
                )
        said.seek(0)
        ended = said.read()
    process.communicate()
    problem = flat(samples)
    if process.returncode or _step(out) != steps:
        problem = f"ended with {process.returncode}: {ended.strip()[-200:]}"
    shutil.rmtree(out, ignore_errors=True)
    return Row(
        "steady",
        f"{steps:,} steps with flat memory and open files: {engine.name}",
        1,
        0 if problem else 1,
        problem or " to ".join(_medians(samples)),
    )


def sample(pid: int) -> Sample:
    """A process's resident memory and open files, now. OSError if it is gone."""
    process = Path(f"/proc/{pid}")
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return Sample(int(line.split()[1]) / 1024, len(list((process / "fd").iterdir())))
    raise OSError(f"{pid} has ended")  # a process that nobody has waited for has no memory


def flat(samples: list[Sample]) -> str:
    """What grew by more than it may between the second fifth of the samples and the last, or ""."""
    if len(samples) < 10:
        return f"only {len(samples)} samples were taken"
    early, late = _fifth(samples, 1), _fifth(samples, 4)
    grown = late.memory - early.memory
    if grown > MAY_GROW:
        return f"memory grew by {grown:.0f} MiB: " + " to ".join(_medians(samples))
    if late.handles != early.handles:
        return "open files are not constant: " + " to ".join(_medians(samples))
    return ""


def _fifth(samples: list[Sample], which: int) -> Sample:
    part = samples[which * len(samples) // 5 : (which + 1) * len(samples) // 5]
    return Sample(
        statistics.median(each.memory for each in part),
        statistics.median_low([each.handles for each in part]),
    )


def _medians(samples: list[Sample]) -> list[str]:
    fifths = [_fifth(samples, which) for which in (1, 4)]
    return [f"{each.memory:.1f} MiB and {each.handles} open files" for each in fifths]


def _lines(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _step(run: Path) -> int:
    """The step of a run's last checkpoint."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(json.loads((run / "result.json").read_text())["step"])
    return 0
