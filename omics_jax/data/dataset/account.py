"""What became of every row and column of a file: used as what, or left out, and why.

Readers collect `Use`s while they read; `--mode=inspect` and the report show them, so that nothing
is taken for something else without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

_SHOWN = 4  # names in one line
_ONE = {"rows": "row", "columns": "column", "lines": "line", "fields": "field"}


@dataclass(frozen=True)
class Use:
    """Some rows or columns of one file that were used in the same way.

    Attributes:
      source: the file's name.
      part: "rows" or "columns", or what the format calls them ("obs", "var").
      used_as: such as "genes", "samples", "annotations", or "left out".
      names: of these rows or columns.
      why: the reason, where it is not plain; always for "left out".
      expected: False where a reader should be asked to look: it is then a warning too.
    """

    source: str
    part: str
    used_as: str
    names: tuple[str, ...]
    why: str = ""
    expected: bool = True

    def __str__(self) -> str:
        shown = ", ".join(self.names[:_SHOWN]) + (", ..." if len(self.names) > _SHOWN else "")
        reason = f": {self.why}" if self.why else ""
        part = _ONE.get(self.part, self.part) if len(self.names) == 1 else self.part
        return f"{self.source}: {len(self.names):,} {part} {self.used_as} ({shown}){reason}"


def account_table(uses: Sequence[Use]) -> pd.DataFrame:
    """Columns file, part, used as, number, such as, why."""
    rows = [
        {
            "file": use.source,
            "part": use.part,
            "used as": use.used_as,
            "number": len(use.names),
            "such as": ", ".join(use.names[:_SHOWN]),
            "why": use.why,
        }
        for use in uses
    ]
    return pd.DataFrame(rows, columns=["file", "part", "used as", "number", "such as", "why"])


def unexpected(uses: Sequence[Use]) -> list[str]:
    """A sentence for every use that was not expected."""
    return [f"{use}." for use in uses if not use.expected]
