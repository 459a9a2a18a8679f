"""What attributions say of the features, beside networks that learned from permuted outcomes.

For every task a ranking of features with p-values against the permuted networks, and how stable it
is over folds. The attributions themselves stand in `attribution`.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from omics_jax.tasks.attribution import ATTRIBUTION, NETWORK, PERMUTED

TOP = 30
LEVEL = 0.05
NULL = (
    "The null are {permutations} networks that were trained on the same patients with each outcome "
    "dealt anew among the training patients that have one, and among the validation patients "
    "likewise, so that no measurement is related to any outcome. They are explained on the same "
    "test patients. "
)


def ranking_tables(results: Results) -> dict[str, Table]:
    """For every task its ranking and a table of all features, and one line per task of how many
    stand out.
    """
    found, lines = {}, []
    for key, frame in results.frames.items():
        if frame.kind != ATTRIBUTION:
            continue
        task = key.removeprefix("attribution_")
        features, line = _tested(frame.rows)
        lines.append({"task": task, **line})
        found[f"{task}_ranking"] = _ranking(task, features, line)
        found[f"{task}_features"] = _all_features(task, features, line)
    caption = (
        "Of the features that vary, those beyond the permuted networks at a false discovery rate "
        f"(q) below {LEVEL:g} and, more strictly, where the chance of any false one among them is "
        "below that (family-wise p). Rank stability: mean Spearman correlation of the features' "
        "attribution between the networks of two folds."
    )
    return {
        "interpretation": Table("table", pd.DataFrame(lines), "Features that stand out", caption),
        **found,
    }


def shares(magnitudes: Float[np.ndarray, "r d"]) -> Float[np.ndarray, "r d"]:
    """Magnitudes over their sum in the replicate, over all modalities; nan stays nan, and is no
    part of the sum.

    A network that learned something is surer in all it says, so that every feature's magnitude is
    above those of the permuted networks; what a feature is to a prediction is its part of it.
    """
    total = np.nansum(magnitudes, axis=1, keepdims=True)
    return magnitudes / np.where(total > 0, total, 1)


def p_values(
    observed: Num[np.ndarray, " d"], null: Num[np.ndarray, "p d"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """p of each feature by the pooled nulls, and p for the family by maxT; nan for features that
    are 0 throughout.

    maxT compares features on one scale: each is standardised by its observed and null values
      together, which treats
    all permutations and the truth alike and so keeps it exact.
    """
    together = np.concatenate([observed[None], null])
    never = (together == 0).all(axis=0)
    spread = together.std(axis=0)
    scaled = np.where(
        spread > 0, (together - together.mean(axis=0)) / np.where(spread > 0, spread, 1), np.nan
    )
    p = np.where(never, np.nan, pooled_permutation_p(observed, null))
    return p, np.where(never, np.nan, max_t_p(scaled[0], scaled[1:]))


def _tested(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """All features of a task with their p-values, most attributed first, and what is to be said of
    them together.
    """
    folds, null = _replicates(frame, NETWORK), _replicates(frame, PERMUTED)
    first = folds[0]
    of_folds, of_null = (shares(np.stack([f["magnitude"] for f in part])) for part in (folds, null))
    p, p_family = p_values(of_folds[0], of_null)
    q = benjamini_hochberg(p)
    found = first[["modality", "feature", "magnitude", "signed"]].assign(
        share=of_folds[0],
        null_share=of_null.mean(axis=0),
        p=p,
        q=q,
        p_family=p_family,
        share_over_folds=of_folds.mean(axis=0),
    )
    everywhere = np.isfinite(of_folds).all(axis=0) & (of_folds > 0).any(axis=0)
    line = {
        "features": int(np.isfinite(p).sum()),
        "q below .05": int((q < LEVEL).sum()),
        "family-wise p below .05": int((p_family < LEVEL).sum()),
        "permutations": len(null),
        "rank stability": round(spearman_stability(of_folds[:, everywhere]), 3),
    }
    return found.sort_values(["share", "modality", "feature"], ascending=[False, True, True]), line


def _replicates(frame: pd.DataFrame, arm: str) -> list[pd.DataFrame]:
    """The tables of an arm's replicates, in their order."""
    own = frame[(frame["arm"] == arm) & (frame["model"] == MODEL)]
    return [part for _, part in own.groupby(["group", "fold"], sort=False)]


def _ranking(task: str, found: pd.DataFrame, line: Mapping) -> Table:
    names = (found["feature"] + " (" + found["modality"] + ")").to_numpy()
    percent, p, q = (found[name].to_numpy(np.float64) for name in ("share", "p", "q"))
    frame = top_features(names, 100 * percent, p, q, TOP)
    frame["series"] = np.where(
        frame["p_adjusted"] < LEVEL, "beyond the null (q < .05)", "within the null"
    )
    caption = (
        f"{line['q below .05']:,} of {line['features']:,} features that vary are at q < .05. A bar "
        "is a feature's part of all that moves the prediction away from that of the average "
        "patient (integrated gradients, mean size over the first fold's test patients). "
        f"{NULL.format(permutations=line['permutations'])}It tells which features the network uses "
        "more than it would without anything to learn, not which act."
    )
    title = f"{task}: what its prediction stands on"
    return Table("ranking", frame.dropna(subset=["value"]), title, caption, "% of the attribution")


def _all_features(task: str, found: pd.DataFrame, line: Mapping) -> Table:
    caption = (
        "magnitude and signed: mean |attribution| and mean attribution over the first fold's test "
        "patients that have the modality, in the unit of the score (log-probability of the "
        "predicted class, standard deviations, risk). share: the magnitude over the sum of all; "
        "null_share: its mean over the permuted networks. p: of the share against the permuted "
        "networks, the nulls of all features pooled; q: p after Benjamini and Hochberg over all "
        "features; p_family: maxT of Westfall and Young. Rank stability over the folds "
        f"{line['rank stability']:.2f}."
    )
    return Table("table", found, f"{task}: all features", caption)
