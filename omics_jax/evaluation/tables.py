"""`Table`: a tidy data frame that says how it wants to be drawn, and `Evaluation`, what a system's scoring returns.

The report knows the kinds below and no system; a system knows kinds and no drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

KINDS = ("curve", "scatter", "ranking", "intervals", "arrows", "table")


@dataclass(frozen=True)
class Table:
    """A tidy frame with the kind of figure it is meant for.

    kind, and the columns each kind reads:
      curve: x, y, optional series, low, high (a band or error bars). Lines over a numeric x.
      scatter: x, y, optional series. Points with the identity line and the correlation, one panel per series.
      ranking: label, value, optional low, high, series. Horizontal bars or dots, largest magnitude first.
      intervals: label, value, low, high, optional series. Dots with confidence intervals, a row per label,
        a panel per series.
      arrows: x, y, x_end, y_end, optional series. From where to where, on a plane.
      table: no figure, the frame is printed.
    x_label, y_label: axis titles with units. caption: what to see, in words a biologist would use.
    """

    kind: str
    frame: pd.DataFrame
    title: str
    caption: str
    x_label: str = ""
    y_label: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"a table's kind is one of {KINDS}, not {self.kind!r}")


@dataclass(frozen=True)
class Evaluation:
    """What `System.evaluate` returns for one replicate: metric name -> number, and table name -> Table."""

    metrics: Mapping[str, float]
    tables: Mapping[str, Table] = field(default_factory=dict)
