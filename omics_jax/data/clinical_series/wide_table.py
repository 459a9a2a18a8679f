"""Wide tables of series: a row per stay and time, and a column per variable.

The form of YAIB, of the eICU's vitals and of most spreadsheets. Columns of identifiers and of text
are no variables: they are left out, and said to be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from omics_jax.data.clinical_series.long_table import ROLES
from omics_jax.data.clinical_series.observations import Observations, check_values
from omics_jax.data.clinical_series.stored_table import (
    Cells,
    StoredTable,
    check_hours,
    encode,
    hours_of,
    is_unnamed,
    refuse_unnamed,
    to_observations,
)
from omics_jax.data.dataset.account import Use
from omics_jax.data.formats.cells import plain_numbers
from omics_jax.data.formats.columns import as_text
from omics_jax.data.formats.files import nearest
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.parse import numbers_and_text
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

# As in subject_id and stayId; uric_acid and lipid are none.
_ID_NAME = re.compile(r"(^|[_ .-])(?i:id)$|[a-z](ID|Id)$")
_INDEX_NAME = re.compile(r"Unnamed: \d+")  # pandas' for a column of row numbers
_LEAST_ID = 1000  # values of a column such as patienthealthsystemstayid begin here
_REPEATED_SHARE = 0.1  # of rows with the stay and time of another: then the table is long


def looks_wide(table: StoredTable, columns: dict[str, str]) -> bool:
    """Whether a table without the columns of variables and values has a column per variable.

    Such a table has one row per stay and time, as a rule; a long one has several.

    Raises:
      UserError: it may as well be a long table whose columns have other names.
    """
    lacking = [key for key in ("value", "variable") if columns.get(key) not in table.header]
    if len(lacking) < 2 or not {columns["id"], columns["time"]} <= set(table.header):
        return False
    keys = {table.position(f"columns.{key}", columns[key]) for key in ("id", "time")}
    frame = table.read(keys, keys)
    share = frame.duplicated(keep=False).mean()
    others = [name for name in table.header if name not in columns.values()]
    near = {key: nearest(columns[key], others) for key in lacking}
    if share <= _REPEATED_SHARE and not any(near.values()):
        return True
    key = next(filter(near.get, lacking), lacking[0])
    shown = ", ".join(map(repr, table.header[:8]))
    mend = f"did you mean {near[key]!r}?" if near[key] else f"it has {shown}."
    raise UserError(
        f"{table.path} has no column {columns[key]!r} (--config.data.columns.{key}="
        f"{columns[key]}); {mend} Name the columns of the variable and of the value, or set "
        "--config.data.layout=wide if there is a column per variable"
    )


def read_wide_table(
    table: StoredTable,
    columns: dict[str, str],
    time_unit: str,
    variables: Sequence[str],
    statics: Sequence[str],
    missing: Missing = Missing(),
) -> Observations:
    """Reads a wide table; the arguments are those of `read_long_table`.

    Raises:
      UserError: a missing column; an empty id, or an empty time in a row with values; a cell of a
        variable that is no finite number; an id of two groups.
    """
    positions = {
        key: table.position(f"columns.{key}", columns[key])
        for key in ("id", "time", "group")
        if key in columns
    }
    candidates = _candidates(table, positions, {*variables, *statics} if variables else None)
    text = {positions[key] for key in ("id", "group") if key in positions}
    frame = table.read({*positions.values(), *candidates}, text)
    patient, ids = encode(table.path, frame[positions["id"]])
    refuse_unnamed(table, is_unnamed(patient, ids), f"id (column {columns['id']!r})")

    plain, limits = _plain_columns(table, frame[candidates])
    numeric, left_out = _numeric_columns(table, plain, variables, missing)
    names = np.array([table.header[j] for j in numeric], dtype=str)
    values = _stack(table, numeric, len(frame))
    known = ~np.isnan(values)
    is_series = ~np.isin(names, list(statics))
    used = known[:, is_series].any(axis=1)
    hours, notes = hours_of(
        table, frame[positions["time"]], columns["time"], time_unit, patient, used
    )
    check_hours(table, hours, used, np.zeros(len(frame), bool), columns["time"])
    row, column = np.nonzero(known)
    uses = (*_uses(table, columns, names, statics, left_out), *limits)
    return to_observations(
        table,
        Cells(row, column, values[row, column]),
        names,
        patient,
        ids,
        hours,
        (frame[positions["group"]], columns["group"]) if "group" in columns else None,
        notes=[*notes, *_left_out_notes(uses), _shape_note(table, known)],
        uses=uses,
    )


def _left_out_notes(uses: Sequence[Use]) -> list[str]:
    return [
        f"{count_phrase(len(use.names), 'column', use.names)} left out: {use.why}."
        for use in uses
        if use.used_as == "left out" and use.expected
    ]


def _shape_note(table: StoredTable, known: Bool[np.ndarray, "k v"]) -> str:
    return (
        f"{table.path.name} is read as a wide table: {len(known):,} rows, one per stay and time, "
        f"with {known.sum():,} values in {known.shape[1]} columns of variables."
    )


# --- columns --------------------------------------------------------------------------------------


def _candidates(
    table: StoredTable, positions: dict[str, int], asked_for: Collection[str] | None
) -> list[int]:
    """The positions of the columns that may be variables. asked_for: their names; None for all."""
    others = [j for j in range(len(table.header)) if j not in positions.values()]
    candidates = [j for j in others if asked_for is None or table.header[j] in asked_for]
    _check_names(table, candidates)
    return candidates


def _plain_columns(table: StoredTable, frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Use, ...]]:
    """The columns as `plain_numbers` returns them, labelled by position as before."""
    positions = list(frame.columns)
    plain, limits = plain_numbers(
        table.path,
        frame.set_axis(range(len(positions)), axis=1),
        table.place,
        lambda i, j: table.header[positions[j]],
        table.below_detection,
    )
    return plain.set_axis(positions, axis=1), limits


def _stack(
    table: StoredTable, columns: dict[int, np.ndarray], rows: int
) -> Float64[np.ndarray, "k v"]:
    """The columns side by side; refuses values that are infinite in float32."""
    for values in columns.values():
        check_values(table.path, values, table.place)
    return np.stack([*columns.values()], axis=1) if columns else np.zeros((rows, 0))


def _check_names(table: StoredTable, candidates: Sequence[int]):
    names = [table.header[j] for j in candidates]
    repeated = next((name for name in names if name and names.count(name) > 1), "")
    if repeated:
        raise UserError(f"{table.path} names column {repeated!r} twice; rename one of them")


def _numeric_columns(
    table: StoredTable, frame: pd.DataFrame, variables: Sequence[str], missing: Missing
) -> tuple[dict[int, np.ndarray], dict[str, list[str]]]:
    """position -> values, of the variables; and why -> the names of the columns that are none."""
    values: dict[int, np.ndarray] = {}
    left_out: dict[str, list[str]] = {}
    for j in frame.columns:
        name, column = table.header[j], frame[j]
        numbers = _numbers(table, name, column, missing)
        if name in variables and numbers is not None:
            values[j] = numbers
            continue
        reason = _no_variable(name, numbers)
        if reason:
            left_out.setdefault(reason, []).append(name)
        else:
            values[j] = numbers
    return values, left_out


def _numbers(
    table: StoredTable, name: str, column: pd.Series, missing: Missing
) -> np.ndarray | None:
    """The numbers of a column with NaN where empty; None where it is of text or dates."""
    if column.dtype.kind in "iufb":
        return column.to_numpy(np.float64)
    if column.dtype.kind not in "OTU" and not isinstance(column.dtype, pd.StringDtype):
        return None
    cells = as_text(column)
    cells = cells.where(~cells.str.casefold().isin(missing.words), "")
    if not cells.str.contains(r"\d", regex=True).any() and (cells != "").any():
        return None
    place = f"column {name!r}"
    numbers, text = numbers_and_text(
        table.path, pd.DataFrame({0: cells}), table.place, lambda j: place
    )
    return None if text else numbers[:, 0]


def _no_variable(name: str, numbers: np.ndarray | None) -> str:
    """Why a column is no variable; "" if it is one."""
    if numbers is None:
        return "their cells are text or dates"
    known = numbers[~np.isnan(numbers)]
    if not name or _INDEX_NAME.fullmatch(name):
        return "they have no name"
    is_whole = len(known) > 0 and bool((known == np.round(known)).all())
    may_be_id = is_whole and name.casefold().endswith("id")
    counts_rows = len(np.unique(known)) == len(numbers)
    if may_be_id and (_ID_NAME.search(name) or counts_rows or known.min() >= _LEAST_ID):
        return "identifiers by their names, of whole numbers"
    return ""


def _uses(
    table: StoredTable,
    columns: dict[str, str],
    names: np.ndarray,
    statics: Sequence[str],
    left_out: dict[str, list[str]],
) -> tuple[Use, ...]:
    """What became of every column."""
    source = table.path.name
    uses = [
        Use(source, "columns", ROLES[key], (columns[key],))
        for key in ("id", "time", "group")
        if key in columns
    ]
    uses.append(Use(source, "columns", "variables", tuple(map(str, names))))
    for why, these in left_out.items():
        is_text = why == "their cells are text or dates"
        uses.append(Use(source, "columns", "left out", tuple(these), why, expected=not is_text))
    accounted = {*columns.values(), *names, *sum(left_out.values(), [])}
    others = tuple(name for name in table.header if name not in accounted)
    if others:
        uses.append(Use(source, "columns", "left out", others, "not among the variables to keep"))
    return tuple(uses)
