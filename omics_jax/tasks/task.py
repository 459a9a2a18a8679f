"""What is predicted of a patient: a class, a number or a survival time, as the targets of a
`Dataset` tell it.

Left out: the losses and heads of the tasks, and how predictions are scored (`scoring`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Real, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import no_events_error

Observed = tuple[Real[np.ndarray, " _"], Shaped[np.ndarray, " _"]]  # times, events

PARTS = ("time", "event")  # the two targets, X.time and X.event, of a survival task X


@dataclass(frozen=True)
class Task:
    """One outcome. classes: the names of its C classes in the order of their codes, () unless it is
    a classification.

    name: of the target; of a survival task, what stands before ".time" and ".event".
    """

    name: str
    kind: Literal["classification", "regression", "survival"]
    classes: tuple[str, ...] = ()


def tasks_of(dataset: Dataset) -> tuple[Task, ...]:
    """The tasks of a dataset's targets, in their order.

    A target with classes is a classification, X.time and X.event together are the survival task X,
    and any other
    target is a regression.

    Raises:
      UserError: a target and a survival task of one name.
    """
    tasks = tuple(dict.fromkeys(_task_of(dataset, name) for name in dataset.targets))
    for task in tasks:
        if task.kind == "survival" and task.name in dataset.targets:
            raise UserError(
                f"{task.name!r} is a target and, by '{task.name}.time' and '{task.name}.event', a "
                "survival outcome too; rename one of them in the settings"
            )
    return tasks


def known(dataset: Dataset, task: Task) -> Bool[np.ndarray, " n"]:
    """The rows whose outcome is known; of a survival task both the time and the event."""
    return np.logical_and.reduce([dataset.targets[name][1] for name in _targets(task)])


def outcome(dataset: Dataset, task: Task, rows: Any = slice(None)) -> np.ndarray | Observed:
    """Codes (n,), values (n,) in the input's units, or (times (n,), events (n,)); to be read where
    `known` only.

    rows: of the dataset, as numpy indexes them; all of them unless given.
    """
    found = tuple(dataset.targets[name][0][rows] for name in _targets(task))
    return found if task.kind == "survival" else found[0]


def event_times_at(observed: Observed, shares: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
    """Quantiles of the times of events. UserError without an event."""
    times, events = observed
    if not events.any():
        raise no_events_error(len(events))
    return np.quantile(times[events.astype(bool)].astype(np.float64), shares)


def _task_of(dataset: Dataset, name: str) -> Task:
    stem, _, part = name.rpartition(".")
    if part in PARTS and all(f"{stem}.{each}" in dataset.targets for each in PARTS):
        return Task(stem, "survival")
    if name in dataset.classes:
        return Task(name, "classification", tuple(dataset.classes[name]))
    return Task(name, "regression")


def _targets(task: Task) -> tuple[str, ...]:
    return (
        tuple(f"{task.name}.{part}" for part in PARTS) if task.kind == "survival" else (task.name,)
    )
