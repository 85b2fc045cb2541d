"""The engines that can be compared, and how their processes are started."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from common import commandline
from common.backend import Backend
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
ALL = ",".join(ENGINES)


def choose(names: str, installed: bool = True) -> list[Engine]:
    """`pytorch,keras` -> engines. UserError for an unknown one, or one that is not installed.

    installed: False if the caller tells of missing packages itself.
    """
    chosen = []
    for name in commandline.names("engines", names, ENGINES):
        if installed and ENGINES[name].missing:
            raise UserError(not_installed(ENGINES[name]))
        chosen.append(ENGINES[name])
    if len(set(names.split(","))) < len(chosen):
        raise UserError(f"--engines names an engine twice: {names}.")
    return chosen


def able(wanted: str, trained_by: str) -> Engine:
    """The engine of that name, or for `auto` the one that trained a run if it is installed, else
    any. UserError if there is none."""
    if wanted != "auto":
        return choose(wanted)[0]
    for name in (trained_by, *ENGINES):
        if name in ENGINES and not ENGINES[name].missing:
            return ENGINES[name]
    raise UserError("No backend is installed to draw samples with; run `make setup-pytorch`.")


def not_installed(engine: Engine) -> str:
    """What to do about an engine that is not installed, in one sentence."""
    return (
        f"Engine {engine.name} needs {' and '.join(engine.missing)}, which is not installed; run "
        "`make setup`, or leave it out with --engines."
    )


def load(package: str) -> Backend[Any]:
    """An implementation, `pytorch_impl` say, loaded into this process."""
    return cast(Backend[Any], importlib.import_module(f"{package}.backend"))


def start(
    engine: Engine,
    module: str,
    *arguments: object,
    threads: int | None = None,
    stderr: IO[str] | int = subprocess.PIPE,
    group: bool = False,
    **variables: str,
) -> subprocess.Popen[str]:
    """`python -m module arguments` for an engine, with pipes, and with so many threads.

    group: as a process group of its own, which a signal reaches as a terminal's Ctrl-C does.
    variables: of its environment.
    """
    environment = os.environ | variables
    if engine.keras_backend is not None:
        environment["KERAS_BACKEND"] = engine.keras_backend
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            environment[name] = str(threads)
    if threads == 1:  # JAX knows all threads or one
        flags = environment.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=group,
    )


def finish(engine: Engine, process: subprocess.Popen[str]) -> str:
    """Wait for a process; its output. UserError with the end of what it said if it failed."""
    out, err = process.communicate()
    if process.returncode:
        raise ended(engine, process.returncode, err or out)
    return out


def ended(engine: Engine, status: int, said: str) -> UserError:
    """What to raise for a process that failed: its status and the end of what it said."""
    tail = " | ".join(said.strip().splitlines()[-3:])
    return UserError(f"The process of {engine.name} ended with {status}: {tail}")
