"""Effects of a group on many features against least squares, scipy and closed forms."""

import numpy as np
import pytest
from scipy import special, stats

from omics_jax.evaluation import differential as d


def data(rng, n=40, features=30, missing=0.2):
    group = (np.arange(n) % 2).astype(float)
    covariates = np.column_stack([rng.normal(50, 10, n), rng.integers(0, 2, n)])
    values = rng.normal(size=(n, features)) + 0.02 * covariates[:, :1] + 0.5 * group[:, None]
    mask = rng.random(values.shape) >= missing
    return values, mask, group, covariates


def test_effects_are_those_of_least_squares_on_the_observed_rows():
    values, mask, group, covariates = data(np.random.default_rng(0))
    design = d.design_matrix(group, covariates)
    effects = d.linear_effects(np.where(mask, values, 1e9), mask, design)
    for f in range(values.shape[1]):
        rows = mask[:, f]
        x, y = design[rows], values[rows, f]
        b, squares, *_ = np.linalg.lstsq(x, y, rcond=None)
        assert effects.effect[f] == pytest.approx(b[1], rel=1e-8)
        assert effects.degrees[f] == rows.sum() - 4
        assert effects.variance[f] == pytest.approx(squares[0] / effects.degrees[f], rel=1e-8)
        assert effects.unscaled[f] == pytest.approx(np.sqrt(np.linalg.inv(x.T @ x)[1, 1]), rel=1e-8)


def test_without_covariates_t_is_students_two_sample_t():
    values, mask, group, _ = data(np.random.default_rng(1))
    t, p = d.t_test(d.linear_effects(values, mask, d.design_matrix(group)))
    for f in range(values.shape[1]):
        cases = values[mask[:, f] & (group == 1), f]
        controls = values[mask[:, f] & (group == 0), f]
        expected = stats.ttest_ind(cases, controls)
        assert t[f] == pytest.approx(expected.statistic, rel=1e-8)
        assert p[f] == pytest.approx(expected.pvalue, rel=1e-6)


def test_blocks_of_features_change_nothing(monkeypatch):
    values, mask, group, covariates = data(np.random.default_rng(2))
    design = d.design_matrix(group, covariates)
    expected = d.linear_effects(values, mask, design)
    monkeypatch.setattr(d, "_BLOCK_CELLS", 7 * len(values))
    for ours, theirs in zip(d.linear_effects(values, mask, design), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_covariate_that_repeats_the_group_is_left_out_of_the_design():
    group = np.array([0.0, 1, 0, 1, 1])
    design = d.design_matrix(group, np.column_stack([1 - group, np.arange(5.0)]))
    assert design.shape == (5, 3)


def test_features_that_say_nothing_have_t_0_and_p_1():
    group = np.array([0.0, 0, 0, 1, 1, 1])
    values = np.column_stack([np.full(6, 0.3), np.arange(6.0), np.arange(6.0), np.arange(6.0)])
    mask = np.ones(values.shape, bool)
    mask[:, 1] = False
    mask[3:, 2] = False
    mask[:4, 3] = False
    t, p = d.t_test(d.linear_effects(values, mask, d.design_matrix(group)))
    np.testing.assert_array_equal(t, 0)
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("x", [1e-4, 0.3, 1.0, 7.5, 2e3, 1e7])
def test_inverse_trigamma_inverts_trigamma(x):
    assert d.inverse_trigamma(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-6)


def test_moderated_variance_and_t_by_the_formula():
    """Smyth 2004, equation 10, written out for two features."""
    effects = d.Effects(
        effect=np.array([0.5, -0.2]),
        variance=np.array([0.04, 0.01]),
        degrees=np.array([8.0, 10.0]),
        unscaled=np.array([0.6, 0.7]),
    )
    t, p = d.moderated_t(effects, d.Prior(variance=0.02, degrees=4.0))
    posterior = np.array([(4 * 0.02 + 8 * 0.04) / 12, (4 * 0.02 + 10 * 0.01) / 14])
    expected = effects.effect / (np.sqrt(posterior) * effects.unscaled)
    np.testing.assert_allclose(t, expected, rtol=1e-12)
    np.testing.assert_allclose(p, 2 * stats.t.sf(np.abs(expected), [12, 14]), rtol=1e-9)


def test_the_prior_of_variances_is_recovered():
    rng = np.random.default_rng(3)
    degrees, prior_degrees, prior_variance = 20.0, 6.0, 0.3
    true = prior_variance * prior_degrees / rng.chisquare(prior_degrees, 20_000)
    observed = true * rng.chisquare(degrees, 20_000) / degrees
    nothing = np.zeros(20_000)
    prior = d.fit_prior(d.Effects(nothing, observed, np.full(20_000, degrees), nothing + 1))
    assert prior.degrees == pytest.approx(prior_degrees, rel=0.05)
    assert prior.variance == pytest.approx(prior_variance, rel=0.02)


def test_equal_variances_have_an_infinite_prior_and_share_one_variance():
    rng = np.random.default_rng(4)
    observed = rng.chisquare(10, 500) / 10
    # The moments decide by chance between very many degrees and infinitely many.
    observed = observed / observed * np.array([1.0, 1.001]).repeat(250)
    effects = d.Effects(np.ones(500), observed, np.full(500, 10.0), np.ones(500))
    prior = d.fit_prior(effects)
    assert np.isinf(prior.degrees)
    t, _ = d.moderated_t(effects)
    np.testing.assert_allclose(t, t[0])


def test_p_values_of_noise_are_uniform_and_effects_are_found():
    rng = np.random.default_rng(5)
    group = (np.arange(24) % 2).astype(float)
    sd = np.sqrt(0.5 * 8 / rng.chisquare(8, 4_000))
    values = rng.normal(size=(24, 4_000)) * sd
    mask = np.ones(values.shape, bool)
    _, p = d.moderated_t(d.linear_effects(values, mask, d.design_matrix(group)))
    assert stats.kstest(p, "uniform").pvalue > 0.001
    values[:, :50] += 4 * sd[:50] * group[:, None]
    _, p = d.moderated_t(d.linear_effects(values, mask, d.design_matrix(group)))
    assert len(set(np.argsort(p)[:50]) & set(range(50))) >= 48
