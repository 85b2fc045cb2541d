"""The table: what was tried how often, and how much of it was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Say = Callable[[str], None]

# Each is a module of this package with run(work, chosen, data_dir, say) -> rows; and what it does.
PARTS = {
    "faults": "a checkpoint's save whose system calls fail, stop halfway or never return",
    "disk": "disks that are full, read-only or gone",
    "kills": "SIGKILL at any moment",
    "signals": "SIGINT and SIGTERM in every phase",
    "files": "broken files, fuzzed and by hand",
    "values": "wrong flags, and flags that cannot go together",
    "together": "processes that meet",
    "memory": "batches too large for the memory",
    "repeats": "the same training twice, for the same bits",
    "steady": "long trainings, for flat memory and open files",
}


@dataclass(frozen=True)
class Row:
    """A count of attempts of one kind. What did not survive is lost, and a defect."""

    part: str  # the module that counted: faults
    what: str  # in words, for the table
    tried: int
    survived: int
    note: str = ""  # figures that belong to it, in words

    @property
    def lost(self) -> int:
        """Attempts after which something was torn, wrong, hung or unexplained."""
        return self.tried - self.survived


def table(record: dict[str, Any]) -> str:
    """Every row of the record as Markdown, the sum in the last one."""
    rows = [row for part in record["parts"] for row in _rows(record, part)]
    return _table("", [(row.what, row, row.note) for row in rows])


def short_table(record: dict[str, Any]) -> str:
    """The same with one row for each part."""
    parts = [(part, _sum(_rows(record, part))) for part in record["parts"]]
    return _table("`--parts`", [(PARTS[part], row, f"`{part}`") for part, row in parts])


def _table(last: str, lines: list[tuple[str, Row, str]]) -> str:
    every = _sum([row for _, row, _ in lines])
    return "\n".join(
        [
            f"| tried on purpose | times | survived | lost | {last} |",
            "|---|---|---|---|---|",
            *(
                f"| {what} | {row.tried:,} | {row.survived:,} | {row.lost} | {note} |"
                for what, row, note in lines
            ),
            f"| **all** | **{every.tried:,}** | **{every.survived:,}** | **{every.lost}** | |",
        ]
    )


def _rows(record: dict[str, Any], part: str) -> list[Row]:
    return [Row(**row) for row in record["parts"][part]["rows"]]


def _sum(rows: list[Row]) -> Row:
    return Row("", "", sum(row.tried for row in rows), sum(row.survived for row in rows))
