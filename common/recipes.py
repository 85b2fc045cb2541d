"""The training recipes of each architecture, and what of a step depends on its number alone.

`published` is the tutorial's, `paper` that of Radford et al. 2016: the same update at every step.
`tuned` trains the same two networks for as many iterations, and `fast` for one epoch; both were
searched for (docs/quality.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from common.limits import UserError


@dataclass(frozen=True)
class Recipe:
    """How the two networks are updated, besides the losses, which every recipe shares."""

    # Defaults of the Config's fields of these names, see DECIDED.
    learning_rate: float  # D's, at the start
    beta1: float
    beta2: float
    batch_size: int
    noise_size: int
    epochs: int = 5  # the tutorial's num_epochs

    generator_rate: float = 1.0
    """G's learning rate as a multiple of D's (two time scales: Heusel et al. 2017)."""

    decays: bool = False
    """Both learning rates fall linearly to 0 over the second half of the run."""

    penalty: float = 0.0
    """gamma of R1, D's gradient penalty on real images (Mescheder et al. 2018, equation 9)."""

    penalty_every: int = 1
    """R1 is taken at one step in so many, with as many times its weight ("lazy" regularization:
    Karras et al. 2020, section 3.1)."""

    average: float = 0.0
    """Decay of the moving average of G's weights, which draws the samples (Karras et al. 2018); 0:
    there is none."""

    @property
    def lazy_penalty(self) -> float:
        """gamma of R1 at a step that takes it."""
        return self.penalty * self.penalty_every


# What a Config takes from its recipe unless it is given.
DECIDED = ("epochs", "batch_size", "noise_size", "learning_rate", "beta1", "beta2")

RECIPES = {
    "mnist28": {
        # The tutorial's: learning rate and batch size of its source, CS231n's exercise; beta1 of
        # Radford et al. 2016, section 4; beta2 of Kingma and Ba 2015.
        "published": Recipe(
            learning_rate=3e-4, beta1=0.5, beta2=0.999, batch_size=128, noise_size=96
        ),
        "tuned": Recipe(
            learning_rate=1e-3,
            beta1=0.0,
            beta2=0.99,
            batch_size=128,
            noise_size=96,
            generator_rate=4.0,
            decays=True,
            penalty=5.0,
            penalty_every=4,
            average=0.999,
        ),
        "fast": Recipe(
            learning_rate=1e-3,
            beta1=0.0,
            beta2=0.9,
            batch_size=48,
            noise_size=96,
            epochs=1,
            generator_rate=8.0,
            decays=True,
            penalty=3.0,
            penalty_every=4,
            average=0.999,
        ),
    },
    "dcgan": {
        # Radford et al. 2016, section 4; the length of the noise vector is that of their code.
        "paper": Recipe(learning_rate=2e-4, beta1=0.5, beta2=0.999, batch_size=128, noise_size=100),
        # No R1: D's batch norm would make it a penalty on a batch.
        "tuned": Recipe(
            learning_rate=2e-4,
            beta1=0.5,
            beta2=0.999,
            batch_size=128,
            noise_size=100,
            generator_rate=4.0,
            decays=True,
            average=0.999,
        ),
    },
}


def get(architecture: str, name: str) -> Recipe:
    """The recipe of a Config's `architecture` and `recipe`. UserError if there is none."""
    if name not in RECIPES[architecture]:
        raise UserError(
            f"--recipe takes one of {', '.join(RECIPES[architecture])} for --architecture "
            f"{architecture}, not {name}."
        )
    return RECIPES[architecture][name]


def first(architecture: str) -> str:
    """The recipe of an architecture unless another is named: the one that was published with it."""
    return next(iter(RECIPES[architecture]))


def defaults(field: str) -> str:
    """A field's defaults in words, the first recipe's and then those that differ from it: `128`, or
    `0.5; 0.0 by mnist28 tuned, mnist28 fast`."""
    recipes_of: dict[Any, list[str]] = {}
    for architecture, table in RECIPES.items():
        for name, recipe in table.items():
            recipes_of.setdefault(getattr(recipe, field), []).append(f"{architecture} {name}")
    usual, *others = recipes_of
    return "; ".join([f"{usual}", *(f"{v} by {', '.join(recipes_of[v])}" for v in others)])


class Hyper(NamedTuple):
    """The hyperparameters of one step. Engines may hold them as tensors, but for the penalty."""

    d_rate: Any  # learning rates
    g_rate: Any
    penalty: float  # gamma of R1 at this step; 0: not taken
    average: Any  # weight of the new generator in the average; 0: there is none


def hyperparameters(recipe: Recipe, learning_rate: float, step: int, total: int) -> Hyper:
    """The numbers of the 0-based `step` of `total`, in float64.

    learning_rate: D's at the start. The average's decay is ramped: at step t it is at most
    (1 + t) / (10 + t), so that the first, random weights do not last (as TensorFlow's
    ExponentialMovingAverage does it).
    """
    rate = learning_rate
    if recipe.decays:
        rate *= min(1.0, 2 * (total - step) / total)
    taken = step % recipe.penalty_every == 0
    decay = min(recipe.average, (1 + step) / (10 + step))
    return Hyper(
        d_rate=rate,
        g_rate=rate * recipe.generator_rate,
        penalty=recipe.lazy_penalty if taken else 0.0,
        average=1 - decay if recipe.average else 0.0,
    )
