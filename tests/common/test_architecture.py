"""The layer tables against the numbers of the two published networks."""

from __future__ import annotations

import pytest

from common.architecture import ARCHITECTURES, Layer, get

TABLE = get("mnist28", 96)


def shown(layers: tuple[Layer, ...]) -> list[tuple[str, tuple[int, ...], int, int]]:
    return [(x.name, x.output_shape, x.trainable, x.statistics) for x in layers]


def test_the_discriminator_has_the_published_layers() -> None:
    assert shown(TABLE.discriminator) == [
        ("conv1", (24, 24, 32), 832, 0),
        ("pool1", (12, 12, 32), 0, 0),
        ("conv2", (8, 8, 64), 51_264, 0),
        ("pool2", (4, 4, 64), 0, 0),
        ("flatten", (1024,), 0, 0),
        ("dense1", (1024,), 1_049_600, 0),
        ("dense2", (1,), 1_025, 0),
    ]


def test_the_generator_has_the_published_layers() -> None:
    assert shown(TABLE.generator) == [
        ("dense1", (1024,), 99_328, 0),
        ("norm1", (1024,), 2_048, 2_048),
        ("dense2", (6272,), 6_428_800, 0),
        ("norm2", (6272,), 12_544, 12_544),
        ("reshape", (7, 7, 128), 0, 0),
        ("deconv1", (14, 14, 64), 131_136, 0),
        ("norm3", (14, 14, 64), 128, 128),
        ("deconv2", (28, 28, 1), 1_025, 0),
    ]


def test_the_totals_are_the_published_ones() -> None:
    assert sum(layer.trainable for layer in TABLE.discriminator) == 1_102_721
    assert sum(layer.trainable for layer in TABLE.generator) == 6_675_009
    assert sum(layer.statistics for layer in TABLE.discriminator) == 0
    assert sum(layer.statistics for layer in TABLE.generator) == 14_720


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("discriminator/conv1/kernel", (5, 5, 1, 32)),
        ("discriminator/conv2/kernel", (5, 5, 32, 64)),
        ("discriminator/dense1/kernel", (1024, 1024)),
        ("discriminator/dense2/bias", (1,)),
        ("generator/dense1/kernel", (96, 1024)),
        ("generator/dense2/kernel", (1024, 6272)),
        ("generator/norm3/moving_variance", (64,)),
        ("generator/deconv1/kernel", (4, 4, 64, 128)),  # (kh, kw, out, in)
        ("generator/deconv2/kernel", (4, 4, 1, 64)),
    ],
)
def test_kernels_have_their_canonical_shapes(name: str, shape: tuple[int, ...]) -> None:
    assert TABLE.parameters()[name] == shape


def test_only_running_statistics_are_not_trainable() -> None:
    rest = TABLE.parameters().keys() - TABLE.trainable().keys()
    assert rest == {
        f"generator/norm{i}/{name}"
        for i in (1, 2, 3)
        for name in ("moving_mean", "moving_variance")
    }
    assert len(TABLE.parameters()) == 8 + 20


def test_the_noise_size_changes_the_first_dense_layer_alone() -> None:
    other = get("mnist28", 100)
    assert other.noise_size == 100
    changed = {n for n, shape in TABLE.parameters().items() if other.parameters()[n] != shape}
    assert changed == {"generator/dense1/kernel"}


def test_the_vectors_that_are_images_are_known() -> None:
    """The layers whose rows or columns a channels-first backend must permute."""
    assert TABLE.flattened_rows() == {"discriminator/dense1": (4, 4, 64)}
    assert TABLE.flattened_columns() == {
        "generator/dense2": (7, 7, 128),
        "generator/norm2": (7, 7, 128),
    }


def test_every_architecture_goes_by_its_own_name() -> None:
    assert all(get(name, 5).name == name for name in ARCHITECTURES)
