"""Scores of tasks against scikit-learn, lifelines and scikit-survival; which rows count."""

import lifelines.utils
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from outcome_rows import (
    AGE,
    GRID,
    OS,
    TYPE,
    all_measured,
    assert_same,
    guesses,
    ignore_follow_up,
    labelled,
    make_cohort,
    poisoned,
    score,
)
from sklearn import metrics as sk
from sklearn.decomposition import PCA
from sksurv import metrics as sksurv
from sksurv.util import Surv

from omics_jax.tasks import scoring
from omics_jax.tasks.task import Task, known_rows, outcome

pytestmark = ignore_follow_up


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


# --- metrics --------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [(0, 1, 2, 3), (0, 2, 3), (1, 2)])
def test_class_metrics_are_scikit_learns(held):
    """Also where classes are absent from the test rows, but not from the predictions."""
    random = np.random.default_rng(1)
    label = random.choice(held, 50).astype(np.int32)
    p = random.dirichlet(np.ones(4), 50)
    p[:, 0] = np.where(
        p.argmax(axis=1) == 0, p[:, 0], 0
    )  # ties in a column, and labels that were ruled out
    p /= p.sum(axis=1, keepdims=True)
    found = score(
        {"type_probability": p}, labelled({"type": label}, {"type": TYPE.classes}), tasks=(TYPE,)
    ).metrics
    areas = [sk.roc_auc_score(label == c, p[:, c]) for c in held]
    floored = np.maximum(p, np.finfo(np.float32).eps)[np.arange(50), label]
    expected = {
        "type_accuracy": sk.accuracy_score(label, p.argmax(axis=1)),
        "type_macro_f1": sk.f1_score(label, p.argmax(axis=1), average="macro", zero_division=0),
        "type_auroc": np.mean(areas),
        "type_log_loss": -np.log(floored).mean(),
    }
    assert_same(found, expected)


def test_two_classes_have_the_ordinary_auroc_and_log_loss():
    random = np.random.default_rng(2)
    label, p1 = random.integers(0, 2, 40), random.random(40)
    task, test = (
        Task("er", "classification", ("neg", "pos")),
        labelled({"er": label}, {"er": ("neg", "pos")}),
    )
    found = score({"er_probability": np.stack([1 - p1, p1], axis=1)}, test, tasks=(task,)).metrics
    assert found["er_auroc"] == pytest.approx(sk.roc_auc_score(label, p1))
    assert found["er_log_loss"] == pytest.approx(sk.log_loss(label, p1))


def test_value_metrics_are_scikit_learns(cohort):
    _, test = cohort
    predictions = guesses(len(test))
    rows = known_rows(test, AGE)
    observed, value = outcome(test, AGE)[rows], predictions["age_value"][rows]
    found = score({"age_value": predictions["age_value"]}, test).metrics
    expected = {
        "age_rmse": sk.root_mean_squared_error(observed, value),
        "age_mae": sk.mean_absolute_error(observed, value),
        "age_r2": sk.r2_score(observed, value),
    }
    assert_same(found, expected)


def survivors(n, seed, horizon):
    """Times and events of exponential deaths under uniform censoring, no two times equal."""
    random = np.random.default_rng(seed)
    death, censoring = random.exponential(1000, n), random.uniform(0, horizon, n)
    return labelled(
        {
            "OS.time": np.minimum(death, censoring),
            "OS.event": (death <= censoring).astype(np.float32),
        }
    )


def test_survival_metrics_are_lifelines_and_scikit_survivals():
    """Censoring is that of the training rows, which is heavier than in the test rows."""
    train, test = survivors(150, 0, 2600), survivors(60, 1, 2400)
    predictions = guesses(60)
    found = score(predictions, test, train, tasks=(OS,)).metrics
    (times, events), risk = outcome(test, OS), predictions["OS_risk"]
    structured = [
        Surv.from_arrays(e.astype(bool), t) for t, e in (outcome(train, OS), outcome(test, OS))
    ]
    deaths = times[events == 1]
    at = np.linspace(*np.percentile(deaths, [5, 95]), 50)
    curves = np.stack([np.interp(at, GRID, curve) for curve in predictions["OS_survival"]])
    assert found["OS_c_index"] == pytest.approx(
        lifelines.utils.concordance_index(times, -risk, events)
    )
    assert found["OS_c_index_uno"] == pytest.approx(
        sksurv.concordance_index_ipcw(*structured, risk)[0]
    )
    assert found["OS_ibs"] == pytest.approx(sksurv.integrated_brier_score(*structured, curves, at))
    quartiles = np.percentile(deaths, [25, 50, 75])
    assert found["OS_auc_t"] == pytest.approx(
        sksurv.cumulative_dynamic_auc(*structured, risk, quartiles)[1]
    )


