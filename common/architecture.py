"""The layer tables: what each network consists of, as data. The networks are tested against it.

Shapes are channels-last and without the batch axis. Parameter names and shapes are the
canonical ones of every checkpoint:

    kernel of a convolution              (kh, kw, in, out)
    kernel of a transposed convolution   (kh, kw, out, in)
    kernel of a dense layer              (in, out), in (H, W, C) order where it meets an image
    batch norm                           scale, offset, moving_mean, moving_variance
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Literal

STATISTICS = frozenset({"moving_mean", "moving_variance"})

Operation = Literal["conv", "deconv", "dense", "batch_norm", "max_pool", "reshape", "flatten"]


@dataclass(frozen=True)
class Layer:
    name: str
    operation: Operation
    output_shape: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    fan_in: int = 0
    """PyTorch's fan-in, which sets the bound of its default initial weights (initializers.py)."""

    @property
    def trainable(self) -> int:
        """Number of trainable parameters."""
        return sum(prod(s) for n, s in self.parameters.items() if n not in STATISTICS)

    @property
    def statistics(self) -> int:
        """Number of running statistics."""
        return sum(prod(s) for n, s in self.parameters.items() if n in STATISTICS)


@dataclass(frozen=True)
class Architecture:
    name: str
    image_shape: tuple[int, int, int]
    noise_size: int
    discriminator: tuple[Layer, ...]
    generator: tuple[Layer, ...]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape, e.g. `generator/norm1/moving_mean` -> (1024,). Table order."""
        return {
            f"{network}/{layer.name}/{name}": shape
            for network, layers in (
                ("discriminator", self.discriminator),
                ("generator", self.generator),
            )
            for layer in layers
            for name, shape in layer.parameters.items()
        }

    def trainable(self) -> dict[str, tuple[int, ...]]:
        """The canonical names and shapes that the optimizers update."""
        return {
            name: shape
            for name, shape in self.parameters().items()
            if name.rsplit("/", 1)[1] not in STATISTICS
        }

    def flattened_rows(self) -> dict[str, tuple[int, ...]]:
        """Dense layers that take a flattened image: name -> its (H, W, C)."""
        before = self.discriminator
        return {
            f"discriminator/{after.name}": image.output_shape
            for image, flatten, after in zip(before, before[1:], before[2:], strict=False)
            if flatten.operation == "flatten"
        }

    def flattened_columns(self) -> dict[str, tuple[int, ...]]:
        """Layers whose vectors are reshaped to an image: name -> its (H, W, C)."""
        shapes = [x.output_shape for x in self.generator if x.operation == "reshape"]
        return {
            f"generator/{layer.name}": shape
            for layer in self.generator
            for shape in shapes
            if layer.output_shape == (prod(shape),)
        }


def _conv(name: str, size: int, inputs: int, outputs: int, output: tuple[int, int]) -> Layer:
    parameters = {"kernel": (size, size, inputs, outputs), "bias": (outputs,)}
    return Layer(name, "conv", (*output, outputs), parameters, size * size * inputs)


def _deconv(name: str, size: int, inputs: int, outputs: int, output: tuple[int, int]) -> Layer:
    parameters = {"kernel": (size, size, outputs, inputs), "bias": (outputs,)}
    # PyTorch stores this kernel as (in, out, kh, kw) and reads fan-in off its second dimension.
    return Layer(name, "deconv", (*output, outputs), parameters, size * size * outputs)


def _dense(name: str, inputs: int, outputs: int) -> Layer:
    return Layer(
        name, "dense", (outputs,), {"kernel": (inputs, outputs), "bias": (outputs,)}, inputs
    )


def _norm(name: str, output: tuple[int, ...]) -> Layer:
    names = ("scale", "offset", "moving_mean", "moving_variance")
    return Layer(name, "batch_norm", output, dict.fromkeys(names, (output[-1],)))


def mnist28(noise_size: int = 96) -> Architecture:
    """The tutorial's two networks: 1,102,721 and, at noise 96, 6,675,009 trainable parameters."""
    return Architecture(
        name="mnist28",
        image_shape=(28, 28, 1),
        noise_size=noise_size,
        discriminator=(
            _conv("conv1", 5, 1, 32, (24, 24)),  # LeakyReLU 0.01
            Layer("pool1", "max_pool", (12, 12, 32)),
            _conv("conv2", 5, 32, 64, (8, 8)),  # LeakyReLU 0.01
            Layer("pool2", "max_pool", (4, 4, 64)),
            Layer("flatten", "flatten", (1024,)),
            _dense("dense1", 1024, 1024),  # LeakyReLU 0.01
            _dense("dense2", 1024, 1),
        ),
        generator=(
            _dense("dense1", noise_size, 1024),  # ReLU
            _norm("norm1", (1024,)),
            _dense("dense2", 1024, 6272),  # ReLU
            _norm("norm2", (6272,)),
            Layer("reshape", "reshape", (7, 7, 128)),
            _deconv("deconv1", 4, 128, 64, (14, 14)),  # ReLU
            _norm("norm3", (14, 14, 64)),
            _deconv("deconv2", 4, 64, 1, (28, 28)),  # tanh
        ),
    )


ARCHITECTURES: dict[str, Callable[[int], Architecture]] = {"mnist28": mnist28}


def get(name: str, noise_size: int) -> Architecture:
    """The architecture of a Config's `architecture` and `noise_size`."""
    return ARCHITECTURES[name](noise_size)
