"""The report: its facts, its failures, and its page in a real browser.

One short real run, and copies of it that stand for the other engines. The browser is the system's
own (`apt-get install chromium`, say); where there is none, its tests are skipped, with a word.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import batches, checkpoint, config, images
from common.config import Config, UserError
from compare import engines
from compare import runs as training
from compare.quality import progress
from compare.quality.scorer import EXTRACTOR_SHA256
from compare.report import build as report
from compare.report import certificate, forward, records, sidebyside
from compare.runs import Outcome
from tests.conftest import Command
from tests.cross import browser
from tests.cross.browser import Browser

STEPS = 4
HOSTILE = "keras-<img src=x onerror=alert(1)>"
MARKUP = "error: </script><script>alert(2)</script><b>last words</b>"
VERSIONS = {
    "tensorflow": {"tensorflow": "2"},
    "keras": {"keras": "3", "tensorflow": "2"},
    "keras-torch": {"keras": "3", "torch": "2"},
    "keras-jax": {"keras": "3", "jax": "0"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data_dir: str, command: Command) -> Path:
    """A folder with a run of each engine, of which PyTorch's is real, and two that failed."""
    folder = tmp_path_factory.mktemp("runs")
    real = folder / "pytorch"
    command(
        "pytorch_impl.train", "--steps", STEPS, "--batch-size", 16, "--show-every", 2,
        "--data-dir", data_dir, "--out", real,
    )  # fmt: skip
    saved = checkpoint.load(real / checkpoint.FILE_NAME)
    other = dict(saved.arrays)
    other["generator/dense2/kernel"] = other["generator/dense2/kernel"] * np.float32(1.5)
    for index, (engine, versions) in enumerate(VERSIONS.items()):
        run = folder / engine
        shutil.copytree(real, run, ignore=shutil.ignore_patterns("*.safetensors", "tensorboard"))
        if index == 0:
            checkpoint.save(run / checkpoint.FILE_NAME, other, saved.config, "tensorflow", {})
        else:
            os.link(folder / "tensorflow" / checkpoint.FILE_NAME, run / checkpoint.FILE_NAME)
        edit(run / "environment.json", backend=engine.split("-")[0], versions=versions)
        draw(run, other, STEPS)
        change_metrics(run, lambda step, i=index: 1 + (i + 1) * 1e-7 * 10**step)
    states = [{"step": n, "seconds": 60.0 * n, "frechet_distance": 40.0 / n} for n in (1, 2, 4)]
    scores = {"extractor": EXTRACTOR_SHA256, "states": states}
    (folder / "keras-torch" / progress.FILE_NAME).write_text(json.dumps(scores))
    broken = folder / HOSTILE
    shutil.copytree(folder / "keras", broken)
    (broken / checkpoint.FILE_NAME).unlink()
    edit(broken / "result.json", finished=False, step=2)
    Outcome("diverged", 1, MARKUP).write(broken)
    Outcome("missing", None, "Engine keras-jax needs jax").write(folder / "keras-jax-seed1")
    return folder


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def draw(run: Path, arrays: checkpoint.Arrays, step: int) -> None:
    """Replace a sample grid by what these weights draw."""
    drawn = forward.generate(forward.sampler(arrays), batches.shown_noise(0, 16, 96))
    path = run / f"samples/step-{step:06d}.png"
    images.save_grid(path, images.to_uint8(drawn))


