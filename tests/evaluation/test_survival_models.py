"""Survival models against lifelines, scikit-survival, brute force, planted truth and noise."""

import inspect
from functools import partial

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter, NelsonAalenFitter
from lifelines.utils import concordance_index
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from omics_jax.errors import UserError
from omics_jax.evaluation import survival_models

GRID = np.array([0.0, 0.5, 1.0, 2.0, 3.5, 6.0, 9.0, 50.0])
COEFFICIENTS = np.array([0.8, -0.5, 0.0, 0.3, 0.0])

MODELS = {
    "kaplan_meier": survival_models.kaplan_meier_for_all,
    "cox": survival_models.cox_on_components,
    "survival_forest": survival_models.survival_forest,
}
# Smaller than the default: what is asked of them here does not depend on the number of trees.
SMALL = {**MODELS, "survival_forest": partial(survival_models.survival_forest, trees=30)}

models = pytest.mark.parametrize("name", MODELS)
of_features = pytest.mark.parametrize("name", [name for name in MODELS if name != "kaplan_meier"])


def cohort(rows, log_hazard=lambda x: x @ COEFFICIENTS, features=5, seed=0, ties=False):
    """x, times, events: exponential times of that log hazard, about a third of them censored.

    With `ties` they are whole numbers.
    """
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, features))
    times = random.exponential(4 * np.exp(-log_hazard(x)))
    censoring = random.exponential(8.0, rows)
    if ties:
        times, censoring = np.ceil(times), np.ceil(censoring)
    return x, np.minimum(times, censoring), times <= censoring


def unit_columns(x):
    return (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)


def halves(x, times, events, share=0.5):
    """(x, times, events) of the first rows, and of the others."""
    cut = int(share * len(x))
    return (x[:cut], times[:cut], events[:cut]), (x[cut:], times[cut:], events[cut:])


def concordance(times, events, risk):
    """lifelines' concordance, which takes predicted times rather than risks."""
    return concordance_index(times, -risk, events)


def interaction(x):
    """Neither feature alone predicts anything."""
    return 1.5 * np.sign(x[:, 0] * x[:, 1])


def nothing(x):
    return np.zeros(len(x))


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_cox_coefficients_are_scikit_survivals(penalty, ties):
    """Its alpha stands beside the sum over rows, `penalty` beside their mean."""
    x, times, events = cohort(120, ties=ties)
    assert (len(np.unique(times)) < 40) == ties
    z = unit_columns(x)
    oracle = CoxPHSurvivalAnalysis(alpha=penalty * len(z), ties="efron", tol=1e-14)
    oracle.fit(z, Surv.from_arrays(events, times))
    found = survival_models.cox_coefficients(z, times, events, penalty)
    assert_allclose(found, oracle.coef_, rtol=1e-6, atol=1e-8)


def test_cox_on_components_is_its_parts_put_together():
    """scikit-learn's whitened PCA, then lifelines: risk, and curves at observed times.

    Between them lifelines draws straight lines.
    """
    x, times, events = cohort(150, features=8, log_hazard=lambda x: x[:, 0] - x[:, 1], ties=True)
    x, test = x[:120], x[120:]
    times, events = times[:120], events[:120]
    encoder = make_pipeline(StandardScaler(), PCA(4, whiten=True)).fit(x)
    frame = pd.DataFrame(encoder.transform(x)).assign(T=times, E=events)
    frame_test = pd.DataFrame(encoder.transform(test))
    exact = {"precision": 1e-14, "r_precision": 1e-14}
    oracle = CoxPHFitter(penalizer=0.2).fit(frame, "T", "E", fit_options=exact)
    at = np.unique(times)
    risk, curves = survival_models.cox_on_components(
        x, times, events, test, at, components=4, penalty=0.2
    )
    expected_risk = oracle.predict_log_partial_hazard(frame_test)
    expected_curves = oracle.predict_survival_function(frame_test, at)
    assert_allclose(risk, expected_risk, rtol=1e-6)
    assert_allclose(curves.T, expected_curves, rtol=1e-6)


