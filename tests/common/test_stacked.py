"""Stacked MNIST: one data set for everybody, put together where it is asked for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from common import datasets
from common.config import Config, UserError
from common.stacked import HELD_OUT, MARGIN, StackedDigits, pad


def numbered(count: int) -> np.ndarray:
    """(count, 28, 28, 1): digits whose first two pixels hold their own number."""
    digits = np.zeros((count, 28, 28, 1), np.uint8)
    digits[:, 0, 0, 0], digits[:, 0, 1, 0] = np.arange(count) % 256, np.arange(count) // 256
    return digits


def test_golden_draws() -> None:
    """The same digits on every machine, of the training part and of the held-out one."""
    drawn = StackedDigits(numbered(50_000), 50_000).drawn
    assert drawn[:2].tolist() == [[39662, 12773, 9664], [25290, 1312, 31484]]
    assert drawn[-1].tolist() == [18425, 14594, 16568]
    held_out = StackedDigits(numbered(10_000), 2, HELD_OUT).drawn
    assert held_out.tolist() == [[5978, 7355, 3328], [1811, 7205, 6651]]


def test_each_channel_is_a_digit_with_a_margin() -> None:
    data = StackedDigits(numbered(1000), 9)
    assert data.shape == (9, 32, 32, 3)
    assert data.dtype == np.uint8
    which = np.array([4, 0, 4])
    found = data.gather(which)
    assert found.shape == (3, 32, 32, 3)
    held = found[:, MARGIN, MARGIN] + found[:, MARGIN, MARGIN + 1].astype(int) * 256
    np.testing.assert_array_equal(held, data.drawn[which])
    found[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = 0
    assert not found.any()
    np.testing.assert_array_equal(pad(found[:, 2:-2, 2:-2]), found)


def test_its_labels_are_those_of_the_first_channel(data_dir: str) -> None:
    config = Config(dataset="stacked-mnist", data_dir=data_dir, train_images=50)
    truth = datasets.mnist_labels(data_dir, "train")
    stacked = datasets.load(config)
    assert isinstance(stacked, StackedDigits)
    found = datasets.labels(config, "train")
    np.testing.assert_array_equal(found, truth[stacked.drawn[:, 0]])
    held_out = datasets.labels(config, "test")
    assert held_out[0] == datasets.mnist_labels(data_dir, "t10k")[5978]  # see the golden draws
    plain = Config(data_dir=data_dir, train_images=50)
    np.testing.assert_array_equal(datasets.labels(plain, "train"), truth[:50])
    with pytest.raises(UserError, match="have no labels"):
        datasets.labels(Config(dataset="drawn", image_size=32), "train")


def test_more_images_begin_with_the_same_ones() -> None:
    few, many = (StackedDigits(numbered(1000), n) for n in (10, 500))
    np.testing.assert_array_equal(few.drawn, many.drawn[:10])


def test_modes_are_the_numbers_that_the_digits_write() -> None:
    digits, labels = numbered(50), (np.arange(50) % 10).astype(np.uint8)
    data = StackedDigits(digits, 20_000)
    modes = data.modes(labels)
    assert modes.dtype == np.int64
    hundreds, tens, ones = labels[data.drawn[7]].tolist()
    assert modes[7] == int(f"{hundreds}{tens}{ones}")
    counts = np.bincount(modes, minlength=1000)
    assert len(counts) == 1000
    # Chi-square, 999 degrees of freedom: every mode has its share.
    assert abs(((counts - 20.0) ** 2 / 20).sum() - 999) < 5 * np.sqrt(2 * 999)


def test_its_images_are_not_all_in_memory() -> None:
    digits = numbered(100)
    tracemalloc.start()
    try:
        StackedDigits(digits, 100_000).gather(np.arange(64))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20  # as images they would take 300 MB
    finally:
        tracemalloc.stop()


def test_a_run_draws_from_the_first_digits_and_is_scored_on_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": numbered(300), "t10k": 255 - numbered(100)}
    monkeypatch.setattr(datasets, "mnist_images", lambda data_dir, split, say: splits[split])
    monkeypatch.setattr(datasets, "DIGITS", 200)
    config = Config(dataset="stacked-mnist", train_images=40, seed=3)
    data, held_out = datasets.load(config), datasets.held_out(config, 25)
    assert isinstance(data, StackedDigits)
    assert isinstance(held_out, StackedDigits)
    assert (data.shape, held_out.shape) == ((40, 32, 32, 3), (25, 32, 32, 3))
    assert len(data.digits) == 200
    np.testing.assert_array_equal(held_out.digits, splits["t10k"])
    np.testing.assert_array_equal(data.drawn, StackedDigits(numbered(200), 40).drawn)
