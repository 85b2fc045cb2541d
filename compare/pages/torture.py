"""The table of `make torture`: what was tried on purpose how often, and what was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Say = Callable[[str], None]

# Each is a module of tests/torture with run(work, chosen, data_dir, say) -> rows; and what it does.
PARTS = {
    "faults": "a checkpoint's save whose system calls fail, stop halfway or never return",
    "disk": "disks that are full, read-only or gone",
    "kills": "SIGKILL at any moment",
    "signals": "SIGINT and SIGTERM in every phase",
    "files": "broken files, by hand",
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

    @property
    def fuzzed(self) -> bool:
        """Are its attempts inputs that a fuzzer made, of which there are a million?"""
        return self.what.endswith(", fuzzed")


def table(record: dict[str, Any]) -> str:
    """Every row of the record as Markdown, the sums in the last ones."""
    return _table("", [(row.what, row, row.note) for row in rows(record)], rows(record))


def short_table(record: dict[str, Any]) -> str:
    """The same with one row for each part; fuzzed inputs stand in a row of their own."""
    lines = []
    for part in record["parts"]:
        own = [row for row in rows(record) if row.part == part and not row.fuzzed]
        lines.append((PARTS[part], _sum(own), f"`{part}`"))
    return _table("`--parts`", lines, rows(record))


def _table(last: str, lines: list[tuple[str, Row, str]], found: list[Row]) -> str:
    fuzzed = _sum([row for row in found if row.fuzzed])
    every = _sum([row for row in found if not row.fuzzed])
    # A fuzzed input costs a millisecond, a kill half a minute: their sum would say nothing.
    lines = [*lines, ("**all but fuzzed inputs**", every, ""), ("fuzzed inputs", fuzzed, "")]
    return "\n".join(
        [
            f"| tried on purpose | times | survived | lost | {last} |",
            "|---|---|---|---|---|",
            *(
                f"| {what} | {row.tried:,} | {row.survived:,} | {row.lost} | {note} |"
                for what, row, note in lines
            ),
        ]
    )


def rows(record: dict[str, Any]) -> list[Row]:
    """Every row of a record, docs/figures/torture.json."""
    return [Row(**row) for part in record["parts"].values() for row in part["rows"]]


def _sum(rows: list[Row]) -> Row:
    return Row("", "", sum(row.tried for row in rows), sum(row.survived for row in rows))
