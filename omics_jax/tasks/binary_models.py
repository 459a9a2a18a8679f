"""Simple models of outcomes with two classes, on the features that a fold's network reads.

Logistic regression, elastic net, boosted trees and the nearest centroid. Beside them stand those of
any task (`tasks.baselines`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.classifiers import (
    boosting_on_summary,
    elastic_net_on_summary,
    logistic_on_summary,
    nearest_centroid_on_summary,
)
from omics_jax.tasks.baselines import Fields, simple_models
from omics_jax.tasks.task import Task, known_rows, outcome

CLASSIFIERS = {
    "logistic regression": logistic_on_summary,
    "elastic net": elastic_net_on_summary,
    "boosting": boosting_on_summary,
    "nearest centroid": nearest_centroid_on_summary,
}


def binary_models(
    tasks: Sequence[Task],
    x: Float[np.ndarray, "n w"],
    x_test: Float[np.ndarray, "t w"],
    train: Dataset,
    test: Dataset,
) -> dict[str, Fields]:
    """Name of the model -> TASK_FIELD, see `tasks.baselines.simple_models`.

    x, x_test: the features of the rows of `train` and `test` on one scale, nothing missing.
    """
    predictions = simple_models(tasks, x, x_test, train, test)
    for task in tasks:
        if len(task.classes) != 2:
            continue
        rows = known_rows(train, task)
        codes = outcome(train, task, rows)
        for name, classify in CLASSIFIERS.items():
            second = classify(x[rows], codes, x_test)
            fields = {f"{task.name}_probability": np.stack([1 - second, second], axis=1)}
            predictions[name] = predictions.get(name, {}) | fields
    return predictions
