"""The two networks, layer by layer, as the tutorial shapes them.

A state_dict saved from the tutorial's own classes loads here with strict=True and gives the same
outputs: the children are `conv` and `fc`, and every layer with parameters keeps its index.
"""

from __future__ import annotations

from torch import Tensor, nn

# The published loop runs G twice per iteration on the same noise, so its running statistics move
# twice towards the same batch statistics with momentum 0.1: once with 1 - (1 - 0.1)**2 = 0.19.
# PyTorch's momentum is the weight of the new value: Keras's 0.81.
BATCH_NORM_MOMENTUM = 1 - (1 - 0.1) ** 2
LEAKY_SLOPE = 0.01


class Discriminator(nn.Module):
    """Image (N, 1, 28, 28) in [-1, 1] -> logit (N, 1), positive: real. 1,102,721 parameters."""

    def __init__(self) -> None:
        super().__init__()
        # Max pooling and LeakyReLU with a positive slope commute, gradients included (the maximum
        # is at the same place), so we pool first and leave LeakyReLU a quarter of the values.
        self.conv = nn.Sequential(
            nn.Conv2d(1, 32, 5, 1),  # (N, 32, 24, 24)
            nn.MaxPool2d(2, 2),  # (N, 32, 12, 12)
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(32, 64, 5, 1),  # (N, 64, 8, 8)
            nn.MaxPool2d(2, 2),  # (N, 64, 4, 4)
            nn.LeakyReLU(LEAKY_SLOPE),
        )
        self.fc = nn.Sequential(
            nn.Linear(1024, 1024),  # (N, 1024)
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Linear(1024, 1),  # (N, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # (N, 64, 4, 4)
        x = x.flatten(1)  # (N, 1024), in (C, H, W) order; TensorFlow's is (H, W, C)
        return self.fc(x)


class Generator(nn.Module):
    """Noise (N, noise_size) in [-1, 1) -> image (N, 1, 28, 28) in (-1, 1).

    6,675,009 parameters and 14,720 running statistics at noise_size 96.
    """

    def __init__(self, noise_size: int = 96) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(noise_size, 1024),  # (N, 1024)
            nn.ReLU(),
            nn.BatchNorm1d(1024, eps=1e-5, momentum=BATCH_NORM_MOMENTUM),
            nn.Linear(1024, 7 * 7 * 128),  # (N, 6272)
            nn.ReLU(),
            nn.BatchNorm1d(7 * 7 * 128, eps=1e-5, momentum=BATCH_NORM_MOMENTUM),
        )
        self.conv = nn.Sequential(
            nn.ConvTranspose2d(128, 64, 4, 2, padding=1),  # (N, 64, 14, 14)
            nn.ReLU(),
            nn.BatchNorm2d(64, eps=1e-5, momentum=BATCH_NORM_MOMENTUM),
            nn.ConvTranspose2d(64, 1, 4, 2, padding=1),  # (N, 1, 28, 28)
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        x = self.fc(z)  # (N, 6272)
        x = x.view(x.shape[0], 128, 7, 7)  # (N, 128, 7, 7), from (C, H, W) order
        return self.conv(x)
