"""What is known of patients beside their omics: tables of clinical data and survival, and the
targets made of them.

A class is a code into sorted names, a number is as the file has it, a time to event comes with its
0 or 1. Left out are competing risks, left truncation and intervals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.names import check_names
from omics_jax.data.formats.parse import not_a_number
from omics_jax.data.formats.read import read_table
from omics_jax.data.patients.barcodes import patient_rows
from omics_jax.data.perturbation.conditions import required_column
from omics_jax.errors import UserError

# Of each pair the first means censored, the second an event; cells are compared in lower case,
# numbers as 0 and 1.
EVENT_CODES = (
    ("0", "1"),
    ("false", "true"),
    ("alive", "dead"),
    ("living", "deceased"),
    ("0:living", "1:deceased"),
    ("no", "yes"),
)
_TCGA_UNKNOWN = re.compile(r"\[[A-Za-z ]+\]")
_MOST_EVENTS, _HALF = 0.95, 0.5

Target = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PatientTable:
    """`table`: a row of text per patient, "" where unknown, indexed by patient; `places`: where
    each row stands.
    """

    source: str
    table: pd.DataFrame
    places: list[str]

    def reindex(self, ids: np.ndarray) -> PatientTable:
        """The rows of these patients, in this order; empty for those that the table lacks."""
        where = {patient: row for row, patient in enumerate(self.table.index)}
        places = [self.places[where[str(i)]] if str(i) in where else "" for i in ids]
        return PatientTable(self.source, self.table.reindex(ids, fill_value=""), places)

    def column(self, column: str, setting: str) -> np.ndarray:
        """(n,) text of the column that `setting` names."""
        return required_column(self.source, self.table, {}, column, setting)


class Wanted(NamedTuple):
    """Targets by name: the column of each, and of a survival target the columns of time and event."""

    classes: dict[str, str]
    numbers: dict[str, str]
    survival: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class TargetColumns:
    """Which columns of which tables are targets.

    `classes`, `numbers`: name -> (table, column); `survival`: name -> (table, time column, event
    column).
    """

    tables: list[PatientTable]
    classes: dict[str, tuple[PatientTable, str]]
    numbers: dict[str, tuple[PatientTable, str]]
    survival: dict[str, tuple[PatientTable, str, str]]

    def table(self, ids: np.ndarray) -> pd.DataFrame:
        """The columns of all tables for these patients; of a name that several bear, the first
        table's.
        """
        columns: dict[str, np.ndarray] = {}
        for part in self.tables:
            for name, cells in part.reindex(ids).table.items():
                columns.setdefault(str(name), cells.to_numpy(dtype=object))
        return pd.DataFrame(columns, index=ids)

    def targets(
        self, ids: np.ndarray, zero_times: str
    ) -> tuple[dict[str, Target], dict[str, tuple[str, ...]], list[str]]:
        """Targets of these patients, names of the classes, and notes."""
        targets: dict[str, Target] = {}
        names: dict[str, tuple[str, ...]] = {}
        notes: list[str] = []

        def add(found: dict[str, Target], more: list[str]):
            twice = sorted(set(found) & set(targets))
            if twice:
                raise UserError(
                    f"two targets are called {twice[0]!r}; rename one in classes, numbers or "
                    "survival_times"
                )
            targets.update(found)
            notes.extend(more)

        for name, (table, column) in self.classes.items():
            target, names[name], note = class_target(table.reindex(ids), name, column)
            add({name: target}, [note])
        for name, (table, column) in self.numbers.items():
            target, note = number_target(table.reindex(ids), name, column)
            add({name: target}, [note])
        for name, (table, times, events) in self.survival.items():
            add(*survival_target(table.reindex(ids), name, times, events, zero_times))
        return targets, names, notes


def sought_in(
    wanted: Wanted, clinical: PatientTable | None, survival: PatientTable | None
) -> TargetColumns:
    """The targets in a clinical table and in one of survival (the clinical one where it is None)."""
    of_survival = clinical if survival is None else survival
    return TargetColumns(
        [table for table in (clinical, survival) if table is not None],
        {
            name: (clinical, column)
            for name, column in wanted.classes.items()
            if clinical is not None
        },
        {
            name: (clinical, column)
            for name, column in wanted.numbers.items()
            if clinical is not None
        },
        {
            name: (of_survival, *columns)
            for name, columns in wanted.survival.items()
            if of_survival is not None
        },
    )


def read_patient_table(path: str, id_column: str, barcode: str) -> tuple[PatientTable, list[str]]:
    """A table with a row per patient (CSV, TSV, TXT, also .gz, or Parquet), and notes.

    `id_column`: its column of ids, "" for the first. Under barcode="tcga" a patient's several
    samples become one row, and cells such as [Not Available] are unknown.

    Raises:
      UserError: no such column, an id missing or twice, no TCGA barcode at all.
    """
    table = read_table(path)
    column = id_column or str(table.columns[0])
    if column not in table and id_column:
        raise UserError(
            f"{path} has no column {id_column!r} (id); it has "
            f"{', '.join(map(repr, table.columns[:8]))}: name its column of ids so, or leave id "
            "empty to take the first column of every table"
        )
    ids, places = table[column].to_numpy(dtype=object), [str(place) for place in table.index]
    check_names(path, "patient", ids, lambda row: places[row])
    chosen = patient_rows(Path(path).name, ids, barcode)
    notes = list(chosen.notes)
    table = table.iloc[chosen.rows].drop(columns=column)
    if barcode:
        unknown = table.apply(
            lambda cells: cells.map(lambda cell: _TCGA_UNKNOWN.fullmatch(cell) is not None)
        )
        if unknown.to_numpy().any():
            table = table.mask(unknown.astype(bool), "")
            notes.append(
                f"{Path(path).name}: {int(unknown.to_numpy().sum()):,} cells such as [Not "
                "Available] are unknown."
            )
    table = table.set_axis(chosen.patients, axis=0)
    return PatientTable(str(path), table, [places[row] for row in chosen.rows]), notes


def class_target(
    patients: PatientTable, name: str, column: str
) -> tuple[Target, tuple[str, ...], str]:
    """Codes (n,) int32 with their mask, the classes' names (sorted, numbers by size), and a note."""
    cells = patients.column(column, f"classes.{name}")
    known = cells != ""
    _check_known(patients, known, column, f"classes.{name}")
    found, codes = np.unique(cells[known].astype(str), return_inverse=True)
    numbers = pd.to_numeric(pd.Series(found, dtype=object), errors="coerce").to_numpy(np.float64)
    if not np.isnan(numbers).any():
        # 1 and 1.0 are one class: a column with gaps is often written as decimals.
        values, codes = np.unique(numbers[codes], return_inverse=True)
        found = np.array([np.format_float_positional(value, trim="-") for value in values])
    if len(found) > 10 and 2 * len(found) > known.sum():
        raise UserError(
            f"{patients.source}: column {column!r} (classes.{name}) holds {len(found):,} different "
            f"values of {int(known.sum()):,} patients, such as {str(found[0])!r}; name a column of "
            "categories, or a number under numbers"
        )
    values = np.zeros(len(cells), np.int32)
    values[known] = codes
    counts = np.bincount(codes, minlength=len(found))
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{found[k]} {counts[k]:,}" for k in order[:6])
    rest = f", ... {found[order[-1]]} {counts[order[-1]]:,}" if len(found) > 6 else ""
    note = f"{name} ({column}): {len(found)} classes, known of {int(known.sum()):,} patients: {shown}{rest}."
    return (values, known.astype(bool)), tuple(map(str, found)), note


