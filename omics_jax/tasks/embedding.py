"""Embeddings of rows with what is known and predicted of them, for scanpy and the like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.annotated import AnnotatedMatrix
from omics_jax.study.system import Predictions
from omics_jax.tasks.scoring import DECISION
from omics_jax.tasks.task import Task, known_rows, named

EMBEDDING = "embedding"  # the field of a prediction, and the file
PREDICTED = "_predicted"  # the end of a column's name


def annotated_embedding(
    tasks: Sequence[Task], predictions: Predictions, rows: Dataset
) -> dict[str, AnnotatedMatrix]:
    """What the heads read of rows, with `annotations` of them; {} without an embedding."""
    if EMBEDDING not in predictions:
        return {}
    z = np.asarray(predictions[EMBEDDING])
    columns = annotations(tasks, predictions, rows)
    return {EMBEDDING: AnnotatedMatrix(z, rows.ids, dimension_names(EMBEDDING, z), columns)}


def dimension_names(name: str, values: Real[np.ndarray, "n d"]) -> list[str]:
    """NAME_1 to NAME_d."""
    return [f"{name}_{number}" for number in range(1, values.shape[1] + 1)]


def annotations(tasks: Sequence[Task], predictions: Predictions, rows: Dataset) -> pd.DataFrame:
    """The rows' table, every outcome in place of a column of its name, and what is predicted.

    Columns of a task T: T, or of a survival task T.time and T.event, where the rows have outcomes;
    T_predicted, the class of the highest probability, the number, or the risk. Unknown classes are
    "", unknown numbers nan.
    """
    columns = {}
    for task in tasks:
        columns |= _observed(task, rows)
        columns[f"{task.name}{PREDICTED}"] = _predicted(task, predictions)
    outcomes = pd.DataFrame(columns, index=rows.table.index)
    others = [name for name in rows.table.columns if name not in columns]
    return pd.concat([rows.table[others], outcomes], axis=1)


def _observed(task: Task, rows: Dataset) -> dict[str, np.ndarray]:
    if not set(task.targets) <= set(rows.targets):  # new rows
        return {}
    is_known = known_rows(rows, task)
    values = {name: rows.targets[name][0] for name in task.targets}
    if task.kind == "classification":
        return {task.name: named(task, values[task.name], is_known)}
    return {name: np.where(is_known, own, np.nan) for name, own in values.items()}


def _predicted(task: Task, predictions: Predictions) -> np.ndarray:
    if task.kind != "classification":
        return predictions[f"{task.name}_{DECISION[task.kind]}"]
    probability = np.asarray(predictions[f"{task.name}_probability"])
    # Of a row without any value nothing is predicted.
    return named(task, probability.argmax(axis=1), np.isfinite(probability).all(axis=1))
