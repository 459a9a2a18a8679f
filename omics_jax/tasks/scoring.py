"""How predicted outcomes are judged: scores of every kind of task, and the rows they were made of.

The papers score AUC and F1, RMSE and R2, and the C-index; the other scores ask whether
probabilities and survival curves can be believed. Left out: the simple models (`baselines`), and
comparisons over folds, which are the experiment's to conclude.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation import classification, concordance, survival
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.study.system import Predictions
from omics_jax.tasks.labels import QUARTILES
from omics_jax.tasks.prediction import FIELDS
from omics_jax.tasks.task import Observed, Task, event_times_at, known_rows, outcome

BETTER = {
    "classification": {
        "accuracy": "higher",
        "macro_f1": "higher",
        "auroc": "higher",
        "log_loss": "lower",
    },
    "regression": {"rmse": "lower", "mae": "lower", "r2": "higher"},
    "survival": {"c_index": "higher", "c_index_uno": "higher", "ibs": "lower", "auc_t": "higher"},
}
# The log loss of a class that was ruled out stays finite.
PROBABILITY_FLOOR = float(np.finfo(np.float32).eps)
# The Brier score is integrated between these quantiles of the test events' times.
BRIER_SHARES = np.array([0.05, 0.95])
BRIER_TIMES = 50
EMBEDDING = "embedding"  # the kind of the frame of `_embedding_plane`

Subset = Callable[[Dataset], Bool[np.ndarray, " n"]]
Fields = dict[str, np.ndarray]


def better_sides(tasks: Sequence[Task], subsets: Sequence[str] = ()) -> dict[str, str]:
    """Metric -> the better side, "higher" or "lower", on all rows, on subsets and in validation."""
    suffixes = ("", *(f"_{subset}" for subset in subsets))
    sides = {
        f"{task.name}_{metric}{suffix}": side
        for task in tasks
        for metric, side in BETTER[task.kind].items()
        for suffix in suffixes
    }
    return sides | {f"validation_{metric}": side for metric, side in sides.items()}


# --- scores ---------------------------------------------------------------------------------------


def evaluate_tasks(
    tasks: Sequence[Task],
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
    *,
    times: Mapping[str, Sequence[float]] | None = None,
    subsets: Mapping[str, Subset] | None = None,
) -> Evaluation:
    """Scores of what was predicted of the test rows; those without an outcome count in none of its
    scores.

    Args:
      predictions: of a task t the fields t_FIELD (see `prediction.predict_tasks`); what lacks one
        is not scored. Survival curves stand on the same times in every row, the first 0.
      train: its outcomes give the censoring distribution.
      times: survival task -> the times at which its curves are kept; where it has none, the
        quartiles of the training events.
      subsets: name -> test rows that are also scored by themselves, as t_METRIC_NAME.

    Returns the metrics, t_METRIC,
      accuracy, macro_f1 (mean over classes that occur among the labels or the predicted classes),
        auroc (of two classes the ordinary one, else the mean of one-versus-rest over the classes
        that it is defined for), log_loss;
      rmse, mae, r2;
      c_index (Harrell), c_index_uno, ibs (integrated Brier score between the 5th and 95th
        percentile of the test events), auc_t (cumulative/dynamic AUC at the quartiles of the test
        events, their mean weighted as in `cumulative_dynamic_auc`), d_calibration_p; censoring
        weights are those of the training rows.
    A metric that the rows do not suffice for is nan.

    Frames: t, of the kind of the task, what was predicted beside what was observed, a row per row
    with an outcome; "latent", two principal components of predictions["embedding"] (n, L).
    """
    scores, frames = {}, {}
    parts = {"": np.ones(len(test), bool)}
    parts |= {f"_{name}": subset(test) for name, subset in (subsets or {}).items()}
    for task in tasks:
        if not all(f"{task.name}_{field}" in predictions for field in FIELDS[task.kind]):
            continue
        for suffix, rows in parts.items():
            values = _task_scores(task, predictions, test, train, rows)
            scores |= {f"{task.name}_{metric}{suffix}": value for metric, value in values.items()}
        curve_times = (times or {}).get(task.name, ())
        frames[task.name] = Frame(
            task.kind, _task_rows(task, predictions, test, train, curve_times)
        )
    if "embedding" in predictions:
        embedding = np.asarray(predictions["embedding"], np.float64)
        frames["latent"] = Frame(EMBEDDING, _embedding_plane(tasks, embedding, test))
    return Evaluation(scores, frames)


def _task_scores(
    task: Task,
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
    chosen: Bool[np.ndarray, " n"],
) -> dict[str, float]:
    """The scores of one task on those of the chosen rows whose outcome is known."""
    rows = chosen & known_rows(test, task)
    fields = _fields(task, predictions, rows)
    fitted = outcome(train, task, known_rows(train, task))
    return _METRICS[task.kind](fields, outcome(test, task, rows), fitted)


def _task_rows(
    task: Task, predictions: Predictions, test: Dataset, train: Dataset, times: Sequence[float]
) -> pd.DataFrame:
    """What was predicted of the rows with an outcome beside what was observed."""
    rows = known_rows(test, task)
    fields, observed = _fields(task, predictions, rows), outcome(test, task, rows)
    ids = test.ids[rows].astype(str)
    if task.kind == "survival":
        fitted = outcome(train, task, known_rows(train, task))
        columns = _survival_columns(fields, observed, fitted, times)
    elif task.kind == "classification":
        columns = _class_columns(task, fields, observed)
    else:
        columns = {"value": fields["value"], "observed": observed}
    return pd.DataFrame({"id": ids, **columns})


def _fields(task: Task, predictions: Predictions, rows: Bool[np.ndarray, " n"]) -> Fields:
    return {
        field: np.asarray(predictions[f"{task.name}_{field}"], np.float64)[rows]
        for field in FIELDS[task.kind]
    }


def _class_metrics(fields: Fields, label: Int[np.ndarray, " n"], fitted) -> dict[str, float]:
    p = fields["probability"]
    if not len(label):
        return dict.fromkeys(BETTER["classification"], float("nan"))
    predicted, classes = p.argmax(axis=1), p.shape[1]
    hits = np.bincount(label[predicted == label], minlength=classes)
    named = np.bincount(label, minlength=classes) + np.bincount(predicted, minlength=classes)
    asked = range(classes) if classes > 2 else (1,)
    areas = np.array([classification.auroc(p[:, c], label == c) for c in asked])
    of_label = np.clip(p[np.arange(len(label)), label], PROBABILITY_FLOOR, 1)
    return {
        "accuracy": float((predicted == label).mean()),
        "macro_f1": float((2 * hits[named > 0] / named[named > 0]).mean()),
        "auroc": float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan"),
        "log_loss": float(-np.log(of_label).mean()),
    }


def _class_columns(
    task: Task, fields: Fields, label: Int[np.ndarray, " n"]
) -> dict[str, np.ndarray]:
    names, p = np.array(task.classes, dtype=str), fields["probability"]
    return {
        "label": names[label],
        "predicted": names[p.argmax(axis=1)],
        "probability": p[np.arange(len(label)), label],
    }


def _value_metrics(fields: Fields, observed: Real[np.ndarray, " n"], fitted) -> dict[str, float]:
    if not len(observed):
        return dict.fromkeys(BETTER["regression"], float("nan"))
    observed = observed.astype(np.float64)
    error, spread = fields["value"] - observed, ((observed - observed.mean()) ** 2).sum()
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": float(1 - (error**2).sum() / spread) if np.ptp(observed) > 0 else float("nan"),
    }


def _survival_metrics(fields: Fields, test: Observed, fitted: Observed) -> dict[str, float]:
    risk, curves, times = fields["risk"], fields["survival"], fields["times"]
    scores = {
        "c_index": lambda: concordance.concordance(*test, risk),
        "c_index_uno": lambda: concordance.concordance_uno(fitted, test, risk),
        "ibs": lambda: _integrated_brier(fitted, test, curves, _grid(times)),
        "auc_t": lambda: _mean_auc(fitted, test, risk),
        "d_calibration_p": lambda: _d_calibration_p(test, curves, _grid(times)),
    }
    return {name: _or_nan(score) for name, score in scores.items()}


def _or_nan(score: Callable[[], float]) -> float:
    """nan where the rows do not suffice: no row, no event, no two rows to compare, no follow-up."""
    try:
        return score()
    except UserError:
        return float("nan")


def _grid(times: Real[np.ndarray, "n m"]) -> Real[np.ndarray, " m"]:
    if not len(times):
        raise UserError("there is no row with a time and an event to evaluate; give at least one")
    if (times != times[0]).any():
        raise ValueError(
            "survival curves of one prediction stand on the same times in every row, and these do "
            "not"
        )
    return times[0]


def _integrated_brier(
    train: Observed, test: Observed, curves: Real[np.ndarray, "n m"], grid
) -> float:
    at = np.unique(np.linspace(*event_times_at(test, BRIER_SHARES), BRIER_TIMES))
    if len(at) < 2:
        return float("nan")
    return survival.integrated_brier_score(
        train, test, np.stack([np.interp(at, grid, curve) for curve in curves]), at
    )


def _mean_auc(train: Observed, test: Observed, risk: Real[np.ndarray, " n"]) -> float:
    at = np.unique(event_times_at(test, QUARTILES))
    return concordance.cumulative_dynamic_auc(train, test, risk, at)[1]


def _d_calibration_p(test: Observed, curves: Real[np.ndarray, "n m"], grid) -> float:
    times, events = test
    return survival.d_calibration(survival.survival_at_own_time(curves, grid, times), events).p


def _survival_columns(
    fields: Fields, test: Observed, fitted: Observed, times: Sequence[float] = ()
) -> dict[str, np.ndarray]:
    """Survival stands at the times, or the quartiles of the training events; nan where there is
    none.
    """
    quartiles = (
        event_times_at(fitted, QUARTILES) if fitted[1].any() else np.full(len(QUARTILES), np.nan)
    )
    at = np.asarray(times, np.float64) if len(times) else quartiles
    rows = zip(fields["times"], fields["survival"], strict=True)
    curves = np.array([np.interp(at, grid, curve) for grid, curve in rows]).reshape(-1, len(at))
    return {
        "time": test[0],
        "event": test[1],
        "risk": fields["risk"],
        "median": fields["median"],
        "median_reached": fields["median_reached"].astype(bool),
        **{f"survival_{k}": column for k, column in enumerate(curves.T, 1)},
        **{f"time_{k}": np.full(len(curves), time) for k, time in enumerate(at, 1)},
    }


def _embedding_plane(
    tasks: Sequence[Task], embedding: Real[np.ndarray, "n L"], test: Dataset
) -> pd.DataFrame:
    """Each row's place on the first two principal axes of the test rows, with the outcomes."""
    x, y = _principal_plane(embedding).T
    columns = {"id": test.ids.astype(str), "x": x, "y": y}
    for task in tasks:
        columns[task.name] = _shown_outcome(task, test)
    return pd.DataFrame(columns)


def _shown_outcome(task: Task, test: Dataset) -> np.ndarray:
    """(n,) names of classes, "" where unknown; numbers or times, nan where unknown."""
    known, values = known_rows(test, task), outcome(test, task)
    if task.kind == "classification":
        names = [task.classes[int(c)] if k else "" for c, k in zip(values, known, strict=True)]
        return np.array(names)
    return np.where(known, values[0] if task.kind == "survival" else values, np.nan)


def _principal_plane(embedding: Real[np.ndarray, "n L"]) -> Float[np.ndarray, "n 2"]:
    """Scores on the first two axes, each turned so that its largest loading is positive; 0 on one
    that is not there.
    """
    centred = embedding - embedding.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return np.pad(centred @ axes.T, ((0, 0), (0, 2 - len(axes))))


_METRICS = {
    "classification": _class_metrics,
    "regression": _value_metrics,
    "survival": _survival_metrics,
}
