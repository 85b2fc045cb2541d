"""The settings of one experiment: Config, what follows from it, and its JSON."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import InitVar, dataclass
from typing import Any, Literal

from common import recipes
from common.catalogue import CATALOGUE, pictures
from common.limits import UserError as UserError
from common.limits import check_values, flag, short
from common.recipes import Recipe

# Fields that a resumed run may change: they move no number of the training itself.
RESUME_MAY_CHANGE = frozenset(
    {"steps", "epochs", "show_every", "checkpoint_every", "device", "compile", "data_dir"}
)
LENGTH = frozenset({"steps", "epochs"})

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "float64"]
Architecture = Literal["mnist28", "dcgan"]
RecipeName = Literal["published", "tuned", "fast", "paper"]

# Defaults that follow from other fields: the architecture from the data set, the networks' sizes
# from both, the recipe from the architecture, and the numbers of the updates from the recipe.
BY_DATASET: Any = None
BY_ARCHITECTURE: Any = None
BY_RECIPE: Any = None

UNKNOWN_PICTURES = "pictures"  # of imported weights, until a resume names the data set

SIDES = (32, 64, 128)  # of dcgan's images, in pixels


@dataclass(frozen=True)
class Config:
    """One experiment. The same values and the same seed give the same training in every backend.

    A field that another one decides (BY_...) is None until it is given or, when the Config is made,
    resolved. So every Config is resolved, its fields are plain values, and no second class for
    unresolved settings is needed; only how many pictures a folder has is not known before they are
    read. dataclasses.replace hands the values on as if they had been given, and so raises
    ValueError for another data set, architecture or recipe: make a new Config for it.
    """

    seed: int = 0
    """Everything random is a function of it: initial weights, batch order, noise. [0, 2**63)"""

    epochs: int = BY_RECIPE
    """Passes over the training images (the tutorial's num_epochs=5)."""

    steps: int | None = None
    """Total number of iterations; overrides epochs."""

    batch_size: int = BY_RECIPE
    """Images per iteration, and noise vectors, shared by both updates."""

    noise_size: int = BY_RECIPE
    """Length of the noise vector z, uniform in [-1, 1)."""

    learning_rate: float = BY_RECIPE
    """Adam's step size, of D's updates at the start of the run; the recipe says what multiple of it
    G's is."""

    beta1: float = BY_RECIPE
    """Adam's decay of the first moment. [0, 1)"""

    beta2: float = BY_RECIPE
    """Adam's decay of the second moment. [0, 1)"""

    show_every: int = 250
    """Iterations between two sample grids and two printed lines (the tutorial's show_every=250)."""

    dataset: str = "mnist"
    """Training images: mnist, fashion-mnist, kmnist, cifar10, svhn, stacked-mnist, or the path of a
    folder of pictures."""

    data_dir: str = "data"
    """Folder of the data sets; fetched into it when missing (torchvision's layout)."""

    train_images: int = BY_DATASET
    """How many images to train on: the first ones. At least a batch; of a folder None, that is all
    of them, until they are counted (datasets.counted)."""

    architecture: Architecture = BY_DATASET
    """The two networks, as in the tables of common/architecture.py: the tutorial's for digits of 28
    pixels, or the paper's."""

    image_size: int = BY_ARCHITECTURE
    """Side of the images in pixels: 32, 64 or 128; mnist28's is 28."""

    channels: int = BY_ARCHITECTURE
    """Colours of an image: 1 is grey, 3 red, green and blue."""

    width: int | None = BY_ARCHITECTURE
    """Filters of the layers next to the image, of dcgan: half of the next, and so on."""

    recipe: RecipeName = BY_ARCHITECTURE
    """The training recipe: the updates as the tutorial or the paper published them, or tuned for
    the quality of the samples (common/recipes.py)."""

    precision: Precision = "float32"
    """Arithmetic. bfloat16 computes in it, and keeps weights, moments and losses in float32."""

    device: Device = "auto"
    """Where to compute; auto takes the GPU if there is one."""

    compile: bool = False
    """Let the framework's compiler fuse the step. It changes no result beyond rounding."""

    checkpoint_every: int = 500
    """Iterations between two checkpoints; one more is written at the end and on Ctrl-C."""

    pictures_digest: str | None = None
    """Of a folder, once its pictures are read: what they are known by, wherever the folder lies."""

    # What decided the other fields. No field itself, but replace() hands it on.
    numbers_of: InitVar[str | None] = None

    def __post_init__(self, numbers_of: str | None) -> None:
        data = pictures(self.dataset)
        self._default("train_images", data.trained_on)
        self._default("architecture", "mnist28" if data.side == 28 else "dcgan")
        paper = self.architecture == "dcgan"
        self._default("image_size", max(32, data.side) if paper else 28)
        self._default("channels", data.channels if paper else 1)
        self._default("width", 64 if paper else None)
        self._default("recipe", recipes.first(self.architecture))
        decides = f"{self.dataset} {self.architecture} {self.recipe}"
        if numbers_of not in (None, decides):
            raise ValueError(f"the numbers are of {numbers_of}; make a new Config for {decides}")
        object.__setattr__(self, "numbers_of", decides)
        for name in recipes.DECIDED:
            self._default(name, getattr(recipe_of(self), name))

    def _default(self, name: str, value: Any) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)


