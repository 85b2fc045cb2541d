"""Ctrl-C and SIGTERM while a run trains; before it, see early.py."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stopped(BaseException):
    """SIGINT or SIGTERM was honoured."""


class Signals:
    """Ctrl-C and SIGTERM: at once before training, after the chunk (and its checkpoint) in it.

    A second one leaves immediately.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False  # True while a training state exists that is worth saving
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        if not self.deferred:
            raise Stopped
