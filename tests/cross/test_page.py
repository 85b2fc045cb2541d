"""The report's page in a real browser: the system's own, driven by tests/cross/browser.py."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common import batches, checkpoint, config, images
from common.config import Config
from compare.report import build as report
from compare.report import forward, records
from tests.conftest import Command
from tests.cross import browser
from tests.cross.browser import Browser
from tests.cross.made_runs import HOSTILE, MARKUP, STEPS, embedded

PROGRAM = browser.find()
if PROGRAM is None:
    pytest.skip(
        "no Chromium here; install one (apt-get install chromium) to test the report's page",
        allow_module_level=True,
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser(PROGRAM) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, report_folder: Path) -> Iterator[Browser]:
    """The report, opened from disk; at the end nothing was complained of or asked for elsewhere."""
    chromium.resize(1200, 900)
    chromium.open("about:blank")
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(f"file://{report_folder}/index.html#lang=en")
    yield chromium
    assert chromium.complaints == []
    ours = (f"file://{report_folder}/", "data:")
    assert [address for address in chromium.requests if not address.startswith(ours)] == []


def sources(page: Browser) -> dict[str, str]:
    """Run -> what its grid shows."""
    return page.run(
        "Object.fromEntries([...document.querySelectorAll('#grids .cell:has(img)')]"
        ".map(c => [c.dataset.run, c.querySelector('img').src]))"
    )


def test_it_opens_in_two_seconds(page: Browser, report_folder: Path) -> None:
    def seconds() -> float:
        page.open("about:blank")
        return page.open(f"file://{report_folder}/index.html#lang=en")

    assert min(seconds() for _ in range(3)) < 2  # the machine may be busy with other tests


def test_the_slider_moves_every_picture(page: Browser, runs: Path, report_folder: Path) -> None:
    data = embedded((report_folder / "index.html").read_text())
    drawn = {run["name"]: run["samples"] for run in data["runs"] if run["samples"]}
    assert sources(page) == {name: samples[str(STEPS)] for name, samples in drawn.items()}
    page.run("document.querySelector('#step').focus()")
    page.press("ArrowLeft")
    assert sources(page) == {name: samples["2"] for name, samples in drawn.items()}
    page.press("Home")
    assert sources(page) == {name: samples["0"] for name, samples in drawn.items()}
    assert "step=0" in page.run("location.hash")
    grid = images.grid(
        images.to_uint8(
            forward.generate(
                forward.sampler(checkpoint.initial(Config(batch_size=16))),
                batches.shown_noise(0, 16, 96),
            )
        )
    )
    shown = page.run(
        "(async () => { const i = document.querySelector('#grids img'); await i.decode();"
        "const c = document.createElement('canvas'); c.width = c.height = 122;"
        "const x = c.getContext('2d'); x.drawImage(i, 0, 0);"
        "return [...x.getImageData(0, 0, 122, 122).data].filter((_, n) => n % 4 === 0); })()"
    )
    assert np.abs(np.array(shown) - grid.ravel()).max() <= 1


def test_the_switch_changes_the_language(page: Browser) -> None:
    english = page.run("document.body.innerText")
    page.run("document.querySelector('#language').click()")
    chinese = page.run("document.body.innerText")
    assert page.run("document.documentElement.lang") == "zh-CN"
    assert "lang=zh" in page.run("location.hash")
    strings = json.loads((report.PAGE / "strings.json").read_text())
    for key in ("h_pictures", "h_certificate", "h_losses", "h_quality", "holds"):
        assert strings["en"][key] in english
        assert strings["zh"][key] in chinese
        assert strings["en"][key] not in chinese
    page.run("document.querySelector('#language').click()")
    assert page.run("document.querySelector('main').innerText").startswith(
        strings["en"]["h_pictures"]
    )


def test_the_address_keeps_step_engines_and_view(page: Browser, report_folder: Path) -> None:
    click = "document.querySelector('#chips [data-run=\"{}\"]').click()"
    page.run(click.format("keras"))
    page.run("document.querySelector('#pair-view input[value=difference]').click()")
    page.run(
        "(s => { s.value = 'keras-jax'; s.dispatchEvent(new Event('change')); })"
        "(document.querySelector('#pair-b'))"
    )
    page.run("document.querySelector('#step').focus()")
    page.press("ArrowLeft")
    address, grids = page.run("location.hash"), sources(page)
    assert "keras" not in grids
    page.open("about:blank")
    page.open(f"file://{report_folder}/index.html{address}")
    assert sources(page) == grids
    assert page.run("document.querySelector('#pair-b').value") == "keras-jax"
    assert page.run("document.querySelector('#pair-view input:checked').value") == "difference"
    assert page.run("location.hash") == address


def test_two_engines_over_each_other(page: Browser, runs: Path) -> None:
    page.run("document.querySelector('#swipe').focus()")
    page.press("Home")
    assert "0%" in page.run("document.querySelector('#pair-over').style.clipPath")
    page.run("document.querySelector('#pair-view input[value=difference]').click()")
    page.until("!document.querySelector('#pair-canvas').hidden")
    a, b = (
        records.read(runs / name).grids[STEPS].astype(int) for name in ("pytorch", "tensorflow")
    )
    tile = (np.arange(122) % 30 >= 2)[:, None] & (np.arange(122) % 30 >= 2)
    mean = np.abs(a - b)[..., 0][tile].mean()
    assert f"mean difference {mean:.1f} of 255" in page.until(
        "document.querySelector('#pair-text').textContent"
    )
    y, x = np.unravel_index(np.abs(a - b)[..., 0].argmax(), (122, 122))
    page.run(
        "(s => { const b = s.getBoundingClientRect(); s.dispatchEvent(new PointerEvent("
        f"'pointermove', {{ clientX: b.left + b.width * {(x + 0.5) / 122}, "
        f"clientY: b.top + b.height * {(y + 0.5) / 122} }})); }})(document.querySelector('#stack'))"
    )
    said = page.run("document.querySelector('#pair-text').textContent")
    assert f"PyTorch {a[y, x, 0]}, TensorFlow {b[y, x, 0]}" in said


def test_values_stand_under_the_pointer_and_the_cursor(page: Browser, runs: Path) -> None:
    losses = records.read(runs / "pytorch").metrics["d_loss"]
    page.run("document.querySelector('#plot-a [tabindex]').focus()")
    page.press("Home")
    said = page.run("document.querySelector('#plot-a .readout').textContent")
    assert said.startswith("iteration 0")
    assert f"PyTorch {losses[0]:.4f}" in said
    box = page.run(
        "(b => [b.left, b.top, b.width])(document.querySelector('#plot-a svg')"
        ".getBoundingClientRect())"
    )
    # The frame goes from 46 to 12 pixels before the end, and shows iterations 0 to 3.
    x = box[0] + 46 + (box[2] - 58) * 2 / 3
    page.run(
        "document.querySelector('#plot-a [tabindex]').dispatchEvent(new PointerEvent("
        f"'pointermove', {{ clientX: {x}, clientY: {box[1] + 50} }}))"
    )
    said = page.run("document.querySelector('#plot-a .readout').textContent")
    assert said.startswith("iteration 2")
    assert f"PyTorch {losses[2]:.4f}" in said


def test_the_time_to_a_distance_that_the_reader_chooses(page: Browser) -> None:
    row = "document.querySelector('#times tbody tr').innerText"
    assert page.run("document.querySelector('#target').value") == "10"
    assert page.run(row).split("\t")[1:4] == ["4.0 min", "4", "10.00"]
    page.run(
        "(t => { t.value = 25; t.dispatchEvent(new Event('input')); })"
        "(document.querySelector('#target'))"
    )
    assert page.run(row).split("\t")[1:4] == ["2.0 min", "2", "20.00"]


def test_the_live_generator_draws_what_the_framework_draws(
    page: Browser, runs: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "samples.npy"
    command("pytorch_impl.sample", runs / "pytorch", "--count", 16, "--seed", 1, "--out", out)
    noise = batches.sampled_noise(1, 16, 96)
    drawn = page.run(
        "(async () => { const layers = await sideBySide.load(0);"
        f"return {noise.tolist()}.map(z => [...sideBySide.grey(sideBySide.generate(layers, "
        "Float32Array.from(z)))]); })()"
    )
    wanted = np.load(out).reshape(16, -1).astype(int)
    assert np.abs(np.array(drawn) - wanted).max() <= 1
    assert wanted.std() > 10  # it shows something


def test_the_walk_follows_the_arrow_keys(page: Browser, runs: Path) -> None:
    page.run("document.querySelector('#pad').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.press(key)
    ready = "[...document.querySelectorAll('#walkers p')].every(p => p.textContent.includes('ms'))"
    page.until(ready)
    page.until("document.querySelectorAll('#walkers canvas').length === 5")
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    z = batches.shown_noise(0, 16, 96).astype(np.float64)
    mix = [0.95 * 0.9, 0.05 * 0.9, 0.95 * 0.1, 0.05 * 0.1] @ z[:4]
    shown = page.run(
        "[...document.querySelectorAll('#walkers canvas')].map(c => [...c.getContext('2d')"
        ".getImageData(0, 0, 28, 28).data].filter((_, n) => n % 4 === 0))"
    )
    for index, name in ((0, "pytorch"), (1, "tensorflow")):
        arrays = checkpoint.load(runs / name / checkpoint.FILE_NAME).arrays
        wanted = images.to_uint8(forward.generate(forward.sampler(arrays), mix[None]))
        assert np.abs(np.array(shown[index]) - wanted.ravel()).max() <= 1
    said = page.run("document.querySelector('#walkers').innerText")
    assert said.count("redrawn within") == 5
    worst = max(int(n) for n in re.findall(r"redrawn within (\d+)/255", said))
    assert worst <= 1


def test_names_and_messages_are_text(page: Browser) -> None:
    text = page.run("document.body.innerText")
    assert MARKUP in text
    assert "Engine keras-jax needs jax" in text
    assert "diverged" in text
    assert (
        page.run("document.querySelectorAll('[onerror], #content b b, #content script').length")
        == 0
    )
    assert HOSTILE in [*sources(page)]


def test_every_control_has_a_name_and_nothing_overflows(page: Browser) -> None:
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    kinds = {"button", "slider", "combobox", "spinbutton", "radio", "image", "region", "group"}
    found = [node for node in nodes if node.get("role", {}).get("value") in kinds]
    page.call("Accessibility.disable")
    assert {node["role"]["value"] for node in found} == kinds
    nameless = [n["role"]["value"] for n in found if not n.get("name", {}).get("value")]
    assert nameless == []
    for dark in (False, True):
        page.resize(360, 740, dark)
        assert page.run("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
def test_pictures_of_another_size_in_colour(
    chromium: Browser, runs: Path, colour_run: Path, data_dir: str, tmp_path: Path
) -> None:
    """The paper's networks beside the tutorial's: two sizes of pictures, two lengths of noise."""
    ours = records.read(colour_run)
    generator = np.random.Generator(np.random.Philox(5))
    drawn = images.grid(generator.integers(0, 256, (16, 32, 32, 3), np.uint8))
    theirs = dataclasses.replace(ours, engine="tensorflow", grids={STEPS: drawn})
    shown = [ours, theirs, records.read(runs / "keras")]
    report.write(shown, tmp_path, data_dir)
    chromium.complaints.clear()
    chromium.resize(1200, 900)
    chromium.open(f"file://{tmp_path}/index.html#lang=en&view=difference")
    said = chromium.until("document.querySelector('#pair-text').textContent")
    a, b = (record.grids[STEPS].astype(int) for record in shown[:2])
    inside = images.grid(np.ones((16, 32, 32, 3), np.uint8)).astype(bool)
    mean = np.abs(a - b)[inside].mean()
    assert f"mean difference {mean:.1f} of 255 grey levels, largest {np.abs(a - b).max()}" in said
    chromium.run(
        "highlight = document.querySelector('#grids .frame'), box = highlight"
        ".getBoundingClientRect(), highlight.dispatchEvent(new PointerEvent('pointermove', "
        "{ clientX: box.left + 0.9 * box.width, clientY: box.top + 0.4 * box.height }))"
    )
    mean = np.abs(a - b)[2 + 34 : 2 + 34 + 32, 2 + 3 * 34 : 2 + 3 * 34 + 32].mean()
    chromium.until(
        "document.querySelector('#grid-text').textContent.includes("
        f"'Picture 8 of 16') && document.querySelector('#grid-text b').textContent === '{mean:.1f}'"
    )
    chromium.run("document.querySelector('#load').click()")
    ready = "[...document.querySelectorAll('#walkers p')].every(p => p.textContent.includes('ms'))"
    chromium.until(ready)
    text = chromium.run("document.querySelector('#f-walk').innerText")
    # What PyTorch drew of these weights the page draws again, and what it did not draw it tells.
    within = [int(n) for n in re.findall(r"redrawn within (\d+)/255", text)]
    assert within[0] <= 1 < within[1]
    assert "Not drawn here, for their size or noise size: Keras" in text
    assert chromium.complaints == []


def test_a_generator_that_is_too_large_for_the_page(
    chromium: Browser, colour_run: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(forward, "LARGEST", 1000)
    report.write([records.read(colour_run)], tmp_path, str(tmp_path))
    assert not list((tmp_path / report.WEIGHTS).iterdir())
    chromium.complaints.clear()
    for language, words in (("en", "more than 1,000 weights"), ("zh", "超过 1,000 个权重")):
        chromium.open("about:blank")
        chromium.open(f"file://{tmp_path}/index.html#lang={language}")
        assert words in chromium.run("document.querySelector('#p-walk').innerText")
        assert chromium.run("document.querySelector('#f-walk').hidden")
    assert chromium.complaints == []


def test_a_report_of_one_run(chromium: Browser, runs: Path, tmp_path: Path) -> None:
    report.write([records.read(runs / "pytorch")], tmp_path, str(tmp_path))
    chromium.complaints.clear()
    chromium.open(f"file://{tmp_path}/index.html#lang=en")
    assert chromium.complaints == []
    assert chromium.run("document.querySelector('h1').textContent") == "One DCGAN, side by side"
    assert chromium.run("document.querySelector('#f-pair').hidden")
    assert config.total_steps(Config(steps=STEPS)) == STEPS
