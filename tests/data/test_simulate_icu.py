"""Simulated stays against their own statement: layout, failures, measuring, deaths, learning."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.data.clinical_series import simulate as icu
from omics_jax.data.clinical_series.hiding import held_out
from omics_jax.data.clinical_series.simulate import expected_auroc, simulate_icu
from omics_jax.data.clinical_series.simulated_features import FEATURES
from omics_jax.errors import UserError

SMALL = {"patients": 40, "steps": 10, "features": 5}


@cache
def stays(**settings):
    return simulate_icu(**settings)


def cross_validated_auroc(x, y):
    """Of a logistic regression, by 5-fold cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.03))
    return roc_auc_score(y, cross_val_predict(model, x, y, cv=5, method="predict_proba")[:, 1])


def null_standard_error(y):
    """Of the AUROC of a score that says nothing (Mann-Whitney)."""
    dead = y.sum()
    return np.sqrt((len(y) + 1) / (12 * dead * (len(y) - dead)))


def summaries(dataset):
    """Mean, minimum, maximum and last measurement of every feature, and its rate.

    The feature's mean stands where a patient has none.
    """
    series = dataset.modalities["series"]
    mask, overall = series.mask, series.values.sum(axis=(0, 1)) / series.mask.sum(axis=(0, 1))
    count = mask.sum(axis=1)
    last = np.take_along_axis(
        series.values, (mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1))[:, None], axis=1
    )[:, 0]
    parts = [
        series.values.sum(axis=1) / np.maximum(count, 1),
        np.where(mask, series.values, np.inf).min(axis=1),
        np.where(mask, series.values, -np.inf).max(axis=1),
        last,
    ]
    return np.concatenate(
        [*(np.where(count > 0, part, overall) for part in parts), mask.mean(axis=1)], axis=1
    )


def test_layout_is_that_of_a_patient_reader():
    dataset, truth = simulate_icu(**SMALL, empty=3)
    series, hours, static = (dataset.modalities[name] for name in ("series", "hours", "static"))
    assert series.values.shape == (40, 10, 5) and series.values.dtype == np.float32
    assert not series.values[~series.mask].any()
    assert_array_equal(hours.values, np.tile(np.arange(10), (40, 1)))
    assert hours.mask.all() and list(hours.features) == [str(t) for t in range(10)]
    assert list(static.features) == [
        "Age",
        "Gender",
        "Height",
        "Weight",
        *(f"ICUType={k}" for k in range(1, 5)),
    ]
    assert (static.values[:, 4:].sum(axis=1) == 1).all()
    assert list(dataset.ids[:2]) == ["P0001", "P0002"] and (dataset.groups == dataset.ids).all()
    values, mask = dataset.targets["death"]
    assert mask.all() and set(np.unique(values)) <= {0, 1}
    assert (~series.observed_rows).sum() >= 3
    assert (
        truth.values.shape == (40, 10, 5)
        and truth.latent.shape == (40, 10, 3)
        and truth.risk.shape == (40,)
    )


def test_measured_values_are_the_truth_where_observed():
    dataset, truth = stays()
    series = dataset.modalities["series"]
    assert_array_equal(series.values[series.mask], truth.values[series.mask].astype(np.float32))


def test_without_noise_values_are_the_loadings_of_the_failures():
    _, truth = simulate_icu(**SMALL, noise=0.0)
    for d, (_, median, spread, sign, _) in enumerate(FEATURES[:5]):
        u = sum(truth.loadings[d, k] * truth.latent[:, :, k] for k in range(3))
        assert_allclose(truth.values[:, :, d], median * np.exp(spread * u), rtol=1e-12)
        assert (truth.loadings[d] * sign >= 0).all()
    assert_allclose((truth.loadings**2).sum(axis=1), 1)


def test_noise_is_of_the_stated_size():
    _, truth = stays()
    spread = np.array([row[2] for row in FEATURES[:12]])
    residual = np.log(truth.values / truth.noise_free) / spread
    assert_allclose(residual.std(axis=(0, 1)), 0.4, rtol=0.02)


