"""Fixtures shared by the tests of common/."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from common import architecture
from common.architecture import Architecture
from tests.tiny import tiny_architecture

# A deadline for each example is a timed assertion, which a busy machine breaks.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Architecture]:
    """The tiny networks under the name mnist28, for tests of files that need no real ones."""
    monkeypatch.setitem(architecture.ARCHITECTURES, "mnist28", tiny_architecture)
    return tiny_architecture
