"""The description of an experiment before training: its data, its arms, the rows they use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from omics_jax.data.dataset.account import account_table
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.quality import short_table
from omics_jax.data.dataset.summary import overlaps
from omics_jax.evaluation.overlap_text import overlap_text
from omics_jax.run.description import Description
from omics_jax.study.system import Arm

LABEL_WIDTH = 32  # characters
MOST_COMBINATIONS = 15


def data_lines(dataset: Dataset, description: Description) -> Iterator[str]:
    """What was read, as text: the summary of the data, what became of the files' rows and columns,
    the measured variables, notes and warnings and, where some rows lack a modality, who has what.
    """
    for label, value in description.summary:
        yield f"{label:>{LABEL_WIDTH}}  {value}"
    if dataset.uses:
        yield f"what the files hold:\n{_as_text(account_table(dataset.uses))}"
    for name, table in description.variables.items():
        shown = short_table(table)
        text = _as_text(shown) if len(shown) else f"none of {len(table):,} looks wrong"
        yield f"{name}, its variables:\n{text}"
    for note in dataset.notes:
        yield f"note: {note}"
    for warning in description.warnings:
        yield f"warning: {warning}"
    if not all(modality.observed_rows.all() for modality in dataset.modalities.values()):
        yield f"who has what:\n{overlap_text(overlaps(dataset).head(MOST_COMBINATIONS))}"


def _as_text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, float_format="{:.4g}".format, na_rep="")


def training_line(arm: Arm) -> str:
    """What would be trained of an arm."""
    stages = ", ".join(f"{s.name} (at most {s.epochs} epochs)" for s in arm.system.stages)
    replicates = f"{len(arm.replicates)} replicates of {stages}"
    return f"would train {arm.name}: {replicates}, together on {rows_used(arm)}"


def rows_used(arm: Arm) -> str:
    """How many rows the arm is about: those that any replicate trains on, validates or tests."""
    parts = [
        rows
        for replicate in arm.replicates
        for rows in (*replicate.rows.values(), *replicate.validation.values(), replicate.test)
    ]
    used, total = len(np.unique(np.concatenate(parts))), len(arm.dataset)
    return f"all {total:,} rows" if used == total else f"{used:,} of {total:,} rows"
