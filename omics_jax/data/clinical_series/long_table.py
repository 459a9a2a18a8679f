"""Long tables of clinical measurements: one row per measurement, with its patient, time, variable
and value.

The form in which hospital databases are usually exported (.csv, .tsv, .txt, plain or .gz, and
.parquet). The order of the rows means nothing. Left out are units and repeated stays: an id is one
stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.clinical_series.observations import Observations, check_values
from omics_jax.data.formats.columns import MISSING, as_text
from omics_jax.data.formats.files import nearest, stem
from omics_jax.data.formats.parse import not_a_number, numbers_and_text, parse_numbers
from omics_jax.data.formats.records import read_records
from omics_jax.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
HOURS = {"hours": 1.0, "minutes": 1 / 60, "days": 24.0}
_NEEDED = ("id", "time", "variable", "value")

Place = Callable[[int], str]


def read_long_table(path: Path, columns, time_unit: str, statics: Sequence[str]) -> Observations:
    """Reads a long table.

    Args:
      path: the file.
      columns: mapping from id, time, variable and value to the names of the columns that hold them;
        `group`, where given and not "", names the column of what must not be split (the person,
        where an id is a stay).
      time_unit: "hours", "minutes" or "days" of numeric times, counted from admission. Dates (ISO
        8601) are counted from the patient's first row.
      statics: descriptors; their rows may have no time.

    Rows without a value measure nothing, but their patients stay.

    Raises:
      UserError: for a missing column, an empty id, variable or time, a negative time, a value that
        is no finite number, an id of two groups.
    """
    names = _column_names(columns)
    if time_unit not in HOURS:
        raise UserError(f"time_unit={time_unit!r} is unknown; set it to one of {', '.join(HOURS)}")
    frame, place = (_parquet_columns if path.suffix.lower() == ".parquet" else _text_columns)(
        path, names
    )
    patient, ids = _coded(path, frame["id"], f"id (column {names['id']!r})", place)
    # A variable may be called as what is missing is spelt: Na is sodium.
    variable, found = _coded(
        path, frame["variable"], f"variable (column {names['variable']!r})", place, {""}
    )
    hours, notes = _hours(path, frame["time"], names["time"], time_unit, patient, place)
    _check_hours(path, hours, np.isin(found, statics)[variable], names["time"], place)
    values = _values(path, frame["value"], names["value"], place)
    known = ~np.isnan(values)
    if not known.all():
        notes.append(
            f"Rows without a value, which measure nothing: {(~known).sum():,}; their patients are "
            "kept."
        )
    return Observations(
        source=str(path),
        ids=ids,
        groups=_groups(path, frame, names, patient, ids, place),
        sets=np.full(len(ids), stem(path)),
        names=found,
        patient=patient[known],
        variable=variable[known],
        hours=hours[known],
        values=values[known],
        notes=tuple(notes),
    )


def _column_names(columns) -> dict[str, str]:
    given = {str(key): columns[key] for key in columns}
    for key, name in given.items():
        if key not in (*_NEEDED, "group") or not isinstance(name, str):
            raise UserError(
                f"columns.{key}={name!r} is not understood; set names for {', '.join(_NEEDED)} only"
            )
    for key in _NEEDED:
        if not given.get(key):
            raise UserError(
                f"columns.{key} is empty; set it to the column of the long table that holds the "
                f"{key}"
            )
    return {key: name for key, name in given.items() if name}


def _text_columns(path: Path, names: dict[str, str]) -> tuple[pd.DataFrame, Place]:
    table, header, body = read_records(path)
    at = {key: _position(path, header, key, name) for key, name in names.items()}
    text = sorted({at[key] for key in ("id", "variable", "group") if key in at})
    parsed = parse_numbers(table, body, sorted(set(at.values())), text)
    frame = pd.DataFrame({key: parsed[j] for key, j in at.items()})
    return frame, lambda row: f"line {table.numbers[body[row]]}"


def _parquet_columns(path: Path, names: dict[str, str]) -> tuple[pd.DataFrame, Place]:
    from omics_jax.data.formats.parquet import parquet_frame

    whole = parquet_frame(path).reset_index()
    header = [str(name) for name in whole.columns]
    frame = pd.DataFrame(
        {key: whole.iloc[:, _position(path, header, key, name)] for key, name in names.items()}
    )
    for key in {"id", "variable", "group"} & set(names):
        text = frame[key].astype(object).where(frame[key].notna(), "")
        frame[key] = (
            as_text(frame[key]) if frame[key].dtype.kind in "iuf" else text.map(str)
        ).astype("category")
    return frame, lambda row: f"row {row + 1}"


def _position(path: Path, header: Sequence[str], key: str, name: str) -> int:
    if header.count(name) > 1:
        raise UserError(f"{path} names column {name!r} twice; rename one of them")
    if name in header:
        return header.index(name)
    near = nearest(name, header)
    mend = f"did you mean {near!r}?" if near else f"it has {', '.join(map(repr, header[:8]))}"
    raise UserError(f"{path} has no column {name!r} (columns.{key}); {mend}")


def _coded(
    path: Path, column: pd.Series, what: str, place: Place, missing: Collection[str] = MISSING
) -> tuple[np.ndarray, np.ndarray]:
    """(k,) int codes and the sorted names they stand for; none of them one of the spellings
    `missing`.
    """
    names, merged = np.unique(
        column.cat.categories.astype(str).str.strip().to_numpy(str), return_inverse=True
    )
    codes = merged[column.cat.codes.to_numpy()]
    empty = np.array([name.casefold() in missing for name in names], bool)[codes]
    if empty.any():
        row = int(np.argmax(empty))
        raise UserError(f"{path}: {place(row)} has no {what}; fill it in or remove the row")
    return codes, names


def _hours(
    path: Path, column: pd.Series, name: str, unit: str, patient: np.ndarray, place: Place
) -> tuple[np.ndarray, list[str]]:
    """(k,) hours since admission, NaN where empty, and a note where they come from dates."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64) * HOURS[unit], []
    if column.dtype.kind == "M":
        dates = pd.to_datetime(column, utc=True)
    else:
        dates = _dates(path, as_text(column), name, place)
    since = dates - dates.groupby(patient).transform("min")
    return since.dt.total_seconds().to_numpy(np.float64) / 3600, [
        f"Times in column {name!r} are dates; hours count from each patient's first row."
    ]


