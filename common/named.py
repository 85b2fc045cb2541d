"""The named data sets besides MNIST, where torchvision keeps them and with its MD5 sums."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from common import formats
from common.checkpoint import read_regular
from common.fetch import download
from common.limits import UserError

LARGEST = 2**26  # bytes of a file within a .gz; the largest has 47 million

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """The file that holds the pictures of a split of a data set, or their labels."""

    path: str  # below the data folder
    url: str
    md5: str
    parse: Callable[[bytes, str], NDArray[np.uint8]]  # content, split -> (N, H, W, C), or (N,)
    shape: tuple[int, ...]  # of what it holds
    # What torchvision unpacks it to, used where the file itself is gone: path -> MD5, if published.
    unpacked: dict[str, str | None] = field(default_factory=dict)
    parse_unpacked: Callable[[bytes], NDArray[np.uint8]] = lambda content: _idx(content)


def _idx(content: bytes) -> NDArray[np.uint8]:
    return formats.parse_idx(content)[..., None]


def _idx_gz(content: bytes, split: str) -> NDArray[np.uint8]:
    return _idx(formats.gunzip(content, LARGEST))


def _labels_gz(content: bytes, split: str) -> NDArray[np.uint8]:
    return formats.parse_idx(formats.gunzip(content, LARGEST))


def _cifar_batch(content: bytes) -> NDArray[np.uint8]:
    """The pictures of a file of CIFAR-10: rows of 3 x 32 x 32 values, channels first."""
    rows = formats.unpickle_arrays(io.BytesIO(content))["data"]
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()


def _cifar_batch_labels(content: bytes) -> NDArray[np.uint8]:
    return np.array(formats.unpickle_arrays(io.BytesIO(content))["labels"], np.uint8)


def _cifar(
    content: bytes, split: str, batch: Callable[[bytes], NDArray[np.uint8]] = _cifar_batch
) -> NDArray[np.uint8]:
    """The pictures of cifar-10-python.tar.gz, or what else `batch` finds in its files."""
    parts = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in CIFAR_BATCHES[split]:
            member = archive.extractfile(f"cifar-10-batches-py/{name}")
            if member is None:
                raise ValueError(f"no file {name} in the archive")
            parts.append(batch(member.read()))
    return np.concatenate(parts)


def _svhn(content: bytes, split: str) -> NDArray[np.uint8]:
    return formats.parse_mat(content, "X").transpose(3, 0, 1, 2).copy()  # (32, 32, 3, N) there


def _svhn_labels(content: bytes, split: str) -> NDArray[np.uint8]:
    return formats.parse_mat(content, "y").ravel() % 10  # (N, 1) there, with 10 for the digit 0


def _like_mnist(folder: str, url: str, train: str, test: str) -> dict[str, Source]:
    return {
        split: Source(
            f"{folder}/raw/{name}.gz",
            f"{url}{name}.gz",
            md5,
            _idx_gz,
            (count, 28, 28, 1),
            {f"{folder}/raw/{name}": None},
        )
        for split, name, count, md5 in (
            ("train", "train-images-idx3-ubyte", 60_000, train),
            ("test", "t10k-images-idx3-ubyte", 10_000, test),
        )
    }


CIFAR_BATCHES = {
    "train": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
}
SOURCES = {
    "fashion-mnist": _like_mnist(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "bef4ecab320f06d8554ea6380940ec79",
    ),
    "kmnist": _like_mnist(
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "bdb82020997e1d708af4cf47b453dcf7",
        "5c965bf0a639b31b8f53240b1b52f4d7",
    ),
    "cifar10": {
        split: Source(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            _cifar,
            (10_000 * len(batches), 32, 32, 3),
            {f"cifar-10-batches-py/{name}": md5 for name, md5 in batches.items()},
            _cifar_batch,
        )
        for split, batches in CIFAR_BATCHES.items()
    },
    "svhn": {
        split: Source(
            f"{split}_32x32.mat",
            f"http://ufldl.stanford.edu/housenumbers/{split}_32x32.mat",
            md5,
            _svhn,
            (count, 32, 32, 3),
        )
        for split, count, md5 in (
            ("train", 73_257, "e26dedcc434d2e4c54c9b2d4a06d8373"),
            ("test", 26_032, "eb5a983be6a315427106f1b164d9cef3"),
        )
    },
}


def _labels_like_mnist(folder: str, train: str, test: str) -> dict[str, Source]:
    """The labels of the same data set."""
    return {
        split: Source(
            source.path.replace("images-idx3", "labels-idx1"),
            source.url.replace("images-idx3", "labels-idx1"),
            md5,
            _labels_gz,
            source.shape[:1],
            {name.replace("images-idx3", "labels-idx1"): None for name in source.unpacked},
            formats.parse_idx,
        )
        for (split, source), md5 in zip(SOURCES[folder].items(), (train, test), strict=True)
    }


LABELS = {
    "fashion-mnist": _labels_like_mnist(
        "fashion-mnist", "25c81989df183df01b3e8a0aad5dffbe", "bb300cfdad3c16e7a12a480ee83cd310"
    ),
    "kmnist": _labels_like_mnist(
        "kmnist", "e144d726b3acfaa3e44228e80efcd344", "7320c461ea6c1c855c0b718fb2a4b134"
    ),
    "cifar10": {
        split: replace(
            source,
            parse=partial(_cifar, batch=_cifar_batch_labels),
            parse_unpacked=_cifar_batch_labels,
            shape=source.shape[:1],
        )
        for split, source in SOURCES["cifar10"].items()
    },
    "svhn": {
        split: replace(source, parse=_svhn_labels, shape=source.shape[:1])
        for split, source in SOURCES["svhn"].items()
    },
}  # the files of their pictures, or files beside them


def images(dataset: str, split: str, data_dir: str, say: Say = print) -> NDArray[np.uint8]:
    """All pictures of a split, `train` or `test`, of a data set: (N, H, W, C) uint8.

    Fetched if they are not there. UserError if they cannot be, or if a file that lies there is
    another one: that is a person's, and stays what it is.
    """
    return _held(dataset, SOURCES[dataset][split], split, data_dir, say)


def labels(dataset: str, split: str, data_dir: str, say: Say = print) -> NDArray[np.uint8]:
    """The classes of images()' pictures, 0 to 9: (N,) uint8; fetched and refused as they are."""
    return _held(dataset, LABELS[dataset][split], split, data_dir, say)


