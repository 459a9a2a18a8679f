"""Long tables of clinical measurements: a row holds a patient, a time, a variable and a value.

The form in which hospital databases are usually exported (.csv, .tsv, .txt, plain or .gz, and
.parquet). The order of the rows means nothing. Left out are units and repeated stays: an id is one
stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int

from omics_jax.data.clinical_series.observations import Observations, check_values
from omics_jax.data.formats.cells import plain_numbers
from omics_jax.data.formats.checks import check_choice
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.files import nearest, stem
from omics_jax.data.formats.parquet import parquet_frame
from omics_jax.data.formats.parse import not_a_number, numbers_and_text, parse_numbers
from omics_jax.data.formats.records import read_records
from omics_jax.data.vocabulary import MISSING
from omics_jax.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
HOURS = {"hours": 1.0, "minutes": 1 / 60, "days": 24.0}
_NEEDED = ("id", "time", "variable", "value")

Place = Callable[[int], str]
Codes = Int[np.ndarray, " k"]
Hours = Float64[np.ndarray, " k"]


def read_long_table(
    path: Path, columns, time_unit: str, statics: Sequence[str], below_detection: str = "error"
) -> Observations:
    """Reads a long table. Rows without a value measure nothing, but their patients stay.

    Args:
      path: the file.
      columns: mapping from id, time, variable and value to the names of the columns that hold them;
        `group`, where given and not "", names the column of what must not be split (the person,
        where an id is a stay).
      time_unit: "hours", "minutes" or "days" of numeric times, counted from admission. Dates (ISO
        8601) are counted from the patient's first row.
      statics: descriptors; their rows may have no time.
      below_detection: what stands for a limit of detection, see `formats.cells`.

    Raises:
      UserError: for a missing column, an empty id, variable or time, a negative time, a value that
        is no finite number, an id of two groups.
    """
    names = _column_names(columns)
    check_choice("time_unit", time_unit, tuple(HOURS))
    read_columns = _parquet_columns if path.suffix.lower() == ".parquet" else _text_columns
    frame, place = read_columns(path, names)
    patient, ids = _encode(path, frame["id"], f"id (column {names['id']!r})", place)
    # A variable may be called as what is missing is spelt: Na is sodium.
    variable, variables = _encode(
        path, frame["variable"], f"variable (column {names['variable']!r})", place, {""}
    )
    measured, uses = plain_numbers(
        path,
        frame[["time", "value"]],
        place,
        lambda i, j: str(variables[variable[i]]) if j else names["time"],
        below_detection,
    )
    frame = frame.assign(**measured)
    hours, notes = _hours(path, frame["time"], names["time"], time_unit, patient, place)
    is_static = np.isin(variables, statics)[variable]
    _check_hours(path, hours, is_static, names["time"], place)
    values = _values(path, frame["value"], names["value"], place)
    notes += [f"{use}." for use in uses]
    is_known = ~np.isnan(values)
    if not is_known.all():
        notes.append(
            f"Rows without a value, which measure nothing: {(~is_known).sum():,}; their patients "
            "are kept."
        )
    return Observations(
        source=str(path),
        ids=ids,
        groups=_groups(path, frame, names, patient, ids, place),
        sets=np.full(len(ids), stem(path)),
        names=variables,
        patient=patient[is_known],
        variable=variable[is_known],
        hours=hours[is_known],
        values=values[is_known],
        notes=tuple(notes),
    )


# --- which columns --------------------------------------------------------------------------------


def _column_names(columns) -> dict[str, str]:
    """id, time, variable, value and perhaps group -> column; any mapping, a ConfigDict too."""
    names = {str(key): columns[key] for key in columns}
    for key, name in names.items():
        if key not in (*_NEEDED, "group") or not isinstance(name, str):
            raise UserError(
                f"columns.{key}={name!r} is not understood; set names for {', '.join(_NEEDED)} only"
            )
    for key in _NEEDED:
        if not names.get(key):
            raise UserError(
                f"columns.{key} is empty; set it to the column of the long table that holds the "
                f"{key}"
            )
    return {key: name for key, name in names.items() if name}


def _text_columns(path: Path, names: dict[str, str]) -> tuple[pd.DataFrame, Place]:
    """The columns under their canonical names, and where each row stands."""
    table, header, body = read_records(path)
    position = {key: _position(path, header, key, name) for key, name in names.items()}
    text = sorted({position[key] for key in ("id", "variable", "group") if key in position})
    parsed = parse_numbers(table, body, sorted(set(position.values())), text)
    frame = pd.DataFrame({key: parsed[j] for key, j in position.items()})
    return frame, lambda row: f"line {table.numbers[body[row]]}"


def _parquet_columns(path: Path, names: dict[str, str]) -> tuple[pd.DataFrame, Place]:
    """As `_text_columns`."""
    table = parquet_frame(path).reset_index()
    header = [str(name) for name in table.columns]
    columns = {}
    for key, name in names.items():
        columns[key] = table.iloc[:, _position(path, header, key, name)]
    frame = pd.DataFrame(columns)
    for key in {"id", "variable", "group"} & set(names):
        frame[key] = _parquet_text(frame[key]).astype("category")
    return frame, lambda row: f"row {row + 1}"


def _parquet_text(column: pd.Series) -> pd.Series:
    """Text as it is stored, "" where missing; numbers without a trailing .0."""
    if column.dtype.kind in "iuf":
        return as_text(column)
    return column.astype(object).where(column.notna(), "").map(str)


def _position(path: Path, header: Sequence[str], key: str, name: str) -> int:
    if header.count(name) > 1:
        raise UserError(f"{path} names column {name!r} twice; rename one of them")
    if name in header:
        return header.index(name)
    near = nearest(name, header)
    mend = f"did you mean {near!r}?" if near else f"it has {', '.join(map(repr, header[:8]))}"
    raise UserError(f"{path} has no column {name!r} (columns.{key}); {mend}")


# --- what they hold -------------------------------------------------------------------------------


def _encode(
    path: Path, column: pd.Series, what: str, place: Place, missing: Collection[str] = MISSING
) -> tuple[Codes, np.ndarray]:
    """The codes of a column of categories, and the sorted names that they stand for.

    Raises:
      UserError: a cell with one of the spellings `missing`.
    """
    categories = column.cat.categories.astype(str).str.strip().to_numpy(str)
    names, code_of_category = np.unique(categories, return_inverse=True)
    codes = code_of_category[column.cat.codes.to_numpy()]
    is_missing_name = np.array([name.casefold() in missing for name in names], bool)
    is_missing = is_missing_name[codes]
    if is_missing.any():
        row = int(np.argmax(is_missing))
        raise UserError(f"{path}: {place(row)} has no {what}; fill it in or remove the row")
    return codes, names


def _hours(
    path: Path, column: pd.Series, name: str, unit: str, patient: Codes, place: Place
) -> tuple[Hours, list[str]]:
    """Hours since admission, NaN where empty, and a note where they come from dates."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64) * HOURS[unit], []
    if column.dtype.kind == "M":
        dates = pd.to_datetime(column, utc=True)
    else:
        dates = _dates(path, as_text(column), name, place)
    since_first = dates - dates.groupby(patient).transform("min")
    hours = since_first.dt.total_seconds().to_numpy(np.float64) / 3600
    note = f"Times in column {name!r} are dates; hours count from each patient's first row."
    return hours, [note]


