"""The step compiled, and K steps in one dispatch: the same function as the plain step."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from common import batches


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile hides it
def test_the_same_function(
    way: tuple[str, bool, bool, float], backend: Any, bridge: ModuleType, lend_state: Callable,
    make_state: Callable, advance: Callable, assert_close: Callable,
) -> None:  # fmt: skip
    recipe, compiled, looped, bound = way
    plain, other = lend_state(recipe=recipe), make_state(recipe=recipe)
    if looped:
        bridge.loop(other)
    if compiled:
        backend.compile_step(other)
    noise = batches.shown_noise(0, 16, plain.config.noise_size)
    for length in (2, 1):
        np.testing.assert_allclose(advance(other, length), advance(plain, length), rtol=bound)
        # What a run shows at its start, too.
        assert backend.generate(other, noise).shape == (16, 28, 28, 1)
    assert_close(backend.to_canonical(other), backend.to_canonical(plain), bound)
