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
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from common.config import Config

BATCH_NORM_EPSILON = 1e-5  # of every batch norm
STATISTICS = frozenset({"moving_mean", "moving_variance"})
FEATURE_GRID = 4  # pixels a side that D's maps are pooled to: Radford et al. 2016, section 5.1

Operation = Literal["conv", "deconv", "dense", "batch_norm", "max_pool", "reshape", "flatten"]


@dataclass(frozen=True)
class Layer:
    name: str
    operation: Operation
    output_shape: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    fan_in: int = 0
    """PyTorch's fan-in, which sets the bound of its default initial weights (initializers.py); 0 in
    dcgan, whose weights are normal."""

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
    width: int | None = None
    """Of dcgan: filters of the layers next to the image."""

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

    @property
    def last_norm(self) -> Layer:
        """The generator's last batch norm: what it gives are its last feature maps."""
        return [layer for layer in self.generator if layer.operation == "batch_norm"][-1]

    @property
    def maps(self) -> list[Layer]:
        """The discriminator's convolutions, but for one that is the decision."""
        convolutions = [layer for layer in self.discriminator if layer.operation == "conv"]
        return [layer for layer in convolutions if layer.output_shape[0] > 1]

    @property
    def features(self) -> int:
        """How many features the discriminator has of an image: 1,536 by mnist28."""
        return FEATURE_GRID**2 * sum(layer.output_shape[-1] for layer in self.maps)

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


def dcgan(
    noise_size: int = 100, image_size: int = 64, channels: int = 3, width: int = 64
) -> Architecture:
    """The two networks of Radford et al. 2016 in the shape of PyTorch's DCGAN example: at 64 pixels
    and 3 channels 2,765,568 and, at noise 100, 3,576,704 trainable parameters.

    From 4x4 pixels one layer per doubling up to image_size, 32, 64 or 128; no biases.
    """

    def layer(kind: Operation, number: int, size: int, inputs: int, outputs: int) -> Layer:
        kernel = (inputs, outputs) if kind == "conv" else (outputs, inputs)
        return Layer(f"{kind}{number}", kind, (size, size, outputs), {"kernel": (4, 4, *kernel)})

    levels = image_size.bit_length() - 3  # 3 at 32 pixels, 4 at 64, 5 at 128
    filters = [width * 2**level for level in range(levels)]  # from the image inwards
    sides = [image_size // 2 ** (level + 1) for level in range(levels)]  # ... to 4
    discriminator = [layer("conv", 1, sides[0], channels, width)]  # LeakyReLU 0.2
    generator = [
        layer("deconv", 1, 4, noise_size, filters[-1]),
        _norm("norm1", (4, 4, filters[-1])),
    ]
    for level in range(1, levels):
        number, inner = level + 1, levels - 1 - level
        side, outer = sides[level], sides[inner]
        discriminator += [
            layer("conv", number, side, filters[level - 1], filters[level]),
            _norm(f"norm{number}", (side, side, filters[level])),  # LeakyReLU 0.2
        ]
        generator += [
            layer("deconv", number, outer, filters[inner + 1], filters[inner]),
            _norm(f"norm{number}", (outer, outer, filters[inner])),  # ReLU
        ]
    discriminator += [
        layer("conv", levels + 1, 1, filters[-1], 1),
        Layer("flatten", "flatten", (1,)),
    ]
    generator += [layer("deconv", levels + 1, image_size, width, channels)]  # tanh
    return Architecture(
        name="dcgan",
        image_shape=(image_size, image_size, channels),
        noise_size=noise_size,
        discriminator=tuple(discriminator),
        generator=tuple(generator),
        width=width,
    )


ARCHITECTURES: dict[str, Callable[..., Architecture]] = {"mnist28": mnist28, "dcgan": dcgan}


def get(name: str, noise_size: int, **shape: Any) -> Architecture:
    """The architecture of that name. shape: of dcgan image_size, channels, width."""
    return ARCHITECTURES[name](noise_size, **shape)


def of(config: Config) -> Architecture:
    """The architecture of a Config."""
    shape = {}
    if config.architecture == "dcgan":
        shape = {name: getattr(config, name) for name in ("image_size", "channels", "width")}
    return get(config.architecture, config.noise_size, **shape)
