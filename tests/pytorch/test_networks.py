"""The networks against the table, and against the tutorial's own classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from common import architecture
from common.architecture import STATISTICS
from pytorch_impl import state as states
from pytorch_impl.networks import Discriminator, Generator


class TutorialDiscriminator(nn.Module):
    """The tutorial's layers with its child names, in its order: activation, then pooling."""

    def __init__(self) -> None:
        super().__init__()
        act, pool = nn.LeakyReLU(0.01), nn.MaxPool2d(2, 2)
        self.conv = nn.Sequential(nn.Conv2d(1, 32, 5), act, pool, nn.Conv2d(32, 64, 5), act, pool)
        self.fc = nn.Sequential(nn.Linear(1024, 1024), act, nn.Linear(1024, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).reshape(len(x), -1))


class TutorialGenerator(nn.Module):
    """The tutorial's layers with its child names; batch norm with PyTorch's momentum 0.1."""

    def __init__(self) -> None:
        super().__init__()
        up = {"kernel_size": 4, "stride": 2, "padding": 1}
        self.fc = nn.Sequential(
            nn.Linear(96, 1024), nn.ReLU(), nn.BatchNorm1d(1024),
            nn.Linear(1024, 6272), nn.ReLU(), nn.BatchNorm1d(6272),
        )  # fmt: skip
        self.conv = nn.Sequential(
            nn.ConvTranspose2d(128, 64, **up), nn.ReLU(), nn.BatchNorm2d(64),
            nn.ConvTranspose2d(64, 1, **up), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.conv(self.fc(z).reshape(len(z), 128, 7, 7))


PAIRS = [
    (TutorialDiscriminator, Discriminator, (8, 1, 28, 28)),
    (TutorialGenerator, Generator, (8, 96)),
]


def test_parameter_counts() -> None:
    assert sum(p.numel() for p in Discriminator().parameters()) == 1_102_721
    assert sum(p.numel() for p in Generator().parameters()) == 6_675_009
    statistics = [b for n, b in Generator().named_buffers() if "running" in n]
    assert sum(b.numel() for b in statistics) == 14_720


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_every_parameter_is_in_the_table(network: str) -> None:
    module = Discriminator() if network == "discriminator" else Generator()
    tensors = states.parameter_tensors(module, network)
    table = {n: s for n, s in architecture.mnist28().parameters().items() if n.startswith(network)}
    found = {n: states.to_canonical_layout(n, t.detach().numpy()).shape for n, t in tensors.items()}
    assert found == table
    trainable = {n for n in table if n.rsplit("/", 1)[1] not in STATISTICS}
    assert {n for n, t in tensors.items() if isinstance(t, nn.Parameter)} == trainable
    assert len(trainable) == len(list(module.parameters()))


@pytest.mark.parametrize("count", [1, 5])
def test_output_shapes_and_ranges(count: int) -> None:
    images = Generator().eval()(torch.rand(count, 96) * 2 - 1)
    assert images.shape == (count, 1, 28, 28)
    assert images.abs().max() < 1
    assert Discriminator()(images).shape == (count, 1)


def test_layer_shapes_are_the_tables() -> None:
    x = torch.zeros(2, 1, 28, 28)
    wanted = [layer.output_shape for layer in architecture.mnist28().discriminator]
    seen = []
    for layer in Discriminator().conv:
        x = layer(x)
        seen.append((*x.shape[2:], x.shape[1]))
    assert set(wanted[:4]) == set(seen)


@pytest.mark.parametrize(("tutorial", "ours", "shape"), PAIRS)
@pytest.mark.parametrize("training", [True, False])
def test_the_tutorials_state_dict_gives_the_same_bits(
    tutorial: type, ours: type, shape: tuple[int, ...], training: bool
) -> None:
    torch.manual_seed(3)
    theirs = tutorial()
    with torch.no_grad():
        for _ in range(2):
            theirs(torch.rand(shape) * 2 - 1)  # moves the running statistics off their start
    network = ours()
    network.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(shape) * 2 - 1
    a, b = theirs.train(training)(x), network.train(training)(x)
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
