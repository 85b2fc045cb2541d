"""Layers and the optimizer where TensorFlow's own mean something else than PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from common.config import Config

BATCH_NORM_EPSILON = 1e-5


class BatchNorm(tf.Module):
    """Batch norm over the last axis (Ioffe & Szegedy 2015), with PyTorch's meaning.

    Normalises with the batch's biased variance; the running variance takes the unbiased one.
    momentum is the weight of the new value. Statistics and result are computed in the variables'
    dtype: sums of bfloat16 values would lose their last ones.
    """

    def __init__(self, channels: int, momentum: float, dtype: tf.DType) -> None:
        super().__init__()
        self.momentum = momentum
        self.mean_over_workers: Callable[[tf.Tensor], tf.Tensor] = tf.identity  # workers.py
        self.workers = 1  # that share a batch
        self.scale = tf.Variable(tf.ones(channels, dtype), name="scale")
        self.offset = tf.Variable(tf.zeros(channels, dtype), name="offset")
        for name, value in (("moving_mean", 0), ("moving_variance", 1)):
            initial = tf.fill((channels,), tf.constant(value, dtype))
            setattr(self, name, tf.Variable(initial, trainable=False, name=name))

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        wide = tf.cast(x, self.scale.dtype)
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            mean, variance = self._batch_statistics(wide)
        epsilon = tf.constant(BATCH_NORM_EPSILON, wide.dtype)
        y = tf.nn.batch_normalization(wide, mean, variance, self.offset, self.scale, epsilon)
        return tf.cast(y, x.dtype)

    def _batch_statistics(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and biased variance over all axes but the last; moves the running ones."""
        axis = tuple(range(x.shape.rank - 1))
        mean = self.mean_over_workers(tf.reduce_mean(x, axis))
        squares = tf.math.squared_difference(x, mean)
        variance = self.mean_over_workers(tf.reduce_mean(squares, axis))
        count = tf.cast(tf.size(x) // tf.size(mean) * self.workers, x.dtype)
        unbiased = variance * (count / (count - 1))
        weight = tf.constant(self.momentum, x.dtype)
        self.moving_mean.assign_add(weight * (mean - self.moving_mean))
        self.moving_variance.assign_add(weight * (unbiased - self.moving_variance))
        return mean, variance


def leaky_relu(x: tf.Tensor, slope: float) -> tf.Tensor:
    """x, or slope * x where x <= 0; there, at 0 too, the gradient is the slope, as PyTorch's is."""
    if x.dtype != tf.float64:
        return tf.nn.leaky_relu(x, slope)
    # TensorFlow's kernel holds its slope as float32, which is 2e-10 off. Of equal arguments,
    # tf.maximum gives the gradient to the first.
    return tf.maximum(tf.constant(slope, x.dtype) * x, x)


class Adam(tf.Module):
    """Kingma & Ba 2015, algorithm 1: epsilon is added to the corrected sqrt(v)."""

    def __init__(self, parameters: Sequence[tf.Variable], config: Config) -> None:
        super().__init__()
        self.config = config
        self.parameters = list(parameters)
        self.first_moments = [tf.Variable(tf.zeros_like(p), trainable=False) for p in parameters]
        self.second_moments = [tf.Variable(tf.zeros_like(p), trainable=False) for p in parameters]
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)  # updates done
        self.learning_rate = tf.Variable(config.learning_rate, dtype=tf.float64, trainable=False)

    def step(self, gradients: Sequence[tf.Tensor]) -> None:
        """One update of the parameters, with gradients in their order.

        TensorFlow's kernel computes lr' m / (sqrt(v) + epsilon'). The end of section 2 of the paper
        has both corrections move into lr' = lr sqrt(1 - beta2^t) / (1 - beta1^t); epsilon, to stay
        outside of them, becomes epsilon' = epsilon sqrt(1 - beta2^t).
        """
        dtype = self.parameters[0].dtype
        self.count.assign_add(1)
        t = tf.cast(self.count, tf.float64)
        beta1, beta2 = (tf.constant(b, dtype) for b in (self.config.beta1, self.config.beta2))
        # In float64: 1 - 0.999^t of float32 numbers would have four digits at the first steps.
        correction1, correction2 = (1 - tf.cast(b, tf.float64) ** t for b in (beta1, beta2))
        rate = self.learning_rate * tf.sqrt(correction2) / correction1
        zero = tf.zeros((), dtype)  # beta^t of the kernel's own correction: none
        for parameter, m, v, gradient in zip(
            self.parameters, self.first_moments, self.second_moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=parameter.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=zero,
                beta2_power=zero,
                lr=tf.cast(rate, dtype),
                beta1=beta1,
                beta2=beta2,
                epsilon=tf.cast(1e-8 * tf.sqrt(correction2), dtype),
                grad=gradient,
            )
