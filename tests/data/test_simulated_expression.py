"""Simulated expression against its own statement: modules, network, interactions, outcomes."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from scipy.stats import kstest, norm

from omics_jax.data.gene_networks.simulate import (
    HAZARD_EFFECT,
    INTERACTING,
    LEVEL_MEAN,
    LEVEL_SD,
    RESPONSE_EFFECT,
    SUBTYPE_EFFECT,
    simulate_expression,
)
from omics_jax.data.patients.simulated_outcomes import SURVIVAL_SCALE, SURVIVAL_SHAPE
from omics_jax.errors import UserError

SMALL = {"patients": 60, "genes": 24, "modules": 3, "interactions": 4, "shared": 2}
N, GENES, MODULES, WITHIN, NOISE = 6000, 60, 6, 0.3, 0.3
LARGE = {
    **{"patients": N, "genes": GENES, "modules": MODULES, "within": WITHIN, "noise": NOISE},
    **{"interactions": 4, "shared": 4, "missing_cells": 0.0, "missing_labels": 0.0},
}
OUTCOMES = ("subtype", "response", "level", "OS.time", "OS.event", "unrelated")


@cache
def cohort(**settings):
    """Of many patients, of whom everything is known."""
    return simulate_expression(**LARGE | settings)


def products(z, edges):
    return z[:, edges[:, 0]] * z[:, edges[:, 1]]


def centred(a):
    return a - a.mean(axis=0)


def assert_zero_on_average(a):
    """The means of the columns of independent rows are 0 up to sampling error.

    The chance that any of them is further off is one in a thousand.
    """
    a = np.asarray(a, float).reshape(len(a), -1)
    z = a.mean(axis=0) / (a.std(axis=0) / np.sqrt(len(a)))
    assert abs(z).max() < norm.isf(0.0005 / z.size)


def assert_uncorrelated(left, right):
    """Every column of the left with every one of the right."""
    left, right = (centred(np.asarray(a, float).reshape(len(a), -1)) for a in (left, right))
    assert_zero_on_average(left[:, :, None] * right[:, None, :])


def outcome(dataset, name):
    values, known = dataset.targets[name]
    return values[known].astype(float)


# --- what is drawn --------------------------------------------------------------------------------


def test_layout_is_that_of_a_reader():
    dataset, truth = simulate_expression(**SMALL)
    (name, rna), *others = dataset.modalities.items()
    assert name == "rna" and not others
    assert rna.values.shape == rna.mask.shape == truth.z.shape == (60, 24)
    assert rna.values.dtype == np.float32 and not rna.values[~rna.mask].any()
    assert (rna.values >= 0).all()
    assert list(truth.genes) == list(rna.features) and len(set(truth.genes)) == 24
    assert list(dataset.ids[:2]) == ["P0001", "P0002"] == list(dataset.table.index[:2])
    assert (dataset.groups == dataset.ids).all()
    assert set(dataset.table["sex"]) == {"female", "male"}
    assert dataset.classes == {
        "subtype": ("A", "B", "C"),
        "response": ("no", "yes"),
        "unrelated": ("no", "yes"),
    }
    dtypes = {name: values.dtype for name, (values, _) in dataset.targets.items()}
    classes = dict.fromkeys(dataset.classes, np.int32)
    assert dtypes == dict.fromkeys(OUTCOMES, np.float32) | classes
    for name, (values, known) in dataset.targets.items():
        assert not values[~known].any() and 0 < (~known).sum() < 30, name
    assert set(np.unique(outcome(dataset, "subtype"))) == {0, 1, 2}
    for name in ("response", "unrelated", "OS.event"):
        assert set(np.unique(outcome(dataset, name))) == {0, 1}
    days = outcome(dataset, "OS.time")
    assert (days >= 1).all() and (days == days.round()).all()
    assert_array_equal(dataset.targets["OS.time"][1], dataset.targets["OS.event"][1])


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    (first, truth), (again, same), (other, _) = (
        simulate_expression(**SMALL, seed=seed) for seed in (1, 1, 2)
    )
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert_array_equal(truth.z, same.z)
    assert_array_equal(truth.network, same.network)


# What is changed, and what it may move besides: of the truth, and of the outcomes.
CHANGES = [
    ({"degree": 1.0}, {"network"}, set()),
    ({"signal": 0.5}, set(), {*OUTCOMES} - {"unrelated"}),
    ({"noise": 2.0}, set(), {"level"}),
    ({"censored": 0.1}, set(), {"OS.time", "OS.event"}),
    ({"missing_cells": 0.3}, set(), set()),
    ({"missing_labels": 0.5}, set(), set()),
    (
        {"interactions": 2},
        {"network", "interactions", "scores"},
        {"response", "level", "OS.time", "OS.event"},
    ),
    ({"within": 0.6}, {"z", "scores"}, {"response", "level", "OS.time", "OS.event"}),
]


@pytest.mark.parametrize(
    ("change", "truths", "outcomes"), CHANGES, ids=[next(iter(change)) for change, *_ in CHANGES]
)
def test_another_size_of_one_part_leaves_the_others(change, truths, outcomes):
    (dataset, truth), (changed, other) = (
        simulate_expression(**SMALL | more) for more in ({}, change)
    )
    parts = ("module", "network", "z")
    moved = {name for name in parts if not equal(getattr(truth, name), getattr(other, name))}
    for part in ("interactions", "scores"):
        own, same = getattr(truth, part), getattr(other, part)
        moved |= {part for name in INTERACTING if not equal(own[name], same[name])}
    assert moved == truths
    assert_array_equal(truth.scores["subtype"], other.scores["subtype"])
    moved = set()
    for name, (values, known) in dataset.targets.items():
        others, also = changed.targets[name]
        moved |= set() if equal(values[known & also], others[known & also]) else {name}
    assert moved == outcomes
    (rna,), (same,) = dataset.modalities.values(), changed.modalities.values()
    assert equal(rna.mask, same.mask) == ("missing_cells" not in change)
    if "z" not in truths:
        assert_array_equal(rna.values[rna.mask & same.mask], same.values[rna.mask & same.mask])
    assert dataset.table.equals(changed.table)


def test_more_patients_leave_the_first_ones_and_the_genes():
    (dataset, truth), (larger, other) = (
        simulate_expression(**SMALL | {"patients": n}) for n in (60, 90)
    )
    assert_array_equal(truth.z, other.z[:60])
    assert_array_equal(truth.network, other.network)
    assert_array_equal(truth.scores["subtype"], other.scores["subtype"][:60])
    (rna,), (more,) = dataset.modalities.values(), larger.modalities.values()
    assert_array_equal(rna.mask, more.mask[:60])
    assert_array_equal(rna.values, more.values[:60])
    for name in ("subtype", "unrelated"):
        assert_array_equal(dataset.targets[name][0], larger.targets[name][0][:60])


def test_more_genes_leave_the_modules_factors_and_more_modules_the_genes_own_parts():
    (dataset, truth), (larger, other) = (
        simulate_expression(**SMALL | {"genes": genes}) for genes in (24, 30)
    )
    assert_array_equal(truth.scores["subtype"], other.scores["subtype"])
    for name in ("subtype", "unrelated"):
        for own, same in zip(dataset.targets[name], larger.targets[name], strict=True):
            assert_array_equal(own, same)
    assert dataset.table.equals(larger.table)
    few, many = (
        simulate_expression(**SMALL | {"modules": modules, "within": 0.0})[1] for modules in (3, 5)
    )
    assert_array_equal(few.z, many.z)
    assert_array_equal(few.interactions["OS"], many.interactions["OS"])


def equal(left, right):
    return np.array_equal(left, right)


# --- genes and their network ----------------------------------------------------------------------


@pytest.mark.parametrize("within", [0.0, 0.3, 0.8])
def test_genes_of_a_module_are_correlated_by_the_share_of_its_factor(within):
    _, truth = cohort(within=within)
    z, module = truth.z, truth.module
    assert_array_equal(np.bincount(module), MODULES * [GENES // MODULES])
    first, second = np.triu_indices(z.shape[1], 1)
    found = np.corrcoef(z.T)[first, second]
    expected = np.where(module[first] == module[second], within, 0)
    error = (1 - expected**2) / np.sqrt(N)
    assert (abs(found - expected) / error).max() < norm.isf(0.0005 / len(found))
    assert_zero_on_average(z)
    assert_zero_on_average(z**2 - 1)


def test_a_gene_is_measured_about_its_own_mean_in_its_own_spread():
    dataset, truth = cohort()
    (rna,) = dataset.modalities.values()
    slopes = []
    for values, z in zip(rna.values.T.astype(float), truth.z.T, strict=True):
        read = values > 0
        slope, intercept = np.polyfit(z[read], values[read], 1)
        assert_allclose(values, np.maximum(intercept + slope * z, 0), atol=1e-4)
        assert 4 <= intercept <= 12 and slope > 0
        slopes.append(slope)
    assert abs(np.log(slopes).mean()) < 4 * 0.3 / np.sqrt(GENES) and np.std(slopes) > 0.1


@pytest.mark.parametrize("shared", [0, 1, 3])
def test_interactions_are_disjoint_pairs_in_the_network(shared):
    _, truth = simulate_expression(**SMALL | {"interactions": 3, "shared": shared})
    assert tuple(truth.interactions) == INTERACTING
    edges = {tuple(edge) for edge in truth.network}
    assert len(edges) == len(truth.network)
    pairs = {name: {tuple(pair) for pair in own} for name, own in truth.interactions.items()}
    for name, own in truth.interactions.items():
        assert own.shape == (3, 2) and len(pairs[name]) == 3
        assert_array_equal(own[:shared], truth.interactions["response"][:shared])
    every = set().union(*pairs.values())
    assert len(every) == shared + 3 * (3 - shared)
    assert len(set.intersection(*pairs.values())) == shared
    assert len({gene for pair in every for gene in pair}) == 2 * len(every)
    assert every <= edges and all(i < j for i, j in edges)
    module = truth.module
    assert all(module[i] == module[j] for i, j in edges - every)


def test_genes_of_a_module_have_the_asked_number_of_connections():
    sizes = {"patients": 2, "genes": 600, "modules": 6, "interactions": 0, "shared": 0}
    network = lambda **settings: simulate_expression(**sizes | settings)[1].network
    expected = 600 * 3.0 / 2
    assert abs(len(network(degree=3.0)) - expected) < 4 * np.sqrt(expected)
    assert len(network(degree=0.0)) == 0
    assert len(network(degree=0.0, interactions=4, shared=4)) == 4
    assert len(network(degree=999.0)) == 6 * 100 * 99 / 2


# --- outcomes -------------------------------------------------------------------------------------


def test_scores_are_signed_sums_of_products_and_shared_ones_have_one_sign():
    _, truth = cohort(interactions=5, shared=3)
    signs = {}
    for name, edges in truth.interactions.items():
        u = truth.scores[name]
        terms = centred(products(truth.z, edges))
        weights = np.linalg.lstsq(terms, u, rcond=None)[0]
        assert_allclose(terms @ weights, u, atol=1e-9)
        assert_allclose(abs(weights), abs(weights[0]))
        assert_allclose([u.mean(), u.std()], [0, 1], atol=1e-9)
        signs[name] = np.sign(weights)
        assert_array_equal(signs[name][:3], signs["response"][:3])
    assert {*signs["response"][:3]} == {*signs["OS"]} == {-1, 1}
    own = [truth.scores[name] for name in INTERACTING]
    assert np.corrcoef(own).max(initial=0, where=~np.eye(3, dtype=bool)) < 0.95


def test_no_gene_tells_of_a_score_but_the_product_of_an_interacting_pair_does():
    """By Isserlis, cov(z_i z_j, z_k z_l) = S_ik S_jl + S_il S_jk with S the genes' covariance."""
    _, truth = cohort()
    z, module = truth.z, truth.module
    s = np.where(module[:, None] == module, WITHIN, 0)
    np.fill_diagonal(s, 1)
    for name, edges in truth.interactions.items():
        u = truth.scores[name]
        assert_uncorrelated(z, u)
        i, j = edges.T
        own = centred(products(z, edges))
        sign = np.sign(np.linalg.lstsq(own, u, rcond=None)[0])
        covariance = s[np.ix_(i, i)] * s[np.ix_(j, j)] + s[np.ix_(i, j)] * s[np.ix_(j, i)]
        expected = covariance @ sign / np.sqrt(sign @ covariance @ sign)
        assert_zero_on_average(own * u[:, None] - expected)
        assert (sign * expected > 0.3).all()


