"""Conclusions about any network that predicts outcomes: tests against simple models, and means."""

from __future__ import annotations

from collections.abc import Iterable

from omics_jax.study.comparisons import (
    Contrast,
    adjusted_family,
    compare_all,
    full_label,
    metrics_of,
    network,
    simple_models,
)
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.tasks.figures import task_figures

# The ends of the names of the metrics that are tested, and of those that tables show. All metrics
# are in metrics.json.
TESTED = ("accuracy", "macro_f1", "auroc", "rmse", "r2", "c_index", "ibs")
SHOWN = (
    *("accuracy", "macro_f1", "auroc", "rmse", "r2"),
    *("c_index", "c_index_uno", "c_index_within", "ibs"),
)


def conclude_tasks(results: Results) -> Findings:
    """The last arm's network against the simple models in every task, and the tasks' figures."""
    arm = list(results.labels)[-1]
    return Findings(against_simple(results, arm), task_figures(results, arm))


def tested_metrics(metrics: Iterable[str]) -> list[str]:
    """The metrics that are tested, see `TESTED`."""
    ends = tuple(f"_{end}" for end in TESTED)
    return [metric for metric in metrics if metric.endswith(ends)]


def against_simple(results: Results, arm: str) -> list[dict]:
    """Tests of an arm's network against its simple models in every tested metric, p after Holm."""
    tests = compare_all(results, contrasts_with_simple(results, arm))
    return adjusted_family(tests, full_label)


def contrasts_with_simple(results: Results, arm: str) -> list[Contrast]:
    """The contrasts of `against_simple`, for tests that are adjusted in a larger family."""
    return [
        (network(arm), rival, metric)
        for metric in tested_metrics(metrics_of(results, arm))
        for rival in simple_models(results, arm, metric)
    ]


def mean_and_sd(results: Results, arm: str, suffix: str = "") -> dict[str, str]:
    """Metric -> "mean (s.d.)" over the replicates of an arm's network, for the metrics in `SHOWN`.

    suffix: the end of the metrics' names on a subset of the rows, such as "_complete"; it is
      removed from the names that are returned.
    """
    scores = results.scores
    rows = scores[(scores["arm"] == arm) & (scores["model"] == MODEL)]
    grouped = rows.groupby("metric", sort=False)["value"].agg(["mean", "std"])
    ends = tuple(f"_{shown}{suffix}" for shown in SHOWN)
    return {
        metric.removesuffix(suffix): f"{row['mean']:.3f} ({row['std']:.3f})"
        for metric, row in grouped.iterrows()
        if metric.endswith(ends)
    }
