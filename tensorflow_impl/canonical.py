"""The state as canonical arrays (common/checkpoint.py): names, layouts, to and from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from common.architecture import Architecture
from common.checkpoint import AVERAGE, Arrays, parameter_of

if TYPE_CHECKING:
    from tensorflow_impl.state import TrainState


def to_canonical(state: TrainState) -> Arrays:
    """The whole state as canonical arrays (common/checkpoint.py); copies on the host."""
    arrays: Arrays = {}
    for name, tensor in canonical_tensors(state).items():
        array = to_canonical_layout(parameter_of(name), tensor.numpy(), state.table)
        arrays[name] = np.array(array, order="C")
    arrays["step"] = np.array(state.step, np.int64)
    for network, optimizer in (
        ("discriminator", state.d_optimizer),
        ("generator", state.g_optimizer),
    ):
        arrays[f"optimizer/{network}/count"] = np.array(optimizer.count.numpy(), np.int64)
    return arrays


def from_canonical(state: TrainState, arrays: Arrays) -> None:
    """Copy canonical arrays into the state's existing tensors."""
    for name, tensor in canonical_tensors(state).items():
        tensor.assign(from_canonical_layout(parameter_of(name), arrays[name], state.table))
    for network, optimizer in (
        ("discriminator", state.d_optimizer),
        ("generator", state.g_optimizer),
    ):
        optimizer.count.assign(arrays[f"optimizer/{network}/count"])
    state.step = int(arrays["step"])


def canonical_tensors(state: TrainState) -> dict[str, tf.Variable]:
    """Canonical name -> the state's variable."""
    tensors: dict[str, tf.Variable] = {}
    for network, module, optimizer in (
        ("discriminator", state.discriminator, state.d_optimizer),
        ("generator", state.generator, state.g_optimizer),
    ):
        named = parameter_tensors(module, network, state.table)
        tensors |= named
        trained = (name for name, tensor in named.items() if tensor.trainable)
        for name, m, v in zip(
            trained, optimizer.first_moments, optimizer.second_moments, strict=True
        ):
            tensors[f"optimizer/{name}/first_moment"] = m
            tensors[f"optimizer/{name}/second_moment"] = v
    if state.average is not None:
        for name, tensor in parameter_tensors(state.average, "generator", state.table).items():
            tensors[AVERAGE + name] = tensor
    return tensors


def parameter_tensors(
    module: tf.Module, network: str, table: Architecture
) -> dict[str, tf.Variable]:
    """Canonical name -> a network's parameter or running statistic."""
    return {
        name: getattr(getattr(module, name.split("/")[1]), name.split("/")[2])
        for name in parameter_names(network, table)
    }


def parameter_names(network: str, table: Architecture) -> dict[str, str]:
    """Canonical name -> the name in a tf.train.Checkpoint of the network."""
    return {
        name: f"{name.removeprefix(network + '/')}/.ATTRIBUTES/VARIABLE_VALUE"
        for name in table.parameters()
        if name.startswith(network)
    }


def to_canonical_layout(name: str, array: np.ndarray, table: Architecture) -> np.ndarray:
    """TensorFlow's array of a parameter -> the canonical one: the same."""
    return array


def from_canonical_layout(name: str, array: np.ndarray, table: Architecture) -> np.ndarray:
    """The canonical array of a parameter -> TensorFlow's: the same."""
    return array
