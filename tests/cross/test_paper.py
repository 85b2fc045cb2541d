"""The paper's claims on a run: what is measured, what is asked of networks, the page."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from common import checkpoint
from common.config import Config, UserError
from compare import engines
from compare.paper import (
    agreement,
    arithmetic,
    attributes,
    build,
    claims,
    forgetting,
    probe,
    representations,
    seen,
    subject,
    walks,
)
from compare.paper.arithmetic import Pool
from compare.paper.subject import Networks
from compare.report import forward
from tests.conftest import Command
from tests.cross import browser
from tests.cross.browser import Browser
from tests.cross.made_runs import embedded

# ------------------------------------------------------------------ attributes


def bar(width: int, lean: float = 0.0) -> NDArray[np.float64]:
    """A stroke of 20 rows on 28 x 28 pixels, moved by `lean` columns a row, with soft sides."""
    picture = np.zeros((28, 28))
    columns = np.arange(28)
    for row in range(4, 24):
        left = 14 - width / 2 - lean * (row - 13.5)
        cover = np.minimum(columns + 1, left + width) - np.maximum(columns, left)
        picture[row] = cover.clip(0, 1)
    return picture


@pytest.mark.parametrize("width", [2, 3, 5])
def test_stroke_width_is_that_of_a_bar(width: int) -> None:
    """But for its ends, which are outline too: 2 w l / (2 l + 2 w)."""
    expected = width * 20 / (20 + width)
    assert attributes.stroke_width(bar(width)[None])[0] == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("lean", [-0.5, 0.0, 0.3])
def test_slant_is_the_angle_of_a_bar(lean: float) -> None:
    found = attributes.slant(bar(3, lean)[None])[0]
    assert found == pytest.approx(np.degrees(np.arctan(lean)), abs=0.5)


def test_size_is_that_of_a_disc_and_of_a_bar() -> None:
    rows, columns = np.mgrid[:28, :28] - 13.5
    disc = (rows**2 + columns**2 <= 8**2).astype(float)
    sizes = attributes.size(np.stack([disc, bar(4)]))
    assert sizes[0] == pytest.approx(8 * np.sqrt(2), rel=0.02)
    assert sizes[1] == pytest.approx(2 * np.sqrt((20**2 + 4**2) / 12), rel=0.03)


def test_holes_are_paper_that_ink_encloses() -> None:
    rows, columns = np.mgrid[:28, :28] - 13.5
    radius = np.hypot(rows, columns)
    ring = ((radius > 5) & (radius < 8)).astype(float)
    spiral = ring.copy()
    spiral[13:15, 14:] = 0  # a gap to the right
    diagonal = np.zeros((28, 28))  # corners that touch keep paper in
    for i in range(5):
        for y, x in (
            (14 - 5 + i, 14 + i),
            (14 + i, 14 + 5 - i),
            (14 + 5 - i, 14 - i),
            (14 - i, 9 + i),
        ):
            diagonal[y, x] = 1
    pictures = np.stack([ring, spiral, diagonal, np.zeros((28, 28))])
    np.testing.assert_array_equal(attributes.holes(pictures)[0], radius <= 5)
    assert attributes.hole(pictures).tolist() == [1, 0, 1, 0]


def test_pictures_have_brightness_and_warmth() -> None:
    pictures = np.zeros((2, 4, 4, 3))
    pictures[0, ..., 0] = 1  # red
    pictures[1, ..., 2] = 0.5  # blue
    np.testing.assert_allclose(attributes.brightness(pictures), [1 / 3, 1 / 6])
    np.testing.assert_allclose(attributes.warmth(pictures), [1, -0.5])
    reader = attributes.Reader(Config(dataset="cifar10"))
    assert reader.attributes((255 * pictures).astype(np.uint8)).keys() == {"brightness", "warmth"}
    assert reader.classes(pictures).tolist() == [0, 0]


def test_of_stacked_digits_the_first_channel_is_read(data_dir: str) -> None:
    config = Config(dataset="stacked-mnist", train_images=40, data_dir=data_dir)
    tried = subject.Subject("x", Path("x"), 0, "pytorch", config)
    reader = attributes.Reader(config)
    assert reader.pictures(tried.training).shape == (40, 28, 28)
    known = reader.classes(tried.training)
    sure = known >= 0
    assert sure.mean() > 0.9
    assert (known[sure] == tried.labels("train")[sure]).mean() > 0.95


# ------------------------------------------------------------------ sections, on made-up numbers


def test_the_few_are_as_many_of_each_class_and_others_in_each_draw() -> None:
    labels = (np.arange(5000) % 7 % 10).astype(np.uint8)  # classes 0 to 6
    labels[-1500:] = np.arange(1500) % 3 + 7
    draws = [representations.few(labels, draw) for draw in range(2)]
    for draw in draws:
        assert np.bincount(labels[draw]).tolist() == [representations.FEW] * 10
        assert len(set(draw.tolist())) == len(draw)
    assert set(draws[0].tolist()) != set(draws[1].tolist())


def test_the_svm_tells_apart_what_a_line_parts() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(600) % 3).astype(np.uint8)
    x = np.eye(3, dtype=np.float32)[labels] + rng.normal(0, 0.1, (600, 3)).astype(np.float32)
    split = representations.Split(x, labels)
    train, test = (
        representations.part(split, range(300)),
        representations.part(split, range(300, 600)),
    )
    assert representations.accuracy(train, test, 1.0) > 0.99
    assert representations.best(train, test) == min(representations.STRENGTHS)  # all are right


def test_principal_components_are_those_of_the_training_images() -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(size=(500, 120)).astype(np.float32) * np.arange(120, 0, -1, np.float32)
    found, other = representations.project([train, train[:5] + 1])
    centred = train - train.mean(0)
    _, _, rows = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    wanted = centred @ rows[: representations.COMPONENTS].T
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=0.05)
    assert other.shape == (5, representations.COMPONENTS)


def test_jumps_are_largest_over_mean_steps() -> None:
    count = walks.LEGS * walks.FRAMES + 1
    smooth = np.zeros((count, 2, 2, 1), np.uint8)
    smooth[:, 0, 0, 0] = np.arange(count) % 2 * 100
    assert walks.jumps(smooth) == {
        "ratio": pytest.approx(1),
        "spread": pytest.approx(0),
        "still": 0,
    }
    jumping = np.zeros_like(smooth)
    for leg in range(walks.LEGS):
        jumping[leg * walks.FRAMES + 15 :, 0, 0, 0] += 3  # once a leg
    found = walks.jumps(jumping)
    assert found["ratio"] == pytest.approx(walks.FRAMES)
    assert found["still"] == pytest.approx(1 - 1 / walks.FRAMES)


def test_the_nearest_training_image_is_found() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (1200, 4, 4, 3), dtype=np.uint8)
    asked = training[[700, 3, 1199]] // 2 * 2
    assert walks.nearest(asked, training).tolist() == [700, 3, 1199]


def test_purity_is_the_share_of_one_class() -> None:
    labels = np.array([0] * 60 + [1] * 140, np.uint8)
    order = np.stack([np.arange(100), np.arange(100, 200)], 1)
    found = seen.purity(labels, order)
    assert found["mean"] == pytest.approx((0.6 + 1) / 2)
    assert found["largest"] == 1
    features = np.zeros((2, 3 * 16 + 2 * 16), np.float32)
    features[1, 3 * 16 + 2 * 7 + 1] = 5  # of two maps the second, at place 7
    assert seen.last_map(features, 2).tolist() == [[0, 0], [0, 5]]


def made_pool(count: int = 4000) -> Pool:
    """Samples whose noise is what they show: number 0 the class, 1 the attribute."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 4
    classes[::9] = -1
    values = rng.uniform(0, 1, count)
    noise = np.stack([classes, values], 1).astype(np.float32)
    return Pool(noise, np.zeros((count, 1, 1, 1), np.uint8), classes, {"much": values})


