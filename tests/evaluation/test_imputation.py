"""Imputation errors against scikit-learn and by hand, and what they must never read."""

import numpy as np
import pytest
import sklearn.metrics

from omics_jax.evaluation import imputation


def series(seed=0):
    """Imputed, truth (6, 5, 3) and the cells held out, about a third."""
    random = np.random.default_rng(seed)
    truth = random.normal(2.0, 3.0, (6, 5, 3)).astype(np.float32)
    return (
        truth + random.normal(size=truth.shape).astype(np.float32),
        truth,
        random.random(truth.shape) < 0.35,
    )


def test_errors_are_scikit_learns_on_the_held_out_cells():
    imputed, truth, held = series()
    errors = imputation.imputation_errors(imputed, truth, held)
    assert errors["mae"] == pytest.approx(
        sklearn.metrics.mean_absolute_error(truth[held], imputed[held])
    )
    assert errors["rmse"] == pytest.approx(
        sklearn.metrics.root_mean_squared_error(truth[held], imputed[held])
    )


def test_errors_by_hand():
    truth = np.array([[[1.0], [-2.0], [9.0]]])
    imputed = np.array([[[2.0], [-5.0], [0.0]]])
    held = np.array([[[True], [True], [False]]])
    errors = imputation.imputation_errors(imputed, truth, held)
    assert errors["mae"] == 2.0
    assert errors["rmse"] == pytest.approx(np.sqrt(5))
    assert errors["mre"] == pytest.approx(4 / 3)
    assert set(errors) == {"mae", "rmse", "mre"}


@pytest.mark.parametrize("hidden", [np.nan, np.inf, 1e9])
def test_other_cells_are_never_read(hidden):
    imputed, truth, held = series()
    expected = imputation.imputation_errors(imputed, truth, held)
    hidden = np.float32(hidden)
    imputed, truth = np.where(held, imputed, hidden), np.where(held, truth, hidden)
    assert imputation.imputation_errors(imputed, truth, held) == expected


@pytest.mark.parametrize("side", [0, 1])
def test_a_broken_held_out_cell_makes_the_errors_nan(side):
    *pair, held = series()
    pair[side][tuple(np.argwhere(held)[2])] = np.nan
    errors = imputation.imputation_errors(*pair, held)
    assert np.isnan([*errors.values()]).all()


def test_nothing_held_out_is_nan_and_so_is_the_error_relative_to_nothing():
    imputed, truth, held = series()
    nothing = np.zeros_like(held)
    errors = imputation.imputation_errors(imputed, truth, nothing)
    assert np.isnan([*errors.values()]).all()
    errors = imputation.imputation_errors(imputed, 0 * truth, held)
    assert np.isnan(errors["mre"]) and errors["mae"] > 0


def test_errors_by_variable_are_those_of_each_variable_alone():
    imputed, truth, held = series()
    held[:, :, 1] = False
    rows = imputation.errors_by_variable(imputed, truth, held, ["HR", "pH", "Lactate"])
    assert [row["variable"] for row in rows] == ["HR", "pH", "Lactate"]
    assert [row["n"] for row in rows] == list(held.sum(axis=(0, 1)))
    for d in (0, 2):
        cells = held[:, :, d]
        expected = sklearn.metrics.mean_absolute_error(
            truth[:, :, d][cells], imputed[:, :, d][cells]
        )
        assert rows[d]["mae"] == pytest.approx(expected)
    assert np.isnan([rows[1][metric] for metric in ("mae", "rmse", "mre")]).all()
    pooled = imputation.imputation_errors(imputed, truth, held)["mae"]
    first, _, last = rows
    weights = [first["n"], last["n"]]
    mean = np.average([first["mae"], last["mae"]], weights=weights)
    assert mean == pytest.approx(pooled)


def test_names_and_variables_must_pair():
    with pytest.raises(ValueError, match="2 names and 3 variables do not pair"):
        imputation.errors_by_variable(*series(), ["HR", "pH"])
