"""One line of the table: what was tried how often, and how much of it was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