def test_outcomes_are_drawn_from_their_scores():
    dataset, truth = cohort(interactions=3, shared=1)
    scores = truth.scores
    u = scores["level"]
    noise = (outcome(dataset, "level") - LEVEL_MEAN) / LEVEL_SD - u
    assert_uncorrelated(noise, np.column_stack([u, truth.z]))
    assert_zero_on_average(noise)
    assert_zero_on_average(noise**2 - NOISE**2)
    chance = expit(RESPONSE_EFFECT * scores["response"])
    surprise = (outcome(dataset, "response") - chance)[:, None]
    assert_zero_on_average(surprise * np.column_stack([np.ones(N), scores["response"]]))
    chances = softmax(SUBTYPE_EFFECT * scores["subtype"], axis=1)
    surprise = np.eye(3)[outcome(dataset, "subtype").astype(int)] - chances
    assert_zero_on_average(surprise)
    assert_zero_on_average(surprise[:, :, None] * scores["subtype"][:, None, :])
    by_module = [truth.z[:, truth.module == m].mean(axis=1) for m in range(MODULES)]
    factors = centred(np.column_stack(by_module))
    prediction = factors @ np.linalg.lstsq(factors, scores["subtype"])[0]
    assert_zero_on_average(scores["subtype"] ** 2 - 1)
    share = WITHIN / (WITHIN + (1 - WITHIN) * MODULES / GENES)  # of a factor in its genes' mean
    found = 1 - (scores["subtype"] - prediction).var(axis=0) / scores["subtype"].var(axis=0)
    assert_allclose(found, share, rtol=0, atol=4 * 2 * np.sqrt(share) * (1 - share) / np.sqrt(N))


