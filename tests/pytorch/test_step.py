"""The step against the published loop written out plainly, and against itself in other cuts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common import batches, checkpoint
from common.config import Config
from pytorch_impl import state as states
from pytorch_impl import step as steps
from pytorch_impl.networks import Discriminator, Generator

BATCH, NOISE = 16, 96


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (K, B, 28, 28, 1) that look a little like digits, and noise (K, B, Z)."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (count, BATCH, 28, 28, 1), np.uint8)
    images[:, :, :6] = images[:, :, -6:] = 0
    noise = np.stack([batches.noise(0, step, BATCH, NOISE) for step in range(count)])
    return images, noise


def fresh(**changes: object) -> states.TrainState:
    config = Config(batch_size=BATCH, device="cpu", **changes)  # type: ignore[arg-type]
    state = states.TrainState(config)
    states.from_canonical(state, checkpoint.initial(config))
    return state


def difference(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / norm if norm else float(np.abs(a).max())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_same_as_the_published_loop() -> None:
    """G run twice, full backward passes, running statistics moved twice with momentum 0.1."""
    images, noise = inputs(20)
    ours = fresh(precision="float64")
    start = states.to_canonical(ours)
    losses = steps.train_chunk(ours, images, noise)

    D, G = Discriminator().double(), Generator().double()
    for module in G.modules():
        if hasattr(module, "running_var"):
            module.momentum = 0.1
    with torch.no_grad():
        for network, module in (("discriminator", D), ("generator", G)):
            for name, tensor in states.parameter_tensors(module, network).items():
                array = np.ascontiguousarray(states.from_canonical_layout(name, start[name]))
                tensor.copy_(torch.from_numpy(array))
    adam = {"lr": 3e-4, "betas": (0.5, 0.999), "eps": 1e-8, "foreach": False, "fused": False}
    d_optimizer = torch.optim.Adam(D.parameters(), **adam)
    g_optimizer = torch.optim.Adam(G.parameters(), **adam)
    bce = F.binary_cross_entropy_with_logits
    for step in range(20):
        real = torch.from_numpy(images[step, ..., 0])[:, None].double() / 127.5 - 1
        z = torch.from_numpy(noise[step]).double()
        logits_real, logits_fake = D(real), D(G(z))
        ones, zeros = torch.ones_like(logits_real), torch.zeros_like(logits_real)
        d_loss = bce(logits_real, ones) + bce(logits_fake, zeros)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = bce(D(G(z)), ones)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        assert losses[step, 0] == pytest.approx(d_loss.item(), rel=1e-12)
        assert losses[step, 1] == pytest.approx(g_loss.item(), rel=1e-12)

    found = states.to_canonical(ours)
    for network, module, optimizer in (
        ("discriminator", D, d_optimizer),
        ("generator", G, g_optimizer),
    ):
        for name, tensor in states.parameter_tensors(module, network).items():
            wanted = {name: tensor}
            if tensor in optimizer.state:
                wanted[f"optimizer/{name}/first_moment"] = optimizer.state[tensor]["exp_avg"]
                wanted[f"optimizer/{name}/second_moment"] = optimizer.state[tensor]["exp_avg_sq"]
            for key, value in wanted.items():
                canonical = states.to_canonical_layout(name, value.detach().numpy())
                assert difference(found[key], canonical) < 1e-12, key


def test_metrics_are_those_of_ds_update() -> None:
    images, noise = inputs(1)
    state = fresh()
    with torch.no_grad():
        real = steps.scale_images(torch.from_numpy(images[0]), torch.float32)
        fake = state.generator(torch.from_numpy(noise[0]))
        d_real = state.discriminator(real).sigmoid().mean().item()
        d_fake = state.discriminator(fake).sigmoid().mean().item()
    metrics = steps.train_chunk(fresh(), images, noise)
    assert metrics.shape == (1, 4)
    assert metrics[0, 2] == pytest.approx(d_real, rel=1e-6)
    assert metrics[0, 3] == pytest.approx(d_fake, rel=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bfloat16"}, {"recipe": "tuned", "steps": 8}], ids=str
)
def test_cuts_and_resumes_move_no_bit(changes: dict[str, object]) -> None:
    images, noise = inputs(6)
    whole = fresh(**changes)
    metrics = steps.train_chunk(whole, images, noise)
    first = fresh(**changes)
    a = steps.train_chunk(first, images[:2], noise[:2])
    second = fresh(**changes)
    states.from_canonical(second, states.to_canonical(first))
    b = steps.train_chunk(second, images[2:5], noise[2:5])
    c = steps.train_chunk(second, images[5:], noise[5:])
    np.testing.assert_array_equal(np.concatenate([a, b, c]), metrics)
    wanted, found = states.to_canonical(whole), states.to_canonical(second)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_bfloat16_is_kept_out_of_the_state() -> None:
    images, noise = inputs(2)
    state = fresh(precision="bfloat16")
    metrics = steps.train_chunk(state, images, noise)
    assert metrics.dtype == np.float32
    for name, tensor in states.canonical_tensors(state).items():
        assert tensor.dtype == torch.float32, name
    exact = steps.train_chunk(fresh(), images, noise)
    assert not np.array_equal(metrics, exact)  # it did compute in bfloat16 ...
    np.testing.assert_allclose(metrics, exact, rtol=0.1)  # ... which has 8 bits


def test_generate_does_not_depend_on_batch_mates_or_move_statistics() -> None:
    state = fresh()
    steps.train_chunk(state, *inputs(2))
    before = states.to_canonical(state)
    noise = batches.shown_noise(0, 16, NOISE)
    whole = steps.generate(state, noise)
    assert whole.shape == (16, 28, 28, 1)
    np.testing.assert_allclose(steps.generate(state, noise[3:4])[0], whole[3], atol=1e-6)
    after = states.to_canonical(state)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert state.generator.training


def test_the_averaged_generator_draws_the_samples() -> None:
    state, noise = fresh(recipe="tuned"), batches.shown_noise(0, 4, NOISE)
    steps.train_chunk(state, *inputs(3))
    assert state.average is not None
    images = steps.generate(state, noise)
    drawn = checkpoint.averaged(states.to_canonical(state))
    plain = fresh()
    states.from_canonical(plain, drawn)
    np.testing.assert_array_equal(steps.generate(plain, noise), images)
    states.from_canonical(plain, states.to_canonical(state))
    assert np.abs(steps.generate(plain, noise) - images).max() > 1e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile hides it
@pytest.mark.parametrize("recipe", ["published", "tuned"])
def test_compiled_step_is_the_same_function(recipe: str) -> None:
    images, noise = inputs(3)
    plain, compiled = (fresh(precision="float64", recipe=recipe) for _ in range(2))
    steps.compile_step(compiled)
    wanted = steps.train_chunk(plain, images, noise)
    found = [steps.train_chunk(compiled, images[i:j], noise[i:j]) for i, j in ((0, 2), (2, 3))]
    np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-10)
    for state in (plain, compiled):  # what a run shows at its start, too
        assert steps.generate(state, noise[0]).shape == (len(noise[0]), 28, 28, 1)
    a, b = states.to_canonical(plain), states.to_canonical(compiled)
    for name in a:
        assert difference(b[name], a[name]) < 1e-10, name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_step_in_float32() -> None:
    """Held to the parity ladder's bounds of an iteration: Adam's first update takes the sign of
    gradients that are nothing but rounding, so that what comes after it parts."""
    images, noise = inputs(3)
    plain, compiled = (fresh(precision="float32") for _ in range(2))
    steps.compile_step(compiled)
    first = [steps.train_chunk(state, images[:1], noise[:1]) for state in (plain, compiled)]
    np.testing.assert_allclose(first[1], first[0], rtol=1e-5)
    a, b = states.to_canonical(plain), states.to_canonical(compiled)
    moments = [name for name in a if name.startswith("optimizer/discriminator/")]
    assert {name for name in moments if difference(b[name], a[name]) > 1e-4} == set()
    assert steps.generate(compiled, noise[0]).shape == (len(noise[0]), 28, 28, 1)
    assert np.isfinite(steps.train_chunk(compiled, images[1:], noise[1:])).all()
