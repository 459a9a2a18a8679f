"""Tests and intervals of trainings that are all tested on the same external rows.

The bootstrap itself stands in `evaluation.shared_test_set`; here it meets frames of predicted
outcomes. Left out: scores with censoring weights (Uno's C-index, Brier score, dynamic AUC) and
D-calibration, which need more than the frames hold: the training rows or whole curves. They have no
interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation import concordance, shared_test_set
from omics_jax.evaluation.tables import Frame
from omics_jax.study.comparisons import (
    Model,
    adjusted_family,
    compare_all,
    full_label,
    network,
    simple_models,
)
from omics_jax.study.system import Findings, Predictions, Results
from omics_jax.tasks import binary_figures
from omics_jax.tasks.class_metrics import class_metrics
from omics_jax.tasks.conclusions import contrasts_with_simple
from omics_jax.tasks.scoring import DECISION, Subset, or_nan, value_metrics
from omics_jax.tasks.task import Task, class_names, known_rows, outcome

EXTERNAL = "external"  # how names and kinds of the frames of `task_frames` begin
PREDICTED, OBSERVED, SUBSET = "predicted_", "observed_", "in_"  # how their columns begin

# (predicted (n, ...), observed (n, ...)) -> metric -> value
Score = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
# (arm, model, metric) -> the metric by draw of patients and training
Resampled = Mapping[tuple[str, str, str], Float[np.ndarray, "draws trainings"]]


class Columns(NamedTuple):
    """The columns of a frame that hold what was predicted and what was observed."""

    predicted: tuple[str, ...]
    observed: tuple[str, ...]


FIRST_TRAINING = "External patients, as the first training predicts them"


# --- resampling -----------------------------------------------------------------------------------


def resampled_scores(
    rows: pd.DataFrame, models: Iterable[Model], score: Score, columns: Columns, draws: int
) -> Resampled:
    """Every metric of every model on draws of patients, see `shared_test_set.resample`.

    rows: id, person and `columns` of every patient, by arm, model and fold.
    score: is given the columns as (n,) if there is one, and otherwise as (n, columns).
    """
    resampled = {}
    for arm, model in models:
        chosen = rows[(rows["arm"] == arm) & (rows["model"] == model)].sort_values("id")
        by_fold = [part for _, part in chosen.groupby("fold")]
        predicted = np.stack([_values(part, columns.predicted) for part in by_fold])
        observed, person = _values(by_fold[0], columns.observed), by_fold[0]["person"].to_numpy()
        metrics = tuple(score(predicted[0], observed))
        values = shared_test_set.resample(
            lambda p, y: np.array(list(score(p, y).values())), predicted, observed, person, n=draws
        )
        for k, metric in enumerate(metrics):
            resampled[arm, model, metric] = values[..., k]
    return resampled


def _values(rows: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    return rows[columns[0] if len(columns) == 1 else list(columns)].to_numpy()


def intervals(resampled: Resampled) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(arm, model, metric) -> 95 % interval of the mean over trainings."""
    return {key: shared_test_set.interval(values) for key, values in resampled.items()}


def compare(
    resampled: Resampled, scores: pd.DataFrame, a: Model, b: Model, metric: str
) -> list[dict]:
    """a minus b as `comparisons.compare` gives it, by the bootstrap of patients and trainings."""
    ci95, p = shared_test_set.difference(resampled[*a, metric], resampled[*b, metric])
    means = scores[scores["metric"] == metric].groupby(["arm", "model"])["value"].mean()
    difference = float(means[a] - means[b])
    test = {
        "a": "/".join(a),
        "b": "/".join(b),
        "metric": metric,
        "group": "all",
        "difference": difference,
        "ci95": list(ci95),
        "p": p,
        "test": shared_test_set.METHOD,
    }
    return [test]


# --- outcomes of any kind -------------------------------------------------------------------------


def task_frames(
    tasks: Iterable[Task],
    predictions: Predictions,
    test: Dataset,
    subsets: Mapping[str, Subset],
) -> dict[str, Frame]:
    """What `conclude` resamples, for tasks that were predicted: a frame "external T" of every task.

    Its rows are those with a known outcome, with id, person, what was predicted and observed (see
    `_columns_of_task`), and whether the row is of each subset.
    """
    frames = {}
    for task in tasks:
        if f"{task.name}_{DECISION[task.kind]}" not in predictions:
            continue
        columns = {"id": test.ids.astype(str), "person": test.groups.astype(str)}
        columns |= _columns_of_task(task, predictions, test)
        columns |= {f"{SUBSET}{name}": subset(test) for name, subset in subsets.items()}
        rows = pd.DataFrame(columns)[known_rows(test, task)]
        frames[f"{EXTERNAL} {task.name}"] = Frame(f"{EXTERNAL} {task.kind}", rows)
    return frames


