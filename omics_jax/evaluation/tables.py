"""`Table`, a tidy data frame with the kind of its figure; `Evaluation`, what scoring returns.

The report knows the kinds below and no system; a system knows kinds and no drawing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Real


class Columns(NamedTuple):
    """The columns a kind of table reads: those it needs and those that are optional."""

    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


KINDS: Mapping[str, Columns] = {
    "curve": Columns(("x", "y"), ("low", "high", "series")),
    "roc": Columns(("x", "y"), ("series",)),
    "pr": Columns(("x", "y"), ("chance", "series")),
    "calibration": Columns(("x", "y"), ("low", "high", "count", "series")),
    "scatter": Columns(("x", "y"), ("series",)),
    "series": Columns(("panel", "variable", "x", "value", "role"), ("low", "high")),
    "ranking": Columns(("label", "value"), ("low", "high", "series")),
    "intervals": Columns(("label", "value", "low", "high"), ("series",)),
    "arrows": Columns(("x", "y", "x_end", "y_end"), ("series",)),
    "survival": Columns(("x", "y"), ("series", "low", "high", "at_risk")),
    "matrix": Columns(("row", "column", "value")),
    "map": Columns(("x", "y"), ("series", "value", "quantity", "panel")),
    "overlap": Columns(("combination", "patients")),
    "heatmap": Columns(("row", "column", "value"), ("group", "quantity")),
    "layers": Columns(("source", "target", "source_layer", "target_layer", "weight"), ("series",)),
    "network": Columns(
        ("source", "target", "value"), ("sign", "series", "source_group", "target_group")
    ),
    "table": Columns(),
    "file": Columns(),
}
TEXT_COLUMNS = frozenset(
    {
        *("label", "series", "panel", "variable", "role", "row", "column", "combination"),
        *("quantity", "group", "source", "target", "source_layer", "target_layer"),
        *("source_group", "target_group"),
    }
)
ROLES = ("observed", "held out", "imputed")
SIGNS = (-1, 0, 1)


def numeric_columns(kind: str) -> tuple[str, ...]:
    """The columns of a kind that hold numbers, needed ones first."""
    columns = (*KINDS[kind].needed, *KINDS[kind].optional)
    return tuple(name for name in columns if name not in TEXT_COLUMNS)


def lacking_columns(kind: str, columns: Iterable[str]) -> list[str]:
    """The columns that a kind needs and that are not among `columns`."""
    present = set(columns)
    return [name for name in KINDS[kind].needed if name not in present]


def unknown_roles(frame: pd.DataFrame) -> list[str]:
    """The roles in a frame of kind "series" that are not among `ROLES`."""
    return [str(role) for role in frame["role"].unique() if role not in ROLES]


def faulty_connection(frame: pd.DataFrame) -> tuple[int, str] | None:
    """The first row of a frame of kind "network" that cannot be drawn, and what it has, in words.

    None where every row can. Missing values and signs are no fault.
    """
    value = frame["value"].astype(float)
    sign = frame.get("sign", pd.Series(np.nan, index=frame.index)).astype(float)
    loop = frame["source"].astype(str) == frame["target"].astype(str)
    faults = {
        "a node that is connected with itself": loop,
        "a value below 0": value < 0,
        f"a sign other than {', '.join(map(str, SIGNS))}": sign.notna() & ~sign.isin(SIGNS),
    }
    found = [(int(np.argmax(rows)), words) for words, rows in faults.items() if rows.any()]
    return min(found, default=None)


@dataclass(frozen=True)
class Table:
    """A tidy frame with the kind of figure it is meant for.

    kind, and the columns each kind reads:
      curve: x, y, optional series, low, high (a band or error bars). Lines over a numeric x.
      roc: x (false positive rate), y (true positive rate), optional series. The corners of the
        curve, joined by straight lines, on a square with the diagonal of chance. What a legend
        should say (an area) stands in series.
      pr: x (recall), y (precision), optional series and chance (the share of positives). Steps on a
        square: a precision holds from the recall before it, as average precision counts it.
      calibration: x (mean predicted), y (observed rate), optional low, high, count (rows in a bin),
        series. Joined points with error bars on a square with the line of perfect calibration.
      scatter: x, y, optional series. Points with the identity line and the correlation, one panel
        per series.
      series: panel (a patient, in words), variable (with its unit), x (time), value, role, optional
        low, high. A small panel per panel and variable; role is "observed" (seen by the model: dots
        and a tick on the rug), "held out" (truth that the model did not see: open dots) or
        "imputed" (a line, with low and high as its band).
      ranking: label, value, optional low, high, series. Horizontal bars or dots, largest magnitude
        first.
      intervals: label, value, low, high, optional series. Dots with confidence intervals, a row per
        label, a panel per series.
      arrows: x, y, x_end, y_end, optional series. An arrow per row, on a plane.
      survival: x (time), y (probability of survival), optional series (a group of patients), low,
        high (a band), at_risk (how many are under observation at x). Steps: y holds from x until
        the next x, and is 1 before the first x. Below stand the numbers at risk at round times:
        that of the last x not after the time, that of the first x where all are later, none after a
        series' last x.
      matrix: row, column, value (a count). Cells coloured by their share of the row, with their
        counts where there are few. Rows and columns stand in the frame's order; a missing cell is
        0, and repeated cells are added.
      map: x, y, optional series (a category), value (a number), quantity (its name and unit, in the
        first row), panel. Points on a plane without scales, one plot per panel, coloured by value,
        or by series where a panel has no value; points with neither (an empty series, a missing
        value) are grey.
      overlap: combination (names of modalities joined by " + "), patients (who have these and no
        others). Bars of patients over dots that show the modalities, with each modality's total.
      heatmap: row, column, value, optional group (of the row), quantity (its name and unit, in the
        first row). Cells coloured from low (blue) to high (red) around 0, rows and columns in the
        frame's order; rows of a group stand together.
      layers: source, target, source_layer, target_layer, weight (0 or more), optional series. A
        layered graph from left to right. A connection is the wider the larger its weight is among
        those between the same layers, its colour tells the series, grey where that is empty.
      network: source, target, value (0 or more), optional sign (-1, 0, 1, or nan where it is
        unknown), series (of the connection, such as "known" and "new"), source_group, target_group
        (such as the modules of two genes). An undirected graph, its nodes on a circle by group; a
        line is the wider the larger its value, its colour tells the sign and its dashes the series,
        or both tell what there is of these. Where many are connected the strongest are drawn.
      table: no figure, the frame is printed.
      file: neither; the report names the file that holds it.
    x_label, y_label: axis titles with units.
    caption: what to see, in words a biologist or a clinician would use.
    formats: ending of a file, such as "graphml" -> content of that file, which a run writes beside
      the CSV for programs that read this format.

    Raises ValueError for an unknown kind or role, for a frame without a column of its kind, and for
    a row that a network cannot have. A frame without any column, which has nothing to show, may be
    of any kind.
    """

    kind: str
    frame: pd.DataFrame
    title: str
    caption: str
    x_label: str = ""
    y_label: str = ""
    formats: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"a table's kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not len(self.frame.columns):
            return
        if lacking := lacking_columns(self.kind, self.frame.columns):
            raise ValueError(
                f"table {self.title!r} of kind {self.kind!r} lacks the column {lacking[0]!r}"
            )
        if self.kind == "series" and (wrong := unknown_roles(self.frame)):
            raise ValueError(
                f"table {self.title!r} has the role {wrong[0]!r}; the roles are {', '.join(ROLES)}"
            )
        if self.kind == "network" and (fault := faulty_connection(self.frame)):
            raise ValueError(f"table {self.title!r} has {fault[1]}, in row {fault[0] + 1}")


class Frame(NamedTuple):
    """Rows that an experiment concludes from: predictions with observations, errors, and the like.

    kind: what the rows describe, such as "survival" or "map"; the kind decides the figure.
    every_repeat: whether those of all repeats are kept, not of the first alone.
    """

    kind: str
    rows: pd.DataFrame
    every_repeat: bool = False


def is_constant(values: Real[np.ndarray, "n ..."]) -> bool:
    """Whether several rows were all predicted to be the same, but for the rounding of float32."""
    return len(values) > 1 and bool(np.isclose(values, values[0], rtol=1e-6, atol=0).all())


@dataclass(frozen=True)
class Evaluation:
    """What scoring returns for one replicate.

    metrics: metric -> number.
    frames: name -> frame.
    constant: the metrics of outcomes that were predicted to be the same in every row. Such a
      prediction can be calibrated to the last digit and tells no row from another.
    """

    metrics: Mapping[str, float]
    frames: Mapping[str, Frame] = field(default_factory=dict)
    constant: Collection[str] = frozenset()
