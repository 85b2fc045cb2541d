"""The named data sets besides MNIST, where torchvision keeps them and with its MD5 sums."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from common import formats
from common.checkpoint import read_regular
from common.limits import UserError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A file of a data set."""

    path: str  # below the data folder
    url: str
    md5: str
    parse: Callable[[bytes, str], NDArray[np.uint8]]  # content, split -> (N, H, W, C)
    unpacked: str = ""  # of an archive what torchvision unpacks, which has no published sum


def _idx(content: bytes, split: str) -> NDArray[np.uint8]:
    with gzip.open(io.BytesIO(content)) as file:
        return formats.parse_idx(file.read())[..., None]


def _cifar(content: bytes, split: str) -> NDArray[np.uint8]:
    """The pictures of cifar-10-python.tar.gz: rows of 3 x 32 x 32 values, channels first."""
    names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    parts = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in names:
            member = archive.extractfile(f"cifar-10-batches-py/{name}")
            if member is None:
                raise ValueError(f"no file {name} in the archive")
            parts.append(formats.unpickle_arrays(member)["data"])
    return np.concatenate(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()


def _svhn(content: bytes, split: str) -> NDArray[np.uint8]:
    return formats.parse_mat(content, "X").transpose(3, 0, 1, 2).copy()  # (32, 32, 3, N) there


def _like_mnist(folder: str, url: str, train: str, test: str) -> dict[str, Source]:
    return {
        split: Source(
            f"{folder}/raw/{name}.gz", f"{url}{name}.gz", md5, _idx, f"{folder}/raw/{name}"
        )
        for split, name, md5 in (
            ("train", "train-images-idx3-ubyte", train),
            ("test", "t10k-images-idx3-ubyte", test),
        )
    }


_CIFAR = Source(
    "cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
    _cifar,
)
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
    "cifar10": {"train": _CIFAR, "test": _CIFAR},
    "svhn": {
        split: Source(
            f"{split}_32x32.mat",
            f"http://ufldl.stanford.edu/housenumbers/{split}_32x32.mat",
            md5,
            _svhn,
        )
        for split, md5 in (
            ("train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            ("test", "eb5a983be6a315427106f1b164d9cef3"),
        )
    },
}


def images(dataset: str, split: str, data_dir: str, say: Say = print) -> NDArray[np.uint8]:
    """All pictures of a split, `train` or `test`, of a data set: (N, H, W, C) uint8.

    Fetched if they are not there. UserError if they cannot be, or if a file that lies there is
    another one: that is a person's, and stays what it is.
    """
    source = SOURCES[dataset][split]
    path = Path(data_dir, source.path)
    try:
        content = _content(path)
        unpacked = (
            None if content or not source.unpacked else _content(Path(data_dir, source.unpacked))
        )
        if unpacked is not None:
            return formats.parse_idx(unpacked)[..., None]
        if content is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                content = _content(path)  # another process may have been first
                if content is None:
                    _download(dataset, source, path, say)
                    content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The data folder {data_dir} cannot be used ({error.strerror or error}); "
            "choose another with --data-dir."
        ) from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != source.md5:
        raise UserError(
            f"{path} is not {dataset}'s file of that name (its MD5 sum is not {source.md5}); move "
            "it away to have the right one fetched, or choose another --data-dir."
        )
    try:
        return source.parse(content, split)
    except (
        ValueError,
        KeyError,
        TypeError,
        OSError,
        EOFError,
        zlib.error,
        tarfile.TarError,
    ) as error:
        raise UserError(f"{path} cannot be read as {dataset} ({error}).") from None


def _content(path: Path) -> bytes | None:
    """A file's content, or None if there is no such file."""
    try:
        return read_regular(path)
    except FileNotFoundError:
        return None


def _download(dataset: str, source: Source, path: Path, say: Say) -> None:
    """Fetch a file; what an interrupted download left is gone on with. UserError without luck."""
    import requests

    part = path.with_name(f"{path.name}.part")
    begun = part.stat().st_size if part.exists() else 0
    say(f"{dataset}: fetching {source.url}{f' from byte {begun} on' if begun else ''} ...")
    try:
        headers = {"Range": f"bytes={begun}-"} if begun else {}
        # An offline machine must get past this in seconds: 4 s to connect, 15 s of silence.
        with requests.get(source.url, headers=headers, stream=True, timeout=(4, 15)) as answer:
            answer.raise_for_status()
            begun = begun if answer.status_code == requests.codes.partial_content else 0
            total = begun + int(answer.headers.get("Content-Length", 0)) or None
            quiet = not sys.stderr.isatty()
            with (
                part.open("ab" if begun else "wb") as file,
                tqdm(total=total, initial=begun, unit="B", unit_scale=True, disable=quiet) as bar,
            ):
                for block in answer.iter_content(2**18):
                    file.write(block)
                    bar.update(len(block))
        with part.open("rb") as whole:
            found = hashlib.file_digest(whole, lambda: hashlib.md5(usedforsecurity=False))
        if found.hexdigest() != source.md5:
            part.unlink()
            raise ValueError("what came does not have the file's MD5 sum")
        part.replace(path)
    except (requests.RequestException, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{dataset} could not be fetched from {source.url} ({type(error).__name__}: {reason}); "
            f"put the file yourself at {path} (its MD5 sum is {source.md5}), or try again."
        ) from None
