"""Is a GPU's training right, and how fast? `python -m compare.gpu_check`, under eight minutes.

For a bare machine: a clone of this repository, torch and numpy, and nothing else need be there.
pytorch_impl is checked, and keras_impl on torch and jax where Keras is installed. Each run is a
process of its own. The images are random numbers: neither check nor timing asks what they show.
Exit status 1 if a difference is above its bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from common import commandline, limits
from common.checkpoint import Arrays, initial
from common.config import Config, UserError, from_json
from compare import engines
from compare.engines import ENGINES, Engine
from compare.parity.rungs import ANCHOR_STEPS, BOUNDS, FLOAT32_BOUNDS, OUTPUTS, part, worst
from compare.speed import timing
from compare.speed.timing import IMPLEMENTATION, baseline_of
from compare.worker import Worker, serve

STEPS = ANCHOR_STEPS  # checked iterations: the length of a window of the parity ladder
LOSSES = BOUNDS[4]
SHAPE = ("dataset", "train_images", "architecture", "image_size", "channels", "width")


# ------------------------------------------------------------------ one run


def run(
    engine: Engine, settings: Config, folder: Path, chunk: int = 1, resume: bool = False
) -> Arrays:
    """What a process of its own computes: outputs/*, the state after one iteration first/* and at
    the end last/*, and the losses (STEPS, 4). UserError with what it said last if it failed.

    chunk: iterations per call of train_chunk. resume: after half of them go on in a new state.
    """
    out = folder / "run.npz"
    # Two busy threads on two cores can make a small float64 step many times slower.
    with Worker(engine, "compare.speed.gpu_check", settings, threads=1) as worker:
        worker.ask(
            "train",
            package=engine.package, steps=STEPS, chunk=chunk, resume=resume, out=str(out),
        )  # fmt: skip
    with np.load(out) as file:
        return dict(file)


def train(
    config: dict[str, Any], package: str, steps: int, chunk: int, resume: bool, out: str
) -> None:
    """The worker's side of run()."""
    settings = from_json(config)
    backend = engines.load(package)

    def begin(arrays: Arrays) -> Any:
        state = backend.make_state(settings, arrays)
        if settings.compile:
            backend.compile_step(state)
        return state

    arrays: Any = {}  # of an .npz

    def keep(prefix: str, found: Mapping[str, NDArray[Any]]) -> None:
        arrays.update({prefix + name: np.array(array) for name, array in found.items()})

    images, noise = timing.Stream(settings, timing.RandomImages(settings)).next(steps)
    state = begin(initial(settings))
    for _ in range(OUTPUTS[settings.architecture]):
        outputs = backend.outputs(state, images[0], noise[0])
    keep("outputs/", outputs)
    state = begin(initial(settings))
    losses = []
    for start, end in itertools.pairwise([0, 1, *range(1 + chunk, steps, chunk), steps]):
        if resume and start >= steps // 2:
            state, resume = begin(backend.to_canonical(state)), False
        losses.append(backend.train_chunk(state, images[start:end], noise[start:end]))
        if end == 1:
            keep("first/", backend.to_canonical(state))
    keep("last/", backend.to_canonical(state))
    np.savez(out, losses=np.concatenate(losses), **arrays)


# ------------------------------------------------------------------ correctness


def check(engine: Engine, base: Config, folder: Path, can_compile: bool) -> bool:
    """Print every comparison of an engine; whether all bounds hold."""
    double = dataclasses.replace(base, precision="float64", batch_size=16)
    if base.architecture == "dcgan":  # larger ones test nothing else
        double = dataclasses.replace(double, image_size=32, width=16)
    single = dataclasses.replace(double, precision="float32")
    reference = run(engine, dataclasses.replace(double, device="cpu"), folder)
    reference32 = run(engine, dataclasses.replace(single, device="cpu"), folder)
    name, good = f"{engine.name}, {base.device} against cpu", True

    def compare(what: str, a: Arrays, b: Arrays, prefix: str, bound: float) -> None:
        nonlocal good
        found, _ = worst(part(a, prefix), part(b, prefix))
        good &= found <= bound
        print(f"| {what} | {found:.1e} | {bound:.0e} | {'holds' if found <= bound else 'BROKEN'} |")

    print(f"\n{name}\n\n| | worst difference | bound | |\n|---|---|---|---|")
    eager = run(engine, double, folder)
    compare("outputs", eager, reference, "outputs/", BOUNDS[1])
    eager32 = run(engine, single, folder)
    compare("outputs in float32", eager32, reference32, "outputs/", FLOAT32_BOUNDS[1])
    compare("state after one iteration", eager, reference, "first/", BOUNDS[3])
    compare(f"losses of {STEPS} iterations", eager, reference, "losses", LOSSES)
    chunked = run(engine, double, folder, chunk=STEPS)
    compare("all iterations in one call: losses", chunked, reference, "losses", LOSSES)
    resumed = run(engine, double, folder, resume=True)
    compare("continued in a new state: losses", resumed, reference, "losses", LOSSES)
    if can_compile:
        whole = dataclasses.replace(double, compile=True)
        compiled = run(engine, whole, folder, chunk=STEPS - 1)
        compare("compiled: state after one iteration", compiled, reference, "first/", BOUNDS[3])
        compare("compiled: losses", compiled, reference, "losses", LOSSES)
        resumed = run(engine, whole, folder, chunk=STEPS // 4, resume=True)
        compare("compiled, continued: losses", resumed, reference, "losses", LOSSES)
    # At a lower rate than its own, by which rounding grows too fast to compare.
    tuned = Config(
        **{name: getattr(double, name) for name in SHAPE},
        recipe="tuned",
        learning_rate=1e-4,
        precision="float64",
        batch_size=double.batch_size,
        steps=STEPS,
        device=base.device,
    )
    wanted = run(engine, dataclasses.replace(tuned, device="cpu"), folder)
    found = run(engine, dataclasses.replace(tuned, compile=can_compile), folder, chunk=STEPS)
    compare("recipe tuned: losses", found, wanted, "losses", LOSSES)
    compare("recipe tuned: state at the end", found, wanted, "last/", LOSSES)
    return good


# ------------------------------------------------------------------ speed


def time_one(
    engine: Engine, module: str, settings: Config, turns: int, turn: int, chunk: int
) -> list[float]:
    """Seconds per iteration of each turn: `turn` iterations, `chunk` of them in a call."""
    with timing.Timed(engine, settings, module, random_images=True) as timed:
        timed.turn(0, chunk)
        means = []
        for _ in range(turns):
            timed.seconds.clear()
            for _ in range(turn // chunk):
                timed.turn(0, chunk)
            means.append(statistics.fmean(timed.seconds))
    return means


def speed(
    engine: Engine, base: Config, turns: int, turn: int, can_compile: bool, deadline: float
) -> None:
    """Print an engine's table; rows for which no time is left are named."""
    print(f"\nbatch {base.batch_size}, median of {turns} turns of {turn} iterations\n")
    print("| | precision | ms per iteration (low to high) | images/s | speed-up over plain loop |")
    print("|" + "---|" * 5)
    plain: float | None = None
    cases = [("plain loop", baseline_of(engine, base), base, turn)]
    for compiled in (False, True) if can_compile else (False,):
        for precision in ("float32", "bfloat16"):
            settings = dataclasses.replace(base, precision=precision, compile=compiled)
            for chunk in (1, turn):
                title = f"{'compiled' if compiled else 'eager'}, {chunk} a call"
                cases.append((title, IMPLEMENTATION, settings, chunk))
    for title, module, settings, chunk in cases:
        row = f"| {engine.name}: {title} | {settings.precision} "
        if time.monotonic() > deadline:
            print(row + "| left out: no time left | - | - |")
            continue
        try:
            seconds = time_one(engine, module, settings, turns, turn, chunk)
        except UserError as error:
            print(row + f"| failed: {error} | - | - |", flush=True)
            continue
        median = statistics.median(seconds)
        plain = plain or (median if title == "plain loop" else None)
        low, high = 1000 * min(seconds), 1000 * max(seconds)
        print(
            row + f"| {1000 * median:.3f} ({low:.3f} to {high:.3f}) "
            f"| {settings.batch_size / median:.0f} | {plain / median if plain else 0:.2f} |",
            flush=True,
        )


# ------------------------------------------------------------------ the whole


class Parser(argparse.ArgumentParser):
    """One sentence and exit status 2 for a mistake, as every command here has it."""

    def error(self, message: str) -> NoReturn:
        commandline.fail(UserError(f"{message}; see --help."))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m compare.gpu_check", description=str(__doc__).split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--architecture", choices=("mnist28", "dcgan"), default="mnist28", help="dcgan: 64 pixels"
    )
    parser.add_argument("--batch-size", type=int, default=128, help="of the timings")
    parser.add_argument("--turns", type=int, default=4, help="per row")
    parser.add_argument("--turn", type=int, default=250, help="iterations in a turn")
    parser.add_argument("--minutes", type=float, default=8, help="no row starts after so many")
    for name in ("check", "speed", "keras"):
        parser.add_argument(f"--no-{name}", dest=name, action="store_false")
    arguments = parser.parse_args(argv)
    for name, least in (("batch_size", 2), ("turns", 1), ("turn", 1), ("minutes", 0)):
        if not least <= getattr(arguments, name) <= 10_000:
            parser.error(
                f"{limits.flag(name)} takes a number from {least} to 10000, "
                f"not {getattr(arguments, name)}"
            )
    return arguments


def describe(device: str) -> str:
    """The device in words. UserError without torch, or if the device is absent."""
    engine = ENGINES["pytorch"]
    if engine.missing:
        raise UserError("compare.gpu_check needs torch, which is not installed.")
    with Worker(engine, "compare.speed.gpu_check") as worker:
        version, card = worker.ask("card")
    if device == "cuda" and not card:
        raise UserError(
            f"torch {version} finds no CUDA device here; --device cpu tries this command without."
        )
    return f"torch {version} on {card if device == 'cuda' else 'the processor'}"


def card() -> tuple[str, str]:
    """The worker's side of describe(): torch's version, and the GPU's name or ""."""
    import torch

    there = torch.cuda.is_available()
    return torch.__version__, torch.cuda.get_device_name(0) if there else ""


def main(argv: list[str]) -> None:
    arguments = parse(argv)
    deadline = time.monotonic() + 60 * arguments.minutes
    chosen = [
        engine
        for name, engine in ENGINES.items()
        if name in ("pytorch", *(("keras-torch", "keras-jax") if arguments.keras else ()))
        and not engine.missing
    ]
    base = Config(
        device=arguments.device,
        batch_size=arguments.batch_size,
        **timing.shape_of(arguments.architecture),
    )
    good = True
    with commandline.command():
        print(describe(arguments.device))
        for engine in chosen if arguments.check else ():
            can_compile = arguments.device == "cuda" and engine.name != "keras-torch"
            with tempfile.TemporaryDirectory() as folder:
                try:
                    good &= check(engine, base, Path(folder), can_compile)
                except UserError as error:
                    good = False
                    print(f"\n{engine.name} FAILED: {error}", flush=True)
        for engine in chosen if arguments.speed else ():
            can_compile = arguments.device == "cuda" and engine.name != "keras-torch"
            speed(engine, base, arguments.turns, arguments.turn, can_compile, deadline)
    print("\nEvery bound holds." if good else "\nA bound is BROKEN.")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    serve(lambda **beginning: {"train": partial(train, **beginning), "card": card})
