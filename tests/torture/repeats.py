"""The same seed twice: every bit of the checkpoint, the metrics and the pictures, in each engine.

What "the same" covers, and what it does not, is in docs/determinism.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from compare import engines
from compare.engines import Engine
from compare.pages.torture import Row, Say
from tests.torture.trainings import differences, picture

KINDS = {
    "float32": (),
    "bfloat16": ("--precision", "bfloat16"),
    "tuned": ("--recipe", "tuned"),
}
# A dozen steps: three of them with the penalty of recipe tuned.
LENGTH = ("--steps", 12, "--batch-size", 16, "--show-every", 6)


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """A row for each engine: every kind, compiled and not, on one thread and on two."""
    return [of_engine(work, engine, data_dir, say) for engine in chosen]


def of_engine(work: Path, engine: Engine, data_dir: str, say: Say) -> Row:
    """Every pair of one engine. Its note names the pairs that differ, and in what."""
    differing, tried = [], 0
    for flags in ("--no-compile", "--compile"):
        if flags == "--compile" and engine.keras_backend == "torch":
            continue  # not available there: PyTorch's compiler cannot take Keras's variables
        for threads in (1, 2):
            for kind, more in KINDS.items():
                name = f"{kind} {flags} on {threads} thread{'s' * (threads - 1)}"
                found = pair(work, engine, data_dir, threads, flags, *more)
                tried += 1
                if found:
                    differing.append(f"{name}: {', '.join(found)}")
                say(f"repeats: {engine.name} {name}: {'differs' if found else 'equal'}")
    compiled = "not compiled" if engine.keras_backend == "torch" else "compiled and not"
    return Row(
        "repeats",
        f"the same training twice gives the same bits: {engine.name}",
        tried,
        tried - len(differing),
        "; ".join(differing) or f"float32, bfloat16, tuned; {compiled}; one thread and two",
    )


def pair(work: Path, engine: Engine, data_dir: str, threads: int, *flags: object) -> list[str]:
    """Train twice with the same flags, in two processes: the names of what differs."""
    out = work / "run"
    arguments = (*LENGTH, "--device", "cpu", "--data-dir", data_dir, "--out", out, *flags)
    first: dict[str, str] = {}
    for _ in range(2):
        shutil.rmtree(out, ignore_errors=True)
        module = f"{engine.package}.train"
        engines.finish(engine, engines.start(engine, module, *arguments, threads=threads))
        first = first or picture(out)
    return differences(out, first)
