"""Keras as a common.backend.Backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_impl import device  # noqa: F401, first: it imports Keras and its engine quietly
from keras_impl.canonical import from_canonical, to_canonical
from keras_impl.compiled import compile_step, train_chunk
from keras_impl.device import PACKAGES, describe, threads
from keras_impl.features import feature_maps, features, guided_gradients
from keras_impl.inference import generate, outputs
from keras_impl.state import TrainState, make_state

__all__ = [
    "PACKAGES", "compile_step", "describe", "feature_maps", "features", "from_canonical",
    "generate", "guided_gradients", "make_state", "outputs", "threads", "to_canonical",
    "train_chunk",
]  # fmt: skip

if TYPE_CHECKING:
    from common.backend import Backend
    from keras_impl import backend

    checked: Backend[TrainState] = backend
