"""Simulated patients against their own statement: layout, shares, read-out, targets, learning."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.data.patients.simulate import simulate_omics
from omics_jax.data.patients.simulated_modalities import SCALES, feature_names
from omics_jax.data.patients.simulated_outcomes import (
    CENSORING_SHAPE,
    SURVIVAL_SCALE,
    SURVIVAL_SHAPE,
    class_names,
    concordance,
)
from omics_jax.errors import UserError

SMALL = {"patients": 60, "features": {"rna": 30, "methylation": 30, "mirna": 6}, "latent": 4}
COMPLETE = {"missing_modality": 0.0, "missing_cells": 0.0, "missing_labels": 0.0}
ALL_KINDS = {"rna": 110, "methylation": 110, "mirna": 60, "protein": 60}


@cache
def cohort(signal=1.0):
    """The default one, larger."""
    return simulate_omics(1500, signal=signal)


@cache
def complete(**settings):
    return simulate_omics(**{"patients": 3000, "features": ALL_KINDS, **COMPLETE, **settings})


def components(dataset, k=30):
    """Principal components of all modalities side by side, standardised.

    Missing cells are at the feature's mean.
    """
    columns = []
    for kind, modality in dataset.modalities.items():
        x = np.where(modality.mask, unlinked(kind, modality.values), np.nan)
        x = (x - np.nanmean(x, axis=0)) / np.maximum(np.nanstd(x, axis=0), 1e-6)
        columns.append(np.nan_to_num(x))
    x = np.concatenate(columns, axis=1)
    return x @ np.linalg.eigh(x.T @ x)[1][:, -k:]


def unlinked(kind, values):
    """The values before the link, where it did not clip them."""
    values = values.astype(float)
    if kind == "methylation":
        return np.log(np.maximum(values, 1e-7) / (1 - values))
    return np.log2(values + 1) if kind == "mirna" else values


def unclipped(kind, x):
    return (x > 1e-6) & (x < 19.9) if kind in ("rna", "mirna") else np.abs(x) < 10


def accuracy(x, y):
    """Of a logistic regression on standardised columns, by 5-fold cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    return (cross_val_predict(LogisticRegression(C=0.1), x / x.std(axis=0), y, cv=5) == y).mean()


