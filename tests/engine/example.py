"""The loop of PyTorch's DCGAN example, written out plainly with PyTorch's own layers.

D on real images, D on fakes, two batches, one update of D; D on the same fakes, one update of G. So
D's running statistics move three times an iteration, in training mode throughout.

    python -m tests.engine.example INPUTS OUTPUTS     .npz files, as of published.py
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import architecture
from common.checkpoint import Arrays
from tests.engine.published import Adam, fill, main, read

RATE = 2e-4


class Discriminator(nn.Module):
    """Three strided convolutions and the logit; the example's names, for images of 32 pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width * 2, width * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width * 4, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x).view(-1)


class Generator(nn.Module):
    """From noise (N, Z, 1, 1) to 4, 8, 16 and 32 pixels."""

    def __init__(self, noise: int, channels: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(noise, width * 4, 4, 1, 0, bias=False),
            nn.BatchNorm2d(width * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 4, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
            nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


def train(start: Arrays, images: np.ndarray, noise: np.ndarray) -> Arrays:
    """Initial canonical arrays, images (K, B, 32, 32, C), noise (K, B, Z) -> the state after K
    steps: parameters, statistics, moments; and `losses` (K, 2)."""
    channels, width = start["discriminator/conv1/kernel"].shape[2:]
    table = architecture.dcgan(noise.shape[2], 32, channels, width)
    networks = {
        "discriminator": Discriminator(channels, width).double(),
        "generator": Generator(noise.shape[2], channels, width).double(),
    }
    fill(networks, start, table)
    D, G = networks.values()
    d_optimizer, g_optimizer = Adam(D, RATE), Adam(G, RATE)
    losses = []
    for x, z in zip(torch.from_numpy(images), torch.from_numpy(noise).double(), strict=True):
        real = x.permute(0, 3, 1, 2).double() / 127.5 - 1
        ones, zeros = torch.ones(len(real)).double(), torch.zeros(len(real)).double()
        D.zero_grad()
        real_loss = F.binary_cross_entropy(D(real), ones)
        real_loss.backward()
        fake = G(z[:, :, None, None])
        fake_loss = F.binary_cross_entropy(D(fake.detach()), zeros)
        fake_loss.backward()
        d_optimizer.step()
        G.zero_grad()
        g_loss = F.binary_cross_entropy(D(fake), ones)
        g_loss.backward()
        g_optimizer.step()
        losses.append([real_loss.item() + fake_loss.item(), g_loss.item()])

    optimizers = {"discriminator": d_optimizer, "generator": g_optimizer}
    return {"losses": np.array(losses)} | read(networks, optimizers, table)


if __name__ == "__main__":
    main(train)
