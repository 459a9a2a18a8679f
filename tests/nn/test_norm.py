"""Masked batch norm against numpy, flax's own on the live rows, and itself on eight devices."""

import json
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from trees import is_finite

from omics_jax.nn.norm import MaskedBatchNorm, live_moments

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(4, 3, (20, 6)), jnp.float32)
LIVE = jnp.asarray(RNG.random(20) < 0.6)
NORM = MaskedBatchNorm()
VARIABLES = {
    "params": {"scale": jnp.linspace(0.5, 2, 6), "bias": jnp.linspace(-1, 1, 6)},
    "batch_stats": {"mean": jnp.linspace(1, 6, 6), "var": jnp.linspace(1, 9, 6)},
}


def trained(x, live, variables=VARIABLES):
    y, changed = NORM.apply(variables, x, live, True, mutable=["batch_stats"])
    return y, changed["batch_stats"]


def test_starts_as_the_plain_normalisation_and_init_leaves_the_statistics_alone():
    variables = NORM.init(jax.random.key(0), X, LIVE, True)
    expected = {"params": {"scale": 1, "bias": 0}, "batch_stats": {"mean": 0, "var": 1}}
    filled = jax.tree.map(lambda value: jnp.full(6, float(value)), expected)
    jax.tree.map(assert_array_equal, variables, filled)


def test_training_equals_flax_on_the_live_rows_alone():
    y, statistics = trained(X, LIVE)
    flax_norm = nn.BatchNorm(momentum=0.9, use_running_average=False)
    expected, changed = flax_norm.apply(VARIABLES, X[LIVE], mutable=["batch_stats"])
    assert_allclose(y[LIVE], expected, rtol=1e-5, atol=2e-6)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-6), statistics, changed["batch_stats"])


def test_prediction_uses_the_running_statistics_and_moves_nothing():
    y, changed = NORM.apply(VARIABLES, X, LIVE, False, mutable=["batch_stats"])
    s, p = VARIABLES["batch_stats"], VARIABLES["params"]
    expected = (X - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]
    assert_allclose(y[LIVE], expected[LIVE], rtol=1e-5, atol=1e-6)
    jax.tree.map(assert_array_equal, changed["batch_stats"], s)


def test_training_works_where_the_statistics_may_not_move():
    assert_array_equal(NORM.apply(VARIABLES, X, LIVE, True), trained(X, LIVE)[0])


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("padding", [1e6, jnp.nan, jnp.inf])
def test_padding_rows_change_nothing_and_come_out_as_the_bias(train, padding):
    def value(x):
        return jnp.sum(jnp.where(LIVE[:, None], jnp.sin(NORM.apply(VARIABLES, x, LIVE, train)), 0))

    padded = jnp.where(LIVE[:, None], X, padding)
    assert_array_equal(value(padded), value(X))
    gradient = jax.grad(value)(padded)
    assert_array_equal(gradient, jax.grad(value)(X))
    assert_array_equal(gradient[~LIVE], 0)
    out = NORM.apply(VARIABLES, padded, LIVE, train)
    assert_array_equal(out[~LIVE], jnp.tile(VARIABLES["params"]["bias"], (int((~LIVE).sum()), 1)))


def test_without_a_live_row_the_statistics_stay_and_nothing_is_nan():
    y, statistics = trained(X, jnp.zeros(20, bool))
    assert np.isfinite(y).all()
    jax.tree.map(assert_array_equal, statistics, VARIABLES["batch_stats"])


def test_one_live_row_normalises_to_the_bias_with_finite_gradients():
    live = jnp.zeros(20, bool).at[3].set(True)
    assert_allclose(trained(X, live)[0][3], VARIABLES["params"]["bias"])
    gradient = jax.grad(
        lambda v: jnp.sum(NORM.apply(v, X, live, True, mutable=["batch_stats"])[0])
    )(VARIABLES)
    assert is_finite(gradient)


def test_variance_survives_a_mean_that_is_large_beside_the_spread():
    x = jnp.asarray(1e4 + RNG.normal(size=(500, 3)), jnp.float32)
    mean, variance, count = live_moments(x, jnp.ones(500, bool))
    exact = np.asarray(x, np.float64)
    assert_allclose(mean, exact.mean(0), rtol=1e-6)
    assert_allclose(variance, exact.var(0), rtol=1e-4)
    assert count == 500


@pytest.mark.parametrize("train", [True, False])
def test_gradients_match_finite_differences(gradient_error, train):
    def loss(both):
        y, changed = NORM.apply(both[0], both[1], LIVE, train, mutable=["batch_stats"])
        return jnp.mean(jnp.sin(y) * jnp.cos(jnp.arange(6)))

    variables = {name: VARIABLES[name] for name in ("params", "batch_stats")}
    assert gradient_error(loss, (variables, X)) <= 1e-6


@pytest.fixture(scope="module")
def eight_devices():
    """What norm_across_devices.py prints, in its own process: it sets the number of devices."""
    script = pathlib.Path(__file__).with_name("norm_across_devices.py")
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["full", "ragged", "one", "none"])
def test_eight_devices_give_the_loss_gradients_and_statistics_of_one(eight_devices, case):
    differences = eight_devices[case]
    loss = differences.pop("loss on one device")
    assert (loss > 0) == (case != "none")
    assert {"gradient", "statistics", "gradient, padding removed"} <= set(differences)
    assert {name: value for name, value in differences.items() if value > 2e-6} == {}