def test_d_calibration_asks_every_patient_at_their_own_time():
    """Without censoring it is Pearson's chi-squared test of S_i(T_i) in ten bins."""
    random = np.random.default_rng(4)
    times = random.uniform(1, 2500, 80)
    test, predictions = labelled({"OS.time": times, "OS.event": np.ones(80)}), guesses(80)
    own = [
        np.interp(t, GRID, curve)
        for t, curve in zip(times, predictions["OS_survival"], strict=True)
    ]
    expected = scipy.stats.chisquare(np.histogram(own, bins=10, range=(0, 1))[0]).pvalue
    assert score(predictions, test, tasks=(OS,)).metrics["OS_d_calibration_p"] == pytest.approx(
        expected
    )


def perfect(test):
    """What is observed, as a prediction."""
    label, (times, _) = outcome(test, TYPE), outcome(test, OS)
    return {
        "type_probability": np.eye(4)[np.where(known_rows(test, TYPE), label, 0)],
        "age_value": outcome(test, AGE),
        "OS_risk": -times,
        "OS_survival": (GRID < times[:, None]).astype(float),
        "OS_times": np.tile(GRID, (len(test), 1)),
        "OS_median": times,
        "OS_median_reached": np.ones(len(test), bool),
    }


def test_a_perfect_prediction_is_best_and_on_the_better_side_of_a_guess(cohort):
    train, test = cohort
    best = score(perfect(test), test, train).metrics
    ideal = {"accuracy": 1, "macro_f1": 1, "auroc": 1, "log_loss": 0, "rmse": 0, "mae": 0, "r2": 1}
    ideal |= {"c_index": 1, "c_index_uno": 1, "auc_t": 1}
    for name, value in best.items():
        metric = name.split("_", 1)[1]
        if metric in ideal:
            assert value == pytest.approx(ideal[metric], abs=1e-6), name
    poor = score(perfect(test) | guesses(len(test)), test, train).metrics
    sides = scoring.better_sides((TYPE, AGE, OS), ["complete"])
    assert best.keys() - sides.keys() == {"OS_d_calibration_p"}
    for name in best.keys() & sides.keys():
        assert (best[name] > poor[name]) == (sides[name] == "higher") and best[name] != poor[
            name
        ], name
    assert sides["validation_OS_ibs_complete"] == "lower"


# --- which rows count -----------------------------------------------------------------------------


def test_rows_without_a_label_do_not_count(cohort):
    """Neither what stands in their place nor what was predicted of them, in metrics and tables."""
    train, test = cohort
    predictions = guesses(len(test)) | {
        "embedding": np.random.default_rng(0).normal(size=(len(test), 3))
    }
    clean = score(predictions, test, train)
    for task in (TYPE, AGE, OS):
        assert not known_rows(test, task).all()
        fields = [name for name in predictions if name.startswith(task.name)]
        for name in fields:
            predictions[name] = predictions[name].astype(float)
            predictions[name][~known_rows(test, task)] = np.nan
    found = score(predictions, poisoned(test), poisoned(train))
    assert_same(found.metrics, clean.metrics)
    for name, frame in clean.frames.items():
        pd.testing.assert_frame_equal(found.frames[name].rows, frame.rows)


def test_complete_rows_are_scored_once_more_alone(cohort):
    train, test = cohort
    predictions = guesses(len(test))
    whole = all_measured(test)
    assert 0 < whole.sum() < len(test)
    found = score(predictions, test, train, complete=all_measured).metrics
    alone = {name: values[whole] for name, values in predictions.items()}
    expected = score(alone, test.take(whole), train).metrics
    assert found.keys() == expected.keys() | {f"{name}_complete" for name in expected}
    assert_same({name: found[f"{name}_complete"] for name in expected}, expected)
    assert_same({name: found[name] for name in expected}, score(predictions, test, train).metrics)


def test_what_rows_do_not_suffice_for_is_nan():
    few = {
        "OS.time": np.array([3.0, 4.0, 5.0]),
        "age": np.full(3, 50.0),
        "type": np.zeros(3, np.int32),
    }
    classes, train = {"type": TYPE.classes}, survivors(50, 0, 2000)
    train = labelled(
        {**train.targets, "age": np.zeros(50), "type": np.zeros(50, np.int32)}, classes
    )
    undefined = lambda found: {name for name, value in found.items() if np.isnan(value)}
    survival = {
        f"OS_{name}"
        for name in (
            *("c_index", "c_index_uno", "c_index_within"),
            *("ibs", "auc_t", "d_calibration_p"),
        )
    }
    censored = score(guesses(3), labelled(few | {"OS.event": np.zeros(3)}, classes), train).metrics
    assert undefined(censored) == survival | {"age_r2", "type_auroc"}
    once = score(
        guesses(3), labelled(few | {"OS.event": np.array([0.0, 0.0, 1.0])}, classes), train
    ).metrics
    assert undefined(once) == survival - {"OS_d_calibration_p"} | {"age_r2", "type_auroc"}
    unknown = {
        name: (np.asarray(v), np.zeros(3, bool))
        for name, v in (few | {"OS.event": np.ones(3)}).items()
    }
    nobody = score(guesses(3), labelled(unknown, classes), train).metrics
    assert undefined(nobody) == nobody.keys() and nobody.keys() == censored.keys()


