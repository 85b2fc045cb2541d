"""Long runs: neither memory nor open files may grow while a training goes on and on.

The bounds were set before anything was measured. A run is cut into fifths by its samples; of the
first one, which compiles and warms up, nothing is asked. Between the second and the last fifth the
median of the resident memory may grow by no more than 10 MiB, the least that is allocated by no
more than 4 MiB, and the median of the open files not at all.

Resident memory alone would hide a leak: a process that keeps what is freed (common/memory.py) has
room for it. What is allocated, the process is asked itself: it is started by this file, run as a
program, which has a thread write down what glibc's allocator has handed out.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import runpy
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from compare import engines
from compare.engines import Engine
from compare.torture.row import Row, Say

MAY_GROW = 10.0  # MiB, of resident memory
ALLOCATED_MAY_GROW = 4.0  # MiB
INTERVAL = 0.5  # seconds between two samples
# Every 250 steps a checkpoint and a picture, so that what they leave behind is seen.
FLAGS = ("--batch-size", 8, "--show-every", 250, "--checkpoint-every", 250, "--device", "cpu")


@dataclass(frozen=True)
class Sample:
    """A training process, looked at once."""

    memory: float  # MiB that are resident
    allocated: float  # MiB that the program holds of them, large and small
    handles: int  # open files, pipes and sockets


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """A row for each engine: 10,000 steps in PyTorch, 2,000 in the others."""
    if not Path("/proc/self/fd").exists() or not hasattr(ctypes.CDLL(None), "mallinfo2"):
        say("steady: skipped: this needs Linux's /proc and the allocator of glibc 2.33 or newer")
        return []
    return [
        long_run(work, engine, 10_000 if engine.name == "pytorch" else 2_000, data_dir, say)
        for engine in chosen
    ]


def long_run(work: Path, engine: Engine, steps: int, data_dir: str, say: Say) -> Row:
    """Train so many steps, looking at the process all the while."""
    out, allocated = work / engine.name, work / "allocated"
    allocated.touch()
    flags = ("--steps", steps, *FLAGS, "--data-dir", data_dir, "--out", out)
    arguments = (allocated, f"{engine.package}.train", *flags)
    with tempfile.TemporaryFile("w+") as said:
        process = engines.start(
            engine, "compare.torture.steady", *arguments, threads=1, stderr=said
        )
        samples, told = [], time.monotonic()
        while process.poll() is None:
            time.sleep(INTERVAL)
            # Neither start-up nor the last overviews are training.
            if not _lines(out / "metrics.jsonl") or _step(out) == steps:
                continue
            with contextlib.suppress(OSError):  # it has just ended
                samples.append(sample(process.pid, allocated))
            if samples and time.monotonic() - told > 10:
                told = time.monotonic()
                now = samples[-1]
                say(
                    f"steady: {engine.name} at step {_step(out)}: {now.memory:.0f} MiB resident, "
                    f"{now.allocated:.0f} MiB allocated, {now.handles} open files"
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


def sample(pid: int, allocated: Path) -> Sample:
    """A process, now, and the bytes that it has written down as allocated. OSError if it is gone."""
    process = Path(f"/proc/{pid}")
    held = int(allocated.read_text() or 0) / 2**20
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            resident = int(line.split()[1]) / 1024
            return Sample(resident, held, len(list((process / "fd").iterdir())))
    raise OSError(f"{pid} has ended")  # a process that nobody has waited for has no memory


def flat(samples: list[Sample]) -> str:
    """What grew by more than it may between the second fifth of the samples and the last, or ""."""
    if len(samples) < 10:
        return f"only {len(samples)} samples were taken"
    early, late = _fifth(samples, 1), _fifth(samples, 4)
    grown = late.memory - early.memory
    if grown > MAY_GROW:
        return f"memory grew by {grown:.0f} MiB: " + " to ".join(_medians(samples))
    if late.allocated - early.allocated > ALLOCATED_MAY_GROW:
        return "what is allocated grew: " + " to ".join(_medians(samples))
    if late.handles != early.handles:
        return "open files are not constant: " + " to ".join(_medians(samples))
    return ""


def _fifth(samples: list[Sample], which: int) -> Sample:
    """What a fifth of the samples comes to. A step holds more and less, but least between two."""
    part = samples[which * len(samples) // 5 : (which + 1) * len(samples) // 5]
    return Sample(
        statistics.median(each.memory for each in part),
        min(each.allocated for each in part),
        statistics.median_low([each.handles for each in part]),
    )


def _medians(samples: list[Sample]) -> list[str]:
    fifths = [_fifth(samples, which) for which in (1, 4)]
    return [
        f"{each.memory:.1f} MiB resident, {each.allocated:.1f} MiB allocated, "
        f"{each.handles} open files"
        for each in fifths
    ]


def _lines(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _step(run: Path) -> int:
    """The step of a run's last checkpoint."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(json.loads((run / "result.json").read_text())["step"])
    return 0


# ------------------------------------------------------------------ in the process that trains


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2, see mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def allocated_here() -> int:
    """Bytes that glibc's allocator has handed out in this process, and that are not freed."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return found.uordblks + found.hblkhd  # of the heaps, and large blocks with a mapping each


def _write_down(path: Path) -> None:
    """Keep allocated_here() in a file, always as many digits, for whoever looks."""
    with path.open("r+") as file:
        while True:
            file.seek(0)
            file.write(f"{allocated_here():020d}")
            file.flush()
            time.sleep(INTERVAL / 5)


def main() -> None:
    """`python -m compare.torture.steady FILE MODULE FLAGS`: MODULE, watched from within."""
    file, module, *flags = sys.argv[1:]
    threading.Thread(target=_write_down, args=(Path(file),), daemon=True).start()
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