def test_failures_have_unit_variance_and_the_stated_correlation_in_time():
    z = stays(patients=20_000, features=1, latent=2, steps=9)[1].latent
    time = np.linspace(-1, 1, 9)
    lag = np.abs(np.subtract.outer(np.arange(9), np.arange(9)))
    expected = (
        icu.LEVEL + icu.SLOPE * 3 * np.outer(time, time) + icu.COURSE * icu.HOURLY_CORRELATION**lag
    )
    for k in range(2):
        assert_allclose(np.cov(z[:, :, k].T), expected, atol=0.06)
    assert abs(np.corrcoef(z[:, 4, 0], z[:, 4, 1])[0, 1]) < 0.03


def test_values_lie_where_vital_signs_and_blood_tests_lie():
    values = stays()[1].values
    for d, (low, high) in enumerate([(30, 200), (50, 260), (3, 18), (5, 50), (33, 41)]):
        inner = np.percentile(values[:, :, d], [0.1, 99.9])
        assert low < inner[0] and inner[1] < high


def test_the_shares_of_missing_cells_and_deaths_are_the_stated_ones():
    dataset, truth = stays()
    series, death = dataset.modalities["series"], dataset.targets["death"][0]
    filled = series.mask[series.observed_rows]
    assert abs(1 - filled.mean() - 0.8) < 0.005
    assert_allclose(truth.rates.mean(), 0.2, rtol=1e-6)
    assert_allclose(filled.mean(axis=(0, 1)), truth.rates, atol=0.02)
    assert_allclose(truth.risk.mean(), 0.14, rtol=1e-6)
    assert abs(death.sum() - truth.risk.sum()) < 4 * np.sqrt((truth.risk * (1 - truth.risk)).sum())
    assert truth.rates.min() < 0.02 and truth.rates.max() > 0.7


@pytest.mark.parametrize(("missing", "prevalence"), [(0.0, 0.5), (0.4, 0.02), (0.98, 0.9)])
def test_other_shares_are_met_too(missing, prevalence):
    dataset, truth = simulate_icu(patients=300, missing=missing, prevalence=prevalence, empty=0)
    assert abs(1 - dataset.modalities["series"].mask.mean() - missing) < 0.01
    assert_allclose(truth.risk.mean(), prevalence, rtol=1e-6)


def test_what_is_measured_tells_who_is_sick_only_if_it_is_informative():
    settings = {"patients": 4000, "steps": 24, "features": 6, "empty": 0}
    for informative in (0.0, 1.0):
        dataset, _ = simulate_icu(**settings, informative=informative)
        death = dataset.targets["death"][0]
        auroc = cross_validated_auroc(dataset.modalities["series"].mask.mean(axis=1), death)
        if informative:
            assert auroc > 0.65
        else:
            assert abs(auroc - 0.5) < 3 * null_standard_error(death)


def test_the_true_risk_ranks_the_deaths_and_nobody_does_better():
    from sklearn.metrics import roc_auc_score

    dataset, truth = stays(patients=20_000, features=1, steps=2)
    death = dataset.targets["death"][0]
    assert truth.auroc_ceiling > 0.8
    assert abs(roc_auc_score(death, truth.risk) - truth.auroc_ceiling) < 0.02


def test_the_expected_auroc_is_that_of_all_pairs():
    risk = np.array([0.1, 0.4, 0.4, 0.9, 0.05])
    total = concordant = 0.0
    for i in range(5):
        for j in set(range(5)) - {i}:
            weight = risk[i] * (1 - risk[j])
            total += weight
            if risk[i] > risk[j]:
                concordant += weight
            elif risk[i] == risk[j]:
                concordant += 0.5 * weight
    assert_allclose(expected_auroc(risk), concordant / total, rtol=1e-12)


def test_a_simple_model_learns_the_deaths_but_not_all_of_them():
    dataset, truth = stays()
    auroc = cross_validated_auroc(summaries(dataset), dataset.targets["death"][0])
    assert 0.74 < auroc < truth.auroc_ceiling


