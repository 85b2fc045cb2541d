"""Processes that meet: over an empty data folder, in one run directory, around one checkpoint."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from common import checkpoint, config, mnist
from compare import engines
from compare.engines import Engine
from compare.pages.torture import Row, Say
from tests.torture.plain import PLAIN, all_at
from tests.torture.trainings import differences, picture

LENGTH = ("--steps", 12, "--batch-size", 4, "--show-every", 6, "--checkpoint-every", 3)
# Saves at every step, until it is stopped.
SAVING = ("--steps", 10**6, "--batch-size", 4, "--show-every", 100, "--checkpoint-every", 1)

Process = subprocess.Popen[str]


def run(work: Path, chosen: list[Engine], data_dir: str, say: Say) -> list[Row]:
    """The long versions."""
    first = next((engine for engine in chosen if engine.name == "pytorch"), chosen[0])
    several = [first] * 4 + [engine for engine in chosen if engine is not first]
    return [
        fetch_at_once(work, several, say),
        *(same_directory(work, engine, 4, data_dir, say) for engine in chosen),
        same_directory(work, PLAIN, 50, data_dir, say),
        late_resumes(work, 20, data_dir, say),
        around_a_training(work, first, 5, data_dir, say),
        loads_while_saving(work, 300, data_dir, say),
        dead_locks(work, [*chosen, *[PLAIN] * 10], data_dir, say),
        fast_tests_on_a_busy_machine(20, say),
    ]


# ------------------------------------------------------------------ what is counted


def fetch_at_once(work: Path, several: Sequence[Engine], say: Say) -> Row:
    """Trainings that start at once and find no data: one fetches it, all train with it."""
    data = work / "fresh"
    outs = [work / f"fresh-{index}" for index in range(len(several))]
    processes = [train(e, data, out, *LENGTH) for e, out in zip(several, outs, strict=True)]
    ends = [_end(process) for process in processes]
    what = "trainings started at once on an empty data folder"
    if all("could not be fetched" in err for _, err in ends):
        return Row("together", what, 0, 0, "no source of the data answered: nothing was tried")
    finished = sum("Finished 12 steps" in out for out, _ in ends)
    fetched = sum("files verified and written" in out for out, _ in ends)
    found = {path.name for path in data.rglob("*") if path.is_file()}
    left = found - {*mnist.MNIST_FILES, ".lock", mnist.STAMP}
    # Hashed anew: a file that is missing or wrong would be said to be fetched here.
    (data / "MNIST" / mnist.STAMP).unlink(missing_ok=True)
    said: list[str] = []
    mnist.ensure_mnist(str(data), said.append)
    good = fetched == 1 and not left and not said
    say(f"together: {finished} of {len(several)} finished, {fetched} fetched the data")
    for folder in (data, *outs):
        shutil.rmtree(folder, ignore_errors=True)
    verified = "files verified" if not said else "files missing or wrong"
    note = f"{fetched} of them fetched it; {verified}; left over: {', '.join(left) or 'nothing'}"
    return Row("together", what, len(several), finished if good else 0, note)


def same_directory(work: Path, engine: Engine, rounds: int, data_dir: str, say: Say) -> Row:
    """Two trainings in one directory: one does it all, the other is refused in one sentence."""
    wanted = undisturbed(work, engine, data_dir, *LENGTH)
    survived = by_lock = 0
    for number in range(rounds):
        out, gate = work / "same", work / f"gate-{number}"
        two = [train(engine, data_dir, out, *LENGTH, gate=gate) for _ in range(2)]
        if engine is PLAIN:
            all_at(gate, two)
        gate.touch()
        ends = [_end(process) for process in two]
        loser = 0 if two[0].returncode else 1
        by_lock += "Another process" in ends[loser][1]
        survived += (
            two[1 - loser].returncode == 0
            and _refused(two[loser], *ends[loser])
            and not differences(out, wanted)
        )
        shutil.rmtree(out, ignore_errors=True)
        say(f"together: {engine.name}, two in one directory: {survived} of {number + 1}")
    what = f"two trainings in one directory at once: {engine.name}"
    return Row("together", what, rounds, survived, f"{by_lock} refused by the lock itself")


def late_resumes(work: Path, rounds: int, data_dir: str, say: Say) -> Row:
    """A resume that reads a checkpoint and gets the lock when the run has gone on and ended.

    It must not go on from what it has read: a checkpoint would stand beside metrics that were cut.
    """
    survived = 0
    for number in range(rounds):
        out, gate = work / "late", work / f"late-gate-{number}"
        training = train(PLAIN, data_dir, out, *SAVING[2:], "--steps", 60)
        _wait_for_checkpoint(out, training)
        resume = _start(PLAIN, "--resume", out, gate=gate)
        all_at(gate, [resume])
        seen = _step(out)
        while _step(out) < seen + 2:
            time.sleep(0.01)
        training.send_signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
        _end(training)
        before = picture(out)
        gate.touch()
        survived += _refused(resume, *_end(resume)) and not differences(out, before)
        shutil.rmtree(out)
        say(f"together: resumes of a run that went on meanwhile: {survived} of {number + 1}")
    return Row("together", "resumes of a run that went on meanwhile", rounds, survived)


def around_a_training(
    work: Path, engine: Engine, rounds: int, data_dir: str, say: Say, reading: bool = True
) -> Row:
    """What else is asked of a run while it trains and saves at every step.

    To continue it, to overwrite it and to begin in it are refused; samples, a report and scores
    are made of the checkpoint that is there (reading). The run ends as if nobody had asked.
    """
    out, made = work / "around", work / "made"
    made.mkdir()
    process = train(engine, data_dir, out, *SAVING)
    _wait_for_checkpoint(out, process)
    module, data = _module(engine), ("--data-dir", data_dir)
    commands: list[tuple[int, str, tuple[object, ...]]] = [
        (2, module, ("--resume", out)),
        (2, module, ("--out", out, "--overwrite", *data)),
        (2, module, ("--out", out, *data)),
    ]
    if reading:
        sampler = f"{engine.package}.sample"
        commands.append((0, sampler, (out, "--count", 20, "--out", made / "samples.npy")))
        commands.append((0, "compare.report", (out, "--out", made / "page", *data)))
        if find_spec("onnxruntime"):
            commands.append((0, "compare.evaluate", (out, "--count", 129, *data)))
    survived, wrong = 0, []
    for number in range(rounds):
        for status, command, arguments in commands:
            asked = engines.start(engine, command, *arguments, threads=1)
            said = _end(asked)
            right = _refused(asked, *said) if status else asked.returncode == 0
            survived += right
            if not right:
                wrong.append(f"{command} ended with {asked.returncode}: {said[1].strip()[-160:]}")
        say(f"together: commands given to a training run: round {number + 1}, {survived} right")
    process.send_signal(signal.SIGTERM)
    _end(process)
    step = _step(out)
    wanted = undisturbed(work, engine, data_dir, *SAVING[2:], "--steps", step)
    # What is written at the very end, this one has not; a picture after its last step neither.
    at_the_end = {"losses.png", "samples.gif", "result.json", f"samples/step-{step:06d}.png"}
    differing = set(differences(out, wanted)) - at_the_end
    unharmed = process.returncode == 143 and not differing
    if not unharmed:
        wrong.append(f"the run ended with {process.returncode}, other: {', '.join(differing)}")
    shutil.rmtree(out)
    what = "to resume it, to overwrite it" + (", samples, a report, scores" if reading else "")
    return Row(
        "together",
        f"asked of a run while it trains: {what}",
        rounds * len(commands) + 1,
        survived + unharmed,
        "; ".join(wrong) or f"its {step} steps are those of an undisturbed run",
    )


def loads_while_saving(work: Path, loads: int, data_dir: str, say: Say) -> Row:
    """A checkpoint read over and over while its run saves over and over: one whole state each."""
    out = work / "saving"
    process = train(PLAIN, data_dir, out, *SAVING)
    _wait_for_checkpoint(out, process)
    survived, states = 0, set()
    for number in range(loads):
        try:
            saved = checkpoint.load(checkpoint.find(out))
            survived += all((array == saved.step).all() for array in saved.arrays.values())
            states.add(saved.step)
        except config.UserError as error:
            say(f"together: {error}")
        if (number + 1) % 50 == 0:
            say(f"together: loads of a file that is being written: {survived} of {number + 1}")
    process.kill()
    _end(process)
    shutil.rmtree(out)
    note = f"{len(states)} states of the run seen"
    return Row("together", "loads of a checkpoint while it is saved anew", loads, survived, note)


def dead_locks(work: Path, several: Sequence[Engine], data_dir: str, say: Say) -> Row:
    """A training is killed and its lock file stays: it is no wall to the next."""
    survived = 0
    wanted = {engine: undisturbed(work, engine, data_dir, *LENGTH) for engine in set(several)}
    for number, engine in enumerate(several):
        out = work / "dead"
        process = train(engine, data_dir, out, *LENGTH)
        _wait_for_checkpoint(out, process)
        process.kill()
        _end(process)
        locked = (out / ".lock").exists()
        again = _start(engine, "--resume", out)
        _end(again)
        survived += locked and again.returncode == 0 and not differences(out, wanted[engine])
        shutil.rmtree(out)
        say(f"together: {engine.name} goes on past a dead lock: {survived} of {number + 1}")
    what = "resumes past the lock file of a killed training"
    return Row("together", what, len(several), survived)


def fast_tests_on_a_busy_machine(times: int, say: Say) -> Row:
    """tests/common over and over, while as many idle loops as there are cores take them."""
    what = "runs of the fast tests on a busy machine"
    if find_spec("pytest") is None:
        return Row("together", what, 0, 0, "pytest is not installed: nothing was tried")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/common"]
    idle = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(idle) for _ in range(os.cpu_count() or 1)]
    survived, passed = 0, "none"
    failed: set[str] = set()
    try:
        for number in range(times):
            done = subprocess.run(command, cwd=engines.ROOT, capture_output=True, text=True)
            survived += done.returncode == 0
            failed |= set(re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M))
            passed = (re.findall(r"\d+ passed", done.stdout) or [passed])[-1]
            say(f"together: the fast tests on a busy machine: {survived} of {number + 1}")
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    note = f"failed: {', '.join(sorted(failed))}" if failed else f"{passed} in each"
    return Row("together", what, times, survived, note)


# ------------------------------------------------------------------ processes


def train(
    engine: Engine, data_dir: object, out: Path, *flags: object, gate: Path | None = None
) -> Process:
    """Start a training."""
    return _start(
        engine, "--data-dir", data_dir, "--out", out, "--device", "cpu", *flags, gate=gate
    )


def undisturbed(work: Path, engine: Engine, data_dir: str, *flags: object) -> dict[str, str]:
    """What a training alone in its directory ends as."""
    out = work / "undisturbed"
    process = train(engine, data_dir, out, *flags)
    engines.finish(engine, process)
    found = picture(out)
    shutil.rmtree(out)
    return found


def _start(engine: Engine, *arguments: object, gate: Path | None = None) -> Process:
    # Nobody waits at the null device: it exists.
    return engines.start(
        engine, _module(engine), *arguments, threads=1, GATE=str(gate or os.devnull)
    )


def _module(engine: Engine) -> str:
    return engine.package if engine is PLAIN else f"{engine.package}.train"


def _end(process: Process) -> tuple[str, str]:
    """Wait for a process; what it said on stdout and stderr. One that hangs is killed."""
    try:
        return process.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def _refused(process: Process, out: str, err: str) -> bool:
    """Whether it ended as a user's mistake must: status 2, one sentence, nothing else."""
    return process.returncode == 2 and re.fullmatch(r"error: [^\n]+\n", err) is not None


def _step(run: Path) -> int:
    return checkpoint.load(checkpoint.find(run)).step


def _wait_for_checkpoint(run: Path, process: Process) -> None:
    while not (run / checkpoint.FILE_NAME).exists() and process.poll() is None:
        time.sleep(0.002)
