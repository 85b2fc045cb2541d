"""Where TensorFlow computes, and the switches of a process that a run depends on.

Import this module before TensorFlow: TensorFlow then starts without what it writes meanwhile, so
that a command's output is its own. Whoever sets TF_CPP_MIN_LOG_LEVEL sees everything from that
level on.
"""

from __future__ import annotations

import os

from common.config import Config, UserError
from common.quiet import quiet

with quiet():
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        # Memory as it is needed: TensorFlow takes all of it otherwise.
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.list_logical_devices()

PACKAGES: tuple[str, ...] = ("tensorflow",)
CPU, GPU = "/CPU:0", "/GPU:0"


def prepare(config: Config) -> None:
    """Set the process's switches, the same in every implementation: float32 means float32, not
    TF32's ten bits. TensorFlow's own threads have denormals as zeros."""
    tf.config.experimental.enable_tensor_float_32_execution(False)  # on by default


def choose_device(config: Config) -> str:
    """The device of a Config; `auto` takes the GPU if there is one. UserError if there is none."""
    there = {"cuda": bool(tf.config.list_physical_devices("GPU")), "mps": False}
    name: str = config.device
    if name == "auto":
        name = next((name for name, present in there.items() if present), "cpu")
    if not there.get(name, True):
        reason = "does not exist for" if name == "mps" else "is not available to"
        raise UserError(
            f"--device {name} {reason} TensorFlow {tf.__version__} on this machine; "
            "use --device auto or cpu."
        )
    return GPU if name == "cuda" else CPU


def describe(device: str) -> str:
    """A device in words."""
    if device == CPU:
        return "CPU"
    return tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0]).get(
        "device_name", "GPU"
    )


def threads() -> int:
    """How many threads one operation may use on the processor."""
    limit = tf.config.threading.get_intra_op_parallelism_threads()
    return limit or int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or os.cpu_count() or 1