def test_time_and_other_features_help_to_impute():
    """The posterior mean of hidden cells beats their own feature's course, which beats the mean."""
    dataset, truth = stays()
    spread = np.array([row[2] for row in FEATURES[:12]])
    u = np.log(truth.values / [row[1] for row in FEATURES[:12]]) / spread
    mask = dataset.modalities["series"].mask
    hidden = held_out(dataset.ids, mask, (0.1,), 0) > 0
    steps = np.arange(48)
    time = np.linspace(-1, 1, 48)
    in_time = icu.LEVEL + icu.SLOPE * 3 * np.outer(time, time)
    in_time = in_time + icu.COURSE * icu.HOURLY_CORRELATION ** np.abs(
        np.subtract.outer(steps, steps)
    )
    covariance = np.kron(in_time, truth.loadings @ truth.loadings.T)
    errors = {"mean": [], "carried": [], "linear": [], "posterior": []}
    for row in np.flatnonzero(mask.any(axis=(1, 2)))[:60]:
        known, asked, y = (a[row].ravel() for a in (mask & ~hidden, hidden, u))
        inner = covariance[np.ix_(known, known)] + 0.16 * np.eye(known.sum())
        posterior = covariance[np.ix_(asked, known)] @ np.linalg.solve(inner, y[known])
        errors["posterior"] += list(posterior - y[asked])
        for t, d in np.argwhere(hidden[row]):
            seen = np.flatnonzero(mask[row, :, d] & ~hidden[row, :, d])
            past = seen[seen < t]
            errors["mean"].append(u[row, t, d])
            errors["carried"].append(u[row, t, d] - (u[row, past[-1], d] if len(past) else 0))
            errors["linear"].append(
                u[row, t, d] - (np.interp(t, seen, u[row, seen, d]) if len(seen) else 0)
            )
    mae = {name: np.mean(np.abs(error)) for name, error in errors.items()}
    assert (
        mae["posterior"] < 0.85 * mae["linear"]
        and mae["linear"] < mae["carried"] < 0.8 * mae["mean"]
    )


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, again, other = (simulate_icu(**SMALL, seed=seed)[0].fingerprint() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    "change",
    [
        {"missing": 0.5},
        {"noise": 1.0},
        {"informative": 0.0},
        {"features": 40},
        {"empty": 9},
        {"static": False},
    ],
)
def test_asking_for_more_of_one_thing_leaves_the_patients_as_they_were(change):
    (dataset, truth), (changed, other) = simulate_icu(**SMALL), simulate_icu(**SMALL | change)
    assert_array_equal(truth.latent, other.latent)
    assert_array_equal(truth.risk, other.risk)
    assert_array_equal(dataset.targets["death"][0], changed.targets["death"][0])
    assert_array_equal(truth.loadings, other.loadings[:5])
    assert ("static" in changed.modalities) == change.get("static", True)
    if "empty" in change:
        kept = changed.modalities["series"].observed_rows
        series = dataset.modalities["series"]
        assert_array_equal(changed.modalities["series"].values[kept], series.values[kept])
        assert (~kept & series.observed_rows).sum() <= 7


def test_features_beyond_the_table_are_numbered():
    series = simulate_icu(patients=5, steps=3, features=37)[0].modalities["series"]
    assert list(series.features[33:]) == ["TroponinI", "Cholesterol", "Lab36", "Lab37"]
    assert len(set(series.features)) == 37


@pytest.mark.parametrize("size", ["patients", "steps", "features", "latent"])
def test_the_smallest_settings_work(size):
    dataset, truth = simulate_icu(**SMALL | {size: 1, "empty": 0})
    assert (
        np.isfinite(truth.values).all()
        and np.isfinite(truth.risk).all()
        and len(dataset) == len(truth.risk)
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"patients": 0},
        {"steps": 0},
        {"features": 0},
        {"latent": 0},
        {"empty": -1},
        {"empty": 41},
        {"seed": -1},
        {"noise": -0.1},
        {"informative": float("inf")},
        {"prevalence": 0.0},
        {"prevalence": 1.0},
        {"missing": 1.0},
        {"missing": -0.1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} = .*; give "):
        simulate_icu(**SMALL | setting)
