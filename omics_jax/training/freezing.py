"""Freezing: regexes over parameter paths decide what an optimiser may move.

Frozen parameters go through `optax.set_to_zero`: they carry no optimiser state, and XLA drops their
backward pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import jax
import optax


def leaf_path(path: tuple) -> str:
    """A pytree key path as "encoder/dense_0/bias"; see `split_leaf_path`."""
    keys = (getattr(k, "key", getattr(k, "name", getattr(k, "idx", k))) for k in path)
    return "/".join(path_part(str(key)) for key in keys)


def path_part(key: str) -> str:
    """A key as it stands in a leaf's path, where a slash would begin another key."""
    return key.replace("%", "%25").replace("/", "%2F")


def split_leaf_path(path: str) -> list[str]:
    """The keys of a leaf's path."""
    return [part.replace("%2F", "/").replace("%25", "%") for part in path.split("/")]


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
    """The leaves of `params` that the patterns name, and how to put such leaves back.

    Returns:
      (leaves, merge): merge(leaves, rest) is the tree `rest` with its trainable leaves replaced.
    """
    labels = jax.tree.leaves(trainable_labels(patterns, params))
    is_trainable = [label == "train" for label in labels]
    all_leaves, structure = jax.tree.flatten(params)

    def merge(trainable: list, rest: Any) -> Any:
        remaining = iter(trainable)
        merged = [
            next(remaining) if replaced else frozen
            for replaced, frozen in zip(is_trainable, jax.tree.leaves(rest), strict=True)
        ]
        return structure.unflatten(merged)

    return list(compress(all_leaves, is_trainable)), merge


def freeze(
    optimizer: optax.GradientTransformation, patterns: Sequence[str], params: Any
) -> optax.GradientTransformationExtraArgs:
    """`optimizer` on what the patterns name, nothing on the rest."""
    return optax.multi_transform(
        {"train": optimizer, "freeze": optax.set_to_zero()}, trainable_labels(patterns, params)
    )


def unmatched(patterns: Sequence[str], params: Any) -> Any:
    """The tree of `params` with True where no pattern matches a leaf's whole path."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not _matches(patterns, path), params)


def keep_frozen_stats(patterns: Sequence[str], old: Any, new: Any) -> Any:
    """The statistics `new` of trainable modules and `old` of frozen ones.

    A module's statistics are trainable where a pattern matches their path.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, before, after: after if _matches(patterns, path) else before, old, new
    )


def _matches(patterns: Sequence[str], path: tuple) -> bool:
    return any(re.fullmatch(pattern, leaf_path(path)) for pattern in patterns)
