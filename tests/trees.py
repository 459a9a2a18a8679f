"""Whether trees of arrays differ, for tests of what a step moves and what it leaves alone."""

import jax


def leaves_differ(one, other):
    """Per leaf whether any of its numbers differs between two trees of one structure."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return [bool((a != b).any()) for a, b in pairs]


def any_nonzero(tree):
    return any(bool((leaf != 0).any()) for leaf in jax.tree.leaves(tree))