def number_target(patients: PatientTable, name: str, column: str) -> tuple[Target, str]:
    """Numbers (n,) float32 with their mask, and a note."""
    numbers = _numbers(patients, column, f"numbers.{name}")
    known = ~np.isnan(numbers)
    _check_known(patients, known, column, f"numbers.{name}")
    seen = numbers[known]
    note = (
        f"{name} ({column}): known of {len(seen):,} patients, {seen.min():g} to {seen.max():g}, "
        f"median {np.median(seen):g}."
    )
    return (np.where(known, numbers, 0).astype(np.float32), known), note


def survival_target(
    patients: PatientTable, name: str, time_column: str, event_column: str, zero_times: str
) -> tuple[dict[str, Target], list[str]]:
    """The targets name.time and name.event (n,) float32 with one mask, and notes.

    Times are positive: `zero_times` says whether one that is not is an "error" or is to be hidden
      ("mask").
    """
    setting = f"survival_times.{name}"
    times = _numbers(patients, time_column, setting)
    events, coding = _events(patients, event_column, setting)
    known = ~np.isnan(times) & ~np.isnan(events)
    _check_known(patients, known, f"{time_column}' and '{event_column}", setting)
    notes = []
    half = int((np.isnan(times) != np.isnan(events)).sum())
    if half:
        notes.append(
            f"{name}: {half:,} patients with only one of {time_column} and {event_column} are "
            "masked."
        )
    wrong = known & (times <= 0)
    if wrong.any():
        some = count_phrase(int(wrong.sum()), "time", patients.table.index[wrong].tolist())
        if zero_times == "error" or wrong.sum() == known.sum():
            raise UserError(
                f"{patients.source}: {some} zero or below in column {time_column!r} ({setting}; "
                f"the first at {patients.places[np.flatnonzero(wrong)[0]]}); correct or empty "
                "them, or set data.zero_times=mask"
            )
        notes.append(f"{name}: {some} zero or below and masked.")
        known &= ~wrong
    times, events = (np.where(known, values, 0).astype(np.float32) for values in (times, events))
    notes += [_followed(name, times[known], events[known], time_column, event_column, coding)]
    return {f"{name}.time": (times, known), f"{name}.event": (events, known)}, [
        *notes,
        *flipped_warning(name, event_column, times[known], events[known]),
    ]


