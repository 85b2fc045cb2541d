"""What several workers' ends are to the shell that started them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("pass", "pass", 0),
        ("os._exit(2)", "os._exit(2)", 2),
        ("os.kill(os.getpid(), 9)", "time.sleep(0.3); os._exit(1)", 1),
        ("time.sleep(0.3); os.kill(os.getpid(), 9)", "os._exit(1)", 1),
        ("os.kill(os.getpid(), 9)", "os._exit(1)", 1),  # at once: the other one knows why
        ("os.kill(os.getpid(), 9)", "pass", 137),
    ],
)
def test_the_status_is_that_of_a_worker_that_ended_by_itself(
    first: str, second: str, status: int
) -> None:
    setup = "import os, time"
    run = f"exec({first!r} if os.environ['RANK'] == '0' else {second!r})"
    command = ["common.launch", "2", "timeit", "-n1", "-r1", "-s", setup, run]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True)
    assert done.returncode == status, done.stderr
