"""Broken checkpoints for tests/torture/cases.py, and the sum of all broken files.

Hand-picked rules over hand-picked lists: nothing is drawn.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from safetensors import numpy as safetensors

from common import architecture, checkpoint, config
from common.config import UserError
from tests.tiny import tiny_architecture
from tests.torture import broken_data, broken_runs
from tests.torture.broken_runs import read, refused
from tests.torture.cases import KINDS, SETTINGS, TEXTS, Case, good_run, put

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U64": "<u8"}
VALUES: list[Any] = [None, [], {}, "", "x", -1, 0.5, 2**64, float("nan"), True, "\ud800"]
# Fields of the metadata, and what must not stand there. None: the field is missing.
METADATA: dict[str, list[str | None]] = {
    "format_version": [None, "", "0", "2", "1.0", "01", " 1", "１", "one"],
    "step": [
        None,
        "",
        "x",
        "-1",
        "3",
        "2.0",
        " 2",
        "+2",
        "02",
        "1e0",
        "9" * 400,
        "٢",
        "0x2",
        "None",
    ],
    "architecture": [None, "", "dcgan64", "MNIST28", "mnist28 ", "mnist28\0"],
    "versions": ["", "{", "[]", "3", "null", '"x"', '{"a": 1}', '{"a": null}', "[" * 10_000],
    "contents": ["weights"],
}

Header = dict[str, Any]
Arrays = dict[str, np.ndarray]


def parts(content: bytes) -> tuple[Header, bytes]:
    """A safetensors file's header, and the rest."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: Header | bytes, body: bytes) -> bytes:
    """The file of a header, whatever it holds."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def taken_apart(content: bytes) -> tuple[dict[str, Any], Arrays]:
    """A good file's metadata and arrays."""
    return parts(content)[0]["__metadata__"], safetensors.load(content)


def other_contents(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Files whose length, header or size is wrong."""
    header, body = parts(good)
    start, size = len(good) - len(body), len(body)
    entries = {name: e for name, e in header.items() if name != "__metadata__"}
    for length in (
        *(0, 1, 2, start - 9, start - 7, start, len(good)),
        *(2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1),
    ):
        yield f"header of {length} bytes", struct.pack("<Q", length) + good[8:]
    ends = (start + entry["data_offsets"][1] for entry in entries.values())
    borders = {0, 1, 7, 8, 9, start // 2, start - 1, start, start + 1, *ends}
    for at in sorted(borders | {border - 1 for border in borders}):
        if 0 <= at < len(good):
            yield f"cut after {at} bytes", good[:at]
    for tail in (b"\0", bytes(8), bytes(4096), b"\n", good):
        yield f"{len(tail)} bytes more", good + tail
    for text, content in TEXTS.items():
        yield f"{text} for a file", content
        yield f"{text} for a header", joined(content, body)
    first, entry = next(item for item in entries.items() if item[1]["dtype"] == "F32")
    offsets = [
        *([0, 0], [4, 0], [-4, 0], [0, size], [size, size + 4], [0, 2**40], [2**63, 2**63 + 4]),
        *([0.0, 4.0], ["0", "4"], [0], [0, 4, 8], None, [1, 5]),
    ]
    shapes = [[], [0], [-1], [2**40], [2**63, 2], [1.5], ["4"], None, [[4]], [1] * 100]
    for field, name, values in (("data_offsets", "offsets", offsets), ("shape", "shape", shapes)):
        for value in values:
            yield f"{name} {value}", joined(header | {first: entry | {field: value}}, body)


def other_arrays(arrays: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Each array missing, named otherwise, of another type or shape, or of impossible values."""
    for name, array in arrays.items():
        rest = {other: content for other, content in arrays.items() if other != name}
        yield f"{name} missing", rest
        yield f"{name} in capitals", rest | {name.upper(): array}
        yield f"{name} twice", arrays | {f"{name}/copy": array}
        for kind, dtype in TYPES.items():
            if array.dtype != dtype:
                yield f"{name} as {kind}", arrays | {name: array.astype(dtype)}
        for shape in ([*array.shape, 1], [1, *array.shape], [array.size + 1], [0]):
            yield f"{name} of shape {shape}", arrays | {name: np.zeros(shape, array.dtype)}
        values = [-1, 1, 3, 2**62] if array.dtype == np.int64 else [np.nan, np.inf, -np.inf]
        if "second_moment" in name or "variance" in name:
            values += [-1.0, -1e-30]
        for value in values:
            for at in {0, array.size - 1}:
                changed = array.copy()
                changed.flat[at] = value
                yield f"{name} with {value} at {at}", arrays | {name: changed}


def other_metadata() -> Iterator[tuple[str, dict[str, Any]]]:
    """Changes to the metadata."""
    for field, values in METADATA.items():
        for value in values:
            yield f"{field} {value if value is None else value[:20]!r}", {field: value}
    yield "no config", {"config": None}
    for text, content in TEXTS.items():
        if text != "an empty object":
            yield f"config: {text}", {"config": content.decode("latin1")}
    good = config.to_json(SETTINGS)
    for name, value in itertools.product(good, VALUES):
        try:
            config.from_json(good | {name: value})  # a good value of this field
        except UserError:
            yield f"config with {name} {value!r}", {"config": json.dumps(good | {name: value})}
    others: list[Header] = [{"noise_size": size} for size in (1, 4, 65_536)]
    others += [{"precision": "float64"}, {"recipe": "tuned"}, {"batch_size": 9}, {"x": 1}]
    yield from ((f"config with {other}", {"config": json.dumps(good | other)}) for other in others)


def in_a_run(kind: bytes | str, folder: Path) -> str | None:
    """A run directory that is whole but for its checkpoint: what takes it, if anything does."""
    file = good_run(folder / "run") / checkpoint.FILE_NAME
    file.unlink()
    put(file, kind)
    return refused(file) or read(folder / "run")


def checkpoint_cases() -> Iterator[Case]:
    """Every broken checkpoint, in a run directory that is whole otherwise."""
    with TemporaryDirectory() as folder:
        good = (good_run(Path(folder) / "run") / checkpoint.FILE_NAME).read_bytes()
    metadata, arrays = taken_apart(good)
    contents: dict[str, bytes | str] = dict(other_contents(good))
    contents |= {name: safetensors.save(other, metadata) for name, other in other_arrays(arrays)}
    for name, change in other_metadata():
        changed = {k: v for k, v in (metadata | change).items() if v is not None}
        contents[name] = safetensors.save(arrays, changed)
    contents |= {f"{kind} for a checkpoint": kind for kind in KINDS}
    for name, content in contents.items():
        yield Case("broken checkpoints", name, partial(in_a_run, content))


def all_cases() -> list[Case]:
    """Every case; rules that meet in one are one."""
    with mock.patch.dict(architecture.ARCHITECTURES, {"mnist28": tiny_architecture}):
        found = [*checkpoint_cases(), *broken_runs.all_cases(), *broken_data.all_cases()]
    return list({(case.kind, case.name): case for case in found}.values())