def flipped_warning(name: str, column: str, times: np.ndarray, events: np.ndarray) -> list[str]:
    """A sentence, or none, on whether 0 and 1 of the events seem to be exchanged, or all patients
    to be censored.

    In a cohort that is followed for years those who die usually do so before the others are last
    seen.
    """
    share = events.mean()
    if not events.any():
        return [
            f"Warning: {name} has no event at all; nothing can be learned of it, check {column}."
        ]
    at_event, censored = (
        np.median(times[events == k]) if (events == k).any() else np.nan for k in (1, 0)
    )
    late = share > _HALF and at_event > censored
    if share <= _MOST_EVENTS and not late:
        return []
    why = (
        f", at a median time of {at_event:g}, and the others are last seen at {censored:g}, earlier"
        if late
        else ", more than a cohort usually has"
    )
    return [
        f"Warning: {share:.1%} of the patients have an event of {name}{why}. Does {column} mark "
        "the events, or the censored? If the censored, exchange its two values."
    ]


def _followed(
    name, times, events, time_column: str, event_column: str, coding: tuple[str, str]
) -> str:
    return (
        f"{name} ({time_column}, {event_column}): known of {len(times):,} patients, "
        f"{int(events.sum()):,} events ({events.mean():.1%}), the others censored; {event_column} "
        f"is read as {coding[0]} = censored, {coding[1]} = event; median time "
        f"{_median(times[events == 1])} to an event, {_median(times[events == 0])} to the last "
        f"sight of the others, {np.median(times):g} of all, at most {times.max():g}, in the file's "
        "unit."
    )


def _median(times: np.ndarray) -> str:
    return f"{np.median(times):g}" if len(times) else "unknown"


def _events(
    patients: PatientTable, column: str, setting: str
) -> tuple[np.ndarray, tuple[str, str]]:
    """(n,) float64 of 0, 1 and NaN, and the coding that was understood."""
    cells = pd.Series(patients.column(column, setting), dtype=object)
    numbers = pd.to_numeric(cells, errors="coerce")
    plain = cells.str.casefold().where(numbers.isna(), numbers.map("{:g}".format))
    found = set(plain) - {""}
    for coding in EVENT_CODES:
        if found <= set(coding):
            return plain.map({coding[0]: 0.0, coding[1]: 1.0}).to_numpy(np.float64), coding
    known = ", ".join("/".join(coding) for coding in EVENT_CODES)
    values = sorted(set(cells) - {""})
    shown = ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
    raise UserError(
        f"{patients.source}: column {column!r} ({setting}) holds {shown} where an event has two "
        f"values, censored and event, out of {known}; recode it, empty where unknown"
    )


def _numbers(patients: PatientTable, column: str, setting: str) -> np.ndarray:
    """(n,) float64, NaN where empty."""
    cells = patients.column(column, setting)
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero((np.isnan(numbers) & (cells != "")) | np.isinf(numbers))
    if len(wrong):
        place = patients.places[wrong[0]]
        raise not_a_number(
            Path(patients.source), place, f"column {column!r} ({setting})", str(cells[wrong[0]])
        )
    return numbers


def _check_known(patients: PatientTable, known: np.ndarray, column: str, setting: str):
    if not known.any():
        raise UserError(
            f"{patients.source}: column '{column}' ({setting}) is empty for every patient that was "
            "read; name another one, or leave the setting empty"
        )
