"""Percentile bootstraps against known standard errors, the paired normal test and simulation."""

import inspect

import numpy as np
import pytest
import scipy.stats
from binary_outcomes import patients
from numpy.testing import assert_allclose

from omics_jax.evaluation import bootstrap, classification


def test_bootstrap_interval_of_auroc_has_its_known_standard_error():
    """Half width over 1.96 against Hanley & McNeil's formula, which is close for such scores."""
    random = np.random.default_rng(3)
    label = np.arange(400) < 100
    score = random.normal(size=400) + label
    low, high = bootstrap.bootstrap_interval(classification.auroc, score, label, n=600)
    area = classification.auroc(score, label)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 99 * (q1 - area**2) + 299 * (q2 - area**2)) / (100 * 300)
    assert low < area < high
    assert (high - low) / (2 * 1.96) == pytest.approx(np.sqrt(variance), rel=0.2)


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    probability, label = patients(400)
    losses = (probability - label) ** 2
    low, high = bootstrap.bootstrap_interval(classification.brier, probability, label, n=1000)
    half = 1.96 * losses.std() / 20
    assert_allclose([low, high], [losses.mean() - half, losses.mean() + half], rtol=0.05)


def test_whole_groups_are_drawn():
    """Every patient four times over: rows give an interval half as wide, whole groups do not."""
    probability, label = patients(150)
    repeated, labels, groups = (
        np.repeat(probability, 4),
        np.repeat(label, 4),
        np.repeat(np.arange(150), 4),
    )
    width = lambda *rows: np.diff(bootstrap.bootstrap_interval(classification.brier, *rows, n=800))[
        0
    ]
    assert width(repeated, labels) / width(probability, label) == pytest.approx(0.5, rel=0.15)
    assert width(repeated, labels, groups) / width(probability, label) == pytest.approx(
        1.0, rel=0.15
    )


def test_bootstraps_are_functions_of_their_seed():
    interval = lambda seed: bootstrap.bootstrap_interval(
        classification.auroc, *patients(60), n=50, seed=seed
    )
    assert interval(0) == interval(0) != interval(1)


def test_too_few_events_have_no_interval_and_one_missing_draw_does_no_harm():
    score, label = patients(40)
    rare = np.arange(40) < 1  # a draw lacks the one event with probability 1/e
    assert np.isnan(bootstrap.bootstrap_interval(classification.auroc, score, rare, n=200)).all()
    seldom = np.arange(40) < 5  # with probability .005
    assert np.isfinite(
        bootstrap.bootstrap_interval(classification.auroc, score, seldom, n=400)
    ).all()


def test_paired_bootstrap_of_a_mean_is_the_paired_normal_test():
    """A difference of Brier scores is a mean of paired differences: a z-test is the oracle."""
    random = np.random.default_rng(2)
    probability, label = patients(400)
    other = np.clip(probability + random.normal(0.0, 0.12, 400), 0, 1)
    difference, low, high, p = bootstrap.paired_bootstrap(
        classification.brier, probability, other, label
    )
    paired = (probability - label) ** 2 - (other - label) ** 2
    error = paired.std() / 20
    assert difference == pytest.approx(paired.mean(), rel=1e-12)
    assert_allclose([low, high], paired.mean() + np.array([-1.96, 1.96]) * error, atol=0.1 * error)
    assert p == pytest.approx(2 * scipy.stats.norm.sf(abs(paired.mean()) / error), abs=0.02)


def test_p_agrees_with_the_interval():
    """p < .05 just where the 95 % interval leaves 0 out, up to the steps of n draws."""
    probability, label = patients(120)
    found = []
    for shift in np.linspace(0.0, 1.2, 7):
        noise = np.random.default_rng(4).normal(size=120)
        arguments = (classification.auroc, probability, probability + shift * noise, label)
        _, low, high, p = bootstrap.paired_bootstrap(*arguments, n=400)
        assert (p < 0.045) <= (low > 0 or high < 0) <= (p < 0.06)
        found.append(p)
    assert found[0] == 1.0 and min(found) == pytest.approx(2 / 401)


def test_swapping_the_sides_turns_the_sign():
    score, label = patients(120)
    other = score + np.random.default_rng(1).normal(0, 0.3, 120)
    there = bootstrap.paired_bootstrap(classification.auroc, score, other, label, n=200)
    back = bootstrap.paired_bootstrap(classification.auroc, other, score, label, n=200)
    assert_allclose(there, [-back[0], -back[2], -back[1], back[3]])


def test_groups_must_pair_with_rows():
    score, label = patients(20)
    with pytest.raises(ValueError, match="20 labels and 3 groups"):
        inspect.unwrap(bootstrap.bootstrap_interval)(
            classification.auroc, score, label, np.arange(3)
        )
