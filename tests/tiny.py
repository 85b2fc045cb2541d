"""Networks of two layers, for the tests of files that need no real ones."""

from __future__ import annotations

from common.architecture import Architecture, Layer


def tiny_architecture(noise_size: int) -> Architecture:
    """Two layers a network, every kind of parameter, so that a checkpoint is below 4 KiB."""
    names = ("scale", "offset", "moving_mean", "moving_variance")
    norm: dict[str, tuple[int, ...]] = dict.fromkeys(names, (3,))
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
