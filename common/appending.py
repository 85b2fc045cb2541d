"""Files that grow while a run trains: what the disk refuses is kept for later."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Appended:
    """A file to append to. What cannot be written now is written, in order, by a later flush."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting = bytearray()
        with path.open("ab"):
            pass

    def add(self, content: bytes) -> None:
        """Take what the next flush is to write."""
        self._waiting += content

    def flush(self, sync: bool = False) -> None:
        """Write what waits; sync: onto the disk itself. OSError leaves the rest for next time.

        The file is opened anew each time and never made again, so that one whose folder was
        deleted, or has become read-only, is not written to as if nothing had happened.
        """
        if not self._waiting and not sync:
            return
        with self.path.open("r+b", buffering=0) as file:
            file.seek(0, os.SEEK_END)
            while self._waiting:
                del self._waiting[: file.write(self._waiting)]
            if sync:
                os.fsync(file.fileno())


class Curves(Appended):
    """TensorBoard's curves and pictures: one file of events.

    tensorboardX makes the events but does not write them: the thread in which it does ends at a
    disk's first error, and a training waits for ever once ten more events are queued.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        """first_step: TensorBoard hides what a killed run wrote from there on."""
        from tensorboardX import record_writer, summary
        from tensorboardX.proto import event_pb2

        self._summary, self._proto = summary, event_pb2
        self._checksum = record_writer.masked_crc32c
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        super().__init__(folder / name)
        self._add(step=0, file_version="brain.Event:2")
        if first_step:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(step=first_step, session_log=start)

    def scalar(self, name: str, value: float, step: int) -> None:
        """A point of a curve."""
        self._add(step=step, summary=self._summary.scalar(name, value))

    def image(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """A picture (H, W, C)."""
        self._add(step=step, summary=self._summary.image(name, picture, dataformats="HWC"))

    def _add(self, **what: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **what).SerializeToString()
        length = struct.pack("<Q", len(event))
        for part in (length, event):  # a TFRecord: each is followed by its checksum
            self.add(part + struct.pack("<I", self._checksum(part)))
