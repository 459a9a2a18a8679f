"""Scores of predicted outcomes for every kind of task, and the predictions that were scored.

The papers report AUC and F1, RMSE and R2, and the C-index; the other scores measure whether
probabilities and survival curves are calibrated. Left out: the simple models (`baselines`), and
comparisons over folds (`conclusions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation import concordance, measures, survival
from omics_jax.evaluation.tables import Evaluation, Frame, is_constant
from omics_jax.study.system import Predictions
from omics_jax.tasks.binary import BINARY, binary_frame
from omics_jax.tasks.class_metrics import OF_CLASSES, OF_TWO_CLASSES, class_metrics
from omics_jax.tasks.conformal import conformal_frames
from omics_jax.tasks.labels import QUARTILES
from omics_jax.tasks.prediction import FIELDS
from omics_jax.tasks.task import (
    Observed,
    Task,
    class_names,
    event_times_at,
    known_rows,
    named,
    outcome,
)

# The metrics of a kind of task that have a better side.
METRICS = {
    "classification": OF_CLASSES,
    "regression": ("rmse", "mae", "r2"),
    "survival": ("c_index", "c_index_uno", "c_index_within", "ibs", "auc_t"),
}
MEAN = "mean"  # stands for a task in the names of means over several classifications
# The field of a prediction that tells rows from each other.
DECISION = {"classification": "probability", "regression": "value", "survival": "risk"}
# The Brier score is integrated between these quantiles of the test events' times.
BRIER_SHARES = np.array([0.05, 0.95])
BRIER_TIMES = 50
EMBEDDING = "embedding"  # the kind of the frame of `_embedding_plane`

Subset = Callable[[Dataset], Bool[np.ndarray, " n"]]
Fields = dict[str, np.ndarray]


def better_sides(tasks: Sequence[Task], subsets: Sequence[str] = ()) -> dict[str, str]:
    """Metric -> "higher" or "lower", the better side, for all rows, subsets and validation rows."""
    suffixes = ("", *(f"_{subset}" for subset in subsets))
    names = [
        f"{task.name}_{metric}{suffix}"
        for task in tasks
        for metric in metrics_of(task)
        for suffix in suffixes
    ]
    names += [f"{MEAN}_{metric}" for metric in averaged_metrics(tasks)]
    return measures.better_sides([*names, *(f"validation_{name}" for name in names)])


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metrics of a task that have a better side."""
    own = METRICS[task.kind]
    return (*own, *OF_TWO_CLASSES) if len(task.classes) == 2 else own


def averaged_metrics(tasks: Sequence[Task]) -> list[str]:
    """The metrics that all of several classifications have, of which the mean is a score, too."""
    of_classes = [metrics_of(task) for task in tasks if task.kind == "classification"]
    if len(of_classes) < 2:
        return []
    return [metric for metric in of_classes[0] if all(metric in own for own in of_classes)]


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
    """The scores of the test rows' predictions; a task is scored on rows with a known outcome.

    Args:
      predictions: of a task T the fields T_FIELD (see `prediction.predict_tasks`); a task that
        lacks one is not scored. Survival curves have the same times in every row, the first 0.
      train: its outcomes give the censoring distribution.
      times: survival task -> the times at which its curves are stored; the quartiles of the
        training events where it has none.
      subsets: name -> a function that selects test rows, which are also scored by themselves, as
        T_METRIC_NAME.

    Returns:
      metrics: T_METRIC, nan where the rows do not suffice:
        of a classification accuracy, macro_f1 (mean over the classes that occur among the labels or
        the predicted classes), auroc (with more than two classes the mean of one-versus-rest over
        the classes for which it is defined), log_loss; of two classes also auprc, brier and
        calibration_error, see `binary`; of several classifications, where all are
        scored, also mean_METRIC over them;
        of a regression rmse, mae, r2;
        of a survival task c_index (Harrell), c_index_uno, ibs (integrated Brier score between the
        5th and 95th percentile of the test events), auc_t (cumulative/dynamic AUC at the quartiles
        of the test events, averaged as in `cumulative_dynamic_auc`), d_calibration_p and, where
        rows have a class (`class_names`), c_index_within, over pairs of the same class; censoring
        weights are those of the training rows.
      frames: T, of the kind of the task, with the prediction and the observation of every row that
        has an outcome; "binary T" of two classes, see `binary.binary_frame`; "conformal T" of
        classes and numbers, see `conformal`; "latent", two principal components of
        predictions["embedding"] (n, L).
      constant: the metrics of tasks whose probabilities, values or risks are the same in all rows.
    """
    scored = [task for task in tasks if _is_predicted(task, predictions)]
    rows_by_suffix = {"": np.ones(len(test), bool)}
    for name, subset in (subsets or {}).items():
        rows_by_suffix[f"_{name}"] = subset(test)
    scores, frames, constant = {}, {}, set()
    for task in scored:
        own = _scores_by_suffix(task, predictions, test, train, rows_by_suffix)
        scores |= own
        if _is_constant(task, predictions, test):
            constant |= own.keys()
        frames |= _task_frames(task, predictions, test, train, (times or {}).get(task.name, ()))
    frames |= conformal_frames(scored, predictions, test)
    if all(task in scored for task in tasks if task.kind == "classification"):
        scores = {**_means(tasks, scores), **scores}  # the report begins with the first
    if "embedding" in predictions:
        embedding = np.asarray(predictions["embedding"], np.float64)
        frames["latent"] = Frame(EMBEDDING, _embedding_plane(tasks, embedding, test))
    return Evaluation(scores, frames, constant)


