"""The parity certificate: what the compared runs have in common, each a fact that is checked here.

A fact holds (True), does not (False), or could not be checked (None); the page says which, with
the figures. Nothing is taken over from the engines' own word: initial weights, noise and batch
order are computed from the seed, and what the runs recorded is compared with them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture, batches, config, datasets, images
from common.checkpoint import NETWORKS
from common.config import Config
from common.initializers import initial_parameters
from common.limits import UserError
from common.run import SHOWN_IMAGES
from compare.parity.rungs import FLOAT32_BOUNDS, part
from compare.report import forward
from compare.report.records import Record
from compare.runs import read_header

PARTED = 0.01  # relative difference of two losses from which on runs are said to have parted

Fact = dict[str, Any]


def certify(records: list[Record], data_dir: str) -> list[Fact]:
    """Every fact, in the order of the page. data_dir: of the data sets; nothing is fetched."""
    runs = [record for record in records if record.settings is not None]
    if not runs:
        return []
    return [
        one_config(runs),
        parameter_counts(runs),
        initial_weights(runs),
        first_batch(runs, data_dir),
        first_losses(runs),
        parting(runs),
    ]


def fact(name: str, holds: bool | None, **figures: Any) -> Fact:
    """One line of the certificate; `figures` fill its sentence in page/strings.json."""
    return {"name": name, "holds": holds, "figures": figures}


def by_experiment(runs: Iterable[Record]) -> list[tuple[Config, list[Record]]]:
    """Runs of the same experiment, together, with its Config."""
    groups: dict[str | None, list[Record]] = {}
    for run in runs:
        groups.setdefault(run.experiment, []).append(run)
    return [(its[0].settings, its) for its in groups.values() if its[0].settings is not None]


def one_config(runs: list[Record]) -> Fact:
    """Do all runs have one config, apart from the seed?"""
    texts = [config.experiment_key(run.settings) for run in runs if run.settings]
    values = [json.loads(text) for text in texts]
    names = {name for value in values for name in value if name != "seed"}
    found = {name: sorted({str(v.get(name)) for v in values}) for name in sorted(names)}
    differing = [f"{name}: {', '.join(v)}" for name, v in found.items() if len(v) > 1]
    return fact(
        "config",
        not differing,
        hashes=", ".join(sorted({str(run.experiment)[:12] for run in runs})),
        seeds=", ".join(map(str, sorted({v["seed"] for v in values}))),
        differing="; ".join(differing),
    )


def parameter_counts(runs: list[Record]) -> Fact:
    """Do the checkpoints hold as many trainable values as the layer tables say?"""
    pairs = {
        (_counts(read_header(run.checkpoint)[1]), _counts(run.table.parameters()))
        for run in runs
        if run.table is not None and run.checkpoint is not None
    }
    return fact(
        "counts",
        all(found == wanted for found, wanted in pairs) if pairs else None,
        found=_sums(found for found, _ in pairs),
        wanted=_sums(wanted for _, wanted in pairs),
    )


def _counts(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Trainable values of the discriminator and of the generator."""
    return tuple(
        sum(
            math.prod(shape)
            for name, shape in shapes.items()
            if name.startswith(network) and name.rsplit("/", 1)[1] not in architecture.STATISTICS
        )
        for network in NETWORKS
    )


def _sums(counts: Iterable[tuple[int, ...]]) -> str:
    return "; ".join(" + ".join(f"{count:,}" for count in each) for each in sorted(set(counts)))


def initial_weights(runs: list[Record]) -> Fact:
    """Do the runs' pictures before the first step show the generator of these initial weights?

    Weights and noise are computed from the seed, the pictures by compare/report/forward.py.
    """
    largest, checked, hashes = 0, 0, set()
    for settings, group in by_experiment(runs):
        if not _computable(settings):
            continue
        weights = _initial(settings)
        hashes.add(_hash(weights.values()))
        pictured = [run for run in group if 0 in run.grids]
        if not pictured:
            continue
        noise = batches.shown_noise(settings.seed, SHOWN_IMAGES, settings.noise_size)
        drawn = forward.generate(part(weights, "generator/"), noise)
        wanted = images.grid(images.to_uint8(drawn)).astype(int)
        for run in pictured:
            same = run.grids[0].shape == wanted.shape
            largest = max(largest, int(np.abs(run.grids[0] - wanted).max()) if same else 255)
            checked += 1
    return fact(
        "weights",
        # Rounding may put a pixel on the other side of the edge between two grey levels.
        largest <= 1 if checked else None,
        hashes=", ".join(sorted(hashes)),
        largest=largest,
        checked=checked,
        runs=len(runs),
    )


def first_batch(runs: list[Record], data_dir: str) -> Fact:
    """Are D's answers and its loss at step 0 those of these weights, this batch and this noise?"""
    worst, checked, order = 0.0, 0, set()
    for settings, group in by_experiment(runs):
        if not _computable(settings):
            continue
        order.add(
            _hash([batches.order(settings.seed, 0, settings.train_images, 0, 2**20)])
            + " / "
            + _hash([batches.noise(settings.seed, 0, settings.batch_size, settings.noise_size)])
        )
        recorded = [run for run in group if run.recorded_from_start]
        if not recorded:
            continue
        wanted = _first_metrics(settings, data_dir)
        if wanted is None:
            continue
        for run in recorded:
            found = {name: float(run.metrics[name][0]) for name in wanted}
            worst = max(worst, *(abs(found[name] / wanted[name] - 1) for name in wanted))
            checked += 1
    bound = _bound(runs, 1)
    return fact(
        "batch",
        worst <= bound if checked and bound is not None else None,
        hashes="; ".join(sorted(order)),
        worst=worst,
        bound=bound,
        checked=checked,
        runs=len(runs),
    )


