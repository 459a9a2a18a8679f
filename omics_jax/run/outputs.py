"""The outputs of a finished training: `tables/`, `predictions.npz`, `metrics.json`, `report.html`.

All of it follows from the saved predictions, so that it can be made again without training.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from omics_jax.durable import load_arrays, write_atomically
from omics_jax.evaluation.tables import Table
from omics_jax.file_names import file_name
from omics_jax.report.page import write_report
from omics_jax.run.directory import prediction_file, write_json
from omics_jax.run.doubts import doubt_records, doubt_tables, find_doubts
from omics_jax.run.progress import print_and_log, progress
from omics_jax.run.scores import metrics_json, score_arms
from omics_jax.study.system import Arm, Results


def score_and_report(
    method: ModuleType,
    arms: Sequence[Arm],
    config: Any,
    folder: Path,
    timing: Mapping[str, float],
) -> None:
    """Scores all replicates, draws the experiment's conclusions, writes every output."""
    results = _score(arms, folder)
    findings = method.EXPERIMENTS[config.experiment].conclude(results)
    doubts = find_doubts(arms, folder)
    trainings = {arm.name: len(arm.replicates) for arm in arms}
    records = doubt_records(doubts, trainings, results.scores)
    for record in records:
        print_and_log(f"warning: {record['sentence']}")
    save_tables(folder / "tables", {**doubt_tables(doubts), **findings.tables}, results)
    save_predictions(folder, arms)
    metrics = metrics_json(config, arms, results, findings, timing)
    write_json(folder / "metrics.json", {**metrics, "doubtful": records})
    print_and_log(f"report: {write_report(folder)}")


def _score(arms: Sequence[Arm], folder: Path) -> Results:
    """The scores; what a library warns of meanwhile is said once."""
    with progress("scoring") as on_progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        results = score_arms(arms, partial(prediction_file, folder), on_progress)
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    for message in dict.fromkeys(messages):
        print_and_log(f"note, while scoring: {message}")
    return results


def save_tables(folder: Path, tables: Mapping[str, Table], results: Results) -> None:
    """`tables/NAME.csv` with their index, and `tables/scores.csv`, every score of every model."""
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        write_atomically(folder / f"{file_name(name)}.csv", table.frame.to_csv(index=False))
    write_atomically(folder / "scores.csv", results.scores.to_csv(index=False))
    keys = ("kind", "title", "caption", "x_label", "y_label")
    index = []
    for name, table in tables.items():
        described = {key: getattr(table, key) for key in keys}
        index.append({"name": name, "file": f"{file_name(name)}.csv", **described})
    write_atomically(folder / "index.json", json.dumps(index, indent=1))


def save_predictions(folder: Path, arms: Sequence[Arm]) -> None:
    """`predictions.npz`: what every arm's replicates predict for their test rows.

    Under "ARM/FIELD" stand the rows of all replicates, one replicate after the other; "ARM/id" and
    "ARM/replicate" say whose they are.
    """
    arrays = {}
    for arm in arms:
        for field, values in _pool_predictions(folder, arm).items():
            arrays[f"{arm.name}/{field}"] = values
    part = folder / "predictions.part.npz"
    np.savez(part, **arrays)
    os.replace(part, folder / "predictions.npz")


def _pool_predictions(folder: Path, arm: Arm) -> dict[str, np.ndarray]:
    """Field -> (rows of all replicates, ...), with id and replicate of each row."""
    files = [prediction_file(folder, arm, r) for r in range(len(arm.replicates))]
    replicates = [load_arrays(file)[0] for file in files]
    pooled = {
        field: np.concatenate([fields[field] for fields in replicates]) for field in replicates[0]
    }
    tested = [replicate.test for replicate in arm.replicates]
    pooled["id"] = np.concatenate([arm.dataset.ids[rows].astype(str) for rows in tested])
    pooled["replicate"] = np.repeat(np.arange(len(tested)), [len(rows) for rows in tested])
    return pooled
