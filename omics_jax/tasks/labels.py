"""Constants fitted to the outcomes of training rows, and checks of the outcomes of every fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.patients.small_classes import class_sizes
from omics_jax.data.preprocessing.far_values import clip_far
from omics_jax.errors import UserError
from omics_jax.nn import mtlr
from omics_jax.tasks.task import Observed, Task, event_times_at, known_rows, outcome

QUARTILES = np.array([0.25, 0.5, 0.75])
Rows = Int[np.ndarray, " _"]


def known_outcomes(dataset: Dataset, task: Task, rows: Rows) -> np.ndarray | Observed:
    """The known outcomes among these rows; times and events of a survival task."""
    return outcome(dataset, task, rows[known_rows(dataset, task)[rows]])


def fit_to_outcomes(
    config: Any, dataset: Dataset, tasks: Sequence[Task], train: Rows, name: str
) -> dict[str, np.ndarray]:
    """The constants of a fold's tasks.

    These are T_mean, T_sd, T_low and T_high () of every number T, T_edges (K + 1,) of every
    survival task T, and weight_T () of every task under the balancing "inverse_size".

    A fold has as many bins as its own training rows suffice for, see `_number_of_bins`; up to K,
    the first edges repeat 0 (`mtlr.pad_edges`).

    config: its section `survival` names the kind of grid and, unless it is 0, the number of bins;
      `balancing` names the weights of tasks.
    name: of the fold, for messages.
    """
    constants = _scales(dataset, tasks, train)
    for task in tasks:
        if task.kind == "survival":
            constants[f"{task.name}_edges"] = _time_grid(config, dataset, task, train, name)
    if config.balancing.name == "inverse_size":
        constants |= _inverse_sizes(dataset, tasks, train)
    return constants


def _inverse_sizes(dataset: Dataset, tasks: Sequence[Task], train: Rows) -> dict[str, np.ndarray]:
    """weight_T = (1 / n_T) / mean_j (1 / n_j), n_T the training rows with a known outcome T."""
    sizes = np.array([known_rows(dataset, task)[train].sum() for task in tasks])
    weights = (1 / sizes) / np.mean(1 / sizes)
    return {
        f"weight_{task.name}": np.array(weight, np.float32)
        for task, weight in zip(tasks, weights, strict=True)
    }


def _scales(dataset: Dataset, tasks: Sequence[Task], train: Rows) -> dict[str, np.ndarray]:
    """Mean, s.d. and range of every number that is predicted; far values are clipped before."""
    scales = {}
    for task in tasks:
        if task.kind == "regression":
            values = known_outcomes(dataset, task, train).astype(np.float64)
            values = clip_far(values[:, None], np.ones((len(values), 1), bool))[:, 0]
            scales[f"{task.name}_mean"] = np.array(values.mean(), np.float32)
            scales[f"{task.name}_sd"] = np.array(values.std() or 1, np.float32)
            scales[f"{task.name}_low"] = np.array(values.min(), np.float32)
            scales[f"{task.name}_high"] = np.array(values.max(), np.float32)
    return scales


def _time_grid(
    config: Any, dataset: Dataset, task: Task, train: Rows, name: str
) -> Float[np.ndarray, " edges"]:
    """The K + 1 edges of a survival task's bins in a fold."""
    times, events = known_outcomes(dataset, task, train)
    bins = config.survival.bins or min(task.bins, _number_of_bins(times, events))
    try:
        edges = mtlr.time_grid(times, events, bins, config.survival.grid)
    except UserError as error:
        raise UserError(
            f"{task.name}, {name}: {error} (config.survival.bins; 0 chooses the number)"
        ) from None
    return mtlr.pad_edges(edges, task.bins)


def with_bins(
    config: Any, tasks: Sequence[Task], training_rows: Sequence[Rows]
) -> tuple[Task, ...]:
    """The tasks, with the number of outputs of survival tasks, which is the same in all folds.

    It is `config.survival.bins`, or if that is 0 the most bins that any fold could have if every
    training row had an event. It depends on no outcome, because the training rows of one fold are
    test rows of another.
    """
    most = max(2, *(math.isqrt(len(rows)) for rows in training_rows))
    bins = config.survival.bins or most
    return tuple(replace(t, bins=bins) if t.kind == "survival" else t for t in tasks)


