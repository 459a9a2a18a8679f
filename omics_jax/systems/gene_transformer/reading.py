"""Patients with expression and outcomes: from the user's files, or from the simulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.vocabulary import parse_missing
from omics_jax.study.covariates import unknown_covariates
from omics_jax.study.patients import reading


def read(config: Any, on_progress: reading.OnProgress = reading.silent) -> Dataset:
    """The patients, see `study.patients.reading.read`."""
    return reading.read(config, _simulate, on_progress)


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
