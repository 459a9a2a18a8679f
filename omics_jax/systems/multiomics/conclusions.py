"""What the multi-omics experiments conclude: tests between arms, and tables beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from omics_jax.evaluation import comparisons
from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import (
    adjusted_family,
    compare_all,
    full_label,
    metrics_of,
    network,
    simple_models,
)
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.multiomics import published
from omics_jax.systems.multiomics.figures import arm_figures
from omics_jax.tasks.attribution import NETWORK
from omics_jax.tasks.conclusions import (
    against_simple,
    contrasts_with_simple,
    mean_and_sd,
    tested_metrics,
)
from omics_jax.tasks.interpretation import ranking_tables

COMPLETE = "complete"  # the subset of test patients who have every modality
ON_COMPLETE = f"_{COMPLETE}"  # what ends a metric's name that is of these

Labels = Mapping[str, Mapping[str, Any]]


def conclude_multitask(results: Results) -> Findings:
    """The network against the simple models in every task."""
    arm = _networks(results)[-1]
    tables = {**arm_figures(results, arm), **_imputation_table(results)}
    return Findings(against_simple(results, arm), tables)


def conclude_imputation(results: Results) -> Findings:
    """The imputers' errors against those of the simple methods and, with transfer, of training
    without it.
    """
    arm, *others = results.labels
    metrics = [metric for metric in metrics_of(results, arm) if metric.endswith("_rmse")]
    rivals = [*simple_models(results, arm), *map(network, others)]
    contrasts = [(network(arm), rival, metric) for metric in metrics for rival in rivals]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    return Findings(tests, _imputation_table(results))


def conclude_arms(results: Results) -> Findings:
    """Arms A to D by modality set, every pair of them tested, beside what the paper prints."""
    labels = {arm: label for arm, label in results.labels.items() if "letter" in label}
    joint = [arm for arm in labels if simple_models(results, arm)]
    between = adjusted_family(_tests_between(results, labels), full_label)
    contrasts = [contrast for arm in joint for contrast in contrasts_with_simple(results, arm)]
    against = adjusted_family(compare_all(results, contrasts), full_label)
    tables = {
        "arms": _arms_table(results, labels),
        "paper": published.table(),
        **_imputation_table(results),
    }
    # Of the last network, or of the last networks for one task each.
    last = {**labels[joint[-1]], "tasks": ""}
    for arm in joint:
        if {**labels[arm], "tasks": ""} == last:
            tables |= arm_figures(results, arm)
    return Findings(between + against, tables)


def conclude_stages(results: Results) -> Findings:
    """All three stages against training without some of them."""
    first, *others = _networks(results)
    metrics = tested_metrics(metrics_of(results, first))
    tests = [t for m in metrics for other in others for t in _paired(results, first, other, m)]
    rows = [{"trained": arm, **mean_and_sd(results, arm)} for arm in (first, *others)]
    caption = (
        "Mean and s.d. over the test folds; training without a stage has as many epochs in all."
    )
    tables = {
        "stages": Table("table", pd.DataFrame(rows), "What each stage is worth", caption),
        **_imputation_table(results),
        **arm_figures(results, first),
    }
    return Findings(adjusted_family(tests, full_label), tables)


def conclude_interpret(results: Results) -> Findings:
    """Which features every task's prediction stands on, beside what the network is worth against
    simple models.
    """
    tables = {
        **ranking_tables(results),
        **arm_figures(results, NETWORK),
        **_imputation_table(results),
    }
    return Findings(against_simple(results, NETWORK), tables)


# --- tests ----------------------------------------------------------------------------------------


def _networks(results: Results) -> list[str]:
    """The arms that predict outcomes."""
    return [arm for arm, labels in results.labels.items() if not labels.get("imputer")]


def _tests_between(results: Results, labels: Labels) -> list[dict]:
    """Every pair of arms with one modality set and a metric in common."""
    tests = []
    for metric in tested_metrics(results.scores["metric"].unique()):
        by_set: dict[str, list[str]] = {}
        for arm, label in labels.items():
            if metric in metrics_of(results, arm):
                by_set.setdefault(label["modalities"], []).append(arm)
        for arms in by_set.values():
            for a, b in combinations(arms, 2):
                tests += _paired(results, a, b, metric)
    return tests


def _paired(results: Results, a: str, b: str, metric: str) -> list[dict]:
    """a against b on the patients both tested: the complete ones if one tested others too."""
    scores = results.scores
    on_complete = metric + ON_COMPLETE
    metric_of = {
        arm: on_complete if on_complete in metrics_of(results, arm) else metric for arm in (a, b)
    }
    chosen = [
        (scores["arm"] == arm) & (scores["metric"] == name) for arm, name in metric_of.items()
    ]
    name = metric if set(metric_of.values()) == {metric} else on_complete
    same_rows = scores[chosen[0] | chosen[1]].assign(metric=name)
    return comparisons.compare(same_rows, network(a), network(b), name)


# --- tables ---------------------------------------------------------------------------------------


def _arms_table(results: Results, labels: Labels) -> Table:
    """A row per modality set and arm; the models of one task each (A, C) are joined into a row."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for arm, label in labels.items():
        parts = {"all tested": "", "complete": ON_COMPLETE}
        for patients, suffix in parts.items():
            means = mean_and_sd(results, arm, suffix)
            if means:
                key = (label["modalities"], label["letter"], patients)
                rows.setdefault(key, {}).update(means)
    names = ("modalities", "arm", "patients")
    lines = [{**dict(zip(names, key, strict=True)), **means} for key, means in rows.items()]
    caption = (
        "A: a network per task, patients with all of the modalities; B: one network for all "
        "tasks, the same patients; C, D: the same with missing modalities imputed. Mean (s.d.) "
        "over the test folds. C and D are comparable with A and B on the complete patients."
    )
    return Table("table", pd.DataFrame(lines).fillna(""), "Arms by modality set", caption)


def _imputation_table(results: Results) -> dict[str, Table]:
    """The errors of imputing each modality, of the imputers and of the simple methods."""
    imputers = [arm for arm, labels in results.labels.items() if labels.get("imputer")]
    if not imputers:
        return {}
    rows = []
    by_model = results.scores.groupby(["arm", "model", "metric"], sort=False)
    for (arm, model, metric), scores in by_model:
        name, _, error = metric.rpartition("_")
        if arm in imputers and error in ("rmse", "mae", "pearson"):
            summary = f"{scores['value'].mean():.4f} ({scores['value'].std():.4f})"
            method = arm if model == MODEL else model
            rows.append({"modality": name, "method": method, error: summary})
    frame = pd.DataFrame(rows).groupby(["modality", "method"], sort=False).first().reset_index()
    caption = (
        "Modalities of test patients that were measured, imputed as if they were not; mean (s.d.) "
        "over the folds, on the 0 to 1 scale of the training patients."
    )
    return {"imputation": Table("table", frame.fillna(""), "Imputation", caption)}
