"""What is fitted to the labels of a fold's training rows, and whether there are enough of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.nn import mtlr
from omics_jax.systems.multiomics.patients import SLOT
from omics_jax.tasks import scoring
from omics_jax.tasks.task import Task, event_times_at, known, outcome
from omics_jax.training.stage import Replicate


def labelled(dataset: Dataset, task: Task, rows: np.ndarray):
    """The outcome of the given rows, of those with one; times and events of a survival task."""
    chosen = rows[known(dataset, task)[rows]]
    found = outcome(dataset, task)
    return tuple(part[chosen] for part in found) if task.kind == "survival" else found[chosen]


def scales(dataset: Dataset, tasks, train: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and s.d. of every number to predict."""
    out = {}
    for task in tasks:
        if task.kind == "regression":
            values = labelled(dataset, task, train).astype(np.float64)
            out[f"{task.name}_mean"] = np.array(values.mean(), np.float32)
            out[f"{task.name}_sd"] = np.array(values.std() or 1, np.float32)
    return out


def survival_bins(dataset: Dataset, task: Task, replicates: Sequence[Replicate]) -> int:
    """As many bins as the root of the fewest training events of a fold, 2 or more where these have
    as many times.
    """
    found = [labelled(dataset, task, r.rows[SLOT]) for r in replicates]
    roots = [math.isqrt(int(events.sum())) for _, events in found]
    distinct = [len(np.unique(times[(events == 1) & (times > 0)])) for times, events in found]
    return max(1, min(max(2, min(roots)), min(distinct)))


def survival_grid(
    config, dataset: Dataset, task: Task, replicate: Replicate, bins: int
) -> np.ndarray:
    """The edges of a survival task's bins in a fold."""
    try:
        return mtlr.time_grid(
            *labelled(dataset, task, replicate.rows[SLOT]), bins, config.survival.grid
        )
    except UserError as error:
        raise UserError(
            f"{task.name}, {replicate.name}: {error} (config.survival.bins, 0 to choose)"
        ) from None


def event_quartiles(dataset: Dataset, task: Task) -> tuple[float, ...]:
    """When a quarter, a half and three quarters of all events had happened: where curves are looked
    at, not fitted.
    """
    found = labelled(dataset, task, np.arange(len(dataset)))
    return tuple(event_times_at(found, scoring.QUARTILES).tolist())


def check_members(dataset: Dataset, task: Task, folds: int) -> None:
    """Refuses a class with fewer patients than folds."""
    if task.kind != "classification":
        return
    codes = outcome(dataset, task)[known(dataset, task)].astype(int)
    for name, count in zip(
        task.classes, np.bincount(codes, minlength=len(task.classes)), strict=True
    ):
        if count < folds:
            raise UserError(
                f"the {task.name} {name!r} has {count} of the patients, fewer than the {folds} "
                "folds; leave classes with so few out (data.only), or use fewer folds"
            )


def check_labels(dataset: Dataset, tasks, split: Split) -> None:
    """Refuses a fold in which a task cannot be learned or judged."""
    for task in tasks:
        for part in ("train", "validation", "test"):
            rows = getattr(split, part)
            found = labelled(dataset, task, rows)
            count = len(found[0] if task.kind == "survival" else found)
            wanted, there = {
                "classification": ("two classes", len(np.unique(found)) >= 2 if count else False),
                "regression": ("two values", count >= 2),
                "survival": (
                    "an event",
                    bool(found[1].any()) if task.kind == "survival" else False,
                ),
            }[task.kind]
            if not there:
                raise UserError(
                    f"fold {split.fold}, repeat {split.repeat}: of {len(rows):,} {part} rows "
                    f"{count:,} have a known {task.name}, which are not enough ({wanted} at "
                    "least); use fewer folds, or leave the task out"
                )
        if task.kind == "classification":
            _check_classes(dataset, task, split)


def _check_classes(dataset: Dataset, task: Task, split: Split) -> None:
    codes = labelled(dataset, task, split.train).astype(int)
    missing = np.flatnonzero(np.bincount(codes, minlength=len(task.classes)) == 0)
    if len(missing):
        raise UserError(
            f"fold {split.fold}, repeat {split.repeat}: its training rows hold nobody of the "
            f"{task.name} {task.classes[missing[0]]!r}; leave classes with so few patients out, or "
            "use fewer folds"
        )
