"""Targets of patients, made of the columns of their tables: classes, numbers and times to an event.

A class is a code into sorted names, a number is as the file has it, a time to event comes with its
0 or 1; cells with a word for unknown are unknown. Left out are competing risks, left truncation and
intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from omics_jax.data.patients.cells import check_any_known, known_cells, numbers_of
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.patients.survival import SurvivalColumns, survival_target
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

# More classes than this are suspected to be numbers or names, and so many are shown.
_MANY_CLASSES, _SHOWN_CLASSES = 10, 6

# values (n,) and mask (n,)
Target = tuple[np.ndarray, np.ndarray]


class TargetSpec(NamedTuple):
    """Targets by name: the column of each, and the columns of a survival target."""

    classes: dict[str, str]
    numbers: dict[str, str]
    survival: dict[str, SurvivalColumns]

    @property
    def names(self) -> list[str]:
        """Of all targets."""
        return [*self.classes, *self.numbers, *self.survival]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that the targets are read from."""
        survival = [name for columns in self.survival.values() for name in columns.names]
        return (*self.classes.values(), *self.numbers.values(), *survival)


@dataclass(frozen=True)
class TargetColumns:
    """Which columns of which tables are targets.

    Attributes:
      tables: all that was read of the patients.
      classes, numbers: name -> (table, column).
      survival: name -> (table, its columns).
      missing: the words and numbers for unknown.
    """

    tables: list[PatientTable]
    classes: dict[str, tuple[PatientTable, str]]
    numbers: dict[str, tuple[PatientTable, str]]
    survival: dict[str, tuple[PatientTable, SurvivalColumns]]
    missing: Missing = Missing()

    def table(self, ids: np.ndarray) -> pd.DataFrame:
        """The columns of all tables for these patients; of equal names the first table's."""
        columns: dict[str, np.ndarray] = {}
        for part in self.tables:
            for name, cells in part.reindex(ids).table.items():
                columns.setdefault(str(name), cells.to_numpy(dtype=object))
        return pd.DataFrame(columns, index=ids)

    def used_as(self) -> dict[tuple[str, str], str]:
        """(file, column) -> the targets that are read from it, in words."""
        used: dict[tuple[str, str], list[str]] = {}
        for name, (table, column) in {**self.classes, **self.numbers}.items():
            used.setdefault((table.source, column), []).append(name)
        for name, (table, columns) in self.survival.items():
            for column in columns.names:
                used.setdefault((table.source, column), []).append(name)
        return {key: f"outcome {', '.join(names)}" for key, names in used.items()}

    def targets(
        self, ids: np.ndarray, zero_times: str
    ) -> tuple[dict[str, Target], dict[str, tuple[str, ...]], Remarks]:
        """Targets of these patients, names of the classes, and remarks.

        Raises:
          UserError: two targets of one name, or a column that does not hold what it should.
        """
        named_targets: list[tuple[str, Target]] = []
        class_names: dict[str, tuple[str, ...]] = {}
        remarks = Remarks()
        for name, (table, column) in self.classes.items():
            target, class_names[name], said = class_target(
                table.reindex(ids), name, column, self.missing
            )
            named_targets.append((name, target))
            remarks += said
        for name, (table, column) in self.numbers.items():
            target, said = number_target(table.reindex(ids), name, column, self.missing)
            named_targets.append((name, target))
            remarks += said
        for name, (table, columns) in self.survival.items():
            parts, said = survival_target(
                table.reindex(ids), name, columns, zero_times, self.missing
            )
            named_targets += parts.items()
            remarks += said
        _check_names_differ([name for name, _ in named_targets])
        return dict(named_targets), class_names, remarks


def _check_names_differ(names: Sequence[str]):
    repeated = sorted(name for name in set(names) if names.count(name) > 1)
    if repeated:
        raise UserError(
            f"two targets are called {repeated[0]!r}; rename one in classes, numbers or "
            "survival_times"
        )


def find_target_columns(
    spec: TargetSpec,
    clinical: PatientTable | None,
    survival: PatientTable | None,
    missing: Missing = Missing(),
) -> TargetColumns:
    """The targets in a clinical table and in one of survival.

    Times to an event are looked for in the table of survival, or without one in the clinical table;
    classes and numbers in the clinical table, or without one in that of survival where it has them.
    """
    tables = [table for table in (clinical, survival) if table is not None]
    classes, numbers, survival_times = {}, {}, {}
    if clinical is not None:
        classes = {name: (clinical, column) for name, column in spec.classes.items()}
        numbers = {name: (clinical, column) for name, column in spec.numbers.items()}
    elif survival is not None:
        has = set(survival.table.columns)
        classes = {name: (survival, c) for name, c in spec.classes.items() if c in has}
        numbers = {name: (survival, c) for name, c in spec.numbers.items() if c in has}
    table_of_times = clinical if survival is None else survival
    if table_of_times is not None:
        survival_times = {
            name: (table_of_times, columns) for name, columns in spec.survival.items()
        }
    return TargetColumns(tables, classes, numbers, survival_times, missing)


# --- classes and numbers --------------------------------------------------------------------------


def class_target(
    patients: PatientTable, name: str, column: str, missing: Missing = Missing()
) -> tuple[Target, tuple[str, ...], Remarks]:
    """Codes (n,) int32 with their mask, the classes' names, and remarks.

    The names are sorted, numbers by size.
    """
    setting = f"classes.{name}"
    cells, said = known_cells(patients, column, setting, name, missing)
    known = (cells != "").astype(bool)
    check_any_known(patients, known, column, setting)
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
    noun = "class" if len(class_names) == 1 else "classes"
    sentence = (
        f"{name} ({column}): {len(class_names)} {noun}, known of {n_known:,} patients: "
        f"{_count_classes(class_names, codes)}."
    )
    return (values, known), class_names, note(sentence) + said


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


def number_target(
    patients: PatientTable, name: str, column: str, missing: Missing = Missing()
) -> tuple[Target, Remarks]:
    """Numbers (n,) float32 with their mask, and remarks."""
    setting = f"numbers.{name}"
    numbers, said = numbers_of(patients, column, setting, name, missing)
    known = ~np.isnan(numbers)
    check_any_known(patients, known, column, setting)
    seen = numbers[known]
    sentence = (
        f"{name} ({column}): known of {len(seen):,} patients, {seen.min():g} to {seen.max():g}, "
        f"median {np.median(seen):g}."
    )
    return (np.where(known, numbers, 0).astype(np.float32), known), note(sentence) + said
