"""The command `python -m <impl>.train`: from its flags to its exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from common import batches, commandline, datasets, early, messages, place
from common.config import total_steps
from common.directory import complete
from common.limits import UserError, quoted
from common.plan import Plan, TrainArguments, make_plan
from common.run import Diverged, Run
from common.signals import Signals


def main(backend: str, train: Callable[[Run, batches.Dataset], None]) -> None:
    """`python -m <backend>_impl.train`. `train` imports its framework only when it is called."""
    signals = Signals()
    signals.install()
    with commandline.command():
        where = place.place()
    if where is None:
        _main(backend, train, signals, make_plan, Run)
    else:
        from common import together  # not needed by those who train alone

        with together.member(where) as workers:
            _main(backend, train, signals, workers.make_plan, workers.run)


def _main(
    backend: str,
    train: Callable[[Run, batches.Dataset], None],
    signals: Signals,
    make_plan: Callable[[TrainArguments, set[str], str], Plan],
    make_run: Callable[[Plan, str, Signals], Run],
) -> None:
    run: Run | None = None
    try:
        arguments, given = commandline.parse(
            TrainArguments,
            sys.argv[1:],
            prog=f"python -m {backend}_impl.train",
            description=f"Train the DCGAN with the {backend} backend.",
        )
        plan = make_plan(arguments, given, backend)
        if plan.step == total_steps(plan.config):
            complete(plan)
            print(messages.finished_before(plan.asked, plan.step, plan.config))
            return
        dataset = datasets.load(plan.config)
        run = make_run(plan, backend, signals)
        train(run, dataset)
    except UserError as error:
        if not isinstance(error, Diverged):
            commandline.fail(error)
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except BaseException as error:
        # Whatever an interrupted import or thread turned the signal into, it was the signal.
        received = signals.received or (run.stopping if run is not None else None)
        if received is None:
            if run is not None and _out_of_memory(error):
                commandline.fail(run.too_large())
            raise
        if run is None or run.saved is None:
            print(f"\n{early.NOTHING_SAVED}")
        else:
            print(
                f"\nStopped after step {run.step} of {run.total}; continue with "
                f"{quoted('--resume', run.directory)}"
            )
        sys.stdout.flush()
        raise SystemExit(128 + received) from None


def _out_of_memory(error: BaseException) -> bool:
    """Did an allocation fail? Told by class or words, as no framework is imported here.

    torch.OutOfMemoryError on a GPU, a RuntimeError on a processor; TensorFlow's
    ResourceExhaustedError; JAX's JaxRuntimeError RESOURCE_EXHAUSTED; numpy's MemoryError.
    """
    words = ("OutOfMemoryError", "ResourceExhausted", "RESOURCE_EXHAUSTED", "t allocate memory")
    said = f"{type(error).__name__} {error}"
    return isinstance(error, MemoryError) or any(word in said for word in words)
