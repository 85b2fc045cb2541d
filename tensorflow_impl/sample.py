"""Images from a run with TensorFlow: `python -m tensorflow_impl.sample --help`."""

from __future__ import annotations

from dataclasses import replace

from common import checkpoint, sampling
from common.config import Device


def load_generator(saved: checkpoint.Checkpoint, device: Device) -> sampling.Generate:
    """The checkpoint's generator in evaluation mode: noise (N, Z) -> images (N, H, W, C)."""
    from tensorflow_impl import backend

    state = backend.make_state(replace(saved.config, device=device), saved.arrays)
    return lambda noise: backend.generate(state, noise)


if __name__ == "__main__":
    sampling.main("tensorflow", load_generator)
