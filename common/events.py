"""TensorBoard's curves and pictures as a file of events, written without TensorBoard.

The format is TFRecords of protocol buffers (tensorflow/core/util/event.proto and
framework/summary.proto), of which a run needs five fields. A library that writes it imports torch
wherever it is installed, and ends its thread at a disk's first error.
"""

from __future__ import annotations

import io
import socket
import struct
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.appending import Appended


class Curves(Appended):
    """One file of events, which a run appends to."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """first_step: TensorBoard hides what a killed run wrote from there on."""
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        super().__init__(folder / name)
        self._add(0, _bytes(3, b"brain.Event:2"))
        if first_step:
            self._add(first_step, _bytes(7, _integer(1, 1)))  # session_log, status START

    def scalar(self, name: str, value: float, step: int) -> None:
        """A point of a curve."""
        self._summary(name, _key(2, 5) + struct.pack("<f", value), step)

    def image(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """A picture (H, W, C), C 1 or 3."""
        height, width, _ = picture.shape
        content = io.BytesIO()
        Image.fromarray(np.broadcast_to(picture, (height, width, 3))).save(content, format="PNG")
        size = _integer(1, height) + _integer(2, width) + _integer(3, 3)  # 3: RGB
        self._summary(name, _bytes(4, size + _bytes(4, content.getvalue())), step)

    def _summary(self, name: str, value: bytes, step: int) -> None:
        self._add(step, _bytes(5, _bytes(1, _bytes(1, name.encode()) + value)))

    def _add(self, step: int, what: bytes) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + _integer(2, step) + what
        for part in (struct.pack("<Q", len(event)), event):  # each followed by its checksum
            self.add(part + struct.pack("<I", _masked_crc32c(part)))


def _key(field: int, wire_type: int) -> bytes:
    return bytes([field << 3 | wire_type])


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _integer(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table


_CRC = _crc_table()


def _masked_crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and offset as TFRecords have it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
