"""The loop of PyTorch's DCGAN example, written plainly, on the paper's networks.

Served as timing.py serves a backend's steps. The images lie ready as float tensors, so that no data
loader is timed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common import architecture
from common.architecture import Architecture
from common.config import Config
from compare.speed.baselines.pytorch import on_tensors
from compare.speed.timing import Loop, serve


def networks(table: Architecture) -> tuple[nn.Module, nn.Module]:
    """The discriminator, which ends in a sigmoid, and the generator; initial weights as there."""
    discriminator: list[nn.Module] = []
    for layer in table.discriminator:
        if layer.operation == "conv":
            inputs, outputs = layer.parameters["kernel"][2:]
            last = outputs == 1
            discriminator += [
                nn.Conv2d(inputs, outputs, 4, 1 if last else 2, 0 if last else 1, bias=False)
            ]
            discriminator += [nn.Sigmoid() if last else nn.LeakyReLU(0.2, inplace=True)]
        elif layer.operation == "batch_norm":
            discriminator.insert(-1, nn.BatchNorm2d(layer.output_shape[-1]))
    generator: list[nn.Module] = []
    for layer in table.generator:
        if layer.operation == "deconv":
            outputs, inputs = layer.parameters["kernel"][2:]
            first, last = not generator, layer is table.generator[-1]
            stride, padding = (1, 0) if first else (2, 1)
            generator += [nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)]
            generator += [nn.Tanh() if last else nn.ReLU(True)]
        else:
            generator.insert(-1, nn.BatchNorm2d(layer.output_shape[-1]))
    made = nn.Sequential(*discriminator), nn.Sequential(*generator)
    for module in (module for network in made for module in network):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return made


def loop(config: Config) -> Loop:
    """Networks, optimizers and the loop over float images (B, C, S, S) in [-1, 1]."""
    there = torch.cuda.is_available() and config.device != "cpu"
    device = torch.device("cuda" if there else "cpu")
    D, G = (network.to(device) for network in networks(architecture.of(config)))
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    d_optimizer = torch.optim.Adam(D.parameters(), lr=rate, betas=betas)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=rate, betas=betas)
    bce = nn.BCELoss()

    def train(x: Tensor) -> None:
        D.zero_grad()
        real = x.to(device)
        label = torch.full((len(x),), 1.0, device=device)
        bce(D(real).view(-1), label).backward()
        fake = G(torch.randn(len(x), config.noise_size, 1, 1, device=device))
        label.fill_(0.0)
        bce(D(fake.detach()).view(-1), label).backward()
        d_optimizer.step()

        G.zero_grad()
        label.fill_(1.0)
        bce(D(fake).view(-1), label).backward()
        g_optimizer.step()

    return on_tensors(train, there)


if __name__ == "__main__":
    serve(loop)