class Readable:
    """Networks and reader whose images are their noise."""

    def draw(self, noise: Any) -> Any:
        return noise

    def attributes(self, images: Any) -> Any:
        return {"much": images[:, 1]}

    def classes(self, images: Any) -> Any:
        return np.rint(images[:, 0]).astype(int)


@pytest.mark.parametrize("count", arithmetic.EXEMPLARS)
def test_sums_are_of_two_digits_and_of_much_and_little(count: int) -> None:
    samples = made_pool()
    taken = arithmetic.exemplars(samples, "much", count, 0)
    assert taken is not None
    a, b, c = taken
    assert a.shape == (arithmetic.SUMS, count)
    classes, values = samples.classes, samples.attributes["much"]
    assert (classes[a] == classes[b]).all()
    assert (classes[a][:, :1] == classes[a]).all()
    assert (classes[c][:, :1] == classes[c]).all()
    assert (classes[a][:, 0] != classes[c][:, 0]).all()
    assert (np.concatenate([classes[a], classes[c]]) >= 0).all()
    assert values[a].min() > 0.75
    assert max(values[b].max(), values[c].max()) < 0.25
    assert len({tuple(row) for row in np.hstack([a, b, c]).tolist()}) > 0.99 * arithmetic.SUMS


def test_success_is_counted_of_what_the_sums_show() -> None:
    """Where images are their noise, every sum comes out, and without A and B none has the much."""
    samples, network = made_pool(), Readable()
    taken = arithmetic.exemplars(samples, "much", 3, 0)
    assert taken is not None
    found = arithmetic.success(samples, "much", taken, network, network)  # type: ignore[arg-type]
    assert found["sum"] == {"attribute": 1, "class": 1, "both": 1}
    assert found["alone"] == {"attribute": 0, "class": 1, "both": 0}
    assert found["change"] == pytest.approx(1, abs=1e-5)


