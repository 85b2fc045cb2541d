"""The watch over a training: silent on sound runs, one clear warning on broken ones."""

from __future__ import annotations

import numpy as np
import pytest

from common import batches
from common.watch import ALIKE, FIRST_STEP, WINDOW, Watch, mean_distance

SOUND = (0.9, 1.6, 0.68, 0.33)  # d_loss, g_loss, d_real, d_fake of the published run's middle
STEPS = 400


def run(rows: np.ndarray, chunk: int = 10) -> tuple[Watch, list[str]]:
    """A watch that has seen metrics (S, 4) in chunks, and what it said."""
    watch, said = Watch(), []
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        said.append(watch.metrics(start + len(part), part))
    return watch, [line for line in said if line is not None]


def constant(*row: float, steps: int = STEPS) -> np.ndarray:
    return np.tile(np.array(row), (steps, 1))


def noisy_sound_run() -> np.ndarray:
    """Swings as wide as real runs', with bad moments: D far ahead for 60 iterations."""
    noise = batches.uniform(0, batches.NOISE, 0, 4 * STEPS).reshape(-1, 4)
    rows = np.array(SOUND) + noise * np.array([0.7, 1.4, 0.3, 0.3])
    rows[220:280] = (0.01, 9.0, 0.999, 0.001)
    return rows


def digits(count: int = 16) -> np.ndarray:
    """Images that differ."""
    raw = batches.words(0, batches.NOISE, 1, count * 98).view(np.uint8)
    return raw.reshape(count, 28, 28, 1)


@pytest.mark.parametrize("chunk", [1, 10, 250])
def test_silent_on_a_sound_run(chunk: int) -> None:
    watch, said = run(noisy_sound_run(), chunk)
    assert said == []
    assert watch.verdict() == {"verdict": "sound", "warned": None}


@pytest.mark.parametrize(
    ("row", "verdict", "shown"),
    [
        ((1e-3, 12.0, 0.9993, 0.0004), "discriminator won", "0.999 on real images and 0.000"),
        ((55.0, 30.0, 0.5, 0.1), "diverging", "D's loss is 55 and G's 30"),
        ((1.386, 0.693, 0.5003, 0.4999), "discriminator blind", "differ by 0.0004"),
    ],
)
def test_a_broken_run_is_warned_of_once(row: tuple[float, ...], verdict: str, shown: str) -> None:
    watch, said = run(constant(*row))
    assert len(said) == 1
    assert said[0].startswith(f"warning: this training looks {verdict} at step {FIRST_STEP}: ")
    assert shown in said[0]
    assert "Try a lower --learning-rate" in said[0]
    found = watch.verdict()
    assert found["verdict"] == found["warned"]["verdict"] == verdict
    assert shown in found["warned"]["saw"]


def test_a_penalty_keeps_d_flat_and_that_is_no_fault() -> None:
    rows = constant(1.386, 0.693, 0.5, 0.5)
    assert Watch(penalized=True).metrics(STEPS, rows) is None
    assert "blind" in str(Watch().metrics(STEPS, rows))


def test_a_warning_comes_within_a_window() -> None:
    rows = np.concatenate([constant(*SOUND, steps=300), constant(1e-3, 12.0, 0.9999, 1e-4)])
    assert 300 < run(rows)[0].verdict()["warned"]["step"] <= 300 + WINDOW


def test_loss_of_d_to_zero_and_of_g_growing() -> None:
    """As it happens: slowly, over a few hundred iterations."""
    t = np.linspace(0, 12, 600)
    answer = 1 / (1 + np.exp(-t))
    rows = np.stack([-2 * np.log(answer), t + 0.7, answer, 1 - answer], axis=1)
    watch, said = run(rows)
    assert len(said) == 1
    assert watch.verdict()["verdict"] == "discriminator won"


def test_nothing_is_judged_too_early() -> None:
    """D leads in every run's first iterations, and an untrained generator's images are alike."""
    watch, said = run(constant(1e-3, 12.0, 0.9995, 0.0004, steps=FIRST_STEP - 1))
    assert said == []
    watch.real(digits())
    assert watch.samples(0, np.zeros((16, 28, 28, 1), np.uint8)) is None
    assert watch.verdict()["verdict"] == "not judged"


def test_equal_samples_are_a_collapse() -> None:
    watch = Watch()
    watch.real(digits())
    assert watch.samples(250, digits()[::-1]) is None
    warning = watch.samples(500, np.repeat(digits(1), 16, axis=0))
    assert warning is not None
    assert "collapsed at step 500: G's 16 images are 0.00 times as far apart" in warning
    assert watch.samples(750, np.repeat(digits(1), 16, axis=0)) is None  # once
    assert watch.verdict()["verdict"] == "collapsed"


def test_the_papers_generator_leaves_grey_later() -> None:
    for step, verdict in ((750, "not judged"), (1000, "collapsed")):
        watch = Watch("dcgan")
        watch.real(digits().repeat(3, axis=3))
        grey = np.full((16, 28, 28, 3), 127, np.uint8)
        assert (watch.samples(step, grey) is None) == (verdict == "not judged")
        assert watch.verdict()["verdict"] == verdict


def test_the_limit_on_distances() -> None:
    """Blending towards one image shrinks all distances by one factor."""
    real = digits().astype(np.float64)
    for factor, expected in ((ALIKE + 0.05, "sound"), (ALIKE - 0.05, "collapsed")):
        watch = Watch()
        watch.real(digits())
        blended = real[:1] + factor * (real - real[:1])
        watch.samples(500, np.rint(blended).astype(np.uint8))
        assert watch.verdict()["verdict"] == expected


def test_a_recovered_run_is_sound_and_keeps_its_warning() -> None:
    won = constant(1e-3, 12.0, 0.9995, 0.0004)
    watch, said = run(np.concatenate([won, constant(*SOUND)]))
    assert len(said) == 1
    assert watch.verdict()["verdict"] == "sound"
    assert watch.verdict()["warned"]["verdict"] == "discriminator won"


def test_a_resumed_run_does_not_warn_again() -> None:
    won = constant(1e-3, 12.0, 0.9995, 0.0004)
    before, _ = run(won)
    after = Watch()
    after.restore(before.verdict())
    assert [after.metrics(step, won[:10]) for step in range(500, 800, 10)] == [None] * 30
    assert after.verdict() == before.verdict()


@pytest.mark.parametrize(
    "word", ["sound", "collapsed", "discriminator won", "discriminator blind", "diverging"]
)
def test_what_was_found_stands_until_a_resumed_run_is_long_enough(word: str) -> None:
    watch = Watch()
    watch.restore({"verdict": word, "warned": None})
    assert watch.metrics(500, constant(*SOUND, steps=WINDOW - 1)) is None
    assert watch.verdict()["verdict"] == word


@pytest.mark.parametrize("other", [None, 3, [], {}, {"warned": "yes"}, {"warned": None}])
def test_what_is_no_verdict_is_passed_over(other: object) -> None:
    watch = Watch()
    watch.restore(other)
    assert watch.verdict() == {"verdict": "not judged", "warned": None}


def test_mean_distance() -> None:
    images = np.zeros((3, 2, 2, 1), np.uint8)
    images[1, 0, 0] = 255  # at 1 from the others' corner
    images[2, 1, 1] = 255
    assert mean_distance(images) == pytest.approx((1 + 1 + 2**0.5) / 3, rel=1e-15)
