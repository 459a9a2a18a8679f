"""What the multi-omics experiments conclude: tests between arms, and tables of their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from omics_jax.tasks import external
from omics_jax.tasks.attribution import NETWORK
from omics_jax.tasks.conclusions import (
    against_simple,
    contrasts_with_simple,
    mean_and_sd,
    tested_metrics,
)
from omics_jax.tasks.conformal import conformal_tables
from omics_jax.tasks.interpretation import ranking_tables

COMPLETE = "complete"  # the subset of test patients who have every modality
ON_COMPLETE = f"_{COMPLETE}"  # the end of a metric's name on this subset

Labels = Mapping[str, Mapping[str, Any]]


def conclude_multitask(results: Results) -> Findings:
    """The network against the simple models in every task."""
    arm = _networks(results)[-1]
    tables = {**arm_figures(results, arm), **_imputation_table(results)}
    return Findings(against_simple(results, arm), tables)


def conclude_external(results: Results) -> Findings:
    """The same on external patients, all tested by every training: these are resampled, too."""
    arm = _networks(results)[-1]
    findings = external.conclude_external(results, arm)
    tables = {
        **arm_figures(external.of_first_training(results), arm, external.FIRST_TRAINING),
        **_imputation_table(results),
    }
    return replace(findings, tables=tables)


def conclude_imputation(results: Results) -> Findings:
    """The imputers against the simple imputers and, with transfer, against training without it."""
    arm, *others = results.labels
    metrics = [metric for metric in metrics_of(results, arm) if metric.endswith("_rmse")]
    rivals = [*simple_models(results, arm), *map(network, others)]
    contrasts = [(network(arm), rival, metric) for metric in metrics for rival in rivals]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    return Findings(tests, _imputation_table(results))


def conclude_arms(results: Results) -> Findings:
    """Arms A to D by modality set, with tests of every pair and the paper's own results."""
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
    # Figures of the last network, or of the last networks for one task each.
    last = {**labels[joint[-1]], "tasks": ""}
    drawn = [arm for arm in joint if {**labels[arm], "tasks": ""} == last]
    for arm in drawn:
        tables |= arm_figures(results, arm)
    return Findings(between + against, {**tables, **conformal_tables(results, drawn)})


def conclude_stages(results: Results) -> Findings:
    """All three stages against training without some of them."""
    first, *others = _networks(results)
    metrics = tested_metrics(metrics_of(results, first))
    tests = []
    for metric in metrics:
        for other in others:
            tests += _paired_tests(results, first, other, metric)
    rows = [{"trained": arm, **mean_and_sd(results, arm)} for arm in (first, *others)]
    caption = (
        "Mean (s.d.) over the test folds. Training without a stage has the same total number of "
        "epochs."
    )
    tables = {
        "stages": Table("table", pd.DataFrame(rows), "What each stage contributes", caption),
        **_imputation_table(results),
        **arm_figures(results, first),
    }
    return Findings(adjusted_family(tests, full_label), tables)


def conclude_interpret(results: Results) -> Findings:
    """The features that every task's prediction depends on, and tests against simple models."""
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
    """Tests of every pair of arms that share a modality set and a metric."""
    tests = []
    for metric in tested_metrics(results.scores["metric"].unique()):
        by_set: dict[str, list[str]] = {}
        for arm, label in labels.items():
            if metric in metrics_of(results, arm):
                by_set.setdefault(label["modalities"], []).append(arm)
        for arms in by_set.values():
            for a, b in combinations(arms, 2):
                tests += _paired_tests(results, a, b, metric)
    return tests


def _paired_tests(results: Results, a: str, b: str, metric: str) -> list[dict]:
    """Tests of a against b on the same patients: the complete ones if an arm tested others too."""
    scores = results.scores
    on_complete = metric + ON_COMPLETE
    common_name = metric
    is_chosen = pd.Series(False, index=scores.index)
    for arm in (a, b):
        name = on_complete if on_complete in metrics_of(results, arm) else metric
        is_chosen |= (scores["arm"] == arm) & (scores["metric"] == name)
        if name == on_complete:
            common_name = on_complete
    same_patients = scores[is_chosen].assign(metric=common_name)
    return comparisons.compare(same_patients, network(a), network(b), common_name)


# --- tables ---------------------------------------------------------------------------------------


def _arms_table(results: Results, labels: Labels) -> Table:
    """A row per modality set and arm; the models for one task each (A, C) share a row."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    suffixes = {"all tested": "", "complete": ON_COMPLETE}
    for arm, label in labels.items():
        for patients, suffix in suffixes.items():
            means = mean_and_sd(results, arm, suffix)
            if means:
                key = (label["modalities"], label["letter"], patients)
                rows.setdefault(key, {}).update(means)
    names = ("modalities", "arm", "patients")
    lines = [{**dict(zip(names, key, strict=True)), **means} for key, means in rows.items()]
    caption = (
        "A: a network per task, on patients with all of the modalities; B: one network for all "
        "tasks, on the same patients; C, D: as A and B, with missing modalities imputed. Mean "
        "(s.d.) over the test folds. On the complete patients all four can be compared."
    )
    return Table("table", pd.DataFrame(lines).fillna(""), "Arms by modality set", caption)


def _imputation_table(results: Results) -> dict[str, Table]:
    """The errors of every modality's imputers and simple imputers."""
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
        "Measured modalities of test patients, imputed as if they were missing. Mean (s.d.) over "
        "the folds, on the 0 to 1 scale of the training patients."
    )
    return {"imputation": Table("table", frame.fillna(""), "Imputation", caption)}