def test_cox_curves_are_steps_of_scikit_survivals_baseline():
    x, times, events = cohort(120, ties=True)
    z = PCA(whiten=True).fit_transform(unit_columns(x))
    oracle = CoxPHSurvivalAnalysis(alpha=12.0, ties="efron", tol=1e-14)
    oracle.fit(z, Surv.from_arrays(events, times))
    at = np.array([1.5, 2.0, 2.5, 7.9, times.max()])
    _, curves = survival_models.cox_on_components(x, times, events, x, at)
    expected = [curve(at) for curve in oracle.predict_survival_function(z)]
    assert_allclose(curves, expected, rtol=1e-6)
    at = np.array([0.0, 0.99, 1e3])
    _, outside = survival_models.cox_on_components(x, times, events, x, at)
    assert_array_equal(outside[:, :2], 1.0)
    assert_array_equal(outside[:, 2], curves[:, -1])


@pytest.mark.parametrize("seed", range(3))
def test_breslows_hazard_without_covariates_is_nelson_aalens(seed):
    _, times, events = cohort(60, seed=seed, ties=True)
    fitted = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(times, events)
    found = survival_models.breslow_hazard(times, events, np.zeros(60), GRID)
    assert_allclose(found, fitted.cumulative_hazard_at_times(GRID), rtol=1e-12)


def test_kaplan_meier_for_all_is_lifelines():
    x, times, events = cohort(60, ties=True)
    risk, curves = MODELS["kaplan_meier"](x, times, events, x[:4], GRID)
    expected = KaplanMeierFitter().fit(times, events).survival_function_at_times(GRID)
    assert_allclose(curves, np.tile(expected, (4, 1)), rtol=1e-12)
    assert_array_equal(risk, np.zeros(4))


def test_planted_coefficients_are_found():
    """Each within 4 standard errors.

    They are about 1 / sqrt(events) for independent features of variance 1.
    """
    x, times, events = cohort(2000)
    scaled = survival_models.cox_coefficients(unit_columns(x), times, events, 1e-6)
    found = scaled / x.std(axis=0, ddof=1)
    standard_error = 1 / np.sqrt(events.sum())
    assert_allclose(found, COEFFICIENTS, atol=4 * standard_error)


def test_cox_ranks_new_rows_as_the_planted_model_does():
    train, test = halves(*cohort(1600))
    x_test, *outcome = test
    risk, curves = MODELS["cox"](*train, x_test, GRID)
    log_hazard = x_test @ COEFFICIENTS
    planted = concordance(*outcome, log_hazard)
    assert planted > 0.7
    assert concordance(*outcome, risk) == pytest.approx(planted, abs=0.01)
    hazard = np.exp(log_hazard)[:, None] / 4
    error = curves - np.exp(-hazard * GRID)
    assert np.sqrt((error**2).mean(axis=0)).max() < 0.05


def test_the_forest_sees_an_interaction_that_cox_cannot():
    train, (x_test, *outcome) = halves(*cohort(1000, interaction), share=0.6)
    scores = {}
    for name in ("cox", "survival_forest"):
        risk, _ = MODELS[name](*train, x_test, GRID)
        scores[name] = concordance(*outcome, risk)
    planted = concordance(*outcome, interaction(x_test))
    assert scores["survival_forest"] > planted - 0.08 and planted > 0.7
    assert scores["cox"] < 0.56


@of_features
def test_noise_predicts_nothing(name):
    """Within 3 standard errors of 1/2, those of the same risks in random order."""
    train, (x_test, times, events) = halves(*cohort(600, nothing, seed=1))
    risk, _ = MODELS[name](*train, x_test, GRID)
    died_before = (times[:, None] < times) & events[:, None]  # [i, j]: i died before j's time
    random = np.random.default_rng(0)

    def share_concordant(risk):
        higher = risk[:, None] > risk
        return higher[died_before].mean()

    drawn = [share_concordant(random.permutation(risk)) for _ in range(200)]
    found = share_concordant(risk)
    assert found == pytest.approx(concordance(times, events, risk), abs=1e-9)
    assert np.ptp(risk) > 0
    assert abs(found - 0.5) < 3 * np.std(drawn)


def test_a_forest_of_one_leaf_is_nelson_aalen():
    """And everyone's mortality is the number of events: what was expected is what was seen."""
    x, times, events = cohort(60, ties=True)
    risk, curves = survival_models.survival_forest(
        x, times, events, x[:3], GRID, trees=1, min_leaf=60
    )
    fitted = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(times, events)
    hazard = fitted.cumulative_hazard_at_times(GRID)
    assert_allclose(-np.log(curves), np.tile(hazard, (3, 1)), rtol=1e-9)
    assert_allclose(risk, events.sum(), rtol=1e-12)


