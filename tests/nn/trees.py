"""Trees of arrays in the tests of layers: finite everywhere, or moved from their start."""

import jax
import jax.numpy as jnp
import numpy as np


def is_finite(tree):
    """Whether every entry of every leaf is finite."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def jittered(variables, size, seed):
    """The variables plus normal noise of this s.d., so that they have no special values."""
    rng = np.random.default_rng(seed)

    def add_noise(leaf):
        noise = rng.normal(0, size, leaf.shape)
        return leaf + jnp.asarray(noise, leaf.dtype)

    return jax.tree.map(add_noise, variables)
