"""Concordance and time-dependent AUC against scikit-survival, lifelines, AUROC and hand
computation.
"""

import numpy as np
import pytest
import sksurv.metrics
from lifelines.utils import concordance_index
from numpy.testing import assert_allclose, assert_array_equal
from survival_rows import exponential, structured, tied, training

from omics_jax.errors import UserError
from omics_jax.evaluation.classification import auroc
from omics_jax.evaluation.concordance import (
    concordance,
    concordance_pairs,
    concordance_uno,
    concordance_within,
    cumulative_dynamic_auc,
)
from omics_jax.evaluation.follow_up import FollowUpWarning

TIMES = np.array([2.0, 3.0, 5.5, 9.0, 11.0])
MEASURES = {
    "Harrell": lambda train, times, events, risk: concordance(times, events, risk),
    "Uno": lambda train, times, events, risk: concordance_uno(train, (times, events), risk),
    "Uno, truncated": lambda train, times, events, risk: concordance_uno(
        train, (times, events), risk, tau=8.0
    ),
    "AUC": lambda train, times, events, risk: cumulative_dynamic_auc(
        train, (times, events), risk, TIMES
    )[1],
}


def test_the_hand_case_has_two_pairs_and_orders_both():
    times, events, risk = np.array([1, 2, 3]), np.array([1, 0, 1]), np.array([3, 2, 1])
    assert concordance_pairs(times, events, risk) == (2, 0, 2)
    assert concordance(times, events, risk) == 1.0


def test_ties_by_hand():
    """At time 1 two events, not comparable, each before the censoring at 1 and the row at 2; one
    pair ties in risk.
    """
    times, events, risk = np.array([1, 1, 1, 2]), np.array([1, 1, 0, 0]), np.array([5, 2, 2, 3])
    assert concordance_pairs(times, events, risk) == (2, 1, 4)
    assert concordance(times, events, risk) == 2.5 / 4


@pytest.mark.parametrize("n", [2, 3, 17, 80, 300])
@pytest.mark.parametrize("seed", range(3))
def test_concordance_is_scikit_survivals_and_lifelines(n, seed):
    times, events, risk = tied(n, seed)
    times[-1], events[0], times[0] = 12, True, 1
    c, concordant, _, tied_risk, _ = sksurv.metrics.concordance_index_censored(events, times, risk)
    pairs = concordance_pairs(times, events, risk)
    assert pairs[:2] == (concordant, tied_risk)
    assert (pairs[0] + 0.5 * pairs[1]) / pairs[2] == pytest.approx(c, rel=1e-10)
    assert concordance(times, events, risk) == pytest.approx(
        concordance_index(times, -risk, events), rel=1e-10
    )


@pytest.mark.parametrize("tau", [None, 12.0, 8.0, 3.5])
@pytest.mark.parametrize("seed", range(3))
def test_uno_is_scikit_survivals(tau, seed):
    times, events, risk = tied(seed=seed)
    train = training()
    expected = sksurv.metrics.concordance_index_ipcw(
        structured(train), structured((times, events)), risk, tau
    )[0]
    assert concordance_uno(train, (times, events), risk, tau) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("per_time", [False, True])
@pytest.mark.parametrize("times", [TIMES, TIMES[2:3]], ids=["times", "time"])
@pytest.mark.parametrize("seed", range(3))
def test_auc_is_scikit_survivals(per_time, times, seed):
    *test, risk = tied(seed=seed)
    if per_time:
        risk = np.round(
            risk[:, None] * np.random.default_rng(seed).uniform(0, 1, (len(risk), len(times)))
        )
    train, test = training(), tuple(test)
    expected = sksurv.metrics.cumulative_dynamic_auc(
        structured(train), structured(test), risk, times
    )
    auc, mean = cumulative_dynamic_auc(train, test, risk, times)
    assert_allclose(auc, expected[0], rtol=1e-10)
    assert mean == pytest.approx(expected[1], rel=1e-10)


def test_without_censoring_uno_is_harrell_and_auc_is_auroc():
    times, _, risk = tied()
    outcome = (times, np.ones(len(times)))
    assert concordance_uno(outcome, outcome, risk) == pytest.approx(
        concordance(*outcome, risk), rel=1e-12
    )
    expected = [auroc(risk, times <= t) for t in TIMES]
    assert_allclose(cumulative_dynamic_auc(outcome, outcome, risk, TIMES)[0], expected, rtol=1e-12)


