"""The tables of a run directory: a CSV read as its kind says, and a frame as text in rows.

Left out: the drawing (`figures.py`) and the order in which tables stand on the page (`page.py`).
"""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pandas as pd

from omics_jax.errors import UserError
from omics_jax.evaluation.tables import (
    KINDS,
    ROLES,
    faulty_connection,
    lacking_columns,
    numeric_columns,
    unknown_roles,
)
from omics_jax.report import results

PRINTED_ROWS = 500
OPEN_ROWS = 40  # a published table beside ours is no longer; longer ones are folded
MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})


def read_table(path: pathlib.Path, kind: str) -> pd.DataFrame:
    """A CSV of the given kind: labels and names as text, the kind's numbers as float.

    Infinities are missing; a label such as "NA" stays a label.

    Raises:
      UserError: no such kind or file, a column that is missing or a value that cannot be; the
        message names the file, the column and the row.
    """
    index = path.parent / "index.json"
    if kind not in KINDS:
        raise UserError(
            f"{index} gives {path.stem!r} the kind {kind!r}; the kinds are {', '.join(KINDS)}."
        )
    if not path.is_file():
        raise UserError(
            f"{index} lists {path}, which is missing; run the command of this run again."
        )
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    if lacking := lacking_columns(kind, frame.columns):
        raise UserError(
            f"{path} has no column {lacking[0]!r}, which a table of kind {kind!r} needs; "
            f"its columns are {', '.join(frame.columns)}."
        )
    if kind == "series" and (wrong := unknown_roles(frame)):
        line = int((frame["role"] == wrong[0]).to_numpy().argmax()) + 2
        raise UserError(
            f"{path}, line {line}, column 'role': {wrong[0]!r} is not one of {', '.join(ROLES)}; "
            "mend the value."
        )
    for column in numeric_columns(kind):
        if column in frame:
            frame[column] = to_float(frame[column], path)
    if kind == "network" and (fault := faulty_connection(frame)):
        raise UserError(f"{path}, line {fault[0] + 2}: {fault[1]}; mend or remove the line.")
    return frame


def to_float(column: pd.Series, path: pathlib.Path) -> pd.Series:
    """The column as float, NaN for missing and infinite values."""
    text = column.str.strip().str.lower()
    values = pd.to_numeric(column.mask(text.isin(MISSING)), errors="coerce").astype(float)
    wrong = values.isna() & ~text.isin(MISSING)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}, line {row + 2}, column {column.name!r}: {column.iloc[row]!r} is not a "
            "number; mend the value or leave it empty."
        )
    return values.where(values.abs() != math.inf)


def printed_frame(frame: pd.DataFrame) -> dict:
    """Header and cells of a frame as text, numbers aligned, at most `PRINTED_ROWS` rows.

    A first column of text names its row (`named`) and stays in view while a wide table is scrolled.
    """
    shown = frame.head(PRINTED_ROWS)
    header, columns = [], []
    for name in shown.columns:
        cells, numeric = printed_column(shown[name].astype(str))
        header.append({"name": str(name), "number": numeric})
        columns.append(cells)
    return {
        "header": header,
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "total": len(frame),
        "open": len(frame) <= OPEN_ROWS,
        "named": not header[0]["number"],
    }


def printed_column(column: pd.Series) -> tuple[list[str], bool]:
    """The cells as text and whether they are numbers; "–" for what is missing, "∞" for infinity.

    Integers (ids, years, counts) remain as written; in a column of text only empty cells are
    missing.
    """
    text = column.str.strip()
    missing = text.str.lower().isin(MISSING)
    values = pd.to_numeric(text.mask(missing), errors="coerce").to_numpy(np.float64)
    if missing.all() or np.isnan(values[~missing]).any():
        return [cell if cell else results.ABSENT for cell in text], False
    finite = text[np.isfinite(values)]
    are_integers = not finite.str.contains(r"[.eEf]", regex=True).any()
    cells = iter(finite if are_integers else results.aligned(list(map(float, finite))))
    words = {np.inf: "∞", -np.inf: "−∞"}
    printed = []
    for value in values:
        if np.isnan(value):
            printed.append(results.ABSENT)
        else:
            printed.append(words.get(value) or next(cells).replace("-", "−"))
    return printed, True
