"""Scores of tasks and imputations against scikit-learn, lifelines, scikit-survival; baselines; what
neither may see.
"""

from dataclasses import replace

import lifelines.utils
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn import metrics as sk
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sksurv import metrics as sksurv
from sksurv.util import Surv

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.patients.simulate import simulate_omics
from omics_jax.data.preprocessing.selection import Rules
from omics_jax.errors import UserError
from omics_jax.evaluation.baselines import ALPHAS
from omics_jax.evaluation.follow_up import FollowUpWarning
from omics_jax.tasks import baselines, scoring
from omics_jax.tasks import figures as pictures
from omics_jax.tasks.task import Task, known, outcome, tasks_of

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{FollowUpWarning.__module__}.{FollowUpWarning.__name__}"
)

TYPE, AGE, OS = (
    Task("type", "classification", ("A", "B", "C", "D")),
    Task("age", "regression"),
    Task("OS", "survival"),
)
MODALITIES = ("rna", "methylation", "mirna")
RULES = dict.fromkeys(MODALITIES, Rules())
GRID = np.array([0.0, 200.0, 500.0, 900.0, 1500.0, 2500.0])


def everyone(dataset):
    return np.ones(len(dataset), bool)


def all_measured(dataset):
    return np.logical_and.reduce([m.observed_rows for m in dataset.modalities.values()])


def labelled(targets, classes=None, modalities=None):
    """A dataset of these targets, {name: values or (values, mask)}."""
    pairs = {
        name: v if isinstance(v, tuple) else (v, np.ones(len(v), bool))
        for name, v in targets.items()
    }
    n = len(next(iter(pairs.values()))[0])
    ids = np.array([f"P{i}" for i in range(n)])
    return Dataset(
        ids, ids, modalities or {}, pd.DataFrame(index=ids), pairs, classes=classes or {}
    )


def guesses(n, seed=0):
    """Predictions of all three tasks that have nothing to do with the outcomes."""
    random = np.random.default_rng(seed)
    falls = np.sort(random.random((n, len(GRID) - 1)), axis=1)[:, ::-1]
    curves = np.concatenate([np.ones((n, 1)), falls], axis=1)
    return {
        "type_probability": random.dirichlet(np.ones(4), n),
        "age_value": random.normal(60, 12, n),
        "OS_risk": random.normal(size=n),
        "OS_survival": curves,
        "OS_times": np.tile(GRID, (n, 1)),
        "OS_median": random.random(n) * 1000,
        "OS_median_reached": random.random(n) < 0.5,
    }


@pytest.fixture(scope="module")
def cohort():
    """(train, test): 100 and 60 patients, some of whom lack modalities, cells and labels."""
    features = {"rna": 40, "methylation": 40, "mirna": 20}
    dataset, _ = simulate_omics(
        160, features=features, latent=4, missing_labels=0.15, noise=0.4, signal=2.0, seed=4
    )
    return dataset.take(np.arange(100)), dataset.take(np.arange(100, 160))


@pytest.fixture(scope="module")
def fitted(cohort):
    train, test = cohort
    return baselines.baselines((TYPE, AGE, OS), RULES, MODALITIES, train, test)


@pytest.fixture(scope="module", autouse=True)
def small_forests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omics_jax.tasks.baselines.TREES", 40)
        yield


def score(predictions, test, train=None, tasks=(TYPE, AGE, OS), complete=None):
    return scoring.evaluate(
        tasks, complete, {}, predictions, test, test if train is None else train
    )


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name)


# --- tasks ----------------------------------------------------------------------------------------


def test_tasks_follow_the_targets(cohort):
    train, _ = cohort
    assert tasks_of(train) == (TYPE, AGE, OS)
    values, alone = (
        np.zeros(2, np.float32),
        labelled({"b.event": np.ones(2), "x.time": np.ones(2), "b.time": np.ones(2)}),
    )
    assert tasks_of(alone) == (Task("b", "survival"), Task("x.time", "regression"))
    with pytest.raises(UserError, match="'OS' is a target and"):
        tasks_of(labelled({"OS": values, "OS.time": values, "OS.event": values}))


