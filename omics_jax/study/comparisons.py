"""Comparisons that experiments draw from their scored replicates: which models there are, which
pairs are tested, and the correction over a family of tests.

The tests themselves stand in `evaluation.comparisons`. Left out: what a system compares (its own
metrics and arms), which is its conclusion's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from omics_jax.evaluation import comparisons
from omics_jax.study.system import MODEL, Results

Model = tuple[str, str]  # (arm, `MODEL` or the name of a simple model)
Contrast = tuple[Model, Model, str]  # a minus b in a metric
Compare = Callable[[Model, Model, str], list[dict]]


def network(arm: str) -> Model:
    """The model that an arm trained."""
    return (arm, MODEL)


def metrics_of(results: Results, arm: str) -> list[str]:
    """The metrics of an arm's own model, in the order in which it was scored."""
    return _rows(results.scores, network(arm))["metric"].unique().tolist()


def arms_with(results: Results, metric: str) -> list[str]:
    """The arms whose own model has the metric, in the order of training."""
    scores = results.scores
    chosen = (scores["metric"] == metric) & (scores["model"] == MODEL)
    return list(dict.fromkeys(scores.loc[chosen, "arm"]))


def simple_models(results: Results, arm: str = "", metric: str = "") -> list[Model]:
    """The simple models beside an arm (or any) that have a metric (or any)."""
    scores = results.scores
    chosen = scores["model"] != MODEL
    if arm:
        chosen &= scores["arm"] == arm
    if metric:
        chosen &= scores["metric"] == metric
    return list(
        dict.fromkeys(zip(scores.loc[chosen, "arm"], scores.loc[chosen, "model"], strict=True))
    )


def compare_all(
    results: Results, contrasts: Iterable[Contrast], compare: Compare | None = None
) -> list[dict]:
    """The test of every contrast, in the form of `evaluation.comparisons.compare`.

    compare: the test; the corrected resampled t-test over folds unless given.
    """

    def over_folds(a: Model, b: Model, metric: str) -> list[dict]:
        return comparisons.compare(results.scores, a, b, metric)

    test = compare or over_folds
    return [found for a, b, metric in contrasts for found in test(a, b, metric)]


def short_label(name: str) -> str:
    """ "arm/model" by its arm, "arm/simple" by the simple model, which then is of one arm only."""
    return full_label(name).split("/")[-1]


def full_label(name: str) -> str:
    """ "arm/model" by its arm, "arm/simple" in full."""
    return name.removesuffix(f"/{MODEL}")


def adjusted_family(tests: Sequence[dict], label: Callable[[str], str] = short_label) -> list[dict]:
    """The tests with p adjusted over all of them after Holm, their models named by `label`."""
    return [
        {**test, "a": label(test["a"]), "b": label(test["b"])}
        for test in comparisons.with_adjusted_p(tests)
    ]


def mean_score(scores: pd.DataFrame, model: Model, metric: str) -> float:
    """The mean of a model's metric over all its replicates; nan where there is none."""
    rows = _rows(scores, model)
    return float(rows.loc[rows["metric"] == metric, "value"].mean())


def _rows(scores: pd.DataFrame, model: Model) -> pd.DataFrame:
    return scores[(scores["arm"] == model[0]) & (scores["model"] == model[1])]
