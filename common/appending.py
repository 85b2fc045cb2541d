"""A file that grows while a run trains: what the disk refuses is kept for later."""

from __future__ import annotations

import os
from pathlib import Path


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
