"""Normal random numbers that have the same bits on every platform.

The logarithms, sines and exponentials of two platforms differ in their last bits; additions,
multiplications, divisions and square roots do not (IEEE 754), and numpy does them one by one. So
a uniform number is taken through the inverse of the normal distribution function, written in these
alone: algorithm AS 241, PPND7 (Wichura 1988), whose relative error of 1e-7 is that of float32, with
a logarithm of our own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.batches import words

BLOCK = 2**16  # values at a time: what they need on the way stays in a processor's cache


def normal(seed: int, purpose: int, index: int, count: int) -> NDArray[np.float32]:
    """`count` float32 values of the standard normal distribution, of the stream (seed, purpose,
    index); at most 6.3 from 0."""
    raw = words(seed, purpose, index, (count + 1) // 2).astype("<u8").view("<u4")[:count]
    values = np.empty(count, np.float32)
    for first in range(0, count, BLOCK):
        part = slice(first, first + BLOCK)
        values[part] = _quantile((raw[part].astype(np.float64) + 0.5) * 2.0**-32)
    return values


def _quantile(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p of (0, 1) -> the z below which that share of the standard normal distribution lies."""
    q = p - 0.5
    r = 0.180625 - q * q
    central = q * _ratio(
        r,
        (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
        (1.0, 17.895169469, 78.757757664, 67.187563600),
    )
    tail = np.flatnonzero(r < 0)
    q = q[tail]
    r = np.sqrt(-_log(np.minimum(p[tail], 1 - p[tail])))
    near = _ratio(
        r - 1.6,
        (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
        (1.0, 0.73700164250, 0.12021132975),
    )
    far = _ratio(
        r - 5,
        (6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997),
        (1.0, 0.24197894225, 0.012258202635),
    )
    z = np.where(r <= 5, near, far)
    central[tail] = np.where(q < 0, -z, z)
    return central


def _ratio(
    x: NDArray[np.float64], above: tuple[float, ...], below: tuple[float, ...]
) -> NDArray[np.float64]:
    """One polynomial over another, coefficients from the constant upwards."""
    return _polynomial(x, above) / _polynomial(x, below)


def _polynomial(x: NDArray[np.float64], coefficients: tuple[float, ...]) -> NDArray[np.float64]:
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The natural logarithm of positive numbers, to about 1e-13.

    x = m 2^e with m from 1/2 to 1, and log m = 2 (s + s^3/3 + s^5/5 + ...) of
    s = (m - c) / (m + c), plus log c, with c = 1/sqrt(2) in the middle: |s| is below 0.172.
    """
    m, e = np.frexp(x)
    c, log2 = 0.7071067811865476, 0.6931471805599453
    s = (m - c) / (m + c)
    series = _polynomial(s * s, tuple(1 / n for n in range(1, 16, 2)))
    return (e - 0.5) * log2 + 2 * s * series
