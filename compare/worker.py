"""Processes that answer: each holds one framework, so that the command that asks holds none.

A worker is `python -m MODULE JSON`, the JSON being the arguments of the module's `begin`, which
returns the tasks it knows by name. It reads a task a line, `{"task": name, argument: value, ...}`,
and answers each with a line of JSON, the task's result. `serve` is its side, `Worker` the other.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Self

from common import commandline, config
from common.config import Config
from compare import engines
from compare.engines import Engine

Tasks = Mapping[str, Callable[..., Any]]


def serve(begin: Callable[..., Tasks]) -> None:
    """Do tasks until there are no more. A UserError ends the process with status 2."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    with commandline.command():
        tasks = begin(**json.loads(sys.argv[1]))
        for line in sys.stdin:
            arguments = json.loads(line)
            result = tasks[arguments.pop("task")](**arguments)
            print(json.dumps(result), file=answers, flush=True)


class Worker:
    """A worker of an engine, asked from here. It ends with the `with` block that it is made for."""

    def __init__(
        self,
        engine: Engine,
        module: str,
        settings: Config | None = None,
        threads: int | None = None,
        **beginning: object,
    ) -> None:
        """settings: given to the module's `begin` as `config`, in JSON, beside `beginning`."""
        self.engine = engine
        if settings is not None:
            beginning["config"] = config.to_json(settings)
        # A file: a pipe that nobody reads would stop a process that has much to say.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() closes it)
        self.process = engines.start(
            engine, module, json.dumps(beginning), threads=threads, stderr=self.errors
        )

    def ask(self, task: str, **arguments: object) -> Any:
        """A task's result. UserError, with the end of what the process said, if it failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"task": task, **arguments}), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""  # it has ended before
        if answer:
            return json.loads(answer)
        self.process.wait()
        self.errors.seek(0)
        raise engines.ended(self.engine, self.process.returncode, self.errors.read())

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
