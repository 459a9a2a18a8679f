"""What the experiments of MIRACLE conclude: tests between networks, and tables of their results."""

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
    summary_of,
)
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.miracle.assembly import RECONSTRUCTION
from omics_jax.systems.miracle.stability import stability_table
from omics_jax.tasks.conclusions import contrasts_with_simple, mean_and_sd, tested_metrics
from omics_jax.tasks.figures import task_figures
from omics_jax.tasks.scoring import MEAN

# Means over the networks for one outcome.
ALONE, EACH_PRETRAINED = "each outcome alone", "each outcome pretrained"


def conclude_multitask(results: Results) -> Findings:
    """The network of all diseases against that of each disease and against simple models."""
    joint = list(results.labels)[-1]
    alone = {arm: own["single"] for arm, own in results.labels.items() if "single" in own}
    results, means = with_means_of(results, alone, ALONE)
    rivals = [*alone, *means]
    contrasts = [*contrasts_with_simple(results, joint), *_with_others(results, joint, rivals)]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    tables = task_figures(results, joint)
    if alone:
        tables["network_differences"] = difference_table(
            tests, "One network or several: differences", joint
        )
        caption = (
            "Mean (s.d.) over the test folds of the network for all outcomes together, and of a "
            "network of the same shape for each outcome alone."
        )
        tables["networks"] = _arms_table(
            results, [joint, *rivals], "One network or several", caption
        )
    return Findings(tests, tables)


def conclude_transfer(results: Results) -> Findings:
    """Every disease's network on the autoencoder of all people against its network alone."""
    arms = {
        kind: {arm: own[kind] for arm, own in results.labels.items() if kind in own}
        for kind in ("single", "pretrained")
    }
    results, old_mean = with_means_of(results, arms["single"], ALONE)
    results, new_mean = with_means_of(results, arms["pretrained"], EACH_PRETRAINED)
    old, new = [*arms["single"], *old_mean], [*arms["pretrained"], *new_mean]
    pairs = list(zip(new, old, strict=True))
    contrasts = [contrast for a, b in pairs for contrast in _with_others(results, a, [b])]
    simple = [
        contrast for arm in arms["single"] for contrast in contrasts_with_simple(results, arm)
    ]
    tests = adjusted_family(compare_all(results, [*contrasts, *simple]), full_label)
    caption = (
        "Mean (s.d.) over the test folds of networks for one outcome: alone, trained on the people "
        "in whom it is known; pretrained, on the autoencoder of all people of the same training "
        "folds, of other studies and without outcomes too."
    )
    names = [name for pair in pairs for name in reversed(pair)]
    between = [test for test in tests if test["a"] in new]
    tables = {
        "transfer_differences": difference_table(
            between, "What pretraining on all people adds", "the pretrained network"
        ),
        "transfer": _arms_table(results, names, "Pretrained on all people, or not", caption),
    }
    return Findings(tests, tables)


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
    concluded = _conclude_varied(results, "knowledge", "What knowledge is worth", caption)
    hidden = [arm for arm, labels in results.labels.items() if "hidden" in labels]
    if not hidden:
        return concluded
    tests, table = _rediscovery(results, *hidden)
    family = adjusted_family([*concluded.comparisons, *tests], full_label)
    return replace(concluded, comparisons=family, tables={**concluded.tables, "rediscovery": table})


def _rediscovery(results: Results, true: str, shuffled: str) -> tuple[list[dict], Table]:
    """Tests of what is found of true connections against what is found of shuffled ones."""
    metrics = [metric for metric in metrics_of(results, true) if metric.startswith("hidden_")]
    contrasts = [(network(true), network(shuffled), metric) for metric in metrics]
    lines = []
    for arm, series in ((true, "knowledge"), (shuffled, "shuffled")):
        for metric in metrics:
            summary = summary_of(scores_of(results.scores, network(arm), metric), metric)
            low, high = summary["ci95"]
            label = metric.removeprefix("hidden_").removesuffix("_auroc").replace("_", " ")
            line = {"label": label, "value": summary["mean"], "low": low, "high": high}
            lines.append({**line, "series": series})
    caption = (
        "Of the connections that were hidden from training, how often a hidden one has a larger "
        "weight than one of the same unit that knowledge lacks, too: .5 where nothing is found. "
        "The network's masks are soft, so that both can grow. shuffled: the same of false "
        "connections, which shows what the numbers of connections of units do. Mean and "
        "95 % interval over the test folds."
    )
    title = "Hidden connections, found again"
    return compare_all(results, contrasts), Table(
        "intervals", pd.DataFrame(lines), title, caption, "AUROC"
    )


def conclude_sites(results: Results) -> Findings:
    """Every number of sites against the first, and how stable the findings are."""
    caption = "Mean (s.d.) over the test folds, by the number of sites selected for each outcome."
    concluded = _conclude_varied(results, "sites", "Number of sites", caption)
    arms = [arm for arm, labels in results.labels.items() if "sites" in labels]
    stability = stability_table(results, arms)
    return replace(concluded, tables={"stability": stability, **concluded.tables})


def _conclude_varied(results: Results, label: str, title: str, caption: str) -> Findings:
    """Tests of the first arm with this label against the others, and a table of them all."""
    arms = [arm for arm, labels in results.labels.items() if label in labels]
    first, *others = arms
    contrasts = [
        *contrasts_with_simple(results, first),
        *_with_others(results, first, others),
    ]
    tests = adjusted_family(compare_all(results, contrasts), full_label)
    tables = {
        f"{label}_differences": difference_table(tests, f"{title}: differences", first),
        label: _arms_table(results, arms, title, caption),
        **task_figures(results, first),
    }
    return Findings(tests, tables)


def difference_table(tests: Sequence[Mapping], title: str, first: str) -> Table:
    """The differences in AUROC, a line per test and a panel per outcome.

    first: what the models on the left sides of the tests are called.
    """
    lines = [
        {
            "label": test["b"],
            "value": test["difference"],
            "low": test["ci95"][0],
            "high": test["ci95"][1],
            "series": test["metric"].removesuffix("_auroc"),
        }
        for test in tests
        if test["metric"].endswith("_auroc")
    ]
    caption = (
        f"AUROC of {first} less that of the model at the left, on the same folds: above 0 where "
        f"{first} is better. 95 % intervals of the corrected resampled t-test."
    )
    frame = pd.DataFrame(lines, columns=["label", "value", "low", "high", "series"])
    return Table("intervals", frame, title, caption, "difference in AUROC")


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
    rows = [
        {"network": arm, **mean_and_sd(results, arm), **_explained(results, arm)} for arm in arms
    ]
    return Table("table", pd.DataFrame(rows).fillna(""), title, caption)


def _explained(results: Results, arm: str) -> dict[str, str]:
    """How much of the sites' variance an arm's network reconstructs, mean (s.d.)."""
    values = scores_of(results.scores, network(arm), RECONSTRUCTION)["value"]
    return {RECONSTRUCTION: f"{values.mean():.3f} ({values.std():.3f})"} if len(values) else {}
