"""Which features the predictions depend on, tested against networks trained on permuted outcomes.

For every task: a ranking of features with p-values against the permuted networks, and the stability
of the ranking over folds. The attributions themselves are computed in `attribution`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Num

from omics_jax.evaluation.attribution import (
    max_t_p,
    pooled_permutation_p,
    spearman_stability,
    top_features,
)
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.tables import Table
from omics_jax.study.system import MODEL, Results
from omics_jax.tasks.attribution import ATTRIBUTION, NETWORK, PERMUTED, permuted_outcome

TOP = 30
LEVEL = 0.05
NULL = (
    "The null distribution is of {permutations} networks trained on the same patients after this "
    "outcome was permuted among the training patients that have one, and likewise among the "
    "validation patients, so that no measurement is related to it; other outcomes of the network "
    "remain, since what it learned from these shows in this one, too. The attributions are on the "
    "same test patients. "
)


def ranking_tables(results: Results) -> dict[str, Table]:
    """The ranking and all features of every task, and a summary with a row per task."""
    tables, summaries = {}, []
    for key, frame in results.frames.items():
        if frame.kind != ATTRIBUTION:
            continue
        task = key.removeprefix("attribution_")
        features, summary = _test_features(task, frame.rows)
        summaries.append({"task": task, **summary})
        tables[f"{task}_ranking"] = _ranking(task, features, summary)
        tables[f"{task}_features"] = _all_features(task, features, summary)
    caption = (
        "Of the features that vary, the number beyond the permuted networks at a false discovery "
        f"rate (q) below {LEVEL:g} and, more strictly, at a probability below {LEVEL:g} that any "
        "of them is false (family-wise p). Rank stability: mean Spearman correlation of the "
        "features' attributions between the networks of two folds."
    )
    frame = pd.DataFrame(summaries)
    return {"interpretation": Table("table", frame, "Features beyond the null", caption), **tables}


def attribution_shares(magnitudes: Float[np.ndarray, "r d"]) -> Float[np.ndarray, "r d"]:
    """Magnitudes divided by their sum over all features of the replicate; nan is not in the sum.

    A network that learned something is more confident in all its predictions, so that every
    feature's magnitude is above those of the permuted networks. The share does not depend on this.
    """
    total = np.nansum(magnitudes, axis=1, keepdims=True)
    return magnitudes / np.where(total > 0, total, 1)


def permutation_p_values(
    observed: Num[np.ndarray, " d"], null: Num[np.ndarray, "p d"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """(p of each feature by the pooled nulls, family-wise p by maxT); nan for features always 0.

    maxT compares features on one scale: each is standardised by its observed and null values
    together. This treats the observed value and all permutations alike, so maxT remains exact.
    """
    values = np.concatenate([observed[None], null])
    always_zero = (values == 0).all(axis=0)
    sd = values.std(axis=0)
    standardized = (values - values.mean(axis=0)) / np.where(sd > 0, sd, 1)
    standardized = np.where(sd > 0, standardized, np.nan)
    p = np.where(always_zero, np.nan, pooled_permutation_p(observed, null))
    p_family = np.where(always_zero, np.nan, max_t_p(standardized[0], standardized[1:]))
    return p, p_family


def _test_features(task: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int | float]]:
    """A task's features with their p-values, largest share first, and a summary of the tests."""
    is_other = (rows["arm"] == PERMUTED) & (rows["group"].map(permuted_outcome) != task)
    folds, null = _replicates(rows, NETWORK), _replicates(rows[~is_other], PERMUTED)
    fold_shares, null_shares = _shares(folds), _shares(null)
    p, p_family = permutation_p_values(fold_shares[0], null_shares)
    q = benjamini_hochberg(p)
    features = folds[0][["modality", "feature", "magnitude", "signed"]].assign(
        share=fold_shares[0],
        null_share=null_shares.mean(axis=0),
        p=p,
        q=q,
        p_family=p_family,
        share_over_folds=fold_shares.mean(axis=0),
    )
    is_comparable = np.isfinite(fold_shares).all(axis=0) & (fold_shares > 0).any(axis=0)
    summary = {
        "features": int(np.isfinite(p).sum()),
        "q below .05": int((q < LEVEL).sum()),
        "family-wise p below .05": int((p_family < LEVEL).sum()),
        "permutations": len(null),
        "rank stability": round(spearman_stability(fold_shares[:, is_comparable]), 3),
    }
    order = ["share", "modality", "feature"]
    return features.sort_values(order, ascending=[False, True, True]), summary


def _shares(replicates: Sequence[pd.DataFrame]) -> Float[np.ndarray, "r d"]:
    return attribution_shares(np.stack([features["magnitude"] for features in replicates]))


def _replicates(rows: pd.DataFrame, arm: str) -> list[pd.DataFrame]:
    """The tables of an arm's replicates, in their order."""
    of_arm = rows[(rows["arm"] == arm) & (rows["model"] == MODEL)]
    return [replicate for _, replicate in of_arm.groupby(["group", "fold"], sort=False)]


def _ranking(task: str, features: pd.DataFrame, summary: Mapping[str, int | float]) -> Table:
    names = (features["feature"] + " (" + features["modality"] + ")").to_numpy()
    share, p, q = (features[name].to_numpy(np.float64) for name in ("share", "p", "q"))
    frame = top_features(names, 100 * share, p, q, TOP)
    frame["series"] = np.where(
        frame["p_adjusted"] < LEVEL, "beyond the null (q < .05)", "within the null"
    )
    caption = (
        f"{summary['q below .05']:,} of {summary['features']:,} features that vary have q < .05. A "
        "bar is a feature's share of the total attribution: of what moves predictions away from "
        "that for the average patient (integrated gradients, mean magnitude over the first fold's "
        f"test patients). {NULL.format(permutations=summary['permutations'])}The test shows which "
        "features the network uses more than a network with nothing to learn, not which features "
        "are causal."
    )
    title = f"{task}: the features its prediction depends on"
    return Table("ranking", frame.dropna(subset=["value"]), title, caption, "% of the attribution")


def _all_features(task: str, features: pd.DataFrame, summary: Mapping[str, int | float]) -> Table:
    caption = (
        "magnitude and signed: mean |attribution| and mean attribution over the first fold's test "
        "patients that have the modality, in the unit of the score (log-probability of the "
        "predicted class, standard deviations, risk). share: the magnitude divided by the sum of "
        "all; null_share: its mean over the permuted networks. p: of the share against the "
        "permuted networks, with the nulls of all features pooled; q: p after Benjamini and "
        "Hochberg over all features; p_family: maxT of Westfall and Young. Rank stability over "
        f"the folds: {summary['rank stability']:.2f}."
    )
    return Table("table", features, f"{task}: all features", caption)
