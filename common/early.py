"""Ctrl-C and SIGTERM while a command is still loading its modules, before there is a run to save.

Imports next to nothing, as a signal before install() gets Python's answer, a traceback.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

NOTHING_SAVED = "Stopped before the first step; nothing was saved."


def install() -> None:
    """Leave at once on either signal, with one line and the shell's status for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(1, f"\n{NOTHING_SAVED}\n".encode())
    os._exit(128 + number)
