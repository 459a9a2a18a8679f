"""Kaplan-Meier and log-rank against lifelines, scikit-survival and hand computation; groups,
clipping, refusals.
"""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from numpy.testing import assert_allclose, assert_array_equal
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from survival_rows import structured, tied, training

from omics_jax.errors import UserError
from omics_jax.evaluation import follow_up
from omics_jax.evaluation.follow_up import FollowUpWarning


@pytest.mark.parametrize("seed", range(3))
def test_kaplan_meier_is_lifelines(seed):
    times, events, _ = tied(seed=seed)
    distinct, survival, at_risk = follow_up.kaplan_meier(times, events)
    fitted = KaplanMeierFitter().fit(times, events)
    assert_array_equal(at_risk, fitted.event_table.at_risk[distinct])
    assert_allclose(survival, fitted.survival_function_at_times(distinct), rtol=1e-10)
    at = np.array([0.0, 0.5, 3.0, 3.5, 12.0, 40.0])
    expected = fitted.survival_function_at_times(at)
    assert_allclose(follow_up.kaplan_meier_at(times, events, at), expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_censoring_distribution_is_scikit_survivals(seed):
    times, events, _ = tied(seed=seed)
    distinct, uncensored, _ = follow_up.kaplan_meier_censoring(times, events)
    expected = kaplan_meier_estimator(events, times, reverse=True)
    assert_allclose([distinct, uncensored], expected, rtol=1e-10)


def test_events_precede_censorings_at_the_same_time():
    times, events = np.array([1, 1, 2]), np.array([1, 0, 1])
    for found, expected in (
        (follow_up.kaplan_meier(times, events), ([1, 2], [2 / 3, 0], [3, 1])),
        (follow_up.kaplan_meier_censoring(times, events), ([1, 2], [1 / 2, 1 / 2], [2, 0])),
    ):
        for column, values in zip(found, expected, strict=True):
            assert_allclose(column, values, rtol=1e-15)


def test_survival_times_uncensored_is_the_share_still_followed():
    """S(t) G(t) = #{T_i > t} / n, exactly the property that inverse weights rest on."""
    times, events, _ = tied()
    distinct, survival, _ = follow_up.kaplan_meier(times, events)
    uncensored = follow_up.kaplan_meier_censoring(times, events)[1]
    assert_allclose(survival * uncensored, (times > distinct[:, None]).mean(axis=1), atol=1e-12)


@pytest.mark.parametrize("kind", [bool, int, np.float32])
def test_events_may_be_of_any_type(kind):
    times, events, _ = tied()
    expected = follow_up.kaplan_meier(times, events)[1]
    assert_array_equal(follow_up.kaplan_meier(times.astype(int), events.astype(kind))[1], expected)


@pytest.mark.parametrize("last_event, end", [(True, 13.0), (False, np.nextafter(13.0, 0))])
def test_follow_up_ends_where_censoring_is_last_known(last_event, end):
    times, events = training()
    events[-1] = last_event
    assert follow_up.follow_up_end((times, events)) == end
    assert follow_up.censoring_at((times, events), np.array([end]))[0] > 0
    assert last_event or follow_up.censoring_at((times, events), np.array([13.0]))[0] == 0


def test_times_after_follow_up_are_clipped_with_one_warning():
    with pytest.warns(FollowUpWarning) as caught:
        clipped = follow_up.clip_times(training(), np.array([0.0, 5.0, 14.0, 20.0]))
    assert_array_equal(clipped, [0, 5, 13, 13])
    assert [str(one.message) for one in caught] == [
        "2 of 4 times of evaluation lie outside the training rows' follow-up, 0 to 13, and are "
        "clipped to 13"
    ]


def test_times_within_follow_up_stay_without_a_warning():
    assert_array_equal(follow_up.clip_times(training(), np.array([0.5, 13.0])), [0.5, 13.0])


def test_risk_groups_are_tertiles_and_equal_risks_stay_together():
    risk = np.random.default_rng(0).permutation(9)
    assert_array_equal(follow_up.risk_groups(risk), risk // 3)
    assert_array_equal(follow_up.risk_groups(np.array([1, 1, 1, 1, 2, 3])), [1, 1, 1, 1, 2, 2])
    assert np.ptp(follow_up.risk_groups(np.ones(5))) == 0


def test_risk_groups_by_the_training_rows_quantiles():
    reference = np.arange(101.0)
    found = follow_up.risk_groups(np.array([-5.0, 24.9, 25.0, 60.0, 75.0, 1e9]), 4, reference)
    assert_array_equal(found, [0, 0, 1, 2, 3, 3])


@pytest.mark.parametrize("groups", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_log_rank_is_scikit_survivals(groups, seed):
    times, events, risk = tied(seed=seed)
    member = np.array([f"arm {int(r) % groups}" for r in risk])
    statistic, p = compare_survival(structured((times, events)), member)
    found = follow_up.log_rank(times, events, member)
    assert_allclose(found[:2], [statistic, p], rtol=1e-10)
    assert found.df == groups - 1


def test_log_rank_by_hand():
    """O - E and hypergeometric variance of arm a: at 1, 2 of 4 at risk, 2 die; at 3, 1 of 2, 1
    dies.
    """
    times, events, groups = (
        np.array([1, 1, 3, 5]),
        np.array([1, 1, 1, 0]),
        np.array(["a", "a", "b", "b"]),
    )
    variance = 2 * (2 / 4) * (2 / 4) * (4 - 2) / (4 - 1)
    found = follow_up.log_rank(times, events, groups)
    assert found.statistic == pytest.approx((2 - 2 * 2 / 4) ** 2 / variance, rel=1e-12)


ONE = np.array([1.0])


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        (
            lambda: follow_up.kaplan_meier(np.ones(0), np.ones(0)),
            UserError,
            "no row with a time and an event",
        ),
        (
            lambda: follow_up.kaplan_meier(np.array([1.0, -2.0]), np.ones(2)),
            ValueError,
            "time of row 1 is -2, not a",
        ),
        (
            lambda: follow_up.kaplan_meier(np.array([np.nan]), ONE),
            ValueError,
            "time of row 0 is nan, not a finite",
        ),
        (
            lambda: follow_up.kaplan_meier(np.ones(2), np.array([1, 2])),
            ValueError,
            "event of row 1 is 2, neither 0",
        ),
        (
            lambda: follow_up.kaplan_meier(ONE, np.array([np.nan])),
            ValueError,
            "event of row 0 is nan, neither 0 nor 1",
        ),
        (
            lambda: follow_up.follow_up_end((np.zeros(3), np.ones(3))),
            UserError,
            "all 3 training rows have a follow-up",
        ),
        (
            lambda: follow_up.clip_times(training(), np.array([2.0, 2.0])),
            ValueError,
            r"rise strictly .* \[2. 2.\]",
        ),
        (
            lambda: follow_up.clip_times(training(), np.array([-1.0, 2.0])),
            ValueError,
            "rise strictly from 0 or more",
        ),
        (
            lambda: follow_up.clip_times(training(), np.array([1.0, np.inf])),
            ValueError,
            "are finite, unlike",
        ),
        (
            lambda: follow_up.clip_times(training(), np.ones(0)),
            ValueError,
            "rise strictly from 0 or more",
        ),
        (lambda: follow_up.risk_groups(ONE, 1), ValueError, "at least 2 groups, not 1"),
        (
            lambda: follow_up.risk_groups(np.array([1, np.nan])),
            ValueError,
            "the risk of row 1 is nan",
        ),
        (
            lambda: follow_up.risk_groups(ONE, 3, ONE * np.inf),
            ValueError,
            "the reference risk of row 0 is inf",
        ),
        (
            lambda: follow_up.risk_groups(ONE, 3, np.ones(0)),
            UserError,
            "no risk to take 3 quantile groups from",
        ),
        (
            lambda: follow_up.log_rank(np.ones(2), np.ones(2), np.array(["a", "a"])),
            UserError,
            "all 2 rows are in 'a'",
        ),
        (
            lambda: follow_up.log_rank(np.ones(2), np.zeros(2), np.arange(2)),
            UserError,
            "none of 2 rows has an event",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_in_words(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