def test_an_outcome_is_known_with_all_its_parts():
    both = labelled(
        {
            "OS.time": (np.array([5.0, 6.0, 7.0]), np.array([True, True, False])),
            "OS.event": (np.array([1.0, 0.0, 1.0]), np.array([True, False, True])),
        }
    )
    assert known(both, OS).tolist() == [True, False, False]
    times, events = outcome(both, OS)
    assert times.tolist() == [5, 6, 7] and events.tolist() == [1, 0, 1]


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
    rows = known(test, AGE)
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
        "type_probability": np.eye(4)[np.where(known(test, TYPE), label, 0)],
        "age_value": outcome(test, AGE),
        "OS_risk": -times,
        "OS_survival": (GRID < times[:, None]).astype(float),
        "OS_times": np.tile(GRID, (len(test), 1)),
        "OS_median": times,
        "OS_median_reached": np.ones(len(test), bool),
        "mirna_estimate": np.arange(60).reshape(20, 3) / 60,
        "mirna_truth": np.arange(60).reshape(20, 3) / 60,
        "mirna_scored": np.ones((20, 3), bool),
    }


def test_a_perfect_prediction_is_best_and_on_the_better_side_of_a_guess(cohort):
    train, test = cohort
    best = score(perfect(test), test, train).metrics
    ideal = {"accuracy": 1, "macro_f1": 1, "auroc": 1, "log_loss": 0, "rmse": 0, "mae": 0, "r2": 1}
    ideal |= {"c_index": 1, "c_index_uno": 1, "auc_t": 1, "pearson": 1}
    for name, value in best.items():
        metric = name.split("_", 1)[1]
        if metric in ideal:
            assert value == pytest.approx(ideal[metric], abs=1e-6), name
    noise = np.random.default_rng(0).random((20, 3))
    poor = score(
        perfect(test) | guesses(len(test)) | {"mirna_estimate": noise}, test, train
    ).metrics
    sides = scoring.better((TYPE, AGE, OS), ["mirna"])
    assert best.keys() - sides.keys() == {"OS_d_calibration_p"}
    for name in best.keys() & sides.keys():
        assert (best[name] > poor[name]) == (sides[name] == "higher") and best[name] != poor[
            name
        ], name
    assert sides["validation_OS_ibs_complete"] == "lower"


# --- which rows count -----------------------------------------------------------------------------


def poisoned(dataset, rows_of=known):
    """The dataset with nonsense in the outcomes of the rows that `rows_of` does not name."""
    wrong = {"type": 99, "age": 1e9, "OS.time": np.nan, "OS.event": 7}
    targets = {}
    for task, names in ((TYPE, ("type",)), (AGE, ("age",)), (OS, ("OS.time", "OS.event"))):
        kept = rows_of(dataset, task)
        for name in names:
            values, mask = dataset.targets[name]
            targets[name] = (np.where(kept, values, wrong[name]).astype(values.dtype), mask)
    return replace(dataset, targets=targets)


def test_rows_without_a_label_do_not_count(cohort):
    """Neither what stands in their place nor what was predicted of them, in metrics and tables."""
    train, test = cohort
    predictions = guesses(len(test)) | {
        "embedding": np.random.default_rng(0).normal(size=(len(test), 3))
    }
    clean = score(predictions, test, train)
    for task in (TYPE, AGE, OS):
        assert not known(test, task).all()
        fields = [name for name in predictions if name.startswith(task.name)]
        for name in fields:
            predictions[name] = predictions[name].astype(float)
            predictions[name][~known(test, task)] = np.nan
    found = score(predictions, poisoned(test), poisoned(train))
    assert_same(found.metrics, clean.metrics)
    for name, table in clean.tables.items():
        pd.testing.assert_frame_equal(found.tables[name].frame, table.frame)


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
        f"OS_{name}" for name in ("c_index", "c_index_uno", "ibs", "auc_t", "d_calibration_p")
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
    with pytest.raises(ValueError, match="on the same times in every row"):
        score(shifted, test, train)


def test_a_task_without_all_its_fields_is_not_scored(cohort):
    train, test = cohort
    predictions = guesses(len(test))
    del predictions["OS_times"], predictions["age_value"]
    found = score(predictions, test, train)
    assert {name.split("_")[0] for name in found.metrics} == {"type"} == set(found.tables)


# --- tables ---------------------------------------------------------------------------------------