def test_leaves_have_the_hazards_of_their_own_rows():
    """Leaf 1 has no event; mortality by its definition, H at the time of every row."""
    _, times, events = cohort(90, ties=True)
    leaf = np.random.default_rng(0).integers(0, 4, 90)
    events = events & (leaf != 1)
    hazards, mortality = survival_models.leaf_hazards(leaf, times, events, GRID)
    assert hazards.shape == (4, len(GRID))
    assert (hazards[1] == 0).all() and mortality[1] == 0
    for own in (0, 2, 3):
        fitted = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(
            times[leaf == own], events[leaf == own]
        )
        assert_allclose(hazards[own], fitted.cumulative_hazard_at_times(GRID), rtol=1e-12)
        assert mortality[own] == pytest.approx(
            fitted.cumulative_hazard_at_times(times).sum(), rel=1e-12
        )


def test_martingale_residuals_are_events_seen_less_events_expected():
    _, times, events = cohort(60, ties=True)
    fitted = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(times, events)
    found = survival_models.martingale_residuals(times, events)
    assert_allclose(
        found, events - fitted.cumulative_hazard_at_times(times), rtol=1e-12, atol=1e-12
    )
    assert found.sum() == pytest.approx(0.0, abs=1e-12)


def test_a_forest_of_two_leaves_gives_each_side_its_own_curve():
    """One feature of two values has one place to split; without censoring only times differ."""
    x, times, _ = cohort(80, lambda x: 2 * np.sign(x[:, 0]), features=1)
    x, events = np.sign(x), np.ones(80, dtype=bool)
    risk, curves = survival_models.survival_forest(
        x, times, events, np.array([[-1.0], [1.0], [9.0]]), GRID, trees=3
    )
    for side, row in ((-1, 0), (1, 1), (1, 2)):
        own = x[:, 0] == side
        hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(times[own], events[own])
        assert_allclose(-np.log(curves[row]), hazard.cumulative_hazard_at_times(GRID), rtol=1e-9)
        assert risk[row] == pytest.approx(hazard.cumulative_hazard_at_times(times).sum(), rel=1e-9)


@models
def test_curves_fall_within_0_and_1_also_far_out_and_with_missing_values(name):
    x, times, events = cohort(90, features=30, log_hazard=lambda x: x[:, 0])
    random = np.random.default_rng(0)
    x[random.random(x.shape) < 0.2] = np.nan
    x[:, 3] = np.nan
    far_out, unobserved = 1e6 * x[5:8], np.full((1, 30), np.nan)
    test = np.concatenate([x[:5], far_out, unobserved])
    risk, curves = SMALL[name](x, times, events, test, GRID)
    assert np.isfinite(risk).all()
    assert curves.shape == (9, len(GRID))
    assert (curves[:, 0] == 1).all() and (curves >= 0).all()
    assert (np.diff(curves, axis=1) <= 0).all()
    assert curves[:5, -1].max() < 1


@models
def test_a_prediction_is_a_function_of_its_row_and_the_training_rows(name):
    x, times, events = cohort(80)
    kept = x.copy()
    risk, curves = SMALL[name](x, times, events, x, GRID)
    assert_array_equal(x, kept)
    for rows in (slice(3, 4), slice(0, 0), slice(None)):
        alone = SMALL[name](x, times, events, x[rows], GRID)
        assert_allclose(alone[0], risk[rows], rtol=1e-12)
        assert_allclose(alone[1], curves[rows], rtol=1e-12)


@models
@pytest.mark.parametrize("ties", [False, True])
def test_order_of_rows_and_scale_of_columns_do_not_matter(name, ties):
    x, times, events = cohort(120, ties=ties)
    x = np.round(x, 1)
    test = np.round(cohort(20, seed=5)[0], 1)
    expected = SMALL[name](x, times, events, test, GRID)
    order = np.random.default_rng(0).permutation(120)
    scale = np.array([1.0, 1024.0, 0.125, 3.0, 1e-6])
    shift = np.array([0.0, 5.0, -100.0, 1.0, 1.0])
    for found in (
        SMALL[name](x[order], times[order], events[order], test, GRID),
        SMALL[name](x * scale + shift, times, events, test * scale + shift, GRID),
    ):
        assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-9)
        assert_allclose(found[1], expected[1], rtol=1e-6)


