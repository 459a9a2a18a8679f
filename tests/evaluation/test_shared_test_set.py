"""Bootstraps of trainings that share their test patients, against plain ones, simulation and hand
computation.
"""

import numpy as np
import pytest

from omics_jax.evaluation import bootstrap, classification, shared_test_set

RNG = np.random.default_rng(0)
LABEL = (RNG.random(300) < 0.3).astype(int)
SCORES = LABEL + RNG.normal(size=(5, 300))


def test_equal_trainings_have_the_plain_bootstrap_of_patients():
    same = np.repeat(SCORES[:1], 5, axis=0)
    found = shared_test_set.interval(
        shared_test_set.resample(classification.auroc, same, LABEL, n=400)
    )
    assert found == pytest.approx(
        bootstrap.bootstrap_interval(classification.auroc, SCORES[0], LABEL, n=400)
    )


def test_groups_are_drawn_whole():
    person = np.arange(300) // 6
    same = np.repeat(SCORES[:1], 3, axis=0)
    found = shared_test_set.interval(
        shared_test_set.resample(classification.auroc, same, LABEL, person, n=400)
    )
    plain = bootstrap.bootstrap_interval(classification.auroc, SCORES[0], LABEL, person, n=400)
    assert found == pytest.approx(plain)


def test_the_interval_holds_both_patients_and_trainings():
    """The variance of a mean of (patient + training) effects, each drawn: sigma_p^2 / n + sigma_t^2
    / trainings.
    """
    patients, trainings = RNG.normal(size=400), 0.2 * RNG.normal(size=6)
    values = patients[None] + trainings[:, None]
    mean = lambda score, label: score.mean()
    low, high = shared_test_set.interval(
        shared_test_set.resample(mean, values, np.zeros(400, int), n=4000)
    )
    expected = np.sqrt(patients.var() / 400 + trainings.var() / 6)
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.05)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.01)


def test_differences_are_paired_by_draw():
    a = shared_test_set.resample(classification.auroc, SCORES, LABEL, n=200)
    b = shared_test_set.resample(classification.auroc, SCORES[::-1], LABEL, n=200)
    (low, high), p = shared_test_set.difference(a, a)
    assert low == high == 0 and p == 1
    worse = shared_test_set.resample(classification.auroc, RNG.normal(size=(5, 300)), LABEL, n=200)
    (low, high), p = shared_test_set.difference(a, worse)
    assert 0 < low < high and p == pytest.approx(2 / 201)
    (low, high), p = shared_test_set.difference(b, a)
    assert low < 0 < high and p > 0.3


def test_undefined_draws_give_no_interval():
    one_class = shared_test_set.resample(
        classification.auroc, SCORES[:, :5], np.array([1, 0, 0, 0, 0]), n=100
    )
    assert np.isnan(shared_test_set.interval(one_class)).all()
    assert np.isnan(shared_test_set.difference(one_class, one_class)[1])
