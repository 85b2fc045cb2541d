"""TensorFlow as a common.backend.Backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorflow_impl import device  # noqa: F401, first: it imports TensorFlow quietly
from tensorflow_impl.canonical import from_canonical, to_canonical
from tensorflow_impl.compiled import compile_step, train_chunk
from tensorflow_impl.device import PACKAGES, describe, threads
from tensorflow_impl.features import feature_maps, features, guided_gradients
from tensorflow_impl.inference import generate, outputs
from tensorflow_impl.state import TrainState, make_state

__all__ = [
    "PACKAGES", "compile_step", "describe", "feature_maps", "features", "from_canonical",
    "generate", "guided_gradients", "make_state", "outputs", "threads", "to_canonical",
    "train_chunk",
]  # fmt: skip

if TYPE_CHECKING:
    from common.backend import Backend
    from tensorflow_impl import backend

    checked: Backend[TrainState] = backend
