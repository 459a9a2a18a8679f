"""The people of the studies, the same for all arms: outcomes, folds, covariates, knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.knowledge.layers import Knowledge
from omics_jax.data.vocabulary import parse_missing
from omics_jax.errors import UserError
from omics_jax.study.covariates import Levels, covariate_values, levels_of
from omics_jax.study.folds import deal_folds
from omics_jax.systems.miracle.reading import knowledge_of
from omics_jax.tasks.labels import check_class_sizes, check_outcomes_vary, with_bins
from omics_jax.tasks.settings import check_named_tasks
from omics_jax.tasks.task import Task, known_rows, outcome, tasks_of

# Names of tables, columns and constants of every run; an outcome must have another.
RESERVED = (
    "mean",
    "sites",
    "hidden",
    "latent",
    "activity",
    "id",
    "c",
    "x",
    "y",
    "model",
    "arm",
    "group",
    "fold",
)


@dataclass(frozen=True)
class Cohort:
    """The people of an experiment.

    tasks: the outcomes that are predicted.
    splits: folds of all people.
    levels: covariate -> its words, see `covariates`.
    covariates: (n, k), nan where unknown.
    """

    dataset: Dataset
    tasks: tuple[Task, ...]
    splits: Sequence[Split]
    levels: Levels
    covariates: Float[np.ndarray, "n k"]
    knowledge: Knowledge


def cohort_of(config: Any, dataset: Dataset) -> Cohort:
    """The people and their folds, in which every disease has its share of cases and controls.

    Raises:
      UserError: nothing to predict, an outcome that cannot be used, or a covariate that the table
        lacks.
    """
    tasks = tasks_of(dataset)
    if not tasks:
        raise UserError(
            "the data hold nothing to predict; name diseases with --config.data.diseases, such as "
            "RA=disease_state"
        )
    for task in tasks:
        if task.name in RESERVED:
            raise UserError(
                f"{task.name!r} is the name of an outcome, and a name that every run uses itself; "
                "rename the outcome"
            )
    check_named_tasks(config, tasks)
    check_outcomes_vary(dataset, tasks)
    check_class_sizes(dataset, tasks, config.folds, "leave out such small classes (data.only)")
    splits = deal_folds(config, dataset, strata_of_diseases(dataset, tasks))
    missing = parse_missing(config.data.missing_values)
    levels = levels_of(dataset, (*config.adjust.remove, *config.adjust.inputs), missing)
    return Cohort(
        dataset=dataset,
        tasks=with_bins(config, tasks, [split.train for split in splits]),
        splits=splits,
        levels=levels,
        covariates=covariate_values(dataset, levels, missing),
        knowledge=knowledge_of(config, dataset),
    )


def strata_of_diseases(dataset: Dataset, tasks: Sequence[Task]) -> Int[np.ndarray, " n"]:
    """A code per combination of the classes of all diseases, unknown being one of them."""
    codes = np.zeros(len(dataset), int)
    for task in tasks:
        if task.kind == "classification":
            known = known_rows(dataset, task)
            own = np.where(known, outcome(dataset, task).astype(int) + 1, 0)
            # Numbered anew for each task: with many of them the codes would overflow.
            codes = np.unique(codes * (len(task.classes) + 1) + own, return_inverse=True)[1]
    return codes


def people_of(cohort: Cohort, tasks: Sequence[Task]) -> Bool[np.ndarray, " n"]:
    """(n,) whether an outcome of any of these tasks is known."""
    return np.any([known_rows(cohort.dataset, task) for task in tasks], axis=0)
