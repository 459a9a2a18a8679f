"""What the experiments of MIRACLE conclude: tests between networks, and tables of their results."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import (
    adjusted_family,
    compare_all,
    full_label,
    metrics_of,
    network,
    scores_of,
    summary_of,
)
from omics_jax.study.system import Findings, Results
from omics_jax.systems.miracle.assembly import RECONSTRUCTION
from omics_jax.systems.miracle.stability import stability_table
from omics_jax.tasks.conformal import conformal_tables
from omics_jax.tasks.varied import (
    ALONE,
    conclude_gain,
    conclude_joint,
    conclude_varied,
    with_means_of,
)

EACH_PRETRAINED = "each outcome pretrained"  # the mean over networks for one outcome each
FURTHER = (RECONSTRUCTION,)  # metrics in tables of networks


def conclude_multitask(results: Results) -> Findings:
    """The network of all diseases against that of each disease and against simple models."""
    *rivals, joint = results.labels
    return conclude_joint(results, joint, rivals, FURTHER)


def conclude_transfer(results: Results) -> Findings:
    """Every disease's network on the autoencoder of all people against its network alone."""
    arms = {
        kind: {arm: own[kind] for arm, own in results.labels.items() if kind in own}
        for kind in ("single", "pretrained")
    }
    results, old_mean = with_means_of(results, arms["single"], ALONE)
    results, new_mean = with_means_of(results, arms["pretrained"], EACH_PRETRAINED)
    old, new = [*arms["single"], *old_mean], [*arms["pretrained"], *new_mean]
    caption = (
        "Mean (s.d.) over the test folds of networks for one outcome: alone, trained on the people "
        "in whom it is known; pretrained, on the autoencoder of all people of the same training "
        "folds, of other studies and without outcomes too."
    )
    findings = conclude_gain(
        results,
        list(zip(new, old, strict=True)),
        name="transfer",
        titles=("What pretraining on all people adds", "Pretrained on all people, or not"),
        caption=caption,
        against=list(arms["single"]),
        more=FURTHER,
    )
    of_outcomes = conformal_tables(results, [arm for own in arms.values() for arm in own])
    return replace(findings, tables={**findings.tables, **of_outcomes})


def conclude_weights(results: Results) -> Findings:
    """Every policy of task weights against the first."""
    caption = (
        "Mean (s.d.) over the test folds, on the same folds. fixed: every outcome counts alike; "
        "pwinval: piecewise inverse validation accuracy (MIRACLE); the others are described on the "
        "page of the system."
    )
    return conclude_varied(results, "weights", "Weights of outcomes", caption, FURTHER)


def conclude_knowledge(results: Results) -> Findings:
    """Every kind of knowledge against the first."""
    caption = (
        "Mean (s.d.) over the test folds. both: encoder and decoder follow the knowledge; decoder: "
        "the decoder alone; none: both are dense; shuffled: other connections, as many of every "
        "unit; random: as many connections between any units."
    )
    concluded = conclude_varied(results, "knowledge", "What knowledge is worth", caption, FURTHER)
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
    concluded = conclude_varied(results, "sites", "Number of sites", caption, FURTHER)
    arms = [arm for arm, labels in results.labels.items() if "sites" in labels]
    stability = stability_table(results, arms)
    return replace(concluded, tables={"stability": stability, **concluded.tables})
