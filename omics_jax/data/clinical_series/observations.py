"""Single measurements of patients (who, when, what, how much) and the two ways they become arrays.

Bins as in the preprocessing of PhysioNet 2012 for BRITS and CSAI: the mean of each bin, the last
one closed. Left out is any judgement on the values themselves: nothing is clipped, rescaled or
imputed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError

# A quotient such as 0.3 / 0.1 falls just short of the bin it belongs to.
STEP = "step"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Observations:
    """k measurements of n patients.

    Attributes:
      source: the file, for messages.
      ids: (n,) str, unique; groups: (n,) str; sets: (n,) str, the file or folder each patient comes
        from.
      names: (v,) str, the variables found.
      patient, variable: (k,) int, positions in `ids` and `names`.
      hours: (k,) float64 since admission, NaN for a descriptor without a time; values: (k,)
        float64, finite.
      variables, statics: the series and descriptors of this format by default; () = all that were
      found, and none. levels: descriptor -> its codes, for those that are categories.
      notes: sentences on what was understood or left out.
    """

    source: str
    ids: np.ndarray
    groups: np.ndarray
    sets: np.ndarray
    names: np.ndarray
    patient: np.ndarray
    variable: np.ndarray
    hours: np.ndarray
    values: np.ndarray
    variables: tuple[str, ...] = ()
    statics: tuple[str, ...] = ()
    levels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def where(self, rows: np.ndarray) -> Observations:
        """The measurements where `rows` (k,) holds; every patient stays."""
        return replace(
            self,
            patient=self.patient[rows],
            variable=self.variable[rows],
            hours=self.hours[rows],
            values=self.values[rows],
        )

    def of(self, names: Sequence[str]) -> tuple[Observations, np.ndarray]:
        """The measurements of the named variables, and (k',) the position in `names` of each."""
        place = {name: j for j, name in enumerate(names)}
        columns = np.array([place.get(str(name), -1) for name in self.names], dtype=np.int64)[
            self.variable
        ]
        chosen = columns >= 0
        return self.where(chosen), columns[chosen]


def check_values(path, values: np.ndarray, place: Callable[[int], str]):
    """Every value (k,) that is not NaN is finite in float32; `place` says where the i-th stands."""
    wrong = np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)
    if len(wrong):
        raise UserError(
            f"{path}: {place(wrong[0])}: the value {values[wrong[0]]} is infinite; write a finite "
            "number, or NA where nothing was measured"
        )


def step_names(hours: np.ndarray) -> np.ndarray:
    """(T,) names of the steps of a series: their hours "0", "0.5", ..., or "step 0", ... where rows
    differ in them.

    hours: (T,), of all rows, or (n, T).
    """
    if hours.ndim == 2 and (hours != hours[0]).any():
        return np.array([f"{STEP} {k}" for k in range(hours.shape[1])])
    of_all = np.asarray(hours if hours.ndim == 1 else hours[0], np.float32)
    return np.array([np.format_float_positional(hour, trim="-") for hour in of_all])


def binned(
    observations: Observations, names: Sequence[str], n_steps: int, bin_hours: float
) -> tuple[Modality, tuple[str, ...]]:
    """The mean of each patient's values per bin, and notes on what fell outside or together.

    Bin t holds bin_hours·t <= hours < bin_hours·(t + 1); the last one also holds its end,
    bin_hours·n_steps.

    Returns:
      a modality of values (n, n_steps, len(names)).
    """
    window = n_steps * bin_hours
    wanted, column = observations.of(names)
    inside = wanted.hours <= window + _ROUNDING
    outside = int(np.sum(wanted.hours > window + _ROUNDING))
    wanted, column = wanted.where(inside), column[inside]
    step = np.minimum(np.floor(wanted.hours / bin_hours + _ROUNDING).astype(np.int64), n_steps - 1)
    cell = (wanted.patient.astype(np.int64) * n_steps + step) * len(names) + column
    cells, group, counts = np.unique(cell, return_inverse=True, return_counts=True)

    shape = (len(observations.ids), n_steps, len(names))
    values, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
    values.reshape(-1)[cells] = np.bincount(group, wanted.values, len(cells)) / counts
    mask.reshape(-1)[cells] = True
    together = pd.DataFrame({"patient": wanted.patient, "column": column, "hours": wanted.hours})
    repeated = int(together.duplicated().sum())
    notes = []
    if outside:
        notes.append(f"Values after the window of {window:g} hours, left out: {outside:,}.")
    if repeated:
        notes.append(
            "Values with the patient, time and variable of another, averaged with it: "
            f"{repeated:,}."
        )
    return Modality(values, mask, np.asarray(names, dtype=str)), tuple(notes)


def first_values(observations: Observations, names: Sequence[str], window: float) -> Modality:
    """The first known value of each descriptor within the window; the smallest where several share
    the first time.

    Returns:
      a modality of values (n, S). A descriptor with levels becomes one column per level,
      "ICUType=1" and so on, 1 where it is that level; all other descriptors are one column.
    """
    wanted, column = observations.of(names)
    inside = ~(wanted.hours > window + _ROUNDING)
    wanted, column = wanted.where(inside), column[inside]
    order = np.lexsort((wanted.values, np.nan_to_num(wanted.hours, nan=-1.0)))
    values = np.full((len(observations.ids), len(names)), np.nan)
    # The last assignment to a cell stands: the earliest value is written last.
    last_first = order[::-1]
    values[wanted.patient[last_first], column[last_first]] = wanted.values[last_first]

    columns, features = [], []
    for j, name in enumerate(names):
        levels = observations.levels.get(name, ())
        if levels:
            _check_levels(observations, name, values[:, j], levels)
        columns += [
            np.where(np.isnan(values[:, j]), np.nan, values[:, j] == v) for v in levels
        ] or [values[:, j]]
        features += [f"{name}={v}" for v in levels] or [name]
    stacked = np.stack(columns, axis=1).astype(np.float32)
    return Modality(np.nan_to_num(stacked), ~np.isnan(stacked), np.asarray(features, dtype=str))


def _check_levels(observations: Observations, name: str, values: np.ndarray, levels: Sequence[int]):
    wrong = np.flatnonzero(~np.isnan(values) & ~np.isin(values, levels))
    if len(wrong):
        raise UserError(
            f"{observations.source}: {name} of {observations.ids[wrong[0]]} is "
            f"{values[wrong[0]]:g}; correct it to one of {', '.join(map(str, levels))}"
        )
