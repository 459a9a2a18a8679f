"""Standardisation against scikit-learn and masked arrays; only training rows are fitted to."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from omics_jax.data.dataset.splits import repeated_group_folds
from omics_jax.data.perturbation.simulate import simulate_perturbations
from omics_jax.data.preprocessing.standardize import fit_standardizer, standardize, unstandardize
from omics_jax.errors import UserError


def measured(n=60, genes=7, platforms=2, seed=0, missing=0.25):
    """Values with NaN where unobserved, their mask, and a platform per row."""
    rng = np.random.default_rng(seed)
    platform = rng.integers(0, platforms, n)
    values = rng.normal(8 + 2 * platform[:, None], 1 + np.arange(genes), (n, genes)).astype(
        np.float32
    )
    mask = rng.random((n, genes)) >= missing
    return np.where(mask, values, np.float32(np.nan)), mask, platform


def same_constants(a, b):
    return all(np.array_equal(a[name], b[name]) for name in ("mean", "sd"))


@pytest.mark.parametrize("platforms", [1, 3])
def test_constants_are_those_of_scikit_learn_per_platform(platforms):
    values, mask, platform = measured(platforms=platforms)
    constants = fit_standardizer(values, mask, platform, platforms)
    for index in range(platforms):
        scaler = StandardScaler().fit(values[platform == index].astype(np.float64))
        np.testing.assert_allclose(constants["mean"][index], scaler.mean_, rtol=1e-6)
        np.testing.assert_allclose(constants["sd"][index], scaler.scale_, rtol=1e-6)
    assert all(c.dtype == np.float32 and c.shape == (platforms, 7) for c in constants.values())


def test_standardised_training_cells_have_mean_0_and_sd_1_and_others_are_0():
    values, mask, platform = measured()
    scaled = standardize(values, mask, platform, fit_standardizer(values, mask, platform, 2))
    assert scaled.dtype == np.float32 and not scaled[~mask].any()
    for index in range(2):
        cells = np.ma.array(
            scaled[platform == index], mask=~mask[platform == index], dtype=np.float64
        )
        np.testing.assert_allclose(cells.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(cells.std(axis=0), 1, rtol=1e-6)


def test_round_trip():
    values, mask, platform = measured()
    constants = fit_standardizer(values, mask, platform, 2)
    back = unstandardize(standardize(values, mask, platform, constants), platform, constants)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[mask], values[mask], rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(back[~mask], constants["mean"][platform][~mask])


def test_standardised_values_read_on_another_platform_take_its_mean_and_sd():
    constants = {"mean": np.array([[1.0], [5.0]]), "sd": np.array([[2.0], [3.0]])}
    read = unstandardize(np.array([[-1.0], [2.0]]), np.array([1, 0]), constants)
    np.testing.assert_array_equal(read, [[2.0], [5.0]])


def test_masked_rows_count_as_removed_rows():
    values, mask, platform = measured()
    keep = np.random.default_rng(1).random(len(values)) < 0.6
    masked = fit_standardizer(values, mask & keep[:, None], platform, 2)
    removed = fit_standardizer(values[keep], mask[keep], platform[keep], 2)
    for name in ("mean", "sd"):
        np.testing.assert_allclose(masked[name], removed[name], rtol=1e-6)


def test_rows_outside_training_never_reach_the_constants():
    dataset, _ = simulate_perturbations(genes=15, cell_lines=8, singletons=20, missing=0.2)
    control = dataset.modalities["control"]
    platform = (dataset.table["platform"] == "array").to_numpy().astype(np.int64)
    rng = np.random.default_rng(0)
    for split in repeated_group_folds(dataset.groups, folds=4, repeats=1):
        train = split.train
        before = fit_standardizer(control.values[train], control.mask[train], platform[train], 2)
        values, mask = control.values.copy(), control.mask.copy()
        for rows in (split.validation, split.test):
            values[rows] = rng.normal(1e4, 1e4, (len(rows), 15))
            mask[rows] = rng.random((len(rows), 15)) < 0.5
        assert same_constants(
            before, fit_standardizer(values[train], mask[train], platform[train], 2)
        )


def test_unobserved_cells_are_never_read():
    values, mask, platform = measured()
    zeroed = np.where(mask, values, np.float32(0))
    assert same_constants(
        fit_standardizer(values, mask, platform, 2), fit_standardizer(zeroed, mask, platform, 2)
    )


def test_row_order_and_platform_numbers_only_permute():
    values, mask, platform = measured()
    order = np.random.default_rng(2).permutation(len(values))
    one = fit_standardizer(values, mask, platform, 2)
    other = fit_standardizer(values[order], mask[order], 1 - platform[order], 2)
    for name in ("mean", "sd"):
        np.testing.assert_allclose(one[name], other[name][::-1], rtol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 8.3, -1e4])
def test_a_constant_gene_has_sd_1(constant):
    values = np.full((1000, 1), constant, dtype=np.float32)
    mask = np.ones_like(values, dtype=bool)
    constants = fit_standardizer(values, mask, np.zeros(1000, dtype=int), 1)
    assert constants["sd"] == 1 and constants["mean"] == np.float32(constant)
    assert not standardize(values, mask, np.zeros(1000, dtype=int), constants).any()


def test_a_gene_seen_once_has_sd_1_and_one_never_seen_mean_0_too():
    values = np.array([[4.0, 9.0], [6.0, 9.0]], dtype=np.float32)
    mask = np.array([[True, False], [False, False]])
    constants = fit_standardizer(values, mask, np.array([0, 0]), 1)
    assert constants["mean"].tolist() == [[4, 0]] and constants["sd"].tolist() == [[1, 1]]


def test_what_a_platform_never_observed_takes_the_pooled_statistics():
    values, mask, platform = measured(platforms=2)
    mask[platform == 1, 3] = False
    constants = fit_standardizer(values, mask, platform, 3)
    pooled = StandardScaler().fit(np.where(mask, values, np.nan).astype(np.float64))
    for index, genes in ((2, slice(None)), (1, 3)):
        np.testing.assert_allclose(constants["mean"][index, genes], pooled.mean_[genes], rtol=1e-6)
        np.testing.assert_allclose(constants["sd"][index, genes], pooled.scale_[genes], rtol=1e-6)
    assert constants["mean"][1, 0] != constants["mean"][2, 0]


ONES = np.ones((3, 4))
ALL = np.ones((3, 4), dtype=bool)
FIRST = np.zeros(3, dtype=int)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: fit_standardizer(ONES[:0], ALL[:0], FIRST[:0], 1), "0 training rows"),
        (
            lambda: fit_standardizer(ONES, ALL, np.array([0, 2, 0]), 2),
            "row 1 is of platform 2 .* 0 to 1",
        ),
        (lambda: fit_standardizer(ONES, ALL, np.array([0, 0, -1]), 2), "row 2 is of platform -1"),
        (lambda: fit_standardizer(ONES * np.nan, ALL, FIRST, 1), "row 0, gene column 0 is nan"),
        (
            lambda: fit_standardizer(ONES / [1, 1, 0.5, 1e-320], ALL, FIRST, 1),
            "row 0, gene column 3 is inf",
        ),
        (
            lambda: standardize(ONES, ALL, FIRST + 1, {"mean": ONES[:1], "sd": ONES[:1]}),
            "row 0 is of platform 1",
        ),
        (
            lambda: unstandardize(ONES, FIRST - 1, {"mean": ONES[:1], "sd": ONES[:1]}),
            "row 0 is of platform -1",
        ),
    ],
)
def test_impossible_inputs_are_named(call, sentence):
    with np.errstate(all="ignore"), pytest.raises(UserError, match=sentence):
        call()
