"""What no implementation can beat: the least arithmetic and memory traffic of one iteration.

Counted from the layer table alone. A product of matrices is the only arithmetic that counts:
everything else (activations, batch norm, losses, Adam) is below one per cent of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from common.architecture import Architecture, Layer


def multiplications(layer: Layer, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of a layer's forward pass for one image; 0 for a layer without a kernel.

    A transposed convolution uses its whole kernel at every input position: the taps that fall
    outside the image are counted, as libraries compute them.
    """
    if "kernel" not in layer.parameters:
        return 0
    positions = {
        "conv": layer.output_shape[:-1],
        "deconv": input_shape[:-1],
        "dense": (),
    }[layer.operation]
    return prod(positions) * prod(layer.parameters["kernel"])


def network(layers: Sequence[Layer], input_shape: tuple[int, ...]) -> list[int]:
    """Multiply-adds of each layer that has a kernel, for one image, in order."""
    counts = []
    for layer in layers:
        counts.append(multiplications(layer, input_shape))
        input_shape = layer.output_shape
    return [count for count in counts if count]


def arithmetic(table: Architecture, batch_size: int) -> int:
    """Floating-point operations of one iteration at least; a multiply-add is two.

    A layer's two gradients, of its kernel and of its input, cost as much as its forward pass each.
    """
    d = network(table.discriminator, table.image_shape)
    g = network(table.generator, (table.noise_size,))
    d_update = (
        2
        * (
            sum(d)  # D forward, on a real and on a fake image
            + sum(d)  # gradients of its kernels
            + sum(d[1:])  # and of its layers' inputs; nobody asks for the image's
        )
    )
    g_update = (
        sum(g)  # G forward; its images serve both updates
        + sum(d)  # the updated D forward
        + sum(d)  # gradients of D's layers' inputs, the image's included; none of its kernels
        + sum(g)  # gradients of G's kernels
        + sum(g[1:])  # and of its layers' inputs; nobody asks for the noise's
    )
    return 2 * batch_size * (d_update + g_update)


def traffic(table: Architecture, batch_size: int, bytes_each: int = 4) -> int:
    """Bytes that one iteration moves to and from memory at least.

    Adam reads and writes each parameter and its two moments; together they are larger than a
    processor's cache. Real images (one byte a value) and noise are read. Activations and gradients
    may stay in the cache, so they are not counted.
    """
    parameters = sum(prod(shape) for shape in table.trainable().values())
    data = batch_size * (prod(table.image_shape) + 4 * table.noise_size)
    return 2 * 3 * parameters * bytes_each + data


@dataclass(frozen=True)
class Rates:
    """What a machine was measured to do."""

    flops: float  # floating-point operations per second in a large product of matrices
    bandwidth: float  # bytes per second read and written in a large copy


def seconds(table: Architecture, batch_size: int, rates: Rates, bytes_each: int = 4) -> float:
    """The least time of one iteration: arithmetic and traffic may overlap, so the longer counts."""
    return max(
        arithmetic(table, batch_size) / rates.flops,
        traffic(table, batch_size, bytes_each) / rates.bandwidth,
    )