@of_features
def test_missing_values_are_training_means_and_empty_columns_are_not_used(name):
    x, times, events = cohort(80)
    holes = np.random.default_rng(0).random(x.shape) < 0.2
    holed = np.where(holes, np.nan, x)
    means = np.nanmean(holed, axis=0)
    filled = np.where(holes, means, x)
    test = x[:10].copy()
    test[:, 2] = means[2]
    useless = np.tile([np.nan, 0.1], (80, 1))
    expected = SMALL[name](filled, times, events, test, GRID)
    test[:, 2] = np.nan
    train_with_useless = np.hstack([holed, useless])
    test_with_useless = np.hstack([test, 1 - useless[:10]])
    found = SMALL[name](train_with_useless, times, events, test_with_useless, GRID)
    assert_allclose(found[0], expected[0], rtol=1e-6)
    assert_allclose(found[1], expected[1], rtol=1e-6)


def test_no_more_components_than_the_rows_span():
    """Repeated columns and few rows: a hundred components asked for are those there are."""
    x, times, events = cohort(60)

    def cox_risk(x, *components):
        return survival_models.cox_on_components(x, times, events, x, GRID, *components)[0]

    asked, spanned = cox_risk(np.hstack([x, 2 * x])), cox_risk(np.hstack([x, x]), 5)
    assert_allclose(asked, spanned, rtol=1e-6)
    few, times, events = cohort(6, features=40, log_hazard=nothing)
    risk = cox_risk(few)
    assert_allclose(risk, cox_risk(few, 5), rtol=1e-9)
    assert np.isfinite(risk).all()


def test_a_heavier_penalty_shrinks():
    x, times, events = cohort(80)
    z = unit_columns(x)
    lengths = [
        np.linalg.norm(survival_models.cox_coefficients(z, times, events, p))
        for p in (1e-4, 1e-2, 1.0, 100.0)
    ]
    assert (np.diff(lengths) < 0).all() and lengths[-1] < 0.02


def test_a_penalty_bears_what_separates_the_rows():
    """The order of events predicted exactly: the likelihood alone rises for ever."""
    times = np.arange(1.0, 41.0)
    z = unit_columns(-times[:, None])
    (found,) = survival_models.cox_coefficients(z, times, np.ones(40, bool), 0.1)
    step = 1e-4
    above = log_posterior(found + step, z[:, 0], 0.1)
    below = log_posterior(found - step, z[:, 0], 0.1)
    assert abs(above - below) / (2 * step) < 1e-6


def log_posterior(beta, z, penalty):
    """Of rows without ties or censoring, in the order of their times."""
    at_risk = [np.exp(beta * z[i:]).sum() for i in range(len(z))]
    log_likelihood = (beta * z - np.log(at_risk)).mean()
    return log_likelihood - penalty / 2 * beta**2


def test_a_fit_that_does_not_end_is_said_in_words():
    times = np.arange(1.0, 41.0)
    with pytest.raises(
        UserError, match="40 rows on 1 components did not converge with the penalty 1e-12; raise"
    ):
        survival_models.cox_coefficients(
            unit_columns(-times[:, None]), times, np.ones(40, bool), 1e-12
        )


@models
def test_what_cannot_be_fitted_is_said_in_words(name):
    x, times, events = cohort(30)
    fit = inspect.unwrap(MODELS[name])
    with pytest.raises(UserError, match="none of 30 rows has an event"):
        fit(x, times, np.zeros(30, bool), x, GRID)
    with pytest.raises(ValueError, match="the time of row 4 is nan"):
        fit(x, np.where(np.arange(30) == 4, np.nan, times), events, x, GRID)
    with pytest.raises(ValueError, match="times of evaluation rise"):
        fit(x, times, events, x, GRID[::-1])


@of_features
def test_what_features_cannot_be_fitted_is_said_in_words(name):
    x, times, events = cohort(30)
    fit = inspect.unwrap(MODELS[name])
    with pytest.raises(UserError, match="none of 5 features varies over the 30 training rows"):
        fit(np.ones((30, 5)), times, events, x, GRID)
    with pytest.raises(ValueError, match="29 rows of features and 30 times"):
        fit(x[1:], times, events, x, GRID)
    x[7, 2] = np.inf
    with pytest.raises(ValueError, match="x_test holds inf at row 7, column 2"):
        fit(cohort(30)[0], times, events, x, GRID)


def test_settings_are_checked():
    x, times, events = cohort(30)
    with pytest.raises(ValueError, match="at least 1 component, not 0"):
        survival_models.cox_on_components(x, times, events, x, GRID, components=0)
    with pytest.raises(ValueError, match="a positive penalty, not 0"):
        survival_models.cox_on_components(x, times, events, x, GRID, penalty=0.0)
