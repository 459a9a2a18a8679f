"""Targets of patients, made of the columns of their tables: classes, numbers and times to an event.

A class is a code into sorted names, a number is as the file has it, a time to event comes with its
0 or 1. Left out are competing risks, left truncation and intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int

from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.parse import not_a_number
from omics_jax.data.patients.patient_table import PatientTable
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
# A warning asks whether the codes are exchanged: above this share of events, or above half if the
# events are also later than the censorings.
_MOST_EVENTS, _HALF = 0.95, 0.5
# More classes than this are suspected to be numbers or names, and so many are shown.
_MANY_CLASSES, _SHOWN_CLASSES = 10, 6

# values (n,) and mask (n,)
Target = tuple[np.ndarray, np.ndarray]


class TargetSpec(NamedTuple):
    """Targets by name: the column of each, of a survival target those of time and event."""

    classes: dict[str, str]
    numbers: dict[str, str]
    survival: dict[str, tuple[str, str]]

    @property
    def names(self) -> list[str]:
        """Of all targets."""
        return [*self.classes, *self.numbers, *self.survival]


@dataclass(frozen=True)
class TargetColumns:
    """Which columns of which tables are targets.

    Attributes:
      tables: all that was read of the patients.
      classes, numbers: name -> (table, column).
      survival: name -> (table, time column, event column).
    """

    tables: list[PatientTable]
    classes: dict[str, tuple[PatientTable, str]]
    numbers: dict[str, tuple[PatientTable, str]]
    survival: dict[str, tuple[PatientTable, str, str]]

    def table(self, ids: np.ndarray) -> pd.DataFrame:
        """The columns of all tables for these patients; of equal names the first table's."""
        columns: dict[str, np.ndarray] = {}
        for part in self.tables:
            for name, cells in part.reindex(ids).table.items():
                columns.setdefault(str(name), cells.to_numpy(dtype=object))
        return pd.DataFrame(columns, index=ids)

    def targets(
        self, ids: np.ndarray, zero_times: str
    ) -> tuple[dict[str, Target], dict[str, tuple[str, ...]], list[str]]:
        """Targets of these patients, names of the classes, and notes.

        Raises:
          UserError: two targets of one name, or a column that does not hold what it should.
        """
        named_targets: list[tuple[str, Target]] = []
        class_names: dict[str, tuple[str, ...]] = {}
        notes: list[str] = []
        for name, (table, column) in self.classes.items():
            target, class_names[name], note = class_target(table.reindex(ids), name, column)
            named_targets.append((name, target))
            notes.append(note)
        for name, (table, column) in self.numbers.items():
            target, note = number_target(table.reindex(ids), name, column)
            named_targets.append((name, target))
            notes.append(note)
        for name, (table, times, events) in self.survival.items():
            parts, survival_notes = survival_target(
                table.reindex(ids), name, times, events, zero_times
            )
            named_targets += parts.items()
            notes += survival_notes
        _check_names_differ([name for name, _ in named_targets])
        return dict(named_targets), class_names, notes


def _check_names_differ(names: Sequence[str]):
    repeated = sorted(name for name in set(names) if names.count(name) > 1)
    if repeated:
        raise UserError(
            f"two targets are called {repeated[0]!r}; rename one in classes, numbers or "
            "survival_times"
        )


def find_target_columns(
    spec: TargetSpec, clinical: PatientTable | None, survival: PatientTable | None
) -> TargetColumns:
    """The targets in a clinical table and in one of survival.

    Times to an event are looked for in the clinical table where that of survival is None.
    """
    tables = [table for table in (clinical, survival) if table is not None]
    classes, numbers, survival_times = {}, {}, {}
    if clinical is not None:
        classes = {name: (clinical, column) for name, column in spec.classes.items()}
        numbers = {name: (clinical, column) for name, column in spec.numbers.items()}
    table_of_times = clinical if survival is None else survival
    if table_of_times is not None:
        survival_times = {
            name: (table_of_times, *columns) for name, columns in spec.survival.items()
        }
    return TargetColumns(tables, classes, numbers, survival_times)


# --- classes and numbers --------------------------------------------------------------------------


