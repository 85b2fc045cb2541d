"""The losses against their formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch

from pytorch_impl.losses import discriminator_loss, generator_loss, gradient_penalty


def test_formulas() -> None:
    real = torch.tensor([[-2.0], [0.3], [1.5]], dtype=torch.float64)
    fake = torch.tensor([[0.7], [-1.1], [4.0]], dtype=torch.float64)
    d = (-real.sigmoid().log()).mean() + (-(1 - fake.sigmoid()).log()).mean()
    assert discriminator_loss(real, fake).item() == pytest.approx(d.item(), rel=1e-14)
    g = (-fake.sigmoid().log()).mean()
    assert generator_loss(fake).item() == pytest.approx(g.item(), rel=1e-14)


def test_an_undecided_discriminator() -> None:
    zeros = torch.zeros(4, 1)
    assert discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))


def test_extreme_logits_stay_finite() -> None:
    far = torch.full((2, 1), 1e4)
    assert discriminator_loss(-far, far).item() == pytest.approx(2e4)
    assert generator_loss(-far).item() == pytest.approx(1e4)


def test_the_gradient_penalty_of_a_known_function() -> None:
    """D(x) = sum(w x^2): its gradient is 2 w x, and the penalty's derivative by w is 4 w x^2."""
    x = torch.randn(3, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = torch.linspace(-1, 2, 25, dtype=torch.float64).view(1, 5, 5).requires_grad_()
    penalty = gradient_penalty(lambda x: (w * x.square()).sum((1, 2, 3))[:, None], x)
    wanted = (2 * w * x).square().sum((1, 2, 3)).mean() / 2
    assert penalty.item() == pytest.approx(wanted.item(), rel=1e-14)
    (gradient,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(gradient, (4 * w * x.square()).mean(0), rtol=1e-13, atol=0)