def recipe_of(config: Config) -> Recipe:
    """The recipe that a Config names."""
    return recipes.get(config.architecture, config.recipe)


def check(config: Config) -> None:
    """check_values, and the combinations that cannot be: UserError."""
    check_values(config)
    _check_pictures(config)
    if config.train_images is not None and config.batch_size > config.train_images:
        raise UserError(
            f"--batch-size {config.batch_size} is more than the {config.train_images} training "
            "images; lower it, or raise --train-images."
        )
    if config.precision == "float64" and config.device == "mps":
        raise UserError(
            "--precision float64 does not exist on --device mps; use --device cpu, or float32."
        )


def _check_pictures(config: Config) -> None:
    """Raise UserError unless the data set has such images, and the architecture takes them."""
    data, named = pictures(config.dataset), config.dataset in CATALOGUE
    for name, value, others in (
        ("image_size", 28, f"takes {', '.join(map(str, SIDES))} for --architecture dcgan"),
        ("channels", 1, "takes 1 or 3 for --architecture dcgan"),
        ("width", None, "is for --architecture dcgan"),
    ):
        found = getattr(config, name)
        if config.architecture == "mnist28" and found != value:
            only = "" if value is None else f" and {value} for mnist28"
            raise UserError(f"{flag(name)} {others}{only}, not {found}.")
    if config.architecture == "dcgan" and config.image_size not in SIDES:
        raise UserError(
            f"--image-size takes {', '.join(map(str, SIDES))} for --architecture dcgan, "
            f"not {config.image_size}."
        )
    if named:
        side = data.side if config.architecture == "mnist28" else max(32, data.side)
        if (config.image_size, config.channels) != (side, data.channels):
            raise UserError(
                f"The pictures of {config.dataset} have {data.side} x {data.side} pixels and "
                f"{data.channels} {'channel' if data.channels == 1 else 'channels'}: train on them "
                f"with --architecture dcgan --image-size {max(32, data.side)} --channels "
                f"{data.channels}, which are its defaults."
            )
    if config.train_images is not None and config.train_images > data.images:
        raise UserError(
            f"--train-images {config.train_images} is more than the {data.images} images of "
            f"{config.dataset}; lower it."
        )


def total_steps(config: Config) -> int:
    """Iterations of the whole run. Every batch is full: 5 epochs of 50,000 at 128 are 1,953."""
    if config.steps is not None:
        return config.steps
    assert config.train_images is not None, "the folder's pictures are not counted yet"
    return config.epochs * config.train_images // config.batch_size


def resume_may_change(config: Config) -> frozenset[str]:
    """RESUME_MAY_CHANGE, without the run's length where the learning rate depends on it."""
    return RESUME_MAY_CHANGE - (LENGTH if recipe_of(config).decays else set())


def hyperparameters(config: Config, step: int) -> recipes.Hyper:
    """The recipe's numbers of the 0-based `step` of a run."""
    return recipes.hyperparameters(
        recipe_of(config), config.learning_rate, step, total_steps(config)
    )


# ------------------------------------------------------------------ JSON


def to_json(config: Config) -> dict[str, Any]:
    """The Config's own fields as a JSON object; TrainArguments' additions are left out."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}


def from_json(values: Any) -> Config:
    """The Config in a JSON object, or UserError naming the first field that is wrong.

    A missing field takes its default, so that files of older versions still load.
    """
    if not isinstance(values, dict):
        raise UserError(f"A config is a JSON object, not {type(values).__name__}.")
    fields = {field.name for field in dataclasses.fields(Config)}
    hints = typing.get_type_hints(Config)
    for name, value in values.items():
        if name not in fields:
            raise UserError(
                f"The config has an unknown field {short(name)}; is it of a newer version?"
            )
        uncounted = name == "train_images" and value is None  # of a folder; see check()
        if not uncounted and not _is_of_type(value, hints[name]):
            raise UserError(f"The config's field {name!r} cannot be {short(value)}.")
    config = Config(**values)
    try:
        check(config)
    except OverflowError:  # a whole number that no float holds
        raise UserError("The config holds a number that is too large.") from None
    return config


def _is_of_type(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_is_of_type(value, option) for option in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint


def experiment_key(config: Config) -> str:
    """The fields that determine the numbers, as canonical JSON: equal text, equal experiment."""
    values = {k: v for k, v in to_json(config).items() if k not in RESUME_MAY_CHANGE}
    if config.pictures_digest is not None:
        del values["dataset"]  # the folder may have another name elsewhere
    if recipe_of(config).decays:
        values["steps"] = total_steps(config)
    return json.dumps(values, sort_keys=True)
