"""PyTorch's own weight files <-> checkpoints: `python -m pytorch_impl.convert --help`.

.pth is a state_dict as the tutorial's classes save it; .pt2 is the generator as torch.export writes
it: noise (N, Z) -> images (N, 1, 28, 28) in evaluation mode, any N.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion
from common.config import UserError


def to_framework(saved: checkpoint.Checkpoint, network: str) -> Any:
    """A network of a checkpoint as an nn.Module in evaluation mode, on the CPU."""
    import torch

    from pytorch_impl import state as states
    from pytorch_impl.networks import Discriminator, Generator

    generator = network == "generator"
    module = Generator(saved.config.noise_size) if generator else Discriminator()
    if saved.config.precision == "float64":
        module = module.double()
    with torch.no_grad():
        for name, tensor in states.parameter_tensors(module, network).items():
            array = states.from_canonical_layout(name, saved.arrays[name])
            tensor.copy_(torch.from_numpy(np.array(array, order="C")))
    return module.eval()


def export_state_dict(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a state_dict that loads into the tutorial's own classes with strict=True."""
    import torch

    content = io.BytesIO()
    torch.save(to_framework(saved, network).state_dict(), content)
    checkpoint.write_atomically(path, content.getvalue())


def export_program(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a network as a torch.export program; torch.export.load(path).module() runs it."""
    import torch

    module = to_framework(saved, network)
    dtype = torch.float64 if saved.config.precision == "float64" else torch.float32
    shape = (2, saved.config.noise_size) if network == "generator" else (2, 1, 28, 28)
    example = torch.zeros(shape, dtype=dtype)
    dynamic = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(module, (example,), dynamic_shapes=(dynamic,))
    content = io.BytesIO()
    torch.export.save(program, content)
    checkpoint.write_atomically(path, content.getvalue())


def import_state_dict(network: str, path: Path) -> checkpoint.Arrays:
    """Read a state_dict of the tutorial's classes. UserError if it is of another architecture."""
    import pickle

    import torch

    from pytorch_impl import state as states

    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as a PyTorch state_dict ({type(error).__name__}); save it with "
            "torch.save(network.state_dict(), path)."
        ) from None
    if not isinstance(values, dict) or not all(
        isinstance(v, torch.Tensor) for v in values.values()
    ):
        raise UserError(f"{path} holds no state_dict; save it with network.state_dict().")
    values = {k: v for k, v in values.items() if not k.endswith("num_batches_tracked")}
    names = states.parameter_names(network)
    for name in sorted(set(names.values()) ^ set(values)):
        what = "lacks" if name in names.values() else "has an unknown"
        raise UserError(f"{path} {what} tensor {name!r}; it is no {network} of this architecture.")
    noise_size = values["fc.0.weight"].shape[-1] if network == "generator" else 96
    shapes = architecture.get("mnist28", noise_size).parameters()
    arrays = {}
    for canonical, name in names.items():
        array = values[name].numpy()
        shape = states.from_canonical_layout(canonical, np.zeros(shapes[canonical])).shape
        if array.shape != shape:
            raise UserError(
                f"{path} is of another architecture: {name} has shape {array.shape}, not {shape}."
            )
        arrays[canonical] = states.to_canonical_layout(canonical, array)
    return arrays


if __name__ == "__main__":
    conversion.main(
        "pytorch",
        {".pth": export_state_dict, ".pt2": export_program},
        {".pth": import_state_dict, ".pt": import_state_dict},
    )
