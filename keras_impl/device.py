"""Where Keras computes, and the switches of a process that a run depends on.

Import this module before Keras: its engine then starts without what it writes meanwhile, so that a
command's output is its own.
"""

from __future__ import annotations

from common.config import Config
from keras_impl import load_engine

engine = load_engine()
import keras  # noqa: E402

PACKAGES: tuple[str, ...] = ("keras", engine.PACKAGE)


def prepare(config: Config) -> None:
    """Set the process's switches, the same in every implementation: float32 means float32, not
    TF32's ten bits; denormals are zero, unless float64 asks for every bit."""
    engine.prepare(config.precision)
    # The type of an optimizer's learning rate and of what Python floats turn into.
    keras.config.set_floatx("float64" if config.precision == "float64" else "float32")


def choose_device(config: Config) -> str:
    """The device of a Config in Keras's words, `cpu:0` or `gpu:0`; `auto` takes the GPU if there is
    one. UserError if it is not there."""
    return engine.choose_device(config.device, config.precision)


def describe(device: str) -> str:
    """A device in words, and the engine."""
    return f"{engine.describe(device)}, keras on {keras.backend.backend()}"


def threads() -> int:
    """How many threads one operation may use on the processor."""
    return engine.threads()