def test_uno_does_not_depend_on_how_much_is_censored_and_harrell_does():
    """Hazards cross at time 1, so that Harrell's, fed with early pairs by censoring, is far from
    the value without.
    """
    random = np.random.default_rng(0)
    n = 20_000
    high = random.random(n) < 0.5
    first, second = (
        random.exponential(1 / np.where(high, 1.0, 0.2)),
        random.exponential(1 / np.where(high, 0.2, 1.0)),
    )
    full = np.where(first < 1, first, 1 + second)
    censoring = random.exponential(1.5, n)
    seen = (np.minimum(full, censoring), full <= censoring)
    truth = concordance(np.minimum(full, 3.0), full < 3.0, high.astype(float))
    assert abs(concordance_uno(seen, seen, high.astype(float), tau=3.0) - truth) < 0.01
    assert (
        abs(
            concordance(np.minimum(seen[0], 3.0), seen[1] & (full < 3.0), high.astype(float))
            - truth
        )
        > 0.03
    )


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_order_alone_counts(measure):
    times, events, risk = tied()
    value, order = (
        measure(training(), times, events, risk),
        np.random.default_rng(1).permutation(len(risk)),
    )
    assert measure(training(), times, events, np.exp(3 * risk) - 5) == value
    assert measure(training(), times[order], events[order], risk[order]) == pytest.approx(
        value, rel=1e-12
    )
    assert measure(training(), times, events, -risk) == pytest.approx(1 - value, rel=1e-12)
    assert measure(training(), times, events, np.full(len(risk), 0.3)) == pytest.approx(
        0.5, rel=1e-12
    )


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_perfect_and_an_inverted_model(measure):
    times, events, _ = tied()
    times = np.where(events, times, times + 0.5)
    assert measure(training(), times, events, -times) == pytest.approx(1.0, rel=1e-12)
    assert measure(training(), times, events, times) == pytest.approx(0.0, abs=1e-12)


def test_infinite_risks_rank_at_the_ends():
    times, events = np.array([1, 2, 3, 4]), np.array([1, 1, 1, 1])
    assert concordance(times, events, np.array([np.inf, np.inf, 0.0, -np.inf])) == 5.5 / 6


def test_uno_takes_later_events_as_censored_where_training_ends():
    train, (times, events, risk) = training(), exponential()[:3]
    times = 4 * times
    beyond = int((events & (times > 13)).sum())
    with pytest.warns(FollowUpWarning) as caught:
        found = concordance_uno(train, (times, events), risk)
    assert [str(one.message) for one in caught] == [
        f"{beyond} of {events.sum()} test events lie outside the training rows' follow-up, 0 to "
        "13, and count as censored at 13"
    ]
    censored = (np.minimum(times, 13.0), events & (times <= 13))
    expected = sksurv.metrics.concordance_index_ipcw(structured(train), structured(censored), risk)[
        0
    ]
    assert beyond > 5 and found == pytest.approx(expected, rel=1e-10)


def test_auc_after_the_end_of_training_is_that_at_the_end():
    train, (times, events, risk) = training(), exponential()[:3]
    test, late = (4 * times, events), np.array([5.0, 11.0, 15.0, 30.0])
    early = np.array([5.0, 11.0, 13.0])
    expected = cumulative_dynamic_auc(train, test, risk, early)
    with pytest.warns(
        FollowUpWarning, match="2 of 4 times of evaluation .* are clipped to 13"
    ) as caught:
        found = cumulative_dynamic_auc(train, test, risk, late)
    assert len(caught) == 1
    assert_allclose(found[0], expected[0][[0, 1, 2, 2]], rtol=1e-12)
    assert found[1] == pytest.approx(expected[1], rel=1e-12)


def test_training_that_ends_in_a_censoring_gives_the_same_auc_before_it():
    times, events, risk = tied()
    times[:5], events[:5] = 13.5, True
    train = (training()[0], np.append(training()[1][:-1], False))
    expected = cumulative_dynamic_auc(training(), (times, events), risk, TIMES)
    found = cumulative_dynamic_auc(train, (times, events), risk, TIMES)
    assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_risks_per_time_are_interpolated_where_times_are_clipped():
    train, (times, events, risk) = training(), exponential()[:3]
    test, columns = (4 * times, events), np.stack([risk, -risk, 3 * risk], axis=1)
    at_the_end = np.stack([risk, -risk, np.zeros(len(risk))], axis=1)
    expected = cumulative_dynamic_auc(train, test, at_the_end, np.array([5.0, 11.0, 13.0]))
    with pytest.warns(FollowUpWarning, match="1 of 3 times"):
        found = cumulative_dynamic_auc(train, test, columns, np.array([5.0, 11.0, 19.0]))
    assert_allclose(found[0], expected[0], rtol=1e-12)


