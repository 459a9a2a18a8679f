"""What is fitted to the outcomes of a fold's training rows, and whether these are enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.nn import mtlr
from omics_jax.tasks.task import Observed, Task, event_times_at, known_rows, outcome

QUARTILES = np.array([0.25, 0.5, 0.75])
Rows = Int[np.ndarray, " _"]


def known_outcomes(dataset: Dataset, task: Task, rows: Rows) -> np.ndarray | Observed:
    """The outcomes of the given rows that have one; times and events of a survival task."""
    return outcome(dataset, task, rows[known_rows(dataset, task)[rows]])


def fit_to_outcomes(
    config: Any, dataset: Dataset, tasks: Sequence[Task], train: Rows, name: str
) -> dict[str, np.ndarray]:
    """The constants of a fold's tasks: T_mean and T_sd () of every number T, T_edges (K + 1,) of
    every survival task T.

    config: its section `survival` names the kind of grid. name: of the fold, for messages.
    """
    constants = _scales(dataset, tasks, train)
    for task in tasks:
        if task.kind == "survival":
            constants[f"{task.name}_edges"] = _time_grid(config, dataset, task, train, name)
    return constants


def _scales(dataset: Dataset, tasks: Sequence[Task], train: Rows) -> dict[str, np.ndarray]:
    """Mean and s.d. of every number to predict."""
    scales = {}
    for task in tasks:
        if task.kind == "regression":
            values = known_outcomes(dataset, task, train).astype(np.float64)
            scales[f"{task.name}_mean"] = np.array(values.mean(), np.float32)
            scales[f"{task.name}_sd"] = np.array(values.std() or 1, np.float32)
    return scales


def _time_grid(config: Any, dataset: Dataset, task: Task, train: Rows, name: str) -> np.ndarray:
    """(K + 1,) the edges of a survival task's bins in a fold."""
    times, events = known_outcomes(dataset, task, train)
    try:
        return mtlr.time_grid(times, events, task.bins, config.survival.grid)
    except UserError as error:
        raise UserError(
            f"{task.name}, {name}: {error} (config.survival.bins, 0 to choose)"
        ) from None


def with_bins(
    config: Any, dataset: Dataset, tasks: Sequence[Task], training_rows: Sequence[Rows]
) -> tuple[Task, ...]:
    """The tasks, survival tasks with their number of bins: `config.survival.bins`, or 0 to choose.

    training_rows: of every fold, since all folds share one shape.
    """

    def binned(task: Task) -> Task:
        if task.kind != "survival":
            return task
        return replace(
            task, bins=config.survival.bins or _number_of_bins(dataset, task, training_rows)
        )

    return tuple(map(binned, tasks))


def _number_of_bins(dataset: Dataset, task: Task, training_rows: Sequence[Rows]) -> int:
    """The root of the fewest training events of a fold; 2 or more where there are as many times."""
    observed = [known_outcomes(dataset, task, rows) for rows in training_rows]
    roots = [math.isqrt(int(events.sum())) for _, events in observed]
    distinct = [len(np.unique(times[(events == 1) & (times > 0)])) for times, events in observed]
    return int(max(1, min(max(2, min(roots)), min(distinct))))


def curve_times(
    config: Any, dataset: Dataset, tasks: Sequence[Task]
) -> Mapping[str, tuple[float, ...]]:
    """Survival task -> the times at which its curves are kept and calibration is drawn.

    `config.survival.times`, or the quartiles of all events: curves are read there, nothing is
    fitted to them.
    """
    times = {}
    for task in tasks:
        if task.kind == "survival":
            observed = known_outcomes(dataset, task, np.arange(len(dataset)))
            given = tuple(config.survival.times)
            times[task.name] = given or tuple(event_times_at(observed, QUARTILES).tolist())
    return times


def check_class_sizes(dataset: Dataset, tasks: Sequence[Task], folds: int) -> None:
    """Refuses a class with fewer members than folds."""
    for task in tasks:
        if task.kind != "classification":
            continue
        codes = outcome(dataset, task)[known_rows(dataset, task)].astype(int)
        counts = np.bincount(codes, minlength=len(task.classes))
        for name, count in zip(task.classes, counts, strict=True):
            if count < folds:
                raise UserError(
                    f"the {task.name} {name!r} has {count} of the patients, fewer than the {folds} "
                    "folds; leave classes with so few out (data.only), or use fewer folds"
                )


def check_labels(dataset: Dataset, tasks: Sequence[Task], split: Split) -> None:
    """Refuses a fold in which a task cannot be learned or judged."""
    for task in tasks:
        for part in ("train", "validation", "test"):
            _check_part(dataset, task, split, part)
        if task.kind == "classification":
            _check_classes(dataset, task, split)


def _check_part(dataset: Dataset, task: Task, split: Split, part: str) -> None:
    rows = getattr(split, part)
    observed = known_outcomes(dataset, task, rows)
    count = len(observed[0] if task.kind == "survival" else observed)
    if task.kind == "classification":
        wanted, enough = "two classes", len(np.unique(observed)) >= 2
    elif task.kind == "regression":
        wanted, enough = "two values", count >= 2
    else:
        wanted, enough = "an event", bool(observed[1].any())
    if not enough:
        raise UserError(
            f"fold {split.fold}, repeat {split.repeat}: of {len(rows):,} {part} rows {count:,} "
            f"have a known {task.name}, which are not enough ({wanted} at least); use fewer folds, "
            "or leave the task out"
        )


def _check_classes(dataset: Dataset, task: Task, split: Split) -> None:
    codes = known_outcomes(dataset, task, split.train).astype(int)
    missing = np.flatnonzero(np.bincount(codes, minlength=len(task.classes)) == 0)
    if len(missing):
        raise UserError(
            f"fold {split.fold}, repeat {split.repeat}: its training rows hold nobody of the "
            f"{task.name} {task.classes[missing[0]]!r}; leave classes with so few patients out, or "
            "use fewer folds"
        )