def test_no_sums_where_too_few_samples_are_sure() -> None:
    samples = made_pool()._replace(classes=np.full(4000, -1))
    assert arithmetic.exemplars(samples, "much", 1, 0) is None
    reader = attributes.Reader(Config(dataset="cifar10"))
    assert arithmetic.study(samples, Readable(), reader)["rows"] == []  # type: ignore[arg-type]
    assert arithmetic.choices(samples) == []


def test_logistic_regression_finds_the_map_that_tells() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(300, 14, 14, 5))
    values = maps[..., 3].mean((1, 2)) + rng.normal(0, 0.01, 300)
    told = forgetting.by_mean(maps, values)
    assert told is not None
    weights, score = told
    assert weights.argmax() == 3
    assert score > 0.9
    digits = np.zeros((300, 28, 28), np.uint8)
    digits[:, 6:22, 6:22] = 255
    digits[:, 10:18, 10:18] = 0  # a hole of 4 x 4 places
    maps[:, 5:9, 5:9, 1] += 4
    told = forgetting.by_place(maps, digits)
    assert told is not None
    weights, score = told
    assert weights.argmax() == 1
    assert score > 0.9
    assert forgetting.by_place(maps, np.zeros_like(digits)) is None
    assert forgetting.by_mean(maps, np.zeros(300)) is None


FOUND: dict[str, Any] = {
    "neighbours": {"closer": 0.01},
    "walk": {"generator": {"ratio": 1.6}, "memorised": {"ratio": 4.9}},
    "seen": {"chance": 0.15, "maps": 64, "trained": {"mean": 0.45, "spread": 0.1},
             "untrained": {"mean": 0.36, "spread": 0.1}},
    "forgetting": {"shown_dropped": 4, "rows": [
        {"dropped": 4, "without": {"attribute": 0.5}, "chance": {"attribute": 0.9}},
        {"dropped": 8, "without": {"attribute": 0.9}, "chance": {"attribute": 0.9}},
    ]},
    "arithmetic": {"rows": [
        {"attribute": name, "exemplars": k, "sum": {"both": both}}
        for name, k, both in (
            ("slant", 1, 0.2), ("slant", 3, 0.6), ("size", 1, 0.1), ("size", 3, 0.7),
        )
    ]},
    "representations": {"draws": 10, "rows": [
        {"name": name, "few_mean": mean, "few_spread": 0.01, "all": mean}
        for name, mean in (("pixels", 0.87), ("untrained", 0.95), ("trained", 0.97))
    ]},
}  # fmt: skip


