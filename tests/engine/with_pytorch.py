"""PyTorch's part of the suite. Arrays are channels-last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common import architecture
from pytorch_impl import canonical, step
from pytorch_impl.losses import gradient_penalty
from pytorch_impl.networks import Discriminator, Generator

EXACT = 0.0  # how far an image may be scaled from its exact value

# What a run is started with, to be resumed.
FLAGS: list[tuple[str, ...]] = [(), ("--precision", "float64")]

# (recipe, compiled, K steps in one dispatch, bound) of what is the same function as the plain step.
WAYS = [
    pytest.param(("published", True, False, 1e-10), marks=pytest.mark.slow),
    pytest.param(("tuned", True, False, 1e-10), marks=pytest.mark.slow),
]

torch.set_num_threads(1)


def tensor(array: np.ndarray) -> Tensor:
    return torch.tensor(array)


def array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def networks(noise_size: int = 96, dtype: str = "float32") -> dict[str, nn.Module]:
    made = {"discriminator": Discriminator(), "generator": Generator(noise_size)}
    return {name: network.to(getattr(torch, dtype)) for name, network in made.items()}


def apply(network: nn.Module, x: np.ndarray, training: bool) -> np.ndarray:
    before, inputs = network.training, torch.from_numpy(x)
    y = network.train(training)(inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs)
    network.train(before)
    return (y.permute(0, 2, 3, 1) if y.ndim == 4 else y).detach().numpy()


def scaled(images: np.ndarray) -> np.ndarray:
    return step.scale_images(torch.from_numpy(images), torch.float64).permute(0, 2, 3, 1).numpy()


def arrays(network: nn.Module, name: str) -> dict[str, np.ndarray]:
    table = architecture.get("mnist28", 96)
    return {
        key: canonical.to_canonical_layout(key, tensor.detach().numpy(), table)
        for key, tensor in canonical.parameter_tensors(network, name, table).items()
    }


def trained(network: nn.Module, name: str) -> set[str]:
    """The canonical names of what an optimizer updates."""
    tensors = canonical.parameter_tensors(network, name, architecture.get("mnist28", 96))
    return {key for key, tensor in tensors.items() if isinstance(tensor, nn.Parameter)}


def sizes(network: nn.Module) -> tuple[int, int]:
    """The numbers of trained parameters and of running statistics."""
    statistics = [b for name, b in network.named_buffers() if "running" in name]
    return sum(p.numel() for p in network.parameters()), sum(b.numel() for b in statistics)


def dtypes(state: Any) -> set[str]:
    tensors = canonical.canonical_tensors(state).values()
    return {str(tensor.dtype).removeprefix("torch.") for tensor in tensors}


def gradient(function: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """function(x), a scalar, and its gradient."""
    leaf = torch.tensor(x, requires_grad=True)
    value = function(leaf)
    return value.detach().numpy(), torch.autograd.grad(value, leaf)[0].numpy()


def penalty(w: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """gradient_penalty of D(x) = sum(w x^2), and its gradient by w."""
    real = torch.from_numpy(x).permute(0, 3, 1, 2)

    def of(w: Tensor) -> Tensor:
        w = w.permute(2, 0, 1)
        return gradient_penalty(lambda x: (w * x.square()).sum((1, 2, 3))[:, None], real)

    return gradient(of, w)
