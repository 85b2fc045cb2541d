"""What training changes: two networks, their optimizers, the step. To and from canonical arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from common import architecture, batches
from common.checkpoint import AVERAGE, Arrays, parameter_of
from common.config import Config
from common.recipes import RECIPES, Hyper
from keras_impl import load_engine
from keras_impl.layers import Adam
from keras_impl.networks import Discriminator, Generator

engine = load_engine()

# Canonical parameter name -> the attribute of the Keras layer, which has the same canonical name.
VARIABLES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "offset": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}
# Keras's policies: "mixed" computes in bfloat16, and keeps weights and statistics in float32.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float64": "float64"}


class TrainState:
    """Both networks with their optimizers, on one device. from_canonical gives them values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = choose_device(config)
        self.dtype = "float64" if config.precision == "float64" else "float32"
        self.step = 0  # updates done
        engine.prepare(config.precision)
        # The type of an optimizer's learning rate and of what Python floats turn into.
        keras.config.set_floatx(self.dtype)
        policy = POLICIES[config.precision]
        with keras.device(self.device):
            self.discriminator = Discriminator(policy)
            self.generator = Generator(config.noise_size, policy)
            self.average: keras.Model | None = None  # of G over the steps, if the recipe takes one
            if RECIPES[config.recipe].average:
                self.average = Generator(config.noise_size, policy)
            shape = architecture.get(config.architecture, config.noise_size).image_shape
            jitter = batches.jitter(config.seed, shape).astype(self.dtype)
            self.jitter = keras.ops.convert_to_tensor(jitter)  # for R1
            self.d_optimizer = self._adam(self.discriminator)
            self.g_optimizer = self._adam(self.generator)
        self.jit = engine.ALWAYS_JIT  # compile_step sets it
        # Made in the first chunk: images (K, B, H, W, C), noise (K, B, Z), each step's Hyper ->
        # metrics (K, 4).
        self.run_chunk: Callable[[np.ndarray, np.ndarray, list[Hyper]], np.ndarray] | None = None

    def _adam(self, network: keras.Model) -> Adam:
        config = self.config
        optimizer = Adam(config.learning_rate, config.beta1, config.beta2, epsilon=1e-8)
        optimizer.build(network.trainable_variables)  # made here, the moments can be loaded into
        return optimizer

    def set_rates(self, hyper: Hyper) -> None:
        """The learning rates of one step."""
        for optimizer, rate in ((self.d_optimizer, hyper.d_rate), (self.g_optimizer, hyper.g_rate)):
            optimizer.learning_rate.assign(rate)

    def update_average(self, hyper: Hyper) -> None:
        """Move the averaged generator, running statistics too, towards the generator."""
        if self.average is not None:
            new = parameter_tensors(self.generator, "generator")
            for name, variable in parameter_tensors(self.average, "generator").items():
                variable.assign(variable + hyper.average * (new[name] - variable))

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that a step may change, in a fixed order."""
        owners = (self.discriminator, self.generator, self.d_optimizer, self.g_optimizer)
        averaged = [] if self.average is None else self.average.variables
        return [variable for owner in owners for variable in owner.variables] + averaged


def choose_device(config: Config) -> str:
    """The device of a Config in Keras's words, `cpu:0` or `gpu:0`; `auto` takes the GPU if there is
    one. UserError if it is not there."""
    return engine.choose_device(config.device, config.precision)


def describe(device: str) -> str:
    """A device in words, and the engine."""
    return f"{engine.describe(device)}, keras on {keras.backend.backend()}"


# ------------------------------------------------------------------ canonical arrays


def to_canonical(state: TrainState) -> Arrays:
    """The whole state as canonical arrays (common/checkpoint.py); copies on the host."""
    arrays: Arrays = {}
    for name, variable in canonical_tensors(state).items():
        array = keras.ops.convert_to_numpy(variable.value)
        arrays[name] = np.array(to_canonical_layout(parameter_of(name), array), order="C")
    count = np.array(state.step, np.int64)
    for name in ("step", "optimizer/discriminator/count", "optimizer/generator/count"):
        arrays[name] = count.copy()
    return arrays


def from_canonical(state: TrainState, arrays: Arrays) -> None:
    """Copy canonical arrays into the state's existing variables."""
    with keras.device(state.device):
        for name, variable in canonical_tensors(state).items():
            array = from_canonical_layout(parameter_of(name), arrays[name])
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
        for name, variable in parameter_tensors(model, network).items():
            tensors[name] = variable
            if variable.trainable:
                first, second = optimizer.moments(variable)
                tensors[f"optimizer/{name}/first_moment"] = first
                tensors[f"optimizer/{name}/second_moment"] = second
    if state.average is not None:
        for name, variable in parameter_tensors(state.average, "generator").items():
            tensors[AVERAGE + name] = variable
    return tensors


def parameter_tensors(module: keras.Model, network: str) -> dict[str, keras.Variable]:
    """Canonical name -> a network's parameter or running statistic."""
    tensors = {}
    for name, path in parameter_names(network).items():
        layer, variable = path.split("/")
        tensors[name] = getattr(module.get_layer(layer), variable)
    return tensors


def parameter_names(network: str) -> dict[str, str]:
    """Canonical name -> Keras's layer and variable: generator/norm1/scale -> norm1/gamma."""
    return {
        name: f"{name.split('/')[1]}/{VARIABLES[name.split('/')[2]]}"
        for name in architecture.get("mnist28", 96).parameters()
        if name.startswith(network)
    }


def to_canonical_layout(name: str, array: Any) -> Any:
    """Keras's array of a parameter -> the canonical one: the same, which is channels-last too."""
    return array


def from_canonical_layout(name: str, array: Any) -> Any:
    """The canonical array of a parameter -> Keras's: the same."""
    return array
