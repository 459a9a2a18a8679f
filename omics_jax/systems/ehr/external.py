"""Tests and intervals of the experiment "external", whose trainings are all tested on the same
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from omics_jax.evaluation import shared_test_set

Model = tuple[str, str]  # (arm, "model" or the name of a simple one)


def resampled_scores(
    frame: pd.DataFrame, models: Iterable[Model], statistics: Mapping[str, Callable], draws: int
) -> dict[tuple[str, str, str], np.ndarray]:
    """(arm, model, metric) -> (draws, trainings), from the table of probabilities; see
    `shared_test_set.resample`.
    """
    out = {}
    for arm, model in models:
        own = frame[(frame["arm"] == arm) & (frame["model"] == model)]
        scores = own.pivot(index="id", columns="fold", values="probability").sort_index()
        patients = (
            own.groupby("id")
            .agg(label=("label", "first"), person=("person", "first"))
            .loc[scores.index]
        )
        given = scores.to_numpy().T, patients["label"].to_numpy(), patients["person"].to_numpy()
        for metric, statistic in statistics.items():
            out[arm, model, metric] = shared_test_set.resample(statistic, *given, n=draws)
    return out


def intervals(
    drawn: Mapping[tuple[str, str, str], np.ndarray],
) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(arm, model, metric) -> 95 % interval of the mean over trainings."""
    return {key: shared_test_set.interval(values) for key, values in drawn.items()}


def compare(drawn, scores: pd.DataFrame, a: Model, b: Model, metric: str) -> list[dict]:
    """a minus b in the form of `comparisons.compare`, by the bootstrap of patients and trainings."""
    means = scores[scores["metric"] == metric].groupby(["arm", "model"])["value"].mean()
    ci95, p = shared_test_set.difference(drawn[*a, metric], drawn[*b, metric])
    found = {
        "difference": float(means[a] - means[b]),
        "ci95": list(ci95),
        "p": p,
        "test": shared_test_set.METHOD,
    }
    return [{"a": "/".join(a), "b": "/".join(b), "metric": metric, "group": "all", **found}]
