"""What training changes: two networks, their optimizers, the step."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from common import architecture, batches
from common.checkpoint import Arrays
from common.config import Config, recipe_of
from common.recipes import Hyper
from tensorflow_impl import device, kernels, layers
from tensorflow_impl.architectures import make_discriminator, make_generator
from tensorflow_impl.canonical import from_canonical, parameter_tensors


class TrainState:
    """Both networks with their optimizers, on one device. from_canonical gives them values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.table = architecture.of(config)
        self.device = device.choose_device(config)
        self.dtype = tf.float64 if config.precision == "float64" else tf.float32
        # bfloat16 arithmetic where the run asks for it; weights and losses stay float32.
        self.compute_dtype = tf.bfloat16 if config.precision == "bfloat16" else self.dtype
        self.step = 0  # updates done
        self.graph: Callable[..., tf.Tensor] | None = None  # compiled.py
        self.shared = False  # with other workers: workers.py sets it, and what their metrics become
        self.mean_over_workers: Callable[[tf.Tensor], tf.Tensor] = tf.identity
        with tf.device(self.device):
            self.discriminator = make_discriminator(self.table, self.dtype)
            self.generator = make_generator(self.table, self.dtype)
            self.average: tf.Module | None = None  # of G over the steps, if the recipe takes one
            if recipe_of(config).average:
                self.average = make_generator(self.table, self.dtype)
            jitter = batches.jitter(config.seed, self.table.image_shape)
            self.jitter = tf.constant(jitter, self.compute_dtype)  # for R1
            for network in filter(None, (self.discriminator, self.generator, self.average)):
                kernels.prefer_speed(network)
            self.d_optimizer = self._adam(self.discriminator, "discriminator")
            self.g_optimizer = self._adam(self.generator, "generator")

    def set_rates(self, hyper: Hyper) -> None:
        """The learning rates of one step."""
        for optimizer, rate in ((self.d_optimizer, hyper.d_rate), (self.g_optimizer, hyper.g_rate)):
            optimizer.learning_rate.assign(rate)

    def update_average(self, hyper: Hyper) -> None:
        """Move the averaged generator, running statistics too, towards the generator."""
        if self.average is not None:
            weight = tf.cast(hyper.average, self.dtype)
            new = parameter_tensors(self.generator, "generator", self.table)
            averaged = parameter_tensors(self.average, "generator", self.table)
            for name, variable in averaged.items():
                variable.assign_add(weight * (new[name] - variable))

    def _adam(self, module: tf.Module, network: str) -> layers.Adam:
        variables = parameter_tensors(module, network, self.table).values()
        return layers.Adam([v for v in variables if v.trainable], self.config)


def make_state(config: Config, arrays: Arrays) -> TrainState:
    """The state with the values of canonical arrays, in a process whose switches are set for it."""
    device.prepare(config)
    state = TrainState(config)
    from_canonical(state, arrays)
    return state