def ridge_prediction(x, y):
    """By 5-fold cross-validation."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_predict

    return cross_val_predict(Ridge(10.0), x / x.std(axis=0), y, cv=5)


def r_squared(prediction, y):
    return 1 - ((y - prediction) ** 2).mean(axis=0) / y.var(axis=0)


def cox_risk(x, times, event):
    """Linear predictor of a Cox model, fitted on every second row, of the others; and which."""
    import pandas as pd
    from lifelines import CoxPHFitter

    frame = pd.DataFrame(x / x.std(axis=0)).assign(time=times, event=event)
    fit = np.arange(len(x)) % 2 == 0
    model = CoxPHFitter(penalizer=0.01).fit(frame[fit], "time", "event")
    return model.predict_log_partial_hazard(frame[~fit]).to_numpy(), ~fit


def labelled(dataset, target):
    values, mask = dataset.targets[target]
    return values[mask], mask


def test_layout_is_that_of_a_reader():
    dataset, truth = simulate_omics(**SMALL)
    assert list(dataset.modalities) == ["rna", "methylation", "mirna"]
    for kind, modality in dataset.modalities.items():
        f = SMALL["features"][kind]
        assert (
            modality.values.shape == modality.mask.shape == (60, f)
            and modality.values.dtype == np.float32
        )
        assert not modality.values[~modality.mask].any()
        assert_array_equal(modality.values[modality.mask], truth.values[kind][modality.mask])
        assert truth.noise_free[kind].shape == truth.values[kind].shape and truth.loadings[
            kind
        ].shape == (f, 4 + 2)
        assert len(set(modality.features)) == f and truth.private[kind].shape == (60, 2)
    assert list(dataset.ids[:2]) == ["P0001", "P0002"] and (dataset.groups == dataset.ids).all()
    assert list(dataset.table.index) == list(dataset.ids) and set(dataset.table["sex"]) == {
        "female",
        "male",
    }
    assert dataset.classes == {"type": ("A", "B", "C", "D")}
    dtypes = {name: values.dtype for name, (values, _) in dataset.targets.items()}
    assert dtypes == {
        "type": np.int32,
        "age": np.float32,
        "OS.time": np.float32,
        "OS.event": np.float32,
    }
    for values, mask in dataset.targets.values():
        assert not values[~mask].any() and 0 < (~mask).sum()
    assert set(np.unique(labelled(dataset, "type")[0])) <= set(range(4))
    (days, known), (event, also) = (dataset.targets[name] for name in ("OS.time", "OS.event"))
    assert (known == also).all() and (days[known] >= 1).all() and (days == days.round()).all()
    assert set(np.unique(event)) == {0, 1}
    assert truth.z.shape == (60, 4) and truth.class_probability.shape == (60, 4)


def test_values_and_ages_lie_where_such_values_lie():
    dataset, truth = complete()
    rna, beta, reads = (truth.values[kind] for kind in ("rna", "methylation", "mirna"))
    assert (
        rna.min() == 0
        and 0.01 < (rna == 0).mean() < 0.1
        and 10 < np.percentile(rna, 99) < rna.max() < 25
    )
    assert 0 < beta.min() and beta.max() < 1 and np.mean((beta < 0.25) | (beta > 0.75)) > 0.6
    assert reads.min() == 0 and reads.max() <= 1e6 and reads.mean() > 5 * np.median(reads)
    age = labelled(dataset, "age")[0]
    assert (
        age.min() >= 15
        and age.max() <= 100
        and abs(age.mean() - 60) < 1
        and abs(age.std() - 12) < 0.5
    )


@pytest.mark.parametrize(
    "modality, cells, labels, censored", [(0.15, 0.02, 0.05, 0.5), (0.5, 0.3, 0.4, 0.9)]
)
def test_shares_are_the_asked_ones(modality, cells, labels, censored):
    shares = {
        "missing_modality": modality,
        "missing_cells": cells,
        "missing_labels": labels,
        "censored": censored,
    }
    dataset, truth = simulate_omics(
        3000, features={"rna": 20, "methylation": 20, "mirna": 20}, **shares
    )
    present = np.stack([m.observed_rows for m in dataset.modalities.values()], axis=1)
    assert present.any(axis=1).all()

    def close(found, share, n):
        standard_error = np.sqrt(share * (1 - share) / n)
        assert_allclose(found, share, rtol=0, atol=4 * standard_error)

    close(1 - present.mean(axis=0), modality, 3000)
    for m in dataset.modalities.values():
        close(1 - m.mask[m.observed_rows].mean(axis=0), cells, m.observed_rows.sum())
    for _, mask in dataset.targets.values():
        close(1 - mask.mean(), labels, 3000)
    close(1 - labelled(dataset, "OS.event")[0].mean(), censored, 3000)
    kinds, mask = labelled(dataset, "type")
    for c in range(4):
        p = truth.class_probability[mask, c]
        assert abs((kinds == c).sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())


def test_modalities_are_missing_independently_but_never_all():
    """Numbers of missing modalities are binomial, given less than all.

    Every set of one size is as frequent.
    """
    dataset, _ = simulate_omics(
        20_000, features={"rna": 1, "mirna": 1, "protein": 1}, missing_modality=0.4, censored=0.99
    )
    lacks = np.stack([~m.observed_rows for m in dataset.modalities.values()], axis=1)
    found = np.bincount(lacks @ [1, 2, 4], minlength=8) / 20_000
    q = next(q for q in np.arange(0.4, 1, 1e-4) if (q - q**3) / (1 - q**3) >= 0.4)
    expected = []
    for subset in range(7):
        missing = bin(subset).count("1")
        probability = q**missing * (1 - q) ** (3 - missing)
        expected.append(probability / (1 - q**3))
    expected.append(0)
    standard_error = np.sqrt(0.2 * 0.8 / 20_000)
    assert_allclose(found, expected, atol=4 * standard_error)


@pytest.mark.parametrize(
    "kinds, missing", [(("rna", "mirna"), 0.49), (("rna", "methylation", "mirna"), 0.66)]
)
def test_nobody_is_left_without_any_modality(kinds, missing):
    settings = {"missing_modality": missing, "missing_cells": 0.95}
    dataset, _ = simulate_omics(500, features=dict.fromkeys(kinds, 2), **settings)
    seen = sum(m.observed_rows.astype(int) for m in dataset.modalities.values())
    assert seen.min() == 1 and seen.mean() < 1.1


def test_values_read_the_factors_through_the_loadings():
    """Before the link every feature is linear in A [z, w], with noise of the stated size."""
    _, truth = complete()
    for kind, f in ALL_KINDS.items():
        factors = np.concatenate([truth.z, truth.private[kind]], axis=1)
        loadings = truth.loadings[kind]
        carries = np.flatnonzero(loadings.any(axis=1))
        squares = loadings[carries] ** 2
        assert len(carries) == 0.6 * f
        assert_allclose(squares.sum(axis=1), 1)
        assert_allclose(squares[:, :8].sum(axis=1), 0.7)
        noise_free = unlinked(kind, truth.noise_free[kind])
        values = unlinked(kind, truth.values[kind])
        for j in carries:
            signal = sum(loadings[j, k] * factors[:, k] for k in range(8 + 2))
            inside = unclipped(kind, noise_free[:, j])
            slope, intercept = np.polyfit(signal[inside], noise_free[inside, j], 1)
            assert_allclose(noise_free[inside, j], intercept + slope * signal[inside], atol=2e-3)
            if unclipped(kind, values[:, j]).all():
                noise = (values[:, j] - noise_free[:, j]) / slope
                correlation = np.corrcoef(noise, signal)[0, 1]
                assert abs(noise.std() - 0.7) < 0.04
                assert abs(correlation) < 0.07
    is_read = truth.loadings["rna"][:, :8] != 0
    assert is_read.any(axis=0).all()
    assert is_read.mean() < 0.2
    correlations = np.corrcoef(factors.T)
    assert abs(correlations - np.eye(10)).max() < 0.07


def test_some_features_are_noise_constant_or_on_chromosome_y():
    dataset, truth = complete()
    man = (dataset.table["sex"] == "male").to_numpy()
    for kind, f in ALL_KINDS.items():
        silent = ~truth.loadings[kind].any(axis=1)
        constant = np.ptp(truth.values[kind], axis=0) == 0
        assert (constant <= silent).all() and constant.sum() == f // 50
        assert (truth.values[kind][:, constant] == (0.5 if kind == "methylation" else 0)).all()
    on_y = [name for name, chromosome in truth.chromosomes.items() if chromosome == "Y"]
    sites = list(dataset.modalities["methylation"].features)
    assert set(truth.chromosomes) == set(sites) and on_y == [
        s for s in sites if s.startswith("chrY:")
    ]
    assert len(on_y) == 3 and set(truth.chromosomes.values()) == {*map(str, range(1, 23)), "X", "Y"}
    for site in on_y:
        free = truth.noise_free["methylation"][:, sites.index(site)]
        assert len(np.unique(free)) == 2 and free[man].min() > free[~man].max()
    assert not {*on_y} & {
        name for by_kind in truth.informative.values() for name in by_kind["methylation"]
    }
    noise_only = truth.noise_free["rna"][:, ~truth.loadings["rna"].any(axis=1)]
    assert not np.ptp(noise_only, axis=0).any()


def test_linked_sites_mirror_their_genes():
    dataset, truth = complete()
    place = {
        kind: {str(name): j for j, name in enumerate(m.features)}
        for kind, m in dataset.modalities.items()
    }
    pairs = [(place["methylation"][site], place["rna"][gene]) for site, gene in truth.links]
    assert len(pairs) == 22 == len({site for site, _ in pairs})
    for site, gene in pairs:
        assert_array_equal(
            truth.loadings["methylation"][site, :8], -truth.loadings["rna"][gene, :8]
        )
        if np.median(truth.values["rna"][:, gene]) > 2:
            x = np.corrcoef(truth.values["rna"][:, gene], truth.values["methylation"][:, site])[
                0, 1
            ]
            assert x < -0.3


def test_informative_features_load_on_what_the_target_depends_on():
    """By regressing the target's truth on z: a factor counts where its coefficient is not zero."""
    dataset, truth = complete()
    log_odds = np.log(truth.class_probability)
    scores = {
        "type": log_odds - log_odds[:, :1],
        "age": truth.age[:, None],
        "OS": truth.risk[:, None],
    }
    assert set(truth.informative) == set(scores)
    read = {}
    for target, score in scores.items():
        coefficients = np.linalg.lstsq(truth.z, score - score.mean(axis=0), rcond=None)[0]
        read[target] = np.flatnonzero(np.abs(coefficients).max(axis=1) > 0.1)
        assert len(read[target]) == 4
        for kind, m in dataset.modalities.items():
            rows = [
                j
                for j in range(ALL_KINDS[kind])
                if any(truth.loadings[kind][j, k] for k in read[target])
            ]
            assert truth.informative[target][kind] == tuple(m.features[rows])
    assert set(read["type"]) & set(read["age"]) and set(read["age"]) & set(read["OS"])


