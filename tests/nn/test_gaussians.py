"""Closed forms against distrax and numerical integration."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from trees import is_finite

from omics_jax.nn import gaussians

RNG = np.random.default_rng(0)
MEAN1, MEAN2, X = jnp.asarray(RNG.normal(0, 2, (3, 6, 11)), jnp.float32)
LOG_SD1, LOG_SD2 = jnp.asarray(RNG.uniform(-2, 1.5, (2, 6, 11)), jnp.float32)
EXTREMES = jnp.array([-15.0, -7.0, -1e-4, 0.0, 1e-4, 7.0, 15.0])


def test_densities_and_divergences_equal_distrax():
    one = distrax.Normal(MEAN1, jnp.exp(LOG_SD1))
    two = distrax.Normal(MEAN2, jnp.exp(LOG_SD2))
    close = lambda a, b: assert_allclose(a, b, rtol=2e-6, atol=1e-6)
    close(gaussians.log_density(X, MEAN1, LOG_SD1), one.log_prob(X))
    close(gaussians.kl(MEAN1, LOG_SD1, MEAN2, LOG_SD2), one.kl_divergence(two))
    close(gaussians.kl_to_standard(MEAN1, LOG_SD1), one.kl_divergence(distrax.Normal(0.0, 1.0)))


def test_divergence_equals_its_integral(x64):
    x = np.linspace(-30, 30, 200_001)
    log_p = gaussians.log_density(x, 0.7, -0.4)
    log_ratio = log_p - gaussians.log_density(x, -1.1, 0.3)
    p = np.exp(log_p)
    assert np.trapezoid(p, x) == pytest.approx(1, abs=1e-10)
    assert np.trapezoid(p * log_ratio, x) == pytest.approx(
        float(gaussians.kl(0.7, -0.4, -1.1, 0.3)), abs=1e-9
    )


def test_arguments_broadcast():
    assert gaussians.log_density(X, MEAN1[0], 0.0).shape == (6, 11)
    assert_allclose(
        gaussians.kl(MEAN1, LOG_SD1, 0.0, 0.0), gaussians.kl_to_standard(MEAN1, LOG_SD1)
    )


def test_divergences_are_never_negative_and_zero_only_at_themselves():
    fine = jnp.linspace(-1e-2, 1e-2, 2001, dtype=jnp.float32)
    assert (gaussians.kl_to_standard(jnp.zeros_like(fine), fine) >= -1e-9).all()
    assert (gaussians.kl(MEAN1, LOG_SD1, MEAN2, LOG_SD2) > 0).all()
    assert_array_equal(gaussians.kl(MEAN1, LOG_SD1, MEAN1, LOG_SD1), 0)


@pytest.mark.parametrize("name", ["log_density", "kl_to_standard", "kl"])
def test_values_and_gradients_are_finite_at_extreme_scales(name):
    one, two = (a.ravel() for a in jnp.meshgrid(EXTREMES, EXTREMES))
    mean = jnp.full_like(one, 3.0)
    arguments = {
        "log_density": (mean, -mean, one),
        "kl_to_standard": (mean, one),
        "kl": (mean, one, -mean, two),
    }[name]
    function = getattr(gaussians, name)
    total = lambda a: jnp.sum(function(*a))
    value, gradients = jax.value_and_grad(total)(arguments)
    assert np.isfinite(function(*arguments)).all()
    assert np.isfinite(value)
    assert is_finite(gradients)


@pytest.mark.parametrize("name, count", [("log_density", 3), ("kl_to_standard", 2), ("kl", 4)])
def test_gradients_match_finite_differences(gradient_error, name, count):
    arguments = (MEAN1, LOG_SD1, MEAN2, LOG_SD2)[:count]
    if name == "log_density":
        arguments = (X, MEAN1, LOG_SD1)
    function = getattr(gaussians, name)
    mean = lambda a: jnp.mean(function(*a))
    assert gradient_error(mean, arguments) <= 1e-6


def test_free_bits_never_fall_below_the_minimum_and_cut_the_gradient_there():
    kl = jnp.array([0.0, 0.1, 0.4, 2.0, -0.3])
    value, gradient = jax.value_and_grad(gaussians.free_bits)(kl, 0.25)
    assert float(value) == pytest.approx(0.25 * 3 + 0.4 + 2.0)
    assert_array_equal(gradient, [0, 0, 1, 1, 0])
    assert float(gaussians.free_bits(jnp.zeros(7), 0.5)) == pytest.approx(3.5)


def test_free_bits_do_not_hide_a_nan():
    assert np.isnan(gaussians.free_bits(jnp.array([1.0, jnp.nan]), 0.5))
