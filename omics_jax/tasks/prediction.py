"""Predictions in the units of the data, from the outputs of the heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from omics_jax.evaluation import survival
from omics_jax.nn import mtlr
from omics_jax.study.system import Predictions
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
      T_times (n, K + 1), which repeat 0 where a replicate has fewer bins than K, and T_median (n,)
      with T_median_reached (n,). Where the curve remains above one half, T_median is the end of the
      grid and T_median_reached is False.
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


def pool_medians(
    tasks: Sequence[Task], replicates: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """T_median and T_median_reached of the mean curve of all replicates, and their s.d. between
    replicates, for every survival task T.

    The mean curve ends where the first of the replicates' grids does. A median that it does not
    reach is nan, and so is the s.d. of medians of which a replicate does not reach its own: the end
    of a grid is no median. Both are nan in rows whose own medians are nan in all replicates.
    """
    pooled = {}
    for task in tasks:
        if task.kind != "survival":
            continue
        own, own_reached = (
            np.stack([fields[f"{task.name}_{field}"] for fields in replicates]).astype(np.float64)
            for field in ("median", "median_reached")
        )
        # Of a row without any value nothing is predicted.
        is_predicted = ~np.isnan(own).all(axis=0)
        median = survival.median_survival(*_mean_curve(task, replicates))
        reached = np.isfinite(median)
        between = np.where(own_reached.all(axis=0), own.std(axis=0), np.nan)
        pooled[f"{task.name}_median"] = (
            np.where(reached & is_predicted, median, np.nan),
            np.where(is_predicted, between, np.nan),
        )
        pooled[f"{task.name}_median_reached"] = (
            np.where(is_predicted, reached, np.nan),
            np.where(is_predicted, own_reached.std(axis=0), np.nan),
        )
    return pooled


def _mean_curve(
    task: Task, replicates: Sequence[Mapping[str, np.ndarray]]
) -> tuple[Float[np.ndarray, "n g"], Float[np.ndarray, " g"]]:
    """The mean of the replicates' survival curves, and the times of all grids within the first end.

    The rows of a replicate have the same times.
    """
    grids = [fields[f"{task.name}_times"][0].astype(np.float64) for fields in replicates]
    times = np.unique(np.concatenate(grids))
    times = times[times <= min(grid[-1] for grid in grids)]
    curves = [
        [np.interp(times, grid, curve) for curve in fields[f"{task.name}_survival"]]
        for grid, fields in zip(grids, replicates, strict=True)
    ]
    return np.mean(curves, axis=0), times


def prediction_columns(tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """Field of a prediction -> names of its columns in the files that are written for new rows."""
    columns = {}
    for task in tasks:
        if task.kind == "classification":
            columns[f"{task.name}_probability"] = task.classes
        elif task.kind == "regression":
            columns[f"{task.name}_value"] = (task.name,)
            columns[f"{task.name}_clipped"] = ("clipped",)
        else:
            written = ("risk", "median", "median_reached")
            columns |= {f"{task.name}_{field}": (field,) for field in written}
    return columns


def clipped_warnings(tasks: Sequence[Task], replicates: Sequence[Predictions]) -> list[str]:
    """A sentence on each number of which predictions left the training range and were clipped."""
    warnings = []
    for task in tasks:
        if task.kind != "regression":
            continue
        # Of a row that is predicted as nan the field is nan too.
        clipped = [fields[f"{task.name}_clipped"] == 1 for fields in replicates]
        count = int(np.any(clipped, axis=0).sum())
        if count:
            warnings.append(
                f"{task.name}: rows predicted far outside the range of the training values by some "
                f"replicate: {count:,}; these predictions are clipped, and nothing should be read "
                "from them."
            )
    return warnings
