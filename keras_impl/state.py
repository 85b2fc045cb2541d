"""What training changes: two networks, their optimizers, the step."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from common import architecture, batches
from common.checkpoint import Arrays
from common.config import Config, recipe_of
from common.recipes import Hyper
from keras_impl import device, kernels
from keras_impl.architectures import make_discriminator, make_generator
from keras_impl.canonical import from_canonical, parameter_tensors
from keras_impl.layers import Adam

# Keras's policies: "mixed" computes in bfloat16, and keeps weights and statistics in float32.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float64": "float64"}


class TrainState:
    """Both networks with their optimizers, on one device. from_canonical gives them values."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.table = architecture.of(config)
        self.device = device.choose_device(config)
        self.dtype = "float64" if config.precision == "float64" else "float32"
        self.step = 0  # updates done
        policy = POLICIES[config.precision]
        with keras.device(self.device):
            self.discriminator = make_discriminator(self.table, policy)
            self.generator = make_generator(self.table, policy)
            self.average: keras.Model | None = None  # of G over the steps, if the recipe takes one
            if recipe_of(config).average:
                self.average = make_generator(self.table, policy)
            jitter = batches.jitter(config.seed, self.table.image_shape).astype(self.dtype)
            self.jitter = keras.ops.convert_to_tensor(jitter)  # for R1
            for network in filter(None, (self.discriminator, self.generator, self.average)):
                kernels.prefer_speed(network)
            self.d_optimizer = self._adam(self.discriminator)
            self.g_optimizer = self._adam(self.generator)
        self.shared = False  # with other workers: workers.share sets it
        self.jit = False  # compiled.compile_step sets it
        # Made in the first chunk: images (K, B, H, W, C), noise (K, B, Z), each step's Hyper ->
        # metrics (K, 4).
        self.run_chunk: Callable[[np.ndarray, np.ndarray, list[Hyper]], np.ndarray] | None = None

    def _adam(self, network: keras.Model) -> Adam:
        config = self.config
        optimizer = Adam(config.learning_rate, config.beta1, config.beta2, epsilon=1e-8)
        optimizer.build(network.trainable_variables)  # made here, the moments can be loaded into
        kernels.prefer_fused(optimizer)
        return optimizer

    def set_rates(self, hyper: Hyper) -> None:
        """The learning rates of one step."""
        for optimizer, rate in ((self.d_optimizer, hyper.d_rate), (self.g_optimizer, hyper.g_rate)):
            optimizer.learning_rate.assign(rate)

    def update_average(self, hyper: Hyper) -> None:
        """Move the averaged generator, running statistics too, towards the generator."""
        if self.average is not None:
            new = parameter_tensors(self.generator, "generator", self.table)
            averaged = parameter_tensors(self.average, "generator", self.table)
            for name, variable in averaged.items():
                variable.assign(variable + hyper.average * (new[name] - variable))

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that a step may change, in a fixed order."""
        owners = (self.discriminator, self.generator, self.d_optimizer, self.g_optimizer)
        averaged = [] if self.average is None else self.average.variables
        return [variable for owner in owners for variable in owner.variables] + averaged


def make_state(config: Config, arrays: Arrays) -> TrainState:
    """The state with the values of canonical arrays, in a process whose switches are set for it."""
    device.prepare(config)
    state = TrainState(config)
    from_canonical(state, arrays)
    return state