def _columns_of_task(task: Task, predictions: Predictions, test: Dataset) -> dict[str, np.ndarray]:
    """predicted_0 ...: the probability of each class, the value or the risk; observed_0 ...: the
    code, the value, or time, event and the code of the row's class (-1 where unknown).
    """
    predicted = np.asarray(predictions[f"{task.name}_{DECISION[task.kind]}"], np.float64)
    observed = outcome(test, task)
    if task.kind == "survival":
        classes = class_names(test)
        codes = np.full(len(test), -1)
        if classes is not None:
            codes = np.where(classes == "", -1, np.unique(classes, return_inverse=True)[1])
        observed = np.stack([*observed, codes], axis=1)
    return {
        **_numbered(PREDICTED, predicted),
        **_numbered(OBSERVED, observed),
    }


def _numbered(prefix: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of values (n,) or (n, k), as prefix0, prefix1 and so on."""
    return {f"{prefix}{k}": column for k, column in enumerate(values.reshape(len(values), -1).T)}


def conclude_external(results: Results, arm: str) -> Findings:
    """An arm's network against its simple models in the metrics that can be resampled, p after
    Holm, and their intervals.
    """
    models = [network(arm), *simple_models(results, arm)]
    resampled = resampled_tasks(results, models)
    contrasts = [
        (a, b, metric)
        for a, b, metric in contrasts_with_simple(results, arm)
        if (*a, metric) in resampled and (*b, metric) in resampled
    ]
    tests = compare_all(results, contrasts, partial(compare, resampled, results.scores))
    return Findings(
        adjusted_family(tests, full_label),
        intervals=intervals(resampled),
        method=shared_test_set.METHOD,
    )


def of_first_training(results: Results) -> Results:
    """The results with frames of the first fold alone, for figures in which a patient counts once.

    A curve of survival or a log-rank test over all trainings would count every patient as many
    times as there are trainings.
    """
    frames = {}
    for name, frame in results.frames.items():
        fold = frame.rows["fold"]
        frames[name] = frame._replace(rows=frame.rows[fold == fold.min()])
    return replace(results, frames=frames)


def resampled_tasks(results: Results, models: Sequence[Model]) -> Resampled:
    """T_METRIC and T_METRIC_SUBSET of every model on draws of patients, from the frames of
    `task_frames`: the metrics of `SCORES`.
    """
    resampled = {}
    for name, frame in results.frames.items():
        score = SCORES.get(frame.kind)
        if score is None:
            continue
        task = name.removeprefix(f"{EXTERNAL} ")
        predicted = set(zip(frame.rows["arm"], frame.rows["model"], strict=True))
        columns = Columns(*(_beginning(frame.rows, prefix) for prefix in (PREDICTED, OBSERVED)))
        for suffix, rows in _by_subset(frame.rows).items():
            drawn = resampled_scores(
                rows,
                [model for model in models if model in predicted],
                score,
                columns,
                binary_figures.DRAWS,
            )
            for (arm, model, metric), values in drawn.items():
                resampled[arm, model, f"{task}_{metric}{suffix}"] = values
    return resampled


def _beginning(rows: pd.DataFrame, prefix: str) -> tuple[str, ...]:
    return tuple(column for column in rows if column.startswith(prefix))


def _by_subset(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The end of the metrics' names -> the rows that are scored, where there are any."""
    chosen = {"": rows}
    for column in _beginning(rows, SUBSET):
        if rows[column].any():
            chosen[f"_{column.removeprefix(SUBSET)}"] = rows[rows[column]]
    return chosen


def _class_scores(
    probability: Float[np.ndarray, "n C"], label: Int[np.ndarray, " n"]
) -> dict[str, float]:
    return class_metrics(probability, label)


def _value_scores(
    value: Float[np.ndarray, " n"], observed: Float[np.ndarray, " n"]
) -> dict[str, float]:
    return value_metrics({"value": value}, observed)


def _ordering_scores(
    risk: Float[np.ndarray, " n"], observed: Float[np.ndarray, "n 3"]
) -> dict[str, float]:
    times, events, codes = observed.T
    known = codes >= 0
    within = times[known], events[known], risk[known], codes[known]
    return {
        "c_index": or_nan(lambda: concordance.concordance(times, events, risk)),
        "c_index_within": or_nan(lambda: concordance.concordance_within(*within)),
    }


SCORES: Mapping[str, Score] = {
    f"{EXTERNAL} classification": _class_scores,
    f"{EXTERNAL} regression": _value_scores,
    f"{EXTERNAL} survival": _ordering_scores,
}
