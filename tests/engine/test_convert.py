"""A framework's own files, both ways: what holds for every kind of file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common import checkpoint
from common.config import Config

pytestmark = pytest.mark.long_run


def file(folder: Path, name: str, ending: str) -> Path:
    """Of a name as the framework wants it: Keras's weights end in .weights.h5."""
    return folder / (f"{name}.weights.h5" if ending == ".h5" else name + ending)


def test_there_and_back(
    ending: str, package: str, saved: Path, tmp_path: Path, command: Callable,
    convert_command: Callable, assert_close: Callable,
) -> None:  # fmt: skip
    g, d = (file(tmp_path, name, ending) for name in "gd")
    back = tmp_path / "back.safetensors"
    command(f"{package}.convert", saved, g)  # in a process, as a user does; the others need none
    convert_command(saved, d, "--network", "discriminator")
    convert_command(g, back, "--discriminator", d)
    assert_close(checkpoint.load(back).arrays, checkpoint.load(saved).arrays, 0)
    convert_command(saved, g, refused="exists already")
    convert_command(saved, g, "--overwrite")
    assert not list(tmp_path.glob(".*")), "temporary files are left"
    other = tmp_path / "other.safetensors"
    convert_command(d, other, refused="it is no generator of this architecture")
    convert_command(file(tmp_path, "none", ending), other, refused="There is no file")
    convert_command(saved, tmp_path / "g.onnx", refused="no known ending")
    assert not other.exists()


def test_nothing_is_written_for_a_nan(
    ending: str, package: str, saved: Path, tmp_path: Path, convert_command: Callable
) -> None:
    exports = importlib.import_module(f"{package}.convert").EXPORTS
    broken = checkpoint.load(saved)
    broken.arrays["generator/norm1/moving_mean"][5] = np.nan
    exports[ending](broken, "generator", file(tmp_path, "x", ending))
    before = set(tmp_path.iterdir())
    text = "cannot be imported: array 'generator/norm1/moving_mean' holds NaN"
    convert_command(file(tmp_path, "x", ending), tmp_path / "y.safetensors", refused=text)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.whole_run
def test_float64_stays_float64(
    ending: str, package: str, statistics: Callable, tmp_path: Path, convert_command: Callable
) -> None:
    exports = importlib.import_module(f"{package}.convert").EXPORTS
    config = Config(noise_size=20, precision="float64", device="cpu")
    exact = checkpoint.Checkpoint(statistics(config), config, 0, "x", {})
    exports[ending](exact, "generator", file(tmp_path, "x", ending))
    convert_command(file(tmp_path, "x", ending), tmp_path / "y.safetensors")
    found = checkpoint.load(tmp_path / "y.safetensors")
    assert found.config.precision == "float64"
    for name, array in exact.arrays.items():
        if name.startswith("generator/"):
            np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)
