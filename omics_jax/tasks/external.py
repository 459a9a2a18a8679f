"""Tests and intervals of trainings that are all tested on the same external patients.

The bootstrap itself stands in `evaluation.shared_test_set`; here it meets the frame of
probabilities of a binary outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from omics_jax.evaluation import shared_test_set
from omics_jax.study.comparisons import Model

Statistic = Callable[[Float[np.ndarray, " n"], Int[np.ndarray, " n"]], float]
# (arm, model, metric) -> the metric by draw of patients and training
Resampled = Mapping[tuple[str, str, str], Float[np.ndarray, "draws trainings"]]


def resampled_scores(
    probabilities: pd.DataFrame,
    models: Iterable[Model],
    statistics: Mapping[str, Statistic],
    draws: int,
) -> Resampled:
    """Every metric of every model on draws of patients, see `shared_test_set.resample`.

    probabilities: id, person, label and probability of every patient, by arm, model and fold.
    statistics: metric -> its function.
    """
    resampled = {}
    for arm, model in models:
        chosen = (probabilities["arm"] == arm) & (probabilities["model"] == model)
        rows = probabilities[chosen]
        scores = rows.pivot(index="id", columns="fold", values="probability").sort_index()
        first = {name: (name, "first") for name in ("label", "person")}
        patients = rows.groupby("id").agg(**first).loc[scores.index]
        by_training = scores.to_numpy().T
        label, person = patients["label"].to_numpy(), patients["person"].to_numpy()
        for metric, statistic in statistics.items():
            values = shared_test_set.resample(statistic, by_training, label, person, n=draws)
            resampled[arm, model, metric] = values
    return resampled


def intervals(resampled: Resampled) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(arm, model, metric) -> 95 % interval of the mean over trainings."""
    return {key: shared_test_set.interval(values) for key, values in resampled.items()}


def compare(
    resampled: Resampled, scores: pd.DataFrame, a: Model, b: Model, metric: str
) -> list[dict]:
    """a minus b as `comparisons.compare` gives it, by the bootstrap of patients and trainings."""
    ci95, p = shared_test_set.difference(resampled[*a, metric], resampled[*b, metric])
    means = scores[scores["metric"] == metric].groupby(["arm", "model"])["value"].mean()
    difference = float(means[a] - means[b])
    test = {
        "a": "/".join(a),
        "b": "/".join(b),
        "metric": metric,
        "group": "all",
        "difference": difference,
        "ci95": list(ci95),
        "p": p,
        "test": shared_test_set.METHOD,
    }
    return [test]
