"""A batch of chosen rows, for tests that call a system's functions by themselves."""

import jax.numpy as jnp
import numpy as np


def batch_of(table, row):
    """The rows of these indices of a system's arrays, none of them padding."""
    fields = {name: jnp.asarray(values[row]) for name, values in table.items()}
    live = jnp.ones(len(row), bool)
    return {**fields, "row": jnp.asarray(row, jnp.int32), "live": live}


def constants_of(replicate):
    """A replicate's constants on the device."""
    return {name: jnp.asarray(value) for name, value in replicate.constants.items()}


def normal(seed, *shape):
    """float32 (shape) from the standard normal distribution."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)
