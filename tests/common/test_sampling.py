"""The sample and convert commands around a generator that is a plain function."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common import batches, checkpoint, conversion, sampling
from common.config import Config


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    checkpoint.save(path, checkpoint.initial(Config(noise_size=4)), Config(noise_size=4), "x", {})
    return path


def load(saved: checkpoint.Checkpoint, device: str) -> sampling.Generate:
    """Images of one grey value each: the mean of their noise vector."""
    return lambda noise: np.broadcast_to(
        noise.mean(1)[:, None, None, None], (len(noise), 28, 28, 1)
    )


def sample(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["sample", *map(str, arguments)])
    sampling.main("x", load)


def test_npy_is_uint8_and_a_pure_function_of_the_seed(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.npy"
    sample(monkeypatch, saved.parent, "--count", 600, "--seed", 3, "--out", out)
    images = np.load(out)
    assert images.shape == (600, 28, 28)
    means = batches.sampled_noise(3, 600, 4).mean(1)
    np.testing.assert_array_equal(images[:, 5, 5], np.rint((means + 1.0) * 127.5))
    sample(monkeypatch, saved, "--count", 5, "--seed", 3, "--out", out)
    np.testing.assert_array_equal(np.load(out), images[:5])


def test_png_and_walks(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample(monkeypatch, saved, "--count", 9, "--out", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as grid:
        assert grid.size == ((3 * 30 + 2) * 3, (3 * 30 + 2) * 3)
    sample(monkeypatch, saved, "--count", 3, "--walk", 4, "--out", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as walk:
        assert walk.n_frames == 9
    sample(monkeypatch, saved, "--count", 3, "--walk", 4, "--out", tmp_path / "b.png")


def test_large_pictures_in_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(dataset="x", train_images=9, image_size=128, width=1, batch_size=2)
    path = tmp_path / checkpoint.FILE_NAME
    checkpoint.save(path, checkpoint.initial(config), config, "x", {})
    calls: list[int] = []

    def load(saved: checkpoint.Checkpoint, device: object) -> sampling.Generate:
        def generate(noise: np.ndarray) -> np.ndarray:
            calls.append(len(noise))
            return noise[:, :3].reshape(-1, 1, 1, 3) * np.ones((128, 128, 1), np.float32)

        return generate

    def draw(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["sample", *map(str, (path, *arguments))])
        sampling.main("x", load)

    draw("--count", 70, "--out", tmp_path / "a.npy")
    assert calls == [32, 32, 6]  # few at a time: a call's layers take megabytes an image
    noise = batches.sampled_noise(1, 70, config.noise_size)[:, :3]
    found = np.load(tmp_path / "a.npy")
    assert found.shape == (70, 128, 128, 3)
    np.testing.assert_array_equal(found[:, 7, 9], np.rint((noise + 1.0) * 127.5))
    draw("--count", 2, "--walk", 2, "--out", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as walk:
        assert (walk.n_frames, walk.size) == (3, (256, 256))
    draw("--count", 4, "--out", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as grid:
        assert (grid.size, grid.mode) == ((262, 262), "RGB")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--out", "a.jpg"], ".npy, .png"),
        (["--out", "a.gif"], ".gif is for --walk"),
        (["--out", "no/such/folder/a.png"], "there is no folder"),
        (["--count", "0"], "--count takes"),
        (["--count", "many"], "--count takes"),
        (["--seed", "-1"], "--seed takes"),
        (["--walk", "0"], "--walk takes"),
        (["--device", "tpu"], "--device takes one of"),
    ],
)
def test_bad_values_are_one_sentence(
    arguments: list[str],
    text: str,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        sample(monkeypatch, saved, *arguments)
    err = capsys.readouterr().err
    assert (exit_.value.code, err.count("\n")) == (2, 1)
    assert text in err
    assert not list(tmp_path.iterdir())


def test_missing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for run in (tmp_path, tmp_path / "nothing", "x" * 5000):
        with pytest.raises(SystemExit):
            sample(monkeypatch, run, "--out", tmp_path / "a.png")
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_conversion_by_endings(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def export(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
        path.write_text(f"{network} {saved.step}")

    def read(network: str, path: Path, key: str | None) -> conversion.Imported:
        arrays = checkpoint.initial(Config(noise_size=7))
        return conversion.Imported(
            {name: a + 1 for name, a in arrays.items() if name.startswith(network)}
        )

    def convert(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        conversion.main("x", {".w": export}, {".w": read})

    weights, target = tmp_path / "g.w", tmp_path / "new.safetensors"
    convert(saved, weights)
    assert weights.read_text() == "generator 0"
    convert(weights, target)
    assert "the discriminator has its initial weights" in capsys.readouterr().out
    new = checkpoint.load(target)
    assert new.config.noise_size == 7
    wanted = checkpoint.initial(Config(noise_size=7))
    for name in wanted:
        extra = 1 if name.startswith("generator") else 0
        np.testing.assert_array_equal(new.arrays[name], wanted[name] + extra)
    for arguments in (
        (weights, target),  # exists
        (saved, tmp_path / "g.other"),
        (tmp_path / "none.w", tmp_path / "x.safetensors"),
        (saved, tmp_path / "no" / "g.w"),
    ):
        with pytest.raises(SystemExit) as exit_:
            convert(*arguments)
        err = capsys.readouterr().err
        assert (exit_.value.code, err.count("\n")) == (2, 1)