def test_tables_set_predictions_beside_outcomes(cohort):
    train, test = cohort
    predictions = guesses(len(test))
    tables = {
        name: table.frame.set_index("id")
        for name, table in score(predictions, test, train).tables.items()
    }
    i = int(np.flatnonzero(known(test, TYPE) & known(test, AGE) & known(test, OS))[3])
    label, p = outcome(test, TYPE)[i], predictions["type_probability"][i]
    row = tables["type"].loc[test.ids[i]]
    assert (row["label"], row["predicted"]) == ("ABCD"[label], "ABCD"[p.argmax()])
    assert row["probability"] == p[label]
    assert tables["age"].loc[test.ids[i]].tolist() == [
        predictions["age_value"][i],
        outcome(test, AGE)[i],
    ]
    times, events = (part[known(train, OS)] for part in outcome(train, OS))
    quartiles = np.percentile(times[events == 1], [25, 50, 75])
    row = tables["OS"].loc[test.ids[i]]
    assert row[["time", "event"]].tolist() == [part[i] for part in outcome(test, OS)]
    fields = ["risk", "median", "median_reached"]
    assert row[fields].tolist() == [predictions[f"OS_{field}"][i] for field in fields]
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
    frame = score({"embedding": embedding}, test, train).tables["latent"].frame
    shown = min(latent, 2)
    plane = frame[["x", "y"]].to_numpy()
    np.testing.assert_allclose(
        np.abs(plane[:, :shown]), np.abs(PCA(shown).fit_transform(embedding))
    )
    for axis in range(shown):
        assert np.corrcoef(plane[:, axis], embedding[:, axis])[0, 1] > 0.9
    assert (plane[:, shown:] == 0).all()
    unknown = ~known(test, TYPE)
    assert (frame["type"] == "").tolist() == unknown.tolist()
    assert frame["type"][~unknown].tolist() == ["ABCD"[c] for c in outcome(test, TYPE)[~unknown]]
    assert frame["OS"].isna().tolist() == (~known(test, OS)).tolist()


# --- baselines ------------------------------------------------------------------------------------


def test_baselines_find_what_is_planted_and_no_features_find_nothing(cohort, fitted):
    train, test = cohort
    found = {name: score(fields, test, train).metrics for name, fields in fitted.items()}
    nothing, linear, forest = found["no features"], found["PCA + linear"], found["forest"]
    assert linear["type_auroc"] > 0.8 and linear["age_r2"] > 0.4 and linear["OS_c_index"] > 0.75
    assert forest["type_auroc"] > 0.6 and forest["age_r2"] > 0.1 and forest["OS_c_index"] > 0.6
    assert (
        linear["type_log_loss"] < nothing["type_log_loss"] and linear["OS_ibs"] < nothing["OS_ibs"]
    )
    assert (
        nothing["type_auroc"]
        == nothing["OS_c_index"]
        == nothing["OS_c_index_uno"]
        == nothing["OS_auc_t"]
        == 0.5
    )
    assert -0.2 < nothing["age_r2"] <= 0


def test_no_features_are_frequencies_mean_and_kaplan_meier(cohort, fitted):
    train, test = cohort
    fields = fitted["no features"]
    codes, ages = (outcome(train, task)[known(train, task)] for task in (TYPE, AGE))
    np.testing.assert_allclose(
        fields["type_probability"][7], [(codes == c).mean() for c in range(4)]
    )
    np.testing.assert_allclose(fields["age_value"], np.full(len(test), ages.mean()), rtol=1e-6)
    times, events = (part[known(train, OS)] for part in outcome(train, OS))
    grid = fields["OS_times"][0]
    assert grid[0] == 0 and grid[-1] == times[events == 1].max() and len(grid) == 31
    curve = lifelines.KaplanMeierFitter().fit(times, events).predict(grid)
    np.testing.assert_allclose(fields["OS_survival"][7], curve, atol=1e-12)


def test_a_median_is_reached_or_stands_at_the_end_of_the_grid(cohort, fitted):
    for name, fields in fitted.items():
        median, reached = fields["OS_median"], fields["OS_median_reached"]
        assert reached.tolist() == (fields["OS_survival"][:, -1] <= 0.5).tolist()
        assert (median[~reached] == fields["OS_times"][0, -1]).all(), name
        rows = zip(
            median[reached],
            fields["OS_times"][reached],
            fields["OS_survival"][reached],
            strict=True,
        )
        for m, grid, curve in rows:
            assert (
                np.interp(m, grid, curve) == pytest.approx(0.5, abs=1e-9)
                or curve[grid <= m][-1] <= 0.5
            ), name
    assert (
        not fitted["PCA + linear"]["OS_median_reached"].all()
        and fitted["PCA + linear"]["OS_median_reached"].any()
    )


def test_ridge_stands_on_components_of_scaled_features(cohort, fitted):
    """scikit-learn's own mean fill, min-max scaling and PCA, fitted on all training rows, labelled
    or not.
    """
    train, test = cohort
    blank = lambda d: np.concatenate(
        [np.where(m.mask, m.values, np.nan) for m in d.modalities.values()], axis=1
    )
    steps = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True), PCA(99)).fit(
        blank(train).astype(np.float64)
    )
    rows = known(train, AGE)
    model = RidgeCV(alphas=ALPHAS).fit(
        steps.transform(blank(train))[rows], outcome(train, AGE)[rows]
    )
    expected = model.predict(steps.transform(blank(test)))
    np.testing.assert_allclose(fitted["PCA + linear"]["age_value"], expected, rtol=1e-3)


