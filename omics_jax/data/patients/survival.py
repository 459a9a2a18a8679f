"""Times to an event from the columns of a table: the time, the event, and how events are coded.

Where a table has the time of death and that of the last visit in two columns, the first that is
known counts. Left out are competing risks, left truncation and intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.patients.cells import check_any_known, known_cells, numbers_of
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.vocabulary import EVENT_CODES, Missing, event_codes
from omics_jax.errors import UserError

# A warning asks whether the codes are exchanged: above this share of events, or above half if the
# events are also later than the censorings.
_MOST_EVENTS, _HALF = 0.95, 0.5
_SHOWN = 5  # cells or codings in a message

# values (n,) and mask (n,)
Target = tuple[np.ndarray, np.ndarray]


class SurvivalColumns(NamedTuple):
    """Where a survival outcome is read from.

    times: columns of times, of which a patient's first known one counts.
    event: the column of the event.
    event_value: the cell that means an event; "" for a known coding.
    """

    times: tuple[str, ...]
    event: str
    event_value: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.times, self.event)

    def __str__(self) -> str:
        value = f"={self.event_value}" if self.event_value else ""
        return f"{'|'.join(self.times)}:{self.event}{value}"


def parse_survival(text: str) -> SurvivalColumns:
    """The columns that TIME:EVENT, TIME|TIME:EVENT or TIME:EVENT=VALUE name.

    A part that is left out becomes "".
    """
    times, _, event = text.partition(":")
    column, _, value = event.partition("=")
    parts = tuple(part.strip() for part in times.split("|"))
    return SurvivalColumns(parts, column.strip(), value.strip())


def survival_target(
    patients: PatientTable,
    name: str,
    columns: SurvivalColumns,
    zero_times: str,
    missing: Missing = Missing(),
) -> tuple[dict[str, Target], Remarks]:
    """The targets name.time and name.event (n,) float32 with one mask, and remarks.

    Times are positive: `zero_times` says whether one that is not is an "error" or masked ("mask").
    """
    setting = f"survival_times.{name}"
    times, remarks = _first_known_times(patients, columns, setting, name, missing)
    events, coding, said = _events(patients, columns, setting, name, missing)
    remarks += said
    time_column = "|".join(columns.times)
    known = ~np.isnan(times) & ~np.isnan(events)
    check_any_known(patients, known, f"{time_column}' and '{columns.event}", setting)
    n_half_known = int((np.isnan(times) != np.isnan(events)).sum())
    if n_half_known:
        remarks += note(
            f"{name}: {n_half_known:,} patients with only one of {time_column} and {columns.event} "
            "are masked."
        )
    is_zero = known & (times <= 0)
    if is_zero.any():
        remarks += _masked_zeros(patients, name, time_column, is_zero, known, zero_times)
        known &= ~is_zero
    times = np.where(known, times, 0).astype(np.float32)
    events = np.where(known, events, 0).astype(np.float32)
    remarks += note(_describe(name, times[known], events[known], time_column, columns, coding))
    remarks += warning(*flipped_warning(name, columns.event, times[known], events[known]))
    return {f"{name}.time": (times, known), f"{name}.event": (events, known)}, remarks


def _first_known_times(
    patients: PatientTable, columns: SurvivalColumns, setting: str, name: str, missing: Missing
) -> tuple[Float64[np.ndarray, " n"], Remarks]:
    """(n,) of each patient the first known time, and a note of how many come from which column."""
    parts = [numbers_of(patients, column, setting, name, missing) for column in columns.times]
    remarks = sum((said for _, said in parts), Remarks())
    times = np.full(len(patients.table), np.nan)
    counts = []
    for column, (numbers, _) in zip(columns.times, parts, strict=True):
        is_new = np.isnan(times) & ~np.isnan(numbers)
        times = np.where(is_new, numbers, times)
        counts.append(f"{column} {is_new.sum():,}")
    if len(columns.times) > 1:
        remarks += note(f"{name}: times are the first known of these columns: {', '.join(counts)}.")
    return times, remarks


def _events(
    patients: PatientTable, columns: SurvivalColumns, setting: str, name: str, missing: Missing
) -> tuple[Float64[np.ndarray, " n"], tuple[str, str], Remarks]:
    """0, 1 and NaN, the coding that was understood, and remarks."""
    cells, remarks = known_cells(patients, columns.event, setting, name, missing)
    found = event_codes(cells, columns.event_value)
    if found is not None:
        return *found, remarks
    spelled = sorted({str(cell) for cell in cells} - {""})
    shown = ", ".join(map(repr, spelled[:_SHOWN])) + (", ..." if len(spelled) > _SHOWN else "")
    where = f"{patients.source}: column {columns.event!r} ({setting}) holds {shown}"
    if columns.event_value:
        raise UserError(f"{where}, and none of them is {columns.event_value!r}, the named event")
    named = columns._replace(event_value=spelled[-1])
    codings = ", ".join("/".join(coding) for coding in EVENT_CODES[:_SHOWN])
    raise UserError(
        f"{where}, which is no known pair of censored and event ({codings}, ...); say which value "
        f"is the event, all others being censored, as in --config.data.survival_times="
        f"{name}={named}"
    )


def _masked_zeros(
    patients: PatientTable,
    name: str,
    column: str,
    is_zero: np.ndarray,
    known: np.ndarray,
    zero_times: str,
) -> Remarks:
    """A note of times of zero or below, or their refusal."""
    some = count_phrase(int(is_zero.sum()), "time", patients.table.index[is_zero].tolist())
    if zero_times == "error" or is_zero.sum() == known.sum():
        first_place = patients.places[np.flatnonzero(is_zero)[0]]
        raise UserError(
            f"{patients.source}: {some} zero or below in column {column!r} (survival_times.{name}; "
            f"the first at {first_place}); correct or empty them, or set "
            "--config.data.zero_times=mask"
        )
    return note(f"{name}: {some} zero or below and masked.")


def _describe(
    name: str,
    times: Float[np.ndarray, " k"],
    events: Float[np.ndarray, " k"],
    time_column: str,
    columns: SurvivalColumns,
    coding: Sequence[str],
) -> str:
    at_event, at_censoring = times[events == 1], times[events == 0]
    return (
        f"{name} ({time_column}, {columns.event}): known of {len(times):,} patients, "
        f"{int(events.sum()):,} events ({events.mean():.1%}), the others censored; {columns.event} "
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
        return [f"{name} has no event at all; nothing can be learned about it, check {column}."]
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
        f"{share:.1%} of the patients have an event of {name}{why}. Does {column} mark the events, "
        "or the censored? If the censored, exchange its two values."
    ]