def _first_metrics(settings: Config, data_dir: str) -> dict[str, float] | None:
    """d_loss, d_real, d_fake of step 0, computed here; None if the data is not there."""
    here = dataclasses.replace(settings, data_dir=data_dir)
    if not datasets.is_there(here):
        return None
    try:
        dataset = datasets.load(here, say=lambda line: None)
    except UserError:
        return None
    which = batches.indices(settings.seed, 0, settings.batch_size, settings.train_images)
    noise = batches.noise(settings.seed, 0, settings.batch_size, settings.noise_size)
    weights = _initial(settings)
    real = images.preprocess_img(dataset.gather(which)).astype(np.float64)
    fake = forward.generate(part(weights, "generator/"), noise, training=True)
    discriminator = part(weights, "discriminator/")
    on_real, on_fake = (forward.logits(discriminator, x) for x in (real, fake))
    loss = np.logaddexp(0, -on_real).mean() + np.logaddexp(0, on_fake).mean()
    return {
        "d_loss": float(loss),  # a recipe's gradient penalty is not in it
        "d_real": _mean_answer(on_real),
        "d_fake": _mean_answer(on_fake),
    }


def _mean_answer(logits: NDArray[np.float64]) -> float:
    """Mean sigmoid."""
    return float((1 / (1 + np.exp(-logits))).mean())


def _computable(settings: Config) -> bool:
    """Are the weights and the first batch of such networks a few GB at most? A config.json from a
    stranger may ask for a hundred."""
    table = architecture.of(settings)
    weights = sum(map(math.prod, table.parameters().values()))
    values = max(
        math.prod(layer.output_shape) for layer in (*table.discriminator, *table.generator)
    )
    return weights <= 10**8 and settings.batch_size * max(values, settings.noise_size) <= 2**28


@functools.lru_cache(maxsize=1)  # two facts in turn ask for them
def _initial(settings: Config) -> dict[str, NDArray[np.float32]]:
    return initial_parameters(architecture.of(settings), settings.seed)


def _hash(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def _bound(runs: list[Record], rung: int) -> float | None:
    """The parity ladder's float32 bound of a rung; None if a run computes in less."""
    if any(run.settings is not None and run.settings.precision == "bfloat16" for run in runs):
        return None
    return FLOAT32_BOUNDS[rung]


def first_losses(runs: list[Record]) -> Fact:
    """Do the losses of step 0 agree between all runs of one experiment?

    G's loss of step 0 comes after D's first update, so it is bounded like a gradient.
    """
    pairs = list(_pairs(runs))
    d_worst, g_worst = (
        max((float(relative(a, b, name)[0]) for a, b in pairs), default=0.0)
        for name in ("d_loss", "g_loss")
    )
    d_bound, g_bound = _bound(runs, 1), _bound(runs, 2)
    holds = None
    if pairs and d_bound is not None and g_bound is not None:
        holds = d_worst <= d_bound and g_worst <= g_bound
    return fact(
        "losses",
        holds,
        d_worst=d_worst,
        g_worst=g_worst,
        d_bound=d_bound,
        g_bound=g_bound,
        pairs=len(pairs),
    )


def parting(runs: list[Record]) -> Fact:
    """The first step at which the losses of two runs of one experiment differ by more than 1%."""
    apart = [losses_apart(a, b) > PARTED for a, b in _pairs(runs)]
    return fact(
        "parting",
        None,
        first=min((int(each.argmax()) for each in apart if each.any()), default=None),
        pairs=len(apart),
        steps=max(map(len, apart), default=0),
    )


def relative(a: Record, b: Record, name: str) -> NDArray[np.float64]:
    """|a / b - 1| of one loss, over the steps that both have from step 0 on."""
    count = min(len(a.steps), len(b.steps))
    x, y = a.metrics[name][:count], b.metrics[name][:count]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.abs(x / y - 1), nan=0.0)


def losses_apart(a: Record, b: Record) -> NDArray[np.float64]:
    """The larger relative difference of the two losses, step by step."""
    return np.maximum(relative(a, b, "d_loss"), relative(a, b, "g_loss"))


def _pairs(runs: list[Record]) -> Iterable[tuple[Record, Record]]:
    """Every two runs of one experiment that have recorded losses from step 0 on."""
    for _, group in by_experiment(runs):
        yield from itertools.combinations([run for run in group if run.recorded_from_start], 2)


def divergence(runs: list[Record]) -> list[tuple[Record, Record, NDArray[np.float64]]]:
    """How each run's losses leave those of the first run of its experiment: (run, first run,
    differences by step)."""
    found = []
    for _, group in by_experiment(runs):
        recorded = [run for run in group if run.recorded_from_start]
        found += [(run, recorded[0], losses_apart(run, recorded[0])) for run in recorded[1:]]
    return found
