"""What an implementation offers to whoever does not care which framework it is written in.

Each implementation's `backend.py` is a module of this shape; a type checker compares the two.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.checkpoint import Arrays
from common.config import Config

S = TypeVar("S", bound="State")


class State(Protocol):
    """What training changes: two networks, their optimizers, the step."""

    config: Config
    step: int  # updates done

    @property
    def device(self) -> Any: ...  # in the framework's words


class Backend(Protocol[S]):
    """An implementation. Arrays are channels-last and on the host."""

    PACKAGES: tuple[str, ...]  # whose versions belong to a run's record

    def make_state(self, config: Config, arrays: Arrays) -> S:
        """The state with the values of canonical arrays, in a process made ready for it: float32
        without TF32, no denormals. UserError if the Config's device is not there."""

    def from_canonical(self, state: S, arrays: Arrays) -> None:
        """Copy canonical arrays (common/checkpoint.py) into the state's existing tensors."""

    def to_canonical(self, state: S) -> Arrays:
        """The whole state as canonical arrays; copies."""

    def compile_step(self, state: S) -> None:
        """Let the framework's compiler fuse the step. UserError if it cannot."""

    def train_chunk(
        self, state: S, images: NDArray[np.uint8], noise: NDArray[np.float32]
    ) -> NDArray[np.floating[Any]]:
        """K iterations: images (K, B, H, W, C), noise (K, B, Z) in [-1, 1) -> metrics (K, 4)."""

    def generate(self, state: S, noise: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Noise (N, Z) -> images (N, H, W, C) in (-1, 1), in evaluation mode."""

    def outputs(
        self, state: S, images: NDArray[np.uint8], noise: NDArray[np.float32]
    ) -> dict[str, NDArray[np.floating[Any]]]:
        """Both networks' outputs on one batch, to be compared: logits, images_training,
        images_evaluation. Moves the running statistics."""

    def features(self, state: S, images: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """D's features of images (N, H, W, C), in evaluation mode: (N, F)."""

    def guided_gradients(
        self, state: S, images: NDArray[np.uint8], channels: NDArray[np.int64]
    ) -> NDArray[np.floating[Any]]:
        """Guided backpropagation from a channel (N,) of D's last convolution: (N, H, W, C)."""

    def feature_maps(
        self, state: S, noise: NDArray[np.float32], kept: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """G's last feature maps (N, h, w, C), and its images if those are multiplied by kept."""

    def describe(self, device: Any) -> str:
        """A state's device in words."""

    def threads(self) -> int:
        """How many threads one operation may use on the processor."""
