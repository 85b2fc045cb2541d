"""A run's directory as one process takes it: begun anew or continued, held, and given back."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from common import checkpoint, config
from common.limits import UserError
from common.outputs import continue_records, write_overviews
from common.plan import Plan, check_directory, same_path, stamp_of
from common.watch import Watch


class RunDirectory:
    """The directory that a plan names."""

    def __init__(self, plan: Plan) -> None:
        self.path = plan.directory
        self._plan = plan
        self._emptied = False

    @contextlib.contextmanager
    def held(self, start: Callable[[], None]) -> Iterator[None]:
        """Prepare the directory, start(), and keep other processes out until the block ends.

        Raises UserError if another process has it, or if a disk refuses: then all is taken back.
        """
        missing: list[Path] = []
        with contextlib.ExitStack() as stack:
            try:
                missing = [p for p in (self.path, *self.path.parents) if not p.exists()]
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self.path / ".lock", timeout=0))
                self.prepare()
                start()
            except Timeout:
                raise in_use(self.path) from None
            except OSError as error:
                self._undo(missing)
                raise UserError(
                    f"The run directory {self.path} cannot be written "
                    f"({error.strerror or error}); choose another with --out."
                ) from None
            yield

    def prepare(self) -> None:
        """Make the directory the run's at its step: empty but for its config, or cut back to it."""
        plan = self._plan
        in_place = plan.source is not None and same_path(plan.source, self.path)
        if in_place and stamp_of(plan.read) != plan.stamp:
            # Going on from the older state would cut metrics that the newer one needs.
            raise UserError(
                f"Another process has trained in {self.path} since its checkpoint of step "
                f"{plan.step} was read; give the command again."
            )
        current = self.path / checkpoint.FILE_NAME
        if in_place and plan.read is not None and not same_path(plan.read, current):
            # An older copy: the run is at its step from here on, before later metrics are cut.
            checkpoint.write_atomically(current, checkpoint.read_regular(plan.read))
        if not in_place:
            check_directory(self.path, plan.overwrite)  # again, now that nobody else can
            self._empty()
        checkpoint.write_json(self.path / "config.json", config.to_json(plan.config))
        (self.path / "samples").mkdir(exist_ok=True)
        if plan.source is not None:
            continue_records(plan.source, self.path, plan.step)

    def _empty(self) -> None:
        """Delete an old run, the checkpoint first and config.json last.

        A kill meanwhile leaves no half of it that could be continued, and a folder that
        --overwrite still takes for a run's.
        """
        rank = {checkpoint.FILE_NAME: 0, "config.json": 2}
        for path in sorted(self.path.iterdir(), key=lambda path: rank.get(path.name, 1)):
            if path.name == ".lock":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self._emptied = True

    def _undo(self, missing: list[Path]) -> None:
        """Take back a start that a disk ended: half of a run would be in the next one's way.

        missing: the folders that were not there before.
        """
        with contextlib.suppress(OSError):
            for path in self.path.iterdir() if self._emptied else ():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != ".lock" or missing:
                    path.unlink()
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def in_use(directory: Path) -> UserError:
    return UserError(f"Another process is training in {directory}.")


def complete(plan: Plan) -> None:
    """Write what a run lacks that ended between its last checkpoint and its last file."""
    directory, step = plan.directory, plan.step
    if plan.source is None or not same_path(plan.source, directory):
        return
    result = {"step": step, "seconds": 0.0, "images_per_second": None, "watch": Watch().verdict()}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        result |= checkpoint.read_json(directory / "result.json")  # of this step or an earlier one
        if result["finished"] and result["step"] == step:
            return
    try:
        with FileLock(directory / ".lock", timeout=0):
            write_overviews(directory)
            checkpoint.write_json(
                directory / "result.json", result | {"step": step, "finished": True}
            )
    except Timeout:  # a process that is writing them itself
        raise in_use(directory) from None
    except OSError:
        pass  # a folder that cannot be written is as finished
