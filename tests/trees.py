"""Trees of arrays in tests: finite everywhere, moved from their start, or differing."""

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


def leaves_differ(one, other):
    """Per leaf whether any of its numbers differs between two trees of one structure."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return [bool((a != b).any()) for a, b in pairs]


def any_nonzero(tree):
    return any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(tree))
