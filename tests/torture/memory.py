"""Batches that do not fit into memory: the batch size is named and a smaller one, no traceback.

The memory of a GPU cannot be made small from outside; that of a process can, and the frameworks
report both by the same kind of error. Not TensorFlow: where a processor's memory is refused, some
of its kernels end the process. tests/engine holds what is made of the error that it has.
"""

from __future__ import annotations

import resource
from pathlib import Path

from compare import engines
from compare.engines import Engine
from compare.pages.torture import Row, Say

BATCH = 5_000  # images, whose first activations take 370 MB
ROOM = 2**30  # bytes that may be added once the framework is loaded: XLA compiles within it
TIMEOUT = 300.0


def complaint(engine: Engine, out: Path, data_dir: str) -> tuple[int, str]:
    """Exit status and standard error of a training that runs out of memory in its first step."""
    process = engines.start(
        engine,
        f"{engine.package}.train",
        *("--batch-size", BATCH, "--steps", 20, "--device", "cpu"),
        *("--data-dir", Path(data_dir).absolute(), "--out", out),
        threads=1,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "training mnist28" in line:  # the framework is loaded, and nothing is computed yet
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + ROOM
            resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
            break
    try:
        _, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return process.returncode, err


def explained(status: int, err: str) -> bool:
    """One sentence with the batch size and half of it, exit status 2."""
    sentence = err.strip()
    named = f"a batch of {BATCH} images" in sentence and f"--batch-size {BATCH // 2}" in sentence
    return status == 2 and sentence.startswith("error: ") and "\n" not in sentence and named


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """One training of each engine in too little memory, but for those on TensorFlow."""
    able = [engine for engine in chosen if "tensorflow" not in engine.requires]
    survived = 0
    for engine in able:
        status, err = complaint(engine, work / engine.name, data_dir)
        survived += explained(status, err)
        say(f"memory: {engine.name}: exit {status}: {err.strip().splitlines()[-1:]}")
    what = "batches too large for the memory: the size named, and a smaller one"
    return [Row("memory", what, len(able), survived, ", ".join(e.name for e in able))]
