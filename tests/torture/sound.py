"""What a file that was accepted must be, in rules of their own: the product's are not asked."""

from __future__ import annotations

import math

import numpy as np

from common import checkpoint
from common.config import Config


def require(holds: bool, what: str) -> None:
    """Raise if something accepted is not what it must be: the fuzzer stops at it."""
    if not holds:
        raise AssertionError(what)


def sound(found: checkpoint.Checkpoint) -> None:
    """Raise unless a loaded checkpoint of tests.tiny is one that training may go on from."""
    settings = found.config
    require_config(settings)
    z, wide = settings.noise_size, np.float64 if settings.precision == "float64" else np.float32
    generator = {"dense1/kernel": (z, 3), "dense1/bias": (3,)}
    networks = {"discriminator": {"dense1/kernel": (4, 2), "dense1/bias": (2,)}}
    networks["generator"] = generator | dict.fromkeys(
        [f"norm1/{name}" for name in ("scale", "offset", "moving_mean", "moving_variance")], (3,)
    )
    wanted = {}
    for network, shapes in networks.items():
        for name, shape in shapes.items():
            wanted[f"{network}/{name}"] = shape
            if network == "generator" and settings.recipe in ("tuned", "fast"):
                wanted[f"average/{network}/{name}"] = shape
            if "moving" not in name:
                wanted[f"optimizer/{network}/{name}/first_moment"] = shape
                wanted[f"optimizer/{network}/{name}/second_moment"] = shape
    counts = {"step", "optimizer/discriminator/count", "optimizer/generator/count"}
    require(found.arrays.keys() == wanted.keys() | counts, "other names")
    for name, array in found.arrays.items():
        kind = ((), np.int64) if name in counts else (wanted[name], wide)
        require((array.shape, array.dtype) == kind, f"{name}: {array.dtype} {array.shape}")
        values = [float(value) for value in array.ravel()]
        require(all(map(math.isfinite, values)), f"{name} is not finite")
        if name in counts:
            require(int(array) == found.step >= 0, f"{name} is {array} at step {found.step}")
        elif "variance" in name or "second" in name:
            require(min(values) >= 0, f"{name} is negative")
    texts = [found.backend, *found.versions.values()]
    require(isinstance(found.versions, dict), "the versions are no object")
    require(all(isinstance(text, str) for text in texts), "the backend or a version is no text")


def require_config(c: Config) -> None:
    """Raise unless every value of a Config is of its type and in its range."""
    for value, least, most in (
        (c.seed, 0, 2**63 - 1),
        (c.epochs, 1, 10**6),
        (c.batch_size, 2, 60_000),
        (c.noise_size, 1, 2**16),
        (c.show_every, 1, 10**9),
        (c.train_images, 2, 10**9),
        (c.checkpoint_every, 1, 10**9),
        (1 if c.steps is None else c.steps, 1, 10**9),
    ):
        require(type(value) is int and least <= value <= most, f"{value!r} of {c}")
    for number, most in ((c.learning_rate, 10), (c.beta1, 1), (c.beta2, 1)):
        require(type(number) in (int, float) and 0 <= number <= most, f"{number!r} of {c}")
    require(c.learning_rate > 0 and c.beta1 < 1 and c.beta2 < 1, "a rate at its end")
    require(c.batch_size <= c.train_images, "a batch larger than the data")
    require(isinstance(c.data_dir, str) and c.data_dir not in ("", "\0"), "no data folder")
    require(isinstance(c.dataset, str) and c.dataset not in ("", "\0"), "no data set")
    require(c.dataset != "mnist" or c.train_images <= 60_000, "more images than there are")
    recipes = {"mnist28": ("published", "tuned", "fast"), "dcgan": ("paper", "tuned")}
    require(c.architecture in recipes, "unknown networks")
    sizes = {"mnist28": ((28,), (1,), (None,)), "dcgan": ((32, 64, 128), (1, 3), range(1, 1025))}
    shape = (c.image_size, c.channels, c.width)
    fits = (x in allowed for x, allowed in zip(shape, sizes[c.architecture], strict=True))
    require(all(fits), f"images of {shape} in {c.architecture}")
    require(c.recipe in recipes[c.architecture] and type(c.compile) is bool, "recipe or compile")
    require(c.precision in ("float32", "bfloat16", "float64"), "precision")
    require(c.device in ("auto", "cpu", "cuda", "mps"), "device")
