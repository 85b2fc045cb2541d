"""Initial weights: distributed as PyTorch's default layers draw them, each by its own name."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest

from common import normal
from common.architecture import dcgan, get
from common.initializers import initial_parameters, name_index

TABLE = get("mnist28", 96)
WEIGHTS = initial_parameters(TABLE, 0)


def test_every_parameter_of_the_table_is_there() -> None:
    assert {name: array.shape for name, array in WEIGHTS.items()} == TABLE.parameters()
    assert {array.dtype for array in WEIGHTS.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        ("discriminator/conv1", 25),
        ("discriminator/conv2", 25 * 32),
        ("discriminator/dense1", 1024),
        ("discriminator/dense2", 1024),
        ("generator/dense1", 96),
        ("generator/dense2", 1024),
        ("generator/deconv1", 16 * 64),  # PyTorch counts a transposed convolution's outputs
        ("generator/deconv2", 16 * 1),
    ],
)
def test_weights_are_uniform_within_one_over_root_fan_in(layer: str, fan_in: int) -> None:
    bound = 1 / math.sqrt(fan_in)
    kernel, bias = (WEIGHTS[f"{layer}/{name}"].astype(np.float64) for name in ("kernel", "bias"))
    assert np.abs(kernel).max() <= bound * (1 + 1e-6)
    assert np.abs(bias).max() <= bound * (1 + 1e-6)
    # Five standard errors; the extremes of n values lie about bound / n from the bound.
    assert abs(kernel.mean()) < 5 * bound / math.sqrt(3 * kernel.size)
    assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=3 / math.sqrt(kernel.size))
    assert kernel.max() > bound * (1 - 20 / kernel.size)
    assert kernel.min() < -bound * (1 - 20 / kernel.size)


def test_batch_norm_begins_as_the_identity() -> None:
    for norm in ("norm1", "norm2", "norm3"):
        assert (WEIGHTS[f"generator/{norm}/scale"] == 1).all()
        assert (WEIGHTS[f"generator/{norm}/offset"] == 0).all()
        assert (WEIGHTS[f"generator/{norm}/moving_mean"] == 0).all()
        assert (WEIGHTS[f"generator/{norm}/moving_variance"] == 1).all()


def test_an_array_depends_on_its_name_and_the_seed_alone() -> None:
    fewer = dataclasses.replace(TABLE, discriminator=(), generator=TABLE.generator[2:])
    for name, array in initial_parameters(fewer, 0).items():
        np.testing.assert_array_equal(array, WEIGHTS[name])


def test_no_two_arrays_share_their_stream() -> None:
    drawn = [a.ravel() for n, a in WEIGHTS.items() if n.endswith("kernel")]
    scaled = {tuple((a[:8] / np.abs(a[:8]).max()).tolist()) for a in drawn}
    assert len(scaled) == len(drawn) == 8
    assert len({name_index(name) for name in WEIGHTS}) == len(WEIGHTS)


def test_another_seed_gives_other_weights() -> None:
    other = initial_parameters(TABLE, 1)
    for name, array in WEIGHTS.items():
        if name.endswith(("kernel", "bias")):
            assert not np.array_equal(array, other[name])


def test_golden_values() -> None:
    """Written down once: a change here changes every run that anyone has made."""
    assert name_index("discriminator/conv1/kernel") == 10_322_426_923_335_198_475
    for name, values in {
        "discriminator/conv1/kernel": (
            0.1830616444349289,
            -0.047143079340457916,
            0.014516735449433327,
        ),
        "discriminator/dense2/bias": (-0.0008964315056800842,),
        "generator/dense1/kernel": (
            -0.0005179019644856453,
            0.09909892827272415,
            -0.05297383666038513,
        ),
        "generator/deconv1/kernel": (
            -0.00037105754017829895,
            0.030410118401050568,
            -0.005172278732061386,
        ),
    }.items():
        assert tuple(WEIGHTS[name].ravel()[:3].tolist()) == values
    everything = b"".join(WEIGHTS[name].astype("<f4").tobytes() for name in sorted(WEIGHTS))
    assert (
        hashlib.sha256(everything).hexdigest()
        == "90f31d2e57b9b1a6fcb4b1ec0bc72fc35f611da586f388e498c2c5f43f4b9c1f"
    )


# ------------------------------------------------------------------ the paper's networks

PAPER = initial_parameters(dcgan(), 0)


@pytest.mark.parametrize(
    ("seed", "sha256", "of_arrays"),
    [
        (
            0,
            "cac2fbeac9b55ce4",
            {
                "discriminator/conv1/kernel": "a510a8c6ba76216f",
                "discriminator/norm2/scale": "2e410ad67e87f330",
                "generator/deconv1/kernel": "6566eb24786ef2a7",
                "generator/norm4/scale": "12fed3cc0e0757ba",
            },
        ),
        (
            2**63 - 1,
            "86d2dd314e7e3e09",
            {
                "discriminator/conv1/kernel": "47f5b941799ccf71",
                "discriminator/norm2/scale": "296d3e03627962a2",
                "generator/deconv1/kernel": "51edb78f1aec7411",
                "generator/norm4/scale": "2306837d9b0b7a16",
            },
        ),
    ],
    ids=["first seed", "last seed"],
)
def test_normal_weights_have_the_same_bits_everywhere(
    seed: int, sha256: str, of_arrays: dict[str, str]
) -> None:
    """Of some arrays, which say where a change is, and of all."""
    arrays = initial_parameters(dcgan(), seed)
    content = {name: arrays[name].astype("<f4").tobytes() for name in sorted(arrays)}
    for name, wanted in of_arrays.items():
        assert hashlib.sha256(content[name]).hexdigest()[:16] == wanted, name
    everything = b"".join(name.encode() + content[name] for name in content)
    assert hashlib.sha256(everything).hexdigest()[:16] == sha256


def test_a_normal_array_depends_on_its_name_and_the_seed_alone() -> None:
    """The larger networks' layers next to the image are the smaller's."""
    for shape in ({"image_size": 32}, {"image_size": 128}, {"noise_size": 7}):
        other = initial_parameters(dcgan(**shape), 0)
        alike = [n for n, array in other.items() if n in PAPER and array.shape == PAPER[n].shape]
        assert "discriminator/conv1/kernel" in alike
        for name in alike:
            np.testing.assert_array_equal(other[name], PAPER[name])
        assert len(alike) < len(PAPER)


def test_no_two_normal_arrays_go_together() -> None:
    """The correlation of each pair within five standard errors of 0; of one stream it is 1."""
    drawn = [a.ravel() for n, a in PAPER.items() if n.endswith("/kernel") and a.size >= 3000]
    rows = np.corrcoef([array[:3000].astype(np.float64) for array in drawn])
    assert len(drawn) == 10
    assert np.abs(rows[~np.eye(10, dtype=bool)]).max() < 5 / math.sqrt(3000)
    scales = {tuple(array[:8].tolist()) for n, array in PAPER.items() if n.endswith("/scale")}
    assert len(scales) == 7


def test_kernels_and_scales_are_normal() -> None:
    """Moments within five standard errors, and the distribution function within Kolmogorov's bound
    of one in a thousand."""
    scales = np.concatenate([PAPER[n].ravel() for n in PAPER if n.endswith("/scale")])
    kernels = {n: PAPER[n].ravel() for n in PAPER if n.endswith("/kernel")} | {"scales": scales - 1}
    for name, values in kernels.items():
        z = np.sort(values.astype(np.float64) / 0.02)
        n = len(z)
        assert abs(z.mean()) < 5 / math.sqrt(n), name
        assert abs(z.var() - 1) < 5 * math.sqrt(2 / n), name
        assert abs((z**4).mean() / z.var() ** 2 - 3) < 5 * math.sqrt(24 / n), name  # kurtosis
        below = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z[:: max(1, n // 2000)]])
        steps = np.arange(0, n, max(1, n // 2000))
        assert np.abs(below - (steps + 0.5) / n).max() < 1.95 / math.sqrt(n), name
    for name, array in PAPER.items():
        kind = name.rsplit("/", 1)[1]
        if kind in ("offset", "moving_mean", "moving_variance"):
            assert (array == (kind == "moving_variance")).all()


def test_the_inverse_of_the_normal_distribution_function() -> None:
    """Against the standard library's, from one end of 32 bits to the other."""
    p = np.concatenate([np.arange(1, 2000) / 2000, 2.0 ** -np.arange(2, 34)])
    p = np.concatenate([p, 1 - p])
    wanted = np.array([NormalDist().inv_cdf(x) for x in p])
    np.testing.assert_allclose(normal._quantile(p), wanted, rtol=5e-7, atol=1e-12)
    np.testing.assert_allclose(normal._log(p), np.log(p), rtol=1e-12, atol=5e-14)


def test_a_long_stream_begins_as_a_short_one() -> None:
    long = normal.normal(3, 3, 1, normal.BLOCK + 77)
    np.testing.assert_array_equal(normal.normal(3, 3, 1, 99), long[:99])
    assert np.abs(long).max() < 6.3
