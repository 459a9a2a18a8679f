"""Freezing: regexes over parameter paths decide what an optimiser may move.

Frozen parameters go through `optax.set_to_zero`, so they carry no optimiser state and XLA drops
their backward pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax


def leaf_path(path: tuple) -> str:
    """A pytree key path as "encoder/dense_0/bias"."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def trainable_labels(patterns: Sequence[str], params: Any) -> Any:
    """The tree of `params` with "train" where a pattern matches a leaf's whole path, else "freeze".

    Raises:
      ValueError: a pattern matches no path; the message lists the paths there are.
    """
    paths = [leaf_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise ValueError(
                f"trainable pattern {pattern!r} matches no parameter; there are: {', '.join(paths)}"
            )
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "train" if _matches(patterns, path) else "freeze", params
    )


def trainable_leaves(
    patterns: Sequence[str], params: Any
) -> tuple[list, Callable[[list, Any], Any]]:
    """The leaves of `params` that the patterns name, and `among(leaves, rest)`: such leaves put
    back into a tree.
    """
    labels = jax.tree.leaves(trainable_labels(patterns, params))
    leaves, tree = jax.tree.flatten(params)

    def among(moving: list, rest: Any) -> Any:
        places = iter(moving)
        still = jax.tree.leaves(rest)
        return tree.unflatten(
            [
                next(places) if label == "train" else s
                for label, s in zip(labels, still, strict=True)
            ]
        )

    return [leaf for label, leaf in zip(labels, leaves, strict=True) if label == "train"], among


def freeze(optimizer: optax.GradientTransformation, patterns: Sequence[str], params: Any):
    """`optimizer` on what the patterns name, nothing on the rest."""
    return optax.multi_transform(
        {"train": optimizer, "freeze": optax.set_to_zero()}, trainable_labels(patterns, params)
    )


def keep_frozen_stats(patterns: Sequence[str], old: Any, new: Any) -> Any:
    """`new` statistics for trainable modules, `old` ones for frozen modules (the patterns match
    their paths too).
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, o, n: n if _matches(patterns, path) else o, old, new
    )


def _matches(patterns: Sequence[str], path: tuple) -> bool:
    return any(re.fullmatch(pattern, leaf_path(path)) for pattern in patterns)