def test_baselines_see_no_test_outcome_no_other_test_row_and_no_row_without_a_label(cohort, fitted):
    train, test = cohort
    nobody, odd = lambda dataset, task: np.zeros(len(dataset), bool), np.arange(len(test)) % 2 == 1
    moved = {
        k: replace(m, values=np.where(odd[:, None], 1e3, m.values))
        for k, m in test.modalities.items()
    }
    other = replace(poisoned(test, nobody), modalities=moved)
    found = baselines.baselines((AGE, OS, TYPE), RULES, MODALITIES, poisoned(train), other)
    for name, fields in fitted.items():
        kept = {field: values[~odd] for field, values in fields.items()}
        assert_same({field: values[~odd] for field, values in found[name].items()}, kept)


def test_a_class_without_a_training_row_keeps_its_column(cohort):
    train, test = cohort
    absent = known(train, TYPE) & (outcome(train, TYPE) == 1)
    for name, fields in baselines.baselines(
        (TYPE,), RULES, ("rna",), train.take(~absent), test
    ).items():
        p = fields["type_probability"]
        assert (
            p.shape == (60, 4) and (p[:, 1] == 0).all() and (p[:, [0, 2, 3]] > 0).any(axis=0).all()
        ), name
        np.testing.assert_allclose(p.sum(axis=1), 1, err_msg=name)


def test_outcomes_that_teach_nothing_are_refused(cohort):
    train, test = cohort
    fit = lambda task, **targets: baselines.baselines(
        (task,), RULES, ("mirna",), replace(train, targets=train.targets | targets), test
    )
    n, every, none = len(train), everyone(train), ~everyone(train)
    with pytest.raises(UserError, match="all 100 training rows with a known 'type' are 'C'"):
        fit(TYPE, type=(np.full(n, 2, np.int32), every))
    with pytest.raises(UserError, match="none of 100 training rows has a known 'age'"):
        fit(AGE, age=(np.zeros(n), none))
    with pytest.raises(UserError, match="rows has an event"):
        fit(OS, **{"OS.event": (np.zeros(n), every)})
    flat = {
        "mirna": replace(
            train.modalities["mirna"], values=np.ones_like(train.modalities["mirna"].values)
        )
    }
    with pytest.raises(UserError, match="none of 20 features varies over 100 training rows"):
        baselines.baselines((AGE,), RULES, ("mirna",), replace(train, modalities=flat), test)


# --- imputation -----------------------------------------------------------------------------------


def test_imputation_scores_are_of_the_scored_cells():
    random = np.random.default_rng(6)
    truth, estimate = random.random((30, 5)), random.random((30, 5))
    scored = random.random(truth.shape) > 0.2
    scored[:10] = False
    truth[:, 3] = 0.4  # its correlation is not defined
    estimate[:, 4] = 0.5  # this one's is 0
    truth[~scored] = 1e6
    estimate[~scored] = -1e6
    predictions = {"mirna_estimate": estimate, "mirna_truth": truth, "mirna_scored": scored}
    found = score(predictions, labelled({"age": np.zeros(30)})).metrics
    error = (estimate - truth)[scored]
    r = [np.corrcoef(truth[scored[:, j], j], estimate[scored[:, j], j])[0, 1] for j in range(3)]
    expected = {
        "mirna_rmse": np.sqrt((error**2).mean()),
        "mirna_mae": np.abs(error).mean(),
        "mirna_pearson": np.median([*r, 0]),
    }
    assert_same(found, expected)
    nothing = scoring.imputation_scores(predictions | {"mirna_scored": np.zeros((30, 5), bool)})
    assert nothing.keys() == expected.keys() and np.isnan(list(nothing.values())).all()
    broken = np.where(np.arange(30)[:, None] == 20, np.nan, estimate)
    assert np.isnan(
        scoring.imputation_scores(predictions | {"mirna_estimate": broken})["mirna_rmse"]
    )


