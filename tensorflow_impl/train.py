"""Train the DCGAN with TensorFlow: `python -m tensorflow_impl.train --help`."""

from __future__ import annotations

if __name__ == "__main__":
    from common import early

    early.install()  # first: Ctrl-C is answered while the rest is loaded

from common import training
from common.batches import Dataset
from common.run import Run


def train(run: Run, dataset: Dataset) -> None:
    """Train from the run's state to its last step."""
    # Imported here, so that a mistake on the command line is answered before a framework loads.
    if run.workers:
        from tensorflow_impl import workers

        workers.connect(run.workers)  # first: it is what a framework starts with
    from tensorflow_impl import device  # first: it imports TensorFlow quietly
    from tensorflow_impl.canonical import to_canonical
    from tensorflow_impl.compiled import compile_step, train_chunk
    from tensorflow_impl.inference import generate
    from tensorflow_impl.state import make_state

    state = make_state(run.config, run.arrays)
    if run.workers:
        workers.share(state)
    if run.config.compile:
        compile_step(state)
    on_cpu = state.device == device.CPU

    with run.open(device.describe(state.device), device.threads(), device.PACKAGES):
        if run.step == 0:
            run.show(generate(state, run.noise))
        for chunk in run.chunks(dataset, most=10 if on_cpu else 250, vary=on_cpu):
            run.record(chunk, train_chunk(state, chunk.images, chunk.noise))
            if run.shows(chunk.end):
                run.show(generate(state, run.noise))
            if run.saves(chunk.end):
                run.save(to_canonical(state))
    if run.workers:
        workers.disconnect()


if __name__ == "__main__":
    training.main("tensorflow", train)
