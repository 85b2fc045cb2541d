"""The quality measures: each against a second implementation, then what they must notice.

Last the command, on files and on a real run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
from PIL import Image

from common import checkpoint, config, datasets, sampling
from common.config import UserError
from common.images import save_png
from compare import runs
from compare.quality import bands, evaluate, pictures, scorer
from compare.quality import measures as quality
from compare.report import build as report
from compare.report import records

COUNT = 1000


def normal(seed: int, rows: int, columns: int = 24) -> np.ndarray:
    """Correlated values with a mean, float32."""
    generator = np.random.Generator(np.random.Philox(seed))
    mixing = generator.normal(size=(columns, columns)) / 5
    return (generator.normal(size=(rows, columns)) @ mixing + generator.normal()).astype("f4")


A, B = normal(0, 700), normal(1, 900)


# ------------------------------------------------------------------ second implementations


def test_frechet_distance_against_scipy() -> None:
    (m1, c1), (m2, c2) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (A.astype(float), B))
    root = scipy.linalg.sqrtm(c1 @ c2).real
    wanted = np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * root)
    assert quality.frechet_distance(A, B) == pytest.approx(wanted, rel=1e-5)
    assert quality.frechet_distance(B, A) == pytest.approx(quality.frechet_distance(A, B), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_frechet_and_kernel_distance_against_torchmetrics() -> None:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Identity(torch.nn.Module):
        num_features = A.shape[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.double()

    a, b = torch.from_numpy(A).double(), torch.from_numpy(B[: len(A)]).double()
    frechet = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    kernel = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=len(A))
    for metric in (frechet, kernel):
        metric.update(a, real=True)
        metric.update(b, real=False)
    ours = quality.frechet_distance(A, B[: len(A)])
    assert ours == pytest.approx(frechet.compute().item(), rel=1e-6)
    ours, spread = quality.kernel_distance(A, B[: len(A)], subsets=1)
    assert ours == pytest.approx(kernel.compute()[0].item(), rel=1e-5)
    assert spread == 0


def test_kernel_distance_over_subsets() -> None:
    parts = [quality.kernel_distance(A[i::7], B[i::7], subsets=1)[0] for i in range(7)]
    mean, spread = quality.kernel_distance(A, B, subsets=7)
    assert mean == pytest.approx(np.mean(parts), rel=1e-12)
    assert spread == pytest.approx(np.std(parts, ddof=1), rel=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.5])  # too little variety, too much
def test_precision_and_recall_against_prdc(scale: float) -> None:
    from prdc import compute_prdc

    real, fake = np.split(normal(2, 2400, 6), 2)
    fake = real.mean(0) + np.float32(scale) * (fake - real.mean(0)) + np.float32(0.1)
    found = quality.precision_recall(fake, real)
    wanted = compute_prdc(real, fake, nearest_k=quality.NEIGHBOURS)
    # Rows at the very edge may fall to either side in float32.
    assert found[0] == pytest.approx(wanted["precision"], abs=1.5 / len(fake))
    assert found[1] == pytest.approx(wanted["recall"], abs=1.5 / len(real))
    assert (found[0] > found[1]) == (scale < 1)


def test_nearest_distances_against_all_pairs() -> None:
    wanted = scipy.spatial.distance.cdist(A, B)
    np.testing.assert_allclose(quality.nearest_distances(A, B), wanted.min(1), rtol=1e-5)
    among = scipy.spatial.distance.cdist(A, A)
    np.fill_diagonal(among, np.inf)
    np.testing.assert_allclose(quality.nearest_distances(A), among.min(1), rtol=1e-5)
    assert quality.nearest_distances(B[5:9], B).tolist() == [0.0] * 4  # copies, exactly


def test_class_divergence_against_scipy() -> None:
    counts, wanted = np.array([5, 0, 15, 30]), np.array([10, 10, 20, 10])
    ours = quality.class_divergence(counts, wanted)
    assert ours == pytest.approx(scipy.stats.entropy(counts, wanted), rel=1e-12)
    assert quality.class_divergence(wanted, wanted) == 0
    assert quality.class_counts(np.eye(4)[[0, 2, 2, 3]]).tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize("t", [-3.0, -0.4, 0.0, 0.7, 2.0, 6.0])
@pytest.mark.parametrize("degrees", [1.0, 2.7, 6.0, 40.0])
def test_student_tail_against_scipy(t: float, degrees: float) -> None:
    wanted = scipy.stats.t.sf(t, degrees)
    assert bands.student_tail(t, degrees) == pytest.approx(wanted, rel=1e-5)


def test_equivalence_against_two_welch_tests() -> None:
    a, b = [3.1, 2.8, 3.4, 3.0, 3.3], [3.5, 2.9, 3.2]
    x, y, log = np.log(a), np.log(b), math.log(1.5)
    lower = scipy.stats.ttest_ind(x + log, y, equal_var=False, alternative="greater").pvalue
    upper = scipy.stats.ttest_ind(x - log, y, equal_var=False, alternative="less").pvalue
    found = bands.equivalence(a, b)
    assert found is not None
    assert found["p"] == pytest.approx(max(lower, upper), rel=1e-6)
    assert found["ratio"] == pytest.approx(np.exp(x.mean() - y.mean()), rel=1e-12)
    assert bands.equivalence(a, [v * 1.5 for v in a])["p"] == pytest.approx(0.5)  # type: ignore[index]
    assert bands.equivalence([1.0], a) is None


# ------------------------------------------------------------------ what they must notice


@pytest.fixture(scope="module")
def extractor() -> scorer.Extractor:
    return scorer.Extractor()


@pytest.fixture(scope="module")
def digits(data_dir: str) -> np.ndarray:
    """Test digits, (N, 28, 28) uint8; the first COUNT are the images, the others the reference."""
    return datasets.mnist_images(data_dir, "t10k")[: 2 * COUNT, ..., 0]


@pytest.fixture(scope="module")
def real(extractor: scorer.Extractor, digits: np.ndarray) -> quality.Features:
    return extractor(digits[COUNT:])


def scores(
    images: np.ndarray, extractor: scorer.Extractor, real: quality.Features
) -> dict[str, float]:
    return quality.measures(extractor(images), real, real.pixels)


def test_the_shipped_extractor_reads_the_test_digits(
    extractor: scorer.Extractor, data_dir: str
) -> None:
    images = datasets.mnist_images(data_dir, "t10k")[..., 0]
    labels = datasets.mnist_labels(data_dir, "t10k")
    answers = extractor(images).probabilities.argmax(1)
    accuracy = float((answers == labels).mean())
    assert accuracy >= 0.993
    assert accuracy == pytest.approx(extractor.test_accuracy, abs=2e-4)


def test_features_have_unit_variance_and_the_probabilities_follow(
    extractor: scorer.Extractor, real: quality.Features
) -> None:
    assert real.features.shape == (COUNT, extractor.dimension) == (COUNT, 128)
    assert real.features.dtype == real.pixels.dtype == np.float32
    assert real.features.var(0).mean() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(real.probabilities.sum(1), 1, rtol=1e-5)


def test_a_set_against_itself_and_against_others_like_it(
    extractor: scorer.Extractor, digits: np.ndarray, real: quality.Features
) -> None:
    same = quality.measures(real, real, real.pixels)
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert same["kernel_distance"] <= 0  # unbiased: each image meets itself in the mixed term only
    assert same["precision"] == same["recall"] == 1
    assert same["class_kl"] == 0
    assert same["to_training_median"] == 0
    assert same["to_samples_median"] > 1
    other = scores(digits[:COUNT], extractor, real)
    assert 0 < other["frechet_distance"] < 2
    assert abs(other["kernel_distance"]) < 4 * other["kernel_distance_spread"]
    assert min(other["precision"], other["recall"]) > 0.8


def noisy(images: np.ndarray, strength: float) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(3))
    values = images + strength * 255 * generator.normal(size=images.shape)
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def blurred(images: np.ndarray, times: float) -> np.ndarray:
    values = images.astype(np.float64)
    for _ in range(int(times)):
        for axis in (1, 2):
            values = (np.roll(values, 1, axis) + 2 * values + np.roll(values, -1, axis)) / 4
    return np.rint(values).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "strengths", "falling"),
    [
        (noisy, (0, 0.1, 0.2, 0.4), "precision"),
        # Not precision: what all looks alike lies inside the real set.
        (blurred, (0, 1, 3, 6), "recall"),
    ],
)
def test_worse_pictures_score_worse(
    change,
    strengths,
    falling: str,
    extractor: scorer.Extractor,
    digits: np.ndarray,
    real: quality.Features,
) -> None:
    found = [scores(change(digits[:COUNT], s), extractor, real) for s in strengths]
    for name in ("frechet_distance", "kernel_distance"):
        values = [each[name] for each in found]
        assert values == sorted(values), name
    for name in (falling, "confident"):
        values = [each[name] for each in found]
        assert values[0] > values[-1], name


def test_lost_classes_are_noticed(
    extractor: scorer.Extractor, digits: np.ndarray, real: quality.Features, data_dir: str
) -> None:
    labels = datasets.mnist_labels(data_dir, "t10k")[:COUNT]
    found = []
    for kept in (10, 8, 5, 2):
        images = digits[:COUNT][labels < kept]
        found.append(scores(images[np.arange(COUNT) % len(images)], extractor, real))
    for name in ("frechet_distance", "kernel_distance", "class_kl"):
        values = [each[name] for each in found]
        assert values == sorted(values), name
    assert [each["recall"] for each in found] == sorted((e["recall"] for e in found), reverse=True)
    assert found[0]["rarest_class"] > 0.05
    assert found[-1]["rarest_class"] < 0.01
    assert found[-1]["precision"] > 0.8  # each picture alone is as good as before


def test_copies_and_collapse_are_noticed(
    extractor: scorer.Extractor, digits: np.ndarray, real: quality.Features
) -> None:
    fresh = scores(digits[:COUNT], extractor, real)
    assert fresh["to_training_low"] > 1
    copies = quality.measures(extractor(digits[COUNT:]), real, real.pixels)
    assert copies["to_training_low"] == copies["to_training_median"] == 0
    one = scores(np.repeat(digits[:1], COUNT, axis=0), extractor, real)
    assert one["to_samples_median"] == 0
    assert one["recall"] < 0.01
    assert all(math.isfinite(value) for value in one.values())


# ------------------------------------------------------------------ other data sets


def test_modes_of_numbers() -> None:
    every = np.array(list(np.ndindex(10, 10, 10)))
    assert quality.modes(every) == (1000, 0)
    assert quality.modes(every[[123] * 5]) == (1, pytest.approx(math.log(1000)))
    found, divergence = quality.modes(every[:250].repeat(2, axis=0))
    assert (found, divergence) == (250, pytest.approx(math.log(4)))
    some = every[np.arange(3000) ** 2 % 1000]
    shares = np.bincount(some @ [100, 10, 1], minlength=1000)
    assert quality.modes(some)[1] == pytest.approx(scipy.stats.entropy(shares, np.ones(1000)))


def stacked(digits: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(N, 28, 28) digits and (M, 3) of them -> (M, 32, 32, 3)."""
    return np.pad(np.moveaxis(digits[which], 1, 3), ((0, 0), (2, 2), (2, 2), (0, 0)))


