"""The engines that can be compared, and how their processes are started."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from common.config import UserError

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Engine:
    """A backend, and for Keras what it runs on."""

    name: str
    package: str  # the implementation: pytorch_impl
    requires: tuple[str, ...]  # what must be installed
    keras_backend: str | None = None

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed here."""
        return [name for name in self.requires if find_spec(name) is None]


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("pytorch", "pytorch_impl", ("torch",)),
        Engine("tensorflow", "tensorflow_impl", ("tensorflow",)),
        Engine("keras", "keras_impl", ("keras", "tensorflow"), "tensorflow"),
        Engine("keras-torch", "keras_impl", ("keras", "torch"), "torch"),
        Engine("keras-jax", "keras_impl", ("keras", "jax"), "jax"),
    )
}
DEFAULT = "pytorch,tensorflow,keras"


def choose(names: str) -> list[Engine]:
    """`pytorch,keras` -> engines. UserError for an unknown one, or one that is not installed."""
    chosen = []
    for name in names.split(","):
        if name not in ENGINES:
            raise UserError(
                f"--engines takes names from {', '.join(ENGINES)}, separated by commas, "
                f"not {name!r}."
            )
        if missing := ENGINES[name].missing:
            raise UserError(
                f"Engine {name} needs {' and '.join(missing)}, which is not installed; run "
                "`make setup`, or leave it out with --engines."
            )
        chosen.append(ENGINES[name])
    if len(set(names.split(","))) < len(chosen):
        raise UserError(f"--engines names an engine twice: {names}.")
    return chosen


def start(
    engine: Engine, module: str, *arguments: object, threads: int | None = None
) -> subprocess.Popen[str]:
    """`python -m module arguments` for an engine, with pipes, and with so many threads."""
    environment = dict(os.environ)
    if engine.keras_backend is not None:
        environment["KERAS_BACKEND"] = engine.keras_backend
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            environment[name] = str(threads)
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(engine: Engine, process: subprocess.Popen[str]) -> str:
    """Wait for a process; its output. UserError with the end of what it said if it failed."""
    out, err = process.communicate()
    if process.returncode:
        tail = " | ".join((err or out).strip().splitlines()[-3:])
        raise UserError(f"The process of {engine.name} ended with {process.returncode}: {tail}")
    return out
