"""A table of series as it is stored, before it is known what its columns mean.

Delimited text (.csv, .tsv, .txt, plain or .gz) and Parquet give the same: a header, columns by
position, and the place of a row for messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int

from omics_jax.data.clinical_series.observations import Observations
from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.cells import plain_numbers
from omics_jax.data.formats.columns import as_names, as_text
from omics_jax.data.formats.files import nearest, stem
from omics_jax.data.formats.parquet import parquet_frame
from omics_jax.data.formats.parse import not_a_number, parse_numbers
from omics_jax.data.formats.records import read_records
from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
HOURS = {"hours": 1.0, "minutes": 1 / 60, "days": 24.0}

Place = Callable[[int], str]
Codes = Int[np.ndarray, " k"]
Rows = Bool[np.ndarray, " k"]
Hours = Float64[np.ndarray, " k"]


@dataclass(frozen=True)
class StoredTable:
    """A table of k rows.

    Attributes:
      path: the file.
      header: the names of its columns.
      place: says where the i-th row stands.
      read: (positions, those of them that are text) -> a frame of these columns, labelled by
        position. Text is categories exactly as written; other columns are numbers with NaN where
        missing, dates, or text where a cell is no number.
      below_detection: what stands for a limit of detection such as <0.1, see `formats.cells`.
    """

    path: Path
    header: tuple[str, ...]
    place: Place
    read: Callable[[Collection[int], Collection[int]], pd.DataFrame]
    below_detection: str = "error"

    def position(self, setting: str, name: str) -> int:
        """The position of a column; `setting` is the one that names it.

        Raises:
          UserError: there is none of that name, or several.
        """
        if self.header.count(name) > 1:
            raise UserError(f"{self.path} names column {name!r} twice; rename one of them")
        if name in self.header:
            return self.header.index(name)
        near = nearest(name, self.header)
        shown = ", ".join(map(repr, self.header[:8]))
        mend = f"did you mean {near!r}?" if near else f"it has {shown}"
        raise UserError(
            f"{self.path} has no column {name!r} (--config.data.{setting}={name}); {mend}"
        )


def open_table(path: Path, below_detection: str = "error") -> StoredTable:
    """The table that a file stores; its columns are parsed where they are read."""
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _delimited(path)
    return replace(table, below_detection=below_detection)


def _delimited(path: Path) -> StoredTable:
    # A table of series has no names of rows that R could have left out of the header.
    records, header, body = read_records(path, row_names=False)

    def read(positions: Collection[int], text: Collection[int]) -> pd.DataFrame:
        frame = parse_numbers(records, body, sorted(set(positions)), sorted(text))
        return frame[sorted(set(positions))]

    return StoredTable(path, tuple(header), lambda row: f"line {records.numbers[body[row]]}", read)


def _parquet(path: Path) -> StoredTable:
    table = parquet_frame(path)
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    header = tuple(map(str, table.columns))

    def read(positions: Collection[int], text: Collection[int]) -> pd.DataFrame:
        columns = {j: table.iloc[:, j] for j in sorted(set(positions))}
        for j in text:
            columns[j] = _parquet_text(columns[j]).astype("category")
        return pd.DataFrame(columns).reset_index(drop=True)

    return StoredTable(path, header, lambda row: f"row {row + 1}", read)


def _parquet_text(column: pd.Series) -> pd.Series:
    """Text as it is stored, "" where missing; numbers without a trailing .0."""
    if column.dtype.kind in "iuf":
        return as_text(column)
    return column.astype(object).where(column.notna(), "").map(str)


# --- columns of names -----------------------------------------------------------------------------


def encode(path: Path, column: pd.Series) -> tuple[Codes, np.ndarray]:
    """The codes of a column of categories, and the sorted names that they stand for."""
    categories = as_names(path, column.cat.categories.astype(str))
    names, code_of_category = np.unique(categories, return_inverse=True)
    return code_of_category[column.cat.codes.to_numpy()], names


def is_unnamed(
    codes: Codes, names: np.ndarray, missing: Collection[str] = MISSING
) -> Bool[np.ndarray, " k"]:
    """Which rows hold one of the spellings `missing` in a column of `encode`."""
    return np.array([name.casefold() in missing for name in names], bool)[codes]


def refuse_unnamed(table: StoredTable, wrong: Rows, what: str):
    """Refuses the first row without a name. what: as in "id (column 'stay')"."""
    if wrong.any():
        place = table.place(int(np.argmax(wrong)))
        raise UserError(f"{table.path}: {place} has no {what}; fill it in or remove the row")


def groups_of(
    table: StoredTable, column: pd.Series, name: str, patient: Codes, ids: np.ndarray
) -> np.ndarray:
    """(n,) the group of each id, from a column of categories.

    Raises:
      UserError: a row without a group, or an id in two.
    """
    codes, groups = encode(table.path, column)
    refuse_unnamed(table, is_unnamed(codes, groups), f"group (column {name!r})")
    code_of_patient = np.zeros(len(ids), dtype=np.int64)
    code_of_patient[patient] = codes
    expected_codes = code_of_patient[patient]
    wrong = np.flatnonzero(expected_codes != codes)
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{table.path}: {table.place(row)}: id {str(ids[patient[row]])!r} is in group "
            f"{str(groups[codes[row]])!r} and in {str(groups[expected_codes[row]])!r}; give "
            "each id one group"
        )
    return groups[code_of_patient]


# --- times ----------------------------------------------------------------------------------------


def hours_of(
    table: StoredTable, column: pd.Series, name: str, unit: str, patient: Codes, used: Rows
) -> tuple[Hours, list[str]]:
    """Hours since admission, NaN where empty, and a note where they come from dates.

    Dates count from the patient's first row, whether it is used or not; a time that is neither a
    number nor a date is refused in rows that are used, and NaN in others.
    """
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64) * HOURS[unit], []
    if column.dtype.kind == "M":
        dates = pd.to_datetime(column, utc=True)
    else:
        text = as_text(column)
        of_used = pd.DataFrame({0: text.where(used, "")})
        plain, _ = plain_numbers(table.path, of_used, table.place, lambda i, j: name)
        text = as_text(plain[0]).where(used, text)
        filled = text.where(text != "")
        numbers = pd.to_numeric(filled, errors="coerce")
        if 2 * (numbers.notna() & used).sum() > (filled.notna() & used).sum():
            # Where most cells are numbers, another one is a mistake and not a date.
            wrong = np.flatnonzero(filled.notna() & numbers.isna() & used)
            if len(wrong):
                place, cell = table.place(wrong[0]), text.iloc[wrong[0]]
                raise not_a_number(table.path, place, f"column {name!r}", cell)
            return numbers.to_numpy(np.float64) * HOURS[unit], []
        dates = _dates(table, filled, name, used)
    since_first = dates - dates.groupby(patient).transform("min")
    hours = since_first.dt.total_seconds().to_numpy(np.float64) / 3600
    return hours, [
        f"Times in column {name!r} are dates; hours count from each patient's first row."
    ]


def _dates(table: StoredTable, filled: pd.Series, name: str, used: Rows) -> pd.Series:
    """NaT where empty."""
    dates = pd.to_datetime(filled, format="ISO8601", utc=True, errors="coerce")
    wrong = np.flatnonzero(filled.notna() & dates.isna() & used)
    if len(wrong):
        raise UserError(
            f"{table.path}: {table.place(wrong[0])}: the time {filled.iloc[wrong[0]][:40]!r} in "
            f"column {name!r} is neither a number nor a date; write numbers, or dates such as "
            "2026-01-31 13:05"
        )
    return dates


def check_hours(table: StoredTable, hours: Hours, used: Rows, may_be_empty: Rows, name: str):
    """Times of rows that are used are finite, and given for all but descriptors."""
    complaints = {
        "is empty; fill it in, or name the variable in --config.data.statics if it describes the "
        "patient": np.isnan(hours) & used & ~may_be_empty,
        "is infinite; write a finite number": np.isinf(hours) & used,
    }
    for complaint, is_wrong in complaints.items():
        if is_wrong.any():
            place = table.place(int(np.argmax(is_wrong)))
            raise UserError(f"{table.path}: {place}: the time in column {name!r} {complaint}")


# --- measurements ---------------------------------------------------------------------------------


class Cells(NamedTuple):
    """The m values of a table: the row of each, its variable's position in the names, the value."""

    row: Int[np.ndarray, " m"]
    variable: Int[np.ndarray, " m"]
    values: Float64[np.ndarray, " m"]


