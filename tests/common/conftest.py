"""Fixtures shared by the tests of common/."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from common import architecture
from common.architecture import Architecture, Layer

# A deadline for each example is a timed assertion, which a busy machine breaks.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def tiny_architecture(noise_size: int) -> Architecture:
    """Two layers a network, every kind of parameter: states of some hundred bytes."""
    norm = dict.fromkeys(("scale", "offset", "moving_mean", "moving_variance"), (3,))
    return Architecture(
        name="mnist28",
        image_shape=(28, 28, 1),
        noise_size=noise_size,
        discriminator=(Layer("dense1", "dense", (2,), {"kernel": (4, 2), "bias": (2,)}, 4),),
        generator=(
            Layer("dense1", "dense", (3,), {"kernel": (noise_size, 3), "bias": (3,)}, noise_size),
            Layer("norm1", "batch_norm", (3,), norm),
        ),
    )


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Architecture]:
    """The tiny networks under the name mnist28, for tests of files that need no real ones."""
    monkeypatch.setitem(architecture.ARCHITECTURES, "mnist28", tiny_architecture)
    return tiny_architecture