def test_claims_hold_or_fail_by_their_figures() -> None:
    assert set(claims.verdicts(FOUND).values()) == {"holds"}

    def verdict(claim: str, *path: Any, value: Any) -> str:
        found = copy.deepcopy(FOUND)
        inner: Any = found
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        return claims.verdicts(found)[claim]

    assert verdict("memory", "neighbours", "closer", value=0.03) == "fails"
    assert verdict("memory", "neighbours", value={}) == "not tried"
    assert verdict("walks", "walk", "generator", "ratio", value=3.0) == "fails"
    assert verdict("seen", "seen", "trained", "mean", value=0.38) == "fails"
    assert verdict("seen", "seen", value={}) == "not tried"
    assert (
        verdict("forgetting", "forgetting", "rows", 0, "chance", "attribute", value=0.55) == "fails"
    )
    assert verdict("arithmetic", "arithmetic", "rows", 1, "sum", "both", value=0.5) == "part"
    assert verdict("three", "arithmetic", "rows", 0, "sum", "both", value=0.6) == "part"
    assert verdict("three", "arithmetic", "rows", value=[]) == "not tried"
    assert verdict("features", "representations", "rows", 2, "few_mean", value=0.955) == "part"
    assert verdict("features", "representations", "rows", 2, "all", value=0.5) == "fails"
    found = {name: each for name, each in FOUND.items() if name != "representations"}
    assert claims.verdicts(found)["features"] == "not tried"


def test_random_convolutions_have_the_variance_of_he_et_al() -> None:
    arrays = probe.random_weights(Config())
    kernel = arrays["discriminator/conv2/kernel"]
    assert kernel.var() == pytest.approx(2 / (25 * 32), rel=0.05)
    assert not arrays["discriminator/conv2/bias"].any()
    initial = checkpoint.initial(Config())
    assert np.array_equal(arrays["generator/dense1/kernel"], initial["generator/dense1/kernel"])
    tuned = probe.random_weights(Config(recipe="tuned"))
    assert np.array_equal(tuned["discriminator/conv2/kernel"], kernel)  # of any run the same
    dcgan = probe.random_weights(Config(dataset="stacked-mnist"))
    assert (dcgan["discriminator/norm2/scale"] == 1).all()
    assert not dcgan["discriminator/norm2/offset"].any()


# ------------------------------------------------------------------ a run


@pytest.fixture(scope="module")
def small(monkeypatch_module: pytest.MonkeyPatch) -> None:
    """Less of everything, for runs that learned nothing."""
    for module, name, value in (
        (arithmetic, "POOL", 1500), (arithmetic, "SUMS", 20), (arithmetic, "LEAST", 3),
        (forgetting, "COUNT", 300), (forgetting, "DROPPED", (4,)), (forgetting, "CHANCES", 2),
        (subject, "HELD_OUT", 1500), (walks, "COUNT", 100), (walks, "LEGS", 8),
        (representations, "DRAWS", 2), (representations, "STRENGTHS", (1.0,)),
        (representations, "CHOOSE", 300), (representations, "FEW", 30),
    ):  # fmt: skip
        monkeypatch_module.setattr(module, name, value)
    # Here, where these values are.
    monkeypatch_module.setattr(
        representations, "ProcessPoolExecutor", lambda count, context: ThreadPoolExecutor(1)
    )


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def paper(
    short_run: Path, data_dir: str, tmp_path_factory: pytest.TempPathFactory, small: None
) -> Path:
    """The folder that the command writes for pretrained weights, less of everything."""
    out = tmp_path_factory.mktemp("paper")
    engine = engines.ENGINES["pytorch"]
    tried = subject.subject("pretrained/mnist28-tuned.safetensors", data_dir)
    config = dataclasses.replace(tried.config, train_images=6000)
    tried = dataclasses.replace(tried, config=config)
    found, pictures = build.study(tried, engine, [engine], 2000)
    assert found["engines"]["rows"] == []  # one alone; the slow test below has all
    row = {"engine": "keras-jax", "reference": "pytorch"}
    found["engines"]["rows"] = [row | {"differences": dict.fromkeys(agreement.BOUND, 1e-16)}]
    found |= {"run": build.facts(tried, engine), "made": "now", "commit": None, "processor": "x",
              "command": ["python", "<b>x</b>"]}  # fmt: skip
    build.write(found, pictures, tried, out)
    return out


def test_the_figures_are_complete(paper: Path) -> None:
    found = json.loads((paper / "paper.json").read_text())
    assert found["claims"].keys() == claims.verdicts(FOUND).keys()
    rows = {row["name"]: row for row in found["representations"]["rows"]}
    assert rows.keys() == set(representations.SETS)
    assert rows["trained"]["features"] == 1536
    assert 0.85 < rows["trained"]["few_mean"] < 1
    assert rows["pixels"]["few_mean"] < rows["trained"]["few_mean"]
    assert found["neighbours"]["samples"] > 2
    assert found["walk"]["generator"]["ratio"] < found["walk"]["memorised"]["ratio"]
    assert {row["attribute"] for row in found["forgetting"]["rows"]} == {
        "hole", "stroke_width", "slant", "size",
    }  # fmt: skip
    assert len(found["arithmetic"]["rows"]) == len(arithmetic.EXEMPLARS) * len(attributes.DIGITS)


