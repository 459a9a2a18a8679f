"""Predictions in the units of the data, from the outputs of the heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from omics_jax.nn import mtlr
from omics_jax.study.system import CLIPPED
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

# The fields of a prediction by kind of task; the name of a field of task T is T_FIELD.
FIELDS = {
    "classification": ("probability",),
    "regression": ("value",),
    "survival": ("risk", "survival", "times", "median", "median_reached"),
}
# A number is predicted within the training range and this share of it beyond either end.
MARGIN = 0.5


def predict_tasks(
    tasks: Sequence[Task],
    constants: Variables,
    outputs: Mapping[str, Float[Array, "n _"]],
    hazard: str = "proper",
) -> dict[str, Array]:
    """Every task's prediction from the outputs of its head.

    hazard: see `mtlr.risk`.

    Returns:
      of a classification T_probability (n, C);
      of a regression T_value (n,) in the input's units, clipped to the training range with
      `MARGIN`, and T_clipped (n,), whether it was;
      of a survival task T_risk (n,), the summed cumulative hazard, T_survival (n, K + 1) at
      T_times (n, K + 1), and T_median (n,) with T_median_reached (n,). Where the curve remains
      above one half, T_median is the end of the grid and T_median_reached is False.
    """
    predictions = {}
    for task in tasks:
        fields = _PREDICT[task.kind](task, constants, outputs[task.name], hazard)
        predictions |= {f"{task.name}_{field}": values for field, values in fields.items()}
    return predictions


def _predict_classes(
    task: Task, constants: Variables, output: Float[Array, "n C"], hazard: str
) -> dict[str, Array]:
    return {"probability": jax.nn.softmax(output)}


def _predict_value(
    task: Task, constants: Variables, output: Float[Array, "n 1"], hazard: str
) -> dict[str, Array]:
    mean, sd, low, high = (
        constants[f"{task.name}_{field}"] for field in ("mean", "sd", "low", "high")
    )
    value = output[:, 0] * sd + mean
    margin = MARGIN * (high - low)
    clipped = jnp.clip(value, low - margin, high + margin)
    return {"value": clipped, "clipped": clipped != value}


def _predict_survival(
    task: Task, constants: Variables, output: Float[Array, "n K"], hazard: str
) -> dict[str, Array]:
    edges = constants[f"{task.name}_edges"]
    median = mtlr.median_survival(output, edges)
    return {
        "risk": mtlr.risk(output, hazard),
        "survival": mtlr.survival_at_edges(output),
        "times": jnp.broadcast_to(edges, (len(output), len(edges))),
        "median": jnp.minimum(median, edges[-1]),
        "median_reached": jnp.isfinite(median),
    }


_PREDICT = {
    "classification": _predict_classes,
    "regression": _predict_value,
    "survival": _predict_survival,
}


def prediction_columns(tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """Field of a prediction -> names of its columns in the files that are written for new rows."""
    columns = {}
    for task in tasks:
        if task.kind == "classification":
            columns[f"{task.name}_probability"] = task.classes
        elif task.kind == "regression":
            columns[f"{task.name}_value"] = (task.name,)
            columns[f"{task.name}{CLIPPED}"] = ("clipped",)
        else:
            written = ("risk", "median", "median_reached")
            columns |= {f"{task.name}_{field}": (field,) for field in written}
    return columns
