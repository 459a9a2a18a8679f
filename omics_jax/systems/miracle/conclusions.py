"""What the experiments of MIRACLE conclude: tests between networks, and tables of their results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import (
    Contrast,
    adjusted_family,
    compare_all,
    full_label,
    metrics_of,
    network,
)
from omics_jax.study.system import Findings, Results
from omics_jax.tasks.conclusions import contrasts_with_simple, mean_and_sd, tested_metrics
from omics_jax.tasks.figures import task_figures


def conclude_multitask(results: Results) -> Findings:
    """The network of all diseases against that of each disease and against simple models."""
    joint = list(results.labels)[-1]
    alone = [arm for arm, labels in results.labels.items() if "single" in labels]
    contrasts = [*contrasts_with_simple(results, joint), *_with_others(results, joint, alone)]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    tables = task_figures(results, joint)
    if alone:
        caption = (
            "Mean (s.d.) over the test folds of the network for all outcomes together, and of a "
            "network of the same shape for each outcome alone."
        )
        tables["networks"] = _arms_table(
            results, [joint, *alone], "One network or several", caption
        )
    return Findings(tests, tables)


def conclude_weights(results: Results) -> Findings:
    """Every policy of task weights against the first."""
    caption = (
        "Mean (s.d.) over the test folds, on the same folds. fixed: every outcome counts alike; "
        "pwinval: piecewise inverse validation accuracy (MIRACLE); the others are described on the "
        "page of the system."
    )
    return _conclude_varied(results, "weights", "Weights of outcomes", caption)


def conclude_knowledge(results: Results) -> Findings:
    """Every kind of knowledge against the first."""
    caption = (
        "Mean (s.d.) over the test folds. both: encoder and decoder follow the knowledge; decoder: "
        "the decoder alone; none: both are dense; shuffled: other connections, as many of every "
        "unit; random: as many connections between any units."
    )
    return _conclude_varied(results, "knowledge", "What knowledge is worth", caption)


def conclude_sites(results: Results) -> Findings:
    """Every number of sites against the first."""
    caption = "Mean (s.d.) over the test folds, by the number of sites selected for each outcome."
    return _conclude_varied(results, "sites", "Number of sites", caption)


def _conclude_varied(results: Results, label: str, title: str, caption: str) -> Findings:
    """Tests of the first arm with this label against the others, and a table of them all."""
    arms = [arm for arm, labels in results.labels.items() if label in labels]
    first, *others = arms
    contrasts = [
        *contrasts_with_simple(results, first),
        *_with_others(results, first, others),
    ]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    tables = {**task_figures(results, first), label: _arms_table(results, arms, title, caption)}
    return Findings(tests, tables)


def _with_others(results: Results, first: str, others: Iterable[str]) -> list[Contrast]:
    """The contrasts of an arm's network with the networks of others, in the metrics of both."""
    metrics = tested_metrics(metrics_of(results, first))
    return [
        (network(first), network(other), metric)
        for metric in metrics
        for other in others
        if metric in metrics_of(results, other)
    ]


def _arms_table(results: Results, arms: Sequence[str], title: str, caption: str) -> Table:
    rows = [{"network": arm, **mean_and_sd(results, arm)} for arm in arms]
    return Table("table", pd.DataFrame(rows).fillna(""), title, caption)
