"""Folds of rows with outcomes, and a replicate per fold with the constants fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.study import folds
from omics_jax.tasks.labels import (
    check_class_sizes,
    check_labels,
    check_outcomes_vary,
    fit_to_outcomes,
    with_bins,
)
from omics_jax.tasks.settings import check_named_tasks
from omics_jax.tasks.task import Task, strata_by_task, tasks_of
from omics_jax.training.calibration import CALIBRATION, with_calibration_rows
from omics_jax.training.stage import Replicate


def deal_tasks(config: Any, dataset: Dataset) -> tuple[tuple[Task, ...], list[Split]]:
    """All tasks of the data, with their numbers of bins, and folds stratified by `strata_by_task`.

    Raises:
      UserError: nothing to predict, a setting that names no outcome of the data, a class with fewer
        members than folds.
    """
    tasks = tasks_of(dataset)
    if not tasks:
        raise UserError("the data hold nothing to predict; name columns with outcomes")
    check_tasks(config, dataset, tasks)
    splits = folds.deal_folds(config, dataset, strata_by_task(dataset, tasks))
    return with_bins(config, tasks, [split.train for split in splits]), splits


def check_tasks(
    config: Any,
    dataset: Dataset,
    tasks: Sequence[Task],
    tables: Sequence[str] = (),
    modalities: Sequence[str] = (),
) -> None:
    """Refuses outcomes that cannot be trained, whatever the folds are.

    tables, modalities: names that no outcome may have.

    Raises:
      UserError: such a name, a setting that names no outcome of the data, an outcome that does not
        vary, a class with fewer members than folds.
    """
    for task in tasks:
        if task.name in (*tables, *modalities):
            other = "a modality" if task.name in modalities else "a table of every run"
            raise UserError(
                f"{task.name!r} is the name of an outcome and of {other}; rename the outcome"
            )
    check_named_tasks(config, tasks)
    check_outcomes_vary(dataset, tasks)
    mend = (
        f"make such small classes unknown (--config.data.smallest_class={config.folds}) or leave "
        "their patients out (data.only)"
    )
    check_class_sizes(dataset, tasks, config.folds, mend)


def task_replicates(
    config: Any,
    dataset: Dataset,
    tasks: Sequence[Task],
    splits: Sequence[Split],
    slot: str,
    constants_of: Callable[[Split], Mapping[str, np.ndarray]],
) -> list[Replicate]:
    """A replicate per split, with the constants of its encoder and of its tasks.

    Where a stage calibrates, the validation rows are also its calibration rows.

    constants_of: split -> the encoder's constants, fitted to the split's training rows.

    Raises:
      UserError: a fold in which a task cannot be trained or scored.
    """

    def all_constants(split: Split) -> dict[str, np.ndarray]:
        check_labels(dataset, tasks, split)
        place = f"fold {split.fold}, repeat {split.repeat}"
        fitted = fit_to_outcomes(config, dataset, tasks, split.train, place)
        return {**constants_of(split), **fitted}

    replicates = folds.replicates(config, splits, slot, all_constants)
    if CALIBRATION in config.training.stages and tasks:
        return with_calibration_rows(replicates, slot)
    return replicates
