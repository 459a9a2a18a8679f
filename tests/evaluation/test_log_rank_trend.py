"""The signed log-rank test within strata, against lifelines and against counts by hand."""

import numpy as np
import pytest
from lifelines.statistics import multivariate_logrank_test

from omics_jax.errors import UserError
from omics_jax.evaluation.follow_up import log_rank, log_rank_trend


def survivors(seed, n=120):
    """Times with ties, events, thirds of a risk that is right, and three strata."""
    random = np.random.default_rng(seed)
    group, stratum = random.integers(0, 3, n), random.integers(0, 3, n)
    times = np.ceil(random.exponential(20 / (1 + group) * (1 + stratum)))
    return times, random.random(n) < 0.6, group, stratum


def by_hand(times, events, group, stratum):
    """c'(O - E) / sqrt(c' V c) of the log-rank vector of all groups c, summed over strata."""
    levels = np.unique(group)
    excess, variance = np.zeros(len(levels)), np.zeros((len(levels), len(levels)))
    for name in np.unique(stratum):
        rows = stratum == name
        for time in np.unique(times[rows & events]):
            at_risk = rows & (times >= time)
            died = rows & events & (times == time)
            n, d = at_risk.sum(), died.sum()
            share = np.array([(at_risk & (group == g)).sum() for g in levels]) / n
            excess += np.array([(died & (group == g)).sum() for g in levels]) - d * share
            if n > 1:
                variance += d * (n - d) / (n - 1) * (np.diag(share) - np.outer(share, share))
    return levels @ excess / np.sqrt(levels @ variance @ levels)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_contrast_of_the_stratified_log_rank_vector(seed):
    times, events, group, stratum = survivors(seed)
    found = log_rank_trend(times, events, group, stratum)
    assert found.z == pytest.approx(by_hand(times, events, group, stratum), rel=1e-10)
    alone = log_rank_trend(times, events, group)
    expected = by_hand(times, events, group, np.zeros(len(times)))
    assert alone.z == pytest.approx(expected, rel=1e-10)


def test_of_two_groups_its_square_is_lifelines_log_rank():
    times, events, group, _ = survivors(5)
    two = np.minimum(group, 1)
    test = multivariate_logrank_test(times, two, events)
    found = log_rank_trend(times, events, two)
    assert found.z**2 == pytest.approx(test.test_statistic, rel=1e-8)
    assert found.p == pytest.approx(test.p_value, rel=1e-8)


def test_the_sign_is_that_of_the_order():
    times, events, group, stratum = survivors(6, 300)
    right, wrong = (log_rank_trend(times, events, sign * group, stratum) for sign in (1, -1))
    assert right.z > 3 and wrong.z == pytest.approx(-right.z) and wrong.p == pytest.approx(right.p)
    # The omnibus test of both orders is the same and cannot say which it is.
    assert log_rank(times, events, group) == log_rank(times, events, 2 - group)


def test_what_the_strata_explain_does_not_count():
    """The risk knows the stratum alone: a great difference, and none within strata."""
    random = np.random.default_rng(7)
    stratum = np.repeat([0, 1], 200)
    times = random.exponential(np.where(stratum, 5, 50))
    events, group = np.ones(400, bool), np.where(random.random(400) < 0.9, stratum, 1 - stratum)
    assert log_rank_trend(times, events, group).p < 1e-20
    assert log_rank_trend(times, events, group, stratum).p > 0.05


def test_it_keeps_its_level():
    random = np.random.default_rng(8)
    p = []
    for _ in range(600):
        times, stratum = np.ceil(random.exponential(30, 60)), random.integers(0, 4, 60)
        events, group = random.random(60) < 0.5, random.integers(0, 3, 60)
        p.append(log_rank_trend(times, events, group, stratum).p)
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 600)


def test_what_cannot_be_tested_is_refused():
    times, events = np.arange(1.0, 7), np.ones(6, bool)
    with pytest.raises(UserError, match="none of 6 rows has an event"):
        log_rank_trend(times, ~events, np.arange(6))
    with pytest.raises(
        UserError, match="rows of two groups are followed in one stratum, and 6 row"
    ):
        log_rank_trend(times, events, np.repeat([0, 1], 3), np.repeat(["a", "b"], 3))
    with pytest.raises(ValueError, match="6 times, 5 groups and 6 strata"):
        log_rank_trend(times, events, np.arange(5))
