"""Holding back what a framework's native code writes while it starts, so that output is our own."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr; if the block fails, it is written after all.

    TensorFlow's libraries log before they read their log level, and a missing GPU is an error to
    them, so TF_CPP_MIN_LOG_LEVEL alone silences a part. Whoever sets that variable gets all of it.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # Ctrl-C is none: what it interrupts has nothing to explain
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # read by now, and not for processes we start