def test_tables_name_the_papers_own_figures() -> None:
    row = {"name": "trained", "features": 7168, "few_mean": 0.5, "few_spread": 0.01, "all": 0.6}
    found = {"rows": [row], "few": 1000, "count": 50_000, "paper": representations.PAPER["cifar10"]}
    table = representations.table(found)
    assert "| trained D | 7,168 | 50.00 ± 1.00 | 60.00 |" in table
    assert table.splitlines()[-1].endswith("| 28,672 |  | 82.80 |")


# ------------------------------------------------------------------ the page

PROGRAM = browser.find()
with_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")


@pytest.fixture
def page(paper: Path) -> Iterator[Browser]:
    """The page, opened from disk; at the end nothing was complained of or asked for elsewhere."""
    with Browser(PROGRAM) as found:
        found.resize(1200, 900)
        found.open(f"file://{paper}/paper.html#lang=en")
        yield found
        assert found.complaints == []
        ours = (f"file://{paper}/", "data:")
        assert [a for a in found.requests if not a.startswith(ours)] == []


def test_both_languages_have_the_same_words() -> None:
    strings = json.loads((build.PAGE / "strings.json").read_text())
    assert strings["en"].keys() == strings["zh"].keys()
    for key, text in strings["en"].items():
        fields = [sorted(part.split("}")[0] for part in each.split("{")[1:])
                  for each in (text, strings["zh"][key])]  # fmt: skip
        assert fields[0] == fields[1], key


@with_browser
def test_every_section_is_drawn_in_both_languages(page: Browser) -> None:
    strings = json.loads((build.PAGE / "strings.json").read_text())
    for language in ("en", "zh"):
        text = page.run("document.body.innerText")
        for key in (key for key in strings[language] if key.startswith("h_")):
            assert strings[language][key] in text, key
        assert "undefined" not in text
        assert "NaN" not in text
        assert "{" not in text
        page.run("document.querySelector('#language').click()")
    assert page.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.run("document.querySelectorAll('b:not([class])').length") > 0
    assert "<b>x</b>" in page.run("document.querySelector('#colophon').innerText")


@with_browser
def test_a_reader_adds_samples_and_sees_their_sum(page: Browser, paper: Path) -> None:
    """As numpy draws it, and measures it."""
    page.until("document.querySelector('#live-text').innerText.length > 0")
    page.run("document.querySelector('#slot input[value=b]').click()")
    before = page.run("sideBySide.slots.b.length")
    page.run("document.querySelector('#samples button[aria-pressed=\"false\"]').click()")
    assert page.run("sideBySide.slots.b.length") == min(before + 1, 3)
    page.run("document.querySelector('#samples button[aria-pressed=\"true\"]').click()")
    page.run("document.querySelector('[data-preset=slant]').click()")
    slots = page.run("sideBySide.slots")
    assert [len(slots[name]) for name in "abc"] == [3, 3, 3]
    data = embedded((paper / "paper.html").read_text())
    noise = np.frombuffer(base64.b64decode(data["pictures"]["choices"]["noise"]), "<f4")
    noise = noise.reshape(-1, 96)
    total = sum(s * noise[slots[n]].mean(0) for n, s in (("a", 1), ("b", -1), ("c", 1)))
    np.testing.assert_allclose(page.run("[...sideBySide.total()]"), total, atol=1e-5)
    arrays = checkpoint.load(Path("pretrained/mnist28-tuned.safetensors")).arrays
    wanted = (forward.generate(forward.sampler(arrays), total[None])[0] + 1) * 127.5
    shown = np.array(page.run("[...sideBySide.drawn(sideBySide.total())]"))
    assert np.abs(shown - wanted.ravel()).max() <= 1.5
    picture = (shown / 255).reshape(1, 28, 28)
    for name, measure in attributes.DIGITS.items():
        found = page.run(
            f"sideBySide.measures.{name}(sideBySide.drawn(sideBySide.total()), [28, 28, 1])"
        )
        assert found == pytest.approx(measure(picture)[0], abs=1e-6), name


# ------------------------------------------------------------------ the commands


