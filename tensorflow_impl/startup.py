"""Starting TensorFlow without what it writes meanwhile, so that a command's output is its own."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


def start() -> None:
    """Import TensorFlow and let it find its devices; its log shows errors only.

    Whoever sets TF_CPP_MIN_LOG_LEVEL sees everything from that level on.
    """
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    if quiet:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # The libraries log before they read their log level, and a missing GPU is an error to them.
    with _held_back() if quiet else contextlib.nullcontext():
        import tensorflow as tf

        find_gpus()
        tf.config.list_logical_devices()
    if quiet:
        del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # read by now, and not for processes we start


def find_gpus() -> list[Any]:
    """The GPUs, told to hand out memory as it is needed: TensorFlow takes all of it otherwise."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


def threads() -> int:
    """How many threads one operation may use on the processor."""
    import tensorflow as tf

    limit = tf.config.threading.get_intra_op_parallelism_threads()
    return limit or int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or os.cpu_count() or 1


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Keep what native code writes to stderr; if the block fails, it is written after all."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
