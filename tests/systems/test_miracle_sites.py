"""The sites of a fold against numpy and scipy, and the leak of selection before the split."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from miracle_people import disease, people
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from omics_jax.errors import UserError
from omics_jax.evaluation.differential import design_matrix, linear_effects, moderated_t
from omics_jax.systems.miracle import sites

NO_COVARIATES = np.zeros((40, 0), np.float32)
NOTHING = np.zeros(0, bool)


def studies(n=40, width=30, seed=0):
    """Two diseases of 20 people each; sites 0 and 1 differ between the studies.

    Sites 2 to 4 differ between cases and controls of A, 5 of B. One cell in ten is
    missing; site 6 is constant, site 7 never observed.
    """
    rng = np.random.default_rng(seed)
    of_a = np.arange(n) < n // 2
    case = np.arange(n) % 2
    values = rng.normal(0.5, 0.05, (n, width))
    values[:, :2] += 0.3 * of_a[:, None]
    values[:, 2:5] += 0.1 * (case * of_a)[:, None]
    values[:, 5] += 0.1 * case * ~of_a
    values[:, 6] = 0.25
    mask = rng.random(values.shape) > 0.1
    mask[:, 7] = False
    codes = case.astype(np.int32)
    targets = {"A": (np.where(of_a, codes, 0), of_a), "B": (np.where(of_a, 0, codes), ~of_a)}
    return people(values.astype(np.float32), mask, targets)


DATA = studies()
MODALITY = DATA.modalities["methylation"]
TASKS = (disease("A"), disease("B"))
ROWS = np.flatnonzero(np.arange(40) % 4 != 3)  # the training rows


def fitted(method="none", count=3, *, data=DATA, covariates=NO_COVARIATES, removed=None, rows=ROWS):
    is_removed = np.ones(covariates.shape[1], bool) if removed is None else np.array(removed)
    return sites.fit_sites(
        data.modalities["methylation"],
        covariates,
        is_removed,
        data,
        TASKS,
        sites.Selection(method, count),
        rows,
        "fold 0",
    )


def chosen(constants):
    return constants["columns"][constants["alive"]].tolist()


# --- the scale ------------------------------------------------------------------------------------


def test_without_covariates_sites_are_standardised_by_their_training_rows():
    constants = fitted()
    assert chosen(constants) == [*range(7), *range(8, 30)]
    assert constants["columns"][-1] == 30 and not constants["alive"][-1]  # instead of site 7
    alive, columns = constants["alive"], chosen(constants)
    z = sites.standardized(
        {k: v[..., alive] if k not in ("c_mean", "c_sd") else v for k, v in constants.items()},
        MODALITY.values[:, columns],
        MODALITY.mask[:, columns],
        NO_COVARIATES,
    )
    for place, site in enumerate(columns):
        own = MODALITY.values[ROWS, site][MODALITY.mask[ROWS, site]].astype(float)
        expected = (MODALITY.values[:, site] - own.mean()) / (own.std() if site != 6 else 1)
        expected = np.where(MODALITY.mask[:, site], expected.clip(-10, 10), 0)
        np.testing.assert_allclose(z[:, place], expected, rtol=1e-3, atol=1e-4)
        assert constants["low"][place] == own.min().astype(np.float32)
    np.testing.assert_allclose(z[:, 6], 0, atol=1e-6)


def with_effects(seed=1, n=60):
    """Sites that depend on age and on a batch of three; a fifth of cells and some ages missing."""
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 10, n)
    batch = rng.integers(0, 3, n)
    values = rng.normal(0.5, 0.02, (n, 8))
    values += 0.004 * (age[:, None] - 50) * np.linspace(-1, 1, 8)
    values += 0.1 * np.eye(3)[batch] @ rng.normal(size=(3, 8))
    mask = rng.random(values.shape) > 0.2
    mask[batch == 2, 7] = False  # a site that one batch did not measure
    covariates = np.column_stack([age, np.eye(3)[batch]]).astype(np.float32)
    covariates[5, 0] = np.nan
    return people(values, mask), covariates


def adjusted(data, covariates, is_removed=(True, True, True, True)):
    """All sites, by the first 45 people."""
    return sites.fit_sites(
        data.modalities["methylation"],
        covariates,
        np.array(is_removed, bool),
        data,
        (),
        sites.Selection("none", 1),
        np.arange(45),
        "fold",
    )


def test_effects_of_covariates_are_those_of_least_squares_on_the_observed_rows():
    data, covariates = with_effects()
    rows = np.arange(45)
    modality = data.modalities["methylation"]
    constants = adjusted(data, covariates)
    z = sites.standardized(constants, modality.values, modality.mask, covariates)
    mean = np.nanmean(covariates[rows].astype(float), axis=0)
    centred = np.nan_to_num(covariates - mean)
    design = np.column_stack([np.ones(60), centred])
    for site in range(8):
        own = rows[modality.mask[rows, site]]
        b, *_ = np.linalg.lstsq(design[own], modality.values[own, site], rcond=None)
        left = modality.values[:, site] - design @ b
        seen = modality.mask[:, site]
        # What a batch without a training row would have is not determined.
        seen &= (covariates[:, 3] == 0) if site == 7 else True
        expected = left / np.sqrt(np.mean(left[own] ** 2))
        np.testing.assert_allclose(z[seen, site], expected[seen].clip(-10, 10), atol=2e-3)
    assert not z[~modality.mask].any()


def test_a_covariate_that_is_not_removed_leaves_the_sites_alone():
    data, covariates = with_effects()
    without = adjusted(data, np.zeros((60, 0), np.float32), ())
    kept = adjusted(data, covariates, [False] * 4)
    for name in ("mean", "sd", "columns"):
        np.testing.assert_array_equal(kept[name], without[name])
    assert not kept["coef"].any()
    np.testing.assert_allclose(kept["c_mean"], np.nanmean(covariates[:45], axis=0), rtol=1e-5)
    np.testing.assert_allclose(kept["c_sd"], np.nanstd(covariates[:45], axis=0), rtol=1e-4)
    some = adjusted(data, covariates, [True, False, False, False])
    assert some["coef"][0].any() and not some["coef"][1:].any()


def test_a_site_with_few_rows_is_not_adjusted():
    data, covariates = with_effects()
    modality = data.modalities["methylation"]
    modality.mask[9:, 0] = False
    constants = adjusted(data, covariates)
    assert not constants["coef"][:, 0].any() and constants["coef"][:, 1].any()


def test_an_unknown_covariate_counts_as_the_training_mean_in_jax_as_in_numpy():
    data, covariates = with_effects()
    modality = data.modalities["methylation"]
    constants = adjusted(data, covariates)
    x, mask = modality.values, modality.mask
    unknown = np.full_like(covariates, np.nan)
    at_mean = np.broadcast_to(constants["c_mean"], covariates.shape)
    z = sites.standardized(constants, x, mask, unknown)
    np.testing.assert_allclose(z, sites.standardized(constants, x, mask, at_mean), atol=1e-5)
    on_device = {name: jnp.asarray(value) for name, value in constants.items()}
    again = sites.standardized(on_device, *map(jnp.asarray, (x, mask, unknown)))
    np.testing.assert_allclose(again, z, atol=1e-5)


# --- selection ------------------------------------------------------------------------------------


def p_by_scipy(task, site):
    codes, known = DATA.targets[task]
    own = ROWS[known[ROWS] & MODALITY.mask[ROWS, site]]
    values = MODALITY.values[own, site].astype(float)
    return stats.ttest_ind(values[codes[own] == 1], values[codes[own] == 0]).pvalue


def test_sites_are_chosen_by_students_t_within_the_study_of_each_disease():
    for task in TASKS:
        p = sites.task_tests(MODALITY, NO_COVARIATES, DATA, task, "t", ROWS)[1]
        for site in (0, 2, 5, 12):
            assert p[site] == pytest.approx(p_by_scipy(task.name, site), rel=1e-4)
        assert p[6] == p[7] == 1
    best = {
        task.name: sorted(
            (s for s in range(30) if s not in (6, 7)), key=lambda s: p_by_scipy(task.name, s)
        )[:3]
        for task in TASKS
    }
    assert chosen(fitted("t", 3)) == sorted({*best["A"], *best["B"]})
    assert {2, 3, 4} & set(best["A"]) and 5 in best["B"]


def test_a_difference_between_studies_chooses_nothing():
    """Sites 0 and 1 tell A from B, and neither a case from a control."""
    p = [sites.task_tests(MODALITY, NO_COVARIATES, DATA, task, "t", ROWS)[1][:2] for task in TASKS]
    assert np.min(p) > 0.01
    assert not {0, 1} & set(chosen(fitted("t", 1)))


def test_values_and_outcomes_of_other_rows_change_no_choice():
    others = np.setdiff1d(np.arange(40), ROWS)
    values = MODALITY.values.copy()
    values[others] = 1 - values[others]
    changed = people(values, MODALITY.mask, DATA.targets)
    for method in ("t", "moderated_t", "variance", "none"):
        first, second = fitted(method), fitted(method, data=changed)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_the_moderated_t_is_limmas():
    for task in TASKS:
        codes, known = DATA.targets[task.name]
        own = ROWS[known[ROWS]]
        effects = linear_effects(
            MODALITY.values[own], MODALITY.mask[own], design_matrix(codes[own].astype(float))
        )
        expected = moderated_t(effects)[1]
        p = sites.task_tests(MODALITY, NO_COVARIATES, DATA, task, "moderated_t", ROWS)[1]
        np.testing.assert_allclose(p, expected, rtol=1e-6)


def test_effects_of_covariates_are_removed_before_sites_are_chosen():
    """Cases of A are older here, and site 10 follows age alone."""
    codes, known = DATA.targets["A"]
    age = codes + np.random.default_rng(4).normal(0, 0.4, 40)
    values = MODALITY.values.copy()
    values[:, 10] = 0.5 + 0.1 * age
    data = people(values, MODALITY.mask, DATA.targets)
    covariates = age[:, None].astype(np.float32)
    unadjusted = fitted("t", 1, data=data, covariates=covariates, removed=[False])
    adjusted = fitted("t", 1, data=data, covariates=covariates)
    assert 10 in chosen(unadjusted) and 10 not in chosen(adjusted)


def test_variance_chooses_the_most_variable_sites():
    variance = [
        np.var(MODALITY.values[ROWS, s][MODALITY.mask[ROWS, s]].astype(float))
        if MODALITY.mask[ROWS, s].any()
        else -1
        for s in range(30)
    ]
    assert chosen(fitted("variance", 4)) == sorted(np.argsort(variance)[::-1][:4])


@pytest.mark.parametrize(
    ("method", "count", "width"),
    [
        ("none", 3, 30),
        ("t", 3, 6),
        ("moderated_t", 20, 30),
        ("variance", 4, 4),
        ("variance", 99, 30),
    ],
)
def test_the_width_depends_on_no_value(method, count, width):
    assert sites.Selection(method, count).width(30, 2) == width
    constants = fitted(method, count)
    assert all(
        len(constants[name]) == width for name in ("columns", "alive", "mean", "sd", "low", "high")
    )
    own = chosen(constants)
    assert own == sorted(set(own)) and 7 not in own
    assert (constants["columns"][~constants["alive"]] == 30).all()


def test_a_fold_without_values_is_refused():
    empty = people(MODALITY.values, np.zeros(MODALITY.mask.shape, bool), DATA.targets)
    with pytest.raises(UserError, match="fold 0"):
        fitted(data=empty)


# --- the published leak ---------------------------------------------------------------------------


def accuracy_on_noise(select_before: bool) -> float:
    """Of logistic regression on the 100 best of 10,000 noise sites of 60 people, by 5 folds."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0.5, 0.1, (60, 10_000)).astype(np.float32)
    codes = np.tile([0, 1], 30).astype(np.int32)
    data = people(noise, targets={"A": (codes, np.ones(60, bool))})
    modality, task = data.modalities["methylation"], disease("A")
    right = 0
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(noise, codes):
        rows = np.arange(60) if select_before else train
        constants = sites.fit_sites(
            modality,
            np.zeros((60, 0), np.float32),
            NOTHING,
            data,
            (task,),
            sites.Selection("t", 100),
            rows,
            "fold",
        )
        x = noise[:, constants["columns"]]
        right += (
            LogisticRegression().fit(x[train], codes[train]).predict(x[test]) == codes[test]
        ).sum()
    return right / 60


def test_sites_selected_before_the_split_classify_pure_noise_and_those_selected_inside_do_not():
    assert accuracy_on_noise(select_before=True) >= 0.98
    assert 0.3 <= accuracy_on_noise(select_before=False) <= 0.7


def test_sites_whose_p_is_zero_in_floating_point_are_ordered_by_t():
    score = np.array([0.0, 0.0, 0.5, 0.0])
    t = np.array([40.0, -60.0, 1.0, 50.0])
    assert sites._best(score, 2, tie=-np.abs(t)).tolist() == [False, True, False, True]


def test_a_moderated_t_of_one_varying_site_is_refused():
    values = MODALITY.values.copy()
    values[:, 1:] = 0.5
    one = replace(MODALITY, values=values, mask=np.ones(values.shape, bool))
    with pytest.raises(UserError, match="moderated_t compares the variances of sites, and . of"):
        sites.task_tests(one, NO_COVARIATES, DATA, TASKS[0], "moderated_t", ROWS)
