"""Which classes are the networks of an architecture, and with which numbers; their modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from common.architecture import Architecture
from pytorch_impl import dcgan, networks


def make_discriminator(table: Architecture) -> nn.Module:
    """The discriminator of common/architecture.py's table."""
    if table.width is None:
        return networks.Discriminator()
    size, _, channels = table.image_shape
    return dcgan.Discriminator(size, channels, table.width)


def make_generator(table: Architecture) -> nn.Module:
    """The generator of common/architecture.py's table."""
    if table.width is None:
        return networks.Generator(table.noise_size)
    size, _, channels = table.image_shape
    return dcgan.Generator(size, channels, table.width, table.noise_size)


def has_batch_norm(network: nn.Module) -> bool:
    """Does what the network makes of an image depend on the others of its batch?"""
    return any(isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) for layer in network.modules())


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """A network in evaluation mode: by running statistics, what it gives does not depend on the
    images' batch-mates."""
    training = network.training
    network.eval()
    try:
        yield network
    finally:
        network.train(training)
