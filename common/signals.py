"""Ctrl-C and SIGTERM while a run trains; before it, see early.py."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """SIGINT or SIGTERM was honoured."""


class Signals:
    """Which signal came, and whether it ends the process at once.

    Before training it does. While there is a state worth saving it is `deferred`: the training ends
    after the chunk and its checkpoint. A second signal always ends the process at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferred = False

    def install(self) -> None:
        """Handle both signals from here on, for the whole process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        if not self.deferred:
            raise Stopped


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Signals are answered after this block as before it, whatever handlers a framework installs:
    TensorFlow's and JAX's runtimes of several workers take SIGTERM for themselves."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
