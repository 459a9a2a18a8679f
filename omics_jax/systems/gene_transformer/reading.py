"""Patients with expression and outcomes: from the user's files, or from the simulator."""

from __future__ import annotations

from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.study.patients import reading


def read(config: Any, on_progress: reading.OnProgress = reading.silent) -> Dataset:
    """The patients, see `study.patients.reading.read`."""
    return reading.read(config, _simulate, on_progress)


def _simulate(settings: Any) -> Dataset:
    from omics_jax.data.gene_networks.simulate import simulate_expression

    return simulate_expression(**settings.to_dict())[0]
