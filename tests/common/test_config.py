"""A Config: its numbers, the combinations that cannot be, its JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given as forall
from hypothesis import strategies as st

from common import config
from common.architecture import of
from common.config import Config, UserError, from_json, to_json, total_steps
from common.plan import TrainArguments


def test_the_default_run_has_1953_steps() -> None:
    assert total_steps(Config()) == 1953


def test_steps_override_epochs() -> None:
    assert total_steps(Config(steps=7, epochs=100)) == 7


def test_no_config_has_the_numbers_of_another_recipe_unsaid() -> None:
    numbers = ("batch_size", "noise_size", "learning_rate", "beta1", "beta2")
    for made in (
        Config(recipe="tuned"),
        from_json({"recipe": "tuned"}),
        dataclasses.replace(Config(recipe="tuned"), seed=3),
        TrainArguments(recipe="tuned"),
    ):
        assert [getattr(made, name) for name in numbers] == [128, 96, 1e-3, 0.0, 0.99]
    said = dict.fromkeys(("beta1", "beta2"), 0.5)
    assert Config(recipe="tuned", **said) == dataclasses.replace(Config(recipe="tuned"), **said)
    for base in (Config(), TrainArguments()):
        with pytest.raises(ValueError, match="numbers are of mnist mnist28 published"):
            dataclasses.replace(base, recipe="tuned", learning_rate=1e-4)


@pytest.mark.parametrize(
    ("given", "architecture", "size", "channels", "width", "recipe", "images"),
    [
        ({}, "mnist28", 28, 1, None, "published", 50_000),
        ({"dataset": "kmnist"}, "mnist28", 28, 1, None, "published", 50_000),
        ({"architecture": "dcgan"}, "dcgan", 32, 1, 64, "paper", 50_000),
        ({"dataset": "cifar10", "width": 8}, "dcgan", 32, 3, 8, "paper", 50_000),
        ({"dataset": "svhn"}, "dcgan", 32, 3, 64, "paper", 73_257),
        ({"dataset": "stacked-mnist"}, "dcgan", 32, 3, 64, "paper", 50_000),
        ({"dataset": "my/pictures"}, "dcgan", 64, 3, 64, "paper", None),
        ({"dataset": "a", "image_size": 128, "channels": 1}, "dcgan", 128, 1, 64, "paper", None),
        ({"dataset": "a", "architecture": "mnist28"}, "mnist28", 28, 1, None, "published", None),
    ],
)
def test_the_data_set_decides_the_networks_and_they_the_recipe(
    given: dict[str, Any],
    architecture: str,
    size: int,
    channels: int,
    width: int | None,
    recipe: str,
    images: int | None,
) -> None:
    made = Config(**given)
    config.check(made)
    found = (made.architecture, made.image_size, made.channels, made.width, made.recipe)
    assert found == (architecture, size, channels, width, recipe)
    assert made.train_images == images
    assert of(made).image_shape == (size, size, channels)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"recipe": "paper"},
            "--recipe takes one of published, tuned, fast for --architecture mnist28, not paper.",
        ),
        (
            {"channels": 3},
            "--channels takes 1 or 3 for --architecture dcgan and 1 for mnist28, not 3.",
        ),
        ({"width": 8}, "--width is for --architecture dcgan, not 8."),
        (
            {"architecture": "dcgan", "image_size": 28},
            "--image-size takes 32, 64, 128 for --architecture dcgan, not 28.",
        ),
        (
            {"dataset": "cifar10", "architecture": "mnist28"},
            "The pictures of cifar10 have 32 x 32 pixels and 3 channels: train on them with "
            "--architecture dcgan --image-size 32 --channels 3, which are its defaults.",
        ),
        (
            {"train_images": 60_001},
            "--train-images 60001 is more than the 60000 images of mnist; lower it.",
        ),
    ],
)
def test_networks_that_do_not_fit_the_pictures_are_refused(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        config.check(Config(**given))
    assert str(caught.value) == sentence


def test_the_same_pictures_in_another_folder_are_the_same_experiment() -> None:
    here, there = (
        Config(dataset=path, train_images=300, pictures_digest="0123456789abcdef")
        for path in ("here", "there/pictures")
    )
    assert config.experiment_key(here) == config.experiment_key(there)
    other = dataclasses.replace(here, pictures_digest="another")
    assert config.experiment_key(here) != config.experiment_key(other)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        config.check(config.Config(batch_size=200, train_images=100))
    assert str(caught.value) == (
        "--batch-size 200 is more than the 100 training images; lower it, or raise --train-images."
    )


def test_float64_on_mps_is_refused() -> None:
    with pytest.raises(UserError, match="--precision float64 does not exist on --device mps"):
        config.check(config.Config(precision="float64", device="mps"))


# ------------------------------------------------------------------ JSON

CONFIGS = st.builds(
    Config,
    seed=st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 10**9),
    learning_rate=st.floats(0, 10, exclude_min=True),
    beta1=st.floats(0, 1, exclude_max=True),
    data_dir=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    precision=st.sampled_from(["float32", "bfloat16", "float64"]),
    compile=st.booleans(),
)


@forall(CONFIGS)
def test_json_round_trip(chosen: Config) -> None:
    assert from_json(json.loads(json.dumps(to_json(chosen)))) == chosen


def test_json_holds_the_experiment_not_its_place() -> None:
    values = to_json(TrainArguments(out="x", resume="y", overwrite=True))
    assert values == to_json(Config())
    assert not {"out", "resume", "overwrite"} & values.keys()


def test_a_missing_field_takes_its_default() -> None:
    assert from_json({"seed": 4}) == Config(seed=4)


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        "text",
        {"unknown": 1},
        {"seed": "1"},
        {"seed": 1.0},
        {"seed": True},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": None},
        {"steps": 0},
        {"learning_rate": "3e-4"},
        {"learning_rate": None},
        {"numbers_of": "mnist28 published"},
        {"learning_rate": True},
        {"learning_rate": float("nan")},
        {"learning_rate": 10**400},
        {"beta1": float("inf")},
        {"precision": "float16"},
        {"precision": ["float32"]},
        {"compile": "yes"},
        {"compile": 1},
        {"data_dir": ""},
        {"batch_size": 60_000, "train_images": 10},
    ],
)
def test_wrong_json_is_refused(values: object) -> None:
    with pytest.raises(UserError):
        from_json(values)


def test_the_text_of_an_experiment_leaves_out_what_moves_no_number() -> None:
    text = config.experiment_key(Config())
    assert config.experiment_key(Config(data_dir="x", device="cpu", show_every=3)) == text
    assert config.experiment_key(Config(learning_rate=1e-3)) != text
    assert config.experiment_key(Config(train_images=128)) != text
