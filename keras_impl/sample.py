"""Images from a run with Keras: `python -m keras_impl.sample --help`."""

from __future__ import annotations

from dataclasses import replace

from common import checkpoint, sampling
from common.config import Device
from keras_impl import exit_without_engine


def load_generator(saved: checkpoint.Checkpoint, device: Device) -> sampling.Generate:
    """The checkpoint's generator in evaluation mode: noise (N, Z) -> images (N, H, W, C)."""
    from keras_impl import backend

    state = backend.make_state(replace(saved.config, device=device), saved.arrays)
    return lambda noise: backend.generate(state, noise)


if __name__ == "__main__":
    exit_without_engine()
    sampling.main("keras", load_generator)
