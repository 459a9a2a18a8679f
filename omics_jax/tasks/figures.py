"""The figures of predicted outcomes, from the test rows of all folds of the first repeat.

Survival is drawn by risk group within each fold: risks of networks trained on other patients have
no common scale.
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
from omics_jax.tasks.scoring import EMBEDDING

GROUPS = ("lowest third", "middle third", "highest third")


def task_figures(results: Results, arm: str) -> dict[str, Table]:
    """The figures of an arm's tasks and of the embedding, by the kind of what was scored."""
    tables = {}
    for name, frame in results.frames.items():
        if frame.kind == BINARY:
            models = [network(arm), *simple_models(results, arm)]
            tables |= probability_curves(frame, models, f"{name.removeprefix(f'{BINARY} ')}_")
        elif frame.kind in _FIGURES:
            rows = rows_of_arm(frame, arm)
            tables |= {} if rows.empty else _FIGURES[frame.kind](name, rows)
    return tables


def rows_of_arm(frame: Frame, arm: str) -> pd.DataFrame:
    """The rows of a scored frame that an arm's own model made."""
    rows = frame.rows
    return rows[(rows["arm"] == arm) & (rows["model"] == MODEL)]


def _risk_groups(name: str, own: pd.DataFrame) -> Table:
    """Kaplan-Meier curves by third of predicted risk, thirds taken within each fold, and the
    log-rank test.
    """
    group = own.groupby("fold")["risk"].transform(
        lambda r: follow_up.risk_groups(r.to_numpy(), len(GROUPS))
    )
    frames = []
    for code, label in enumerate(GROUPS):
        part = own[group == code]
        if part.empty:
            continue
        times, curve, at_risk = follow_up.kaplan_meier(
            part["time"].to_numpy(), part["event"].to_numpy()
        )
        frames.append(pd.DataFrame({"x": times, "y": curve, "at_risk": at_risk, "series": label}))
    try:
        test = follow_up.log_rank(own["time"].to_numpy(), own["event"].to_numpy(), group.to_numpy())
        said = (
            f"Log-rank chi2 {test.statistic:.1f} on {test.df} degrees of freedom, p {test.p:.2g}."
        )
    except UserError as error:
        said = f"No log-rank test: {error}."
    caption = f"Test patients of all folds, by third of predicted risk within their fold. {said}"
    frame = pd.concat(frames, ignore_index=True)
    return Table(
        "survival", frame, f"{name} by predicted risk", caption, "time", "share without the event"
    )


def _calibration(name: str, own: pd.DataFrame) -> Table:
    """Observed (Kaplan-Meier) against predicted survival at the times that the table has, folds
    pooled.
    """
    frames = []
    for k in range(1, 1 + sum(column.startswith("survival_") for column in own.columns)):
        time = own[f"time_{k}"].median()
        try:
            found = survival.calibration_at(
                own["time"].to_numpy(),
                own["event"].to_numpy(),
                own[f"survival_{k}"].to_numpy(),
                float(time),
                5,
            )
        except UserError:  # nobody was followed so far
            continue
        frames.append(pd.DataFrame(found).assign(series=f"at {time:,.0f}"))
    caption = (
        "Fifths of the test patients by predicted survival: predicted mean against Kaplan-Meier, "
        "with 95 % intervals, at config.survival.times or, where none is named, the quartiles of "
        "all patients' event times."
    )
    frame = pd.concat(frames, ignore_index=True).dropna(subset=["y"]) if frames else pd.DataFrame()
    return Table(
        "calibration",
        frame,
        f"Calibration of {name}",
        caption,
        "predicted survival",
        "observed survival",
    )


def _confusion(name: str, own: pd.DataFrame) -> Table:
    counts = pd.crosstab(own["label"], own["predicted"])
    # Of all classes and in one order on both sides, so that what is right lies on the diagonal.
    names = sorted({*counts.index, *counts.columns})
    counts = counts.reindex(index=names, columns=names, fill_value=0).rename_axis(
        index="row", columns="column"
    )
    frame = counts.stack().rename("value").reset_index()
    caption = "Test patients of all folds."
    return Table(
        "matrix",
        frame,
        f"{name}: observed and predicted",
        caption,
        f"predicted {name}",
        f"observed {name}",
    )


def _scatter(name: str, own: pd.DataFrame) -> Table:
    frame = own.rename(columns={"observed": "x", "value": "y"})[["x", "y"]]
    return Table(
        "scatter",
        frame,
        f"{name}: observed and predicted",
        "Test patients of all folds.",
        "observed",
        "predicted",
    )


def _map(own: pd.DataFrame) -> Table:
    """The first fold's embedding, a panel per task: another fold's network has other axes."""
    first = own[own["fold"] == own["fold"].min()]
    given = {"id", "x", "y", "model", "arm", "group", "fold"}
    columns: dict[str, list] = {
        name: [] for name in ("x", "y", "panel", "value", "quantity", "series")
    }
    for task in [column for column in own.columns if column not in given]:
        number = pd.api.types.is_numeric_dtype(first[task])
        rows = len(first)
        columns["x"] += first["x"].tolist()
        columns["y"] += first["y"].tolist()
        columns["panel"] += [task] * rows
        columns["value"] += first[task].astype(float).tolist() if number else [np.nan] * rows
        columns["quantity"] += [task if number else ""] * rows
        columns["series"] += [""] * rows if number else first[task].fillna("").astype(str).tolist()
    caption = (
        "Test patients of the first fold on the two main axes of the embedding, coloured by each "
        "outcome in turn."
    )
    frame = pd.DataFrame(columns) if columns["x"] else pd.DataFrame()
    return Table("map", frame, "Embedding", caption, "first axis", "second axis")


def _survival_figures(name: str, rows: pd.DataFrame) -> dict[str, Table]:
    return {
        f"{name}_groups": _risk_groups(name, rows),
        f"{name}_calibration": _calibration(name, rows),
    }


_FIGURES = {
    "survival": _survival_figures,
    "classification": lambda name, rows: {f"{name}_confusion": _confusion(name, rows)},
    "regression": lambda name, rows: {f"{name}_scatter": _scatter(name, rows)},
    EMBEDDING: lambda name, rows: {"map": _map(rows)},
}