def test_mistakes_are_one_sentence(
    command: Command, short_run: Path, tmp_path: Path, data_dir: str
) -> None:
    def said(module: str, *arguments: object) -> str:
        error = command(module, *arguments, "--data-dir", data_dir, status=2).stderr
        assert error.count("\n") == 1
        return error

    assert "is no" in said("compare.paper", tmp_path) or "no checkpoint" in said(
        "compare.paper", tmp_path
    )
    assert "--labels" in said("compare.features", short_run, "--labels", 10)
    assert "--out" in said("compare.paper", short_run, "--out", short_run / "config.json")
    assert "unknown" in said("compare.paper", short_run, "--engines", "unknown")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory: pytest.TempPathFactory, command: Command, data_dir: str) -> Path:
    """PyTorch's run of four steps on 40 pictures in a folder."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "pictures" / f"{i}.png")
    command(
        "pytorch_impl.train", "--dataset", folder / "pictures", "--image-size", 32, "--width", 4,
        "--steps", 4, "--batch-size", 16, "--data-dir", data_dir, "--out", folder / "run",
    )  # fmt: skip
    return folder / "run"


def test_a_folder_has_no_labels(folder_run: Path, command: Command, data_dir: str) -> None:
    error = command("compare.features", folder_run, "--data-dir", data_dir, status=2).stderr
    assert "no labels" in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("which", ["short_run", "colour_run", "folder_run"])
def test_the_command_from_beginning_to_end(
    which: str, request: pytest.FixtureRequest, command: Command, tmp_path: Path, data_dir: str
) -> None:
    """Every engine, on runs of both architectures; of a folder, whose pictures have no labels."""
    run = tmp_path / "run"
    shutil.copytree(request.getfixturevalue(which), run)
    out = command("compare.paper", run, "--labels", 2000, "--data-dir", data_dir).stdout
    assert out.splitlines()[-1].endswith(str(run / "paper" / "paper.html"))
    found = json.loads((run / "paper" / "paper.json").read_text())
    assert len(found["engines"]["rows"]) == len(engines.ENGINES) - 1
    for row in found["engines"]["rows"]:
        for name, bound in agreement.BOUND.items():
            assert row["differences"][name] <= bound, (row["engine"], name)


@pytest.mark.slow
def test_the_features_alone(command: Command, short_run: Path, data_dir: str) -> None:
    out = command("compare.features", short_run, "--labels", 2000, "--data-dir", data_dir).stdout
    assert "| trained D | 1,536 |" in out


def test_of_too_many_images_the_first_are_looked_at(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "LARGEST", 100 * 28 * 28 + 5)
    config = Config(data_dir=data_dir, train_images=400)
    tried = subject.Subject("x", Path("x"), 0, "pytorch", config)
    assert tried.training.shape == (100, 28, 28, 1)
    assert tried.labels("train").shape == (100,)


def test_networks_answer_in_arrays(short_run: Path, data_dir: str) -> None:
    tried = subject.subject(str(short_run), data_dir)
    pictures, noise = tried.training[:5], tried.noise(4)
    with Networks(engines.ENGINES["pytorch"], tried.file) as networks:
        trained, untrained = (networks.features(pictures, w) for w in ("trained", "untrained"))  # type: ignore[arg-type]  # fmt: skip
        assert trained.shape == (5, 1536)
        assert np.abs(trained - untrained).max() > 0
        assert networks.guided(pictures, np.zeros(5)).shape == pictures.shape
        assert networks.maps(noise).shape == (4, 14, 14, 64)
        drawn = networks.draw(noise)
        assert np.array_equal(networks.draw_without(noise, []), drawn)
        assert not np.array_equal(networks.draw_without(noise, [0, 1, 2]), drawn)
        np.testing.assert_array_equal(networks.features(pictures), trained)  # its own weights again


def test_a_run_that_trains_on_is_tried_at_one_state(tmp_path: Path) -> None:
    settings = Config()
    file = tmp_path / checkpoint.FILE_NAME
    checkpoint.save(file, checkpoint.initial(settings), settings, "pytorch", {})
    began = subject.Subject("x", file, 9, "pytorch", settings)
    with subject.snapshot(began) as tried:
        file.unlink()
        assert (tried.step, tried.name) == (0, "x")
        assert checkpoint.load(tried.file).step == 0
    assert not tried.file.exists()
    with pytest.raises(UserError, match="cannot be copied"), subject.snapshot(began):
        pass
