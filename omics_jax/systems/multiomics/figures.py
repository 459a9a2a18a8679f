"""Figures of the modalities that patients have, and of the share that was imputed."""

from __future__ import annotations

import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.study.system import Results
from omics_jax.tasks.figures import ALL_FOLDS, rows_of_arm, task_figures


def arm_figures(results: Results, arm: str, who: str = ALL_FOLDS) -> dict[str, Table]:
    """The figures of an arm's tasks, of its imputed values and of its patients' modalities.

    who: whose predictions they show, for the captions.
    """
    tables = task_figures(results, arm, who)
    share_rows = _frame_rows(results, "imputed_share", arm)
    if len(share_rows):
        tables["imputed_share"] = _imputed_share(share_rows)
    overlap_rows = _frame_rows(results, "overlap", arm)
    if len(overlap_rows):
        tables["modalities"] = _overlap(overlap_rows, who)
    return tables


def _frame_rows(results: Results, name: str, arm: str) -> pd.DataFrame:
    """An arm's rows of a scored frame; empty where no arm has the frame."""
    frame = results.frames.get(name)
    return pd.DataFrame() if frame is None else rows_of_arm(frame, arm)


def _imputed_share(rows: pd.DataFrame) -> Table:
    shares = rows.groupby("modalities", sort=False)["imputed"]
    frame = shares.agg(["size", "mean", "min", "max"]).reset_index()
    frame.columns = ["measured", "patients", "imputed, mean", "least", "most"]
    caption = (
        "The share of the values behind a prediction that were not measured, by which modalities "
        "the tested patients have; single missing cells count too. The share of every patient is "
        "in predictions.npz (imputed_share)."
    )
    frame = frame.sort_values("patients", ascending=False, kind="stable", ignore_index=True)
    return Table("table", frame, "Imputed values", caption)


def _overlap(rows: pd.DataFrame, who: str) -> Table:
    frame = rows.groupby("combination", sort=False)["patients"].sum().reset_index()
    caption = f"How many patients have each combination of modalities. {who}."
    return Table("overlap", frame, "Measured modalities", caption, "", "patients")
