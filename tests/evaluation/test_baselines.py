"""Baselines against scikit-learn and brute force, their invariances, and what they refuse."""

import inspect
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler

from omics_jax.errors import UserError
from omics_jax.evaluation import baselines, metrics

PREDICTORS = {
    "no_change": lambda x, y, groups, test: baselines.no_change(test),
    "mean_shift": lambda x, y, groups, test: baselines.mean_shift(x, y, test),
    "ridge": lambda x, y, groups, test: baselines.ridge(x, y, test),
    "pca_linear": lambda x, y, groups, test: baselines.pca_linear(x, y, test, 6),
    "nearest_group": lambda x, y, groups, test: baselines.nearest_group(x, y, groups, test),
    "pca_reconstruction": lambda x, y, groups, test: baselines.pca_reconstruction(x, test, 6),
}
predictors = pytest.mark.parametrize("name", PREDICTORS)


def cohort(rows, genes, tests=7, latent=4, seed=0):
    """x, y, groups, x_test, y_test: a drug acts linearly on the low-rank state of cells."""
    random = np.random.default_rng(seed)
    axes = random.normal(size=(latent, genes))
    effect = random.normal(size=(latent, latent)) * 0.4
    offset = random.uniform(4, 12, genes)
    shift = random.normal(size=genes) * 0.3
    state = random.normal(size=(rows + tests, latent))
    treated_state = state + state @ effect
    noise_x, noise_y = 0.2 * random.normal(size=(2, rows + tests, genes))
    x = offset + state @ axes + noise_x
    y = offset + shift + treated_state @ axes + noise_y
    groups = np.array([f"line{i % (rows // 2)}" for i in range(rows)])
    return x[:rows], y[:rows], groups, x[rows:], y[rows:]


def test_no_change_and_mean_shift():
    x, y, _, test, _ = cohort(12, 20)
    unchanged = baselines.no_change(test)
    assert_array_equal(unchanged, test)
    assert not np.shares_memory(unchanged, test)
    shift = y.mean(axis=0) - x.mean(axis=0)
    assert_allclose(baselines.mean_shift(x, y, test), test + shift)


