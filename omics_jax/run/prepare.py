"""From a config to the arms of its experiment, ready to train.

It also writes the first files of the run directory: `data.json` describes the data, `config.json`
is the config, and `training.json` has what a prediction of new rows needs to know of each arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from omics_jax.data.dataset.account import account_table, unexpected
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.quality import dataset_tables, quality_warnings, short_table
from omics_jax.data.dataset.summary import summary
from omics_jax.errors import UserError
from omics_jax.run.directory import check_data, write_json
from omics_jax.run.options import run_options
from omics_jax.run.progress import print_and_log, progress
from omics_jax.run.reuse import copy_trained_arms
from omics_jax.settings.words import split_list
from omics_jax.study.records import to_record
from omics_jax.study.system import Arm
from omics_jax.training.plan import Options


def read_data(method: ModuleType, config: Any) -> Dataset:
    """The data, with progress while they are read."""
    with progress("reading") as on_progress:
        return method.read(config, on_progress)


def arms_of(method: ModuleType, config: Any, dataset: Dataset) -> Sequence[Arm]:
    """The arms of the config's experiment on these data."""
    return method.EXPERIMENTS[config.experiment].arms(config, dataset)


def prepare_arms(
    method: ModuleType, config: Any, folder: Path, to_tune: bool = False
) -> tuple[Sequence[Arm], Options]:
    """The arms of the experiment and how to run them; begins the run directory.

    to_tune: refuse an experiment of which nothing is tuned.

    Raises:
      UserError: something in the command or in the data is wrong.
    """
    dataset = read_data(method, config)
    arms = arms_of(method, config, dataset)
    options = run_options(config)
    if to_tune and not any(arm.tuning for arm in arms):
        raise UserError(
            f"no arm of {config.experiment!r} is tuned; choose another experiment, or --mode=train"
        )
    # The run begins only here, after every mistake in the command has been refused.
    for warning in write_summary(folder, dataset).warnings:
        print_and_log(f"warning: {warning}")
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", config.to_dict())
    write_json(folder / "training.json", {arm.name: _training_record(arm) for arm in arms})
    _reuse_other_runs(config.run.reuse, arms, folder)
    return arms, options


@dataclass(frozen=True)
class Description:
    """What was understood of a dataset.

    summary: lines of label and value.
    variables: modality -> a row per variable, see `data.dataset.quality.describe`.
    warnings: those of the reader, and of the values of the variables.
    """

    summary: list[tuple[str, str]]
    variables: dict[str, pd.DataFrame]
    warnings: list[str]


def describe_data(dataset: Dataset) -> Description:
    """The description of a dataset, for `--mode=inspect`, the log and the report."""
    variables = dataset_tables(dataset)
    warnings = [*dataset.warnings, *unexpected(dataset.uses)]
    for name, table in variables.items():
        warnings += quality_warnings(name, table)
    return Description(summary(dataset), variables, warnings)


def write_summary(folder: Path, dataset: Dataset) -> Description:
    """Writes `data.json`: what was understood of the data.

    Raises:
      UserError: the run in this directory was begun with other data.
    """
    fingerprint = dataset.fingerprint()
    check_data(folder, fingerprint)
    description = describe_data(dataset)
    tables = {name: short_table(table) for name, table in description.variables.items()}
    content = {
        "summary": description.summary,
        "notes": dataset.notes,
        "warnings": description.warnings,
        "uses": account_table(dataset.uses).to_dict("records"),
        "variables": {name: _records(table) for name, table in tables.items()},
        "fingerprint": fingerprint,
    }
    write_json(folder / "data.json", content)
    return description


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for JSON, which has no NaN."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _training_record(arm: Arm) -> dict[str, Any]:
    """What a prediction of new rows needs to know of a trained arm."""
    return {
        "spec": to_record(arm.spec),
        "config": arm.config.to_dict(),
        "labels": [replicate.labels for replicate in arm.replicates],
    }


def _reuse_other_runs(reuse: str, arms: Sequence[Arm], folder: Path) -> None:
    """Copies what the runs named in `config.run.reuse` (A, B) have already trained."""
    for name in filter(None, split_list(reuse)):
        copied = copy_trained_arms(Path(name), arms, folder)
        print_and_log(f"taken over from {Path(name)}: {', '.join(copied) or 'nothing new'}")
