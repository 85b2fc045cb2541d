"""Starting TensorFlow without what it writes meanwhile, so that a command's output is its own."""

from __future__ import annotations

import os
from typing import Any

from common.quiet import quiet


def start() -> None:
    """Import TensorFlow and let it find its devices; its log shows errors only.

    Whoever sets TF_CPP_MIN_LOG_LEVEL sees everything from that level on.
    """
    with quiet():
        import tensorflow as tf

        find_gpus()
        tf.config.list_logical_devices()


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