def _is_predicted(task: Task, predictions: Predictions) -> bool:
    return all(f"{task.name}_{field}" in predictions for field in FIELDS[task.kind])


def _is_constant(task: Task, predictions: Predictions, test: Dataset) -> bool:
    """Whether all rows with an outcome are predicted alike."""
    decisions = np.asarray(predictions[f"{task.name}_{DECISION[task.kind]}"])
    return is_constant(decisions[known_rows(test, task)])


def _scores_by_suffix(
    task: Task,
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
    rows_by_suffix: Mapping[str, Bool[np.ndarray, " n"]],
) -> dict[str, float]:
    """T_METRIC_SUFFIX -> the score of the rows that the suffix stands for."""
    return {
        f"{task.name}_{metric}{suffix}": value
        for suffix, rows in rows_by_suffix.items()
        for metric, value in _task_scores(task, predictions, test, train, rows).items()
    }


def _task_frames(
    task: Task, predictions: Predictions, test: Dataset, train: Dataset, times: Sequence[float]
) -> dict[str, Frame]:
    """T, and "binary T" of two classes."""
    rows = _task_rows(task, predictions, test, train, times)
    frames = {task.name: Frame(task.kind, rows)}
    if len(task.classes) == 2:
        frames[f"{BINARY} {task.name}"] = _second_class(task, predictions, test)
    return frames


def _means(tasks: Sequence[Task], scores: Mapping[str, float]) -> dict[str, float]:
    """The means over classifications; nan where a score of one of them is."""
    names = [task.name for task in tasks if task.kind == "classification"]
    return {
        f"{MEAN}_{metric}": float(np.mean([scores[f"{name}_{metric}"] for name in names]))
        for metric in averaged_metrics(tasks)
    }


def _second_class(task: Task, predictions: Predictions, test: Dataset) -> Frame:
    """The probability of the second of two classes, for curves."""
    probability = np.asarray(predictions[f"{task.name}_probability"])[:, 1]
    known = known_rows(test, task)
    return binary_frame(test.ids, test.groups, probability, outcome(test, task), known)


def _task_scores(
    task: Task,
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
    chosen: Bool[np.ndarray, " n"],
) -> dict[str, float]:
    """The scores of one task on the chosen rows with a known outcome."""
    rows = chosen & known_rows(test, task)
    fields = _fields(task, predictions, rows)
    observed = outcome(test, task, rows)
    if task.kind == "classification":
        return class_metrics(fields["probability"], observed)
    if task.kind == "regression":
        return value_metrics(fields, observed)
    train_outcome = outcome(train, task, known_rows(train, task))
    scores = _survival_metrics(fields, observed, train_outcome)
    classes = class_names(test)
    if classes is not None:
        scores["c_index_within"] = _concordance_within(fields["risk"], observed, classes[rows])
    return scores


def _task_rows(
    task: Task, predictions: Predictions, test: Dataset, train: Dataset, times: Sequence[float]
) -> pd.DataFrame:
    """The prediction and the observation of every row with an outcome."""
    rows = known_rows(test, task)
    fields, observed = _fields(task, predictions, rows), outcome(test, task, rows)
    ids = test.ids[rows].astype(str)
    if task.kind == "survival":
        train_outcome = outcome(train, task, known_rows(train, task))
        columns = _survival_columns(fields, observed, train_outcome, times)
        classes = class_names(test)
        columns |= {} if classes is None else {"class": classes[rows]}
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


def _class_columns(
    task: Task, fields: Fields, label: Int[np.ndarray, " n"]
) -> dict[str, np.ndarray]:
    names, p = np.array(task.classes, dtype=str), fields["probability"]
    return {
        "label": names[label],
        "predicted": names[p.argmax(axis=1)],
        "probability": p[np.arange(len(label)), label],
    }


def value_metrics(fields: Fields, observed: Real[np.ndarray, " n"]) -> dict[str, float]:
    """The scores of a regression, see `evaluate_tasks`, from the field value (n,)."""
    if not len(observed):
        return dict.fromkeys(METRICS["regression"], float("nan"))
    observed = observed.astype(np.float64)
    error = fields["value"] - observed
    total_squares = ((observed - observed.mean()) ** 2).sum()
    varies = np.ptp(observed) > 0
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": float(1 - (error**2).sum() / total_squares) if varies else float("nan"),
    }


