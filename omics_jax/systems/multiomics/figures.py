"""Figures of who has which modality and what was imputed of it."""

from __future__ import annotations

import pandas as pd

from omics_jax.evaluation.tables import Table
from omics_jax.study.system import Results
from omics_jax.tasks.figures import rows_of_arm, task_figures


def arm_figures(results: Results, arm: str) -> dict[str, Table]:
    """The figures of an arm's tasks, of the imputed values and of who has what."""
    tables = task_figures(results, arm)
    for name, draw in {"imputed_share": _imputed_share, "overlap": _overlap}.items():
        rows = rows_of_arm(results.frames[name], arm) if name in results.frames else pd.DataFrame()
        if len(rows):
            tables["modalities" if name == "overlap" else name] = draw(rows)
    return tables


def _imputed_share(own: pd.DataFrame) -> Table:
    shares = own.groupby("modalities", sort=False)["imputed"]
    frame = shares.agg(["size", "mean", "min", "max"]).reset_index()
    frame.columns = ["measured", "patients", "imputed, mean", "least", "most"]
    caption = (
        "Share of the values a prediction stands on that were not measured, over the tested "
        "patients by what was measured of them; single missing cells count. Each patient's own is "
        "in predictions.npz (imputed_share)."
    )
    frame = frame.sort_values("patients", ascending=False, kind="stable", ignore_index=True)
    return Table("table", frame, "Imputed values", caption)


def _overlap(own: pd.DataFrame) -> Table:
    frame = own.groupby("combination", sort=False)["patients"].sum().reset_index()
    caption = "How many of the tested patients have which modalities, over all folds."
    return Table("overlap", frame, "Who has what", caption, "", "patients")
