"""The command line of a training: right values arrive, wrong ones get one sentence."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given as forall
from hypothesis import strategies as st

from common import commandline
from common.config import UserError
from common.limits import flag
from common.plan import TrainArguments


def parse(*argv: str) -> tuple[TrainArguments, set[str]]:
    return commandline.parse(TrainArguments, argv, prog="train", description="Train.")


def complaint(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(*argv)
    return str(caught.value)


# ------------------------------------------------------------------ right values


def test_the_defaults_are_the_published_recipe() -> None:
    arguments, given = parse()
    assert given == set()
    assert dataclasses.asdict(arguments) == {
        "seed": 0,
        "epochs": 5,
        "steps": None,
        "batch_size": 128,
        "noise_size": 96,
        "learning_rate": 3e-4,
        "beta1": 0.5,
        "beta2": 0.999,
        "show_every": 250,
        "dataset": "mnist",
        "data_dir": "data",
        "train_images": 50_000,
        "architecture": "mnist28",
        "image_size": 28,
        "channels": 1,
        "width": None,
        "recipe": "published",
        "precision": "float32",
        "device": "auto",
        "compile": False,
        "checkpoint_every": 500,
        "pictures_digest": None,
        "out": None,
        "resume": None,
        "overwrite": False,
    }


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["--seed", "9223372036854775807"], "seed", 2**63 - 1),
        (["--seed=3"], "seed", 3),
        (["--epochs", "1000000"], "epochs", 10**6),
        (["--steps", "1"], "steps", 1),
        (["--batch-size", "2"], "batch_size", 2),
        (["--noise-size", "1"], "noise_size", 1),
        (["--learning-rate", "1e-4"], "learning_rate", 1e-4),
        (["--learning-rate", "1"], "learning_rate", 1.0),
        (["--beta1", "0"], "beta1", 0.0),
        (["--beta2", "0.99"], "beta2", 0.99),
        (["--show-every", "1"], "show_every", 1),
        (["--dataset", "mnist"], "dataset", "mnist"),
        (["--dataset", "cifar10"], "dataset", "cifar10"),
        (["--dataset", "a b/ü"], "dataset", "a b/ü"),
        (["--data-dir", "a b/ü"], "data_dir", "a b/ü"),
        (["--train-images", "60000"], "train_images", 60_000),
        (["--architecture", "mnist28"], "architecture", "mnist28"),
        (["--architecture", "dcgan"], "architecture", "dcgan"),
        (["--image-size", "128"], "image_size", 128),
        (["--channels", "3"], "channels", 3),
        (["--width", "8"], "width", 8),
        (["--recipe", "published"], "recipe", "published"),
        (["--recipe", "tuned"], "recipe", "tuned"),
        (["--precision", "bfloat16"], "precision", "bfloat16"),
        (["--device", "cuda"], "device", "cuda"),
        (["--compile"], "compile", True),
        (["--no-compile"], "compile", False),
        (["--checkpoint-every", "1"], "checkpoint_every", 1),
        (["--out", "runs/x"], "out", "runs/x"),
        (["--resume", "runs/x"], "resume", "runs/x"),
        (["--overwrite"], "overwrite", True),
    ],
)
def test_every_flag_arrives_and_is_known_to_be_given(
    argv: list[str], field: str, value: object
) -> None:
    arguments, given = parse(*argv)
    assert given == {field}
    assert TrainArguments(**{field: value}) == arguments  # type: ignore[arg-type]


def test_given_reads_flags_not_values() -> None:
    argv = ["--batch-size=4", "--no-compile", "--data-dir=--seed", "words", "--out", "x"]
    assert commandline.given(argv) == {"batch_size", "compile", "data_dir", "out"}


FLAGS = [f.name for f in dataclasses.fields(TrainArguments) if f.name != "pictures_digest"]


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert [name for name in FLAGS if flag(name) not in shown] == []


def test_help_shows_the_default_of_each_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    shown = " ".join(lines)
    for words in (
        "(default: 5; 1 by mnist28 fast)",
        "(default: 128; 48 by mnist28 fast)",
        "(default: 0.0003; 0.001 by mnist28 tuned",
        "(default: 0.5; 0.0 by mnist28 tuned, mnist28 fast)",
        "(default: mnist28 for pictures of 28 pixels, else dcgan)",
        "(default: published for mnist28, paper for dcgan)",
        "(default: the pictures' own, of a folder 64)",
    ):
        assert words in shown


# ------------------------------------------------------------------ wrong values

INTEGERS = {
    "seed": "--seed takes a whole number from 0 to 2**63 - 1",
    "epochs": "--epochs takes a whole number from 1 to 1000000",
    "steps": "--steps takes a whole number from 1 to 1000000000",
    "batch_size": "--batch-size takes a whole number from 2 (batch norm needs two) to 60000",
    "noise_size": "--noise-size takes a whole number from 1 to 65536",
    "show_every": "--show-every takes a whole number from 1 to 1000000000",
    "train_images": "--train-images takes a whole number from 2 to 1000000000",
    "image_size": "--image-size takes 32, 64 or 128, or 28 for mnist28",
    "channels": "--channels takes 1 or 3",
    "width": "--width takes a whole number from 1 to 1024",
    "checkpoint_every": "--checkpoint-every takes a whole number from 1 to 1000000000",
}
FLOATS = {
    "learning_rate": "--learning-rate takes a number above 0 and up to 10",
    "beta1": "--beta1 takes a number from 0 to below 1",
    "beta2": "--beta2 takes a number from 0 to below 1",
}
CHOICES = {
    "architecture": "--architecture takes one of mnist28, dcgan",
    "recipe": "--recipe takes one of published, tuned, fast, paper",
    "precision": "--precision takes one of float32, bfloat16, float64",
    "device": "--device takes one of auto, cpu, cuda, mps",
}


def test_these_tables_hold_every_flag_that_takes_no_free_text() -> None:
    free = {"dataset", "data_dir", "out", "resume", "compile", "overwrite"}
    assert INTEGERS.keys() | FLOATS.keys() | CHOICES.keys() == set(FLAGS) - free


@pytest.mark.parametrize("word", ["x", "", "1.5", "1e3", "nan", "inf", "0x10", "-1", str(10**19)])
@pytest.mark.parametrize("name", INTEGERS)
def test_a_wrong_integer_gets_one_sentence(name: str, word: str) -> None:
    shown = word if word.lstrip("-").isdigit() else repr(word)
    assert complaint(f"{flag(name)}={word}") == f"{INTEGERS[name]}, not {shown}."
    assert complaint(flag(name), word) == f"{INTEGERS[name]}, not {shown}."


@pytest.mark.parametrize("name", INTEGERS.keys() - {"seed"})
def test_zero_of_anything_is_refused(name: str) -> None:
    assert complaint(flag(name), "0") == f"{INTEGERS[name]}, not 0."


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "-1", "1e9", "1e999"])
@pytest.mark.parametrize("name", FLOATS)
def test_a_number_out_of_range_gets_one_sentence(name: str, word: str) -> None:
    assert complaint(flag(name), word) == f"{FLOATS[name]}, not {float(word)}."


@pytest.mark.parametrize("word", ["x", "", "0,5", "1/2", "--seed"])
@pytest.mark.parametrize("name", FLOATS)
def test_what_is_no_number_gets_one_sentence(name: str, word: str) -> None:
    assert complaint(flag(name), word) == f"{FLOATS[name]}, not {word!r}."


@pytest.mark.parametrize(
    ("name", "word"), [("learning_rate", "0"), ("beta1", "1"), ("beta2", "1"), ("beta2", "-1e-9")]
)
def test_the_ends_of_the_intervals_are_refused(name: str, word: str) -> None:
    assert complaint(flag(name), word) == f"{FLOATS[name]}, not {float(word)}."


@pytest.mark.parametrize("word", ["x", "", "0", "MNIST", "nan"])
@pytest.mark.parametrize("name", CHOICES)
def test_a_wrong_choice_gets_the_list(name: str, word: str) -> None:
    assert complaint(flag(name), word) == f"{CHOICES[name]}, not {word!r}."


@pytest.mark.parametrize("name", ["data_dir", "out", "resume"])
@pytest.mark.parametrize("word", ["", "a\0b"])
def test_an_impossible_path_is_refused(name: str, word: str) -> None:
    assert complaint(flag(name), word) == f"{flag(name)} takes a name, not {word!r}."


@pytest.mark.parametrize(
    "name",
    [name for name in FLAGS if name not in ("compile", "overwrite")],
)
def test_a_flag_without_its_value_is_refused(name: str) -> None:
    sentence = complaint(flag(name))
    assert sentence.startswith(f"{flag(name)} takes ")
    assert sentence.endswith(", and none was given.")


@pytest.mark.parametrize("word", ["--compile=yes", "--no-compile=1", "--overwrite=0"])
def test_a_switch_takes_no_value(word: str) -> None:
    assert complaint(word) == f"{word.split('=')[1]!r} is not expected here; see --help."


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--learnin-rate", "did you mean --learning-rate?"),
        ("--batchsize=4", "did you mean --batch-size?"),
        ("--resum", "did you mean --resume?"),
        ("--no-seed", "did you mean --seed?"),
        ("--qqq", "see --help."),
        ("-x", "see --help."),
    ],
)
def test_an_unknown_flag_gets_a_suggestion(word: str, hint: str) -> None:
    assert complaint(word, "3") == f"There is no flag {word.split('=')[0]}; {hint}"


def test_a_stray_word_is_refused() -> None:
    assert complaint("train") == "'train' is not expected here; see --help."


@forall(
    st.lists(st.text(max_size=8) | st.sampled_from(["--seed", "--out", "--compile", "--", "-"]))
)
def test_no_command_line_gets_more_than_a_sentence(argv: list[str]) -> None:
    """Whatever is typed: arguments, the help text, or a UserError of one line."""
    try:
        parse(*argv)
    except UserError as error:
        sentence = str(error)
    except SystemExit as exit_:
        assert exit_.code == 0  # noqa: PT017
        return
    else:
        return
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert sentence.endswith((".", "?"))


def test_a_mistake_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        commandline.fail(UserError("This is wrong."))
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: This is wrong.\n"
