"""Changes to files that get past their headers: JSON stays JSON, a header has its length."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from collections.abc import Callable
from typing import Any

Mutate = Callable[[bytes, int], bytes]  # libFuzzer's own: bytes and the most it may make of them

SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 10**400, 0.0,
    -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"), "", "0", "1", "x", "\0",
    "\ud800", "é", "a\nb", "x" * 300, [], {}, [[]], {"": None}, [1, 2], "sound", "weights", "tuned",
    "float64", "bfloat16", "mps", "mnist28",
]  # fmt: skip
DTYPES = [
    "F32", "F64", "F16", "BF16", "I64", "I32", "U8", "I8", "BOOL", "U64", "F8_E4M3", "F4", "C64",
    "",
]  # fmt: skip
TEXTS = ["", "0", "1", "3", "4", "-1", "1e3", "9" * 400, "weights", "{}", "[]", "[" * 999]
WORDS = [b"\xff\xff\xff\xff", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\xbf", b"\0\0\0\x80"]


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one node of it replaced, removed, added, doubled, renamed or nested."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        value = value.copy()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key: Any = rng.choice(keys)
        action = rng.random()
        if action < 0.75:
            value[key] = changed(value[key], rng)
        elif action < 0.85:
            del value[key]
        elif action < 0.95 and isinstance(value, dict):
            name = rng.choice([*keys, "x", "", "step", "a/b", "\ud800"])
            value[name] = value[key]
        elif isinstance(value, dict):
            other = rng.choice(list(value))
            value[key], value[other] = value[other], value[key]
        else:
            value.insert(0, value[key])
        return value
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice([-1, 1, 4, -4, value, 2**16])
    if rng.random() < 0.05:
        for _ in range(rng.choice([2, 50])):
            value = [value]
        return value
    return rng.choice(SCALARS)


def mutated_json(data: bytes, seed: int, plain: Mutate) -> bytes:
    """Mostly other JSON; sometimes other bytes."""
    rng = random.Random(seed)
    if rng.random() < 0.15:
        return plain(data, len(data) + 64)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return plain(data, len(data) + 64)
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = changed(value, rng)
    return _dumped(value)


def _dumped(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return b"[" * 2000


def mutated_lines(data: bytes, seed: int, plain: Mutate) -> bytes:
    """Lines of JSON, of which one is changed, doubled, removed or moved."""
    rng = random.Random(seed)
    lines = data.split(b"\n")
    at, action = rng.randrange(len(lines)), rng.random()
    if action < 0.6:
        lines[at] = mutated_json(lines[at], seed, plain)
    elif action < 0.7:
        lines.insert(rng.randrange(len(lines)), lines[at])
    elif action < 0.8:
        lines.append(lines.pop(at))
    elif action < 0.9:
        return plain(data, len(data) + 64)
    else:
        del lines[at]
    return b"\n".join(lines)


def mutated_checkpoint(data: bytes, seed: int, plain: Mutate) -> bytes:
    """A safetensors file changed in its length, its header, its metadata or its arrays."""
    rng = random.Random(seed)
    action = rng.random()
    if action < 0.1 or len(data) < 10:
        return plain(data, len(data) + 64)
    (length,) = struct.unpack("<Q", data[:8])
    text, body = data[8 : 8 + length], data[8 + length :]
    if action < 0.15:
        length = rng.choice([0, 1, length - 1, length + 1, len(data), 2**31, 2**63, 2**64 - 1])
        return struct.pack("<Q", length % 2**64) + text + body
    try:
        header = json.loads(text)
        assert isinstance(header, dict)
    except (ValueError, RecursionError, AssertionError):
        return plain(data, len(data) + 64)
    if action < 0.45:
        body = _other_arrays(bytearray(body), rng, plain)
    elif action < 0.75:
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            header["__metadata__"] = _other_metadata(dict(header["__metadata__"]), rng)
    else:
        for _ in range(rng.choice([1, 1, 2])):
            _other_header(header, rng)
    text = _dumped(header)
    if rng.random() < 0.1:
        text += b" " * rng.randrange(9)
    return struct.pack("<Q", len(text)) + text + body


def _other_arrays(body: bytearray, rng: random.Random, plain: Mutate) -> bytes:
    action = rng.random()
    if action < 0.2 or not body:
        return plain(bytes(body), len(body) + 16)
    if action < 0.3:
        return bytes(body[: rng.randrange(len(body))])
    if action < 0.4:
        return bytes(body + bytes(rng.choice([1, 4, 8, 100])))
    for _ in range(rng.choice([1, 2, 8])):
        at = 4 * rng.randrange(len(body) // 4 + 1)
        body[at : at + 4] = rng.choice([*WORDS, rng.randbytes(4)])[: len(body) - at]
    return bytes(body)


def _other_metadata(metadata: dict[str, Any], rng: random.Random) -> Any:
    name = rng.choice([*metadata, "config", "config", "contents", "x"])
    if name in ("config", "versions") and rng.random() < 0.8:
        with contextlib.suppress(ValueError, TypeError, RecursionError, KeyError):
            metadata[name] = _dumped(changed(json.loads(metadata[name]), rng)).decode()
            return metadata
    metadata[name] = rng.choice(TEXTS) if rng.random() < 0.9 else rng.choice(SCALARS)
    if rng.random() < 0.2:
        del metadata[rng.choice(list(metadata))]
    return metadata


def _other_header(header: dict[str, Any], rng: random.Random) -> None:
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    name, other = rng.choice(names), rng.choice(names)
    entry, action = header[name], rng.random()
    if action < 0.2:
        header[rng.choice(["step", "x", name + "/", name[:-1], other])] = header.pop(name)
    elif action < 0.35:
        header[name], header[other] = header[other], entry
    elif action < 0.5 and isinstance(entry, dict):
        header[name] = entry | {"dtype": rng.choice(DTYPES)}
    elif action < 0.6 and isinstance(entry, dict):
        with contextlib.suppress(TypeError, KeyError):
            header[name] = entry | {"shape": entry["shape"][::-1]}
    elif action < 0.7:
        del header[name]
    else:
        header[name] = changed(entry, rng)