@pytest.mark.slow
def test_a_simple_model_learns_the_targets_but_no_better_than_the_truth():
    dataset, truth = cohort()
    x = components(dataset)
    y, known = labelled(dataset, "type")
    bayes = truth.class_probability.max(axis=1).mean()
    error = np.sqrt(0.25 / len(y))
    assert 0.75 < bayes < 0.9
    assert abs((truth.class_probability[known].argmax(axis=1) == y).mean() - bayes) < 3 * error
    assert abs(accuracy(truth.z[known], y) - bayes) < 3 * error
    assert 0.65 < accuracy(x[known], y) < bayes
    age, known = labelled(dataset, "age")
    r2 = [
        r_squared(p, age)
        for p in (ridge_prediction(x[known], age), ridge_prediction(truth.z[known], age))
    ]
    assert 0.3 < r2[0] < r2[1] <= r_squared(truth.age[known], age) + 0.01
    assert_allclose(r_squared(truth.age[known], age), 0.5, atol=0.05)
    days, known = labelled(dataset, "OS.time")
    event = labelled(dataset, "OS.event")[0]
    c = {}
    for name, columns in (("data", x[known]), ("z", truth.z[known])):
        risk, rows = cox_risk(columns, days, event)
        c[name] = concordance(risk, days[rows].astype(float), event[rows] > 0)
    # The linear model misses the product of two factors.
    assert 0.6 < c["data"] < c["z"] < truth.c_index - 0.02
    assert 0.72 < truth.c_index < 0.82


