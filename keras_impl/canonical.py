"""The state as canonical arrays (common/checkpoint.py): names, layouts, to and from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from common.architecture import Architecture
from common.checkpoint import AVERAGE, Arrays, parameter_of

if TYPE_CHECKING:
    from keras_impl.state import TrainState

# Canonical parameter name -> the attribute of the Keras layer, which has the same canonical name.
VARIABLES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "offset": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}


def to_canonical(state: TrainState) -> Arrays:
    """The whole state as canonical arrays (common/checkpoint.py); copies on the host."""
    arrays: Arrays = {}
    for name, variable in canonical_tensors(state).items():
        array = keras.ops.convert_to_numpy(variable.value)
        arrays[name] = np.array(
            to_canonical_layout(parameter_of(name), array, state.table), order="C"
        )
    count = np.array(state.step, np.int64)
    for name in ("step", "optimizer/discriminator/count", "optimizer/generator/count"):
        arrays[name] = count.copy()
    return arrays


def from_canonical(state: TrainState, arrays: Arrays) -> None:
    """Copy canonical arrays into the state's existing variables."""
    with keras.device(state.device):
        for name, variable in canonical_tensors(state).items():
            array = from_canonical_layout(parameter_of(name), arrays[name], state.table)
            variable.assign(np.array(array, order="C"))  # a copy: JAX would share the memory
        state.d_optimizer.iterations.assign(int(arrays["optimizer/discriminator/count"]))
        state.g_optimizer.iterations.assign(int(arrays["optimizer/generator/count"]))
    state.step = int(arrays["step"])


def canonical_tensors(state: TrainState) -> dict[str, keras.Variable]:
    """Canonical name -> the state's variable."""
    tensors: dict[str, keras.Variable] = {}
    for network, model, optimizer in (
        ("discriminator", state.discriminator, state.d_optimizer),
        ("generator", state.generator, state.g_optimizer),
    ):
        for name, variable in parameter_tensors(model, network, state.table).items():
            tensors[name] = variable
            if variable.trainable:
                first, second = optimizer.moments(variable)
                tensors[f"optimizer/{name}/first_moment"] = first
                tensors[f"optimizer/{name}/second_moment"] = second
    if state.average is not None:
        for name, variable in parameter_tensors(state.average, "generator", state.table).items():
            tensors[AVERAGE + name] = variable
    return tensors


def parameter_tensors(
    module: keras.Model, network: str, table: Architecture
) -> dict[str, keras.Variable]:
    """Canonical name -> a network's parameter or running statistic."""
    tensors = {}
    for name, path in parameter_names(network, table).items():
        layer, variable = path.split("/")
        tensors[name] = getattr(module.get_layer(layer), variable)
    return tensors


def parameter_names(network: str, table: Architecture) -> dict[str, str]:
    """Canonical name -> Keras's layer and variable: generator/norm1/scale -> norm1/gamma."""
    return {
        name: f"{name.split('/')[1]}/{VARIABLES[name.split('/')[2]]}"
        for name in table.parameters()
        if name.startswith(network)
    }


def to_canonical_layout(name: str, array: Any, table: Architecture) -> Any:
    """Keras's array of a parameter -> the canonical one: the same, which is channels-last too."""
    return array


def from_canonical_layout(name: str, array: Any, table: Architecture) -> Any:
    """The canonical array of a parameter -> Keras's: the same."""
    return array