def _number_of_bins(times: Real[np.ndarray, " n"], events: Shaped[np.ndarray, " n"]) -> int:
    """The square root of the number of training events of a fold.

    At least 2, but no more than there are distinct event times, and at least 1.
    """
    distinct = len(np.unique(times[(events == 1) & (times > 0)]))
    return max(1, min(max(2, math.isqrt(int(events.sum()))), distinct))


def curve_times(
    config: Any, dataset: Dataset, tasks: Sequence[Task], rows: Rows
) -> Mapping[str, tuple[float, ...]]:
    """Survival task -> the times at which its curves are stored and calibration is drawn.

    These are `config.survival.times` or the quartiles of the events among `rows`, the patients who
    are tested: curves are only read there, and nothing is fitted to these times.
    """
    times = {}
    for task in tasks:
        if task.kind == "survival":
            observed = known_outcomes(dataset, task, rows)
            configured = tuple(map(float, config.survival.times))
            times[task.name] = configured or tuple(event_times_at(observed, QUARTILES).tolist())
    return times


def check_outcomes_vary(dataset: Dataset, tasks: Sequence[Task]) -> None:
    """Refuses an outcome that is the same in every patient: one class, one number, no event."""
    for task in tasks:
        observed = known_outcomes(dataset, task, np.arange(len(dataset)))
        if task.kind == "survival":
            if not observed[1].any():
                raise UserError(
                    f"{task.name} has no event in any of the {len(observed[1]):,} patients; check "
                    "which value of its column is the event, or leave it out"
                )
            continue
        distinct = np.unique(observed)
        if len(distinct) == 1:
            is_class = task.kind == "classification"
            kind = "class" if is_class else "value"
            name = task.classes[int(distinct[0])] if is_class else f"{distinct[0]:g}"
            raise UserError(
                f"{task.name} has one {kind}, {name}, in all {len(observed):,} patients in whom it "
                "is known; check its column and the rows that were left out, or leave it out"
            )


def check_class_sizes(
    dataset: Dataset, tasks: Sequence[Task], folds: int, mend: str = "leave out such small classes"
) -> None:
    """Refuses a class with fewer members than folds; rows of one group are one member.

    mend: what the user can do, besides fewer folds.
    """
    for task in tasks:
        if task.kind != "classification":
            continue
        codes = outcome(dataset, task).astype(int)
        known = known_rows(dataset, task)
        counts = class_sizes(codes, known, dataset.groups, len(task.classes))
        for name, count in zip(task.classes, counts, strict=True):
            if count < folds:
                raise UserError(
                    f"the {task.name} {name!r} has {count} of the patients, fewer than the {folds} "
                    f"folds; {mend}, or use fewer folds"
                )


def check_labels(dataset: Dataset, tasks: Sequence[Task], split: Split) -> None:
    """Refuses a fold in which a task cannot be trained or scored."""
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
        needed, is_enough = "two classes", len(np.unique(observed)) >= 2
    elif task.kind == "regression":
        needed, is_enough = "two values", count >= 2
    else:
        needed, is_enough = "one event", bool(observed[1].any())
    if not is_enough:
        raise UserError(
            f"fold {split.fold}, repeat {split.repeat}: {count:,} of {len(rows):,} {part} rows "
            f"have a known {task.name}, and these do not include {needed}; check its column, use "
            "fewer folds, or leave the task out"
        )


def _check_classes(dataset: Dataset, task: Task, split: Split) -> None:
    codes = known_outcomes(dataset, task, split.train).astype(int)
    missing = np.flatnonzero(np.bincount(codes, minlength=len(task.classes)) == 0)
    if len(missing):
        raise UserError(
            f"fold {split.fold}, repeat {split.repeat}: none of its training rows is of the "
            f"{task.name} {task.classes[missing[0]]!r}; leave out classes with so few patients, or "
            "use fewer folds"
        )