@pytest.mark.slow
def test_without_signal_nothing_is_learned():
    dataset, truth = cohort(signal=0.0)
    x = np.concatenate([components(dataset, 10), truth.z], axis=1)
    y, known = labelled(dataset, "type")
    assert (truth.class_probability == 0.25).all()
    standard_error = np.sqrt(0.25 * 0.75 / len(y))
    assert abs(accuracy(x[known], y) - 0.25) < 3 * standard_error

    age, known = labelled(dataset, "age")
    n = len(age)
    predicted = ridge_prediction(x[known], age)
    correlation = np.corrcoef(predicted, age)[0, 1]
    assert np.ptp(truth.age) == 0
    assert abs(age.std() - 12) < 3 * 12 / np.sqrt(2 * n)
    assert abs(correlation) < 3 / np.sqrt(n)

    days, known = labelled(dataset, "OS.time")
    event = labelled(dataset, "OS.event")[0]
    risk, rows = cox_risk(x[known], days, event)
    days = days[rows].astype(float)
    event = event[rows] > 0
    rng = np.random.default_rng(0)
    null = [concordance(rng.permutation(risk), days, event) for _ in range(50)]
    c_index = concordance(risk, days, event)
    assert abs(c_index - 0.5) < 3 * np.std(null)
    assert truth.c_index == 0.5
    for by_kind in truth.informative.values():
        assert not any(by_kind.values())


