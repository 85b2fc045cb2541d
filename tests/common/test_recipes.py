"""The recipes: what depends on a step's number, and what a run of each may and may not do."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from common import batches, checkpoint, config, recipes
from common.config import Config, UserError
from common.plan import TrainArguments, make_plan
from common.sampling import PRETRAINED

TUNED = Config(recipe="tuned")


def test_published_is_the_same_at_every_step() -> None:
    wanted = recipes.Hyper(d_rate=3e-4, g_rate=3e-4, penalty=0.0, average=0.0)
    assert {config.hyperparameters(Config(), step) for step in (0, 1, 1000, 1952)} == {wanted}


def test_a_recipe_sets_the_flags_that_were_not_given() -> None:
    recipe = config.recipe_of(TUNED)
    wanted = (recipe.learning_rate, recipe.beta1, recipe.beta2)
    assert (TUNED.learning_rate, TUNED.beta1, TUNED.beta2) == wanted
    some = Config(recipe="tuned", learning_rate=0.5)
    assert (some.learning_rate, some.beta1, some.beta2) == (0.5, recipe.beta1, recipe.beta2)


def test_rates_are_level_and_then_fall_to_zero() -> None:
    total = config.total_steps(TUNED)
    rates = np.array([config.hyperparameters(TUNED, step).d_rate for step in range(total)])
    assert (rates[: total // 2 + 1] == TUNED.learning_rate).all()
    np.testing.assert_allclose(np.diff(rates[total // 2 + 1 :]), -2 * rates[0] / total, rtol=1e-9)
    assert rates[-1] == pytest.approx(2 * rates[0] / total)
    ratio = {
        round(config.hyperparameters(TUNED, s).g_rate / config.hyperparameters(TUNED, s).d_rate, 12)
        for s in (0, 1900)
    }
    assert ratio == {config.recipe_of(TUNED).generator_rate}


def test_the_penalty_is_lazy_and_weighs_the_same() -> None:
    recipe = config.recipe_of(TUNED)
    every = recipe.penalty_every
    taken = [config.hyperparameters(TUNED, step).penalty for step in range(3 * every)]
    assert taken == [recipe.penalty * every, *[0.0] * (every - 1)] * 3
    assert sum(taken) == pytest.approx(recipe.penalty * len(taken))


def test_the_average_forgets_the_first_weights() -> None:
    kept = 1.0
    for step in range(config.total_steps(TUNED)):
        weight = config.hyperparameters(TUNED, step).average
        assert 0 < weight < 1
        kept *= 1 - weight
    assert kept < 1e-3
    late = 1 - config.recipe_of(TUNED).average
    assert config.hyperparameters(TUNED, 10**5).average == pytest.approx(late)


def test_the_jitter_is_half_a_grey_level_and_leaves_no_ties() -> None:
    jitter = batches.jitter(3, (28, 28, 1))
    assert jitter.shape == (28, 28, 1)
    assert jitter.dtype == np.float32
    assert np.abs(jitter).max() <= np.float32(1 / 255)
    assert len(np.unique(jitter)) == 28 * 28
    np.testing.assert_array_equal(jitter, batches.jitter(3, (28, 28, 1)))
    assert (jitter != batches.jitter(4, (28, 28, 1))).any()


def test_a_state_has_an_average_where_the_recipe_takes_one() -> None:
    plain, tuned = checkpoint.expected(Config()), checkpoint.initial(TUNED)
    assert not any(name.startswith(checkpoint.AVERAGE) for name in plain)
    average = {n: a for n, a in tuned.items() if n.startswith(checkpoint.AVERAGE)}
    assert set(tuned) - set(average) == set(plain)
    for name, array in average.items():
        np.testing.assert_array_equal(array, tuned[name.removeprefix(checkpoint.AVERAGE)])
    drawn = checkpoint.averaged(tuned | {n: a + 1 for n, a in average.items()})
    name = "generator/dense1/kernel"
    np.testing.assert_array_equal(drawn[name], tuned[name] + 1)


def test_the_length_of_a_run_is_part_of_the_experiment_where_rates_fall() -> None:
    def texts(settings: Config) -> list[str]:
        longer = dataclasses.replace(settings, steps=2000)
        return [config.experiment_key(each) for each in (settings, longer)]

    assert texts(Config())[0] == texts(Config())[1]
    assert texts(TUNED)[0] != texts(TUNED)[1]
    assert config.resume_may_change(Config()) >= config.LENGTH
    assert not config.LENGTH & config.resume_may_change(TUNED)


def test_weights_alone_are_drawn_from_and_not_resumed(tmp_path) -> None:
    arrays = checkpoint.initial(TUNED)
    arrays |= {n: a * 2 for n, a in arrays.items() if n.startswith(checkpoint.AVERAGE)}
    whole = checkpoint.Checkpoint(arrays, TUNED, 7, "pytorch", {})
    path = tmp_path / "weights.safetensors"
    checkpoint.save_weights(path, whole)
    read = checkpoint.load(path)
    assert (read.step, read.backend, read.weights_only) == (7, "pytorch", True)
    assert set(read.arrays) == set(arrays)
    for network, layer in itertools.product(("discriminator", "generator"), ("dense1",)):
        name = f"{network}/{layer}/kernel"
        wanted = checkpoint.averaged(arrays)[name]
        np.testing.assert_allclose(read.arrays[name], wanted, rtol=2**-11, atol=1e-7)
    assert not read.arrays["optimizer/generator/dense1/kernel/first_moment"].any()
    name = checkpoint.AVERAGE + "generator/norm1/moving_variance"
    np.testing.assert_array_equal(read.arrays[name], arrays[name])  # vectors stay float32
    assert path.stat().st_size < 16_000_000

    with pytest.raises(UserError, match="without an optimizer's state"):
        make_plan(TrainArguments(resume=str(path)), {"resume"}, "pytorch")


def test_a_tuned_run_is_resumed_to_its_own_end_only(tmp_path) -> None:
    path = tmp_path / "run" / checkpoint.FILE_NAME
    checkpoint.save(path, checkpoint.initial(TUNED), TUNED, "pytorch", {})
    (path.parent / "config.json").write_text("{}")
    with pytest.raises(UserError, match="--steps cannot be given with --resume: by recipe tuned"):
        make_plan(TrainArguments(resume=str(path.parent), steps=9), {"resume", "steps"}, "pytorch")
    planned = make_plan(TrainArguments(resume=str(path.parent)), {"resume"}, "pytorch")
    assert planned.config == TUNED
    fresh = make_plan(TrainArguments(recipe="tuned", seed=3), {"recipe", "seed"}, "keras")
    assert str(fresh.directory) == "runs/keras-tuned-mnist-seed3"
    assert fresh.config == dataclasses.replace(TUNED, seed=3)


def test_the_weights_that_come_with_the_project_are_those_of_their_card() -> None:
    path = Path(__file__).parents[2] / PRETRAINED
    card = path.with_name("README.md").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    saved = checkpoint.load(path)
    assert saved.weights_only
    assert saved.config == dataclasses.replace(TUNED, seed=saved.config.seed)
    assert saved.step == config.total_steps(saved.config)
