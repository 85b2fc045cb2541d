"""Layers and the optimizer where Keras's own mean something else than PyTorch's, the reference.

They are registered with Keras, so a `.keras` file that holds them loads where this module was
imported. Scalars meet arrays as Python floats: an operator takes them over in the array's own
type, while keras.ops.cast(0.999, "float64") would go through float32.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_impl.correction import bias_corrected

Tensor = Any  # the engine's own


@keras.saving.register_keras_serializable("dcgan")
class LeakyReLU(keras.layers.LeakyReLU):
    """x where x > 0, else slope * x; the derivative at 0 is the slope, as in PyTorch.

    Keras's own holds the slope as a float32 on TensorFlow, and has derivative 1 at 0 on JAX.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return ops.where(inputs > 0, inputs, inputs * self.negative_slope)


@keras.saving.register_keras_serializable("dcgan")
class BatchNormalization(keras.layers.BatchNormalization):
    """Ioffe & Szegedy 2015, algorithm 1, whose running variance is unbiased: n / (n - 1).

    Keras's own keeps the biased variance; its defaults are momentum 0.99 and epsilon 1e-3.
    """

    # Where several workers share a batch, workers.py gives each layer others.
    mean_over_workers = staticmethod(lambda statistic: statistic)
    workers = 1

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        x = ops.cast(inputs, self.variable_dtype)  # statistics stay float32 in bfloat16 runs
        axes = tuple(range(len(x.shape) - 1))  # all but the channels
        mean = self.mean_over_workers(ops.mean(x, axes))  # (C,)
        centred = x - mean
        variance = self.mean_over_workers(ops.mean(ops.square(centred), axes))  # (C,)

        values = math.prod(ops.shape(x)[axis] for axis in axes) * self.workers  # per channel
        n = ops.cast(values, x.dtype)
        new = 1 - self.momentum  # Keras's momentum is the weight of the old value
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * new)
        unbiased = variance * (n / (n - 1))
        self.moving_variance.assign(self.moving_variance * self.momentum + unbiased * new)

        outputs = centred * (ops.rsqrt(variance + self.epsilon) * self.gamma) + self.beta
        return ops.cast(outputs, self.compute_dtype)


@keras.saving.register_keras_serializable("dcgan")
class Adam(keras.optimizers.Adam):
    """Kingma & Ba 2015, algorithm 1: epsilon is added to the corrected sqrt(v).

    Keras's own adds it to the uncorrected one, and its default epsilon is 1e-7. The two agree if
    Keras's epsilon follows the step t: epsilon * sqrt(1 - beta2**t).
    """

    def moments(self, variable: Any) -> tuple[keras.Variable, keras.Variable]:
        """The first and the second moment of a variable that the optimizer was built with."""
        index = self._get_variable_index(variable)
        return self._momentums[index], self._velocities[index]

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        t = ops.cast(self.iterations + 1, keras.backend.standardize_dtype(variable.dtype))
        m, v = self.moments(variable)
        step_size, epsilon = bias_corrected(
            learning_rate, self.beta_1, self.beta_2, self.epsilon, t
        )
        self.assign(m, m * self.beta_1 + gradient * (1 - self.beta_1))
        self.assign(v, v * self.beta_2 + ops.square(gradient) * (1 - self.beta_2))
        self.assign_sub(variable, m * step_size / (ops.sqrt(v) + epsilon))


# Files that were written when these were subclasses of ours still load: they are Keras's own.
for layer in (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.MaxPooling2D):
    keras.saving.get_custom_objects()[f"dcgan>{layer.__name__}"] = layer
