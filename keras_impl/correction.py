"""Adam's bias correction, folded into the step size and epsilon."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

Tensor = Any  # the engine's own


def bias_corrected(
    learning_rate: Any, beta1: float, beta2: float, epsilon: float, t: Tensor
) -> tuple[Tensor, Tensor]:
    """(a, e) with which a * m / (sqrt(v) + e) is update t (1, 2, ...) of Kingma & Ba 2015,
    algorithm 1; in t's dtype."""
    correction1, correction2 = _correction(beta1, t), _correction(beta2, t)
    rate = ops.cast(learning_rate, t.dtype)
    return rate * ops.sqrt(correction2) / correction1, ops.sqrt(correction2) * epsilon


def _correction(beta: float, t: Tensor) -> Tensor:
    """1 - beta**t. As written it would lose four of float32's seven digits at beta 0.999, t = 1."""
    return -ops.expm1(t * (math.log(beta) if beta else -math.inf))
