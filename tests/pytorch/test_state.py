"""Canonical arrays: what comes in goes out, and means the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common import checkpoint
from common.config import Config, UserError
from pytorch_impl import state as states


def random_arrays(config: Config) -> checkpoint.Arrays:
    rng = np.random.default_rng(1)
    arrays = {}
    for name, (shape, dtype) in checkpoint.expected(config).items():
        arrays[name] = np.array(7) if shape == () else rng.random(shape).astype(dtype)
    return arrays


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_round_trip_is_exact(precision: str) -> None:
    config = Config(precision=precision, noise_size=10, device="cpu")  # type: ignore[arg-type]
    arrays = random_arrays(config)
    state = states.TrainState(config)
    states.from_canonical(state, arrays)
    found = states.to_canonical(state)
    checkpoint.check(found, config)
    assert set(found) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name], err_msg=name)


def test_loading_keeps_the_tensors_themselves() -> None:
    config = Config(device="cpu")
    state = states.TrainState(config)
    before = {name: t.data_ptr() for name, t in states.canonical_tensors(state).items()}
    states.from_canonical(state, random_arrays(config))
    after = {name: t.data_ptr() for name, t in states.canonical_tensors(state).items()}
    assert before == after


def test_flatten_order_is_translated() -> None:
    """Unit (h, w, c) of the canonical row order is PyTorch's (c, h, w)."""
    kernel = np.arange(1024 * 3, dtype=np.float32).reshape(1024, 3)
    weight = states.from_canonical_layout("discriminator/dense1/kernel", kernel)
    h, w, c = 2, 1, 5
    np.testing.assert_array_equal(weight[:, c * 16 + h * 4 + w], kernel[h * 256 + w * 64 + c])
    scale = np.arange(6272, dtype=np.float32)
    theirs = states.from_canonical_layout("generator/norm2/scale", scale)
    assert theirs[5 * 49 + 3 * 7 + 4] == scale[3 * 7 * 128 + 4 * 128 + 5]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UserError, match="--device cuda is not available"):
        states.choose_device(Config(device="cuda"))
    assert states.choose_device(Config(device="auto")).type in ("cpu", "mps")
