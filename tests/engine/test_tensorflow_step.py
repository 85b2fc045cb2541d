"""TensorFlow's graphs, and what it says of memory that is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from common import training
from common.batches import Dataset
from common.config import hyperparameters
from common.run import Run
from tensorflow_impl.step import train_step


def test_one_trace_serves_all_chunks(lend_state: Callable, advance: Callable) -> None:
    state = lend_state()
    for count in (1, 3, 2):
        advance(state, count)
    assert state.graph.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("recipe", ["published", "tuned"])
def test_eager_step_is_the_graphs(
    recipe: str, lend_state: Callable, chunk: Callable, advance: Callable
) -> None:
    metrics = advance(lend_state(recipe=recipe), 2)
    state = lend_state(recipe=recipe)
    images, noise = chunk(state.config, 0, 2)
    for i in range(2):
        batch = tf.constant(images[i]), tf.constant(noise[i])
        eager = train_step(state, *batch, hyperparameters(state.config, i))
        np.testing.assert_allclose(eager, metrics[i], rtol=1e-12)


@pytest.mark.slow
def test_an_allocation_that_fails_is_explained(
    data_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def train(run: Run, dataset: Dataset) -> None:
        tf.zeros([10**12, 1000])  # four petabytes

    arguments = ["train", "--batch-size=64", f"--data-dir={data_dir}", f"--out={tmp_path / 'x'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        training.main("tensorflow", train)
    assert ended.value.code == 2
    sentence = capsys.readouterr().err
    assert "a batch of 64 images does not fit" in sentence
    assert "--batch-size 32" in sentence
