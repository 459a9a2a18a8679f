"""Resampled scores of external rows against the scores of the rows themselves, of every kind."""

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index
from sklearn import metrics

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation import bootstrap
from omics_jax.evaluation.tables import Frame
from omics_jax.study.system import Results
from omics_jax.tasks import external
from omics_jax.tasks.scoring import evaluate_tasks
from omics_jax.tasks.task import tasks_of

RNG = np.random.default_rng(0)
N, FOLDS = 60, 3
IDS = np.array([f"p{i:02d}" for i in range(N)])
PERSONS = np.array([f"g{i // 2:02d}" for i in range(N)])
KNOWN = RNG.random((3, N)) < 0.9
TYPE, AGE = RNG.integers(3, size=N), RNG.normal(60, 10, N)
TIMES, EVENTS = RNG.integers(1, 40, N).astype(float), (RNG.random(N) < 0.6).astype(float)
DATA = Dataset(
    IDS,
    PERSONS,
    {},
    pd.DataFrame(index=IDS),
    {
        "type": (TYPE, KNOWN[0]),
        "age": (AGE, KNOWN[1]),
        "OS.time": (TIMES, KNOWN[2]),
        "OS.event": (EVENTS, KNOWN[2]),
    },
    classes={"type": ("A", "B", "C")},
)
TASKS = tasks_of(DATA)
SOME = RNG.random(N) < 0.5
SUBSETS = {"complete": lambda dataset: SOME}


def predictions(noise):
    random = np.random.default_rng(int(10 * noise))
    logits = np.eye(3)[TYPE] + noise * random.normal(size=(N, 3))
    survival = np.tile(np.linspace(1, 0.1, 5), (N, 1))
    return {
        "type_probability": np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
        "age_value": AGE + 10 * noise * random.normal(size=N),
        "OS_risk": -TIMES / 10 + noise * random.normal(size=N),
        "OS_survival": survival,
        "OS_times": np.tile(np.linspace(0, 40, 5), (N, 1)),
        "OS_median": np.full(N, 20.0),
        "OS_median_reached": np.ones(N, bool),
    }


@pytest.fixture(scope="module")
def results():
    """Three trainings of a model and of a worse rival, their rows in another order in each fold."""
    frames, scores = {}, []
    for model, noise in (("model", 1.0), ("rival", 4.0)):
        for fold in range(FOLDS):
            predicted = predictions(noise + fold / 10)
            place = {"arm": "net", "model": model, "group": "all", "fold": fold}
            found = evaluate_tasks(TASKS, predicted, DATA, DATA, subsets=SUBSETS)
            line = {**place, "repeat": 0, "n_train": 90, "n_test": N}
            scores += [{**line, "metric": m, "value": v} for m, v in found.metrics.items()]
            for name, frame in external.task_frames(TASKS, predicted, DATA, SUBSETS).items():
                rows = frame.rows.assign(**place).sample(frac=1, random_state=fold)
                frames.setdefault(name, []).append(frame._replace(rows=rows))
    joined = {
        name: Frame(parts[0].kind, pd.concat([part.rows for part in parts]))
        for name, parts in frames.items()
    }
    return Results(pd.DataFrame(scores), joined, {}, {"net": {}})


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr("omics_jax.tasks.binary_figures.DRAWS", 40)


def by_hand(metric, rows, predicted):
    """A metric of some rows (with repeats) by other libraries."""
    if metric.startswith("type"):
        p, y = predicted["type_probability"][rows], TYPE[rows]
        if metric == "type_accuracy":
            return metrics.accuracy_score(y, p.argmax(1))
        if metric == "type_macro_f1":
            return metrics.f1_score(y, p.argmax(1), average="macro")
        if metric == "type_log_loss":
            return metrics.log_loss(y, p, labels=range(3))
        return np.mean([metrics.roc_auc_score(y == k, p[:, k]) for k in range(3)])
    if metric.startswith("age"):
        value, observed = predicted["age_value"][rows], AGE[rows]
        return {
            "age_rmse": metrics.root_mean_squared_error,
            "age_mae": metrics.mean_absolute_error,
            "age_r2": metrics.r2_score,
        }[metric](observed, value)
    return concordance_index(TIMES[rows], -predicted["OS_risk"][rows], EVENTS[rows])


