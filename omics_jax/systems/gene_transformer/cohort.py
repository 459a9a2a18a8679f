"""The study's patients, the same for all arms: outcomes, folds, covariates and fitted genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.patients.settings import target_spec
from omics_jax.data.patients.text_settings import parse_settings
from omics_jax.errors import UserError
from omics_jax.study.covariates import Levels, covariate_values, levels_of
from omics_jax.study.external import deal_internal
from omics_jax.study.folds import deal_folds
from omics_jax.study.patients.features import Fit, fit_once
from omics_jax.systems.gene_transformer.assembly import missing_of, rules_of
from omics_jax.systems.gene_transformer.known_genes import KnownGenes, known_genes
from omics_jax.systems.gene_transformer.pathways import Pathways, read_pathways
from omics_jax.tasks.labels import with_bins
from omics_jax.tasks.replicates import check_tasks
from omics_jax.tasks.task import Task, strata_by_task, tasks_of

COVARIATES = "c"  # their field of a row, and the start of their constants' names
# Tables, columns and constants of every run; an outcome must have another name.
RESERVED = ("mean", "embedding", "id", "x", "y", "model", "arm", "group", "fold", COVARIATES)


@dataclass(frozen=True)
class Cohort:
    """The patients of a study.

    tasks: the outcomes to predict, with their numbers of bins.
    splits: folds of the patients.
    levels: covariate -> its words, () for a number.
    covariates: (n, k) of all patients, nan where unknown.
    widths: modality -> the number of genes that a fold can choose of it at most.
    fit: see `study.patients.features.fit_once`.
    known: what is known of genes before; None for nothing.
    pathways: that attend to each other in place of the genes; None for these.
    """

    dataset: Dataset
    tasks: tuple[Task, ...]
    splits: Sequence[Split]
    levels: Levels
    covariates: Float[np.ndarray, "n k"]
    widths: Mapping[str, int]
    fit: Fit
    known: KnownGenes | None
    pathways: Pathways | None


def cohort_of(
    config: Any, dataset: Dataset, outside: Bool[np.ndarray, " n"] | None = None
) -> Cohort:
    """The patients of a study and their folds, stratified as in `strata_by_task`.

    outside: the external patients, whom every fold tests and from whom nothing learns.

    Raises:
      UserError: no outcome to predict, or one that cannot be used, see `check_tasks`; a covariate
        that the table lacks, or that is an outcome; a fold in which no gene varies.
    """
    tasks = tasks_of(dataset)
    if not tasks:
        raise UserError(
            "the data hold nothing to predict; name columns with data.classes, data.numbers or "
            "data.survival_times"
        )
    names = tuple(dataset.modalities)
    inside = np.ones(len(dataset), bool) if outside is None else ~outside
    learned_from = replace(dataset, modalities={}).take(inside)
    check_tasks(config, learned_from, tasks, RESERVED, names)
    _check_covariates(config, names)
    deal = deal_folds if outside is None else deal_internal
    splits = deal(config, dataset, strata_by_task(dataset, tasks))
    missing = missing_of(config)
    levels = levels_of(learned_from, config.data.covariates, missing, "config.data.covariates")
    rules = partial(rules_of, config)
    fit = fit_once(dataset, rules, with_sd=True)
    _check_genes_vary(fit, names, splits)
    return Cohort(
        dataset=dataset,
        tasks=with_bins(config, tasks, [split.train for split in splits]),
        splits=splits,
        levels=levels,
        covariates=covariate_values(dataset, levels, missing),
        widths={name: rules(name).width(len(m.features)) for name, m in dataset.modalities.items()},
        fit=fit,
        known=known_genes(config, dataset),
        pathways=read_pathways(config, dataset),
    )


def _check_covariates(config: Any, modalities: Sequence[str]) -> None:
    """Refuses covariates that are outcomes: a network would read what it predicts."""
    outcomes = target_spec(parse_settings(config.data)).columns
    both = [column for column in config.data.covariates if column in outcomes]
    if both:
        raise UserError(
            f"config.data.covariates names the column {both[0]!r}, which an outcome is read from; "
            "name it in one of them, because a network would read what it predicts"
        )
    if config.data.covariates and COVARIATES in modalities:
        raise UserError(
            f"{COVARIATES!r} is the name of a modality and of the covariates of a run; rename the "
            "modality in config.data.modalities"
        )


def _check_genes_vary(fit: Fit, modalities: Sequence[str], splits: Sequence[Split]) -> None:
    """Refuses a fold in whose training patients no gene that it uses differs."""
    by_modality = [fit(name, splits) for name in modalities]
    for split, *fitted in zip(splits, *by_modality, strict=True):
        if not any((own["high"] > own["low"]).any() for own in fitted):
            raise UserError(
                f"fold {split.fold}, repeat {split.repeat}: no gene of {', '.join(modalities)} "
                "differs between its training patients, so that there is nothing to learn from; "
                "mend the files of config.data.modalities, or loosen the rules of "
                "config.preprocess"
            )
