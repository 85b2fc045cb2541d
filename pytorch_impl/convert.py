"""PyTorch's own weight files <-> checkpoints: `python -m pytorch_impl.convert --help`.

.pth is a state_dict as the classes of the tutorial or of PyTorch's DCGAN example save it, and what
training scripts and Lightning (.ckpt) save around it; .safetensors is one without pickles. .pt2 is
the generator as torch.export writes it: noise (N, Z) -> images (N, C, H, W) in evaluation mode, any
N.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from common import architecture, checkpoint, conversion, matching
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


def export_safetensors(saved: checkpoint.Checkpoint, network: str, path: Path) -> None:
    """Write the same as safetensors, which model hubs show and no reader can run code from."""
    from safetensors.torch import save

    values = to_framework(saved, network).state_dict()
    facts = {"format": "pt", "network": network, "architecture": saved.config.architecture}
    checkpoint.write_atomically(path, save(values, facts))


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


def import_state_dict(network: str, path: Path, key: str | None = None) -> conversion.Imported:
    """Read a network's state_dict: of the tutorial's classes, of PyTorch's DCGAN example, or of any
    module with such layers, told by their shapes.

    It may lie under a name like the network's in a dict of several (key: under which), or under its
    prefix in the dict of a module with both; prefixes of DataParallel and torch.compile are
    dropped. UserError if it is of another architecture.
    """
    from pytorch_impl import canonical

    found = _load(path)
    values = _without_prefixes(_network_in(network, path, found, key))
    values = {k: v for k, v in values.items() if not k.endswith("num_batches_tracked")}
    kernels = [v.permute(2, 3, 1, 0).shape if v.dim() == 4 else v.shape for v in values.values()]
    table = matching.table_of(network, [shape for shape in kernels if len(shape) > 1])
    names = canonical.parameter_names(network, table)
    wanted = matching.shapes(network, table, canonical.from_canonical_layout)
    if set(names.values()) != set(values):
        names = matching.layers_by_shape(path, values, names, wanted)
    collected = matching.collect(path, network, values, names, wanted)
    return conversion.Imported(
        {
            name: canonical.to_canonical_layout(name, _numpy(path, names[name], tensor), table)
            for name, tensor in collected.items()
        },
        both=any(matching.names_network(name, "discriminator") for name in _parts(found)),
    )


def _load(path: Path) -> dict[str, Any]:
    """What a file holds, a dict. UserError for anything else; nothing but tensors, numbers, texts
    and containers is unpickled."""
    import pickle
    import warnings

    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise ValueError(str(error)) from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sparse tensors, which are refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} {_reason(path, error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no state_dict; {SAVE}.")
    return values


SAVE = "save one with torch.save(network.state_dict(), path)"


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be read, and what to do."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself; fetch that with `git lfs pull`."
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return (
                    "is a TorchScript program, which is not run here; save its weights where you "
                    "trust it: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')."
                )
    if "multiarray.scalar" in str(error):
        return (
            "holds numbers of numpy's beside the weights, which could be any object; make them "
            f"Python's with float(x) before saving, or {SAVE}."
        )
    if "Unsupported global" in str(error) or "Unsupported class" in str(error):
        return (
            "holds a pickled object, whose reading runs code from the file; where you trust it: "
            "network = torch.load(path, weights_only=False); "
            "torch.save(network.state_dict(), 'weights.pth')."
        )
    return f"cannot be read as a PyTorch state_dict ({type(error).__name__}); {SAVE}."


def _parts(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The dicts of tensors in a file, by their names: those in a dict of several, or of one dict
    the parts with a prefix each, `generator.fc.0.weight`."""
    import torch

    parts = {
        str(name): value
        for name, value in values.items()
        if isinstance(value, dict)
        and value
        and all(isinstance(tensor, torch.Tensor) for tensor in value.values())
    }
    if not parts:
        for name, value in values.items():
            first, dot, rest = str(name).partition(".")
            if dot and isinstance(value, torch.Tensor):
                parts.setdefault(first, {})[rest] = value
        return parts
    if len(parts) == 1:  # one module's, as Lightning saves it, may have both
        inside = _parts(next(iter(parts.values())))
        if any(matching.names_network(n, w) for n in inside for w in matching.WORDS):
            return inside
    return parts


def _network_in(
    network: str, path: Path, values: dict[str, Any], key: str | None
) -> dict[str, Any]:
    """The tensors of a network by name. UserError if the file holds none, or several."""
    import torch

    if {"state", "param_groups"} <= set(values):
        raise UserError(
            f"{path} holds an optimizer's state, which is not imported: training goes on with "
            "moments of zero; give the network's file, torch.save(network.state_dict(), path)."
        )
    parts = _parts(values)
    name = matching.the_one(path, network, parts, key)
    if name is not None:
        return parts[name]
    if all(isinstance(name, str) and isinstance(v, torch.Tensor) for name, v in values.items()):
        return values
    # Of one network, with epochs and optimizers beside it, under a name that says nothing.
    of_weights = [name for name in parts if "optim" not in name.lower()]
    if len(of_weights) == 1:
        return parts[of_weights[0]]
    if of_weights:
        raise UserError(
            f"{path} holds {', '.join(of_weights)}; name the {network} of these with --key."
        )
    raise UserError(f"{path} holds no state_dict but {', '.join(map(str, values))}; {SAVE}.")


def _without_prefixes(values: dict[str, Any]) -> dict[str, Any]:
    """Without `module.` and `_orig_mod.`, which DataParallel and torch.compile put before all."""
    for prefix in ("module.", "_orig_mod.") * 2:
        if values and all(name.startswith(prefix) for name in values):
            values = {name.removeprefix(prefix): value for name, value in values.items()}
    return values


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
EXPORTS: dict[str, conversion.Export] = {
    ".pth": export_state_dict,
    ".safetensors": export_safetensors,
    ".pt2": export_program,
}
IMPORTS: dict[str, conversion.Import] = dict.fromkeys(
    (".pth", ".pt", ".ckpt", ".bin", ".safetensors"), import_state_dict
)

if __name__ == "__main__":
    conversion.main("pytorch", EXPORTS, IMPORTS)
