"""Survival models of the class and of clinical numbers, and what a network adds to the class."""

from dataclasses import replace

import lifelines
import numpy as np
import pytest
from outcome_rows import AGE, OS, TYPE, ignore_follow_up, labelled, score

from omics_jax.data.dataset.dataset import Modality
from omics_jax.tasks import baselines
from omics_jax.tasks.clinical import CLASS, CLINICAL, clinical_survival
from omics_jax.tasks.task import Task, known_rows, outcome

pytestmark = ignore_follow_up
NAMES = ("A", "B", "C", "D")
GRID = np.array([0.0, 100, 300, 800])
SEX = Task("sex", "classification", ("f", "m"))


def cohort(n=400, seed=0, ageing=0.0):
    """Four diseases of different hazards; within one, survival depends on age by `ageing` alone."""
    random = np.random.default_rng(seed)
    codes, age = random.integers(0, 4, n), random.normal(60, 10, n)
    hazard = np.array([1, 2, 5, 12])[codes] * np.exp(ageing * (age - 60) / 10)
    death, censoring = random.exponential(800 / hazard), random.uniform(50, 1500, n)
    targets = {
        "type": (codes.astype(np.int32), random.random(n) > 0.05),
        "age": (age.astype(np.float32), random.random(n) > 0.1),
        "OS.time": np.minimum(death, censoring).astype(np.float32),
        "OS.event": (death <= censoring).astype(np.float32),
    }
    x = np.random.default_rng(seed + 100).normal(size=(n, 5)).astype(np.float32)
    modality = Modality(x, np.ones(x.shape, bool), np.array(list("abcde")))
    return labelled(targets, {"type": NAMES}, {"x": modality})


def fit(train, test, grid=GRID):
    known = known_rows(train, OS)
    return clinical_survival(train, known, outcome(train, OS, known), test, grid)


def test_the_class_alone_is_kaplan_meier_of_the_training_rows_of_the_class():
    train, test = cohort(), cohort(60, 1)
    risk, curves = fit(train, test)[CLASS]
    codes, known = outcome(train, TYPE), known_rows(train, TYPE)
    times, events = outcome(train, OS)
    of_test = np.where(known_rows(test, TYPE), outcome(test, TYPE), -1)
    for code in range(-1, 4):
        rows = known & (codes == code) if code >= 0 else ~known
        km = lifelines.KaplanMeierFitter().fit(times[rows], events[rows])
        expected = km.predict(GRID).to_numpy()
        of_class = curves[of_test == code]
        np.testing.assert_allclose(of_class, np.tile(expected, (len(of_class), 1)), rtol=1e-6)
        # Minus the mean time up to the end of the grid, of a curve of steps.
        mean = expected[:-1] @ np.diff(GRID)
        np.testing.assert_allclose(risk[of_test == code], -mean, rtol=1e-6)
    assert len(np.unique(risk)) == 5


def test_a_class_that_no_training_row_has_is_that_of_all_rows():
    train, test = cohort(), cohort(60, 1)
    absent = known_rows(train, TYPE) & (outcome(train, TYPE) == 2)
    _, curves = fit(train.take(~absent), test)[CLASS]
    times, events = outcome(train.take(~absent), OS)
    km = lifelines.KaplanMeierFitter().fit(times, events).predict(GRID).to_numpy()
    rows = known_rows(test, TYPE) & (outcome(test, TYPE) == 2)
    np.testing.assert_allclose(curves[rows], np.tile(km, (rows.sum(), 1)), rtol=1e-6)


def test_age_adds_to_the_class_what_it_has_to_add():
    for ageing, better in ((0.0, False), (1.0, True)):
        train, test = cohort(600, 2, ageing), cohort(400, 3, ageing)
        fields = baselines.simple_models((OS,), *features(train, test), train, test)
        found = {
            name: score(of_model, test, train, (OS,)).metrics for name, of_model in fields.items()
        }
        alone, both = (found[name]["OS_c_index"] for name in (CLASS, CLINICAL))
        assert alone > 0.6
        assert (both > alone + 0.03) == better
        assert found[CLASS]["OS_c_index_within"] == 0.5
        assert (found[CLINICAL]["OS_c_index_within"] > 0.6) == better
        assert found["no features"]["OS_c_index"] == 0.5


def features(*datasets):
    return [dataset.modalities["x"].values for dataset in datasets]


def test_a_network_that_is_the_class_scores_as_the_class_and_not_within_it():
    """Its concordance is high, that of the class alone as high, and within classes it is chance."""
    train, test = cohort(600, 4), cohort(500, 5)
    noise = np.random.default_rng(6).normal(size=len(test))
    risk = np.where(known_rows(test, TYPE), outcome(test, TYPE), 1.5) + 0.2 * noise
    curve = np.linspace(1, 0.2, len(GRID))
    predictions = {
        "OS_risk": risk,
        "OS_survival": np.tile(curve, (len(test), 1)),
        "OS_times": np.tile(GRID, (len(test), 1)),
        "OS_median": np.full(len(test), 500.0),
        "OS_median_reached": np.ones(len(test), bool),
    }
    own = score(predictions, test, train, (OS,)).metrics
    fields = baselines.simple_models((OS,), *features(train, test), train, test)
    alone = score(fields[CLASS], test, train, (OS,)).metrics
    assert own["OS_c_index"] > 0.65
    assert own["OS_c_index"] == pytest.approx(alone["OS_c_index"], abs=0.03)
    assert own["OS_c_index_within"] == pytest.approx(0.5, abs=0.05)


def test_where_the_class_is_all_that_is_known_it_stands_alone():
    train, test = cohort(), cohort(60, 1)
    without_age = [
        replace(d, targets={k: v for k, v in d.targets.items() if k != "age"})
        for d in (train, test)
    ]
    assert set(fit(*without_age)) == {CLASS}
    with_sex = [
        replace(
            d,
            targets={**d.targets, "sex": (np.arange(len(d)) % 2, np.ones(len(d), bool))},
            classes={**d.classes, "sex": SEX.classes},
        )
        for d in without_age
    ]
    assert set(fit(*with_sex)) == {CLASS, CLINICAL}


def test_without_classes_or_with_one_there_is_no_such_model():
    train, test = cohort(), cohort(60, 1)
    without = [
        replace(d, targets={k: v for k, v in d.targets.items() if k != "type"}, classes={})
        for d in (train, test)
    ]
    assert fit(*without) == {}
    one = train.take(known_rows(train, TYPE) & (outcome(train, TYPE) == 1))
    assert fit(one, test) == {}
    predicted = baselines.simple_models((AGE, OS), *features(*without), *without)
    assert set(predicted) == {*baselines.MODELS, "ridge"}
    found = score(predicted["forest"], without[1], without[0], (OS,)).metrics
    assert "OS_c_index_within" not in found
