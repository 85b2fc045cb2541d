"""Which of a run's workers this process is: what the launcher says in the environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.limits import UserError

PORTS = range(1, 65535)  # of a launcher; the next one is ours


@dataclass(frozen=True)
class Place:
    """A worker among several."""

    rank: int  # 0 to world - 1; worker 0 alone writes the run
    world: int
    local: int  # number of this worker on its machine
    host: str  # worker 0's, as the others reach it
    port: int  # where worker 0 awaits them
    cluster: tuple[str, ...] = ()  # every worker's host:port, where the launcher has chosen them


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place; None if it trains alone. UserError if the environment is half set.

    torchrun's variables are RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; TensorFlow's
    TF_CONFIG; those of Slurm's srun SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID and
    SLURM_STEP_NODELIST, whose first machine worker 0 runs on unless MASTER_ADDR names it.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    if "TF_CONFIG" in environment:
        return _of_tf_config(environment["TF_CONFIG"])
    if "SLURM_STEP_NUM_TASKS" in environment:  # in the script that srun is in, it is not set
        return _of_slurm(environment)
    return None


def restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Has the launcher started this command before? Then the run goes on where it was saved."""
    counts = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    return any(environment.get(name, "0") not in ("", "0") for name in counts)


def _of_torchrun(environment: Mapping[str, str]) -> Place | None:
    world = _number(environment, "WORLD_SIZE", range(1, 2**16))
    rank = _number(environment, "RANK", range(world))
    local = _number(environment, "LOCAL_RANK", range(world)) if "LOCAL_RANK" in environment else 0
    if world == 1:
        return None
    if not environment.get("MASTER_ADDR"):
        raise UserError("RANK and WORLD_SIZE are set without MASTER_ADDR, worker 0's machine.")
    port = _number(environment, "MASTER_PORT", PORTS)
    return Place(rank, world, local, environment["MASTER_ADDR"], port + 1)


def _of_tf_config(text: str) -> Place | None:
    mistake = UserError(
        "TF_CONFIG is not what TensorFlow's strategies take: "
        '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.'
    )
    try:
        described = json.loads(text or "{}")
        cluster, task = described.get("cluster", {}), described.get("task", {})
        chief, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        rank = int(task.get("index", 0)) + (len(chief) if task.get("type") == "worker" else 0)
        addresses = [*chief, *workers]
        hosts = [address.rsplit(":", 1) for address in addresses]
        known = task.get("type", "worker") in ("chief", "worker") and set(cluster) <= {
            "chief",
            "worker",
        }
        if len(addresses) < 2 and known:
            return None
        if not known or not 0 <= rank < len(addresses) or int(hosts[0][1]) not in PORTS:
            raise mistake
        local = sum(host == hosts[rank][0] for host, _ in hosts[:rank])
        return Place(rank, len(hosts), local, hosts[0][0], int(hosts[0][1]) + 1, tuple(addresses))
    except (ValueError, TypeError, AttributeError, IndexError):
        raise mistake from None


def _of_slurm(environment: Mapping[str, str]) -> Place | None:
    world = _number(environment, "SLURM_STEP_NUM_TASKS", range(1, 2**16))
    if world == 1:
        return None
    rank = _number(environment, "SLURM_PROCID", range(world))
    local = _number(environment, "SLURM_LOCALID", range(world))
    # node07, or the first of rack1-node[07-09,12]
    first = re.match(r"([^,\[]+)(?:\[(\d+))?", environment.get("SLURM_STEP_NODELIST", ""))
    host = environment.get("MASTER_ADDR") or "".join(filter(None, first.groups() if first else ()))
    if not host:
        raise UserError("Neither MASTER_ADDR nor SLURM_STEP_NODELIST names worker 0's machine.")
    if "MASTER_PORT" in environment:
        port = _number(environment, "MASTER_PORT", PORTS)
    else:  # two jobs on one machine should not meet
        port = 61440 + int(environment.get("SLURM_JOB_ID", "0")) % 4000
    return Place(rank, world, local, host, port + 1)


def _number(environment: Mapping[str, str], name: str, allowed: range) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdigit() and int(text) in allowed):
        raise UserError(
            f"The launcher's variable {name} is {text!r}; it takes a whole number from "
            f"{allowed[0]} to {allowed[-1]}."
        )
    return int(text)