def _dates(path: Path, text: pd.Series, name: str, place: Place) -> pd.Series:
    """NaT where empty. Where most cells are numbers, another one is a mistake and not a date."""
    is_filled = (text != "").to_numpy()
    filled = text.where(is_filled)
    is_number = pd.to_numeric(filled, errors="coerce").notna().to_numpy()
    if 2 * is_number.sum() > is_filled.sum():
        row = int(np.flatnonzero(is_filled & ~is_number)[0])
        raise not_a_number(path, place(row), f"column {name!r}", text.iloc[row])
    dates = pd.to_datetime(filled, format="ISO8601", utc=True, errors="coerce")
    wrong = np.flatnonzero(is_filled & dates.isna().to_numpy())
    if len(wrong):
        raise UserError(
            f"{path}: {place(wrong[0])}: the time {text.iloc[wrong[0]][:40]!r} in column {name!r} "
            "is neither a number nor a date; write numbers, or dates such as 2026-01-31 13:05"
        )
    return dates


def _check_hours(
    path: Path, hours: Hours, may_be_empty: Bool[np.ndarray, " k"], name: str, place: Place
):
    """Times are finite, not negative, and given for all but descriptors."""
    complaints = {
        "is empty; fill it in, or name the variable in statics if it describes the patient": (
            np.isnan(hours) & ~may_be_empty
        ),
        "is infinite; write a finite number": np.isinf(hours),
        "is negative; count times from admission, and remove what was before": hours < 0,
    }
    for complaint, is_wrong in complaints.items():
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            raise UserError(f"{path}: {place(row)}: the time in column {name!r} {complaint}")


def _values(path: Path, column: pd.Series, name: str, place: Place) -> Float64[np.ndarray, " k"]:
    """NaN where empty."""
    numbers, text = numbers_and_text(
        path, pd.DataFrame({0: column}), place, lambda j: f"column {name!r}"
    )
    if text:
        cells = pd.Series(text[0])
        is_number = pd.to_numeric(cells, errors="coerce").notna()
        row = int(np.argmax((cells != "") & ~is_number))
        raise not_a_number(path, place(row), f"column {name!r}", cells.iloc[row])
    values = numbers[:, 0]
    check_values(path, values, place)
    return values


def _groups(
    path: Path,
    frame: pd.DataFrame,
    names: dict[str, str],
    patient: Codes,
    ids: np.ndarray,
    place: Place,
) -> np.ndarray:
    """(n,) the group of each id: itself where no column says otherwise."""
    if "group" not in names:
        return ids
    codes, groups = _encode(path, frame["group"], f"group (column {names['group']!r})", place)
    code_of_patient = np.zeros(len(ids), dtype=np.int64)
    code_of_patient[patient] = codes
    expected_codes = code_of_patient[patient]
    wrong = np.flatnonzero(expected_codes != codes)
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"{path}: {place(row)}: id {str(ids[patient[row]])!r} is in group "
            f"{str(groups[codes[row]])!r} and in {str(groups[expected_codes[row]])!r}; give "
            "each id one group"
        )
    return groups[code_of_patient]
