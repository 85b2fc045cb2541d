"""The published PyTorch loop, written plainly: what a reader of the tutorial runs.

`python -m compare.baselines.pytorch JSON` serves timed steps as compare/probe.py does. The images
lie ready as float tensors, so that no data loader is timed.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.config import from_json
from compare.probe import chunk, serve


def networks() -> tuple[nn.Module, nn.Module]:
    """The tutorial's discriminator and generator."""
    discriminator = nn.Sequential(
        nn.Conv2d(1, 32, 5, 1), nn.LeakyReLU(0.01), nn.MaxPool2d(2, 2),
        nn.Conv2d(32, 64, 5, 1), nn.LeakyReLU(0.01), nn.MaxPool2d(2, 2),
        nn.Flatten(), nn.Linear(1024, 1024), nn.LeakyReLU(0.01), nn.Linear(1024, 1),
    )  # fmt: skip
    generator = nn.Sequential(
        nn.Linear(96, 1024), nn.ReLU(True), nn.BatchNorm1d(1024),
        nn.Linear(1024, 7 * 7 * 128), nn.ReLU(True), nn.BatchNorm1d(7 * 7 * 128),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, padding=1), nn.ReLU(True), nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, 1, 4, 2, padding=1), nn.Tanh(),
    )  # fmt: skip
    return discriminator, generator


def main() -> None:
    arguments = json.loads(sys.argv[1])
    config = from_json(arguments["config"])
    images, _ = chunk(config, 0, arguments["count"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = [torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1 for x in images]
    D, G = (network.to(device) for network in networks())
    d_optimizer = torch.optim.Adam(D.parameters(), lr=3e-4, betas=(0.5, 0.999))
    g_optimizer = torch.optim.Adam(G.parameters(), lr=3e-4, betas=(0.5, 0.999))
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

    def work() -> None:
        for x in data:
            train(x)
        if device.type == "cuda":
            torch.cuda.synchronize()

    train(data[0])
    serve(work, len(data))


if __name__ == "__main__":
    main()
