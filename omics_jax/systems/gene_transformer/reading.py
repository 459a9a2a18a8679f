"""Patients with expression and outcomes: from the user's files, or from the simulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.vocabulary import parse_missing
from omics_jax.study.covariates import levels_of, unknown_covariates
from omics_jax.study.external import SET, is_external
from omics_jax.study.patients import reading
from omics_jax.study.patients.candidates import only_candidates


def read(config: Any, on_progress: reading.OnProgress = reading.silent) -> Dataset:
    """The patients, see `study.patients.reading.read`, with the genes that folds may choose.

    With a warning on covariates that are not known of all external patients.
    """
    dataset = only_candidates(config, reading.read(config, _simulate, on_progress))
    if not config.data.covariates or SET not in dataset.table:
        return dataset
    outside = is_external(dataset)
    missing = parse_missing(config.data.missing_values)
    inside = dataset.take(~outside)
    levels = levels_of(inside, config.data.covariates, missing, "config.data.covariates")
    unknown = unknown_covariates(
        dataset.take(outside),
        levels,
        missing,
        "are tested without it",
        "external patients",
        "data.external.clinical",
    )
    return replace(dataset, warnings=(*dataset.warnings, *unknown))


def read_new(spec: Any, trained: Any, config: Any) -> Dataset:
    """New patients, with the covariates of the training, see `study.patients.reading.read_new`.

    spec: of the training, see `assembly.Spec`.
    """
    new = reading.read_new(spec, spec.logged, trained, config, with_tables=bool(spec.levels))
    missing = parse_missing(trained.data.missing_values)
    unknown = unknown_covariates(new, spec.levels, missing, "are predicted without it")
    return replace(new, warnings=(*new.warnings, *unknown))


def _simulate(settings: Any) -> Dataset:
    from omics_jax.data.gene_networks.simulate import simulate_expression

    return simulate_expression(**settings.to_dict())[0]
