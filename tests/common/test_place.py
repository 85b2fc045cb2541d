"""Where a worker is among the others, as launchers say it in the environment."""

from __future__ import annotations

import json

import pytest

from common.limits import UserError
from common.place import Place, place, restarted

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}  # fmt: skip
SLURM = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "rack1-node[07-09,12],login", "SLURM_JOB_ID": "4001",
}  # fmt: skip


def tf_config(index: int, kind: str = "worker", **others: list[str]) -> dict[str, str]:
    cluster = {"worker": ["a:2222", "b:2222", "a:2223"], **others}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_torchruns_variables() -> None:
    assert place(TORCHRUN) == Place(3, 4, 1, "10.0.0.1", 29501)
    by_hand = {name: value for name, value in TORCHRUN.items() if name != "LOCAL_RANK"}
    assert place(by_hand) == Place(3, 4, 0, "10.0.0.1", 29501)


def test_tf_config() -> None:
    workers = ("a:2222", "b:2222", "a:2223")
    assert place(tf_config(2)) == Place(2, 3, 1, "a", 2223, workers)
    assert place(tf_config(1, chief=["c:1"])) == Place(2, 4, 0, "c", 2, ("c:1", *workers))
    assert place(tf_config(0, "chief", chief=["c:1"])) == Place(0, 4, 0, "c", 2, ("c:1", *workers))


def test_slurms_variables() -> None:
    assert place(SLURM) == Place(5, 8, 1, "rack1-node07", 61440 + 1 + 1)
    assert place(SLURM | {"SLURM_STEP_NODELIST": "n1,n2"}) == Place(5, 8, 1, "n1", 61442)
    named = SLURM | {"MASTER_ADDR": "10.0.0.9", "MASTER_PORT": "7"}
    assert place(named) == Place(5, 8, 1, "10.0.0.9", 8)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'},
        SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        # In a batch script, which srun is in.
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"},
    ],
)
def test_one_worker_is_alone(environment: dict[str, str]) -> None:
    assert place(environment) is None


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (TORCHRUN | {"RANK": "4"}, "RANK is '4'; it takes a whole number from 0 to 3"),
        (TORCHRUN | {"RANK": "-1"}, "RANK is '-1'"),
        (TORCHRUN | {"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        (TORCHRUN | {"MASTER_PORT": "65535"}, "MASTER_PORT is '65535'"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "without MASTER_ADDR"),
        ({"RANK": "1"}, "WORLD_SIZE is ''"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is not what TensorFlow's strategies take"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG is not"),
        ({"TF_CONFIG": '{"cluster": 3}'}, "TF_CONFIG is not"),
        (tf_config(3), "TF_CONFIG is not"),
        (tf_config(0, "ps", ps=["p:1"]), "TF_CONFIG is not"),
        (SLURM | {"SLURM_PROCID": "8"}, "SLURM_PROCID is '8'"),
        (SLURM | {"SLURM_STEP_NODELIST": ""}, "names worker 0's machine"),
    ],
)
def test_what_is_half_set_is_one_sentence(environment: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        place(environment)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_restart_is_told_by_its_count() -> None:
    assert not restarted({})
    assert not restarted({"TORCHELASTIC_RESTART_COUNT": "0"})
    assert restarted({"TORCHELASTIC_RESTART_COUNT": "2"})
    assert restarted({"SLURM_RESTART_COUNT": "1"})
