"""The networks of Radford et al. 2016, layer by layer, as PyTorch's DCGAN example has them.

Its state_dicts load here with strict=True and give the same outputs, but for the sigmoid at the end
of its discriminator: here the losses take logits. From 4x4 pixels there is one layer per doubling.
"""

from __future__ import annotations

from torch import Tensor, nn

# The weight of the new value. In the published loop, too, G runs once an iteration, and D three
# times.
BATCH_NORM_MOMENTUM = 0.1
LEAKY_SLOPE = 0.2


class Discriminator(nn.Module):
    """Image (N, C, S, S) in [-1, 1] -> logit (N, 1), positive: real.

    S is 32, 64 or 128; width: filters of the layer next to the image. 2,765,568 parameters unless
    told.
    """

    def __init__(self, image_size: int = 64, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, 2, padding=1, bias=False),  # (N, width, S/2, S/2)
            nn.LeakyReLU(LEAKY_SLOPE),
        ]
        size, filters = image_size // 2, width
        while size > 4:
            layers += [
                nn.Conv2d(filters, 2 * filters, 4, 2, padding=1, bias=False),
                nn.BatchNorm2d(2 * filters, eps=1e-5, momentum=BATCH_NORM_MOMENTUM),
                nn.LeakyReLU(LEAKY_SLOPE),
            ]
            size, filters = size // 2, 2 * filters  # (N, filters, size, size)
        layers += [nn.Conv2d(filters, 1, 4, 1, bias=False)]  # (N, 1, 1, 1), from (N, filters, 4, 4)
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x).flatten(1)  # (N, 1)


class Generator(nn.Module):
    """Noise (N, noise_size) in [-1, 1) -> image (N, C, S, S) in (-1, 1).

    S is 32, 64 or 128; width: filters of the layer next to the image. 3,576,704 parameters unless
    told.
    """

    def __init__(
        self, image_size: int = 64, channels: int = 3, width: int = 64, noise_size: int = 100
    ) -> None:
        super().__init__()
        size, filters = 4, width * image_size // 8
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(noise_size, filters, 4, 1, bias=False),  # (N, filters, 4, 4)
            nn.BatchNorm2d(filters, eps=1e-5, momentum=BATCH_NORM_MOMENTUM),
            nn.ReLU(),
        ]
        while filters > width:
            layers += [
                nn.ConvTranspose2d(filters, filters // 2, 4, 2, padding=1, bias=False),
                nn.BatchNorm2d(filters // 2, eps=1e-5, momentum=BATCH_NORM_MOMENTUM),
                nn.ReLU(),
            ]
            size, filters = 2 * size, filters // 2  # (N, filters, size, size)
        layers += [
            nn.ConvTranspose2d(width, channels, 4, 2, padding=1, bias=False),  # (N, C, S, S)
            nn.Tanh(),
        ]
        self.main = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z.view(z.shape[0], -1, 1, 1))  # an image of one pixel