def class_target(
    patients: PatientTable, name: str, column: str
) -> tuple[Target, tuple[str, ...], str]:
    """Codes (n,) int32 with their mask, the classes' names, and a note.

    The names are sorted, numbers by size.
    """
    setting = f"classes.{name}"
    cells = patients.column(column, setting)
    known = (cells != "").astype(bool)
    _check_any_known(patients, known, column, setting)
    class_names, codes = _encode_classes(cells[known].astype(str))
    n_known = int(known.sum())
    if len(class_names) > _MANY_CLASSES and 2 * len(class_names) > n_known:
        raise UserError(
            f"{patients.source}: column {column!r} ({setting}) holds {len(class_names):,} "
            f"different values of {n_known:,} patients, such as {class_names[0]!r}; name a column "
            "of categories, or a number under numbers"
        )
    values = np.zeros(len(cells), np.int32)
    values[known] = codes
    note = (
        f"{name} ({column}): {len(class_names)} classes, known of {n_known:,} patients: "
        f"{_count_classes(class_names, codes)}."
    )
    return (values, known), class_names, note


def _encode_classes(cells: np.ndarray) -> tuple[tuple[str, ...], Int[np.ndarray, " k"]]:
    """The classes' names and the code of each cell."""
    class_names, codes = np.unique(cells, return_inverse=True)
    numbers = pd.to_numeric(pd.Series(class_names, dtype=object), errors="coerce")
    numbers = numbers.to_numpy(np.float64)
    if not np.isnan(numbers).any():
        # 1 and 1.0 are one class: a column with gaps is often written as decimals.
        values, codes = np.unique(numbers[codes], return_inverse=True)
        class_names = [np.format_float_positional(value, trim="-") for value in values]
    return tuple(map(str, class_names)), codes


def _count_classes(class_names: Sequence[str], codes: Int[np.ndarray, " k"]) -> str:
    """As in "BRCA 80, LUAD 30, ... KICH 2", the most frequent first."""
    counts = np.bincount(codes, minlength=len(class_names))
    order = np.argsort(-counts, kind="stable")
    counted = [f"{class_names[k]} {counts[k]:,}" for k in order]
    shown = ", ".join(counted[:_SHOWN_CLASSES])
    return shown if len(counted) <= _SHOWN_CLASSES else f"{shown}, ... {counted[-1]}"


def number_target(patients: PatientTable, name: str, column: str) -> tuple[Target, str]:
    """Numbers (n,) float32 with their mask, and a note."""
    setting = f"numbers.{name}"
    numbers = _numbers(patients, column, setting)
    known = ~np.isnan(numbers)
    _check_any_known(patients, known, column, setting)
    seen = numbers[known]
    note = (
        f"{name} ({column}): known of {len(seen):,} patients, {seen.min():g} to {seen.max():g}, "
        f"median {np.median(seen):g}."
    )
    return (np.where(known, numbers, 0).astype(np.float32), known), note


# --- times to an event ----------------------------------------------------------------------------


def survival_target(
    patients: PatientTable, name: str, time_column: str, event_column: str, zero_times: str
) -> tuple[dict[str, Target], list[str]]:
    """The targets name.time and name.event (n,) float32 with one mask, and notes.

    Times are positive: `zero_times` says whether one that is not is an "error" or masked ("mask").
    """
    setting = f"survival_times.{name}"
    times = _numbers(patients, time_column, setting)
    events, coding = _events(patients, event_column, setting)
    known = ~np.isnan(times) & ~np.isnan(events)
    _check_any_known(patients, known, f"{time_column}' and '{event_column}", setting)
    notes = []
    n_half_known = int((np.isnan(times) != np.isnan(events)).sum())
    if n_half_known:
        notes.append(
            f"{name}: {n_half_known:,} patients with only one of {time_column} and {event_column} "
            "are masked."
        )
    is_zero = known & (times <= 0)
    if is_zero.any():
        some = count_phrase(int(is_zero.sum()), "time", patients.table.index[is_zero].tolist())
        if zero_times == "error" or is_zero.sum() == known.sum():
            first_place = patients.places[np.flatnonzero(is_zero)[0]]
            raise UserError(
                f"{patients.source}: {some} zero or below in column {time_column!r} ({setting}; "
                f"the first at {first_place}); correct or empty them, or set data.zero_times=mask"
            )
        notes.append(f"{name}: {some} zero or below and masked.")
        known &= ~is_zero
    times = np.where(known, times, 0).astype(np.float32)
    events = np.where(known, events, 0).astype(np.float32)
    notes += [
        _describe_survival(name, times[known], events[known], time_column, event_column, coding),
        *flipped_warning(name, event_column, times[known], events[known]),
    ]
    return {f"{name}.time": (times, known), f"{name}.event": (events, known)}, notes