@pytest.mark.parametrize("rows, genes", [(12, 30), (30, 30), (80, 25)])
def test_ridge_is_scikit_learns_with_leave_one_out(rows, genes):
    x, y, _, test, _ = cohort(rows, genes)
    x_scaler, y_scaler = StandardScaler().fit(x), StandardScaler().fit(y)
    oracle = RidgeCV(baselines.ALPHAS).fit(x_scaler.transform(x), y_scaler.transform(y))
    expected = y_scaler.inverse_transform(oracle.predict(x_scaler.transform(test)))
    assert_allclose(baselines.ridge(x, y, test), expected, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_ridge_is_its_closed_form(alpha):
    """(X'X + alpha I)^-1 X'Y of standardised columns."""
    x, y, _, test, _ = cohort(30, 12)
    x_mean, x_sd = x.mean(axis=0), x.std(axis=0)
    y_mean, y_sd = y.mean(axis=0), y.std(axis=0)
    scaled_x = (x - x_mean) / x_sd
    scaled_y = (y - y_mean) / y_sd
    scaled_test = (test - x_mean) / x_sd
    gram = scaled_x.T @ scaled_x + alpha * np.eye(12)
    coefficients = np.linalg.solve(gram, scaled_x.T @ scaled_y)
    expected = y_mean + scaled_test @ coefficients * y_sd
    found = baselines.ridge(x, y, test, (alpha,))
    assert_allclose(found, expected, rtol=1e-9)


def test_ridge_of_a_single_column_is_that_column():
    x, y, _, test, _ = cohort(15, 20)
    alone = baselines.ridge(x, y[:, :1], test, (10.0,))
    together = baselines.ridge(x, y, test, (10.0,))
    assert_allclose(alone, together[:, :1], rtol=1e-9)


def test_profiles_that_do_not_vary_are_predicted_by_themselves():
    profile = np.arange(5.0)
    x = np.tile(profile, (4, 1))
    test = x[:2] + 1
    assert_array_equal(baselines.pca_linear(x, x, test), x[:2])
    with pytest.raises(UserError, match="4 training profiles by 5 genes has 0 components"):
        baselines.pca_reconstruction(x, x, 1)


@pytest.mark.parametrize("rows, genes", [(9, 14), (20, 6)])
def test_ridge_takes_the_alpha_of_least_leave_one_out_error(rows, genes):
    """Brute force: refit without each row in turn, intercept included."""
    x, y, _, test, _ = cohort(rows, genes, seed=1)
    scaled_x, scaled_y = StandardScaler().fit_transform(x), StandardScaler().fit_transform(y)

    def error(alpha):
        total = 0.0
        for row in range(rows):
            rest = np.arange(rows) != row
            model = Ridge(alpha).fit(scaled_x[rest], scaled_y[rest])
            residual = model.predict(scaled_x[[row]]) - scaled_y[row]
            total += (residual**2).sum()
        return total

    alphas = tuple(10.0 ** np.arange(-2, 4))
    best = min(alphas, key=error)
    assert alphas[0] < best < alphas[-1]
    assert_allclose(
        baselines.ridge(x, y, test, alphas), baselines.ridge(x, y, test, (best,)), rtol=1e-12
    )


def test_ridge_maps_between_different_sets_of_columns():
    x, y, _, test, _ = cohort(15, 20)
    assert baselines.ridge(x, y[:, :3], test).shape == (7, 3)


def test_strong_ridge_is_the_mean_treated_profile():
    x, y, _, test, _ = cohort(15, 20)
    mean = np.broadcast_to(y.mean(axis=0), test.shape)
    assert_allclose(baselines.ridge(x, y, test, (1e15,)), mean, rtol=1e-9)


@pytest.mark.parametrize("rows, genes, components", [(40, 15, 5), (60, 30, 10)])
def test_pca_linear_is_scikit_learns_pca_and_regression(rows, genes, components):
    x, y, _, test, _ = cohort(rows, genes)
    pooled = np.concatenate([x, y])
    scaler = StandardScaler().fit(pooled)
    pca = PCA(components, svd_solver="full").fit(scaler.transform(pooled))

    def score(values):
        return pca.transform(scaler.transform(values))

    model = LinearRegression().fit(score(x), score(y))
    scores = model.predict(score(test))
    expected = scaler.inverse_transform(pca.inverse_transform(scores))
    assert_allclose(baselines.pca_linear(x, y, test, components, (1e-9,)), expected, rtol=1e-7)


def test_pca_linear_beyond_the_rank_changes_nothing():
    x, y, _, test, _ = cohort(6, 20)
    spanned = baselines.pca_linear(x, y, test, 11)
    beyond = baselines.pca_linear(x, y, test, 500)
    assert_allclose(spanned, beyond, rtol=1e-12)


def test_nearest_group_takes_the_most_similar_lines_mean_change():
    x, y, groups, test, _ = cohort(16, 40)
    predicted = baselines.nearest_group(x, y, groups, test)
    mean, sd = x.mean(axis=0), x.std(axis=0)

    def correlation(profile, group):
        control = x[groups == group].mean(axis=0)
        return np.corrcoef((profile - mean) / sd, (control - mean) / sd)[0, 1]

    for row, profile in enumerate(test):
        nearest = max(np.unique(groups), key=lambda group: correlation(profile, group))
        members = groups == nearest
        change = (y[members] - x[members]).mean(axis=0)
        assert_allclose(predicted[row], profile + change)


def test_rows_and_groups_must_pair():
    x, y, groups, test, _ = cohort(10, 40)
    with pytest.raises(ValueError, match="10 training rows and 9 groups do not pair"):
        inspect.unwrap(baselines.nearest_group)(x, y, groups[:9], test)


def test_a_lines_own_control_is_nearest_to_itself():
    x, y, _, _, _ = cohort(10, 40)
    own = np.array([f"line{i}" for i in range(10)])
    assert_allclose(baselines.nearest_group(x, y, own, x), y, rtol=1e-12)


@pytest.mark.parametrize("components", [1, 5, 11])
def test_pca_reconstruction_is_scikit_learns(components):
    x, _, _, test, _ = cohort(12, 30)
    scaler = StandardScaler().fit(x)
    pca = PCA(components, svd_solver="full").fit(scaler.transform(x))
    expected = scaler.inverse_transform(
        pca.inverse_transform(pca.transform(scaler.transform(test)))
    )
    assert_allclose(baselines.pca_reconstruction(x, test, components), expected)


@pytest.mark.parametrize("rows, genes, components", [(12, 30, 12), (40, 8, 9)])
def test_a_pca_has_no_more_components_than_its_rows_span(rows, genes, components):
    x, _, _, test, _ = cohort(rows, genes)
    with pytest.raises(
        UserError, match=f"{rows} training profiles by {genes} genes has {components - 1} "
    ):
        baselines.pca_reconstruction(x, test, components)


@predictors
def test_units_do_not_matter(name):
    """Profiles rescaled and shifted gene by gene give the same prediction, rescaled and shifted."""
    x, y, groups, test, _ = cohort(14, 25)
    random = np.random.default_rng(2)
    scale = random.uniform(0.1, 10.0, 25)
    shift = random.normal(0.0, 5.0, 25)

    def convert(profiles):
        return profiles * scale + shift

    expected = convert(PREDICTORS[name](x, y, groups, test))
    found = PREDICTORS[name](convert(x), convert(y), groups, convert(test))
    assert_allclose(found, expected, rtol=1e-7)


@predictors
def test_a_prediction_depends_on_its_own_row_alone(name):
    x, y, groups, test, _ = cohort(14, 25)

    def predict(rows):
        return PREDICTORS[name](x, y, groups, test[rows])

    together = predict(slice(None))
    assert_allclose(together[[4]], predict([4]), rtol=1e-12)
    assert predict(slice(0)).shape == (0, 25)


@predictors
def test_the_order_of_training_rows_does_not_matter(name):
    x, y, groups, test, _ = cohort(14, 25)
    order = np.random.default_rng(3).permutation(14)
    assert_allclose(
        PREDICTORS[name](x[order], y[order], groups[order], test),
        PREDICTORS[name](x, y, groups, test),
        rtol=1e-9,
    )


@predictors
@pytest.mark.parametrize("constant", [0.1, 0.7, 6.3])
def test_a_gene_that_is_constant_in_training_is_not_blown_up(name, constant):
    """Its standard deviation is rounding error (or 0), and must be taken for neither."""
    x, y, groups, test, _ = cohort(14, 25)
    x[:, 3] = y[:, 3] = 0.0
    at_zero = PREDICTORS[name](x, y, groups, test)
    for part in (x, y, test):
        part[:, 3] += constant
    at_zero[:, 3] += constant
    assert_allclose(PREDICTORS[name](x, y, groups, test), at_zero, rtol=1e-7)


@predictors
def test_single_precision_profiles_are_fitted_in_double(name):
    x, y, groups, test, _ = cohort(14, 25)
    x, y, test = map(np.float32, (x, y, test))
    predicted = PREDICTORS[name](x, y, groups, test)
    assert predicted.dtype == np.float64
    x, y, test = map(np.float64, (x, y, test))
    assert_array_equal(predicted, PREDICTORS[name](x, y, groups, test))


@predictors
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_values_are_refused_by_place(name, value):
    x, y, groups, test, _ = cohort(14, 25)
    test[2, 9] = value
    with pytest.raises(ValueError, match=f"x_test holds {value} at row 2, column 9"):
        PREDICTORS[name](x, y, groups, test)


@pytest.mark.parametrize(
    "name", ["mean_shift", "ridge", "pca_linear", "nearest_group", "pca_reconstruction"]
)
def test_no_training_rows_are_refused(name):
    x, y, groups, test, _ = cohort(14, 25)
    with pytest.raises(ValueError, match="x_train has no rows"):
        PREDICTORS[name](x[:0], y[:0], groups[:0], test)


def regress_three_components(x, y, test, alphas=(1.0,)):
    return baselines.pca_linear(x, y, test, 3, alphas)


@pytest.mark.parametrize("regress", [baselines.ridge, regress_three_components])
@pytest.mark.parametrize("alphas", [(), (0.0, 1.0), (-1.0,)])
def test_ridge_needs_positive_alphas_and_two_rows(regress, alphas):
    x, y, _, test, _ = cohort(14, 25)
    with pytest.raises(ValueError, match="positive alphas"):
        regress(x, y, test, alphas)
    with pytest.raises(ValueError, match="at least 2 training rows, not 1"):
        regress(x[:1], y[:1], test)


def test_a_pca_needs_a_component():
    x, _, _, test, _ = cohort(14, 25)
    with pytest.raises(ValueError, match="at least 1 component"):
        baselines.pca_reconstruction(x, test, 0)


@pytest.mark.parametrize("name", ["ridge", "pca_linear"])
def test_a_linear_effect_is_learned(name):
    """On a planted linear effect the regressions come much closer than no change and mean shift."""
    x, y, groups, test, truth = cohort(80, 60, tests=40)

    def error(name):
        return metrics.rmse(PREDICTORS[name](x, y, groups, test), truth)

    assert error(name) < 0.6 * error("mean_shift") < 0.6 * error("no_change")


@pytest.mark.skipif(
    "OMICS_JAX_DATA" not in os.environ, reason="OMICS_JAX_DATA names no folder with real data"
)
def test_real_treated_profiles_resemble_their_controls():
    """The reference figures of the 100 L1000 pairs: no change has Spearman .952 and RMSE .676."""
    with np.load(Path(os.environ["OMICS_JAX_DATA"]) / "l1000" / "pairs_transigen100.npz") as pairs:
        x, y = pairs["x1"], pairs["x2"]
    predicted, observed = baselines.no_change(x), y.astype(np.float64)
    assert metrics.spearman_rows(predicted, observed).mean() == pytest.approx(0.952, abs=5e-4)
    assert metrics.rmse(predicted, observed) == pytest.approx(0.676, abs=5e-4)
    change = observed - x
    assert_array_equal(metrics.spearman_rows(predicted - x, change), 0.0)
    assert_allclose(metrics.top_change_recall(predicted - x, change), 50 / 978, rtol=1e-12)