def test_signal_changes_the_targets_alone():
    dataset, truth = simulate_omics(**SMALL, signal=1.0)
    null, other = simulate_omics(**SMALL, signal=0.0)
    for kind in SMALL["features"]:
        values = dataset.modalities[kind].values
        assert_array_equal(values, null.modalities[kind].values)
    assert_array_equal(truth.z, other.z)
    for name, (values, mask) in dataset.targets.items():
        null_values, null_mask = null.targets[name]
        assert (values != null_values).any()
        assert_array_equal(mask, null_mask)


def accumulated_hazard(days, risk):
    """Of death; days are rounded up, by half a day on average."""
    time = (days - 0.5) / SURVIVAL_SCALE
    return time**SURVIVAL_SHAPE * np.exp(risk)


def test_uncensored_times_are_weibull_with_proportional_hazards():
    """(t / scale)^shape e^risk is a standard exponential, whatever the risk."""
    from scipy.stats import kstest, spearmanr

    dataset, truth = complete(censored=0.0)
    days, event = (dataset.targets[name][0].astype(float) for name in ("OS.time", "OS.event"))
    assert event.all()
    hazard = accumulated_hazard(days, truth.risk)
    assert kstest(hazard, "expon").pvalue > 0.01
    assert abs(spearmanr(hazard, truth.risk)[0]) < 3 / np.sqrt(len(days))


def test_censoring_says_nothing_about_death_or_risk():
    """Martingale residuals of death and of censoring are not correlated with the risk.

    A residual is the event minus the accumulated hazard.
    """
    dataset, truth = complete()
    days, event = (dataset.targets[name][0].astype(float) for name in ("OS.time", "OS.event"))
    is_censored = 1 - event
    death = accumulated_hazard(days, truth.risk)
    censoring = (days - 0.5) ** CENSORING_SHAPE
    censoring *= is_censored.sum() / censoring.sum()
    root_n = np.sqrt(len(days))
    for residual in (event - death, is_censored - censoring):
        correlation = np.corrcoef(residual, truth.risk)[0, 1]
        assert abs(residual.mean()) < 3 * residual.std() / root_n
        assert abs(correlation) < 3 / root_n


def test_concordance_counts_every_pair():
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(3)
    times, event = rng.integers(1, 15, 60).astype(float), rng.random(60) < 0.5
    risk = rng.integers(0, 8, 60).astype(float)
    pairs = right = 0
    for i in range(60):
        for j in range(60):
            if event[i] and (times[i] < times[j] or (times[i] == times[j] and not event[j])):
                pairs += 1
                right += 1 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0
    found = concordance(risk, times, event)
    assert_allclose(found, right / pairs, rtol=1e-12)
    assert_allclose(found, concordance_index(times, -risk, event), rtol=1e-12)
    # T = (1, 2, 3), E = (1, 0, 1): pairs (1, 2) and (1, 3) alone.
    hand = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    assert (
        concordance(np.array([3.0, 2.0, 1.0]), *hand) == 1
        and concordance(np.array([1.0, 2.0, 1.0]), *hand) == 0.25
    )
    assert np.isnan(concordance(risk, times, np.zeros(60, bool)))


def test_the_ceiling_is_the_concordance_of_the_true_risk():
    from lifelines.utils import concordance_index

    dataset, truth = complete()
    days, event = (dataset.targets[name][0] for name in ("OS.time", "OS.event"))
    assert_allclose(truth.c_index, concordance_index(days, -truth.risk, event), rtol=1e-12)


