"""Where PyTorch computes, and the switches of a process that a run depends on."""

from __future__ import annotations

import torch

from common.config import Config, UserError
from common.memory import keep_freed_memory

PACKAGES: tuple[str, ...] = ("torch", "torchvision")


def prepare(config: Config) -> None:
    """Set the process's switches, the same in every implementation: float32 means float32, not
    TF32's ten bits; denormals are zero, unless float64 asks for every bit."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # of convolutions; on by default
    # Values below 1e-38 cost a processor a hundred times the time and move no result.
    torch.set_flush_denormal(config.precision != "float64")
    if choose_device(config).type == "cpu":
        keep_freed_memory()


def choose_device(config: Config) -> torch.device:
    """The device of a Config; `auto` takes the GPU if there is one. UserError if it is absent."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and config.precision != "float64",
    }
    name: str = config.device
    if name == "auto":
        name = next((name for name, present in there.items() if present), "cpu")
    if not there.get(name, True):
        raise UserError(
            f"--device {name} is not available to PyTorch {torch.__version__} on this machine; "
            "use --device auto or cpu."
        )
    return torch.device(name)


def describe(device: torch.device) -> str:
    """A device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def threads() -> int:
    """How many threads one operation may use on the processor."""
    return torch.get_num_threads()
