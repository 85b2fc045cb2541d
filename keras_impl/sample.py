"""Images from a run with Keras: `python -m keras_impl.sample --help`."""

from __future__ import annotations

from dataclasses import replace

from common import checkpoint, sampling
from common.config import Device
from keras_impl import load_engine, main_check


def load_generator(saved: checkpoint.Checkpoint, device: Device) -> sampling.Generate:
    """The checkpoint's generator in evaluation mode: noise (N, Z) -> images (N, H, W, C)."""
    load_engine()
    from keras_impl import state as states
    from keras_impl import step as steps

    state = states.TrainState(replace(saved.config, device=device))
    states.from_canonical(state, saved.arrays)
    return lambda noise: steps.generate(state, noise)


if __name__ == "__main__":
    main_check()
    sampling.main("keras", load_generator)
