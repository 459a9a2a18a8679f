"""A `System` from an encoder and its tasks: the parts that all such systems share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.study.system import System
from omics_jax.tasks import network as task_network
from omics_jax.tasks.baselines import simple_models
from omics_jax.tasks.conformal import conformal_columns
from omics_jax.tasks.network import TaskNetwork
from omics_jax.tasks.prediction import clipped_warnings, pool_medians, prediction_columns
from omics_jax.tasks.scoring import better_sides, evaluate_tasks
from omics_jax.tasks.settings import check_task_settings
from omics_jax.tasks.stages import training_stages
from omics_jax.tasks.task import outcome_arrays, outcome_ranges
from omics_jax.training.stage import Batch, Stage, Variables

Features = tuple[Float[np.ndarray, "n F"], Float[np.ndarray, "t F"]]
Models = Callable[..., Mapping[str, Mapping[str, np.ndarray]]]


def task_system(
    network: TaskNetwork,
    rows: Mapping[str, int],
    *,
    inputs: Callable[[Dataset], Mapping[str, np.ndarray]],
    init: Callable[[PRNGKeyArray, Batch, Variables], Variables],
    features: Callable[[Dataset, Dataset], Features],
    models: Models = simple_models,
    encoder_stages: Mapping[str, Callable[[], Stage]] | None = None,
    **fields: Any,
) -> System:
    """The system of an encoder with a head per task, and simple models on the same features.

    Args:
      rows: slot -> the most training rows of any replicate.
      inputs: dataset -> the fields of its rows that the encoder reads, name -> (n, ...).
      init: see `System.init`.
      features: (train, test) -> the features of both for simple models, with nothing missing.
      models: the simple models, as `baselines.simple_models`.
      encoder_stages: name -> a function that makes a stage of the encoder alone.
      fields: any other field of `System`; they override those that are set here.
    """
    tasks = network.tasks
    check_task_settings(network.config, has_tasks=bool(tasks))

    def arrays(dataset: Dataset) -> dict[str, np.ndarray]:
        return {**inputs(dataset), **outcome_arrays(dataset, tasks)}

    def baselines(train: Dataset, test: Dataset) -> dict[str, dict[str, np.ndarray]]:
        return models(tasks, *features(train, test), train, test)

    common = {
        "arrays": arrays,
        "init": init,
        "stages": training_stages(network, rows, encoder_stages),
        "predict": partial(task_network.predict, network),
        "evaluate": partial(evaluate_tasks, tasks, times=_given_times(network)),
        "baselines": baselines,
        "columns": prediction_columns(tasks),
        "ranges": partial(outcome_ranges, tasks),
        "better": better_sides(tasks),
        "pool_new": partial(pool_medians, tasks),
        "prediction_warnings": partial(clipped_warnings, tasks),
        "bounds": _bounds(network),
    }
    return System(**{**common, **fields})


def _bounds(network: TaskNetwork) -> Callable[..., Any] | None:
    """`System.bounds`; None where none are asked for, or there are only survival times."""
    coverage = network.config.predict.coverage
    tasks = [task for task in network.tasks if task.kind != "survival"]
    return partial(conformal_columns, tasks, coverage) if coverage and tasks else None


def _given_times(network: TaskNetwork) -> dict[str, tuple[float, ...]]:
    """Survival task -> the times that `config.survival.times` names; {} where it is empty."""
    times = tuple(map(float, network.config.survival.times))
    survival = [task.name for task in network.tasks if task.kind == "survival"]
    return dict.fromkeys(survival, times) if times else {}
