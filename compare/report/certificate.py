"""The parity certificate: what the compared runs have in common, each a fact that is checked here.

A fact holds (True), does not (False), or could not be checked (None); the page says which, with
the figures. Nothing is taken over from the engines' own word: initial weights, noise and batch
order are computed from the seed, and what the runs recorded is compared with them.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import architecture, batches, config, datasets, images
from common.config import Config, UserError
from common.initializers import initial_parameters
from common.run import SHOWN_IMAGES
from compare.parity.ladder import FLOAT32_BOUNDS, part
from compare.report import forward
from compare.report.records import Record

PARTED = 0.01  # relative difference of two losses from which on runs are said to have parted

Fact = dict[str, Any]


def certify(records: list[Record], data_dir: str) -> list[Fact]:
    """Every fact, in the order of the page. data_dir: MNIST, if it is there; nothing is fetched."""
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


def experiments(runs: Iterable[Record]) -> list[list[Record]]:
    """Runs of the same config, together."""
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(str(run.hash), []).append(run)
    return list(groups.values())


def one_config(runs: list[Record]) -> Fact:
    """Do all runs have one config, apart from the seed?"""
    texts = [config.experiment_key(run.settings) for run in runs if run.settings]
    values = [json.loads(text) for text in texts]
    names = {name for value in values for name in value if name != "seed"}
    found = {name: sorted({str(v.get(name)) for v in values}) for name in sorted(names)}
    differing = [f"{name}: {', '.join(v)}" for name, v in found.items() if len(v) > 1]
    hashes = sorted({str(run.hash)[:12] for run in runs})
    return fact(
        "config",
        not differing,
        hashes=", ".join(hashes),
        seeds=", ".join(map(str, sorted({v["seed"] for v in values}))),
        differing="; ".join(differing),
    )


def parameter_counts(runs: list[Record]) -> Fact:
    """Do the checkpoints hold the arrays of the table, all of them and no others?"""
    counts = set()
    for run in runs:
        if run.settings is None or run.checkpoint is None:
            continue
        shapes = _shapes(run.checkpoint)
        counts.add((_count(shapes, "discriminator/"), _count(shapes, "generator/")))
    settings = runs[0].settings
    assert settings is not None
    table = architecture.get(settings.architecture, settings.noise_size).parameters()
    wanted = _count(table, "discriminator/"), _count(table, "generator/")
    return fact(
        "counts",
        counts == {wanted} if counts else None,
        discriminator=wanted[0],
        generator=wanted[1],
        found="; ".join(f"{d} + {g}" for d, g in sorted(counts)),
    )


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Array name -> shape, from a checkpoint's header alone; nothing of a file that is none."""
    from safetensors import SafetensorError, safe_open

    try:
        if not file.is_file():
            return {}
        with safe_open(file, framework="numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return {}


def _count(shapes: dict[str, tuple[int, ...]], prefix: str) -> int:
    """Trainable values below a prefix."""
    return sum(
        int(np.prod(shape))
        for name, shape in shapes.items()
        if name.startswith(prefix) and name.rsplit("/", 1)[1] not in architecture.STATISTICS
    )


def initial_weights(runs: list[Record]) -> Fact:
    """Do the runs' pictures before the first step show the generator of these initial weights?

    Weights and noise are computed from the seed, the pictures by compare/report/forward.py.
    """
    largest, checked, hashes = 0, 0, set()
    for group in experiments(runs):
        settings = group[0].settings
        assert settings is not None
        weights = _initial(settings)
        hashes.add(_hash(weights.values()))
        wanted = None
        for run in group:
            if 0 not in run.grids or settings.architecture != forward.ARCHITECTURE:
                continue
            if wanted is None:
                noise = batches.shown_noise(settings.seed, SHOWN_IMAGES, settings.noise_size)
                drawn = forward.generate(part(weights, "generator/"), noise)
                wanted = images.grid(images.to_uint8(drawn)).astype(int)
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
    for group in experiments(runs):
        settings = group[0].settings
        assert settings is not None
        order.add(
            _hash([batches.order(settings.seed, 0, settings.train_images)])
            + " / "
            + _hash([batches.noise(settings.seed, 0, settings.batch_size, settings.noise_size)])
        )
        recorded = [run for run in group if len(run.steps) and run.steps[0] == 0]
        if not recorded or settings.architecture != forward.ARCHITECTURE:
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
    if settings.dataset != "mnist" or not (Path(data_dir) / "MNIST" / "raw").is_dir():
        return None
    try:
        digits = datasets.mnist_images(data_dir, "train", say=lambda line: None)
    except UserError:
        return None
    which = batches.indices(settings.seed, 0, settings.batch_size, settings.train_images)
    noise = batches.noise(settings.seed, 0, settings.batch_size, settings.noise_size)
    weights = _initial(settings)
    real = images.preprocess_img(digits[which]).astype(np.float64)
    fake = forward.generate(part(weights, "generator/"), noise, training=True)
    judged = part(weights, "discriminator/")
    on_real, on_fake = forward.judge(judged, real), forward.judge(judged, fake)
    loss = np.logaddexp(0, -on_real).mean() + np.logaddexp(0, on_fake).mean()
    return {
        "d_loss": float(loss),  # a recipe's gradient penalty is not in it
        "d_real": _mean_answer(on_real),
        "d_fake": _mean_answer(on_fake),
    }


def _mean_answer(logits: NDArray[np.float64]) -> float:
    """Mean sigmoid."""
    return float((1 / (1 + np.exp(-logits))).mean())


def _initial(settings: Config) -> dict[str, NDArray[np.float32]]:
    return _parameters(settings.architecture, settings.noise_size, settings.seed)


@functools.lru_cache(maxsize=1)  # two facts in turn ask for them
def _parameters(name: str, noise_size: int, seed: int) -> dict[str, NDArray[np.float32]]:
    return initial_parameters(architecture.get(name, noise_size), seed)


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
    worst, pairs = {"d_loss": 0.0, "g_loss": 0.0}, 0
    for a, b in _pairs(runs):
        for name in worst:
            worst[name] = max(worst[name], float(relative(a, b, name)[0]))
        pairs += 1
    bounds = _bound(runs, 1), _bound(runs, 2)
    holds = None
    if pairs and bounds[0] is not None and bounds[1] is not None:
        holds = worst["d_loss"] <= bounds[0] and worst["g_loss"] <= bounds[1]
    return fact(
        "losses",
        holds,
        d_worst=worst["d_loss"],
        g_worst=worst["g_loss"],
        d_bound=bounds[0],
        g_bound=bounds[1],
        pairs=pairs,
    )


def parting(runs: list[Record]) -> Fact:
    """The first step at which the losses of two runs of one experiment differ by more than 1%."""
    first: int | None = None
    pairs, equal_until = 0, 0
    for a, b in _pairs(runs):
        apart = np.maximum(relative(a, b, "d_loss"), relative(a, b, "g_loss")) > PARTED
        pairs += 1
        equal_until = max(equal_until, len(apart))
        if apart.any():
            step = int(apart.argmax())
            first = step if first is None else min(first, step)
    return fact("parting", None, first=first, pairs=pairs, steps=equal_until, share=PARTED)


def relative(a: Record, b: Record, name: str) -> NDArray[np.float64]:
    """|a / b - 1| of one loss, over the steps that both have from step 0 on."""
    count = min(len(a.steps), len(b.steps))
    x, y = a.metrics[name][:count], b.metrics[name][:count]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.abs(x / y - 1), nan=0.0)


def _pairs(runs: list[Record]) -> Iterable[tuple[Record, Record]]:
    """Every two runs of one experiment that have recorded losses from step 0 on."""
    for group in experiments(runs):
        recorded = [run for run in group if len(run.steps) and run.steps[0] == 0]
        yield from itertools.combinations(recorded, 2)


def divergence(runs: list[Record]) -> list[dict[str, Any]]:
    """How each run's losses leave those of the first run of its experiment, step by step."""
    found = []
    for group in experiments(runs):
        recorded = [run for run in group if len(run.steps) and run.steps[0] == 0]
        for run in recorded[1:]:
            values = np.maximum(
                relative(run, recorded[0], "d_loss"), relative(run, recorded[0], "g_loss")
            )
            found.append({"run": run.path, "reference": recorded[0].path, "values": values})
    return found
