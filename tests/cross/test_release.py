"""What is given away: one version everywhere, and a wheel that works from any folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ONE_THREAD, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
DATA = (
    "compare/quality/extractor.onnx", "compare/report/page/template.html",
    "pretrained/mnist28-tuned.safetensors",
)  # fmt: skip


def test_one_version() -> None:
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert changes[0] == VERSION
    cited = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited is not None
    assert cited[1] == VERSION


def test_every_folder_of_sources_is_in_the_package() -> None:
    """A file that lies in a new folder would be missed only by who installs it."""
    tops = {name.partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    found = {
        str(path.parent.relative_to(ROOT)).replace(os.sep, ".")
        for top in tops
        for path in (ROOT / top).rglob("*.py")
    }
    assert found | {"pretrained"} == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.slow
def test_a_wheel_works_from_any_folder(data_dir: str, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob(f"*-{VERSION}-*.whl")
    installed, away = tmp_path / "installed", tmp_path / "away"
    away.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        assert set(DATA) <= set(archive.namelist())
        archive.extractall(installed)
    here = os.environ | ONE_THREAD | {"PYTHONPATH": str(installed)}

    def run(*words: object) -> str:
        command = [sys.executable, "-m", *map(str, words)]
        done = subprocess.run(command, cwd=away, env=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [sys.executable, "-c", "import common; print(common.__file__)"]
    done = subprocess.run(where, cwd=away, env=here, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(installed))  # not the checkout
    run("pytorch_impl.sample", "--out", "digits.png")
    flags = ("--steps", 2, "--batch-size", 16, "--device", "cpu", "--data-dir", data_dir)
    run("pytorch_impl.train", *flags, "--out", "run")
    run("pytorch_impl.convert", "run", "generator.onnx")
    run("compare.evaluate", "run", "--count", 200, "--data-dir", data_dir)
    run("compare.report", "run", "--out", "report", "--data-dir", data_dir)
    assert {"digits.png", "run", "generator.onnx", "report"} <= {
        path.name for path in away.iterdir()
    }