def test_uncensored_times_are_weibull_with_proportional_hazards():
    """(t / scale)^shape e^risk is a standard exponential; days are rounded up, by half a day."""
    dataset, truth = cohort(censored=0.0)
    assert outcome(dataset, "OS.event").all()
    time = (outcome(dataset, "OS.time") - 0.5) / SURVIVAL_SCALE
    risk = HAZARD_EFFECT * truth.scores["OS"]
    hazard = time**SURVIVAL_SHAPE * np.exp(risk)
    assert kstest(hazard, "expon").pvalue > 0.01
    assert_uncorrelated(np.argsort(np.argsort(hazard)), risk)


def test_no_gene_tells_of_an_outcome_that_depends_on_interactions():
    dataset, truth = cohort()
    for name in ("response", "level", "OS.time", "OS.event", "unrelated"):
        assert_uncorrelated(truth.z, outcome(dataset, name))
    unrelated = outcome(dataset, "unrelated")
    assert_uncorrelated(products(truth.z, truth.network), unrelated)
    assert_zero_on_average(unrelated - 0.5)


def test_without_signal_outcomes_depend_on_nothing():
    dataset, truth = cohort(signal=0.0)
    _, with_signal = cohort()
    assert_array_equal(truth.z, with_signal.z)
    subtype = np.eye(3)[outcome(dataset, "subtype").astype(int)]
    assert_zero_on_average(subtype - 1 / 3)
    outcomes = [subtype, *(outcome(dataset, name)[:, None] for name in OUTCOMES[1:])]
    outcomes = np.concatenate(outcomes, axis=1)
    scores = [truth.scores[name].reshape(N, -1) for name in truth.scores]
    assert_uncorrelated(outcomes, np.concatenate([truth.z, *scores], axis=1))
    level = (outcome(dataset, "level") - LEVEL_MEAN) / LEVEL_SD
    assert_zero_on_average(level**2 - NOISE**2)
    survival = outcomes[:, 5:7]  # depend on each other, but on nothing else
    others = np.column_stack([outcomes[:, :5], outcomes[:, 7], level**2])
    assert_uncorrelated(others, survival)
    for a in (3, 4, 5):  # after the subtypes, which exclude each other
        assert_uncorrelated(others[:, :a], others[:, a])
    assert_uncorrelated(others[:, [0, 1, 2, 3, 5]], others[:, 6])