def test_auc_is_nan_before_the_first_event_and_after_the_last_row():
    times, events, risk = np.array([2, 4, 6, 6]), np.array([1, 1, 1, 0]), np.array([2, 3, 1, 0])
    auc, mean = cumulative_dynamic_auc(
        training(), (times, events), risk, np.array([1.0, 3.0, 5.0, 6.0])
    )
    assert_allclose(auc, [np.nan, 2 / 3, 1, np.nan], rtol=1e-12)
    assert mean == pytest.approx((2 / 3 + 1) / 2, rel=1e-12)


ONE, TWO = np.ones(1), np.array([1.0, 2.0])
DEAD, ALIVE = (TWO, np.ones(2)), (TWO, np.zeros(2))


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        (
            lambda: concordance(*ALIVE, TWO),
            UserError,
            "none of 2 rows has an event; check that 1 codes the event",
        ),
        (
            lambda: concordance(np.ones(3), np.ones(3), np.arange(3)),
            UserError,
            "none of 3 rows has a counted event",
        ),
        (
            lambda: concordance(*DEAD, np.array([0.0, np.nan])),
            ValueError,
            "the risk of row 1 is nan",
        ),
        (
            lambda: concordance_uno(training(), DEAD, TWO, tau=1.0),
            UserError,
            "no two can be compared",
        ),
        (lambda: concordance_uno(training(), ALIVE, TWO), UserError, "none of 2 rows has an event"),
        (
            lambda: cumulative_dynamic_auc(training(), DEAD, TWO, np.array([0.5])),
            UserError,
            r"times \[0.5\] divides the 2",
        ),
        (
            lambda: cumulative_dynamic_auc(training(), ALIVE, TWO, ONE),
            UserError,
            "choose times between the first",
        ),
        (
            lambda: cumulative_dynamic_auc(training(), DEAD, np.ones((2, 3)), ONE),
            ValueError,
            "2 rows at 1 times",
        ),
        (
            lambda: cumulative_dynamic_auc(training(), DEAD, np.full((2, 1), np.nan), ONE),
            ValueError,
            "row 0 is nan",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_in_words(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


# --- within strata --------------------------------------------------------------------------------


def of_three_diseases(seed=0, n=150):
    """Times of three diseases of different hazards, a risk of 12 levels, and the disease."""
    random = np.random.default_rng(seed)
    disease = np.array(list("abc"))[random.integers(0, 3, n)]
    hazard = np.array([1, 4, 12])[np.searchsorted(list("abc"), disease)]
    times = np.ceil(random.exponential(60 / hazard))
    risk = np.round(np.log(hazard) * 2 + random.normal(size=n))
    return times, random.random(n) < 0.7, risk, disease


def test_within_strata_every_pair_of_one_stratum_counts_alike():
    """By enumeration: of an earlier event, and of an event before a censoring at one time."""
    times, events, risk, disease = of_three_diseases()
    concordant = comparable = 0.0
    for i in np.flatnonzero(events):
        later = (times > times[i]) | ((times == times[i]) & ~events)
        same = later & (disease == disease[i])
        comparable += same.sum()
        concordant += (risk[i] > risk[same]).sum() + 0.5 * (risk[i] == risk[same]).sum()
    found = concordance_within(times, events, risk, disease)
    assert found == pytest.approx(concordant / comparable, rel=1e-12)
    assert concordance_within(times, events, risk, np.zeros(150)) == concordance(
        times, events, risk
    )


def test_a_risk_that_is_the_stratum_is_no_better_than_chance_within():
    times, events, _, disease = of_three_diseases()
    risk = np.searchsorted(list("abc"), disease)
    assert concordance(times, events, risk) > 0.6
    assert concordance_within(times, events, risk, disease) == 0.5


def test_strata_without_a_pair_add_nothing_and_none_is_refused():
    times, events, risk, disease = of_three_diseases()
    alone = concordance_within(
        np.append(times, 3), np.append(events, True), np.append(risk, 99), np.append(disease, "d")
    )
    assert alone == concordance_within(times, events, risk, disease)
    with pytest.raises(UserError, match="no two can be compared"):
        concordance_within(times, events, risk, np.arange(150))
