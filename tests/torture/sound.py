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
    """Raise unless a loaded checkpoint is one that training may go on from."""
    settings = found.config
    require_config(settings)
    z, wide = settings.noise_size, np.float64 if settings.precision == "float64" else np.float32
    discriminator = {"dense1/kernel": (4, 2), "dense1/bias": (2,)}
    generator = {"dense1/kernel": (z, 3), "dense1/bias": (3,)}
    norm = {"norm1/scale": (3,), "norm1/offset": (3,)}
    statistics = {"norm1/moving_mean": (3,), "norm1/moving_variance": (3,)}
    wanted: dict[str, tuple[int, ...]] = {}
    for network, trained, rest in (
        ("discriminator", discriminator, {}),
        ("generator", generator | norm, statistics),
    ):
        for name, shape in (trained | rest).items():
            wanted[f"{network}/{name}"] = shape
            if network == "generator" and settings.recipe == "tuned":
                wanted[f"average/{network}/{name}"] = shape
        for name, shape in trained.items():
            wanted[f"optimizer/{network}/{name}/first_moment"] = shape
            wanted[f"optimizer/{network}/{name}/second_moment"] = shape
    counts = {"step", "optimizer/discriminator/count", "optimizer/generator/count"}
    require(found.arrays.keys() == wanted.keys() | counts, "other names")
    for name in counts:
        array = found.arrays[name]
        require(array.shape == () and array.dtype == np.int64, f"{name} is no count")
        require(int(array) == found.step >= 0, f"{name} is {array} at step {found.step}")
    for name, shape in wanted.items():
        array = found.arrays[name]
        require(array.shape == shape and array.dtype == wide, f"{name}: {array.dtype} {shape}")
        values = [float(value) for value in array.ravel()]
        require(all(map(math.isfinite, values)), f"{name} is not finite")
        if "variance" in name or "second" in name:
            require(min(values) >= 0, f"{name} is negative")
    require(isinstance(found.backend, str), "the backend is no text")
    versions = found.versions
    require(isinstance(versions, dict), "the versions are no object")
    require(all(isinstance(v, str) for v in versions.values()), "a version is no text")


def require_config(c: Config) -> None:
    """Raise unless every value of a Config is of its type and in its range."""
    whole = {
        "seed": (c.seed, 0, 2**63 - 1),
        "epochs": (c.epochs, 1, 10**6),
        "batch": (c.batch_size, 2, 60_000),
        "noise": (c.noise_size, 1, 2**16),
        "show": (c.show_every, 1, 10**9),
        "images": (c.train_images, 2, 60_000),
        "saves": (c.checkpoint_every, 1, 10**9),
        "steps": (1 if c.steps is None else c.steps, 1, 10**9),
    }
    for name, (value, least, most) in whole.items():
        require(type(value) is int and least <= value <= most, f"{name} is {value!r}")
    for name, number, most in (("rate", c.learning_rate, 10), ("b", c.beta1, 1), ("b", c.beta2, 1)):
        require(type(number) in (int, float) and 0 <= number <= most, f"{name} is {number!r}")
    require(c.learning_rate > 0 and c.beta1 < 1 and c.beta2 < 1, "a rate at its end")
    require(c.batch_size <= c.train_images, "a batch larger than the data")
    require(isinstance(c.data_dir, str) and c.data_dir not in ("", "\0"), "no data folder")
    require((c.dataset, c.architecture) == ("mnist", "mnist28"), "unknown data or networks")
    require(c.recipe in ("published", "tuned") and type(c.compile) is bool, "recipe or compile")
    require(c.precision in ("float32", "bfloat16", "float64"), "precision")
    require(c.device in ("auto", "cpu", "cuda", "mps"), "device")
