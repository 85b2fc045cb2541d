"""The table: what was tried how often, and how much of it was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Say = Callable[[str], None]


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
    """The record as Markdown, the sum in the last row."""
    lines = ["| tried on purpose | times | survived | lost | |", "|---|---|---|---|---|"]
    rows = [Row(**row) for part in record["parts"].values() for row in part["rows"]]
    for row in rows:
        lines.append(f"| {row.what} | {row.tried:,} | {row.survived:,} | {row.lost} | {row.note} |")
    tried, survived = (sum(getattr(row, name) for row in rows) for name in ("tried", "survived"))
    lines.append(f"| **all** | **{tried:,}** | **{survived:,}** | **{tried - survived}** | |")
    return "\n".join(lines)
