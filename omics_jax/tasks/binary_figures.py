"""Curves and pooled scores of probabilities, from the test rows of the first repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from omics_jax.evaluation import bootstrap, classification
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.comparisons import Model
from omics_jax.study.system import MODEL
from omics_jax.tasks.binary import STATISTICS

DRAWS = 1000
POOLED = "Every patient once, with the mean probability of the folds that tested it; folds pooled."


def pooled_predictions(frame: Frame, model: Model) -> pd.DataFrame:
    """One probability per row: that of the fold (or the mean of the folds) that tested it.

    frame: of `binary.binary_frame`, all arms and folds.
    """
    arm, name = model
    rows = frame.rows[(frame.rows["arm"] == arm) & (frame.rows["model"] == name)]
    first = {column: (column, "first") for column in ("label", "person")}
    return rows.groupby("id").agg(probability=("probability", "mean"), **first).sort_index()


def display_name(model: Model) -> str:
    """What a model is called in a figure: the arm that trained it, or the simple model's name."""
    arm, name = model
    return arm if name == MODEL else name


def probability_curves(frame: Frame, models: Sequence[Model], prefix: str = "") -> dict[str, Table]:
    """ROC, precision-recall and calibration curves of pooled test rows.

    prefix: of the names and titles of the tables, such as the outcome's name and an underscore.
    """
    roc, pr, calibration = [], [], []
    for model in models:
        name, pooled = display_name(model), pooled_predictions(frame, model)
        p, y = pooled["probability"].to_numpy(), pooled["label"].to_numpy()
        area = f"{name}, AUROC {classification.auroc(p, y):.3f}"
        roc.append(_curve_frame(classification.roc_curve(p, y)).assign(series=area))
        precision = f"{name}, AUPRC {classification.auprc(p, y):.3f}"
        pr_curve = _curve_frame(classification.precision_recall_curve(p, y))
        pr.append(pr_curve.assign(series=precision, chance=y.mean()))
        calibration.append(_curve_frame(classification.calibration_curve(p, y)).assign(series=name))
    subject = f"{prefix.removesuffix('_')}: " if prefix else ""
    return {
        f"{prefix}roc": Table(
            "roc",
            pd.concat(roc),
            f"{subject}ROC curves",
            POOLED,
            "false positive rate",
            "true positive rate",
        ),
        f"{prefix}pr": Table(
            "pr",
            pd.concat(pr),
            f"{subject}Precision and recall",
            POOLED,
            "recall",
            "precision",
        ),
        f"{prefix}calibration": Table(
            "calibration",
            pd.concat(calibration),
            f"{subject}Calibration",
            f"{POOLED} Tenths of the patients by predicted risk; bars are 95 % Wilson intervals.",
            "predicted risk",
            "observed rate",
        ),
    }


def _curve_frame(curve: Mapping[str, np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame({name: values for name, values in curve.items() if name != "threshold"})


def pooled_scores(
    frame: Frame,
    models: Sequence[Model],
    reference: Model | None = None,
    reference_name: str = "",
    reference_note: str = "",
) -> Table:
    """Scores over pooled test rows with bootstrap intervals, and each model's difference from a
    reference.

    reference_name: how the column of differences calls it.
    reference_note: what it is, for the caption.
    """
    rival = pooled_predictions(frame, reference) if reference else None
    rows = []
    for model in models:
        pooled = pooled_predictions(frame, model)
        row = {"model": display_name(model), "patients": len(pooled), **_scores_of(pooled)}
        if rival is not None and model != reference:
            row |= _difference(pooled, rival, f"AUROC - {reference_name}")
        rows.append(row)
    difference = (
        f", and the paired difference in AUROC from {reference_note}, trained on the same rows"
        if reference
        else ""
    )
    caption = (
        "Scores over all tested patients pooled, with 95 % intervals from a bootstrap over "
        f"patients (1,000 draws; all rows of a person together){difference}. This interval "
        "covers the sampling of test patients and not that of training sets; the corrected tests "
        "above do."
    )
    return Table("table", pd.DataFrame(rows), "Pooled scores", caption)


def _scores_of(pooled: pd.DataFrame) -> dict[str, float]:
    """Every statistic with its interval."""
    p, y, person = (pooled[name].to_numpy() for name in ("probability", "label", "person"))
    scores = {}
    for name, statistic in STATISTICS.items():
        low, high = bootstrap.bootstrap_interval(statistic, p, y, person, n=DRAWS)
        title = "Brier" if name == "brier" else name.upper()
        scores |= {title: statistic(p, y), f"{name} low": low, f"{name} high": high}
    return scores


def _difference(pooled: pd.DataFrame, rival: pd.DataFrame, column: str) -> dict[str, float]:
    p, y, person = (pooled[name].to_numpy() for name in ("probability", "label", "person"))
    difference, low, high, p_value = bootstrap.paired_bootstrap(
        classification.auroc, p, rival["probability"].to_numpy(), y, person, n=DRAWS
    )
    return {column: difference, "low": low, "high": high, "p": p_value}
