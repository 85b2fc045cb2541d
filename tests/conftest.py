"""What all tests share: real data, and commands run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Two busy threads on two cores can make a small float64 step many times slower.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def data_dir() -> str:
    """The real MNIST files, fetched once."""
    from common.datasets import ensure_mnist

    folder = str(ROOT / "data")
    ensure_mnist(folder, wanted=())
    return folder


def start(module: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """`python -m module arguments`, in the repository's root, with one thread."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | ONE_THREAD | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def command() -> Command:
    """Run a module to its end; `status` is the exit status it must have."""

    def run(
        module: str, *arguments: object, status: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        process = start(module, *arguments, **environment)
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()
        assert process.returncode == status, f"{module} {arguments}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def starter() -> Callable[..., subprocess.Popen[str]]:
    """Start a module and give its process."""
    return start