def change_metrics(run: Path, factor: Callable[[int], float]) -> None:
    """Multiply both losses of each step by a number near 1."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row["d_loss"] *= factor(row["step"])
        row["g_loss"] *= factor(row["step"])
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def paths(runs: Path) -> list[str]:
    names = ("pytorch", *VERSIONS, HOSTILE, "keras-jax-seed1")
    return [str(runs / name) for name in names]


# ------------------------------------------------------------------ what is read


def test_what_a_run_tells(runs: Path) -> None:
    found = [records.read(Path(path)) for path in paths(runs)]
    names = ["pytorch", *VERSIONS, "keras", "keras-jax"]
    assert [record.engine for record in found] == names
    assert [record.outcome and record.outcome.kind for record in found] == [
        None, None, None, None, None, "diverged", "missing",
    ]  # fmt: skip
    real = found[0]
    assert (real.step, sorted(real.grids), len(real.steps)) == (STEPS, [0, 2, STEPS], STEPS)
    assert real.grids[0].shape == (122, 122, 1)
    assert found[-1].settings is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run directory"):
        records.read(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "missing"),
        (["absent"], "no run directory"),
        (["{run}", "{run}/."], "twice"),
        (["{run}", "--parity", "{run}/metrics.jsonl"], "--parity"),
        (["{run}", "--out", "{run}/config.json/x"], "--out"),
    ],
)
def test_mistakes_answer_in_a_sentence(
    arguments: list[str], said: str, runs: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    given = [text.replace("{run}", str(runs / "pytorch")) for text in arguments]
    monkeypatch.setattr(sys, "argv", ["report", *given, "--data-dir", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as status:
        report.main()
    assert status.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert not (tmp_path / "report").exists()


# ------------------------------------------------------------------ certificate


def facts(found: list[records.Record], data_dir: str) -> dict[str, dict[str, Any]]:
    return {fact["name"]: fact for fact in certificate.certify(found, data_dir)}


def test_all_facts_hold_and_the_real_run_was_computed_without_a_framework(
    runs: Path, data_dir: str
) -> None:
    found = facts([records.read(runs / name) for name in ("pytorch", *VERSIONS)], data_dir)
    checked = ("config", "counts", "weights", "batch", "losses")
    assert {name: found[name]["holds"] for name in checked} == dict.fromkeys(checked, True)
    alone = facts([records.read(runs / "pytorch")], data_dir)
    # PyTorch trained it, numpy computes its first loss and pictures from the seed.
    assert alone["batch"]["figures"]["worst"] < 1e-6
    assert alone["weights"]["figures"]["largest"] <= 1
    assert alone["losses"]["holds"] is None
    assert found["losses"]["figures"]["pairs"] == 10
    assert found["losses"]["figures"]["d_worst"] == pytest.approx(4e-7, rel=1e-3)
    assert found["parting"]["figures"]["first"] is None


def test_a_fact_that_does_not_hold_is_shown_as_such(
    runs: Path, data_dir: str, tmp_path: Path
) -> None:
    ours, theirs = records.read(runs / "pytorch"), records.read(runs / "keras")
    assert theirs.settings is not None
    other = dataclasses.replace(theirs.settings, learning_rate=1e-3)
    found = facts([ours, dataclasses.replace(theirs, settings=other)], data_dir)
    assert found["config"]["holds"] is False
    assert found["config"]["figures"]["differing"] == "learning_rate: 0.0003, 0.001"
    assert found["losses"]["figures"]["pairs"] == 0

    grid = theirs.grids[0].astype(int)
    grid[10, 10] += 2
    found = facts([ours, dataclasses.replace(theirs, grids={0: grid})], data_dir)
    assert (found["weights"]["holds"], found["weights"]["figures"]["largest"]) == (False, 2)

    metrics = theirs.metrics | {"d_loss": theirs.metrics["d_loss"] * (1 + 2e-5)}
    found = facts([ours, dataclasses.replace(theirs, metrics=metrics)], data_dir)
    assert (found["batch"]["holds"], found["losses"]["holds"]) == (False, False)

    metrics = theirs.metrics | {"g_loss": theirs.metrics["g_loss"] * [1, 1, 1.02, 1]}
    found = facts([ours, dataclasses.replace(theirs, metrics=metrics)], data_dir)
    assert found["parting"]["figures"]["first"] == 2

    assert facts([ours], str(tmp_path))["batch"]["holds"] is None  # no MNIST there


# ------------------------------------------------------------------ the command


@pytest.mark.parametrize(
    ("status", "tail", "kind", "kept"),
    [
        (0, "", None, None),
        (-9, "Killed", "killed", -9),
        (143, "Stopped after step 3", "killed", -15),
        (1, "...\nerror: The losses of step 3 are not finite", "diverged", 1),
        (1, "Traceback\nRuntimeError: an error: odd", "crashed", 1),
        (2, "error: --steps takes ...", "refused", 2),
    ],
)
def test_how_a_training_ended(status: int, tail: str, kind: str | None, kept: int | None) -> None:
    outcome = training.ending(status, tail)
    assert (outcome and outcome.kind) == kind
    assert (outcome and outcome.status) == kept


def test_the_others_finish_and_the_next_call_goes_on(
    runs: Path, data_dir: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    started: list[str] = []
    endings = {
        "pytorch": f"import shutil; shutil.copytree({str(runs / 'pytorch')!r}, sys.argv[1])",
        "tensorflow": "print('out of memory', flush=True); os.kill(os.getpid(), 9)",
        "keras": "sys.exit('Traceback ...')",
    }

    def start(engine: engines.Engine, module: str, *arguments: object, **more: Any) -> Any:
        started.append(engine.name)
        out = arguments[arguments.index("--out") + 1]
        code = f"import os, sys; {endings[engine.name]}"
        return subprocess.Popen(
            [sys.executable, "-c", code, str(out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **more,
        )

    monkeypatch.setattr(engines, "start", start)
    monkeypatch.setattr(
        engines.Engine, "missing", property(lambda e: ["jax"] if e.name == "keras-jax" else [])
    )
    # What the copied run was trained with, so that it is taken for this command's own.
    monkeypatch.setattr(training, "jobs", functools.partial(training.jobs, batch_size=16))
    arguments = [
        "sidebyside", "--engines", "pytorch,tensorflow,keras,keras-jax", "--steps", str(STEPS),
        "--score", "no", "--data-dir", data_dir, "--runs-dir", str(tmp_path / "runs"),
        "--out", str(tmp_path / "report"),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    for _ in range(2):
        with pytest.raises(SystemExit) as status:
            sidebyside.main()
        assert status.value.code == 1
        data = embedded((tmp_path / "report" / "index.html").read_text())
        outcomes = {run["engine"]: run["outcome"] for run in data["runs"]}
        assert outcomes["pytorch"] is None
        assert outcomes["tensorflow"] == {"kind": "killed", "status": -9, "tail": "out of memory"}
        assert outcomes["keras"] == {"kind": "crashed", "status": 1, "tail": "Traceback ..."}
        assert "needs jax" in outcomes["keras-jax"]["tail"]
    assert started == ["pytorch", "tensorflow", "keras", "tensorflow", "keras"]
    assert "3 of them not finished" in capsys.readouterr().out


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_runs_of_other_settings_are_not_mixed_up(runs: Path, tmp_path: Path) -> None:
    arguments = sidebyside.CompareArguments(engines="pytorch", runs_dir=str(tmp_path))
    assert sidebyside.plan(arguments)[0].run.name == "pytorch-mnist-seed0"
    short = dataclasses.replace(arguments, steps=STEPS, precision="bfloat16")
    job = sidebyside.plan(short)[0]
    assert job.run.name == f"pytorch-mnist-seed0-bfloat16-{STEPS}steps"
    assert job.settings.show_every == 1
    shutil.copytree(runs / "pytorch", tmp_path / "pytorch-mnist-seed0")
    with pytest.raises(UserError, match="other settings"):
        sidebyside.plan(arguments)


def test_states_on_the_way_are_kept_scored_and_removed(
    runs: Path, tmp_path: Path, monkeypatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "keras", run)
    assert not progress.keep(run, last=STEPS)  # the last state stays where it is
    edit(run / "result.json", step=2, seconds=1.5)
    assert not progress.keep(run, last=9)  # the result of step 2 beside the checkpoint of step 4
    assert not list((run / progress.STATES).iterdir())
    edit(run / "result.json", step=STEPS)
    assert progress.keep(run, last=9)
    assert not progress.keep(run, last=9)
    kept = run / progress.STATES / f"step-{STEPS:06d}.safetensors"
    assert checkpoint.load(kept).step == STEPS
    monkeypatch.setattr(progress.evaluate, "images_of", lambda *_: "images")

    class Scorer:
        def frechet_distance(self, images: object) -> float:
            assert images == "images"
            return 7.5

    progress.score(run, engines.ENGINES["pytorch"], Scorer())  # type: ignore[arg-type]
    row = {"step": STEPS, "seconds": 1.5, "frechet_distance": 7.5}
    assert records.read(run).progress == [row]
    assert not kept.parent.exists()
    assert not progress.keep(run, last=9)  # scored already


# ------------------------------------------------------------------ the page as text


def test_both_languages_say_everything() -> None:
    strings = json.loads((report.PAGE / "strings.json").read_text())
    assert set(strings["en"]) == set(strings["zh"])
    slot = re.compile(r"\{\w+\}|`[^`]*`")
    for key, text in strings["en"].items():
        assert sorted(slot.findall(text)) == sorted(slot.findall(strings["zh"][key])), key
    code = "".join((report.PAGE / name).read_text() for name in (*report.SCRIPTS, "template.html"))
    used = set(re.findall(r"\bt\('(\w+)'[,)]", code))
    used |= set(re.findall(r'data-(?:t|label|role)="(\w+)"', code))
    assert len(used) > 80
    assert used <= set(strings["en"])


def test_the_code_is_small() -> None:
    assert sum(path.stat().st_size for path in report.PAGE.iterdir()) < 100_000


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_text_has_contrast_in_both_themes() -> None:
    style = (report.PAGE / "style.css").read_text()
    themes = re.findall(r":root[^{]*\{([^}]*--paper[^}]*)\}", style)
    assert len(themes) == 4  # light, dark by the system, dark by the switch, print
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme.replace("#fff;", "#ffffff;")))
        for text in {"ink", "soft", "accent", "good", "bad"} & set(colours):
            for ground in {"paper", "panel"} & set(colours):
                pair = sorted((luminance(colours[text]), luminance(colours[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (text, ground, theme)


# ------------------------------------------------------------------ the page in a browser


@pytest.fixture(scope="module")
def folder(runs: Path, data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report over five engines and two failures."""
    out = tmp_path_factory.mktemp("report")
    report.write(report.read_all(paths(runs)), out, data_dir)
    return out


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here; install one (apt-get install chromium) to test the page")
    with Browser(program) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, folder: Path) -> Iterator[Browser]:
    """The report, opened from disk; at the end nothing was complained of or asked for elsewhere."""
    chromium.resize(1200, 900)
    chromium.open("about:blank")
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(f"file://{folder}/index.html#lang=en")
    yield chromium
    assert chromium.complaints == []
    ours = (f"file://{folder}/", "data:")
    assert [address for address in chromium.requests if not address.startswith(ours)] == []