def test_one_modality_predicts_what_another_shares_with_it():
    """At most 0.47 of a site's variance: 0.7 shared, 0.3 private, and noise of 0.49 on top."""
    _, truth = complete()
    genes = truth.values["rna"][:, truth.loadings["rna"].any(axis=1)]
    sites = truth.values["methylation"][:, np.ptp(truth.values["methylation"], axis=0) > 0]
    carries = truth.loadings["methylation"].any(axis=1)[
        np.ptp(truth.values["methylation"], axis=0) > 0
    ]
    y = unlinked("methylation", sites)
    r2 = r_squared(ridge_prediction(genes.astype(float), y), y)
    assert 0.4 < np.median(r2[carries]) < 0.47 and r2[carries].min() > 0.3
    assert abs(r2[~carries]).max() < 0.05


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, again, other = (
        simulate_omics(**SMALL, seed=seed)[0].fingerprint() for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    "change",
    [
        {"missing_modality": 0.5},
        {"missing_cells": 0.3},
        {"missing_labels": 0.5},
        {"features": {"protein": 7, "mirna": 6, "methylation": 30, "rna": 30}},
        {"censored": 0.1},
    ],
    ids=str,
)
def test_asking_for_more_of_one_thing_leaves_the_patients_as_they_were(change):
    (dataset, truth), (changed, other) = simulate_omics(**SMALL), simulate_omics(**SMALL | change)
    assert_array_equal(truth.z, other.z)
    assert_array_equal(truth.risk, other.risk)
    for kind in SMALL["features"]:
        assert_array_equal(truth.values[kind], other.values[kind])
        assert_array_equal(truth.loadings[kind], other.loadings[kind])
    for name in ("type", "age") if "censored" in change else dataset.targets:
        both = dataset.targets[name][1] & changed.targets[name][1]
        assert_array_equal(dataset.targets[name][0][both], changed.targets[name][0][both])


def test_more_features_keep_the_names_of_the_first():
    for kind in SCALES:
        fewer = list(feature_names(kind, 30))
        many = list(feature_names(kind, 300))
        assert fewer == many[:30]
        assert len(set(many)) == 300


def test_types_beyond_the_alphabet_are_numbered():
    assert class_names(28)[24:] == ("Y", "Z", "A1", "B1") and len(set(class_names(60))) == 60


@pytest.mark.parametrize(
    "size",
    [
        {"patients": 1},
        {"latent": 1},
        {"latent": 3},
        {"classes": 2},
        {"classes": 33},
        {"features": {"rna": 1, "methylation": 1}},
        {"features": {"mirna": 5}, "missing_modality": 0.0},
        {"noise": 0.0},
        {"noise": 1e6},
    ],
    ids=str,
)
def test_extreme_settings_work(size):
    dataset, truth = simulate_omics(**SMALL | size)
    assert all(np.isfinite(x).all() for x in (truth.risk, truth.age, *truth.values.values()))
    assert len(dataset) == len(truth.z) and all(
        np.isfinite(v).all() for v, _ in dataset.targets.values()
    )
    assert len(dataset.classes["type"]) == truth.class_probability.shape[1]
    if size.get("noise") == 0:
        carries = truth.loadings["rna"].any(axis=1)
        assert_array_equal(truth.values["rna"][:, carries], truth.noise_free["rna"][:, carries])


@pytest.mark.parametrize(
    "setting, mend",
    [
        ({"patients": 0}, "1 or more"),
        ({"latent": 0}, "1 or more"),
        ({"classes": 1}, "2 or more"),
        ({"seed": -1}, "0 or more"),
        ({"noise": -0.1}, "a finite number"),
        ({"signal": float("inf")}, "a finite number"),
        ({"censored": 1.0}, "a fraction"),
        ({"missing_cells": -0.1}, "a fraction"),
        ({"missing_labels": float("nan")}, "a fraction"),
        ({"missing_modality": 1.0}, "a fraction"),
        ({"missing_modality": 0.67}, "less than 0.667"),
        ({"features": {"rna": 3}, "missing_modality": 0.1}, "0, or more modalities"),
        (
            {"features": {"rna": 3, "atac": 4}},
            "a number for one or more of rna, methylation, mirna, protein",
        ),
        ({"features": {"rna": 3, "mirna": 0}}, "1 or more"),
        ({"features": {}}, "a number for one or more of rna"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(setting, mend):
    with pytest.raises(UserError, match=rf"{[*setting][-1]}(\.mirna)? = .*; give {mend}"):
        simulate_omics(**SMALL | setting)