def _survival_metrics(fields: Fields, test: Observed, train: Observed) -> dict[str, float]:
    risk = fields["risk"]
    scores = {
        "c_index": lambda: concordance.concordance(*test, risk),
        "c_index_uno": lambda: concordance.concordance_uno(train, test, risk),
        "ibs": lambda: _integrated_brier(train, test, *_curves(fields)),
        "auc_t": lambda: _mean_auc(train, test, risk),
        "d_calibration_p": lambda: _d_calibration_p(test, *_curves(fields)),
    }
    return {name: or_nan(score) for name, score in scores.items()}


def _concordance_within(
    risk: Real[np.ndarray, " n"], test: Observed, classes: Shaped[np.ndarray, " n"]
) -> float:
    """Over pairs of the same class; rows of unknown class do not count."""
    known = classes != ""
    times, events = (part[known] for part in test)
    return or_nan(
        lambda: concordance.concordance_within(times, events, risk[known], classes[known])
    )


def or_nan(score: Callable[[], float]) -> float:
    """The score, or nan without a row, an event, two rows to compare, or enough follow-up."""
    try:
        return score()
    except UserError:
        return float("nan")


def _curves(fields: Fields) -> tuple[Real[np.ndarray, "n g"], Real[np.ndarray, " g"]]:
    """The survival curves of all rows and their grid, without the bins of no width of `mtlr`."""
    times = fields["times"]
    if not len(times):
        raise UserError("there is no row with a time and an event to evaluate; give at least one")
    if (times != times[0]).any():
        raise ValueError(
            "the rows of a prediction have survival curves at different times; give all rows the "
            "same times"
        )
    ends_a_bin = np.diff(times[0], append=np.inf) > 0
    return fields["survival"][:, ends_a_bin], times[0][ends_a_bin]


def _integrated_brier(
    train: Observed,
    test: Observed,
    curves: Real[np.ndarray, "n m"],
    grid: Real[np.ndarray, " m"],
) -> float:
    first, last = event_times_at(test, BRIER_SHARES)
    at = np.unique(np.linspace(first, last, BRIER_TIMES))
    if len(at) < 2:
        return float("nan")
    curves_at = np.stack([np.interp(at, grid, curve) for curve in curves])
    return survival.integrated_brier_score(train, test, curves_at, at)


def _mean_auc(train: Observed, test: Observed, risk: Real[np.ndarray, " n"]) -> float:
    at = np.unique(event_times_at(test, QUARTILES))
    return concordance.cumulative_dynamic_auc(train, test, risk, at)[1]


def _d_calibration_p(
    test: Observed, curves: Real[np.ndarray, "n m"], grid: Real[np.ndarray, " m"]
) -> float:
    times, events = test
    survival_at_time = survival.survival_at_own_time(curves, grid, times)
    return survival.d_calibration(survival_at_time, events).p


def _survival_columns(
    fields: Fields, test: Observed, train: Observed, times: Sequence[float] = ()
) -> dict[str, np.ndarray]:
    """Columns of observed and predicted survival, with the curves at `times`.

    Without `times` they are at the quartiles of the training events, nan if there is no event. A
    median that is not reached is nan.
    """
    if len(times):
        at = np.asarray(times, np.float64)
    elif train[1].any():
        at = event_times_at(train, QUARTILES)
    else:
        at = np.full(len(QUARTILES), np.nan)
    rows = zip(fields["times"], fields["survival"], strict=True)
    curves = np.array([np.interp(at, grid, curve) for grid, curve in rows]).reshape(-1, len(at))
    return {
        "time": test[0],
        "event": test[1],
        "risk": fields["risk"],
        "median": np.where(fields["median_reached"], fields["median"], np.nan),
        "median_reached": fields["median_reached"].astype(bool),
        **{f"survival_{k}": column for k, column in enumerate(curves.T, 1)},
        **{f"time_{k}": np.full(len(curves), time) for k, time in enumerate(at, 1)},
    }


def _embedding_plane(
    tasks: Sequence[Task], embedding: Real[np.ndarray, "n L"], test: Dataset
) -> pd.DataFrame:
    """Each row's coordinates on the test rows' first two principal axes, with the outcomes."""
    x, y = _principal_plane(embedding).T
    columns = {"id": test.ids.astype(str), "x": x, "y": y}
    for task in tasks:
        columns[task.name] = _shown_outcome(task, test)
    return pd.DataFrame(columns)


def _shown_outcome(task: Task, test: Dataset) -> Shaped[np.ndarray, " n"]:
    """Names of classes, "" where unknown; numbers or times, nan where unknown."""
    known, values = known_rows(test, task), outcome(test, task)
    if task.kind == "classification":
        return named(task, values, known)
    return np.where(known, values[0] if task.kind == "survival" else values, np.nan)


def _principal_plane(embedding: Real[np.ndarray, "n L"]) -> Float[np.ndarray, "n 2"]:
    """Scores on the first two principal axes; 0 on an axis that the data do not have.

    The sign of an axis is such that its largest loading is positive.
    """
    centred = embedding - embedding.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    return np.pad(centred @ axes.T, ((0, 0), (0, 2 - len(axes))))