# --- shares, extremes and mistakes ----------------------------------------------------------------


@pytest.mark.parametrize(("cells", "labels", "censored"), [(0.01, 0.1, 0.4), (0.3, 0.5, 0.9)])
def test_shares_are_the_asked_ones(cells, labels, censored):
    shares = {"missing_cells": cells, "missing_labels": labels, "censored": censored}
    dataset, _ = simulate_expression(3000, **shares)
    (rna,) = dataset.modalities.values()

    def close(found, share, n):
        assert_allclose(found, share, rtol=0, atol=4 * np.sqrt(share * (1 - share) / n))

    close(1 - rna.mask.mean(), cells, rna.mask.size)
    missing = [~dataset.targets[name][1] for name in OUTCOMES if name != "OS.time"]
    for one in missing:
        close(one.mean(), labels, 3000)
    close(np.mean(missing[0] & missing[1]), labels**2, 3000)  # each by itself
    close(1 - outcome(dataset, "OS.event").mean(), censored, 3000 * (1 - labels))


@pytest.mark.parametrize(
    "size",
    [
        {"patients": 2},
        {"genes": 2, "interactions": 1, "shared": 1},
        {"genes": 2, "interactions": 0, "shared": 0},
        {"genes": 25},
        {"modules": 1},
        {"modules": 40},
        {"interactions": 4, "shared": 0},
        {"noise": 0.0, "signal": 0.0},
        {"signal": 50.0},
        {"degree": 1e9},
        {"within": 0.0},
        {"seed": 2**70},
    ],
    ids=str,
)
def test_extreme_settings_work(size):
    dataset, truth = simulate_expression(**SMALL | size)
    assert len(dataset) == len(truth.z)
    for scores in truth.scores.values():
        assert np.isfinite(scores).all()
    for name, (values, _) in dataset.targets.items():
        assert np.isfinite(values).all(), name
    assert len(truth.genes) == len(truth.module) == truth.z.shape[1]


