"""The DCGAN in Keras 3, on TensorFlow, PyTorch or JAX: the engine that KERAS_BACKEND names."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

# Unset means TensorFlow, whatever ~/.keras/keras.json says: a run should not depend on that file.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

ENGINES = ("tensorflow", "torch", "jax")


def check_engine() -> None:
    """Raise UserError unless Keras and the engine of KERAS_BACKEND are there. Imports neither."""
    from common.config import UserError

    name = os.environ["KERAS_BACKEND"]
    if name not in ENGINES:
        raise UserError(f"KERAS_BACKEND takes one of {', '.join(ENGINES)}, not {name!r}.")
    for package in ("keras", name):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"The Python package {package!r} is not installed, which KERAS_BACKEND={name} "
                "needs; install it, or name another engine."
            )


def load_engine() -> ModuleType:
    """The module of what Keras leaves to its engine: keras_impl/engine_<KERAS_BACKEND>.py."""
    from common.quiet import quiet

    check_engine()
    with quiet():
        import keras

        engine = importlib.import_module(f"keras_impl.engine_{keras.backend.backend()}")
        engine.find_devices()
    return engine


def exit_without_engine() -> None:
    """check_engine for a command: a mistake answers before data or a framework is loaded."""
    from common.commandline import command

    with command():
        check_engine()


def keep_float64() -> None:
    """Let Keras compute in float64 on torch and jax, where its layers would turn to float32.

    Its type promotion maps float64 to float32 there (keras issue 23704). The table is not public:
    a Keras without it, or with another entry, has changed this, and tests tell whether to float64.
    """
    from keras.src.backend.common import dtypes

    table = getattr(dtypes, "BIT64_TO_BIT32_DTYPE", {})
    if table.get("float64") == "float32":
        table["float64"] = "float64"
