"""The paper's claims on one run: `python -m compare.paper RUN`, or `make paper`.

    paper.html   a page that opens from disk; needs no network
    paper.json   every figure on it
    weights.js   the generator, loaded when the reader adds noise vectors

The page is compare/paper/page/, its data one JSON object in it: paper.json's, and pictures.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tyro

from common import architecture, checkpoint, commandline, limits, mnist
from common.checkpoint import write_atomically, write_json
from common.environment import git_commit, processor
from common.limits import UserError
from compare import engines
from compare.engines import ENGINES, Engine
from compare.paper import (
    agreement,
    arithmetic,
    claims,
    forgetting,
    representations,
    seen,
    subject,
    walks,
)
from compare.paper.attributes import Reader
from compare.paper.subject import Networks, Subject
from compare.report import document, forward
from compare.report.records import floats, png_uri

PAGE = Path(__file__).with_name("page")
REPORT = "../../report/page"
SCRIPTS = (f"{REPORT}/parts.js", f"{REPORT}/walk.js", "attributes.js", "paper.js")
FILES = ("paper.html", "paper.json", "weights.js")

EngineName = Literal["auto", "pytorch", "tensorflow", "keras", "keras-torch", "keras-jax"]


@dataclass(frozen=True)
class FeaturesArguments:
    """Whose features to try."""

    LIMITS: ClassVar[dict[str, limits.Limit]] = {"labels": limits.whole_number(2000, 10**9)}

    run: tyro.conf.Positional[str]
    """Run directory or checkpoint file, whichever backend wrote it."""

    engine: EngineName = "auto"
    """Who computes; auto takes the engine that trained the run, if it is installed."""

    labels: int | None = None
    """Labelled images that the features are tried with, at most (default: all, but no more than
    take a minute or two)."""

    data_dir: str = "data"
    """Folder of the data set."""


@dataclass(frozen=True)
class PaperArguments(FeaturesArguments):
    """Which run to try the paper's claims on."""

    out: str | None = None
    """Folder of paper.html, paper.json and weights.js (default: `paper` in the run directory)."""

    engines: str | None = None
    """Engines that are held against each other on this checkpoint, separated by commas (default:
    all that are installed)."""


def study(
    tried: Subject, engine: Engine, compared: list[Engine], labels: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All figures of a run, as paper.json has them, and pictures for the page by section."""
    began = time.monotonic()
    found: dict[str, Any] = {}
    pictures: dict[str, Any] = {}

    def section(name: str, title: str, function: Callable[[], dict[str, Any] | None]) -> None:
        start = time.monotonic()
        result = function()
        if result is None:
            return
        pictures[name] = result.pop("pictures", {})
        found[name] = result
        print(f"{title}: {time.monotonic() - start:.0f} s", flush=True)

    reader = Reader(tried.config)
    with Networks(engine, tried.file) as networks:
        section("neighbours", "nearest training images", lambda: walks.neighbours(tried, networks))
        section("walk", "walks in the latent space", lambda: walks.walk(tried, networks))
        section("seen", "what D's maps answer to", lambda: seen.study(tried, networks))
        samples = arithmetic.pool(tried, networks, reader)
        section("arithmetic", "sums of noise", lambda: arithmetic.study(samples, networks, reader))
        section(
            "forgetting", "dropped maps of G", lambda: forgetting.study(samples, networks, reader)
        )
        pictures["choices"] = _choices(samples)
        if tried.is_labelled:
            section(
                "representations",
                "D's features and an SVM",
                lambda: representations.study(tried, networks, labels),
            )
    section("engines", "engines", lambda: {"rows": agreement.study(tried, compared)})
    found["claims"] = claims.verdicts(found)
    found["seconds"] = time.monotonic() - began
    return found, pictures


def _choices(samples: arithmetic.Pool) -> dict[str, Any]:
    """Samples that a reader of the page picks from."""
    chosen = arithmetic.choices(samples)
    return {
        "noise": floats(samples.noise[chosen]),
        "classes": [int(each) for each in samples.classes[chosen]],
        "attributes": {n: [float(x[i]) for i in chosen] for n, x in samples.attributes.items()},
        "images": [png_uri(samples.pictures[i]) for i in chosen],
    }


def facts(tried: Subject, engine: Engine) -> dict[str, Any]:
    """What the page tells of the run."""
    settings = tried.config
    return {
        "name": Path(tried.name).name,
        "trained_by": tried.backend,
        "engine": engine.name,
        "step": tried.step,
        "dataset": Path(settings.dataset).name,
        "image": architecture.of(settings).image_shape,
        **{n: getattr(settings, n) for n in ("architecture", "recipe", "seed", "noise_size")},
    }


def write(found: dict[str, Any], pictures: dict[str, Any], tried: Subject, out: Path) -> Path:
    """The three files; the page's path. UserError if the folder cannot be written."""
    generator = forward.sampler(checkpoint.load(tried.file).arrays)
    weights = None if forward.is_too_large(generator) else FILES[2]
    data = found | {"pictures": _addresses(pictures), "weights": weights}
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / FILES[2]).unlink(missing_ok=True)
        if weights is not None:
            write_atomically(out / weights, forward.script(generator, "0").encode())
        write_json(out / FILES[1], found)
        write_atomically(out / FILES[0], document.made(PAGE, SCRIPTS, data).encode())
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written ({error.strerror or error}); choose another."
        ) from None
    return out / FILES[0]


