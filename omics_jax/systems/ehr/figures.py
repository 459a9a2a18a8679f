"""The curves, scores and errors that the EHR experiments show with their conclusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import Model, mean_score, network
from omics_jax.study.system import MODEL, Results
from omics_jax.tasks.binary_figures import pooled_scores, probability_curves

BOOSTING, LOGISTIC = "gradient boosting", "logistic regression"
DRAWN_MODELS = 4  # in a figure of curves
DRAWN_VARIABLES = 8  # in the figure of errors
DRAWN_METHODS = (MODEL, "linear", "locf")


# --- the outcome ----------------------------------------------------------------------------------


def outcome_tables(
    results: Results, arms: Sequence[str], simple: Sequence[Model]
) -> dict[str, Table]:
    """Curves and pooled scores of the classifiers `arms` and of the simple models."""
    frame, models = results.frames["probability"], [*map(network, arms), *simple]
    boosting = next((model for model in models if model[1] == BOOSTING), None)
    pooled = pooled_scores(
        frame, models, boosting, "boosting", "gradient boosting on plain summaries"
    )
    return {**probability_curves(frame, _drawn_models(results, arms, simple)), "pooled": pooled}


def _drawn_models(results: Results, arms: Sequence[str], simple: Sequence[Model]) -> list[Model]:
    """The best arms, and the two simple models that matter."""
    rivals = [model for model in simple if model[1] in (BOOSTING, LOGISTIC)][:2]

    def auroc(arm: str) -> float:
        return mean_score(results.scores, network(arm), "auroc")

    best = sorted(arms, key=auroc, reverse=True)[: DRAWN_MODELS - len(rivals)]
    return [*map(network, best), *rivals]


# --- the imputation -------------------------------------------------------------------------------


def imputation_tables(results: Results) -> dict[str, Table]:
    """Error by variable of imputers and simple methods, and the series of a few patients of the
    first fold.
    """
    if "errors" not in results.frames:
        return {}
    frame = results.frames["errors"].rows
    first_arm, level = frame["arm"].iloc[0], frame["level"].iloc[0]
    held = "the values that the file held out"
    if str(level).isdigit():
        held = f"the {level} % of observed values held out"
    errors = _errors_of_imputers(results, frame[frame["level"] == level], first_arm)
    wide = _errors_by_method(errors, first_arm)
    tables = {
        "errors_by_variable": Table(
            "table",
            wide,
            "Error by variable",
            f"Mean absolute error on {held}, in s.d. of the training rows; last column in the "
            "variable's own units.",
        ),
        "error_ranking": Table(
            "ranking",
            _ranking(errors, wide["variable"][:DRAWN_VARIABLES]),
            "Error of the most measured variables",
            f"Mean absolute error on {held} (s.d. of the training rows), per variable and method.",
            x_label="mean absolute error (s.d.)",
        ),
        "errors_by_variable_and_share": Table(
            "file",
            all_errors(frame),
            "Error by variable and share held out",
            "Mean absolute, root mean square and mean relative error on the scale of the "
            "training rows and in the variable's own units (_units), over the held-out cells (n) "
            "of the test patients of all folds.",
        ),
    }
    if "series" in results.frames:
        tables["series"] = _series_table(results.frames["series"].rows)
    return {**tables, **_clipped_table(results)}


def _clipped_table(results: Results) -> dict[str, Table]:
    """Imputed values beyond the training range, by arm and variable; nothing where there are none.

    Of the test patients of all folds.
    """
    if "clipped" not in results.frames:
        return {}
    rows = results.frames["clipped"].rows
    counts = rows.groupby(["arm", "variable"], sort=False)[["imputed", "clipped"]].sum()
    counts = counts[counts["clipped"] > 0].reset_index()
    if counts.empty:
        return {}
    counts["share"] = counts["clipped"] / counts["imputed"]
    caption = (
        "Imputed values of test patients that left the range of the training values by more than a "
        "tenth of it, and were drawn in to that limit. Many of them say that the training broke "
        "down, or that values of the file cannot be."
    )
    return {"clipped": Table("table", counts, "Imputed values beyond the training range", caption)}


def _errors_of_imputers(results: Results, frame: pd.DataFrame, first_arm: str) -> pd.DataFrame:
    """Mean errors by method and variable, cells of all folds pooled.

    Of the arms that impute, and of the simple methods of the first; an imputer that a classifier
    has changed is left out.
    """
    is_imputer = frame["arm"].map(lambda arm: bool(results.labels[arm].get("imputer")))
    frame = frame[is_imputer]
    kinds, by = ["mae", "mae_units"], ["arm", "model", "variable"]
    weighted = frame.assign(**{kind: frame[kind] * frame["n"] for kind in kinds})
    sums = weighted.groupby(by, sort=False)[["n", *kinds]].sum(min_count=1)
    means = {kind: sums[kind] / sums["n"] for kind in kinds}
    errors = sums.assign(**means).reset_index()
    errors = errors[(errors["arm"] == first_arm) | (errors["model"] == MODEL)].copy()
    errors["method"] = errors["arm"].where(errors["model"] == MODEL, errors["model"])
    return errors


def _errors_by_method(errors: pd.DataFrame, first_arm: str) -> pd.DataFrame:
    """A line per variable, the most measured first, and a column per method."""
    wide = errors.pivot_table(index="variable", columns="method", values="mae", sort=False)
    of_first = (errors["arm"] == first_arm) & (errors["model"] == MODEL)
    own = errors[of_first].set_index("variable")
    wide.insert(0, "held-out cells", own["n"].astype(int))
    wide[f"{first_arm}, input units"] = own["mae_units"]
    return wide.sort_values("held-out cells", ascending=False).reset_index()


def _ranking(errors: pd.DataFrame, variables: pd.Series) -> pd.DataFrame:
    """The dots of the figure of errors."""
    chosen = errors["model"].isin(DRAWN_METHODS) & errors["variable"].isin(variables)
    dots = errors[chosen]
    return pd.DataFrame({"label": dots["variable"], "value": dots["mae"], "series": dots["method"]})


def _series_table(series: pd.DataFrame) -> Table:
    """The series of the first arm in its first fold."""
    first_fold = series["fold"] == series["fold"].min()
    shown = series[first_fold & (series["arm"] == series["arm"].iloc[0])]
    return Table(
        "series",
        shown[["panel", "variable", "x", "value", "low", "high", "role"]],
        "Imputed series",
        "Four of the best observed test patients of the first fold. The line is what the "
        "model imputes, with the disagreement of its two directions as a band; filled dots "
        "were seen by it, open dots were held out.",
        x_label="hours since admission",
    )


def all_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Every kind of error by arm, model, level and variable, cells of all folds pooled."""
    by = ["arm", "model", "level", "variable"]
    kinds = [f"{kind}{unit}" for unit in ("", "_units") for kind in ("mae", "rmse", "mre")]
    # What is added up: absolute errors, squared errors, and (error / its relative error) the size
    # of the truth.
    sums = frame[[*by, "n"]].copy()
    for unit in ("", "_units"):
        mae, rmse, mre = (frame[f"{kind}{unit}"] for kind in ("mae", "rmse", "mre"))
        sums[f"mae{unit}"] = mae * frame["n"]
        sums[f"rmse{unit}"] = rmse**2 * frame["n"]
        sums[f"mre{unit}"] = np.where(mre > 0, mae * frame["n"] / mre.where(mre > 0, 1), 0)
    total = sums.groupby(by, sort=False)[["n", *kinds]].sum().reset_index()
    count = total["n"].where(total["n"] > 0)
    for unit in ("", "_units"):
        error, size = total[f"mae{unit}"], total[f"mre{unit}"]
        total[f"mre{unit}"] = error / size.where(size > 0)
        total[f"mae{unit}"] = error / count
        total[f"rmse{unit}"] = np.sqrt(total[f"rmse{unit}"] / count)
    return total
