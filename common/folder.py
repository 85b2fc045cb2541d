"""A folder of pictures as a data set: decoded once, into a file that is mapped into memory.

The file lies in `<data-dir>/decoded` under a fingerprint of the pictures' names, sizes and times,
beside a .json that says what it holds and exists only once it is whole. Whoever deletes it loses
the time of the decoding. The folder itself is only read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from common import pictures
from common.checkpoint import read_json, write_atomically, write_json
from common.limits import UserError

BLOCK = 256  # pictures between two notes of how far the decoding is
NAMED = 3  # files that cannot be read, as many are named

Say = Callable[[str], None]


@dataclass(frozen=True)
class Store:
    """The decoded pictures of a folder, in the order of their names."""

    path: Path
    shape: tuple[int, int, int, int]  # (N, H, W, C)
    digest: str  # of shape and content
    broken: list[str]  # what cannot be read, with the reason

    @property
    def left_out(self) -> str:
        """What cannot be read, in a sentence; nothing if everything can."""
        bad, good = len(self.broken), self.shape[0]
        if not bad:
            return ""
        others = f", and {bad - NAMED} more" if bad > NAMED else ""
        return (
            f"{bad} of {good + bad} files cannot be read and are left out: "
            f"{'; '.join(self.broken[:NAMED])}{others}."
        )

    def images(self) -> NDArray[np.uint8]:
        """(N, H, W, C) uint8, read from the disk where it is touched."""
        return np.memmap(self.path, np.uint8, "r", shape=self.shape).view(np.ndarray)


def open_folder(folder: Path, data_dir: Path, size: int, channels: int, say: Say) -> Store:
    """The folder's pictures as (size, size, channels), decoded unless they have been before.

    UserError if there are no pictures, if more cannot be read than can, or if the data folder
    cannot be written.
    """
    files = picture_files(folder)
    if not files:
        raise UserError(
            f"The folder {folder} has no pictures, also in folders within it: their names end in "
            f"{', '.join(pictures.ENDINGS)}."
        )
    name = f"{_fingerprint(folder, files, size, channels)}-{size}x{size}x{channels}"
    path = data_dir / "decoded" / f"{name}.u8"
    if os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):  # noqa: PTH118
        raise UserError(
            f"The data folder {data_dir} lies within the folder of pictures {folder}, which stays "
            "as it is; choose another with --data-dir."
        )
    try:
        store = _read(path)
        if store is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                store = _read(path) or _decode(folder, files, path, size, channels, say)
    except OSError as error:
        raise UserError(
            f"The data folder {data_dir} cannot take the decoded pictures "
            f"({error.strerror or error}); choose another with --data-dir."
        ) from None
    good, bad = store.shape[0], len(store.broken)
    if bad > good:
        raise UserError(
            f"More than half of the pictures in {folder} cannot be read ({bad} of {good + bad}, "
            f"{store.broken[0]} the first); is it the right folder?"
        )
    return store


def picture_files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """(path within the folder, status) of each picture, by name; nothing hidden.

    Links are followed, each folder once, so that links that go round end. UserError if a folder
    cannot be listed.
    """
    found, waiting = [], [""]
    seen = set()
    while waiting:
        within = waiting.pop()
        place = os.path.join(folder, within)  # noqa: PTH118 (a Path for each takes seconds)
        try:
            status = os.stat(place)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise UserError(
                f"The folder {place} cannot be read ({error.strerror or error}); make it readable, "
                "or move it out of the folder of pictures."
            ) from None
        below = []
        for entry in visible:
            with contextlib.suppress(OSError):  # a link that leads nowhere
                if entry.is_dir():
                    below.append(f"{within}{entry.name}/")
                # Reading a pipe may never begin, whatever its name.
                elif entry.name.lower().endswith(pictures.ENDINGS) and entry.is_file():
                    found.append((within + entry.name, entry.stat()))
        waiting += sorted(below, reverse=True)
    return sorted(found, key=lambda file: file[0])


def _fingerprint(
    folder: Path, files: list[tuple[str, os.stat_result]], size: int, channels: int
) -> str:
    """What changes when a picture does, or may be read at last: 16 hexadecimal digits."""
    known = hashlib.sha256(f"{pictures.VERSION} {size} {channels}\n".encode())
    for name, status in files:
        readable = os.access(os.path.join(folder, name), os.R_OK)  # noqa: PTH118
        line = f"\0{status.st_size} {status.st_mtime_ns} {readable}\n"
        known.update(os.fsencode(name) + line.encode())
    return known.hexdigest()[:16]


def _read(path: Path) -> Store | None:
    """The store at a path, if it is there and whole."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        saved = read_json(path.with_suffix(".json"))
        store = Store(path, tuple(saved["shape"]), saved["digest"], saved["broken"])
        if path.stat().st_size == int(np.prod(store.shape)):
            return store
    return None


