"""A framework's own files, both ways: what holds for every kind of file."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import architecture, checkpoint, commandline
from common.config import Config, UserError
from common.plan import Plan, TrainArguments, make_plan

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
    convert_command(saved, tmp_path / "g.jpg", refused="no known ending")
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


def test_a_batch_norms_epsilon_is_asked_for_where_the_file_has_none(
    ending: str, saved: Path, tmp_path: Path, convert_command: Callable
) -> None:
    """Weights fit a network of any epsilon, and draw other images without a word."""
    g, back = file(tmp_path, "g", ending), tmp_path / "back.safetensors"
    convert_command(saved, g)
    said = convert_command(g, back)
    wanted = checkpoint.load(back).arrays
    if ending == ".keras":
        assert "assumed" not in said
        return
    assert "1e-05 is assumed" in said
    assert "--batch-norm-epsilon" in said
    for given, epsilons in (("0.8", [0.8] * 3), ("1e-5,0.8,1e-3", [1e-5, 0.8, 1e-3])):
        flags = ("--batch-norm-epsilon", given, "--overwrite")
        said = convert_command(g, back, *flags)
        assert "assumed" not in said
        found = checkpoint.load(back).arrays
        for number, epsilon in enumerate(epsilons, 1):
            name = f"generator/norm{number}/moving_variance"
            moved = found[name].astype(np.float64) - wanted[name]
            np.testing.assert_allclose(moved, epsilon - 1e-5, rtol=1e-3, atol=1e-7)
            assert (f"norm{number}'s epsilon is {epsilon:g}" in said) == (epsilon != 1e-5)
            found[name] = wanted[name]
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[name], err_msg=name)
    flags = ("--overwrite", "--batch-norm-epsilon")
    convert_command(g, back, *flags, "0.8,0.8", refused="has 2 values for the 3 batch norms")
    convert_command(g, back, *flags, "0", refused="takes a number above 0 and below 10")
    convert_command(g, back, *flags, "a,b,c", refused="takes a number above 0 and below 10")
    convert_command(saved, g, *flags, "0.8", refused="--batch-norm-epsilon is for an import")


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


# ------------------------------------------------------------------ the paper's networks


@pytest.fixture(params=[(32, 3, 4, 100), pytest.param((64, 1, 2, 7), marks=pytest.mark.slow)])
def paper(request: pytest.FixtureRequest, statistics: Callable) -> checkpoint.Checkpoint:
    """A state of small networks of dcgan with running statistics of its own."""
    size, channels, width, noise = request.param
    config = Config(
        dataset="drawn", train_images=64, image_size=size, channels=channels, width=width,
        noise_size=noise, device="cpu",
    )  # fmt: skip
    return checkpoint.Checkpoint(statistics(config), config, 0, "x", {})


def test_the_papers_networks_there_and_back(
    ending: str, package: str, paper: checkpoint.Checkpoint, tmp_path: Path,
    convert_command: Callable, assert_close: Callable,
) -> None:  # fmt: skip
    """Which architecture and of which sizes is read off the kernels."""
    exports = importlib.import_module(f"{package}.convert").EXPORTS
    g, d = (file(tmp_path, name, ending) for name in "gd")
    exports[ending](paper, "generator", g)
    exports[ending](paper, "discriminator", d)
    back = tmp_path / "back.safetensors"
    convert_command(g, back, "--discriminator", d)
    found = checkpoint.load(back)
    assert_close(found.arrays, paper.arrays, 0)
    for name in ("architecture", "recipe", "image_size", "channels", "width", "noise_size"):
        assert getattr(found.config, name) == getattr(paper.config, name)
    assert found.config.train_images is None  # until a resume names the data
    other = tmp_path / "other.safetensors"
    convert_command(d, other, refused="it is no generator of this architecture")
    wider = dataclasses.replace(paper.config, width=8)
    exports[ending](
        dataclasses.replace(paper, config=wider, arrays=checkpoint.initial(wider)),
        "discriminator",
        file(tmp_path, "wide", ending),
    )
    convert_command(
        g, other, "--discriminator", file(tmp_path, "wide", ending), refused="are no pair: the "
    )
    assert not other.exists()


def test_imported_weights_go_on_with_data_that_is_named(
    ending: str, package: str, paper: checkpoint.Checkpoint, tmp_path: Path,
    convert_command: Callable,
) -> None:  # fmt: skip
    exports = importlib.import_module(f"{package}.convert").EXPORTS
    g, back = file(tmp_path, "g", ending), tmp_path / "back.safetensors"
    exports[ending](paper, "generator", g)
    convert_command(g, back)

    def plan(*argv: str) -> Plan:
        words = ["--resume", str(back), "--out", str(tmp_path / "run"), *argv]
        return make_plan(*commandline.parse(TrainArguments, words, "train", ""), "x")

    with pytest.raises(UserError, match="imported from weights, which do not tell their data"):
        plan()
    size, channels = paper.config.image_size, paper.config.channels
    fits = {(32, 3): "stacked-mnist"}.get((size, channels))
    other = {1: "cifar10", 3: "mnist"}[channels]
    with pytest.raises(UserError, match=f"The pictures of {other} have"):
        plan("--dataset", other)
    if fits is not None:
        chosen = plan("--dataset", fits).config
        assert (chosen.dataset, chosen.train_images, chosen.width) == (fits, 50_000, 4)


# ------------------------------------------------------------------ for deployment


@pytest.mark.parametrize("network", ["generator", "discriminator"])
@pytest.mark.parametrize("kind", ["mnist28", "dcgan"])
def test_an_onnx_file_is_the_network(
    kind: str, network: str, saved: Path, paper: checkpoint.Checkpoint, package: str,
    bridge: Any, tmp_path: Path, convert_command: Callable,
) -> None:  # fmt: skip
    """For any number of images; and it needs no framework."""
    import onnxruntime

    source = saved
    if kind == "dcgan":
        source = tmp_path / "paper.safetensors"
        config = dataclasses.replace(paper.config, batch_size=2)
        checkpoint.save(source, paper.arrays, config, "x", {})
    file = tmp_path / "x.onnx"
    convert_command(source, file, "--network", network)
    found = checkpoint.load(source)
    table = architecture.of(found.config)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    module = importlib.import_module(f"{package}.convert").to_framework(found, network)
    rng = np.random.default_rng(0)
    for count in (1, 5):
        shape = (table.noise_size,) if network == "generator" else table.image_shape
        x = rng.uniform(-1, 1, (count, *shape)).astype(np.float32)
        (y,) = session.run(None, {session.get_inputs()[0].name: np.moveaxis(x, -1, 1)})
        ours = bridge.apply(module, x, training=False)
        assert np.abs(np.moveaxis(y, 1, -1) - ours).max() <= 1e-5 * max(1, np.abs(ours).max())
    assert session.get_modelmeta().custom_metadata_map["network"] == network
