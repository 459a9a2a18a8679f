"""Multi-omics patients: from the user's files, or from the simulator of several modalities."""

from __future__ import annotations

from typing import Any

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.study.patients import reading


def read(config: Any, on_progress: reading.OnProgress = reading.silent) -> Dataset:
    """The patients, see `study.patients.reading.read`."""
    return reading.read(config, _simulate, on_progress)


def _simulate(settings: Any) -> Dataset:
    from omics_jax.data.patients.simulate import simulate_omics

    return simulate_omics(**settings.to_dict())[0]