def _decode(
    folder: Path,
    files: list[tuple[str, os.stat_result]],
    path: Path,
    size: int,
    channels: int,
    say: Say,
) -> Store:
    """Decode the files into the store; what an earlier process did before it was killed is kept.

    On a disk that refuses, what it has been given so far is removed again.
    """
    part, notes = path.with_suffix(".part"), path.with_suffix(".part.json")
    each = size * size * channels
    done, good, broken = _noted(part, notes, each)
    needed, free = (len(files) - done) * each, shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"The {len(files)} pictures in {folder} take {needed / 2**20:.0f} MB once decoded, and "
            f"where the data folder {path.parents[1]} lies {free / 2**20:.0f} MB are free; choose "
            "another with --data-dir, or a smaller --image-size."
        )
    rest = f", from the {done + 1}th on" if done else ""
    say(f"{folder}: decoding {len(files)} pictures to {size} x {size} pixels{rest} ...")

    def read(name: str) -> NDArray[np.uint8] | str:
        try:
            return pictures.read(folder / name, size, channels)
        except Exception as error:  # whatever a decoder does wrong with a file, the rest is good
            reason = " ".join(str(error).split()).replace(str(folder / name), "it")[:80]
            return f"{name} ({reason or type(error).__name__})"

    pool = ThreadPoolExecutor(os.cpu_count())
    quiet = not sys.stderr.isatty()
    try:
        with (
            warnings.catch_warnings(),  # of Pillow's about odd files
            tqdm(total=len(files), initial=done, unit="picture", disable=quiet) as bar,
            part.open("r+b" if part.exists() else "w+b") as file,
        ):
            warnings.simplefilter("ignore")
            file.truncate(good * each)
            file.seek(0, os.SEEK_END)
            for first in range(done, len(files), BLOCK):
                names = [name for name, _ in files[first : first + BLOCK]]
                for result in pool.map(read, names):
                    if isinstance(result, str):
                        broken.append(result)
                    else:
                        file.write(result.tobytes())
                        good += 1
                    bar.update()
                file.flush()
                os.fsync(file.fileno())
                write_json(notes, {"done": first + len(names), "good": good, "broken": broken})
        store = _finish(part, path, (good, size, size, channels), broken)
    except OSError:
        part.unlink(missing_ok=True)
        notes.unlink(missing_ok=True)
        raise
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest of a block
    notes.unlink(missing_ok=True)
    return store


def _finish(part: Path, path: Path, shape: tuple[int, int, int, int], broken: list[str]) -> Store:
    """Give the whole file its name, and its .json."""
    digest = hashlib.sha256(json.dumps(shape).encode())
    with part.open("rb") as whole:
        while content := whole.read(2**20):
            digest.update(content)
    part.replace(path)
    store = Store(path, shape, digest.hexdigest()[:16], broken)
    saved: dict[str, Any] = {"shape": shape, "digest": store.digest, "broken": broken}
    write_atomically(path.with_suffix(".json"), json.dumps(saved, indent=1).encode())
    return store


def _noted(part: Path, notes: Path, bytes_each: int) -> tuple[int, int, list[str]]:
    """How far a killed process came: files seen, pictures written, and what could not be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        saved = read_json(notes)
        if part.stat().st_size >= saved["good"] * bytes_each:
            return int(saved["done"]), int(saved["good"]), list(saved["broken"])
    return 0, 0, []
