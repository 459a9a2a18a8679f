"""What the EHR experiments conclude over all their replicates: tests and tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from omics_jax.evaluation import shared_test_set
from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import (
    Compare,
    adjusted_family,
    arms_with,
    compare_all,
    metrics_of,
    network,
    simple_models,
)
from omics_jax.study.system import Findings, Results
from omics_jax.systems.ehr import figures, paper_tables
from omics_jax.tasks import binary_figures, external
from omics_jax.tasks.binary import STATISTICS


def conclude_outcome(results: Results) -> Findings:
    """The first classifier against simple models, classifiers against each other, and curves."""
    arms = arms_with(results, "auroc")
    tests = _against_simple_models(results, arms[:1]) + _between_arms(results, arms)
    return Findings(tests, _all_tables(results, arms))


def conclude_external(results: Results) -> Findings:
    """The same where all trainings are tested on the same patients: these are resampled, too."""
    arms = arms_with(results, "auroc")
    models = [*map(network, arms), *simple_models(results, metric="auroc")]
    probabilities = results.frames["probability"].rows
    columns = external.Columns(("probability",), ("label",))
    resampled = external.resampled_scores(
        probabilities, models, _statistics, columns, binary_figures.DRAWS
    )
    compare = partial(external.compare, resampled, results.scores)
    tests = _against_simple_models(results, arms[:1], compare)
    tests += _between_arms(results, arms, compare)
    intervals = external.intervals(resampled)
    return Findings(tests, _all_tables(results, arms), intervals, shared_test_set.METHOD)


def _statistics(
    probability: Float[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> dict[str, float]:
    return {name: statistic(probability, label) for name, statistic in STATISTICS.items()}


def conclude_imputation(results: Results) -> Findings:
    """Held-out errors, and tests of the first imputer against the simple methods and the others."""
    first, *others = results.labels
    metrics = [metric for metric in metrics_of(results, first) if metric.startswith("mae_")]
    rivals = [*simple_models(results, first), *map(network, others)]
    contrasts = [(network(first), rival, metric) for metric in metrics for rival in rivals]
    tests = adjusted_family(compare_all(results, contrasts))
    return Findings(tests, figures.imputation_tables(results))


def conclude_tables(results: Results) -> Findings:
    """Tables II and III with the paper's numbers, what freezing costs, and what fine-tuning
    forgets.
    """
    arms = arms_with(results, "auroc")
    freezing, freezing_table = paper_tables.unfrozen_against_frozen(results)
    forgetting, forgetting_table = paper_tables.after_against_before(results)
    tables = {
        "paper": paper_tables.networks(results),
        **freezing_table,
        **forgetting_table,
        "classical": paper_tables.classical_models(results),
        **_all_tables(results, arms),
    }
    return Findings(freezing + forgetting + _against_simple_models(results, arms), tables)


def conclude_forgetting(results: Results) -> Findings:
    """The imputation error before and after fine-tuning, and the outcome's scores."""
    forgetting, table = paper_tables.after_against_before(results)
    against_simple = _against_simple_models(results, arms_with(results, "auroc")[:1])
    tables = {**table, **figures.imputation_tables(results)}
    return Findings(forgetting + against_simple, tables)


def _all_tables(results: Results, arms: Sequence[str]) -> dict[str, Table]:
    """Of the outcome and of the imputation."""
    simple = simple_models(results, metric="auroc")
    outcome = figures.outcome_tables(results, arms, simple)
    return {**outcome, **figures.imputation_tables(results)}


def _against_simple_models(
    results: Results, arms: Sequence[str], compare: Compare | None = None
) -> list[dict]:
    """The arms against every simple model, in AUROC and AUPRC."""
    contrasts = [
        (network(arm), rival, metric)
        for arm in arms
        for rival in simple_models(results, metric="auroc")
        for metric in ("auroc", "auprc")
    ]
    return adjusted_family(compare_all(results, contrasts, compare))


def _between_arms(
    results: Results, arms: Sequence[str], compare: Compare | None = None
) -> list[dict]:
    """The first arm against the others, and each of these against the one before it, in AUROC."""
    first, *others = arms
    pairs = [(first, other) for other in others]
    pairs += zip(others[1:], others, strict=False)
    contrasts = [(network(a), network(b), "auroc") for a, b in pairs]
    return adjusted_family(compare_all(results, contrasts, compare))
