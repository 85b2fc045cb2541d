"""A mistake on a command line is one sentence: the short version of values.py.

And the counts can go wrong: an answer of another kind is lost.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import commandline, limits, mnist
from common.config import UserError
from compare.pages.torture import Row
from tests.torture import answers, values, wrong
from tests.torture.values import Command

SAID: list[str] = []


@pytest.fixture(scope="module")
def known() -> dict[str, Command]:
    return values.commands()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return values.furnish(tmp_path_factory.mktemp("values") / "scratch")


# ------------------------------------------------------------------ short versions


@pytest.mark.filterwarnings("ignore")
def test_one_in_forty_wrong_values(known: dict[str, Command], folder: Path) -> None:
    lines = values.mistakes(known)
    assert len(lines) > 4000
    row = values.many("wrong values", lines[::40], known, folder, SAID.append)
    assert row.lost == 0, SAID


@pytest.mark.filterwarnings("ignore")
def test_all_combinations_that_cannot_be(known: dict[str, Command], folder: Path) -> None:
    row = values.many("combinations", values.combinations(), known, folder, SAID.append)
    assert row.lost == 0, SAID
    assert row.tried > 240


def test_as_a_user_makes_a_mistake(folder: Path) -> None:
    lines = [
        ("tensorflow_impl.train", ["--resume", "fifo"]),
        ("keras_impl.sample", ["broken"]),
        ("compare.parity", ["--out", "file/x"]),
        ("common.datasets", ["--hel"]),
    ]
    row = answers.as_a_user(Row("values", "by processes", 0, 0), lines, folder, SAID.append)
    assert row.lost == 0, SAID


def test_every_flag_of_every_command_gets_wrong_values(known: dict[str, Command]) -> None:
    for name, command in known.items():
        flags = {
            word.split("=")[0]
            for argv in wrong.values(command.arguments, command.out)
            for word in argv
        }
        no_flag = {"run", "runs", "source", "target", "data_dir", "pictures_digest"}
        for field in dataclasses.fields(command.arguments):
            assert limits.flag(field.name) in flags or field.name in no_flag, (name, field.name)


# ------------------------------------------------------------------ the counts can go wrong


@pytest.mark.parametrize(
    ("status", "out", "err", "changed"),
    [
        (0, "", "error: This is wrong.\n", False),
        (1, "", "error: This is wrong.\n", False),
        (2, "Loading ...\n", "error: This is wrong.\n", False),
        (2, "", "error: This is wrong.\n", True),
        (2, "", "", False),
        (2, "", "This is wrong.\n", False),
        (2, "", "error: This is\nwrong.\n", False),
        (2, "", "error: This is \x1b[31mwrong.\n", False),
        (2, "", "error: This is wrong\n", False),
        (2, "", f"error: {'x' * 2000}.\n", False),
        (2, "", "Traceback (most recent call last):\nValueError: x.\n", False),
    ],
)
def test_an_answer_of_another_kind_is_lost(status: int, out: str, err: str, changed: bool) -> None:
    assert answers.fault(2, "", "error: This is wrong.\n", False) is None
    assert answers.fault(status, out, err, changed) is not None


def refuse() -> None:
    commandline.fail(UserError("This is wrong."))


def create() -> None:
    Path("new").write_text("")
    refuse()


def change() -> None:
    Path("file").write_text("changed")
    refuse()


def crash() -> None:
    raise ValueError("x")


def load() -> None:
    sys.modules["jax"] = sys
    refuse()


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (create, "something was created or changed"),
        (change, "something was created or changed"),
        (crash, "exit status none, ValueError: x: "),
        (lambda: None, "exit status 0: "),
        (lambda: mnist._fetch([], print), "exit status none, it went to work: "),
        (load, "a framework was imported"),
    ],
)
def test_a_command_that_answers_otherwise_is_lost(
    main: Callable[[], Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("as it was before")
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert answers.in_process(refuse, [], tmp_path) is None
    assert answers.in_process(main, [], tmp_path) == said
    sys.modules.pop("jax", None)


# ------------------------------------------------------------------ what they found


def test_a_sentence_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commandline.fail(UserError("There is no a\nb\x1b[31m" + "x" * 5000 + "."))
    error = capsys.readouterr().err
    assert error.startswith("error: There is no a\\nb\\x1b[31mxxx")
    assert error.count("\n") == 1
    assert len(error) < 1100


@pytest.mark.parametrize("text", ["9" * 5000, "½", "-1", "8,", "", "1e3"])
def test_a_list_of_numbers_takes_whole_ones(text: str) -> None:
    with pytest.raises(UserError, match="--batch-sizes takes whole numbers from 2 to 9, separated"):
        commandline.numbers("batch_sizes", text, 2, 9)


@pytest.mark.parametrize(
    ("path", "folder", "said"),
    [
        ("file", True, "is a file; give a folder"),
        ("empty", False, "is a folder; give a file name"),
        ("file/x", True, "Not a directory"),
        ("file/x/y", False, "Not a directory"),
        ("dangling/x", False, "Not a directory"),
        ("n" * 300, True, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_known_before_the_work(
    path: str, folder: bool, said: str, tmp_path: Path
) -> None:
    scratch = values.furnish(tmp_path / "x")
    commandline.check_place("out", scratch / "new" / "x", folder)
    with pytest.raises(UserError, match=said):
        commandline.check_place("out", scratch / path, folder)


def test_a_limit_has_one_sentence_in_a_command() -> None:
    """`--steps x` and `--steps 1` of `make parity` speak of the same range."""
    from compare.parity.ladder import ParityArguments

    for word in ("x", "1", "100001"):
        with pytest.raises(UserError, match="--steps takes a whole number from 2 to 100000, not"):
            commandline.parse(ParityArguments, ["--steps", word], prog="x", description="")


def test_the_data_folder_is_not_put_into_a_run(tmp_path: Path) -> None:
    from common.plan import TrainArguments, make_plan

    for data in (tmp_path / "x", tmp_path / "x" / "data"):
        with pytest.raises(UserError, match="contains the data folder"):
            make_plan(TrainArguments(out=str(tmp_path / "x"), data_dir=str(data)), set(), "pytorch")
