"""Intervals of predicted numbers and sets of predicted classes, and how often they hold the truth.

Split conformal prediction on the test rows of a cross-validation (`evaluation.conformal`): the
errors on the test rows of all other folds of a repeat say how wide a fold's intervals are, and the
fold's own test rows say how often these hold. New rows are predicted by the mean over all folds,
with the quantile of the errors of all test rows. A fold's network errs more than the mean of
several, so the intervals of new rows are conservative on average.

Left out: survival times, see `evaluation.conformal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.conformal import (
    class_scores,
    conformal_quantile,
    cross_quantiles,
    number_scores,
    person_mean,
)
from omics_jax.evaluation.proportions import wilson_interval
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.comparisons import Model, network, simple_models
from omics_jax.study.conformal import COLUMNS, LEVELS, QUANTILES
from omics_jax.study.system import MODEL, Predictions, Results
from omics_jax.tasks.binary_figures import display_name
from omics_jax.tasks.task import Task, known_rows, outcome

CONFORMAL = "conformal"  # kind of the frames of `conformal_frames`, and how their names begin
CLASS = "score of "  # how the columns of classes' scores begin
LEVEL = 0.9  # at which models and classes are compared
BETWEEN = "; "  # the classes of a set
TITLE = "Prediction intervals and sets"

METHOD = (
    "A level of 0.9 asks for intervals (of numbers) and sets (of classes) that hold the truth of 9 "
    "in 10 patients. How wide they must be is read off the errors in the test patients of the "
    "other folds (conformal prediction), and the coverage is the share of patients whose truth "
    "they hold, with its 95 % interval"
)
CAPTION = (
    f"{METHOD}. lowest, highest fold: of the coverage. mean width: of the intervals, in the "
    "outcome's unit. mean classes: in a set, 1 at least; single class: the share of patients whose "
    "set is one class. Of two models with the same coverage the one with narrower intervals or "
    "smaller sets knows more. The coverage is a mean over all patients; that of single classes can "
    "be lower. A coverage below the level says that the models of different folds err differently. "
    "Infinite widths: too few patients for the level. Survival times have no intervals here."
)
CLASS_CAPTION = (
    f"{METHOD}, here by the patients' true class. Sets hold their level on average over all "
    "patients: a rare or difficult class can be missed more often, which shows in a low coverage. "
    "mean classes: in the set of a patient of this class."
)
QUANTILE_CAPTION = (
    "From the errors in all test patients, for predictions of new ones: half of the width of the "
    "interval of a number, or the most that the classes above a class may sum up to for it to be "
    "in the set."
)


# --- scores of the test rows ----------------------------------------------------------------------


def conformal_frames(
    tasks: Iterable[Task], predictions: Predictions, test: Dataset
) -> dict[str, Frame]:
    """A frame "conformal T" of every class or number: the scores of its rows of known outcome.

    Columns: id, person, score of the true outcome and, of classes, label and "score of CLASS".
    """
    frames = {}
    for task in tasks:
        if task.kind == "survival":
            continue
        rows = known_rows(test, task)
        columns = {"id": test.ids[rows].astype(str), "person": test.groups[rows].astype(str)}
        columns |= _SCORES[task.kind](task, predictions, outcome(test, task, rows), rows)
        frames[f"{CONFORMAL} {task.name}"] = Frame(
            CONFORMAL, pd.DataFrame(columns), every_repeat=True
        )
    return frames


def _class_columns(
    task: Task,
    predictions: Predictions,
    label: Shaped[np.ndarray, " m"],
    rows: Bool[np.ndarray, " n"],
) -> dict[str, np.ndarray]:
    probability = np.asarray(predictions[f"{task.name}_probability"], np.float64)[rows]
    scores, codes = class_scores(probability), label.astype(int)
    return {
        "score": scores[np.arange(len(codes)), codes],
        "label": np.array(task.classes, dtype=str)[codes],
        **{f"{CLASS}{name}": own for name, own in zip(task.classes, scores.T, strict=True)},
    }


def _number_columns(
    task: Task,
    predictions: Predictions,
    observed: Shaped[np.ndarray, " m"],
    rows: Bool[np.ndarray, " n"],
) -> dict[str, np.ndarray]:
    value = np.asarray(predictions[f"{task.name}_value"], np.float64)[rows]
    return {"score": number_scores(value, observed)}


_SCORES = {"classification": _class_columns, "regression": _number_columns}


# --- tables ---------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """The test rows of a model with the threshold of their scores, and whether they are covered."""

    outcome: str
    model: Model
    level: float
    rows: pd.DataFrame


def conformal_tables(results: Results, arms: Sequence[str]) -> dict[str, Table]:
    """The coverage of arms' networks and simple models, by class too, and the quantiles of the
    networks of all arms, from which `--mode=predict` makes intervals and sets.

    {} where no patient of another fold calibrates: all folds test the same ones, or there are only
    survival times.
    """
    frames = {
        name.removeprefix(f"{CONFORMAL} "): frame.rows
        for name, frame in results.frames.items()
        if frame.kind == CONFORMAL
    }
    networks = [network(arm) for arm in arms]
    simple = [model for arm in arms for model in simple_models(results, arm)]
    asked = [*product(networks, LEVELS), *product(simple, (LEVEL,))]
    cases = [
        Measured(task, model, level, covered_rows(rows, model, level))
        for task, rows in frames.items()
        for model, level in asked
    ]
    measured = [case for case in cases if len(case.rows)]
    if not measured:
        return {}
    quantiles = pd.DataFrame(_quantiles(frames), columns=COLUMNS)
    by_class = [case for case in measured if case.model in networks and case.level == LEVEL]
    tables = {
        CONFORMAL: ("table", pd.DataFrame(map(_line, measured)), "", CAPTION),
        f"{CONFORMAL}_classes": ("table", _class_lines(by_class), ", by class", CLASS_CAPTION),
        QUANTILES: ("file", quantiles, ": quantiles", QUANTILE_CAPTION),
    }
    return {
        name: Table(kind, frame, f"{TITLE}{of}", caption)
        for name, (kind, frame, of, caption) in tables.items()
        if len(frame)
    }


def covered_rows(rows: pd.DataFrame, model: Model, level: float) -> pd.DataFrame:
    """The rows of a model that other folds of their repeat calibrate, with the columns threshold
    and covered.

    rows: of a frame of `conformal_frames`, all arms and models.
    """
    arm, name = model
    own = rows[(rows["arm"] == arm) & (rows["model"] == name)].assign(threshold=np.nan)
    for _, part in own.groupby(["group", "repeat"], sort=False):
        arrays = (part[column].to_numpy() for column in ("score", "person", "fold"))
        own.loc[part.index, "threshold"] = cross_quantiles(*arrays, level)
    calibrated = own.dropna(subset=["threshold"])
    return calibrated.assign(covered=calibrated["score"] <= calibrated["threshold"])


def _line(case: Measured) -> dict[str, str | int | float]:
    rows, person = case.rows, case.rows["person"].to_numpy()
    by_fold = rows.groupby(["repeat", "fold"])["covered"].mean()
    line = {
        "outcome": case.outcome,
        "model": display_name(case.model),
        "level": case.level,
        **_coverage(rows),
        "lowest fold": by_fold.min(),
        "highest fold": by_fold.max(),
    }
    if "label" not in rows:
        return {**line, "mean width": person_mean(2 * rows["threshold"].to_numpy(), person)}
    sizes = _set_sizes(rows)
    return {
        **line,
        "mean classes": person_mean(sizes, person),
        "single class": person_mean(sizes == 1, person),
    }


def _class_lines(cases: Iterable[Measured]) -> pd.DataFrame:
    lines = []
    for case in cases:
        if "label" not in case.rows:
            continue
        for name in _classes(case.rows):
            rows = case.rows[case.rows["label"] == name]
            if rows.empty:
                continue
            named = {"outcome": case.outcome, "class": name, "model": display_name(case.model)}
            size = person_mean(_set_sizes(rows), rows["person"].to_numpy())
            lines.append({**named, "level": case.level, **_coverage(rows), "mean classes": size})
    return pd.DataFrame(lines)


def _coverage(rows: pd.DataFrame) -> dict[str, int | float]:
    """The share of covered patients with its interval; several rows of a patient count as one."""
    person = rows["person"].to_numpy()
    share, count = person_mean(rows["covered"].to_numpy(), person), len(np.unique(person))
    (low,), (high,) = wilson_interval(np.array([share]), np.array([count]))
    return {"patients": count, "coverage": share, "low": low, "high": high}


def _classes(rows: pd.DataFrame) -> list[str]:
    """The classes, in the order of their codes."""
    return [column.removeprefix(CLASS) for column in rows if column.startswith(CLASS)]


def _set_sizes(rows: pd.DataFrame) -> Int[np.ndarray, " n"]:
    scores = rows[[f"{CLASS}{name}" for name in _classes(rows)]].to_numpy()
    return (scores <= rows["threshold"].to_numpy()[:, None]).sum(axis=1)


def _quantiles(frames: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, str, str, float, float]]:
    """The lines of the table `QUANTILES`, of every arm whose folds test different patients."""
    for task, rows in frames.items():
        of_networks = rows[rows["model"] == MODEL]
        for (arm, group), own in of_networks.groupby(["arm", "group"], sort=False):
            tested = own.groupby(["repeat", "fold"])["person"].nunique()
            if tested.min() == own["person"].nunique():
                continue
            scores, person = own["score"].to_numpy(), own["person"].to_numpy()
            for level in LEVELS:
                yield arm, group, task, level, conformal_quantile(scores, person, level)


# --- new rows -------------------------------------------------------------------------------------


def conformal_columns(
    tasks: Iterable[Task],
    coverage: float,
    field: str,
    values: Float[np.ndarray, "n ..."],
    quantiles: pd.DataFrame,
) -> dict[str, np.ndarray]:
    """The columns that stand beside a prediction of new rows: low_90 and high_90, the ends of the
    interval of a number, or set_90, the classes in the set, the most probable first.

    Both are empty in rows without a prediction. Without enough patients for the level an interval
    is without ends (-inf, inf), and a set holds all classes. Other fields have no such columns.

    coverage: one of `LEVELS`.
    field, values: T_value (n,) or T_probability (n, C).
    quantiles: the rows of the table `QUANTILES` of an arm and group.
    """
    chosen = quantiles[quantiles["level"] == coverage]
    by_task = dict(zip(chosen["outcome"], chosen["quantile"], strict=True))
    percent, values = f"{100 * coverage:g}", np.asarray(values, np.float64)
    for task in tasks:
        q = by_task.get(task.name)
        if q is not None and field == f"{task.name}_value":
            ends = {"low": values - q, "high": values + q}
            return {f"{name}_{percent}": end.astype(np.float32) for name, end in ends.items()}
        if q is not None and field == f"{task.name}_probability":
            return {f"set_{percent}": class_sets(task.classes, values, q)}
    return {}


def class_sets(
    classes: Sequence[str], probability: Float[np.ndarray, "n C"], quantile: float
) -> Shaped[np.ndarray, " n"]:
    """The classes of every row's set as text; "" where the row is not predicted."""
    is_inside = class_scores(probability) <= quantile
    order = np.argsort(-probability, axis=1, kind="stable")
    sets = [
        BETWEEN.join(classes[c] for c in of_row if inside[c])
        for of_row, inside in zip(order, is_inside, strict=True)
    ]
    return np.where(np.isnan(probability).any(axis=1), "", np.array(sets, dtype=str))