def _events(
    patients: PatientTable, column: str, setting: str
) -> tuple[Float64[np.ndarray, " n"], tuple[str, str]]:
    """0, 1 and NaN, and the coding that was understood."""
    cells = pd.Series(patients.column(column, setting), dtype=object)
    numbers = pd.to_numeric(cells, errors="coerce")
    plain = cells.str.casefold().where(numbers.isna(), numbers.map("{:g}".format))
    values = set(plain) - {""}
    for coding in EVENT_CODES:
        if values <= set(coding):
            censored, event = coding
            return plain.map({censored: 0.0, event: 1.0}).to_numpy(np.float64), coding
    known = ", ".join("/".join(coding) for coding in EVENT_CODES)
    spelled = sorted(set(cells) - {""})
    shown = ", ".join(map(repr, spelled[:5])) + (", ..." if len(spelled) > 5 else "")
    raise UserError(
        f"{patients.source}: column {column!r} ({setting}) holds {shown} where an event has two "
        f"values, censored and event, out of {known}; recode it, empty where unknown"
    )


def _describe_survival(
    name: str,
    times: Float[np.ndarray, " k"],
    events: Float[np.ndarray, " k"],
    time_column: str,
    event_column: str,
    coding: tuple[str, str],
) -> str:
    at_event, at_censoring = times[events == 1], times[events == 0]
    return (
        f"{name} ({time_column}, {event_column}): known of {len(times):,} patients, "
        f"{int(events.sum()):,} events ({events.mean():.1%}), the others censored; {event_column} "
        f"is read as {coding[0]} = censored, {coding[1]} = event; median time "
        f"{_median(at_event)} to an event, {_median(at_censoring)} to the last sight of the "
        f"others, {np.median(times):g} of all, at most {times.max():g}, in the file's unit."
    )


def _median(times: np.ndarray) -> str:
    return f"{np.median(times):g}" if len(times) else "unknown"


def flipped_warning(name: str, column: str, times: np.ndarray, events: np.ndarray) -> list[str]:
    """A warning that the events' 0 and 1 seem exchanged, or that there is no event; or none.

    In a cohort that is followed for years those who die usually do so before the others are last
    seen.
    """
    if not events.any():
        return [
            f"Warning: {name} has no event at all; nothing can be learned about it, check {column}."
        ]
    share = events.mean()
    event_time = np.median(times[events == 1])
    is_censored = events == 0
    censored_time = np.median(times[is_censored]) if is_censored.any() else np.nan
    events_are_late = share > _HALF and event_time > censored_time
    if share <= _MOST_EVENTS and not events_are_late:
        return []
    why = ", more than a cohort usually has"
    if events_are_late:
        why = (
            f", at a median time of {event_time:g}, and the others are last seen at "
            f"{censored_time:g}, earlier"
        )
    return [
        f"Warning: {share:.1%} of the patients have an event of {name}{why}. Does {column} mark "
        "the events, or the censored? If the censored, exchange its two values."
    ]


# --- columns --------------------------------------------------------------------------------------


def _numbers(patients: PatientTable, column: str, setting: str) -> Float64[np.ndarray, " n"]:
    """NaN where empty."""
    cells = patients.column(column, setting)
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
    is_text = np.isnan(numbers) & (cells != "")
    wrong = np.flatnonzero(is_text | np.isinf(numbers))
    if len(wrong):
        row = wrong[0]
        where = f"column {column!r} ({setting})"
        raise not_a_number(Path(patients.source), patients.places[row], where, str(cells[row]))
    return numbers


def _check_any_known(
    patients: PatientTable, known: Bool[np.ndarray, " n"], column: str, setting: str
):
    if not known.any():
        raise UserError(
            f"{patients.source}: column '{column}' ({setting}) is empty for every patient that was "
            "read; name another one, or leave the setting empty"
        )
