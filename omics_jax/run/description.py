"""What was understood of a dataset: for `--mode=inspect`, the log, `data.json` and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from omics_jax.data.dataset.account import account_table, unexpected
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.quality import dataset_tables, quality_warnings, short_table
from omics_jax.data.dataset.summary import summary
from omics_jax.run.directory import check_data, json_text, write_json
from omics_jax.run.manifest import restore_file
from omics_jax.run.missingness import missingness_warnings


@dataclass(frozen=True)
class Description:
    """What was understood of a dataset.

    summary: lines of label and value.
    variables: modality -> a row per variable, see `data.dataset.quality.describe`.
    warnings: those of the reader, and of the values of the variables.
    fingerprint: of the data.
    """

    summary: list[tuple[str, str]]
    variables: dict[str, pd.DataFrame]
    warnings: list[str]
    fingerprint: str


def describe_data(dataset: Dataset) -> Description:
    """The description of a dataset, for `--mode=inspect`, the log and the report."""
    variables = dataset_tables(dataset)
    warnings = [*dataset.warnings, *unexpected(dataset.uses)]
    for name, table in variables.items():
        warnings += quality_warnings(name, table)
    warnings += missingness_warnings(dataset)
    return Description(summary(dataset), variables, warnings, dataset.fingerprint())


def write_summary(folder: Path, dataset: Dataset, description: Description) -> None:
    """Writes `data.json`, what was understood of the data, unless it stands in a run.

    Raises:
      UserError: the run in this directory was begun with other data, or the file is damaged.
    """
    tables = {name: short_table(table) for name, table in description.variables.items()}
    content = {
        "summary": description.summary,
        "notes": dataset.notes,
        "warnings": description.warnings,
        "uses": account_table(dataset.uses).to_dict("records"),
        "variables": {name: _records(table) for name, table in tables.items()},
        "fingerprint": description.fingerprint,
    }
    begun = (folder / "config.json").exists()
    if begun:
        restore_file(folder, "data.json", json_text(content))
        check_data(folder, content["fingerprint"])
    if not begun or not (folder / "data.json").exists():
        write_json(folder / "data.json", content)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for JSON, which has no NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
