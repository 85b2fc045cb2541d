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
]  # fmt: skip
TEXTS = ["", "0", "1", "3", "4", "-1", "1e3", "9" * 400, "weights", "{}", "[]", "[" * 999]
WORDS = [b"\xff\xff\xff\xff", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\xbf", b"\0\0\0\x80"]


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one node of it replaced, removed, added, doubled, renamed or nested."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        value = value.copy()
        keys: list[Any] = list(value) if isinstance(value, dict) else [*range(len(value))]
        key, other, action = rng.choice(keys), rng.choice(keys), rng.random()
        if action < 0.6:
            value[key] = changed(value[key], rng)
        elif action < 0.75:
            value[key], value[other] = value[other], value[key]
        elif action < 0.85:
            del value[key]
        elif isinstance(value, dict):
            value[rng.choice([*keys, "x", "", "step", "a/b", "\ud800"])] = value[key]
        else:
            value.insert(0, value[key])
        return value
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice([-1, 1, 4, -4, value, 2**16])
    if value in DTYPES and rng.random() < 0.8:
        return rng.choice(DTYPES)
    if rng.random() < 0.05:
        for _ in range(rng.choice([2, 50])):
            value = [value]
        return value
    return rng.choice(SCALARS)


def _changed_text(text: bytes | str, rng: random.Random, times: list[int]) -> bytes:
    """The JSON of a changed value. Raises ValueError, RecursionError, TypeError: it is no JSON."""
    value = json.loads(text)
    for _ in range(rng.choice(times)):
        value = changed(value, rng)
    return json.dumps(value).encode()


def mutated_json(data: bytes, seed: int, plain: Mutate) -> bytes:
    """Mostly other JSON; sometimes other bytes."""
    rng = random.Random(seed)
    if rng.random() > 0.15:
        with contextlib.suppress(ValueError, RecursionError):
            return _changed_text(data, rng, [1, 1, 2, 4])
    return plain(data, len(data) + 64)


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
    with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        if action < 0.45:
            body = _other_arrays(bytearray(body), rng, plain)
        elif action < 0.75:
            header = json.loads(text)
            header["__metadata__"] = _other_metadata(header["__metadata__"], rng)
            text = json.dumps(header).encode()
        else:
            text = _changed_text(text, rng, [1, 1, 2])
        text += b" " * rng.choice([0] * 9 + [1, 7])
        return struct.pack("<Q", len(text)) + text + body
    return plain(data, len(data) + 64)


def _other_arrays(body: bytearray, rng: random.Random, plain: Mutate) -> bytes:
    action = rng.random()
    if action < 0.2 or not body:
        return plain(bytes(body), len(body) + 16)
    if action < 0.4:
        return bytes(body + bytes(100))[
            : len(body) + rng.choice([-rng.randrange(len(body)), 1, 4, 8])
        ]
    for _ in range(rng.choice([1, 2, 8])):
        at = 4 * rng.randrange(len(body) // 4 + 1)
        body[at : at + 4] = rng.choice([*WORDS, rng.randbytes(4)])[: len(body) - at]
    return bytes(body)


def _other_metadata(metadata: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One field changed or removed; what is JSON in it mostly stays JSON."""
    name = rng.choice([*metadata, "config", "config", "contents", "x"])
    if name in ("config", "versions") and rng.random() < 0.8:
        metadata[name] = _changed_text(metadata[name], rng, [1]).decode()
    elif rng.random() < 0.8:
        metadata[name] = rng.choice(TEXTS) if rng.random() < 0.9 else rng.choice(SCALARS)
    else:
        metadata.pop(name, None)
    return metadata
