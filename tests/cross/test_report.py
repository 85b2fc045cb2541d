"""The report: what it reads, its facts, its failures, its page as text. See test_page.py."""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import batches, checkpoint, config
from common.config import Config, UserError
from compare import engines
from compare import runs as training
from compare.quality import progress, scorer
from compare.report import build as report
from compare.report import certificate, records, sidebyside
from tests.cross.made_runs import STEPS, VERSIONS, edit, embedded, paths

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


def test_a_run_of_a_folder_says_how_many_pictures_it_had(tmp_path: Path) -> None:
    settings = Config(dataset=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config.to_json(settings)))
    with pytest.raises(UserError, match="train_images"):
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
    assert not list(tmp_path.iterdir())  # and none was fetched


def test_the_papers_networks_are_computed_without_a_framework(
    colour_run: Path, data_dir: str
) -> None:
    found = facts([records.read(colour_run)], data_dir)
    for name in ("config", "counts", "weights", "batch"):
        assert found[name]["holds"], name
    assert found["batch"]["figures"]["worst"] < 1e-6
    assert found["weights"]["figures"]["largest"] <= 1


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


def test_runs_of_other_settings_are_not_mixed_up(runs: Path, tmp_path: Path) -> None:
    arguments = sidebyside.CompareArguments(engines="pytorch", runs_dir=str(tmp_path))
    assert sidebyside.plan(arguments)[0].run.name == "pytorch-mnist-seed0"
    short = dataclasses.replace(arguments, steps=STEPS, precision="bfloat16")
    job = sidebyside.plan(short)[0]
    assert job.run.name == f"pytorch-mnist-seed0-bfloat16-{STEPS}steps"
    assert job.settings.show_every == 1
    wide = Config(dataset="a/b", channels=1, image_size=128, width=8)
    assert training.directory("x", engines.ENGINES["pytorch"], wide) == Path(
        "x/pytorch-b-seed0-128x128x1-width8"
    )
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
        kind = scorer.Scorer.kind

        def frechet_distance(self, images: object) -> float:
            assert images == "images"
            return 7.5

    progress.score(run, engines.ENGINES["pytorch"], Scorer())  # type: ignore[arg-type]
    row = {"step": STEPS, "seconds": 1.5, "frechet_distance": 7.5}
    assert records.read(run).progress == [row]
    assert not kept.parent.exists()
    assert not progress.keep(run, last=9)  # scored already


def test_runs_of_two_noise_sizes_have_noise_and_tables_of_their_own(
    runs: Path, tmp_path: Path
) -> None:
    ours, theirs = records.read(runs / "pytorch"), records.read(runs / "keras")
    assert theirs.settings is not None
    shorter = dataclasses.replace(theirs.settings, noise_size=64)
    page = report.write([ours, dataclasses.replace(theirs, settings=shorter)], tmp_path, "absent")
    data = embedded(page.read_text())
    noise = {key: np.frombuffer(base64.b64decode(x), "<f4") for key, x in data["noise"].items()}
    assert set(noise) == {"0/96", "0/64"}
    for size in (96, 64):
        wanted = batches.shown_noise(0, 16, size)
        np.testing.assert_array_equal(noise[f"0/{size}"].reshape(16, size), wanted)
    counts = next(fact for fact in data["certificate"] if fact["name"] == "counts")
    assert counts["holds"] is False  # Keras's checkpoint is of noise 96 still
    assert counts["figures"]["wanted"] == "1,102,721 + 6,642,241; 1,102,721 + 6,675,009"


def test_measurements_are_those_of_the_runs_networks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(report, "FIGURES", tmp_path)
    monkeypatch.chdir(tmp_path)
    paper = {"architecture": "dcgan", "rows": []}
    (tmp_path / "bench-dcgan.json").write_text(json.dumps(paper))
    (tmp_path / "bench.json").write_text(json.dumps({"rows": [{}]}))
    assert report.stored("bench", None, "dcgan") == paper
    assert report.stored("bench", None) == {"rows": [{}]}
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "bench.json").write_text(json.dumps(paper))  # made here, of others
    assert report.stored("bench", None) == {"rows": [{}]}
    assert report.stored("bench", str(tmp_path / "bench-dcgan.json")) == paper


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


def test_the_policy_is_strict(report_folder: Path) -> None:
    text = (report_folder / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert not re.search(r"unsafe|\*|https?:", policy[1])
    code = text.split('id="data"')[0] + text.rsplit("<script>", 1)[1]
    assert re.findall(r"https?://[^'\"]*", code) == ["http://www.w3.org/2000/svg"]  # a name only


def test_networks_that_no_memory_holds_are_not_computed(runs: Path, tmp_path: Path) -> None:
    ours = records.read(runs / "pytorch")
    huge = Config(dataset="theirs", image_size=128, width=1024, train_images=64, batch_size=64)
    wide = dataclasses.replace(huge, width=64, batch_size=60_000, train_images=60_000)
    for settings in (huge, wide):
        theirs = [dataclasses.replace(ours, settings=settings)]
        for found in (
            certificate.initial_weights(theirs),
            certificate.first_batch(theirs, str(tmp_path)),
        ):
            assert found["holds"] is None
