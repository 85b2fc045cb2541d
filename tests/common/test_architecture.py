"""The layer tables against the numbers of the two published networks."""

from __future__ import annotations

import pytest

from common.architecture import ARCHITECTURES, Layer, dcgan, get

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


# ------------------------------------------------------------------ the paper's networks


def test_the_papers_discriminator_has_the_examples_layers() -> None:
    assert shown(dcgan().discriminator) == [
        ("conv1", (32, 32, 64), 3_072, 0),
        ("conv2", (16, 16, 128), 131_072, 0),
        ("norm2", (16, 16, 128), 256, 256),
        ("conv3", (8, 8, 256), 524_288, 0),
        ("norm3", (8, 8, 256), 512, 512),
        ("conv4", (4, 4, 512), 2_097_152, 0),
        ("norm4", (4, 4, 512), 1_024, 1_024),
        ("conv5", (1, 1, 1), 8_192, 0),
        ("flatten", (1,), 0, 0),
    ]


def test_the_papers_generator_has_the_examples_layers() -> None:
    assert shown(dcgan().generator) == [
        ("deconv1", (4, 4, 512), 819_200, 0),
        ("norm1", (4, 4, 512), 1_024, 1_024),
        ("deconv2", (8, 8, 256), 2_097_152, 0),
        ("norm2", (8, 8, 256), 512, 512),
        ("deconv3", (16, 16, 128), 524_288, 0),
        ("norm3", (16, 16, 128), 256, 256),
        ("deconv4", (32, 32, 64), 131_072, 0),
        ("norm4", (32, 32, 64), 128, 128),
        ("deconv5", (64, 64, 3), 3_072, 0),
    ]


@pytest.mark.parametrize(
    ("size", "channels", "d_count", "g_count", "d_statistics", "g_statistics"),
    [
        (32, 1, 661_248, 1_066_880, 768, 896),
        (32, 3, 663_296, 1_068_928, 768, 896),
        (64, 1, 2_763_520, 3_574_656, 1_792, 1_920),
        (64, 3, 2_765_568, 3_576_704, 1_792, 1_920),
        (128, 1, 11_162_368, 12_784_512, 3_840, 3_968),
        (128, 3, 11_164_416, 12_786_560, 3_840, 3_968),
    ],
)
def test_the_papers_totals(
    size: int, channels: int, d_count: int, g_count: int, d_statistics: int, g_statistics: int
) -> None:
    """At width 64 and noise 100."""
    table = dcgan(image_size=size, channels=channels)
    found = [
        (sum(x.trainable for x in layers), sum(x.statistics for x in layers))
        for layers in (table.discriminator, table.generator)
    ]
    assert found == [(d_count, d_statistics), (g_count, g_statistics)]
    assert table.generator[-1].output_shape == table.image_shape == (size, size, channels)
    assert not any(name.endswith("/bias") for name in table.parameters())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("discriminator/conv1/kernel", (4, 4, 3, 64)),
        ("discriminator/conv5/kernel", (4, 4, 512, 1)),
        ("generator/deconv1/kernel", (4, 4, 512, 100)),  # (kh, kw, out, in)
        ("generator/deconv5/kernel", (4, 4, 3, 64)),
        ("generator/norm4/moving_variance", (64,)),
    ],
)
def test_the_papers_kernels_have_their_canonical_shapes(name: str, shape: tuple[int, ...]) -> None:
    assert dcgan().parameters()[name] == shape


def test_the_paper_flattens_no_image_into_a_dense_layer() -> None:
    """So no rows or columns move between channels first and channels last."""
    assert dcgan().flattened_rows() == dcgan().flattened_columns() == {}


def test_every_architecture_goes_by_its_own_name() -> None:
    assert all(get(name, 5).name == name for name in ARCHITECTURES)