def test_modes_of_stacked_digits(
    extractor: scorer.Extractor, digits: np.ndarray, data_dir: str
) -> None:
    labels = datasets.mnist_labels(data_dir, "t10k").astype(np.int64)
    which = np.arange(3 * 1200).reshape(-1, 3) ** 2 % len(digits)  # more than one block
    images = stacked(digits, which)
    modes = pictures.Modes(extractor, datasets.ArrayDataset(images))
    read = np.concatenate([modes.digits(images[:700]), modes.digits(images[700:])])
    assert (read == labels[which]).mean() > 0.98
    found = modes.measures(images)
    assert (found["modes"], found["mode_kl"]) == quality.modes(read)
    assert modes.floor(1200) == found
    assert set(found) == set(modes.columns)


def test_digits_within_32_pixels_are_scored_without_their_margin(digits: np.ndarray) -> None:
    class Inner:
        extractor = floor = None

        def measures(self, images: np.ndarray) -> np.ndarray:
            return images

    margin = ((0, 0), (2, 2), (2, 2), (0, 0))
    wide = np.pad(digits[:9, ..., None], margin, constant_values=9)
    assert (pictures.Digits(Inner()).measures(wide) == digits[:9]).all()  # type: ignore[arg-type]


class Numbered:
    """A data set whose every picture says its number."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, side: int = 16) -> None:
        self.shape = (count, side, side, 1)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        found = np.zeros((len(indices), *self.shape[1:]), np.uint8)
        found[:, 0, :2, 0] = np.stack([indices // 256, indices % 256], axis=1)
        return found


@pytest.mark.parametrize("held_out", [None, 300])
def test_which_real_pictures_are_compared(
    held_out: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def between(*sets: set[int]) -> dict[int, float]:
        seen.append(sets)
        return {32: 1.0, 16: 3.0}

    def profiles(images: np.ndarray) -> set[int]:
        return set((images[:, 0, :2, 0].astype(int) @ [256, 1]).tolist())

    monkeypatch.setattr(pictures.pyramids, "profiles", profiles)
    monkeypatch.setattr(pictures.pyramids, "between", between)
    other = None if held_out is None else Numbered(held_out)
    part = pictures.Pyramids(32, Numbered(501), other)
    assert part.count == (held_out or 250)
    assert part.floor(10_000) == {"swd": 2.0, "swd_32": 1.0, "swd_16": 3.0}
    assert set(part.columns) == set(part.floor(100))
    (whole, of_whole), (few, of_few) = seen
    assert [len(s) for s in (whole, of_whole, few, of_few)] == [part.count] * 2 + [100] * 2
    assert few < whole
    assert of_few < of_whole
    if held_out is None:
        assert not whole & of_whole
    else:
        assert of_whole == set(range(held_out))
        assert max(whole) > held_out
    seen.clear()
    part.measures(Numbered(90).gather(np.arange(90)))
    assert seen[0][1] < of_few


@pytest.mark.parametrize(
    ("dataset", "side", "channels", "columns"),
    [("kmnist", 28, 1, ["swd"]), ("svhn", 32, 3, ["swd", "swd_32", "swd_16"])],
)
def test_what_is_measured_of_a_data_set_by_name(
    dataset: str, side: int, channels: int, columns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(dataset: str, split: str, *_: object) -> np.ndarray:
        count = {"train": 90, "test": 70}[split]
        noise = np.random.Generator(np.random.Philox(count))
        return noise.integers(0, 256, (count, side, side, channels), np.uint8)

    monkeypatch.setattr(datasets, "_images", images)
    judge = pictures.judge(config.Config(dataset=dataset), "nowhere")
    assert (judge.kind, judge.count) == ((dataset, (side, side, channels)), 70)
    assert list(judge.columns) == columns
    found = judge.measures(images("", "test").squeeze())
    assert found["swd"] == 0  # they are the reference
    assert judge.floor(1000)["swd"] > 0
    assert judge.reference(1000)["count"] == 70


# ------------------------------------------------------------------ bands


def run_of(frechet: float, **changes: float) -> dict:
    names = [*scorer.MEASURES, "kernel_distance_spread"]
    measures = dict.fromkeys(names, 0.5) | {"frechet_distance": frechet} | changes
    losses = {"d_loss": 1.0, "g_loss": frechet}
    done = {"seed": 0, "finished": True, "failed": False}
    return done | {"measures": measures, "losses": losses}


def test_a_run_without_samples_stays_in_the_band() -> None:
    broken = {"seed": 2, "finished": False, "failed": True, "measures": None, "losses": {}}
    row = bands.summarize([run_of(2.0), run_of(4.0), broken])
    assert row["failed"] == pytest.approx(1 / 3)
    assert row["mean"]["frechet_distance"] == 3
    assert row["spread"]["frechet_distance"] == pytest.approx(2**0.5)
    assert len(row["runs"]) == 3
    assert row["losses"][0] == {"d_loss": 1.0, "g_loss": 3.0}
    assert bands.summarize([broken])["mean"] is None
    assert bands.summarize([broken])["losses"] is None


@pytest.mark.parametrize(
    ("complete", "changes", "failed"),
    [(True, {}, False), (False, {}, True), (True, {"rarest_class": 0.009}, True),
     (True, {"confident": 0.4}, True)],
)  # fmt: skip
def test_what_counts_as_failed(complete: bool, changes: dict[str, float], failed: bool) -> None:
    good = {"rarest_class": 0.08, "confident": 0.9}
    assert bands.failed(complete, good | changes) is failed
    assert bands.failed(True, None)


def test_the_table_has_the_floor_on_top_and_every_engine() -> None:
    rows = [
        {"recipe": "published", "engine": engine, "precision": precision}
        | bands.summarize([run_of(x), run_of(1.01 * x)])
        for engine, precision, x in (
            ("pytorch", "float32", 3.0),
            ("keras", "float32", 3.05),
            ("keras", "bfloat16", 3.05),
        )
    ]
    record = {"floor": run_of(0.5)["measures"], "rows": rows, "margin": 1.5}
    lines = bands.table(record | {"equivalence": bands.compare(rows)}).splitlines()
    assert lines[2].startswith("| real digits, held out |")
    assert lines[3].startswith("| published, pytorch | 2 | 0% | 3.015 ± 0.021 |")
    assert lines[3].endswith("| 1.000 ± 0.000 | 3.015 ± 0.021 |")
    assert lines[5].startswith("| published, keras (bfloat16) |")
    assert "pytorch to keras:" in lines[-3]
    assert "0.98, equivalent within a factor of 1.5" in lines[-3]
    assert "keras to keras (bfloat16)" in lines[-1]
    assert bands.commands(rows) == [
        "python -m compare.bands --engines pytorch,keras --seeds 2,2",
        "python -m compare.bands --precision bfloat16 --engines keras --seeds 2",
    ]


def test_only_rows_of_the_same_measure_are_kept(tmp_path: Path) -> None:
    record = {
        "extractor": {"sha256": scorer.EXTRACTOR_SHA256},
        "samples": {"count": scorer.COUNT},
        "rows": [{"recipe": "tuned", "precision": "float32"}],
    }
    out = tmp_path / "quality.json"
    assert bands.earlier_rows(out) == []
    for changes, rows in (
        ({}, record["rows"]),
        ({"extractor": {"sha256": "0"}}, []),
        ({"samples": {"count": 10}}, []),
        ({"rows": None}, []),
    ):
        out.write_text(json.dumps(record | changes))
        assert bands.earlier_rows(out) == rows
    assert bands.is_of(record["rows"][0], "tuned", "float32")
    assert not bands.is_of(record["rows"][0], "tuned", "bfloat16")


def test_what_is_not_here_keeps_its_scores_and_the_rest_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, asked = tmp_path / "quality.json", []

    class Scorer:
        class extractor:
            test_accuracy = 0.99

        def __init__(self, data_dir: str) -> None: ...

        def floor(self, count: int) -> dict[str, float]:
            return run_of(0.5)["measures"]

    def train(job: runs.Job) -> runs.Outcome | None:
        asked.append(job.run.name)
        job.run.mkdir(parents=True)
        (job.run / checkpoint.FILE_NAME).touch()
        return runs.Outcome("diverged", 1) if job.settings.seed == 1 else None

    monkeypatch.setattr(bands, "Scorer", Scorer)
    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(evaluate, "scores", lambda run, engine, scorer: run_of(3.0))

    def record(*arguments: str) -> dict:
        given = ["--runs-dir", str(tmp_path / "runs"), "--out", str(out), *arguments]
        monkeypatch.setattr("sys.argv", ["bands", *given])
        bands.main()
        return json.loads(out.read_text())

    first = record("--engines", "pytorch", "--seeds", "2")
    assert asked == ["pytorch-mnist-seed0", "pytorch-mnist-seed1"]
    assert [run["failed"] for run in first["rows"][0]["runs"]] == [False, True]
    shutil.rmtree(tmp_path / "runs")
    found = record(
        "--engines", "pytorch,keras", "--seeds", "2,1", "--keep", "--recipe", "published"
    )
    assert asked[2:] == ["keras-mnist-seed0"]
    assert [row["engine"] for row in found["rows"]] == ["pytorch", "keras"]
    assert found["rows"][0] == first["rows"][0]
    assert "its scores in" in capsys.readouterr().out


def test_seeds_for_each_engine() -> None:
    assert runs.seed_counts("5", 3) == [5, 5, 5]
    assert runs.seed_counts("5,3,3", 3) == [5, 3, 3]
    for wrong in ("5,3", "0", "-1", "many", "", "5,3,3,"):
        with pytest.raises(UserError, match="--seeds takes"):
            runs.seed_counts(wrong, 3)


# ------------------------------------------------------------------ the command


def refused(command, *arguments: object) -> str:
    done = command("compare.evaluate", *arguments, status=2)
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_mistakes_get_one_sentence(command, tmp_path: Path) -> None:
    assert "There is no no/such/run" in refused(command, "no/such/run")
    assert "--count takes a whole number from 129" in refused(command, tmp_path, "--count", 128)
    assert "has no checkpoint yet" in refused(command, tmp_path)
    assert "missing" in refused(command)
    assert "leave out --dataset" in refused(command, sampling.PRETRAINED, "--dataset", "svhn")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((200, 28, 28), bool), "holds bool of shape"),
        (np.zeros((200, 32, 32), np.uint8), "shape (200, 32, 32)"),
        (np.zeros((200, 28, 28, 3), np.uint8), "shape (200, 28, 28, 3)"),
        (np.zeros(3, np.uint8), "shape (3,)"),
        (np.array([{}]), "cannot be read as an array"),
        (b"no array", "cannot be read as an array"),
    ],
)
def test_what_is_no_array_of_images(array, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(array) if isinstance(array, bytes) else np.save(path, array)
    with pytest.raises(UserError) as caught:
        evaluate.read_images(path, 1000)
    assert said in str(caught.value)


WANTED = np.random.default_rng(3).integers(0, 256, (30, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize(("values", "note"), [
    (WANTED, ""),
    (WANTED / 255, "float64 in [0, 1]"),
    ((WANTED / 127.5 - 1).astype(np.float32), "float32 in [-1, 1]"),
    ((WANTED / 255).astype(np.float16), "float16 in [0, 1]"),
])  # fmt: skip
def test_arrays_as_others_have_them(
    values: np.ndarray, note: str, ending: str, first: bool, tmp_path: Path
) -> None:
    """What was taken for what is said."""
    path = tmp_path / f"x{ending}"
    stored = np.moveaxis(values, 3, 1) if first else values
    if ending == ".npz":
        np.savez(path, labels=np.zeros(30, int), made=stored)
    else:
        np.save(path, stored)
    found = evaluate.subject(str(path), "auto", "cifar10")
    np.testing.assert_array_equal(evaluate.images_of(found, 20, 0), WANTED[:20])
    assert found.note == ", ".join([note] * bool(note) + ["channels first"] * first)


def test_a_folder_of_pictures_as_others_have_them(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    for i, image in enumerate(WANTED):
        save_png(folder / f"{i:03d}.png", image)
    found = evaluate.subject(str(folder), "auto", "cifar10")
    assert found.note == "30 pictures of 32 x 32 pixels"
    np.testing.assert_array_equal(evaluate.images_of(found, 20, 0), WANTED[:20])
    for i in range(2):
        save_png(tmp_path / "grey" / f"{i}.png", WANTED[0, :30, :, :1])
    found = evaluate.subject(str(tmp_path / "grey"), "auto")
    assert found.note == "2 pictures of 28 x 28 pixels, made of 32 x 30 and the like"
    assert evaluate.images_of(found, 9, 0).shape == (2, 28, 28)
    (folder / "004.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"004\.png cannot be read as a picture"):
        evaluate.images_of(evaluate.subject(str(folder), "auto", "cifar10"), 20, 0)


@pytest.mark.parametrize(("values", "said"), [
    (WANTED.astype(np.float32), "holds float32 from 0 to 255; images are uint8, or floats in"),
    (np.full((200, 28, 28), np.nan), "holds NaN or infinity"),
    (np.full((200, 28, 28), -1.5), "from -1.5 to 0"),
    (WANTED.astype(np.int64), "holds int64 of shape (30, 32, 32, 3)"),
])  # fmt: skip
def test_values_that_nobody_can_tell_are_refused(
    values: np.ndarray, said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(UserError) as caught:
        evaluate.subject(str(tmp_path / "x.npy"), "auto")
    assert said in str(caught.value)


def test_an_archive_of_several_arrays_of_images_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=WANTED, b=WANTED)
    with pytest.raises(UserError, match=r"a \(30, 32, 32, 3\), b .* not one is of images, but 2"):
        evaluate.subject(str(tmp_path / "x.npz"), "auto")


@pytest.mark.parametrize("name", ["x.pth", "x.keras", "x.weights.h5", "x.index", "x", "saved"])
def test_a_weight_file_is_for_convert(name: str, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    for file in ("x.pth", "x.keras", "x.weights.h5", "x.index", "saved/saved_model.pb"):
        (tmp_path / file).write_bytes(b"weights")
    with pytest.raises(UserError, match=f"{name} holds weights and no training; .*_impl.convert"):
        evaluate.subject(str(tmp_path / name), "auto")


@pytest.mark.parametrize(
    ("dataset", "shape", "kind"),
    [
        ("mnist", (28, 28), (28, 28, 1)),
        ("mnist", (32, 32, 1), (32, 32, 1)),
        ("kmnist", (28, 28), (28, 28, 1)),
        ("cifar10", (32, 32, 3), (32, 32, 3)),
        ("stacked-mnist", (32, 32, 3), (32, 32, 3)),
        ("a/folder", (128, 128), (128, 128, 1)),
        ("a/folder", (64, 64, 3), (64, 64, 3)),
        ("a/folder", (28, 28), (28, 28, 1)),
        ("cifar10", (28, 28), None),
        ("cifar10", (32, 32), None),
        ("mnist", (64, 64), None),
        ("mnist", (32, 32, 3), None),
        ("a/folder", (30, 30, 3), None),
        ("a/folder", (64, 32, 3), None),
        ("a/folder", (64, 64, 4), None),
        ("a/folder", (), None),
    ],
)
def test_what_an_array_is_compared_with(
    dataset: str, shape: tuple[int, ...], kind: tuple[int, int, int] | None, tmp_path: Path
) -> None:
    np.save(path := tmp_path / "x.npy", np.zeros((3, *shape), np.uint8))
    if kind is None:
        with pytest.raises(UserError, match=f"x.npy holds uint8 .* images of {dataset} are uint8"):
            evaluate.subject(str(path), "auto", dataset)
        return
    subject = evaluate.subject(str(path), "auto", dataset)
    config.check(subject.config)
    assert scorer.Kind.of(subject.config) == (dataset, kind)
    assert evaluate.images_of(subject, 2, 0).shape == (
        2,
        *shape[:2],
        *(n for n in shape[2:] if n > 1),
    )


def test_images_of_two_kinds_are_not_in_one_table(command, tmp_path: Path) -> None:
    for side in (28, 32):
        np.save(tmp_path / f"{side}.npy", np.zeros((200, side, side), np.uint8))
    said = refused(command, tmp_path / "28.npy", tmp_path / "32.npy")
    assert "32.npy has images of mnist at 32 x 32 x 1" in said
    assert "--count takes a whole number up to 10000 for mnist" in refused(
        command, tmp_path / "28.npy", "--count", 20_000
    )


def test_another_extractor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "extractor.onnx"
    content = bytearray(scorer.EXTRACTOR.read_bytes())
    content[len(content) // 2] ^= 1
    other.write_bytes(content)
    monkeypatch.setattr(scorer, "EXTRACTOR", other)
    with pytest.raises(UserError, match="SHA-256"):
        scorer.Extractor()


def test_a_run_and_a_file(
    command, tmp_path: Path, data_dir: str, digits: np.ndarray, short_run: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "digits.npy"
    shutil.copytree(short_run, run)
    saved = checkpoint.load(run / checkpoint.FILE_NAME)
    of_seed = dataclasses.replace(saved.config, seed=4)
    checkpoint.save(run / checkpoint.FILE_NAME, saved.arrays, of_seed, "pytorch", {})
    np.save(file, digits[:200])
    done = command("compare.evaluate", run, file, "--count", 200, "--data-dir", data_dir)
    lines = done.stdout.splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:] == [
        "real digits, held out, 200", str(run), str(file),
    ]  # fmt: skip
    record = json.loads((run / "quality.json").read_text())
    assert {k: record[k] for k in ("format", "backend", "recipe", "seed", "step")} == {
        "format": 1, "backend": "pytorch", "recipe": "published", "seed": 4, "step": 4,
    }  # fmt: skip
    assert record["samples"] == {"count": 200, "seed": 1, "engine": "pytorch"}
    assert record["extractor"]["sha256"] == scorer.EXTRACTOR_SHA256
    assert set(record["measures"]) == set(record["floor"]) >= set(scorer.MEASURES)
    # Four iterations draw nothing yet.
    assert record["measures"]["frechet_distance"] > 10 * record["floor"]["frechet_distance"]
    (run / "checkpoint.safetensors").unlink()
    shutil.rmtree(run / "samples")
    with pytest.raises(UserError, match="no checkpoint yet"):
        evaluate.subject(str(run), "auto")


def scored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments) -> str:
    """What the command prints, in this process."""
    monkeypatch.setattr("sys.argv", ["evaluate", *map(str, arguments)])
    evaluate.main()
    return capsys.readouterr().out


@pytest.mark.slow
def test_pictures_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.Generator(np.random.Philox(5)).integers(0, 256, (40, 64, 64, 3), np.uint8)
    for i, picture in enumerate(noise):
        Image.fromarray(picture).save(folder / f"{i}.png")
    np.save(tmp_path / "same.npy", noise)
    np.save(tmp_path / "grey.npy", noise // 9 * 9 // 2 + 60)
    np.save(tmp_path / "none.npy", noise[:0])
    place = ("--dataset", folder, "--data-dir", tmp_path)
    files = tmp_path / "same.npy", tmp_path / "grey.npy"
    lines = scored(monkeypatch, capsys, *files, *place).splitlines()
    rows = [[c.strip() for c in x.split("|")] for x in lines if x.startswith("| ")]
    heads, floor, *found = rows
    assert heads[2:6] == ["SWD", "SWD at 64 pixels", "SWD at 32 pixels", "SWD at 16 pixels"]
    assert floor[1] == "real images, held out"
    assert [row[1] for row in found] == list(map(str, files))
    assert lines[-1].startswith(f"20 images against 20 real images of {folder}, ")
    with pytest.raises(SystemExit):
        scored(monkeypatch, capsys, tmp_path / "none.npy", *place)
    assert "none.npy holds 0 images; at least 1 are needed" in capsys.readouterr().err


def test_stacked_digits_are_scored(
    tmp_path: Path,
    data_dir: str,
    digits: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "x.npy", stacked(digits, np.zeros((150, 3), int)))
    given = ("--dataset", "stacked-mnist", "--data-dir", data_dir)
    lines = scored(monkeypatch, capsys, tmp_path / "x.npy", *given).splitlines()
    rows = [[c.strip() for c in x.split("|")] for x in lines if x.startswith("| ")]
    _, floor, found = rows
    assert found[2:4] == ["1", "6.908"]
    assert 100 < int(floor[2]) <= 150
    assert float(found[4]) > 3 * float(floor[4])


@pytest.mark.slow
def test_a_run_of_the_papers_networks(command, tmp_path: Path, data_dir: str) -> None:
    run = tmp_path / "run"
    command(
        "pytorch_impl.train", "--dataset", "stacked-mnist", "--steps", 2, "--batch-size", 8,
        "--width", 4, "--data-dir", data_dir, "--out", run,
    )  # fmt: skip
    command("compare.evaluate", run, "--count", 200, "--data-dir", data_dir)
    record = json.loads((run / "quality.json").read_text())
    assert record["samples"] == {"count": 200, "seed": 1, "engine": "pytorch"}
    assert set(record["measures"]) == set(record["floor"]) >= {"modes", "mode_kl", "swd", "swd_16"}
    assert record["measures"]["swd"] > 3 * record["floor"]["swd"]
    assert evaluate.stored(run) == record
    data = report.quality([records.read(run)])
    assert data["measures"] == {"modes": 0, "mode_kl": 3, "swd": 2, "swd_32": 2, "swd_16": 2}
    assert data["floors"] == [{"of": "real images of stacked-mnist", "measures": record["floor"]}]
    (run / "quality.json").write_text(json.dumps(record | {"measures": {"swd": 1.0}}))
    assert evaluate.stored(run) is None
    with pytest.raises(UserError, match="has images of stacked-mnist at 32 x 32 x 3"):
        evaluate.check_kind(evaluate.subject(str(run), "auto"), scorer.Scorer.kind)
