"""Train the DCGAN with PyTorch: `python -m pytorch_impl.train --help`."""

from __future__ import annotations

if __name__ == "__main__":
    from common import early

    early.install()  # first: Ctrl-C is answered while the rest is loaded

from common import run as runs
from common.batches import Dataset


def train(run: runs.Run, dataset: Dataset) -> None:
    """Train from the run's state to its last step."""
    # Imported here, so that a mistake on the command line is answered before a framework loads.
    import torch

    from pytorch_impl import state as states
    from pytorch_impl import step as steps

    state = states.TrainState(run.config)
    states.from_canonical(state, run.arrays)
    if run.config.compile:
        steps.compile_step(state)
    on_cpu = state.device.type == "cpu"

    with run.open(states.describe(state.device), torch.get_num_threads(), ("torch", "torchvision")):
        if run.step == 0:
            run.show(steps.generate(state, run.noise))
        for chunk in run.chunks(dataset, most=10 if on_cpu else 250, vary=on_cpu):
            run.record(chunk, steps.train_chunk(state, chunk.images, chunk.noise))
            if run.shows(chunk.end):
                run.show(steps.generate(state, run.noise))
            if run.saves(chunk.end):
                run.save(states.to_canonical(state))


if __name__ == "__main__":
    runs.main("pytorch", train)