def _held(dataset: str, source: Source, split: str, data_dir: str, say: Say) -> NDArray[np.uint8]:
    """What the file of a source holds, fetched if it is not there."""
    path = Path(data_dir, source.path)
    try:
        found = _found(dataset, source, split, data_dir)
        if found is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                found = _found(
                    dataset, source, split, data_dir
                )  # another process may have been first
                if found is None:
                    download(dataset, source.url, source.md5, path, say)
                    found = _found(dataset, source, split, data_dir)
    except OSError as error:
        raise UserError(
            f"The data folder {data_dir} cannot be used ({error.strerror or error}); "
            "choose another with --data-dir."
        ) from None
    assert found is not None, f"{path} was there a moment ago"
    return found


def is_there(dataset: str, split: str, data_dir: str) -> bool:
    """Lie a split's files in the data folder, whatever they hold?"""
    source = SOURCES[dataset][split]
    kinds = ([source.path], list(source.unpacked))
    return any(names and all(Path(data_dir, n).is_file() for n in names) for names in kinds)


def _found(dataset: str, source: Source, split: str, data_dir: str) -> NDArray[np.uint8] | None:
    """What a source holds if its files lie in the data folder."""
    path = Path(data_dir, source.path)
    content = _content(dataset, path, source.md5)
    if content is not None:
        return _parsed(dataset, source, path, lambda: source.parse(content, split))
    unpacked = [
        (where, _content(dataset, where, md5))
        for where, md5 in ((Path(data_dir, name), md5) for name, md5 in source.unpacked.items())
    ]
    parts = [part for _, part in unpacked if part is not None]
    if not parts or len(parts) < len(unpacked):
        return None
    path, parse = unpacked[0][0], source.parse_unpacked
    return _parsed(dataset, source, path, lambda: np.concatenate([parse(part) for part in parts]))


def _parsed(
    dataset: str, source: Source, path: Path, parse: Callable[[], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """What a file holds, if that is what the data set has."""
    try:
        found = parse()
        if found.shape != source.shape or found.dtype != np.uint8:
            raise ValueError(f"it holds {found.dtype} {found.shape}, not uint8 {source.shape}")
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error, UserError,
            tarfile.TarError) as error:  # fmt: skip
        raise UserError(
            f"{path} cannot be read as {dataset} ({str(error).rstrip('.')}); move it away to have "
            "the right one fetched."
        ) from None
    return found


def _content(dataset: str, path: Path, md5: str | None) -> bytes | None:
    """A file's content, or None if there is no such file. UserError if it has another sum."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return None
    if md5 not in (None, hashlib.md5(content, usedforsecurity=False).hexdigest()):
        raise UserError(
            f"{path} is not {dataset}'s file of that name (its MD5 sum is not {md5}); move "
            "it away to have the right one fetched, or choose another --data-dir."
        )
    return content
