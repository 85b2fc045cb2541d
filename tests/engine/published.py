"""The published loop, written out plainly with PyTorch's own layers: what every step is held to.

G runs twice, D's loss is sent back through the whole graph, running statistics move twice with
momentum 0.1, LeakyReLU stands before the pooling.

    python -m tests.engine.published INPUTS OUTPUTS     .npz files: inputs() and what train() gives
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import architecture
from common.architecture import Architecture
from common.checkpoint import Arrays
from pytorch_impl import canonical

TABLE = architecture.get("mnist28", 96)


class Discriminator(nn.Module):
    """The tutorial's layers with its child names, in its order: activation, then pooling."""

    def __init__(self) -> None:
        super().__init__()
        act, pool = nn.LeakyReLU(0.01), nn.MaxPool2d(2, 2)
        self.conv = nn.Sequential(nn.Conv2d(1, 32, 5), act, pool, nn.Conv2d(32, 64, 5), act, pool)
        self.fc = nn.Sequential(nn.Linear(1024, 1024), act, nn.Linear(1024, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).reshape(len(x), -1))


class Generator(nn.Module):
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

    def forward(self, z: Tensor) -> Tensor:
        return self.conv(self.fc(z).reshape(len(z), 128, 7, 7))


class Adam:
    """Kingma & Ba 2015, algorithm 1, as the paper writes it."""

    def __init__(self, network: nn.Module, rate: float = 3e-4) -> None:
        self.rate = rate
        self.parameters, self.t = list(network.parameters()), 0
        self.m = {p: torch.zeros_like(p) for p in self.parameters}
        self.v = {p: torch.zeros_like(p) for p in self.parameters}

    @torch.no_grad()
    def step(self) -> None:
        self.t += 1
        for p in self.parameters:
            self.m[p] = 0.5 * self.m[p] + (1 - 0.5) * p.grad
            self.v[p] = 0.999 * self.v[p] + (1 - 0.999) * p.grad**2
            m, v = self.m[p] / (1 - 0.5**self.t), self.v[p] / (1 - 0.999**self.t)
            p -= self.rate * m / (v.sqrt() + 1e-8)


def train(start: Arrays, images: np.ndarray, noise: np.ndarray) -> Arrays:
    """Initial canonical arrays, images (K, B, 28, 28, 1), noise (K, B, Z) -> the state after K
    steps: parameters, statistics, moments; and `losses` (K, 2)."""
    networks = {"discriminator": Discriminator().double(), "generator": Generator().double()}
    fill(networks, start, TABLE)
    D, G = networks.values()
    d_optimizer, g_optimizer = Adam(D), Adam(G)
    bce = F.binary_cross_entropy_with_logits
    losses = []
    for x, z in zip(torch.from_numpy(images), torch.from_numpy(noise).double(), strict=True):
        real = x.permute(0, 3, 1, 2).double() / 127.5 - 1
        logits_real, logits_fake = D(real), D(G(z))
        ones, zeros = torch.ones_like(logits_real), torch.zeros_like(logits_real)
        d_loss = bce(logits_real, ones) + bce(logits_fake, zeros)
        D.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = bce(D(G(z)), ones)
        G.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        losses.append([d_loss.item(), g_loss.item()])

    optimizers = {"discriminator": d_optimizer, "generator": g_optimizer}
    return {"losses": np.array(losses)} | read(networks, optimizers, TABLE)


@torch.no_grad()
def fill(networks: dict[str, nn.Module], start: Arrays, table: Architecture) -> None:
    """Give networks the values of canonical arrays."""
    for network, module in networks.items():
        for name, tensor in canonical.parameter_tensors(module, network, table).items():
            array = canonical.from_canonical_layout(name, start[name], table)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def read(
    networks: dict[str, nn.Module], optimizers: dict[str, Adam], table: Architecture
) -> Arrays:
    """Networks and moments as canonical arrays."""
    found = {}
    for network, module in networks.items():
        optimizer = optimizers[network]
        for name, tensor in canonical.parameter_tensors(module, network, table).items():
            arrays = {name: tensor}
            if isinstance(tensor, nn.Parameter):
                arrays[f"optimizer/{name}/first_moment"] = optimizer.m[tensor]
                arrays[f"optimizer/{name}/second_moment"] = optimizer.v[tensor]
            for key, value in arrays.items():
                found[key] = canonical.to_canonical_layout(name, value.detach().numpy(), table)
    return found


def main(train: Callable[[Arrays, np.ndarray, np.ndarray], Arrays]) -> None:
    """Read INPUTS, train, write OUTPUTS."""
    torch.set_num_threads(1)
    given = dict(np.load(sys.argv[1]))
    np.savez(sys.argv[2], **train(given, given.pop("images"), given.pop("noise")))


if __name__ == "__main__":
    main(train)
