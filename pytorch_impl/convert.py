"""PyTorch's own weight files <-> checkpoints: `python -m pytorch_impl.convert --help`.

.pth is a state_dict as the classes of the tutorial or of PyTorch's DCGAN example save it; .pt2 is
the generator as torch.export writes it: noise (N, Z) -> images (N, C, H, W) in evaluation mode, any
N.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion
from common.config import UserError


def to_framework(saved: checkpoint.Checkpoint, network: str) -> Any:
    """A network of a checkpoint as an nn.Module in evaluation mode, on the CPU."""
    import torch

    from pytorch_impl import canonical
    from pytorch_impl.architectures import make_discriminator, make_generator

    table = architecture.of(saved.config)
    module = make_generator(table) if network == "generator" else make_discriminator(table)
    if saved.config.precision == "float64":
        module = module.double()
    with torch.no_grad():
        for name, tensor in canonical.parameter_tensors(module, network, table).items():
            array = canonical.from_canonical_layout(name, saved.arrays[name], table)
            tensor.copy_(torch.from_numpy(np.array(array, order="C")))
    return module.eval()


def export_state_dict(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a state_dict that loads with strict=True into the classes of the tutorial, or for dcgan
    of PyTorch's DCGAN example."""
    import torch

    content = io.BytesIO()
    torch.save(to_framework(saved, network).state_dict(), content)
    checkpoint.write_atomically(path, content.getvalue())


def export_program(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write a network as a torch.export program; torch.export.load(path).module() runs it."""
    import torch

    module = to_framework(saved, network)
    dtype = torch.float64 if saved.config.precision == "float64" else torch.float32
    table = architecture.of(saved.config)
    height, width, channels = table.image_shape
    shape = (table.noise_size,) if network == "generator" else (channels, height, width)
    example = torch.zeros((2, *shape), dtype=dtype)
    dynamic = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(module, (example,), dynamic_shapes=(dynamic,))
    content = io.BytesIO()
    torch.export.save(program, content)
    checkpoint.write_atomically(path, content.getvalue())


def import_state_dict(network: str, path: Path) -> checkpoint.Arrays:
    """Read a state_dict of the tutorial's classes or of PyTorch's DCGAN example, or of one
    nn.Sequential with the same layers.

    Such a dict may lie under the network's name in a dict of several; prefixes of DataParallel and
    torch.compile are dropped. UserError if it is of another architecture.
    """
    from pytorch_impl import canonical

    values = _without_prefixes(_load(network, path))
    values = {k: v for k, v in values.items() if not k.endswith("num_batches_tracked")}
    kernels = [v.permute(2, 3, 1, 0).shape if v.dim() == 4 else v.shape for v in values.values()]
    table = conversion.table_of(network, [shape for shape in kernels if len(shape) > 1])
    ours = canonical.parameter_names(network, table)
    theirs = _names_in_sequential(values, list(ours.values()))
    names = {name: theirs.get(child, child) for name, child in ours.items()}
    wanted = conversion.shapes(network, table, canonical.from_canonical_layout)
    return {
        name: canonical.to_canonical_layout(name, _numpy(path, names[name], tensor), table)
        for name, tensor in conversion.collect(path, network, values, names, wanted).items()
    }


def _load(network: str, path: Path) -> dict[str, Any]:
    """The tensors of a file by name. UserError if it holds anything else."""
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sparse tensors, which are refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as a PyTorch state_dict ({type(error).__name__}); save it with "
            "torch.save(network.state_dict(), path)."
        ) from None
    if isinstance(values, dict) and isinstance(values.get(network), dict):
        values = values[network]
    if isinstance(values, dict) and {"state", "param_groups"} <= set(values):
        raise UserError(
            f"{path} holds an optimizer's state, which is not imported: training goes on with "
            "moments of zero; give the network's file, torch.save(network.state_dict(), path)."
        )
    if not isinstance(values, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in values.items()
    ):
        found = f" but {', '.join(map(str, values))}" if isinstance(values, dict) else ""
        raise UserError(
            f"{path} holds no state_dict{found}; save one with "
            "torch.save(network.state_dict(), path)."
        )
    return values


def _without_prefixes(values: dict[str, Any]) -> dict[str, Any]:
    """Without `module.` and `_orig_mod.`, which DataParallel and torch.compile put before all."""
    for prefix in ("module.", "_orig_mod.") * 2:
        if values and all(name.startswith(prefix) for name in values):
            values = {name.removeprefix(prefix): value for name, value in values.items()}
    return values


def _names_in_sequential(values: dict[str, Any], ours: list[str]) -> dict[str, str]:
    """Our names -> those of one nn.Sequential, 0.weight and so on, layer by layer; else nothing."""
    if not all(re.fullmatch(r"(\d+\.)+[a-z_]+", name) for name in values):
        return {}
    theirs = {name.rpartition(".")[0] for name in values}
    in_order = sorted(theirs, key=lambda name: [int(number) for number in name.split(".")])
    layers = dict.fromkeys(name.rpartition(".")[0] for name in ours)
    if len(in_order) != len(layers):
        return {}
    renamed = dict(zip(layers, in_order, strict=True))
    return {name: f"{renamed[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}" for name in ours}


def _numpy(path: Path, name: str, tensor: Any) -> np.ndarray:
    """A tensor as float32 or float64. UserError unless it is dense and floating point."""
    import torch

    if tensor.layout is not torch.strided or not tensor.is_floating_point() or tensor.is_meta:
        raise UserError(
            f"{path}: {name} holds {tensor.dtype} ({tensor.layout}), not dense floating point."
        )
    tensor = tensor.detach()
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()


# By the ending of a file's name.
EXPORTS: dict[str, conversion.Export] = {".pth": export_state_dict, ".pt2": export_program}
IMPORTS: dict[str, conversion.Import] = {".pth": import_state_dict, ".pt": import_state_dict}

if __name__ == "__main__":
    conversion.main("pytorch", EXPORTS, IMPORTS)
