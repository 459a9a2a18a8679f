"""The models of an experiment, tests between pairs of them, and the correction over all tests.

The tests themselves are in `evaluation.comparisons`. Left out: which metrics and arms a system
compares, which its `conclusions` choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from omics_jax.evaluation import comparisons
from omics_jax.evaluation.measures import measure_of
from omics_jax.study.system import MODEL, Results

Model = tuple[str, str]  # (arm, `MODEL` or the name of a simple model)
Contrast = tuple[Model, Model, str]  # (a, b, metric): a minus b in the metric
Compare = Callable[[Model, Model, str], list[dict]]


def network(arm: str) -> Model:
    """The model that an arm trained."""
    return (arm, MODEL)


def metrics_of(results: Results, arm: str) -> list[str]:
    """The metrics of the model that an arm trained, in the order of scoring."""
    return _rows(results.scores, network(arm))["metric"].unique().tolist()


def arms_with(results: Results, metric: str) -> list[str]:
    """The arms whose trained model has the metric, in the order of training."""
    scores = results.scores
    is_chosen = (scores["metric"] == metric) & (scores["model"] == MODEL)
    return list(dict.fromkeys(scores.loc[is_chosen, "arm"]))


def simple_models(results: Results, arm: str = "", metric: str = "") -> list[Model]:
    """The simple models, of one arm if `arm` is given and with one metric if `metric` is given."""
    scores = results.scores
    is_chosen = scores["model"] != MODEL
    if arm:
        is_chosen &= scores["arm"] == arm
    if metric:
        is_chosen &= scores["metric"] == metric
    rows = scores[is_chosen]
    return list(dict.fromkeys(zip(rows["arm"], rows["model"], strict=True)))


def compare_all(
    results: Results, contrasts: Iterable[Contrast], compare: Compare | None = None
) -> list[dict]:
    """The tests of all contrasts, as `evaluation.comparisons.compare` returns them.

    compare: the test; by default the corrected resampled t-test over folds.
    """

    def over_folds(a: Model, b: Model, metric: str) -> list[dict]:
        return comparisons.compare(results.scores, a, b, metric)

    test = compare or over_folds
    tests = []
    for a, b, metric in contrasts:
        tests += test(a, b, metric)
    return tests


def short_label(name: str) -> str:
    """The arm of "arm/model" and the simple model of "arm/simple".

    It identifies a simple model only if a single arm has simple models.
    """
    return full_label(name).split("/")[-1]


def full_label(name: str) -> str:
    """The arm of "arm/model"; "arm/simple" unchanged."""
    return name.removesuffix(f"/{MODEL}")


def adjusted_family(tests: Sequence[dict], label: Callable[[str], str] = short_label) -> list[dict]:
    """The tests with p adjusted over all of them after Holm, and their models named by `label`."""
    return [
        {**test, "a": label(test["a"]), "b": label(test["b"])}
        for test in comparisons.with_adjusted_p(tests)
    ]


def summary_of(lines: pd.DataFrame, metric: str) -> dict:
    """`evaluation.comparisons.summarize` of the lines of one model and metric.

    The groups of a split are averaged before splits are.
    """
    splits = lines.groupby(["repeat", "fold"])[["value", "n_test", "n_train"]].mean()
    ratio = float((splits["n_test"] / splits["n_train"]).mean())
    values = splits["value"].to_numpy(np.float64)
    return comparisons.summarize(values, ratio, measure_of(metric))


def mean_score(scores: pd.DataFrame, model: Model, metric: str) -> float:
    """The mean of a model's metric over all replicates; nan where it was not scored."""
    return float(scores_of(scores, model, metric)["value"].mean())


def scores_of(scores: pd.DataFrame, model: Model, metric: str) -> pd.DataFrame:
    """The lines of a model's metric in the table of scores."""
    rows = _rows(scores, model)
    return rows[rows["metric"] == metric]


def _rows(scores: pd.DataFrame, model: Model) -> pd.DataFrame:
    return scores[(scores["arm"] == model[0]) & (scores["model"] == model[1])]
