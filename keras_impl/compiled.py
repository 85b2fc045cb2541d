"""K iterations in a row, and their compilation: step.train_step is the same function either way."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from common.config import UserError, hyperparameters
from keras_impl import load_engine
from keras_impl.state import TrainState
from keras_impl.step import train_step

engine = load_engine()


def train_chunk(
    state: TrainState, images: NDArray[np.uint8], noise: NDArray[np.float32]
) -> NDArray[np.floating]:
    """K iterations: images (K, B, H, W, C), noise (K, B, Z) -> metrics (K, 4), as train_step's."""
    if state.run_chunk is None:
        state.run_chunk = engine.make_chunk(state, train_step)
    schedule = [hyperparameters(state.config, state.step + k) for k in range(len(images))]
    with keras.device(state.device):
        metrics = state.run_chunk(images, noise, schedule)
    state.step += len(images)
    return metrics


def compile_step(state: TrainState) -> None:
    """Let XLA fuse the step. UserError on torch, whose compiler cannot take Keras's variables."""
    if not engine.CAN_JIT:
        raise UserError(
            f"--compile is not available to Keras on {keras.backend.backend()}; leave it out, or "
            "set KERAS_BACKEND to tensorflow or jax."
        )
    state.jit, state.run_chunk = True, None
