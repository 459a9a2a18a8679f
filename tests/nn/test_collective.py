"""Sums over a named axis, against numpy; vmap with an axis name stands for the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from omics_jax.nn.collective import device_axis, sum_over_devices

X = np.arange(12.0, dtype=np.float32).reshape(4, 3)


def test_without_an_axis_the_sum_is_the_identity():
    tree = {"a": jnp.asarray(X), "b": (jnp.float32(2),)}
    out = sum_over_devices(tree)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), out, tree))


def test_over_an_axis_every_leaf_is_summed():
    def local(x):
        with device_axis("device"):
            return sum_over_devices({"x": x, "one": 1})

    sums = jax.vmap(local, axis_name="device")(X)
    assert_array_equal(sums["x"], np.tile(X.sum(0), (4, 1)))
    assert_array_equal(np.broadcast_to(sums["one"], 4), 4)


def test_the_axis_is_closed_again_after_use_and_after_an_error():
    with pytest.raises(RuntimeError), device_axis("device"):
        raise RuntimeError
    assert_array_equal(sum_over_devices(X), X)


def test_inner_axis_wins_and_outer_one_returns():
    def inner(x):
        with device_axis("inner"):
            return sum_over_devices(x)

    def outer(x):
        with device_axis("outer"):
            return jax.vmap(inner, axis_name="inner")(x), sum_over_devices(x)

    by_inner, by_outer = jax.vmap(outer, axis_name="outer")(X)
    assert_array_equal(by_inner, np.repeat(X.sum(1, keepdims=True), 3, axis=1))
    assert_array_equal(by_outer, np.tile(X.sum(0), (4, 1)))


def test_a_jitted_function_called_inside_and_outside_the_axis_keeps_the_two_apart():
    summed = jax.jit(sum_over_devices)

    def local(x):
        with device_axis("device"):
            return summed(x)

    assert_array_equal(summed(X), X)
    assert_array_equal(jax.vmap(local, axis_name="device")(X), np.tile(X.sum(0), (4, 1)))
    assert_array_equal(summed(X), X)


def test_an_axis_that_nobody_maps_is_an_error():
    with pytest.raises(NameError, match="nowhere"), device_axis("nowhere"):
        sum_over_devices(jnp.ones(2))
