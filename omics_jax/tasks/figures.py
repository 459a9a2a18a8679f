"""The figures of predicted outcomes, from the test rows of all folds of the first repeat.

Risk groups for survival curves are formed within each fold, because the risks that different
networks predict have no common scale.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from omics_jax.errors import UserError
from omics_jax.evaluation import follow_up, survival
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.comparisons import network, simple_models
from omics_jax.study.system import MODEL, Results
from omics_jax.tasks.binary import BINARY
from omics_jax.tasks.binary_figures import probability_curves
from omics_jax.tasks.conformal import conformal_tables
from omics_jax.tasks.scoring import EMBEDDING

GROUPS = ("lowest third", "middle third", "highest third")
CALIBRATION_GROUPS = 5
SIGNIFICANCE = 0.05
ALL_FOLDS = "Test patients of all folds"


def task_figures(results: Results, arm: str, who: str = ALL_FOLDS) -> dict[str, Table]:
    """The figures of an arm's tasks and of its embedding, by the kind of the scored frames, and the
    tables of its intervals and sets.

    who: whose predictions they show, for the captions.
    """
    tables = {}
    for name, frame in results.frames.items():
        if frame.kind == BINARY:
            predicted = set(zip(frame.rows["arm"], frame.rows["model"], strict=True))
            models = [network(arm), *simple_models(results, arm)]
            models = [model for model in models if model in predicted]
            tables |= probability_curves(frame, models, f"{name.removeprefix(f'{BINARY} ')}_")
        elif frame.kind in _FIGURES:
            rows = rows_of_arm(frame, arm)
            tables |= {} if rows.empty else _FIGURES[frame.kind](name, rows, who)
    return {**tables, **conformal_tables(results, [arm])}


def rows_of_arm(frame: Frame, arm: str) -> pd.DataFrame:
    """The rows of a scored frame that an arm's own model predicted."""
    rows = frame.rows
    return rows[(rows["arm"] == arm) & (rows["model"] == MODEL)]


# --- survival -------------------------------------------------------------------------------------


def _survival_figures(name: str, rows: pd.DataFrame, who: str) -> dict[str, Table]:
    return {
        f"{name}_groups": _risk_groups(name, rows, who),
        f"{name}_calibration": _calibration(name, rows),
    }


def _risk_groups(name: str, rows: pd.DataFrame, who: str = ALL_FOLDS) -> Table:
    """Kaplan-Meier curves by third of predicted risk within each fold, and a log-rank test."""
    group = rows.groupby("fold")["risk"].transform(
        lambda risk: follow_up.risk_groups(risk.to_numpy(), len(GROUPS))
    )
    curves = []
    for code, label in enumerate(GROUPS):
        members = rows[group == code]
        if members.empty:
            continue
        times, curve, at_risk = follow_up.kaplan_meier(
            members["time"].to_numpy(), members["event"].to_numpy()
        )
        curves.append(pd.DataFrame({"x": times, "y": curve, "at_risk": at_risk, "series": label}))
    frame = pd.concat(curves, ignore_index=True)
    caption = (
        f"{who}, by third of predicted risk within their fold. "
        f"{_event_counts(rows, group)} {_log_rank_sentences(rows, group)}"
    )
    return Table(
        "survival", frame, f"{name} by predicted risk", caption, "time", "share without the event"
    )


def _event_counts(rows: pd.DataFrame, group: pd.Series) -> str:
    """ "Events, lowest third first: 2 of 13, 5 of 14, 9 of 13." """
    counts = rows.groupby(group)["event"].agg(["sum", "size"]).astype(int)
    shares = [f"{died} of {size}" for died, size in counts.to_numpy()]
    return f"Events, lowest third first: {', '.join(shares)}."


def _log_rank_sentences(rows: pd.DataFrame, group: pd.Series) -> str:
    """The log-rank test for trend over the thirds within folds and classes, and its direction."""
    within = ["fold", *(["class"] if _has_classes(rows) else [])]
    stratum = rows.groupby(within).ngroup().to_numpy()
    times, events = rows["time"].to_numpy(), rows["event"].to_numpy()
    try:
        test = follow_up.log_rank_trend(times, events, group.to_numpy(), stratum)
    except UserError as error:
        return f"No log-rank test: {error}."
    places = " and ".join({"fold": "folds", "class": "classes"}[name] for name in within)
    return (
        f"Log-rank test for trend within {places}: z {test.z:.2f}, p {test.p:.2g}. {_order(test)}"
    )


