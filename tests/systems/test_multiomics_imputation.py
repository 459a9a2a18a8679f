"""The imputers of the multi-omics system: their network, loss and estimates, each by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_arm import FreshArm, numbers

from omics_jax.study.patients.columns import scaled
from omics_jax.systems.multiomics import imputation, imputer
from omics_jax.systems.multiomics.patients import SLOT, imputed_values
from omics_jax.training.stage import Term


@pytest.fixture(scope="module")
def imputers():
    return FreshArm("--config.experiment=imputation", arm=0)


@pytest.mark.parametrize(
    ("inputs", "outputs", "count"), [(5000, 5000, 40_009_000), (5000, 1800, 27_205_800)]
)
def test_parameters_of_the_papers_imputers(inputs, outputs, count):
    def init():
        return imputer.init_imputer(jax.random.key(0), inputs, 4000, outputs, 1)

    shapes = jax.tree.leaves(jax.eval_shape(init))
    assert sum(shape.size for shape in shapes) == count


def test_an_imputers_estimate_by_hand():
    initial = imputer.init_imputer(jax.random.key(0), 3, 4, 2, members=2)
    params = jax.tree.map(np.asarray, initial)
    params["hidden"]["bias"] = numbers(0, 2, 4)
    params["out"]["bias"] = numbers(1, 2, 2)
    x = numbers(2, 5, 3)
    on_device = jax.tree.map(jnp.float32, params)
    estimates = imputer.estimate(on_device, jnp.float32(x))

    def layer(name, member, inputs):
        kernel, bias = (params[name][part][member] for part in ("kernel", "bias"))
        return 1 / (1 + np.exp(-(inputs @ kernel + bias)))

    for e in range(2):
        expected = layer("out", e, layer("hidden", e, x))
        np.testing.assert_allclose(estimates[e], expected, rtol=1e-5)
    first, second = params["hidden"]["kernel"]
    assert np.abs(first - second).min() > 0


def test_a_source_that_a_patient_lacks_is_0_and_flagged():
    x = {"a": jnp.ones((2, 2)), "b": jnp.full((2, 1), jnp.nan)}
    has = {"a": jnp.array([True, True]), "b": jnp.array([False, False])}
    both = imputer.join_sources(("a", "b"), x, has)
    np.testing.assert_array_equal(both, np.tile([1, 1, 0, 1, 0], (2, 1)))
    np.testing.assert_array_equal(imputer.join_sources(("a",), x, has), np.ones((2, 2)))
    assert imputer.input_size({"a": 2, "b": 1}, ("a", "b")) == 5
    assert imputer.input_size({"a": 2}, ("a",)) == 2


def test_the_imputation_loss_is_the_rmse_of_cells_that_were_observed_with_a_source(imputers):
    name, shape, variables, rows = "mirna", imputers.shape, imputers.variables, imputers.rows
    terms, _ = imputation.loss(shape, name, SLOT, variables, {SLOT: rows})
    estimates = np.asarray(imputed_values(shape, variables, rows, name), np.float64)
    truth = np.asarray(scaled(imputers.constants, rows, name), np.float64)
    assert shape.edges[name] == tuple(other for other in shape.sizes if other != name)
    sources = [imputers.has(source) for source in shape.edges[name]]
    cells = imputers.cells(name) & np.any(sources, axis=0)[:, None]
    assert 0 < cells.sum() < cells.size

    def rmse(estimate):
        residual = (estimate - truth)[cells]
        return np.sqrt((residual**2).mean())

    expected = sum(map(rmse, estimates))
    assert float(imputation.objective(terms)) == pytest.approx(expected, rel=1e-5)
    monitored = imputation.monitor(shape, name, variables, {SLOT: rows})
    assert float(monitored) == pytest.approx(rmse(estimates.mean(axis=0)), rel=1e-5)


def test_an_exact_imputation_has_a_loss_of_0_and_a_finite_gradient():
    def loss(squares):
        return imputation.objective({"squares": Term(squares, jnp.ones(2))})

    value, gradient = jax.value_and_grad(loss)(jnp.zeros(2))
    assert value == 0 and np.isfinite(gradient).all()


def test_what_was_measured_comes_back_bit_for_bit_and_the_rest_is_estimated(imputers):
    out = jax.tree.map(np.asarray, imputers.predict(imputers.variables, imputers.rows))
    for name in imputers.shape.edges:
        seen = np.asarray(imputers.rows[f"m_{name}"])
        values, sd = out[name], out[f"{name}_sd"]
        measured = np.asarray(imputers.rows[f"x_{name}"])
        assert values[seen].tobytes() == measured[seen].tobytes()
        assert (sd[seen] == 0).all() and (~seen).any()
        alive, low, high = imputers.fitted(name, "alive", "low", "high")
        varies = alive & (high > low)
        assert (sd[~seen & varies] > 0).all()
        inside = (values >= low - 1e-4) & (values <= high + 1e-4)
        assert inside[~seen & alive].all()
        # What is imputed does not depend on what it stands for.
        other = {**imputers.rows, f"x_{name}": jnp.where(seen, 0.5, 0)}
        estimate = imputers.predict(imputers.variables, other)[f"{name}_estimate"]
        np.testing.assert_array_equal(estimate, out[f"{name}_estimate"])


def test_a_new_patients_imputation_leaves_to_other_folds_what_this_one_cannot_say():
    """Features that the fold did not choose, and spread where only the training mean stands."""
    imputers = FreshArm("--config.experiment=imputation", "--config.preprocess.top_k=6", arm=0)
    rows = dict(imputers.rows)
    for key in ("has", *(f"m_{name}" for name in imputers.shape.sizes)):
        rows[key] = rows[key].at[:3].set(False)  # without any source
    # Not compiled, since two programs may differ in the last digit.
    system, variables = imputers.arm.system, imputers.variables
    new = jax.tree.map(np.asarray, system.predict_new(variables, rows))
    tested = jax.tree.map(np.asarray, system.predict(variables, rows))
    for name in imputers.shape.edges:
        seen = np.asarray(rows[f"m_{name}"])
        alive, fill = imputers.fitted(name, "alive", "fill")
        assert not alive.all() and (~seen & ~alive).any()
        known = seen | alive
        values, sd = new[name], new[f"{name}_sd"]
        np.testing.assert_array_equal(np.isnan(values), ~known)
        np.testing.assert_array_equal(values[known], tested[name][known])
        np.testing.assert_allclose(values[:3, alive], np.tile(fill[alive], (3, 1)))
        assert np.isnan(sd[:3]).all()
        estimated = alive & new[f"{name}_source"][:, None]
        np.testing.assert_array_equal(np.isnan(sd), ~(seen | estimated))
