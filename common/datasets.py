"""Find or fetch a data set, verify it, load it: the training images of a Config."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
import tyro
from numpy.typing import NDArray

from common import commandline, folder, mnist, named
from common.batches import Dataset
from common.catalogue import CATALOGUE
from common.config import Config, UserError
from common.limits import short
from common.mnist import ensure_mnist as ensure_mnist
from common.mnist import mnist_images as mnist_images
from common.mnist import mnist_labels as mnist_labels
from common.stacked import HELD_OUT, StackedDigits, pad

DIGITS = 50_000  # of MNIST's training images, from which stacked-mnist draws

Say = Callable[[str], None]
Split = Literal["train", "test"]
MNIST = {"train": "train", "test": "t10k"}  # what its files call the splits


class ArrayDataset:
    """Images in memory."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images  # (N, H, W, C)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        n, h, w, c = self.images.shape
        return n, h, w, c

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        return self.images.dtype

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n,) int64 -> (n, H, W, C) uint8."""
        return self.images[indices]


def load(config: Config, say: Say = print) -> Dataset:
    """The training images of a Config: its first `train_images`, (N, H, W, C) uint8.

    Fetches what is missing, with one line through `say` per source. Raises UserError if no
    source answers, or if a folder's pictures are not those that the Config knows.
    """
    if config.dataset not in CATALOGUE:
        return _of_folder(config, say)
    if config.dataset == "stacked-mnist":
        digits = mnist_images(config.data_dir, "train", say)
        return StackedDigits(digits[:DIGITS], config.train_images)
    images = _images(config.dataset, "train", config.data_dir, say)[: config.train_images]
    if images.shape[1] < config.image_size:
        say(f"{config.dataset}: images of 28 x 28 pixels get a black margin to 32 x 32.")
        images = pad(images)
    return ArrayDataset(images)


def is_there(config: Config) -> bool:
    """Does load() find a Config's images without fetching any?"""
    if config.dataset not in CATALOGUE:
        return os.path.isdir(config.dataset)  # noqa: PTH112 (it knows no error, whatever the name)
    if config.dataset in ("mnist", "stacked-mnist"):
        return mnist.is_there(config.data_dir)
    return named.is_there(config.dataset, "train", config.data_dir)


def held_out(config: Config, count: int, say: Say = print) -> Dataset | None:
    """Images of a Config's data set that no run trains on, the first `count`: of its test file, or
    drawn from it. None of a folder, which has no such part. UserError as of load()."""
    if config.dataset not in CATALOGUE:
        return None
    if config.dataset == "stacked-mnist":
        return StackedDigits(mnist_images(config.data_dir, "t10k", say), count, HELD_OUT)
    images = _images(config.dataset, "test", config.data_dir, say)[:count]
    return ArrayDataset(pad(images) if images.shape[1] < config.image_size else images)


def labels(config: Config, split: Split, say: Say = print) -> NDArray[np.uint8]:
    """The classes of load()'s images (`train`) or of held_out()'s (`test`), 0 to 9: (N,); of
    stacked-mnist those of the first channel's digit. UserError of a folder, which has none."""
    if config.dataset not in CATALOGUE:
        raise UserError(
            f"The pictures in {short(config.dataset)} have no labels; the data sets that have some "
            f"are {', '.join(CATALOGUE)}."
        )
    if config.dataset in ("mnist", "stacked-mnist"):
        found = mnist_labels(config.data_dir, MNIST[split], say)
    else:
        found = named.labels(config.dataset, split, config.data_dir, say)
    if config.dataset == "stacked-mnist":
        stacked = load(config, say) if split == "train" else held_out(config, len(found), say)
        assert isinstance(stacked, StackedDigits)
        return found[stacked.drawn[:, 0]]
    return found[: config.train_images] if split == "train" else found


def _images(dataset: str, split: Split, data_dir: str, say: Say) -> NDArray[np.uint8]:
    """All images of a data set's `train` or `test` file, (N, H, W, C) uint8."""
    if dataset == "mnist":
        return mnist_images(data_dir, MNIST[split], say)
    return named.images(dataset, split, data_dir, say)


def counted(config: Config, say: Say = print) -> Config:
    """The Config of a new run with what only the data tell: of a folder, how many pictures it has,
    unless --train-images says how many of them, and what they are known by.

    UserError if there is no such folder, or if it has fewer.
    """
    if config.dataset in CATALOGUE:
        return config
    store = _store(config, say)
    count = config.train_images or store.shape[0]
    if store.shape[0] < 2:
        raise UserError(
            f"The folder {config.dataset} has one picture, and a batch takes at least 2; add more."
        )
    if count > store.shape[0]:
        raise UserError(
            f"--train-images {count} is more than the {store.shape[0]} pictures in "
            f"{config.dataset}; lower it, or leave it out to take them all."
        )
    return replace(config, train_images=count, pictures_digest=store.digest)


def _store(config: Config, say: Say) -> folder.Store:
    """The pictures of the folder that is a Config's data set. UserError if there is none."""
    path = Path(config.dataset)
    if not os.path.isdir(path):  # noqa: PTH112 (it knows no error, whatever the name)
        near = difflib.get_close_matches(config.dataset, CATALOGUE, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        what = "a file" if os.path.exists(path) else "no folder"  # noqa: PTH110
        raise UserError(
            f"--dataset takes one of {', '.join(CATALOGUE)}, or the path of a folder of pictures; "
            f"{short(config.dataset)} is {what}{hint}"
        )
    return folder.open_folder(path, Path(config.data_dir), config.image_size, config.channels, say)


def _of_folder(config: Config, say: Say) -> ArrayDataset:
    store = _store(config, say)
    if config.pictures_digest not in (None, store.digest):
        raise UserError(
            f"The pictures in {config.dataset} are no longer those that the run was trained on "
            f"(known by {config.pictures_digest}, now {store.digest}, as Pillow {PIL.__version__} "
            "decodes them); bring them back, name their folder with --dataset, or begin a new run."
        )
    if store.left_out:
        say(f"{config.dataset}: {store.left_out}")
    return ArrayDataset(store.images()[: config.train_images])


@dataclass(frozen=True)
class DatasetArguments:
    """Which data set, and where it lies."""

    data_dir: tyro.conf.Positional[str] = "data"
    """Folder of the data set; fetched into it when missing (torchvision's layout)."""

    dataset: Literal["mnist", "fashion-mnist", "kmnist", "cifar10", "svhn"] = "mnist"
    """The data set; stacked-mnist is made of mnist."""


def main() -> None:
    """`python -m common.datasets [DATA_DIR]`: fetch and verify, so that training need not."""
    with commandline.command():
        arguments, _ = commandline.parse(
            DatasetArguments,
            sys.argv[1:],
            prog="python -m common.datasets",
            description="Fetch and verify a data set, so that training need not.",
        )
        folder_ = Path(arguments.data_dir)
        if arguments.dataset == "mnist":
            ensure_mnist(arguments.data_dir, wanted=())
            said = f"MNIST: four verified files in {folder_ / 'MNIST' / 'raw'}."
        else:
            splits: tuple[Split, ...] = ("train", "test")
            shapes = [
                _images(arguments.dataset, split, arguments.data_dir, print).shape
                for split in splits
            ]
            counts = " and ".join(str(shape[0]) for shape in shapes)
            said = f"{arguments.dataset}: {counts} verified images in {folder_}."
    with contextlib.suppress(BrokenPipeError):
        print(said)


if __name__ == "__main__":
    main()
