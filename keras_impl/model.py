"""The same training as a keras.Model: compile() and fit(), with Keras's callbacks.

    state = TrainState(config)                          # or Discriminator(), Generator(), two Adams
    from_canonical(state, checkpoint.initial(config))
    model = DCGAN(state.discriminator, state.generator)
    model.compile(state.d_optimizer, state.g_optimizer)
    model.fit(Batches(dataset, config), shuffle=False)
    model.save("dcgan.keras")      # whole: keras.saving.load_model goes on where it was
    model.export("generator")      # the generator, for serving

One update is step.train_step, the function that `python -m keras_impl.train` runs, by recipe
published: the same at every step, but for what callbacks do to the learning rates.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from common import batches
from common.config import Config, total_steps
from common.outputs import METRICS
from common.recipes import Hyper
from keras_impl import kernels, load_engine
from keras_impl.layers import Adam
from keras_impl.state import TrainState
from keras_impl.step import train_step

engine = load_engine()

Tensor = Any  # the engine's own


class Batches(keras.utils.PyDataset):
    """The run's batches as fit() takes them: (images uint8 (B, H, W, C), noise (B, Z)).

    Each is a pure function of its step, so fit's epoch may be cut anywhere and workers may race.
    """

    def __init__(self, dataset: batches.Dataset, config: Config, first_step: int = 0) -> None:
        super().__init__()
        self.dataset, self.config, self.first_step = dataset, config, first_step

    def __len__(self) -> int:
        return total_steps(self.config) - self.first_step

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        config, step = self.config, self.first_step + index
        which = batches.indices(config.seed, step, config.batch_size, self.dataset.shape[0])
        noise = batches.noise(config.seed, step, config.batch_size, config.noise_size)
        return self.dataset.gather(which), noise


@keras.saving.register_keras_serializable("dcgan")
class BothOptimizers(keras.optimizers.Optimizer):
    """Two optimizers as the one that a trainer knows: on JAX it threads their variables only.

    A callback that sets the learning rate sets both.
    """

    def __init__(
        self, d_optimizer: keras.optimizers.Optimizer, g_optimizer: keras.optimizers.Optimizer
    ) -> None:
        super().__init__(learning_rate=0.0)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.built = True

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self.d_optimizer.variables, *self.g_optimizer.variables]

    def save_own_variables(self, store: Any) -> None:
        """Nothing: a file has each of the two."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing, likewise."""

    @property
    def iterations(self) -> keras.Variable:
        return self.d_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.d_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.d_optimizer.learning_rate = value
        self.g_optimizer.learning_rate = value


class FitState(TrainState):
    """A model's networks and optimizers as train_step takes them."""

    def __init__(self, model: DCGAN) -> None:
        self.discriminator, self.generator = model.discriminator, model.generator
        self.d_optimizer, self.g_optimizer = model.d_optimizer, model.g_optimizer
        self.dtype = model.variable_dtype
        self.average = None  # recipe published has none

    def set_rates(self, hyper: Hyper) -> None:
        """Nothing: the learning rates are the callbacks' affair."""


@keras.saving.register_keras_serializable("dcgan")
class DCGAN(keras.Model):
    """Both networks as one model: fit() trains them, and a call is the generator's.

    save() keeps the networks and both optimizers; keras.saving.load_model reads that where this
    module was imported.
    """

    def __init__(self, discriminator: keras.Model, generator: keras.Model) -> None:
        super().__init__(name="dcgan", dtype=generator.layers[0].dtype_policy)
        self.discriminator, self.generator = discriminator, generator
        self.means = [keras.metrics.Mean(name=name) for name in METRICS]
        self.built = True  # both networks are
        for network in (discriminator, generator):
            kernels.prefer_speed(network)

    def compile(
        self,
        d_optimizer: keras.optimizers.Optimizer,
        g_optimizer: keras.optimizers.Optimizer,
        **options: Any,
    ) -> None:
        """An optimizer for each network; options are keras.Model.compile's."""
        for optimizer, network in (
            (d_optimizer, self.discriminator),
            (g_optimizer, self.generator),
        ):
            optimizer.build(network.trainable_variables)
            if isinstance(optimizer, Adam):
                kernels.prefer_fused(optimizer)
        options.setdefault("jit_compile", engine.ALWAYS_JIT)
        super().compile(optimizer=BothOptimizers(d_optimizer, g_optimizer), **options)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "discriminator": serialize(self.discriminator),
            "generator": serialize(self.generator),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DCGAN:
        read = keras.saving.deserialize_keras_object
        return cls(read(config["discriminator"]), read(config["generator"]))

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        optimizers = {
            "d_optimizer": serialize(self.d_optimizer),
            "g_optimizer": serialize(self.g_optimizer),
        }
        return optimizers | {name: getattr(self, name) for name in ("run_eagerly", "jit_compile")}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        read = keras.saving.deserialize_keras_object
        given = {name: read(value) for name, value in config.items() if "optimizer" in name}
        self.compile(**config | given)

    def export(self, filepath: str, *arguments: Any, **options: Any) -> None:
        """Write the generator as keras.Model.export does: what a call of this model is."""
        self.generator.export(filepath, *arguments, **options)

    @property
    def d_optimizer(self) -> keras.optimizers.Optimizer:
        return self.optimizer.d_optimizer

    @property
    def g_optimizer(self) -> keras.optimizers.Optimizer:
        return self.optimizer.g_optimizer

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self.means

    def call(self, noise: Tensor, training: bool | None = None) -> Tensor:
        """Noise (N, Z) -> images (N, H, W, C) in (-1, 1)."""
        return self.generator(noise, training=training)

    def train_step(self, *arguments: Any) -> Any:
        """One update; the arguments are the engine's, (data,) or JAX's (state, data)."""
        return engine.fit_step(self, self._update, *arguments)

    def _update(self, data: Any) -> dict[str, Tensor]:
        """data: (images uint8 (B, H, W, C), noise (B, Z)) -> the epoch's mean metrics so far."""
        images, noise, _ = keras.utils.unpack_x_y_sample_weight(data)
        hyper = Hyper(self.d_optimizer.learning_rate, self.g_optimizer.learning_rate, 0.0, 0.0)
        metrics = train_step(FitState(self), images, noise, hyper)
        for mean, value in zip(self.means, keras.ops.unstack(metrics), strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.means}
