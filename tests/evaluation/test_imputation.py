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
    truth, imputed = np.array([[[1.0], [-2.0], [9.0]]]), np.array([[[2.0], [-5.0], [0.0]]])
    errors = imputation.imputation_errors(imputed, truth, np.array([[[True], [True], [False]]]))
    assert errors == {"mae": 2.0, "rmse": pytest.approx(np.sqrt(5)), "mre": pytest.approx(4 / 3)}


@pytest.mark.parametrize("hidden", [np.nan, np.inf, 1e9])
def test_other_cells_are_never_read(hidden):
    imputed, truth, held = series()
    dirty = [np.where(held, part, np.float32(hidden)) for part in (imputed, truth)]
    assert imputation.imputation_errors(*dirty, held) == imputation.imputation_errors(
        imputed, truth, held
    )


@pytest.mark.parametrize("side", [0, 1])
def test_a_broken_held_out_cell_makes_the_errors_nan(side):
    *pair, held = series()
    pair[side][tuple(np.argwhere(held)[2])] = np.nan
    assert np.isnan(list(imputation.imputation_errors(*pair, held).values())).all()


def test_nothing_held_out_is_nan_and_so_is_the_error_relative_to_nothing():
    imputed, truth, held = series()
    assert np.isnan(list(imputation.imputation_errors(imputed, truth, held & False).values())).all()
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
    assert np.average(
        [rows[0]["mae"], rows[2]["mae"]], weights=[rows[0]["n"], rows[2]["n"]]
    ) == pytest.approx(pooled)


def test_names_and_variables_must_pair():
    with pytest.raises(ValueError, match="2 names and 3 variables do not pair"):
        imputation.errors_by_variable(*series(), ["HR", "pH"])
