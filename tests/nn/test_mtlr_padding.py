"""A grid padded with bins of no width is the grid without them, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn import mtlr

RANDOM = np.random.default_rng(3)
ROWS, BINS, PADDED = 40, 5, 12
NONE = PADDED - BINS
EDGES = np.array([0, 30, 90, 200, 201, 800], np.float32)
WIDE = mtlr.pad_edges(EDGES, PADDED)
# What the head says of bins that the grid does not have must not matter, however large it is.
Y_WIDE = RANDOM.normal(0, 3, (ROWS, PADDED)).astype(np.float32)
Y_WIDE[:5, :NONE] *= 1e4
Y = Y_WIDE[:, NONE:]
TIMES = np.r_[0.0, 30, 800, 900, RANDOM.exponential(200, ROWS - 4)].astype(np.float32)
EVENTS = np.r_[1, 0, 1, 1, RANDOM.integers(0, 2, ROWS - 4)].astype(np.float32)
WEIGHTS = np.r_[np.zeros(3), RANDOM.random(ROWS - 3)].astype(np.float32)


def test_padding_is_of_no_width_and_comes_first():
    assert WIDE.tolist() == [0] * NONE + EDGES.tolist()
    assert_array_equal(mtlr.pad_edges(EDGES, BINS), EDGES)


@jax.jit
def described(y, edges):
    y = mtlr.within_grid(y, edges)
    times = jnp.array([0.0, 15, 30, 200.5, 799, 5000])
    return {
        "log_pmf": mtlr.log_pmf(y),
        "survival": mtlr.survival_at_edges(y),
        "curve": mtlr.survival_at(y, edges, times),
        "median": mtlr.median_survival(y, edges),
        **{f"risk {hazard}": mtlr.risk(y, hazard) for hazard in mtlr.HAZARDS},
    }


def test_probabilities_curves_medians_and_risks_are_those_without_padding():
    narrow, wide = described(Y, EDGES), described(Y_WIDE, WIDE)
    assert (wide["log_pmf"][:, :NONE] < -1e29).all()
    assert_allclose(wide["log_pmf"][:, NONE:], narrow["log_pmf"], rtol=1e-6, atol=1e-6)
    assert (wide["survival"][:, : NONE + 1] == 1).all()
    assert_allclose(wide["survival"][:, NONE:], narrow["survival"], rtol=1e-6, atol=1e-6)
    for name in narrow.keys() - {"log_pmf", "survival"}:
        assert_allclose(wide[name], narrow[name], rtol=1e-6, atol=1e-6, err_msg=name)
    reached = np.isfinite(np.asarray(narrow["median"]))
    assert reached.any() and not reached.all()


@pytest.mark.parametrize("convention", mtlr.CONVENTIONS)
def test_likelihood_and_gradient_are_those_without_padding(convention):
    def loss(y, edges):
        bins = mtlr.bin_index(TIMES, edges, convention)
        return mtlr.mtlr_loss(mtlr.within_grid(y, edges), bins, EVENTS, WEIGHTS)[0]

    value_and_slope = jax.jit(jax.value_and_grad(loss))
    (narrow, slope), (wide, wide_slope) = value_and_slope(Y, EDGES), value_and_slope(Y_WIDE, WIDE)
    assert_allclose(wide, narrow, rtol=1e-6)
    assert_allclose(wide_slope[:, NONE:], slope, rtol=1e-6, atol=1e-6)
    assert (wide_slope[:, :NONE] == 0).all() and (np.asarray(slope) != 0).any()


@pytest.mark.parametrize("convention", mtlr.CONVENTIONS)
def test_every_time_falls_in_the_bin_it_falls_in_without_padding(convention):
    narrow, wide = (mtlr.bin_index(TIMES, edges, convention) for edges in (EDGES, WIDE))
    assert_array_equal(wide, np.asarray(narrow) + NONE)


def test_a_temperature_leaves_absent_bins_absent():
    """Outputs are divided by a temperature after they are masked, and it has a finite gradient."""

    def loss(logarithm):
        y = mtlr.within_grid(jnp.asarray(Y_WIDE), WIDE) / jnp.exp(logarithm)
        return mtlr.mtlr_loss(y, mtlr.bin_index(TIMES, WIDE), EVENTS, WEIGHTS)[0]

    def unpadded(logarithm):
        bins = mtlr.bin_index(TIMES, EDGES)
        return mtlr.mtlr_loss(Y / jnp.exp(logarithm), bins, EVENTS, WEIGHTS)[0]

    for logarithm in (-2.0, 0.3):
        found, expected = (jax.value_and_grad(f)(logarithm) for f in (loss, unpadded))
        assert_allclose(found, expected, rtol=1e-5)