def test_a_broken_prediction_is_no_lack_of_rows(cohort):
    train, test = cohort
    broken = guesses(len(test))
    broken["OS_risk"] = np.full(len(test), np.nan)
    with pytest.raises(ValueError, match="risk of row 0 is nan"):
        score(broken, test, train)
    shifted = guesses(len(test))
    shifted["OS_times"] = shifted["OS_times"] + np.arange(len(test))[:, None]
    with pytest.raises(
        ValueError, match="survival curves at different times; give all rows the same"
    ):
        score(shifted, test, train)


def test_a_task_without_all_its_fields_is_not_scored(cohort):
    train, test = cohort
    predictions = guesses(len(test))
    del predictions["OS_times"], predictions["age_value"]
    found = score(predictions, test, train)
    assert {name.split("_")[0] for name in found.metrics} == {"type"}
    assert set(found.frames) == {"type", "conformal type"}


def test_predictions_that_are_the_same_for_every_row_are_named(cohort):
    """By task, with all of its metrics; rows without an outcome do not count."""
    train, test = cohort
    assert score(guesses(len(test)), test, train).constant == set()
    predictions = guesses(len(test))
    predictions["type_probability"] = np.tile([0.4, 0.3, 0.2, 0.1], (len(test), 1))
    predictions["OS_risk"] = np.where(known_rows(test, OS), 2.0, predictions["OS_risk"])
    found = score(predictions, test, train, complete=all_measured)
    named = {metric for metric in found.metrics if metric.split("_")[0] in ("type", "OS")}
    assert set(found.constant) == named and "type_auroc_complete" in named


# --- tables ---------------------------------------------------------------------------------------


def test_tables_set_predictions_beside_outcomes(cohort):
    train, test = cohort
    predictions = guesses(len(test))
    tables = {
        name: frame.rows.set_index("id")
        for name, frame in score(predictions, test, train).frames.items()
    }
    i = int(
        np.flatnonzero(known_rows(test, TYPE) & known_rows(test, AGE) & known_rows(test, OS))[3]
    )
    label, p = outcome(test, TYPE)[i], predictions["type_probability"][i]
    row = tables["type"].loc[test.ids[i]]
    assert (row["label"], row["predicted"]) == ("ABCD"[label], "ABCD"[p.argmax()])
    assert row["probability"] == p[label]
    assert tables["age"].loc[test.ids[i]].tolist() == [
        predictions["age_value"][i],
        outcome(test, AGE)[i],
    ]
    times, events = (part[known_rows(train, OS)] for part in outcome(train, OS))
    quartiles = np.percentile(times[events == 1], [25, 50, 75])
    row = tables["OS"].loc[test.ids[i]]
    assert row[["time", "event"]].tolist() == [part[i] for part in outcome(test, OS)]
    fields = ["risk", "median_reached"]
    assert row[fields].tolist() == [predictions[f"OS_{field}"][i] for field in fields]
    # A median that is not reached has no number.
    frame, reached = tables["OS"], predictions["OS_median_reached"][known_rows(test, OS)]
    assert reached.any() and not reached.all()
    expected = np.where(reached, predictions["OS_median"][known_rows(test, OS)], np.nan)
    np.testing.assert_array_equal(frame["median"].to_numpy(float), expected)
    labels = outcome(test, TYPE)
    names = np.where(known_rows(test, TYPE), np.array(TYPE.classes)[labels % 4], "")
    assert frame["class"].tolist() == names[known_rows(test, OS)].tolist()
    np.testing.assert_allclose(row[["time_1", "time_2", "time_3"]].astype(float), quartiles)
    survival = np.interp(quartiles, GRID, predictions["OS_survival"][i])
    np.testing.assert_allclose(
        row[["survival_1", "survival_2", "survival_3"]].astype(float), survival
    )


@pytest.mark.parametrize("latent", [5, 1])
def test_the_latent_plane_is_principal_components_of_fixed_sign(cohort, latent):
    train, test = cohort
    embedding = (
        np.random.default_rng(5).normal(size=(len(test), latent))
        * [9.0, 4.0, 1.0, 0.5, 0.1][:latent]
    )
    frame = score({"embedding": embedding}, test, train).frames["latent"].rows
    shown = min(latent, 2)
    plane = frame[["x", "y"]].to_numpy()
    np.testing.assert_allclose(
        np.abs(plane[:, :shown]), np.abs(PCA(shown).fit_transform(embedding))
    )
    for axis in range(shown):
        assert np.corrcoef(plane[:, axis], embedding[:, axis])[0, 1] > 0.9
    assert (plane[:, shown:] == 0).all()
    unknown = ~known_rows(test, TYPE)
    assert (frame["type"] == "").tolist() == unknown.tolist()
    assert frame["type"][~unknown].tolist() == ["ABCD"[c] for c in outcome(test, TYPE)[~unknown]]
    assert frame["OS"].isna().tolist() == (~known_rows(test, OS)).tolist()
