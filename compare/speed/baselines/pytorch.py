"""The published PyTorch loop, written plainly: what a reader of the tutorial runs.

Served as timing.py serves a backend's steps. The images lie ready as float tensors, so that no data
loader is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.config import Config
from compare.speed.timing import Images, Loop, Noise, serve


def networks(noise_size: int) -> tuple[nn.Module, nn.Module]:
    """The tutorial's discriminator and generator."""
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 5, 1), nn.LeakyReLU(0.01), nn.MaxPool2d(2, 2),
        nn.Conv2d(32, 64, 5, 1), nn.LeakyReLU(0.01), nn.MaxPool2d(2, 2),
        nn.Flatten(), nn.Linear(1024, 1024), nn.LeakyReLU(0.01), nn.Linear(1024, 1),
    )  # fmt: skip
    generator = nn.Sequential(
        nn.Linear(noise_size, 1024), nn.ReLU(True), nn.BatchNorm1d(1024),
        nn.Linear(1024, 7 * 7 * 128), nn.ReLU(True), nn.BatchNorm1d(7 * 7 * 128),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, padding=1), nn.ReLU(True), nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, 1, 4, 2, padding=1), nn.Tanh(),
    )  # fmt: skip
    return discriminator, generator


def loop(config: Config) -> Loop:
    """Networks, optimizers and the loop over float images (B, 1, 28, 28) in [-1, 1]."""
    there = torch.cuda.is_available() and config.device != "cpu"
    device = torch.device("cuda" if there else "cpu")
    D, G = (network.to(device) for network in networks(config.noise_size))
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    d_optimizer = torch.optim.Adam(D.parameters(), lr=rate, betas=betas)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=rate, betas=betas)
    bce = F.binary_cross_entropy_with_logits

    def train(x: Tensor) -> None:
        real = x.to(device)
        logits_real = D(real)
        noise = ((torch.rand(len(x), config.noise_size) - 0.5) / 0.5).to(device)
        logits_fake = D(G(noise))
        ones, zeros = torch.ones_like(logits_real), torch.zeros_like(logits_fake)
        d_loss = bce(logits_real, ones) + bce(logits_fake, zeros)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()

        g_loss = bce(D(G(noise)), ones)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()

    return on_tensors(train, there)


def on_tensors(train: Callable[[Tensor], None], on_gpu: bool) -> Loop:
    """The loop of a function that trains on one batch of float images (B, C, H, W) in [-1, 1]."""

    def prepare(images: Images, noise: Noise) -> list[Tensor]:
        return [torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1 for x in images]

    def work(data: list[Tensor]) -> None:
        for x in data:
            train(x)
        if on_gpu:
            torch.cuda.synchronize()

    return prepare, work, ""


if __name__ == "__main__":
    serve(loop)