@pytest.mark.parametrize(
    ("setting", "mend"),
    [
        ({"patients": 1}, "give 2 or more"),
        ({"genes": 1}, "give 2 or more"),
        ({"modules": 0}, "give 1 or more"),
        ({"interactions": -1}, "give 0 or more"),
        ({"shared": -1}, "give 0 or more"),
        ({"seed": -1}, "give 0 or more"),
        ({"signal": -0.1}, "give a finite number of 0 or more"),
        ({"noise": float("inf")}, "give a finite number of 0 or more"),
        ({"degree": float("nan")}, "give a finite number of 0 or more"),
        ({"within": 1.0}, "give a fraction from 0 to below 1"),
        ({"censored": -0.1}, "give a fraction from 0 to below 1"),
        ({"missing_cells": 1.0}, "give a fraction from 0 to below 1"),
        ({"missing_labels": float("nan")}, "give a fraction from 0 to below 1"),
        ({"shared": 5}, "give at most interactions = 4"),
        (
            {"shared": 1, "interactions": 5},
            "these take 26 genes, each for one interaction; give 26 genes or more, or fewer "
            "interactions",
        ),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(setting, mend):
    name = [*setting][-1]
    with pytest.raises(UserError) as error:
        simulate_expression(**SMALL | setting)
    assert str(error.value) == f"the simulator was given {name} = {setting[name]}; {mend}"