def to_observations(
    table: StoredTable,
    cells: Cells,
    names: np.ndarray,
    patient: Codes,
    ids: np.ndarray,
    hours: Hours,
    group: tuple[pd.Series, str] | None,
    *,
    notes: Sequence[str],
    uses: Sequence[Use],
    warnings: Sequence[str] = (),
) -> Observations:
    """The measurements of a table.

    Args:
      names: (v,) of the variables.
      patient: of every row its position in `ids`.
      hours: of every row.
      group: the column of groups and its name; None where an id is its own group.

    Raises:
      UserError: a row without a group, or an id in two.
    """
    return Observations(
        source=str(table.path),
        ids=ids,
        groups=ids if group is None else groups_of(table, *group, patient, ids),
        sets=np.full(len(ids), stem(table.path)),
        names=names,
        patient=patient[cells.row],
        variable=cells.variable,
        hours=hours[cells.row],
        values=cells.values,
        notes=tuple(notes),
        warnings=tuple(warnings),
        uses=tuple(uses),
    )


# --- settings -------------------------------------------------------------------------------------


def named_columns(columns, needed: Sequence[str]) -> dict[str, str]:
    """id, time, variable, value, unit, group -> column, of those that the setting names.

    Args:
      columns: any mapping, a ConfigDict too.
      needed: keys that must name a column.
    """
    known = ("id", "time", "variable", "value", "unit", "group")
    names = {str(key): columns[key] for key in columns}
    for key, name in names.items():
        if key not in known or not isinstance(name, str):
            raise UserError(
                f"--config.data.columns.{key}={name!r} is not understood; set names for "
                f"{', '.join(known)} only"
            )
    for key in needed:
        if not names.get(key):
            raise UserError(
                f"--config.data.columns.{key} is empty; set it to the column of the table that "
                f"holds the {key}"
            )
    return {key: name for key, name in names.items() if name}