def linked(n, seed):
    """Patients whose mirna is linear in their rna; some lack one, some cells are missing."""
    random = np.random.default_rng(seed)
    weights = np.random.default_rng(0).normal(size=(6, 4))
    x = random.normal(size=(n, 6)).astype(np.float32)
    y = (x @ weights + 0.05 * random.normal(size=(n, 4))).astype(np.float32)
    masks = [random.random((n, width)) > 0.03 for width in (6, 4)]
    masks[0][: n // 8], masks[1][-n // 8 :] = False, False
    blocks = zip(("rna", "mirna"), (x, y), masks, strict=True)
    modalities = {
        k: Modality(np.where(m, v, 0), m, np.arange(v.shape[1]).astype(str)) for k, v, m in blocks
    }
    return labelled({"age": np.zeros(n)}, modalities=modalities)


def test_imputation_baselines_learn_from_the_sources_alone():
    train, test = linked(120, 1), linked(40, 2)
    edges = {"mirna": ("rna",)}
    fitted = baselines.imputation_baselines(RULES, edges, train, test)
    found = {name: scoring.imputation_scores(fields) for name, fields in fitted.items()}
    assert (
        found["PCA + ridge"]["mirna_rmse"]
        < found["kNN"]["mirna_rmse"]
        < found["mean"]["mirna_rmse"]
    )
    assert found["PCA + ridge"]["mirna_pearson"] > 0.9 and found["mean"]["mirna_pearson"] == 0

    y, able = test.modalities["mirna"], test.modalities["rna"].observed_rows
    blank = [np.where(m.mask, m.values, np.nan) for m in (train.modalities["mirna"], y)]
    truth = MinMaxScaler(clip=True).fit(blank[0]).transform(blank[1])
    for fields in fitted.values():
        np.testing.assert_array_equal(fields["mirna_scored"], y.mask & able[:, None])
        np.testing.assert_allclose(fields["mirna_truth"][y.mask], truth[y.mask], atol=1e-6)
        assert all(np.isfinite(values).all() for values in fields.values())

    nonsense = replace(y, values=np.full_like(y.values, 1e6))
    poisoned = replace(test, modalities={**test.modalities, "mirna": nonsense}).take(
        np.arange(39, -1, -1)
    )
    again = baselines.imputation_baselines(RULES, edges, train, poisoned)
    for name, fields in fitted.items():
        np.testing.assert_allclose(
            again[name]["mirna_estimate"][::-1], fields["mirna_estimate"], atol=1e-6
        )


def test_neighbours_are_the_ten_nearest_training_rows_that_have_both():
    train, test = linked(120, 1), linked(40, 2)
    fields = baselines.imputation_baselines(RULES, {"mirna": ("rna",)}, train, test)["kNN"]
    scaled = {}
    for name in ("rna", "mirna"):
        blocks = [
            np.where(d.modalities[name].mask, d.modalities[name].values, np.nan)
            for d in (train, test)
        ]
        steps = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True)).fit(blocks[0])
        scaled[name] = [steps.transform(block) for block in blocks]
    both = np.logical_and(*(train.modalities[name].observed_rows for name in ("rna", "mirna")))
    able = test.modalities["rna"].observed_rows
    near = (
        NearestNeighbors(n_neighbors=10)
        .fit(scaled["rna"][0][both])
        .kneighbors(scaled["rna"][1][able])[1]
    )
    expected = scaled["mirna"][0][both][near].mean(axis=1)
    np.testing.assert_allclose(fields["mirna_estimate"][able], expected, atol=1e-5)


def test_any_one_of_several_sources_will_do(cohort):
    train, test = cohort
    some = np.logical_or(*(test.modalities[name].observed_rows for name in ("rna", "methylation")))
    every = np.logical_and(
        *(test.modalities[name].observed_rows for name in ("rna", "methylation"))
    )
    assert not every.all()
    fields = baselines.imputation_baselines(RULES, {"mirna": ("rna", "methylation")}, train, test)[
        "PCA + ridge"
    ]
    measured = test.modalities["mirna"].observed_rows
    assert fields["mirna_scored"].any(axis=1).tolist() == (some & measured).tolist()


def test_an_imputation_nobody_could_teach_is_refused():
    train, test = linked(120, 1), linked(40, 2)
    apart = train.take(np.r_[0:15, 110:120])  # the first lack rna, the last mirna
    with pytest.raises(UserError, match="0 of 25 training rows have mirna and rna"):
        baselines.imputation_baselines(RULES, {"mirna": ("rna",)}, apart, test)


def test_classes_stand_in_one_order_on_both_sides_of_the_confusion_matrix():
    """Also one that is never predicted, and one that is predicted before it is seen."""
    own = pd.DataFrame({"label": ["A", "A", "B", "D"], "predicted": ["D", "A", "A", "D"]})
    frame = pictures._confusion("type", own).frame
    assert frame["row"].unique().tolist() == frame["column"].unique().tolist() == ["A", "B", "D"]
    counts = frame.pivot(index="row", columns="column", values="value").to_numpy()
    np.testing.assert_array_equal(counts, [[1, 0, 1], [1, 0, 0], [0, 0, 1]])