def _addresses(pictures: Any) -> Any:
    """Pictures as data: addresses, however they lie in dicts."""
    if isinstance(pictures, dict):
        return {name: _addresses(value) for name, value in pictures.items()}
    return png_uri(pictures) if isinstance(pictures, np.ndarray) else pictures


# ------------------------------------------------------------------ the commands


def main() -> None:
    with commandline.command():
        arguments, _ = commandline.parse(
            PaperArguments,
            sys.argv[1:],
            prog="python -m compare.paper",
            description="Try the claims of Radford et al. 2016 on a run, as a page and figures.",
        )
        tried, engine = _begin(arguments)
        compared = _compared(engine, arguments.engines)
        out = Path(arguments.out) if arguments.out else tried.file.parent / "paper"
        commandline.check_place("out", out, folder=True)
        with subject.snapshot(tried) as tried:
            found, pictures = study(tried, engine, compared, arguments.labels)
            found |= {
                "run": facts(tried, engine),
                "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "commit": git_commit(),
                "processor": processor(),
                "command": ["python", "-m", "compare.paper", *sys.argv[1:]],
            }
            path = write(found, pictures, tried, out)
    for claim, verdict in found["claims"].items():
        print(f"  {claim}: {verdict}")
    print(f"The paper on {arguments.run} at step {tried.step}, {found['seconds']:.0f} s -> {path}")


def features() -> None:
    """`python -m compare.features RUN`: section 5 alone, as a table."""
    with commandline.command():
        arguments, _ = commandline.parse(
            FeaturesArguments,
            sys.argv[1:],
            prog="python -m compare.features",
            description="Classify a data set's images by the features of a run's discriminator.",
        )
        tried, engine = _begin(arguments)
        tried.labels("test")  # a folder has none
        with Networks(engine, tried.file) as networks:
            found = representations.study(tried, networks, arguments.labels)
        if found is None:
            raise UserError(
                f"{arguments.run} was trained on {tried.config.train_images} images; features are "
                f"tried with {representations.LEAST} at least."
            )
    print(f"D of {arguments.run} at step {tried.step} on {tried.config.dataset}\n")
    print(representations.table(found))


def _begin(arguments: FeaturesArguments) -> tuple[Subject, Engine]:
    """The run and the engine of a command line. UserError if one of them cannot be had."""
    if not arguments.run:
        raise UserError("The name of a run or file is missing; see --help.")
    limits.check_values(arguments)
    mnist.check_folder(arguments.data_dir)
    tried = subject.subject(arguments.run, arguments.data_dir)
    if find_spec("sklearn") is None:
        raise UserError(
            "The linear classifiers need scikit-learn, which is not installed; run "
            "`make setup-quality`."
        )
    return tried, engines.able(arguments.engine, tried.backend)


def _compared(engine: Engine, names: str | None) -> list[Engine]:
    """The engines to hold against each other, the one that computes first."""
    if names is None:
        others = [each for each in ENGINES.values() if not each.missing]
    else:
        others = engines.choose(names)
    return [engine, *(each for each in others if each != engine)]
