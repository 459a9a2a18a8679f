"""Long tables of clinical measurements: a row holds a patient, a time, a variable and a value.

The form in which hospital databases are usually exported. The order of the rows means nothing. Only
the rows of variables that are asked for are checked. A column of units is read to see that a
variable has one; nothing is converted. Left out are repeated stays: an id is one stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float64

from omics_jax.data.clinical_series.observations import Observations, check_values
from omics_jax.data.clinical_series.stored_table import (
    Cells,
    Codes,
    Rows,
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
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.parse import not_a_number
from omics_jax.data.vocabulary import Missing

# Columns of units in exports of MIMIC, eICU and others, in lower case.
UNIT_COLUMNS = frozenset(
    (
        *("unit", "units", "uom", "unit_of_measure", "units_of_measure", "unitofmeasure"),
        *("valueuom", "value_uom", "valueunit", "value_unit", "unitname", "unit_name"),
        *("unit_source_value", "labmeasurenamesystem"),
    )
)
ROLES = {
    "id": "patients",
    "time": "times",
    "variable": "variables",
    "value": "values",
    "group": "groups",
    "unit": "units",
}
_SHOWN_UNITS = 4


def read_long_table(
    table: StoredTable,
    columns: dict[str, str],
    time_unit: str,
    variables: Sequence[str],
    statics: Sequence[str],
    missing: Missing = Missing(),
) -> Observations:
    """Reads a long table. Rows without a value measure nothing, but their patients stay.

    Args:
      columns: id, time, variable and value -> the names of the columns that hold them; group, where
        given, names the column of what must not be split (the person, where an id is a stay), unit
        that of the units.
      time_unit: "hours", "minutes" or "days" of numeric times, counted from admission. Dates (ISO
        8601) are counted from the patient's first row.
      variables: the series that are asked for; () for all.
      statics: descriptors; their rows may have no time.
      missing: what the user's file writes for a missing value.

    Raises:
      UserError: a missing column; in a row that is asked for an empty id, variable or time, or a
        value that is no finite number; an id of two groups.
    """
    columns, uses = _with_units(table, columns)
    frame = _read_columns(table, columns)
    variable, names = _encode_variables(table, frame["variable"], columns["variable"], variables)
    asked_for = {*variables, *statics} if variables else set(names)
    used = np.isin(names, list(asked_for))[variable]
    patient, ids = encode(table.path, frame["id"])
    nobody = is_unnamed(patient, ids)
    refuse_unnamed(table, nobody & used, f"id (column {columns['id']!r})")
    used &= ~nobody

    hours, notes = hours_of(table, frame["time"], columns["time"], time_unit, patient, used)
    is_static = np.isin(names, list(statics))[variable]
    check_hours(table, hours, used, is_static, columns["time"])
    values, text_variables, limits = _values(
        table, frame["value"], columns["value"], names, variable, used, missing
    )
    used &= ~np.isin(names, text_variables)[variable]
    warnings = _text_warnings(table, text_variables)
    if "unit" in columns:
        warnings += _unit_warnings(table, frame["unit"], names, variable, values)
    row = np.flatnonzero(~np.isnan(values))
    observations = to_observations(
        table,
        Cells(row, variable[row], values[row]),
        names,
        patient,
        ids,
        hours,
        (frame["group"], columns["group"]) if "group" in columns else None,
        notes=[*notes, *_empty_notes(used & np.isnan(values))],
        warnings=warnings,
        uses=(*uses, *limits),
    )
    return _without_empty(observations, [*text_variables, ""])


def _empty_notes(without_value: Rows) -> list[str]:
    count = int(without_value.sum())
    if not count:
        return []
    return [f"Rows without a value, which measure nothing: {count:,}; their patients are kept."]


def _without_empty(observations: Observations, no_variables: Sequence[str]) -> Observations:
    """Without the empty id of rows that were not asked for, and without `no_variables`."""
    named = observations.ids != ""
    row = np.cumsum(named) - 1
    is_variable = ~np.isin(observations.names, no_variables)
    column = np.cumsum(is_variable) - 1
    return replace(
        observations,
        ids=observations.ids[named],
        groups=observations.groups[named],
        sets=observations.sets[named],
        names=observations.names[is_variable],
        patient=row[observations.patient],
        variable=column[observations.variable],
    )


# --- columns --------------------------------------------------------------------------------------


def _with_units(
    table: StoredTable, columns: dict[str, str]
) -> tuple[dict[str, str], tuple[Use, ...]]:
    """The columns with that of units, where the file has one, and what became of all columns."""
    names = list(table.header)
    by_name = [name for name in names if name.casefold() in UNIT_COLUMNS]
    if "unit" not in columns and len(by_name) == 1 and by_name[0] not in columns.values():
        columns = {**columns, "unit": by_name[0]}
    source = table.path.name
    uses = [Use(source, "columns", ROLES[key], (name,)) for key, name in columns.items()]
    others = tuple(name for name in names if name not in columns.values())
    if others:
        uses.append(
            Use(source, "columns", "left out", others, "not named in --config.data.columns")
        )
    return columns, tuple(uses)


def _read_columns(table: StoredTable, columns: dict[str, str]) -> pd.DataFrame:
    """The columns that are named, labelled by their roles."""
    positions = {key: table.position(f"columns.{key}", name) for key, name in columns.items()}
    text = {positions[key] for key in ("id", "variable", "group", "unit") if key in positions}
    stored = table.read(positions.values(), text)
    return pd.DataFrame({key: stored[j] for key, j in positions.items()})


def _encode_variables(
    table: StoredTable, column: pd.Series, name: str, asked_for: Sequence[str]
) -> tuple[Codes, np.ndarray]:
    """As `encode`; refuses a row without a variable where all variables are asked for."""
    variable, names = encode(table.path, column)
    # A variable may be called as what is missing is spelt: Na is sodium.
    empty = is_unnamed(variable, names, {""})
    refuse_unnamed(table, empty & (not asked_for), f"variable (column {name!r})")
    return variable, names


def _unit_warnings(
    table: StoredTable,
    column: pd.Series,
    names: np.ndarray,
    variable: Codes,
    values: Float64[np.ndarray, " k"],
) -> list[str]:
    """A warning for each variable whose values are in several units.

    Units that differ in case or spaces are one, and no unit says nothing.
    """
    codes, units = encode(table.path, column)
    plain = np.array(
        ["".join(u.casefold().split()).replace("µ", "u").replace("μ", "u") for u in units]
    )
    frame = pd.DataFrame({"variable": variable, "unit": plain[codes], "value": values})
    spelled = dict(zip(plain[::-1], units[::-1], strict=True))
    known = frame[frame["value"].notna() & ~frame["unit"].isin(("", "nan", "none"))]
    several = known.groupby("variable")["unit"].nunique()
    warnings = []
    for v in several.index[several > 1]:
        values_of_unit = known[known["variable"] == v].groupby("unit")["value"]
        counts = values_of_unit.size().sort_values(ascending=False, kind="stable")
        medians = values_of_unit.median()
        shown = ", ".join(
            f"{spelled[unit]} {counts[unit]:,} (median {medians[unit]:g})"
            for unit in counts.index[:_SHOWN_UNITS]
        )
        warnings.append(
            f"{table.path.name}: {names[v]} is in {len(counts)} units by its column of units: "
            f"{shown}; nothing is converted: write one unit, or give each a variable of its own"
        )
    return warnings


# --- values ---------------------------------------------------------------------------------------


def _values(
    table: StoredTable,
    column: pd.Series,
    column_name: str,
    names: np.ndarray,
    variable: Codes,
    used: Rows,
    missing: Missing,
) -> tuple[Float64[np.ndarray, " k"], list[str], tuple[Use, ...]]:
    """NaN where empty or not used, the variables of text, and what was read in another way.

    Raises:
      UserError: a cell that is no number, of a variable that has numbers.
    """
    values = np.full(len(column), np.nan)
    text_variables: list[str] = []
    uses: tuple[Use, ...] = ()
    if column.dtype.kind in "iuf":
        values[used] = column.to_numpy(np.float64)[used]
    else:
        cells = as_text(column).to_numpy(object)
        is_word = np.array([cell.casefold() in missing.words for cell in cells], bool)
        cells[is_word] = ""
        values, text_variables, uses = _parsed(table, cells, column_name, names, variable, used)
    check_values(table.path, values, table.place)
    return values, text_variables, uses


def _text_warnings(table: StoredTable, text_variables: Sequence[str]) -> list[str]:
    if not text_variables:
        return []
    several = count_phrase(len(text_variables), "variable", text_variables)
    return [f"{table.path.name}: {several} text without any number, and left out"]


def _parsed(
    table: StoredTable,
    cells: np.ndarray,
    column_name: str,
    names: np.ndarray,
    variable: Codes,
    used: Rows,
) -> tuple[Float64[np.ndarray, " k"], list[str], tuple[Use, ...]]:
    """The numbers of the cells, the variables without any digit, and limits of detection."""
    filled = used & (cells != "")
    values = np.full(len(cells), np.nan)
    values[filled] = pd.to_numeric(pd.Series(cells[filled]), errors="coerce").to_numpy(np.float64)
    text_variables = []
    to_parse = np.zeros(len(cells), bool)
    for v in np.unique(variable[filled & np.isnan(values)]):
        is_variable = filled & (variable == v)
        if any(character.isdigit() for cell in cells[is_variable] for character in cell):
            to_parse |= is_variable
        else:
            text_variables.append(str(names[v]))
    rows = np.flatnonzero(to_parse)
    frame, uses = plain_numbers(
        table.path,
        pd.DataFrame({0: cells[rows]}),
        lambda i: table.place(rows[i]),
        lambda i, j: str(names[variable[rows[i]]]),
        table.below_detection,
    )
    values[rows] = pd.to_numeric(frame[0], errors="coerce").to_numpy(np.float64)
    wrong = rows[np.isnan(values[rows]) & (as_text(frame[0]) != "").to_numpy()]
    if len(wrong):
        what = f"column {column_name!r} (variable {str(names[variable[wrong[0]]])!r})"
        raise not_a_number(table.path, table.place(wrong[0]), what, str(cells[wrong[0]]))
    return values, text_variables, uses