def _dates(path: Path, text: pd.Series, name: str, place: Place) -> pd.Series:
    filled = (text != "").to_numpy()
    numbers = pd.to_numeric(text.where(filled), errors="coerce").notna().to_numpy()
    if 2 * numbers.sum() > filled.sum():
        row = int(np.flatnonzero(filled & ~numbers)[0])
        raise not_a_number(path, place(row), f"column {name!r}", text.iloc[row])
    dates = pd.to_datetime(text.where(filled), format="ISO8601", utc=True, errors="coerce")
    wrong = np.flatnonzero(filled & dates.isna().to_numpy())
    if len(wrong):
        raise UserError(
            f"{path}: {place(wrong[0])}: the time {text.iloc[wrong[0]][:40]!r} in column {name!r} "
            "is neither a number nor a date; write numbers, or dates such as 2026-01-31 13:05"
        )
    return dates


def _check_hours(path: Path, hours: np.ndarray, untimed: np.ndarray, name: str, place: Place):
    """Times are finite, not negative, and given for all but descriptors."""
    for wrong, what in (
        (
            np.isnan(hours) & ~untimed,
            "is empty; fill it in, or name the variable in statics if it describes the patient",
        ),
        (np.isinf(hours), "is infinite; write a finite number"),
        (hours < 0, "is negative; count times from admission, and remove what was before"),
    ):
        if wrong.any():
            raise UserError(
                f"{path}: {place(int(np.argmax(wrong)))}: the time in column {name!r} {what}"
            )


def _values(path: Path, column: pd.Series, name: str, place: Place) -> np.ndarray:
    """(k,) float64, NaN where empty."""
    values, text = numbers_and_text(
        path, pd.DataFrame({0: column}), place, lambda j: f"column {name!r}"
    )
    if text:
        cells = pd.Series(text[0])
        row = int(np.argmax((cells != "") & pd.to_numeric(cells, errors="coerce").isna()))
        raise not_a_number(path, place(row), f"column {name!r}", cells.iloc[row])
    check_values(path, values[:, 0], place)
    return values[:, 0]


def _groups(
    path: Path, frame: pd.DataFrame, names: dict[str, str], patient, ids, place: Place
) -> np.ndarray:
    """(n,) the group of each id: itself where no column says otherwise."""
    if "group" not in names:
        return ids
    codes, groups = _coded(path, frame["group"], f"group (column {names['group']!r})", place)
    of_patient = np.zeros(len(ids), dtype=np.int64)
    of_patient[patient] = codes
    wrong = np.flatnonzero(of_patient[patient] != codes)
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{path}: {place(row)}: id {str(ids[patient[row]])!r} is in group "
            f"{str(groups[codes[row]])!r} and in {str(groups[of_patient[patient[row]]])!r}; give "
            "each id one group"
        )
    return groups[of_patient]
