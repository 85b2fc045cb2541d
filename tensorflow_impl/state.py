"""What training changes: two networks, their optimizers, the step. To and from canonical arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from common import architecture, batches
from common.checkpoint import AVERAGE, Arrays, parameter_of
from common.config import Config, UserError
from common.recipes import RECIPES, Hyper
from tensorflow_impl import layers
from tensorflow_impl.networks import Discriminator, Generator
from tensorflow_impl.startup import find_gpus


class TrainState:
    """Both networks with their optimizers, on one device. from_canonical gives them values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = choose_device(config)
        self.dtype = tf.float64 if config.precision == "float64" else tf.float32
        # bfloat16 arithmetic where the run asks for it; weights and losses stay float32.
        self.compute_dtype = tf.bfloat16 if config.precision == "bfloat16" else self.dtype
        # A GPU's TF32 rounds a float32 product to 10 bits of mantissa, fewer than float32's name
        # promises. It is a process-wide switch of TensorFlow's, on by default.
        tf.config.experimental.enable_tensor_float_32_execution(config.precision == "bfloat16")
        self.step = 0  # updates done
        self.graph: Callable[..., tf.Tensor] | None = None  # step.py's compiled train_step
        with tf.device(self.device):
            self.discriminator = Discriminator(self.dtype)
            self.generator = Generator(config.noise_size, self.dtype)
            self.average: Generator | None = None  # of G over the steps, if the recipe takes one
            if RECIPES[config.recipe].average:
                self.average = Generator(config.noise_size, self.dtype)
            shape = architecture.get(config.architecture, config.noise_size).image_shape
            self.jitter = tf.constant(batches.jitter(config.seed, shape), self.compute_dtype)
            self.d_optimizer = self._adam(self.discriminator, "discriminator")
            self.g_optimizer = self._adam(self.generator, "generator")
        if self.device == CPU:
            for network in filter(None, (self.discriminator, self.generator, self.average)):
                layers.prefer_speed(network)

    def set_rates(self, hyper: Hyper) -> None:
        """The learning rates of one step."""
        for optimizer, rate in ((self.d_optimizer, hyper.d_rate), (self.g_optimizer, hyper.g_rate)):
            optimizer.learning_rate.assign(rate)

    def update_average(self, hyper: Hyper) -> None:
        """Move the averaged generator, running statistics too, towards the generator."""
        if self.average is not None:
            weight = tf.cast(hyper.average, self.dtype)
            new = parameter_tensors(self.generator, "generator")
            for name, variable in parameter_tensors(self.average, "generator").items():
                variable.assign_add(weight * (new[name] - variable))

    def _adam(self, module: tf.Module, network: str) -> layers.Adam:
        variables = parameter_tensors(module, network).values()
        return layers.Adam([v for v in variables if v.trainable], self.config)


CPU, GPU = "/CPU:0", "/GPU:0"


def choose_device(config: Config) -> str:
    """The device of a Config; `auto` takes the GPU if there is one. UserError if there is none."""
    there = {"cuda": bool(find_gpus()), "mps": False}
    name: str = config.device
    if name == "auto":
        name = next((name for name, present in there.items() if present), "cpu")
    if not there.get(name, True):
        reason = "does not exist for" if name == "mps" else "is not available to"
        raise UserError(
            f"--device {name} {reason} TensorFlow {tf.__version__} on this machine; "
            "use --device auto or cpu."
        )
    return GPU if name == "cuda" else CPU


def describe(device: str) -> str:
    """A device in words."""
    if device == CPU:
        return "CPU"
    return tf.config.experimental.get_device_details(find_gpus()[0]).get("device_name", "GPU")


# ------------------------------------------------------------------ canonical arrays


def to_canonical(state: TrainState) -> Arrays:
    """The whole state as canonical arrays (common/checkpoint.py); copies on the host."""
    arrays: Arrays = {}
    for name, tensor in canonical_tensors(state).items():
        array = to_canonical_layout(parameter_of(name), tensor.numpy())
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
        tensor.assign(from_canonical_layout(parameter_of(name), arrays[name]))
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
        named = parameter_tensors(module, network)
        tensors |= named
        trained = (name for name, tensor in named.items() if tensor.trainable)
        for name, m, v in zip(
            trained, optimizer.first_moments, optimizer.second_moments, strict=True
        ):
            tensors[f"optimizer/{name}/first_moment"] = m
            tensors[f"optimizer/{name}/second_moment"] = v
    if state.average is not None:
        for name, tensor in parameter_tensors(state.average, "generator").items():
            tensors[AVERAGE + name] = tensor
    return tensors


def parameter_tensors(module: tf.Module, network: str) -> dict[str, tf.Variable]:
    """Canonical name -> a network's parameter or running statistic."""
    return {
        name: getattr(getattr(module, name.split("/")[1]), name.split("/")[2])
        for name in parameter_names(network)
    }


def parameter_names(network: str) -> dict[str, str]:
    """Canonical name -> the name in a tf.train.Checkpoint of the network."""
    return {
        name: f"{name.removeprefix(network + '/')}/.ATTRIBUTES/VARIABLE_VALUE"
        for name in architecture.get("mnist28", 96).parameters()
        if name.startswith(network)
    }


def to_canonical_layout(name: str, array: np.ndarray) -> np.ndarray:
    """TensorFlow's array of a parameter -> the canonical one: the same."""
    return array


def from_canonical_layout(name: str, array: np.ndarray) -> np.ndarray:
    """The canonical array of a parameter -> TensorFlow's: the same."""
    return array