def sources(page: Browser) -> dict[str, str]:
    """Run -> what its grid shows."""
    return page.run(
        "Object.fromEntries([...document.querySelectorAll('#grids .cell:has(img)')]"
        ".map(c => [c.dataset.run, c.querySelector('img').src]))"
    )


def test_the_policy_is_strict(folder: Path) -> None:
    text = (folder / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert not re.search(r"unsafe|\*|https?:", policy[1])
    code = text.split('id="data"')[0] + text.rsplit("<script>", 1)[1]
    assert re.findall(r"https?://[^'\"]*", code) == ["http://www.w3.org/2000/svg"]  # a name only


def test_it_opens_in_two_seconds(page: Browser, folder: Path) -> None:
    def seconds() -> float:
        page.open("about:blank")
        return page.open(f"file://{folder}/index.html#lang=en")

    assert min(seconds() for _ in range(3)) < 2  # the machine may be busy with other tests


def test_the_slider_moves_every_picture(page: Browser, runs: Path, folder: Path) -> None:
    data = embedded((folder / "index.html").read_text())
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


def test_the_address_keeps_step_engines_and_view(page: Browser, folder: Path) -> None:
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
    page.open(f"file://{folder}/index.html{address}")
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


def test_a_report_of_one_run(chromium: Browser, runs: Path, tmp_path: Path) -> None:
    report.write([records.read(runs / "pytorch")], tmp_path, str(tmp_path))
    chromium.complaints.clear()
    chromium.open(f"file://{tmp_path}/index.html#lang=en")
    assert chromium.complaints == []
    assert "one engine" in chromium.run("document.querySelector('h1').textContent")
    assert chromium.run("document.querySelector('#f-pair').hidden")
    assert config.total_steps(Config(steps=STEPS)) == STEPS
