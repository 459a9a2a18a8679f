"""Tasks: the outcomes of a `Dataset` that are predicted, classes, numbers or survival times.

Left out: the losses and heads of the tasks (`losses`, `heads`), and how predictions are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Real, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import no_events_error
from omics_jax.study.doubts import PROBABILITY, UNBOUNDED, Span, observed_range
from omics_jax.study.folds import strata_of

Observed = tuple[Real[np.ndarray, " _"], Shaped[np.ndarray, " _"]]  # times, events

KINDS = ("classification", "regression", "survival")
PARTS = ("time", "event")  # the two targets, X.time and X.event, of a survival task X


@dataclass(frozen=True)
class Task:
    """One outcome.

    name: of the target, or of a survival task's two targets without ".time" and ".event".
    classes: of a classification, the names of its C classes in the order of their codes.
    bins: of a survival task with a head, the number K of bins in its time grid.
    """

    name: str
    kind: Literal["classification", "regression", "survival"]
    classes: tuple[str, ...] = ()
    bins: int = 0

    @property
    def outputs(self) -> int:
        """The number of outputs of its head: C logits, one number, or K survival scores."""
        sizes = {"classification": len(self.classes), "regression": 1, "survival": self.bins}
        return sizes[self.kind]

    @property
    def fields(self) -> tuple[str, ...]:
        """The parts of an outcome: y, and for survival also the event e."""
        return ("y", "e") if self.kind == "survival" else ("y",)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of its targets in a `Dataset`, one per field."""
        if self.kind == "survival":
            return tuple(f"{self.name}.{part}" for part in PARTS)
        return (self.name,)


def tasks_of(dataset: Dataset) -> tuple[Task, ...]:
    """The tasks of a dataset's targets, in their order.

    A target with classes is a classification, X.time and X.event together are the survival task X,
    and any other target is a regression.

    Raises:
      UserError: a target and a survival task with the same name.
    """
    tasks = tuple(dict.fromkeys(_task_of(dataset, name) for name in dataset.targets))
    for task in tasks:
        if task.kind == "survival" and task.name in dataset.targets:
            raise UserError(
                f"{task.name!r} is the name of a target and of the survival outcome of "
                f"'{task.name}.time' and '{task.name}.event'; rename one of them in the settings"
            )
    return tasks


def _task_of(dataset: Dataset, name: str) -> Task:
    stem, _, part = name.rpartition(".")
    if part in PARTS and all(f"{stem}.{each}" in dataset.targets for each in PARTS):
        return Task(stem, "survival")
    if name in dataset.classes:
        return Task(name, "classification", tuple(dataset.classes[name]))
    return Task(name, "regression")


def binary_task(dataset: Dataset) -> Task:
    """The first target of a dataset, whose values are 0 and 1, as a classification."""
    return Task(next(iter(dataset.targets)), "classification", ("0", "1"))


def known_rows(dataset: Dataset, task: Task) -> Bool[np.ndarray, " n"]:
    """Whether each row's outcome is known; of a survival task both the time and the event."""
    return np.logical_and.reduce([dataset.targets[name][1] for name in task.targets])


def outcome(dataset: Dataset, task: Task, rows: Any = slice(None)) -> np.ndarray | Observed:
    """Codes (n,), values (n,) in the input's units, or (times (n,), events (n,)).

    The values of rows that are not among `known_rows` are arbitrary.

    rows: a numpy index of the dataset's rows; all by default.
    """
    values = tuple(dataset.targets[name][0][rows] for name in task.targets)
    return values if task.kind == "survival" else values[0]


def class_names(dataset: Dataset) -> Shaped[np.ndarray, " n"] | None:
    """The class of every row by the first outcome with classes, "" where it is unknown.

    None where the data have no outcome with classes.
    """
    task = next((task for task in tasks_of(dataset) if task.kind == "classification"), None)
    return None if task is None else named(task, outcome(dataset, task), known_rows(dataset, task))


def named(
    task: Task, codes: Real[np.ndarray, " n"], is_known: Bool[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """The names of a classification's codes, "" where they are not known."""
    places = np.where(is_known, codes, len(task.classes)).astype(int)
    return np.array([*task.classes, ""], dtype=str)[places]


def event_times_at(observed: Observed, shares: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
    """Quantiles of the event times, of rows whose event was observed.

    Raises:
      UserError: no event.
    """
    times, events = observed
    if not events.any():
        raise no_events_error(len(events))
    return np.quantile(times[events.astype(bool)].astype(np.float64), shares)


def strata_by_task(dataset: Dataset, tasks: Sequence[Task]) -> Real[np.ndarray, " n"] | None:
    """Strata for folds: the first classes, or without any, the events of the first survival task.

    None where there are only numbers.
    """
    order = ("classification", "survival", "regression")
    first = min(tasks, key=lambda task: order.index(task.kind), default=None)
    if first is None or first.kind == "regression":
        return None
    values = outcome(dataset, first)
    codes = values[1] if first.kind == "survival" else values
    return strata_of(codes, known_rows(dataset, first))


def outcome_arrays(dataset: Dataset, tasks: Sequence[Task]) -> dict[str, np.ndarray]:
    """The outcomes as arrays for the device.

    For every task T these are y_T (and e_T) (n,) float32, 0 where unknown, and k_T (n,) bool,
    whether the outcome is known. It is unknown in every row of data that lack the target.
    """
    arrays = {}
    for task in tasks:
        in_data = all(name in dataset.targets for name in task.targets)
        known = known_rows(dataset, task) if in_data else np.zeros(len(dataset), bool)
        for field, name in zip(task.fields, task.targets, strict=True):
            values = dataset.targets[name][0] if in_data else np.zeros(len(dataset))
            arrays[f"{field}_{task.name}"] = np.where(known, values, 0).astype(np.float32)
        arrays[f"k_{task.name}"] = known
    return arrays


def outcome_ranges(tasks: Sequence[Task], dataset: Dataset) -> dict[str, Span]:
    """Field of a prediction (see `prediction.FIELDS`) -> the range of what it predicts."""
    ranges = {}
    for task in tasks:
        if task.kind == "classification":
            ranges[f"{task.name}_probability"] = PROBABILITY
        elif task.kind == "regression":
            values, known = dataset.targets[task.name]
            ranges[f"{task.name}_value"] = observed_range(values, known)
        else:
            ranges[f"{task.name}_risk"] = UNBOUNDED
    return ranges
