"""Several networks on the same folds: one of all outcomes beside one of each, and variants of one.

Conclusions of experiments that train them: tests of differences, and tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import (
    Contrast,
    adjusted_family,
    compare_all,
    full_label,
    metrics_of,
    network,
    scores_of,
)
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.tasks.conclusions import contrasts_with_simple, mean_and_sd, tested_metrics
from omics_jax.tasks.figures import task_figures
from omics_jax.tasks.scoring import MEAN

ALONE = "each outcome alone"  # the mean over the networks for one outcome each
# The metric by which networks are shown side by side, of each kind of outcome, and its name.
MAIN = {"auroc": "", "r2": " (R2)", "c_index": " (C-index)"}


def conclude_joint(
    results: Results, joint: str, rivals: Sequence[str], more: Sequence[str] = ()
) -> Findings:
    """The network of all outcomes against other arms and against simple models.

    Arms with the label "single" are of the outcome that it names; their mean is one more rival.

    joint: the arm of all outcomes. rivals: the other arms.
    more: names of further metrics for the table of networks.
    """
    alone = {arm: own["single"] for arm, own in results.labels.items() if "single" in own}
    results, means = with_means_of(results, alone, ALONE)
    rivals = [*rivals, *means]
    contrasts = [*contrasts_with_simple(results, joint), *with_others(results, joint, rivals)]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    tables = task_figures(results, joint)
    if rivals:
        tables["network_differences"] = difference_table(
            tests, "One network or several: differences", joint
        )
        caption = (
            "Mean (s.d.) over the test folds of the network for all outcomes together, and of "
            "others on the same folds: alone, a network of the same shape for one outcome."
        )
        tables["networks"] = networks_table(
            results, [joint, *rivals], "One network or several", caption, more
        )
    return Findings(tests, tables)


def conclude_varied(
    results: Results, label: str, title: str, caption: str, more: Sequence[str] = ()
) -> Findings:
    """Tests of the first arm with this label against the others, and a table of them all.

    more: names of further metrics for the table.
    """
    arms = [arm for arm, labels in results.labels.items() if label in labels]
    first, *others = arms
    contrasts = [
        *contrasts_with_simple(results, first),
        *with_others(results, first, others),
    ]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    tables = {
        f"{label}_differences": difference_table(tests, f"{title}: differences", first),
        label: networks_table(results, arms, title, caption, more),
        **task_figures(results, first),
    }
    return Findings(tests, tables)


def conclude_gain(
    results: Results,
    pairs: Sequence[tuple[str, str]],
    *,
    name: str,
    titles: tuple[str, str],
    caption: str,
    against: Sequence[str],
    more: Sequence[str] = (),
) -> Findings:
    """Tests of pretrained networks against new ones, and a table of them all.

    pairs: (pretrained, new) arms. name: of the table; that of differences is NAME_differences.
    titles: of differences and of the table. caption: of the table.
    against: the new arms that are tested against simple models. more: see `networks_table`.
    """
    between = [contrast for a, b in pairs for contrast in with_others(results, a, [b])]
    simple = [contrast for arm in against for contrast in contrasts_with_simple(results, arm)]
    tests = adjusted_family(compare_all(results, [*between, *simple]), full_label)
    pretrained = {arm for arm, _ in pairs}
    arms = [arm for pair in pairs for arm in reversed(pair)]
    tables = {
        f"{name}_differences": difference_table(
            [test for test in tests if test["a"] in pretrained], titles[0], "the pretrained network"
        ),
        name: networks_table(results, arms, titles[1], caption, more),
    }
    return Findings(tests, tables)


def with_others(results: Results, first: str, others: Iterable[str]) -> list[Contrast]:
    """The contrasts of an arm's network with the networks of others, in the metrics of both."""
    metrics = tested_metrics(metrics_of(results, first))
    return [
        (network(first), network(other), metric)
        for metric in metrics
        for other in others
        if metric in metrics_of(results, other)
    ]


def difference_table(tests: Sequence[Mapping], title: str, first: str) -> Table:
    """The differences in `MAIN` metrics, a line per test and a panel per outcome.

    first: what the models on the left sides of the tests are called.
    """
    lines = []
    for test in tests:
        outcome, measure = _outcome_and_measure(test["metric"])
        if measure not in MAIN:
            continue
        low, high = test["ci95"]
        line = {"label": test["b"], "value": test["difference"], "low": low, "high": high}
        lines.append({**line, "series": f"{outcome}{MAIN[measure]}"})
    caption = (
        f"AUROC of {first} (R2 of numbers, C-index of survival) less that of the model at the "
        f"left, on the same folds: above 0 where {first} is better. 95 % intervals of the "
        "corrected resampled t-test."
    )
    frame = pd.DataFrame(lines, columns=["label", "value", "low", "high", "series"])
    return Table("intervals", frame, title, caption, "difference")


def _outcome_and_measure(metric: str) -> tuple[str, str]:
    """A metric's name in two parts, such as "OS" and "c_index"."""
    for measure in MAIN:
        if metric.endswith(f"_{measure}"):
            return metric.removesuffix(f"_{measure}"), measure
    return metric, ""


def networks_table(
    results: Results, arms: Sequence[str], title: str, caption: str, more: Sequence[str] = ()
) -> Table:
    """A row per network, with the mean (s.d.) of its metrics.

    more: names of metrics besides those of `tasks.conclusions.SHOWN`.
    """
    rows = [
        {"network": arm, **mean_and_sd(results, arm), **_further(results, arm, more)}
        for arm in arms
    ]
    return Table("table", pd.DataFrame(rows).fillna(""), title, caption)


def _further(results: Results, arm: str, metrics: Sequence[str]) -> dict[str, str]:
    cells = {}
    for metric in metrics:
        values = scores_of(results.scores, network(arm), metric)["value"]
        if len(values):
            cells[metric] = f"{values.mean():.3f} ({values.std():.3f})"
    return cells


def with_means_of(
    results: Results, arms: Mapping[str, str], name: str
) -> tuple[Results, list[str]]:
    """The results with one more arm, the means over networks for one outcome each, and its name.

    Means are over the outcomes that are classes; of fewer than two there is no such arm.

    arms: arm -> its outcome. name: of the new arm.
    """
    of_classes = {
        arm: outcome
        for arm, outcome in arms.items()
        if f"{outcome}_auroc" in metrics_of(results, arm)
    }
    if len(of_classes) < 2:
        return results, []
    scores = results.scores
    parts = []
    for measure in _common_measures(results, of_classes):
        own = {arm: f"{outcome}_{measure}" for arm, outcome in of_classes.items()}
        is_own = (scores["model"] == MODEL) & (scores["metric"] == scores["arm"].map(own))
        splits = scores[is_own].groupby(["group", "fold", "repeat", "replicate"], sort=False)
        means = splits[["n_train", "n_test"]].sum()
        means["value"] = splits["value"].agg(lambda values: values.mean(skipna=False))
        columns = {"arm": name, "model": MODEL, "metric": f"{MEAN}_{measure}"}
        parts.append(means.reset_index().assign(**columns))
    return replace(results, scores=pd.concat([scores, *parts], ignore_index=True)), [name]


def _common_measures(results: Results, arms: Mapping[str, str]) -> list[str]:
    """What all of these arms are scored by, each for its outcome."""
    by_arm = [
        [
            metric.removeprefix(f"{outcome}_")
            for metric in metrics_of(results, arm)
            if metric.startswith(f"{outcome}_")
        ]
        for arm, outcome in arms.items()
    ]
    return [measure for measure in by_arm[0] if all(measure in own for own in by_arm)]
