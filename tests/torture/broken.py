"""Broken checkpoints for tests/torture/cases.py, and the sum of all broken files.

Hand-picked rules over hand-picked lists: nothing is drawn.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np

from common import architecture, checkpoint, config
from common.config import UserError
from tests.tiny import tiny_architecture
from tests.torture import broken_data, broken_runs
from tests.torture.broken_runs import read, refused
from tests.torture.cases import KINDS, SETTINGS, TEXTS, Case, good_run, put

VALUES: list[Any] = [None, [], {}, "", "x", -1, 0.5, 2**64, float("nan"), True, "\ud800"]

Header = dict[str, Any]
Arrays = dict[str, tuple[str, list[int], bytes]]  # name -> dtype, shape, content


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
    header, body = parts(content)
    metadata = header.pop("__metadata__")
    arrays: Arrays = {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }
    return metadata, arrays


def built(metadata: dict[str, Any], arrays: Arrays) -> bytes:
    """A file of any metadata and arrays."""
    entries, blob = {}, b""
    for name, (dtype, shape, data) in arrays.items():
        offsets = [len(blob), len(blob) + len(data)]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        blob += data
    return joined({"__metadata__": metadata, **entries}, blob)


def other_contents(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Files whose length, header or size is wrong."""
    header, body = parts(good)
    start = len(good) - len(body)
    entries = {name: e for name, e in header.items() if name != "__metadata__"}
    for length in (0, 1, 2, start - 9, start - 7, start, len(good), 2**31, 2**32, 2**63 - 1, 2**63):
        yield f"header of {length} bytes", struct.pack("<Q", length) + good[8:]
    yield "header of 2**64 - 1 bytes", struct.pack("<Q", 2**64 - 1) + good[8:]
    ends = sorted({e["data_offsets"][1] for e in entries.values()})
    borders = [0, 1, 7, 8, 9, start // 2, start - 1, start, start + 1, *(start + e for e in ends)]
    for at in sorted({b for border in borders for b in (border, border - 1) if 0 <= b < len(good)}):
        yield f"cut after {at} bytes", good[:at]
    for tail in (b"\0", bytes(8), bytes(4096), b"\n", good):
        yield f"{len(tail)} bytes more", good + tail
    for text, content in TEXTS.items():
        yield f"{text} for a file", content
        yield f"{text} for a header", joined(content, body)
    first = next(name for name, entry in entries.items() if entry["dtype"] == "F32")
    size = len(body)
    for offsets in (
        [0, 0], [4, 0], [-4, 0], [0, size], [size, size + 4], [0, 2**40], [2**63, 2**63 + 4],
        [0.0, 4.0], ["0", "4"], [0], [0, 4, 8], None, [1, 5],
    ):  # fmt: skip
        yield (
            f"offsets {offsets}",
            joined(header | {first: entries[first] | {"data_offsets": offsets}}, body),
        )
    for shape in ([], [0], [-1], [2**40], [2**63, 2], [1.5], ["4"], None, [[4]], [1] * 100):
        yield f"shape {shape}", joined(header | {first: entries[first] | {"shape": shape}}, body)


def other_arrays(arrays: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Each array missing, named otherwise, of another type or shape, or of impossible values."""
    types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U64": "<u8"}
    values: dict[str, list[float]] = {
        "F32": [float("nan"), float("inf"), -float("inf")],
        "I64": [-1, 1, 3, 2**62],
    }
    for name, (dtype, shape, data) in arrays.items():
        rest = {other: array for other, array in arrays.items() if other != name}
        yield f"{name} missing", rest
        yield f"{name} in capitals", rest | {name.upper(): arrays[name]}
        yield f"{name} twice", arrays | {f"{name}/copy": arrays[name]}
        array = np.frombuffer(data, types[dtype])
        for other, theirs in types.items():
            if other != dtype:
                wrong = other, shape, array.astype(theirs).tobytes()
                yield f"{name} as {other}", arrays | {name: wrong}
        for wrong_shape in ([*shape, 1], [1, *shape], [array.size + 1], [0]):
            content = bytes(array.itemsize * int(np.prod(wrong_shape)))
            yield f"{name} of shape {wrong_shape}", arrays | {name: (dtype, wrong_shape, content)}
        varies = "second_moment" in name or "variance" in name
        for value in [*values[dtype], *([-1.0, -1e-30] if varies else [])]:
            for at in {0, array.size - 1}:
                changed = array.copy()
                changed[at] = value
                wrong = dtype, shape, changed.tobytes()
                yield f"{name} with {value} at {at}", arrays | {name: wrong}


def other_metadata() -> Iterator[tuple[str, dict[str, Any]]]:
    """Changes to the metadata; None: the field is missing."""
    for name in ("format_version", "architecture", "step", "config"):
        yield f"no {name}", {name: None}
    for version in ("", "0", "2", "1.0", "01", " 1", "１", "one"):
        yield f"format {version!r}", {"format_version": version}
    for step in ("", "x", "-1", "3", "2.0", " 2", "+2", "02", "1e0", "9" * 400, "٢", "0x2", "None"):
        yield f"step {step!r}", {"step": step}
    for name in ("", "dcgan64", "MNIST28", "mnist28 ", "mnist28\0"):
        yield f"architecture {name!r}", {"architecture": name}
    for versions in ("", "{", "[]", "3", "null", '"x"', '{"a": 1}', '{"a": null}', "[" * 10_000):
        yield f"versions {versions[:20]!r}", {"versions": versions}
    yield "weights alone, it says", {"contents": "weights"}
    for text, content in TEXTS.items():
        if text not in ("an empty object",):
            yield f"config: {text}", {"config": content.decode("latin1")}
    good = config.to_json(SETTINGS)
    for name in good:
        for value in VALUES:
            with contextlib.suppress(UserError):
                config.from_json(good | {name: value})
                continue  # that is a good value of this field
            yield f"config with {name} {value!r}", {"config": json.dumps(good | {name: value})}
    for size in (1, 4, 65_536):
        changed = json.dumps(good | {"noise_size": size})
        yield f"config of noise size {size}", {"config": changed}
    for other in ({"precision": "float64"}, {"recipe": "tuned"}, {"batch_size": 9}, {"x": 1}):
        yield f"config with {other}", {"config": json.dumps(good | other)}


def in_a_run(make: Any, folder: Path) -> str | None:
    """A run directory that is whole but for its checkpoint: what takes it, if anything does."""
    file = good_run(folder / "run") / checkpoint.FILE_NAME
    if isinstance(make, bytes):
        file.write_bytes(make)
    else:
        file.unlink()
        put(file, make)
    return refused(file) or read(folder / "run")


def checkpoint_cases() -> Iterator[Case]:
    """Every broken checkpoint, in a run directory that is whole otherwise."""
    with TemporaryDirectory() as folder:
        good = (good_run(Path(folder) / "run") / checkpoint.FILE_NAME).read_bytes()
    metadata, arrays = taken_apart(good)
    contents: dict[str, bytes | str] = dict(other_contents(good))
    contents |= {name: built(metadata, other) for name, other in other_arrays(arrays)}
    for name, change in other_metadata():
        changed = {k: v for k, v in (metadata | change).items() if v is not None}
        contents[name] = built(changed, arrays)
    contents |= {f"{kind} for a checkpoint": kind for kind in KINDS}
    for name, content in contents.items():
        yield Case("broken checkpoints", name, partial(in_a_run, content))


def all_cases() -> list[Case]:
    """Every case; rules that meet in one are one."""
    with mock.patch.dict(architecture.ARCHITECTURES, {"mnist28": tiny_architecture}):
        found = [*checkpoint_cases(), *broken_runs.all_cases(), *broken_data.all_cases()]
    return list({(case.kind, case.name): case for case in found}.values())
