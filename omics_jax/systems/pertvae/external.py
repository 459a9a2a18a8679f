"""Scores of external pairs, all of which every training tests: drawn cell lines and trainings.

The bootstrap is that of `evaluation.shared_test_set`; a draw holds whole cell lines (or what else
`data.group_by` keeps together), the same for all drugs and models. Left out: coverage and the rmse
of the shifted profile, which have no interval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from omics_jax.evaluation import comparisons, shared_test_set
from omics_jax.evaluation.tables import Table
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.pertvae.scoring import CELLS, PAIRS, SQUARES

METHOD = "bootstrap of test cell lines and trainings"
DRAWS = 1000
NO_SCORES = ("id", "person", "model", "arm", "group", "fold", SQUARES, CELLS)


class Drawn(NamedTuple):
    """Scores by drug, of a model in a metric.

    observed: on the pairs themselves, by training.
    draws: on every draw of cell lines.
    """

    observed: Float[np.ndarray, "trainings drugs"]
    draws: Float[np.ndarray, "draws trainings drugs"]


class Resampled(NamedTuple):
    """All scores, drawn.

    arm: whose network the `MODEL` is.
    drugs: their names, in the order of the scores.
    scores: (model, metric) -> its scores.
    """

    arm: str
    drugs: tuple[str, ...]
    scores: dict[tuple[str, str], Drawn]


def resample(results: Results) -> Resampled:
    """Every metric that is a mean over pairs, and the rmse, on `DRAWS` draws of cell lines."""
    rows = results.frames[PAIRS].rows
    drugs = tuple(dict.fromkeys(rows["group"].astype(str)))
    scores = {}
    for model, of_model in rows.groupby("model", sort=False):
        scores |= _resample_model(str(model), of_model, drugs)
    return Resampled(str(rows["arm"].iloc[0]), drugs, scores)


def _resample_model(
    model: str, rows: pd.DataFrame, drugs: tuple[str, ...]
) -> dict[tuple[str, str], Drawn]:
    ordered = rows.sort_values(["group", "id"])
    by_fold = [part for _, part in ordered.groupby("fold")]
    metrics = [name for name in rows if name not in NO_SCORES and rows[name].notna().any()]
    pairs = np.stack([part[[*metrics, SQUARES, CELLS]].to_numpy(np.float64) for part in by_fold])
    drug = by_fold[0]["group"].astype(str).map(drugs.index).to_numpy()
    line = by_fold[0]["person"].to_numpy(str)

    def score(drawn: np.ndarray, drug: np.ndarray) -> np.ndarray:
        return scores_by_drug_of(drawn, drug, len(drugs))

    draws = shared_test_set.resample(score, pairs, drug, line, n=DRAWS)
    observed = np.stack([score(part, drug) for part in pairs])
    return {
        (model, metric): Drawn(observed[..., k], draws[..., k])
        for k, metric in enumerate([*metrics, "rmse"])
    }


def scores_by_drug_of(
    pairs: Float[np.ndarray, "n columns"], drug: Int[np.ndarray, " n"], drugs: int
) -> Float[np.ndarray, "drugs metrics"]:
    """The mean of k scores over the pairs of every drug, without pairs that have none, and the
    rmse, from the last two columns (squared errors and cells); nan for a drug without pairs.
    """
    known = ~np.isnan(pairs)
    values = np.where(known, pairs, 0)
    totals = np.stack([np.bincount(drug, column, drugs) for column in values.T], axis=1)
    counts = np.stack([np.bincount(drug, column, drugs) for column in known.T], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = totals[:, :-2] / counts[:, :-2]
        rmse = np.sqrt(totals[:, -2] / totals[:, -1])
    return np.column_stack([means, rmse])


def intervals(drawn: Resampled) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(arm, model, metric) -> 95 % interval of the mean over drugs and trainings."""
    return {
        (drawn.arm, model, metric): shared_test_set.interval(scores.draws.mean(axis=2))
        for (model, metric), scores in drawn.scores.items()
    }


def compare(
    drawn: Resampled, a: tuple[str, str], b: tuple[str, str], names: tuple[str, str, str]
) -> list[dict]:
    """a minus b, each (model, metric), for every drug, p after Benjamini-Hochberg over drugs.

    names: metric, a and b as the tests call them.
    """
    metric, name_a, name_b = names
    ours, theirs = drawn.scores[a], drawn.scores[b]
    tests = []
    for k, drug in enumerate(drawn.drugs):
        ci95, p = shared_test_set.difference(ours.draws[..., k], theirs.draws[..., k])
        test = {
            "a": name_a,
            "b": name_b,
            "metric": metric,
            "group": drug,
            "difference": float((ours.observed - theirs.observed)[:, k].mean()),
            "ci95": list(ci95),
            "p": p,
            "test": METHOD,
        }
        tests.append(test)
    return comparisons.with_adjusted_p(tests, comparisons.benjamini_hochberg)


# --- tables ---------------------------------------------------------------------------------------


def table(results: Results, drawn: Resampled, tests: list[dict]) -> Table:
    """A row for every drug. tests: of rho_pred against rho_rec."""
    rows = []
    for k, (drug, test) in enumerate(zip(drawn.drugs, tests, strict=True)):
        groups, pairs = results.sizes[drug]
        means = {
            metric: float(drawn.scores[MODEL, metric].observed[:, k].mean())
            for metric in ("rho_rec", "rho_pred", "delta_pearson", "top50_recall")
        }
        low, high = test["ci95"]
        row = {
            "drug": drug,
            "groups": groups,
            "pairs": pairs,
            **means,
            "difference": test["difference"],
            "low": low,
            "high": high,
            "p": test["p"],
            "p (BH)": test["p_adjusted"],
        }
        rows.append(row)
    caption = (
        "Every training is tested on all external pairs of its drug. rho_rec and rho_pred are the "
        "Spearman correlations with the observed treated profile of the reconstructed control and "
        "of the prediction; their difference with its interval and two-sided p is by a bootstrap "
        "of cell lines and trainings, with Benjamini-Hochberg over drugs."
    )
    return Table("table", pd.DataFrame(rows), "External pairs by drug", caption)


def scores_by_drug(drawn: Resampled) -> Table:
    """Correlation of the predicted with the observed change, by drug and model."""
    rows = []
    for (model, metric), scores in drawn.scores.items():
        if metric not in ("delta_pearson", "delta_pearson_shift"):
            continue
        label = model if metric == "delta_pearson" else "model, drug's own change"
        for k, drug in enumerate(drawn.drugs):
            low, high = shared_test_set.interval(scores.draws[..., k])
            value = float(scores.observed[:, k].mean())
            row = {"label": label, "series": drug, "value": value, "low": low, "high": high}
            rows.append(row)
    caption = (
        "Mean over trainings with its 95 % interval, by a bootstrap of cell lines and trainings. "
        "Predicting no change scores 0 by definition. The noise of the control enters the observed "
        "change and any prediction that smooths the profile: compare model, ridge and PCA with "
        "each other."
    )
    return Table(
        "intervals",
        pd.DataFrame(rows),
        "Correlation of the predicted with the observed change",
        caption,
        x_label="Pearson correlation over genes",
    )
