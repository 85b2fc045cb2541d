"""The losses against their formulas, and where a naive formula overflows."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def losses(package: str) -> ModuleType:
    return importlib.import_module(f"{package}.losses")


def test_formulas(losses: ModuleType, bridge: ModuleType) -> None:
    real, fake = np.random.default_rng(0).standard_normal((2, 8, 1))
    found = losses.discriminator_loss(bridge.tensor(real), bridge.tensor(fake))
    wanted = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
    np.testing.assert_allclose(bridge.array(found), wanted, rtol=1e-14)
    found = losses.generator_loss(bridge.tensor(fake))
    np.testing.assert_allclose(bridge.array(found), np.log1p(np.exp(-fake)).mean(), rtol=1e-14)


@pytest.mark.parametrize("far", [1e3, 1e4])
def test_extreme_logits_stay_finite(far: float, losses: ModuleType, bridge: ModuleType) -> None:
    real, fake = (bridge.tensor(np.full((2, 1), value)) for value in (-far, far))
    assert bridge.array(losses.discriminator_loss(real, fake)) == pytest.approx(2 * far)


@pytest.mark.parametrize(
    ("logit", "loss", "slope"),
    [(-1e4, 1e4, -1), (-1e3, 1e3, -1), (0.0, np.log(2), -0.5), (1e3, 0, 0)],
)
def test_the_generators_slope(
    logit: float, loss: float, slope: float, losses: ModuleType, bridge: ModuleType
) -> None:
    value, gradient = bridge.gradient(losses.generator_loss, np.array([[logit]]))
    np.testing.assert_allclose(value, loss, rtol=1e-15)
    np.testing.assert_allclose(gradient, [[slope]], rtol=1e-15)


def test_an_undecided_discriminator(losses: ModuleType, bridge: ModuleType) -> None:
    zeros = bridge.tensor(np.zeros((4, 1)))
    found = bridge.array(losses.discriminator_loss(zeros, zeros))
    assert found == pytest.approx(2 * np.log(2), rel=1e-14)


def test_the_gradient_penalty_of_a_known_function(bridge: ModuleType) -> None:
    """D(x) = sum(w x^2): its gradient is 2 w x, and the penalty's derivative by w is 4 w x^2."""
    x = np.random.default_rng(0).standard_normal((3, 5, 5, 1))
    w = np.linspace(-1, 2, 25).reshape(5, 5, 1)
    penalty, gradient = bridge.penalty(w, x)
    np.testing.assert_allclose(penalty, np.square(2 * w * x).sum((1, 2, 3)).mean() / 2, rtol=1e-14)
    np.testing.assert_allclose(gradient, (4 * w * x**2).mean(0), rtol=1e-13)
