"""The curves, scores and errors that the EHR experiments show beside their conclusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from omics_jax.evaluation import bootstrap, classification
from omics_jax.evaluation.tables import Table
from omics_jax.study.system import MODEL, Results

BOOSTING = "gradient boosting"
DRAWN, DRAWN_VARIABLES = 4, 8  # models in a picture of curves, variables in one of errors
DRAWS = 1000
STATISTICS = {
    "auroc": classification.auroc,
    "auprc": classification.auprc,
    "brier": classification.brier,
}


def of_outcome(
    results: Results, arms: Sequence[str], simple: Sequence[tuple[str, str]]
) -> dict[str, Table]:
    """Curves and pooled scores of the classifiers `arms` and of the simple models (arm, name)
    beside them.
    """
    return {**_curves(results, _drawn(results, arms, simple)), **_pooled(results, arms, simple)}


def pooled_predictions(results: Results, arm: str, model: str) -> pd.DataFrame:
    """One probability per patient: that of the fold (or the mean of the folds) that tested it."""
    frame = results.tables["probability"]
    chosen = frame[(frame["arm"] == arm) & (frame["model"] == model)]
    first = {name: (name, "first") for name in ("label", "person")}
    return chosen.groupby("id").agg(probability=("probability", "mean"), **first).sort_index()


def _drawn(results: Results, arms, simple) -> list[tuple[str, str, str]]:
    """(arm, model, name) of the best arms and of the two baselines that matter."""
    scores = results.scores[
        (results.scores["model"] == MODEL) & (results.scores["metric"] == "auroc")
    ]
    mean = scores.groupby("arm")["value"].mean()
    named = [
        (arm, model, model) for arm, model in simple if model in (BOOSTING, "logistic regression")
    ][:2]
    return [
        (arm, MODEL, arm) for arm in sorted(arms, key=lambda arm: -mean[arm])[: DRAWN - len(named)]
    ] + named


def _curves(results: Results, drawn) -> dict[str, Table]:
    """ROC, precision-recall and calibration curves of pooled test patients."""
    roc, pr, calibration = [], [], []
    for arm, model, name in drawn:
        pooled = pooled_predictions(results, arm, model)
        p, y = pooled["probability"].to_numpy(), pooled["label"].to_numpy()
        frame = lambda curve: pd.DataFrame({k: v for k, v in curve.items() if k != "threshold"})
        area = f"{name}, AUROC {classification.auroc(p, y):.3f}"
        roc.append(frame(classification.roc_curve(p, y)).assign(series=area))
        precision = f"{name}, AUPRC {classification.auprc(p, y):.3f}"
        pr.append(
            frame(classification.precision_recall_curve(p, y)).assign(
                series=precision, chance=y.mean()
            )
        )
        calibration.append(frame(classification.calibration_curve(p, y)).assign(series=name))
    pooled_note = (
        "Every patient once, with the mean probability of the folds that tested it; folds pooled."
    )
    return {
        "roc": Table(
            "roc",
            pd.concat(roc),
            "ROC curves",
            pooled_note,
            "false positive rate",
            "true positive rate",
        ),
        "pr": Table(
            "pr", pd.concat(pr), "Precision and recall", pooled_note, "recall", "precision"
        ),
        "calibration": Table(
            "calibration",
            pd.concat(calibration),
            "Calibration",
            f"{pooled_note} Tenths of the patients by predicted risk; bars are 95 % Wilson "
            "intervals.",
            "predicted risk",
            "observed rate",
        ),
    }


def _pooled(results: Results, arms, simple) -> dict[str, Table]:
    """Scores over pooled test patients with bootstrap intervals, and each model's difference from
    boosting.
    """
    everyone = [*((arm, MODEL) for arm in arms), *simple]
    reference = next((pair for pair in everyone if pair[1] == BOOSTING), None)
    against = pooled_predictions(results, *reference) if reference else None
    rows = []
    for arm, model in everyone:
        pooled = pooled_predictions(results, arm, model)
        p, y, person = (pooled[name].to_numpy() for name in ("probability", "label", "person"))
        row = {"model": arm if model == MODEL else model, "patients": len(y)}
        for name, statistic in STATISTICS.items():
            low, high = bootstrap.bootstrap_interval(statistic, p, y, person, n=DRAWS)
            row |= {
                name.upper() if name != "brier" else "Brier": statistic(p, y),
                f"{name} low": low,
                f"{name} high": high,
            }
        if against is not None and (arm, model) != reference:
            difference, low, high, chance = bootstrap.paired_bootstrap(
                classification.auroc, p, against["probability"].to_numpy(), y, person, n=DRAWS
            )
            row |= {"AUROC - boosting": difference, "low": low, "high": high, "p": chance}
        rows.append(row)
    caption = (
        "Scores over all tested patients pooled, with 95 % intervals from a bootstrap over "
        "patients (1,000 draws; all stays of a person together), and the paired difference in "
        "AUROC from gradient boosting on plain summaries, trained on the same rows. This interval "
        "knows the sampling of test patients and not that of training sets; the corrected tests "
        "above do."
    )
    return {"pooled": Table("table", pd.DataFrame(rows), "Pooled scores", caption)}


def of_imputation(results: Results) -> dict[str, Table]:
    """Error by variable of imputers and simple methods, and the series of a few patients of the
    first fold.
    """
    if "variables" not in results.tables:
        return {}
    frame = results.tables["variables"]
    first_arm, level = frame["arm"].iloc[0], frame["level"].iloc[0]
    weighted = frame.assign(
        mae=frame["mae"] * frame["n"], mae_units=frame["mae_units"] * frame["n"]
    )
    # Imputers alone, of the first share held out: those that classifiers have changed stand in the
    # file below.
    imputer = frame["arm"].map(lambda arm: bool(results.labels[arm].get("imputer")))
    weighted = weighted[imputer & (frame["level"] == level)]
    table = weighted.groupby(["arm", "model", "variable"], sort=False)[
        ["n", "mae", "mae_units"]
    ].sum(min_count=1)
    table = table.assign(
        mae=table["mae"] / table["n"], mae_units=table["mae_units"] / table["n"]
    ).reset_index()
    table = table[(table["arm"] == first_arm) | (table["model"] == MODEL)]
    table["method"] = table["arm"].where(table["model"] == MODEL, table["model"])
    wide = table.pivot_table(index="variable", columns="method", values="mae", sort=False)
    own = table[(table["arm"] == first_arm) & (table["model"] == MODEL)].set_index("variable")
    wide.insert(0, "held-out cells", own["n"].astype(int))
    wide[f"{first_arm}, input units"] = own["mae_units"]
    wide = wide.sort_values("held-out cells", ascending=False).reset_index()
    few = wide["variable"][:DRAWN_VARIABLES]
    dots = table[table["model"].isin([MODEL, "linear", "locf"]) & table["variable"].isin(few)]
    dots = pd.DataFrame({"label": dots["variable"], "value": dots["mae"], "series": dots["method"]})
    held = (
        f"the {level} % of observed values held out"
        if str(level).isdigit()
        else "the values that the file held out"
    )
    out = {
        "errors_by_variable": Table(
            "table", wide, "Error by variable",
            f"Mean absolute error on {held}, in s.d. of the training rows; last column in the "
            "variable's own units.",
        ),
        "error_ranking": Table(
            "ranking", dots, "Error of the most measured variables",
            f"Mean absolute error on {held} (s.d. of the training rows), per variable and method.",
            x_label="mean absolute error (s.d.)",
        ),
        "errors_by_variable_and_share": Table(
            "file", _all_errors(frame), "Error by variable and share held out",
            "Mean absolute, root mean square and mean relative error on the scale of the "
            "training rows and in the variable's own units (_units), over the held-out cells (n) "
            "of the test patients of all folds.",
        ),
    }  # fmt: skip
    if "series" in results.tables:
        series = results.tables["series"]
        series = series[
            (series["fold"] == series["fold"].min()) & (series["arm"] == series["arm"].iloc[0])
        ]
        out["series"] = Table(
            "series", series[["panel", "variable", "x", "value", "low", "high", "role"]], "Imputed series",
            "Four of the best observed test patients of the first fold. The line is what the "
            "model imputes, with the disagreement of its two directions as a band; filled dots "
            "were seen by it, open dots were held out.",
            x_label="hours since admission",
        )  # fmt: skip
    return out


def _all_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Every kind of error by arm, model, level and variable, cells of all folds pooled."""
    by = ["arm", "model", "level", "variable"]
    kinds = [f"{kind}{unit}" for unit in ("", "_units") for kind in ("mae", "rmse", "mre")]
    # What is added up: absolute errors, squared errors, and (error / its relative error) the size
    # of the truth.
    sums = frame[[*by, "n"]].copy()
    for unit in ("", "_units"):
        mae, rmse, mre = (frame[f"{kind}{unit}"] for kind in ("mae", "rmse", "mre"))
        sums[f"mae{unit}"], sums[f"rmse{unit}"] = mae * frame["n"], rmse**2 * frame["n"]
        sums[f"mre{unit}"] = np.where(mre > 0, mae * frame["n"] / mre.where(mre > 0, 1), 0)
    total = sums.groupby(by, sort=False)[["n", *kinds]].sum().reset_index()
    for unit in ("", "_units"):
        error, size = total[f"mae{unit}"], total[f"mre{unit}"]
        total[f"mre{unit}"] = error / size.where(size > 0)
        total[f"mae{unit}"] = error / total["n"].where(total["n"] > 0)
        total[f"rmse{unit}"] = np.sqrt(total[f"rmse{unit}"] / total["n"].where(total["n"] > 0))
    return total
