"""What tests of several files share: one short run, and a report over copies of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compare.report import build as report
from tests.conftest import Command
from tests.cross import made_runs


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory, data_dir: str, command: Command) -> Path:
    """PyTorch's run of four steps at batch 16, seed 0, with sample grids at 0, 2 and 4. Copy it."""
    run = tmp_path_factory.mktemp("short") / "pytorch"
    command(
        "pytorch_impl.train", "--steps", 4, "--batch-size", 16, "--show-every", 2,
        "--data-dir", data_dir, "--out", run,
    )  # fmt: skip
    return run


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory: pytest.TempPathFactory, data_dir: str, command: Command) -> Path:
    """PyTorch's run of dcgan on stacked-mnist: four steps, grids at 0, 2 and 4. Copy it."""
    run = tmp_path_factory.mktemp("colour") / "pytorch"
    command(
        "pytorch_impl.train", "--dataset", "stacked-mnist", "--width", 4, "--steps", 4,
        "--batch-size", 16, "--show-every", 2, "--data-dir", data_dir, "--out", run,
    )  # fmt: skip
    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, short_run: Path) -> Path:
    """The folder of tests/cross/made_runs.py."""
    folder = tmp_path_factory.mktemp("runs")
    made_runs.make(folder, short_run)
    return folder


@pytest.fixture(scope="session")
def report_folder(runs: Path, data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report over five engines and two failures."""
    out = tmp_path_factory.mktemp("report")
    report.write(report.read_all(made_runs.paths(runs)), out, data_dir)
    return out