METRICS = (
    *("type_accuracy", "type_macro_f1", "type_auroc", "type_log_loss"),
    *("age_rmse", "age_mae", "age_r2", "OS_c_index"),
)


@pytest.mark.parametrize("metric", METRICS)
def test_draws_are_the_metric_of_the_drawn_persons_rows(results, few_draws, metric):
    found = external.resampled_tasks(results, [("net", "model")])["net", "model", metric]
    assert found.shape == (40, FOLDS)
    known = np.flatnonzero(KNOWN[("type", "age", "OS").index(metric.split("_")[0])])
    drawn = list(bootstrap.draw_rows(len(known), PERSONS[known], 40, 0))
    for fold in range(FOLDS):
        predicted = predictions(1.0 + fold / 10)
        for d in (0, 1, 39):
            expected = by_hand(metric, known[drawn[d]], predicted)
            assert found[d, fold] == pytest.approx(expected, abs=1e-9)


def test_a_subset_is_drawn_from_its_own_rows(results, few_draws):
    found = external.resampled_tasks(results, [("net", "model")])[
        "net", "model", "age_mae_complete"
    ]
    chosen = np.flatnonzero(KNOWN[1] & SOME)
    rows = next(iter(bootstrap.draw_rows(len(chosen), PERSONS[chosen], 1, 0)))
    expected = by_hand("age_mae", chosen[rows], predictions(1.0))
    assert found[0, 0] == pytest.approx(expected)


def test_pairs_of_one_class_are_those_of_the_scores(results, few_draws):
    """On all rows once, the score within classes is that of the evaluation."""
    frame = results.frames["external OS"].rows.query("model == 'model' and fold == 0")
    columns = [c for c in frame if c.startswith("observed_")]
    score = external.SCORES["external survival"](
        frame["predicted_0"].to_numpy(), frame[columns].to_numpy()
    )
    expected = results.scores.query("model == 'model' and fold == 0").set_index("metric")["value"]
    for metric in ("c_index", "c_index_within"):
        assert score[metric] == pytest.approx(expected[f"OS_{metric}"])
    assert score["c_index"] != pytest.approx(score["c_index_within"])


def test_conclusions_pair_draws_and_leave_out_what_cannot_be_resampled(results, few_draws):
    found = external.conclude_external(results, "net")
    tests = {t["metric"]: t for t in found.comparisons}
    assert set(tests) == {
        *("type_accuracy", "type_macro_f1", "type_auroc", "age_rmse", "age_r2", "OS_c_index"),
    }
    assert tests["age_rmse"]["b"] == "net/rival" and tests["age_rmse"]["difference"] < 0
    assert tests["age_rmse"]["ci95"][1] < 0 and tests["age_rmse"]["p"] == pytest.approx(2 / 41)
    assert found.method == "bootstrap of test patients and trainings"
    low, high = found.intervals["net", "model", "age_rmse"]
    mean = results.scores.query("model == 'model' and metric == 'age_rmse'")["value"].mean()
    assert low < mean < high
    without = {"OS_ibs", "OS_c_index_uno", "OS_auc_t", "OS_d_calibration_p"}
    assert not without & {metric for _, _, metric in found.intervals}
    assert without < set(results.scores["metric"])


def test_figures_of_the_first_training_count_a_patient_once(results):
    frame = external.of_first_training(results).frames["external age"].rows
    assert not frame.query("model == 'model'")["id"].duplicated().any()
    assert set(frame["fold"]) == {0} and set(frame["model"]) == {"model", "rival"}