def _has_classes(rows: pd.DataFrame) -> bool:
    return "class" in rows and rows["class"].nunique() > 1


def _order(test: follow_up.LogRankTrend) -> str:
    """The direction of a trend over thirds of risk, in words."""
    if test.p < SIGNIFICANCE:
        if test.z > 0:
            return "Patients of a higher predicted risk had the event earlier."
        return (
            "The order is reversed: patients of a higher predicted risk had the event later, so "
            "that the risk is worse than chance."
        )
    reversed_too = " (the order is even reversed)" if test.z < 0 else ""
    return f"No order of the thirds was shown{reversed_too}."


def _calibration(name: str, rows: pd.DataFrame) -> Table:
    """Observed (Kaplan-Meier) against predicted survival, folds pooled, at the scored times."""
    times, events = rows["time"].to_numpy(), rows["event"].to_numpy()
    curves = []
    for k in range(1, 1 + sum(column.startswith("survival_") for column in rows.columns)):
        time = float(rows[f"time_{k}"].median())
        predicted = rows[f"survival_{k}"].to_numpy()
        try:
            points = survival.calibration_at(times, events, predicted, time, CALIBRATION_GROUPS)
        except UserError:  # no patient was followed until this time
            continue
        curves.append(pd.DataFrame(points).assign(series=f"at {time:,.0f}"))
    caption = (
        "Fifths of the test patients by predicted survival: predicted mean against Kaplan-Meier, "
        "with 95 % intervals, at config.survival.times or, if it is empty, at quartiles of event "
        "times."
    )
    frame = pd.concat(curves, ignore_index=True).dropna(subset=["y"]) if curves else pd.DataFrame()
    return Table(
        "calibration",
        frame,
        f"Calibration of {name}",
        caption,
        "predicted survival",
        "observed survival",
    )


# --- classes and numbers --------------------------------------------------------------------------


def _confusion(name: str, rows: pd.DataFrame, who: str = ALL_FOLDS) -> Table:
    counts = pd.crosstab(rows["label"], rows["predicted"])
    # The same classes in the same order on both sides put correct predictions on the diagonal.
    names = sorted({*counts.index, *counts.columns})
    counts = counts.reindex(index=names, columns=names, fill_value=0)
    counts = counts.rename_axis(index="row", columns="column")
    frame = counts.stack().rename("value").reset_index()
    return Table(
        "matrix",
        frame,
        f"{name}: observed and predicted",
        f"{who}.",
        f"predicted {name}",
        f"observed {name}",
    )


def _scatter(name: str, rows: pd.DataFrame, who: str = ALL_FOLDS) -> Table:
    frame = rows.rename(columns={"observed": "x", "value": "y"})[["x", "y"]]
    return Table(
        "scatter",
        frame,
        f"{name}: observed and predicted",
        f"{who}.",
        "observed",
        "predicted",
    )


# --- the embedding --------------------------------------------------------------------------------


def _map(rows: pd.DataFrame) -> Table:
    """The first fold's embedding, a panel per task; the axes of other folds' networks differ."""
    first = rows[rows["fold"] == rows["fold"].min()]
    no_tasks = {"id", "x", "y", "model", "arm", "group", "fold"}
    columns: dict[str, list] = {
        name: [] for name in ("x", "y", "panel", "value", "quantity", "series")
    }
    for task in [column for column in rows.columns if column not in no_tasks]:
        is_number = pd.api.types.is_numeric_dtype(first[task])
        count = len(first)
        if is_number:
            values, series = first[task].astype(float).tolist(), [""] * count
        else:
            values, series = [np.nan] * count, first[task].fillna("").astype(str).tolist()
        columns["x"] += first["x"].tolist()
        columns["y"] += first["y"].tolist()
        columns["panel"] += [task] * count
        columns["value"] += values
        columns["quantity"] += [task if is_number else ""] * count
        columns["series"] += series
    caption = (
        "Test patients of the first fold on the two main axes of the embedding, coloured by each "
        "outcome in turn."
    )
    frame = pd.DataFrame(columns) if columns["x"] else pd.DataFrame()
    return Table("map", frame, "Embedding", caption, "first axis", "second axis")


_FIGURES = {
    "survival": _survival_figures,
    "classification": lambda name, rows, who: {f"{name}_confusion": _confusion(name, rows, who)},
    "regression": lambda name, rows, who: {f"{name}_scatter": _scatter(name, rows, who)},
    EMBEDDING: lambda name, rows, who: {"map": _map(rows)},
}
