"""The study's patients, the same for all arms: outcomes, folds, and the sources of imputation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.errors import UserError
from omics_jax.settings.words import parse_pairs, split_list
from omics_jax.study.external import deal_internal
from omics_jax.study.folds import deal_folds
from omics_jax.study.patients.features import Fit, fit_once, rules_of
from omics_jax.study.patients.reading import DEFAULT_NAMES
from omics_jax.tasks.replicates import check_tasks
from omics_jax.tasks.task import Task, known_rows, outcome, strata_by_task, tasks_of

# Tables and columns of every run; an outcome must have another name.
RESERVED = (
    "mean", "latent", "overlap", "imputed_share", "id", "x", "y", "model", "arm", "group", "fold",
)  # fmt: skip

Edges = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Cohort:
    """The patients of a study.

    names: the modalities, in the order of the data.
    tasks: the outcomes to predict.
    splits: folds of the study's patients.
    target: (n,) whether a patient is of the class that the study is about; None for all patients.
    others: (o,) indices of the patients on whom imputers are pretrained.
    widths: modality -> the number of features that any fold can choose of it at most.
    fit: (modality, splits) -> the constants fitted to the training rows of every split; for the
      same training rows they are fitted only once.
    """

    dataset: Dataset
    names: tuple[str, ...]
    tasks: tuple[Task, ...]
    splits: Sequence[Split]
    target: Bool[np.ndarray, " n"] | None
    others: Int[np.ndarray, " o"]
    widths: Mapping[str, int]
    fit: Fit


def cohort_of(
    config: Any,
    dataset: Dataset,
    predicts: bool = True,
    outside: Bool[np.ndarray, " n"] | None = None,
) -> Cohort:
    """The patients of a study and their folds, stratified as in `strata_by_task`.

    predicts: whether the experiment predicts outcomes, and so needs one.
    outside: the external patients, whom every fold tests and from whom nothing learns.

    Raises:
      UserError: no outcome to predict, or one that cannot be used, see `check_tasks`.
    """
    names = tuple(dataset.modalities)
    target_name, target = _target_class(config, dataset)
    tasks = tuple(task for task in tasks_of(dataset) if task.name != target_name)
    inside = np.ones(len(dataset), bool) if outside is None else ~outside
    patients = replace(dataset, modalities={}).take(inside)
    check_tasks(config, patients, tasks, RESERVED, names)
    if not tasks and predicts:
        raise UserError(
            "the data hold nothing to predict; name columns with data.classes, data.numbers or "
            "data.survival_times"
        )
    deal = deal_folds if outside is None else deal_internal
    return Cohort(
        dataset=dataset,
        names=names,
        tasks=tasks,
        splits=deal(config, dataset, strata_by_task(dataset, tasks), target),
        target=target,
        others=_other_patients(dataset, target, inside),
        widths={
            name: rules_of(config, name).width(len(m.features))
            for name, m in dataset.modalities.items()
        },
        fit=fit_once(dataset, partial(rules_of, config)),
    )


# --- a study about one class ----------------------------------------------------------------------


def _target_class(config: Any, dataset: Dataset) -> tuple[str, Bool[np.ndarray, " n"] | None]:
    """The classification in `imputation.transfer`, and the patients of the class it names there.

    ("", None) where the setting is empty.

    Raises:
      UserError: several classes, a classification or class that the data lack, or no patient
        outside the class.
    """
    setting = config.imputation.transfer
    pairs = parse_pairs(setting, "imputation.transfer")
    if not pairs:
        return "", None
    if len(pairs) > 1:
        raise UserError(f"imputation.transfer is {setting!r}; name one class, as in type=LIHC")
    ((name, target_class),) = pairs.items()
    tasks = {task.name: task for task in tasks_of(dataset) if task.kind == "classification"}
    if name not in tasks:
        have = ", ".join(tasks) or "none; name one with data.classes"
        raise UserError(
            f"imputation.transfer names {name!r}, which is no classification of the data; they "
            f"have {have}"
        )
    classes = tasks[name].classes
    if target_class not in classes:
        raise UserError(
            f"imputation.transfer names the {name} {target_class!r}; the data hold "
            f"{', '.join(classes)}"
        )
    is_target = outcome(dataset, tasks[name]) == classes.index(target_class)
    rows = known_rows(dataset, tasks[name]) & is_target
    if rows.all():
        raise UserError(
            f"imputation.transfer={name}={target_class}: every patient is of that class, so there "
            "is no other patient to learn from; name another class, or leave the setting empty"
        )
    return name, rows


def _other_patients(
    dataset: Dataset, target: Bool[np.ndarray, " n"] | None, inside: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " o"]:
    """Patients inside who are not known to be of the study's class; none where it includes all.

    A patient of the study who has another sample outside the class is left out.
    """
    if target is None:
        return np.array([], int)
    groups = dataset.groups.astype(str)
    return np.flatnonzero(inside & ~target & ~np.isin(groups, groups[target]))


# --- the sources of imputation --------------------------------------------------------------------


def edges_between(config: Any, cohort: Cohort) -> Edges:
    """Modality -> the sources it is imputed from, by `imputation.edges` or each from all others.

    Raises:
      UserError: a modality that the data lack, or one that would be imputed from itself; a fold
        without a patient who has both a modality and a source of it.
    """
    edges = _edges_of(config.imputation.edges, cohort.names)
    has = {name: m.observed_rows for name, m in cohort.dataset.modalities.items()}
    for split in cohort.splits:
        for part in ("train", "validation"):
            _check_learnable(edges, has, split, part)
    return edges


def _edges_of(setting: str, names: Sequence[str]) -> Edges:
    if not setting:
        others = {name: tuple(other for other in names if other != name) for name in names}
        return others if len(names) > 1 else {}
    pairs = parse_pairs(setting.replace("<", "="), "imputation.edges (target<source+source, ...)")
    edges = {target: tuple(split_list(sources, "+")) for target, sources in pairs.items()}
    # The default edges are between the paper's modalities; those of absent modalities are dropped.
    absent = {name for name in DEFAULT_NAMES if name not in names}
    edges = {t: sources for t, sources in edges.items() if not {t, *sources} & absent}
    if len(names) > 1 and not edges:
        raise UserError(
            f"config.imputation.edges is {setting!r}, and the data hold {', '.join(names)}; name "
            "edges between these, or leave it empty for each from all others"
        )
    for target, sources in edges.items():
        _check_edge(target, sources, names)
    return edges


def _check_edge(target: str, sources: Sequence[str], names: Sequence[str]) -> None:
    for name in (target, *sources):
        if name not in names:
            raise UserError(
                f"config.imputation.edges names {name!r}; the data hold {', '.join(names)}"
            )
    if target in sources:
        raise UserError(
            f"config.imputation.edges imputes {target!r} from itself; name other sources"
        )


def _check_learnable(
    edges: Edges, has: Mapping[str, Bool[np.ndarray, " n"]], split: Split, part: str
) -> None:
    """Refuses a fold without patients who have both a target and a source of it."""
    rows = getattr(split, part)
    for target, sources in edges.items():
        has_source = np.any([has[source][rows] for source in sources], axis=0)
        if not (has[target][rows] & has_source).any():
            raise UserError(
                f"fold {split.fold}: none of its {len(rows):,} {part} rows has both {target} and "
                f"one of {', '.join(sources)}, so that {target} cannot be imputed; use fewer "
                "folds, name other sources in imputation.edges, or set missing to mask or complete"
            )
