"""The state as canonical arrays (common/checkpoint.py): names, layouts, to and from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from common.architecture import Architecture
from common.checkpoint import AVERAGE, Arrays, parameter_of

if TYPE_CHECKING:
    from pytorch_impl.state import TrainState

# Of mnist28: canonical layer name -> the child of the network that holds it.
LAYERS = {
    "discriminator/conv1": "conv.0",
    "discriminator/conv2": "conv.3",
    "discriminator/dense1": "fc.0",
    "discriminator/dense2": "fc.2",
    "generator/dense1": "fc.0",
    "generator/norm1": "fc.2",
    "generator/dense2": "fc.3",
    "generator/norm2": "fc.5",
    "generator/deconv1": "conv.0",
    "generator/norm3": "conv.2",
    "generator/deconv2": "conv.3",
}
# Canonical parameter name -> PyTorch's.
TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "offset": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def to_canonical(state: TrainState) -> Arrays:
    """The whole state as canonical arrays (common/checkpoint.py); copies on the host."""
    arrays: Arrays = {}
    for name, tensor in canonical_tensors(state).items():
        array = tensor.detach().cpu().numpy()
        array = to_canonical_layout(parameter_of(name), array, state.table)
        arrays[name] = np.array(array, order="C")
    count = np.array(state.step, np.int64)
    for name in ("step", "optimizer/discriminator/count", "optimizer/generator/count"):
        arrays[name] = count.copy()
    return arrays


@torch.no_grad()
def from_canonical(state: TrainState, arrays: Arrays) -> None:
    """Copy canonical arrays into the state's existing tensors."""
    for name, tensor in canonical_tensors(state).items():
        array = from_canonical_layout(parameter_of(name), arrays[name], state.table)
        tensor.copy_(torch.from_numpy(np.array(array, order="C")))
    for network, optimizer in (
        ("discriminator", state.d_optimizer),
        ("generator", state.g_optimizer),
    ):
        for values in optimizer.state.values():
            values["step"].fill_(float(arrays[f"optimizer/{network}/count"]))
    state.step = int(arrays["step"])


def canonical_tensors(state: TrainState) -> dict[str, Tensor]:
    """Canonical name -> the state's tensor, in PyTorch's layout."""
    tensors: dict[str, Tensor] = {}
    for network, module, optimizer in (
        ("discriminator", state.discriminator, state.d_optimizer),
        ("generator", state.generator, state.g_optimizer),
    ):
        for name, tensor in parameter_tensors(module, network, state.table).items():
            tensors[name] = tensor
            if isinstance(tensor, nn.Parameter):
                tensors[f"optimizer/{name}/first_moment"] = optimizer.state[tensor]["exp_avg"]
                tensors[f"optimizer/{name}/second_moment"] = optimizer.state[tensor]["exp_avg_sq"]
    if state.average is not None:
        for name, tensor in parameter_tensors(state.average, "generator", state.table).items():
            tensors[AVERAGE + name] = tensor
    return tensors


def parameter_tensors(module: nn.Module, network: str, table: Architecture) -> dict[str, Tensor]:
    """Canonical name -> a network's parameter or running statistic."""
    return {
        name: getattr(module.get_submodule(child.rpartition(".")[0]), child.rpartition(".")[2])
        for name, child in parameter_names(network, table).items()
    }


def parameter_names(network: str, table: Architecture) -> dict[str, str]:
    """Canonical name -> the name in a state_dict: generator/norm1/scale -> fc.2.weight."""
    names = {}
    for name in table.parameters():
        layer, _, kind = name.rpartition("/")
        if name.startswith(network):
            names[name] = f"{_child(layer, table)}.{TENSORS[kind]}"
    return names


def _child(layer: str, table: Architecture) -> str:
    """The child of a network that holds a layer: generator/norm1 -> fc.2."""
    if table.name == "dcgan":  # main: a convolution, its batch norm, its activation, and again
        network, name = layer.split("/")
        number, norm = int(name[-1]), name.startswith("norm")
        first = 3 * number - 3 - (network == "discriminator" and number > 1)  # conv1 has no norm
        return f"main.{first + norm}"
    return LAYERS[layer]


def to_canonical_layout(name: str, array: np.ndarray, table: Architecture) -> np.ndarray:
    """PyTorch's array of a parameter -> the canonical one, e.g. (out, in, kh, kw) -> HWIO."""
    return _layout(name, array, table, inverse=False)


def from_canonical_layout(name: str, array: np.ndarray, table: Architecture) -> np.ndarray:
    """The canonical array of a parameter -> PyTorch's."""
    return _layout(name, array, table, inverse=True)


def _layout(name: str, array: np.ndarray, table: Architecture, inverse: bool) -> np.ndarray:
    """Reorder axes. PyTorch flattens an image channels-first, the canonical form channels-last."""
    layer = "/".join(name.split("/")[:2])
    rows, columns = table.flattened_rows().get(layer), table.flattened_columns().get(layer)
    if array.ndim == 4:  # (out, in, kh, kw); of a transposed convolution (in, out, kh, kw)
        return array.transpose((3, 2, 0, 1) if inverse else (2, 3, 1, 0))
    if array.ndim == 2 and not inverse:
        array = array.T  # (in, out)
    if rows is not None and array.ndim == 2:
        array = _reorder(array, rows, inverse)
    if columns is not None:
        array = _reorder(array.T, columns, inverse).T
    return array.T if array.ndim == 2 and inverse else array


def _reorder(array: np.ndarray, image: tuple[int, ...], inverse: bool) -> np.ndarray:
    """Reorder a first axis that runs over an image (H, W, C): from (C, H, W) order, or back."""
    h, w, c = image
    if inverse:
        split = array.reshape(h, w, c, *array.shape[1:])
        return np.moveaxis(split, 2, 0).reshape(array.shape)
    split = array.reshape(c, h, w, *array.shape[1:])
    return np.moveaxis(split, 0, 2).reshape(array.shape)
