"""Seconds to quality: which runs are had, what counts as reached, and the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from common.config import UserError
from compare.quality import seconds
from compare.runs import Job, Outcome


def row(recipe: str, *its: list[tuple[float, float]], **changes: Any) -> dict[str, Any]:
    """A record's row; each run as (seconds, Fréchet distance) of its states."""
    found = [
        {
            "seed": seed,
            "finished": True,
            "states": [
                {"step": k, "seconds": s, "frechet_distance": d} for k, (s, d) in enumerate(states)
            ],
        }
        for seed, states in enumerate(its)
    ]
    fixed = {"recipe": recipe, "steps": 1562, "batch_size": 32, "engine": "pytorch"}
    return {**fixed, "precision": "float32", "runs": found} | changes


ROWS = [
    row("fast", [(10.0, 9.0), (40.0, 1.9)], [(12.0, 10.0), (42.0, 1.8)]),
    row("tuned", [(30.0, 8.0), (200.0, 0.69)], [(30.0, 8.0), (200.0, 0.71)], precision="bfloat16"),
]


def test_the_first_state_that_is_as_good_counts() -> None:
    states = ROWS[0]["runs"][1]
    assert [seconds.seconds_to(goal, states) for goal in (10.1, 10.0, 2.0, 1.0)] == [
        12.0, 12.0, 42.0, None
    ]  # fmt: skip


def test_the_fastest_is_one_whose_every_seed_gets_there() -> None:
    assert seconds.fastest(ROWS, 10.0) is ROWS[0]
    assert seconds.fastest(ROWS, 1.0) is ROWS[1]
    assert seconds.fastest(ROWS, 0.7) is None  # one of two seeds


def test_the_table_says_how_many_got_there() -> None:
    lines = seconds.table({"rows": ROWS}).splitlines()
    assert lines[2] == (
        "| fast, pytorch | 1,562 | 32 | 2 | 41.0 ± 1.4 | 1.85 ± 0.07 "
        "| **11.0 ± 1.4** | **41.0 ± 1.4** | - | - |"
    )
    assert lines[3].startswith("| tuned, pytorch (bfloat16) |")
    assert lines[3].endswith("| 30.0 ± 0.0 | 200.0 ± 0.0 | **200.0 ± 0.0** | 1 of 2 |")


def test_a_length_of_its_own_is_named() -> None:
    assert seconds.name(row("tuned", steps=1953)) == "tuned"
    assert seconds.name(row("fast", steps=1800)) == "fast --steps 1800"


@pytest.mark.parametrize("text", ["", "slow", "fast:9", "fast:", "fast:x", "fast,fast"])
def test_lengths_that_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--lengths "):
        seconds.lengths(text)


def test_every_run_is_trained_in_tenths_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def train(job: Job) -> Outcome | None:
        trained.append((job.engine.name, job.settings.recipe, job.settings.checkpoint_every))
        job.run.mkdir(parents=True)
        diverges = job.settings.recipe == "published"
        return Outcome("diverged", 1) if diverges else None

    monkeypatch.setattr(seconds, "Scorer", lambda data_dir: "scorer")
    monkeypatch.setattr(seconds.runs, "train", train)
    monkeypatch.setattr(seconds.progress, "score", lambda *_: None)
    monkeypatch.setattr(
        seconds.progress,
        "read",
        lambda run: [
            {"step": 3, "seconds": 2.0, "frechet_distance": 50.0},
            {"step": 25, "seconds": 20.0, "frechet_distance": 5.0},
        ],
    )
    out = tmp_path / "figures.json"
    monkeypatch.setattr(
        sys, "argv",
        ["x", "--engines", "pytorch,keras", "--lengths", "tuned:25,published:30", "--seeds", "1",
         "--runs-dir", str(tmp_path / "runs"), "--out", str(out)],
    )  # fmt: skip
    seconds.main()
    assert trained == [
        ("pytorch", "tuned", 3), ("pytorch", "published", 3),
        ("keras", "tuned", 3), ("keras", "published", 3),
    ]  # fmt: skip
    record = json.loads(out.read_text())
    assert [run["finished"] for row in record["rows"] for run in row["runs"]] == [True, False] * 2
    states = record["rows"][0]["runs"][0]["states"]
    assert [state["seconds"] for state in states] == [2.0, 20.0]
    said = capsys.readouterr().out
    assert "| tuned, pytorch | 25 | 128 | 1 | 20.0 | 5.00 | **20.0** | - | - | - |" in said
    assert "| published, pytorch | 30 | 128 | 1 | - | - | 20.0 | - | - | - |" in said
