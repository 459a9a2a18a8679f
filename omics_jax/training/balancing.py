"""Task balancing: ways to make one gradient of several tasks'."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.training.stage import Balance, Terms


def pcgrad(tasks: Callable[[Terms], jax.Array]) -> Balance:
    """Projecting conflicting gradients (Yu et al. 2020, algorithm 1), tasks projected in their given order.

    g_i <- g_i - min(0, <g_i, g_j>) / |g_j|^2 * g_j for every j != i in turn, against the other tasks' original
    gradients; the result is sum_i g_i. Deviates: the paper visits j in random order; a fixed order keeps the step
    a function of the batch alone.
    """
    return Balance(tasks=tasks, init=lambda params: (), combine=_project)


def _project(leaves: list[jax.Array], losses: jax.Array, state: tuple) -> tuple[list[jax.Array], tuple]:
    count = leaves[0].shape[0]
    flat = jnp.concatenate([leaf.reshape(count, -1) for leaf in leaves], axis=1)
    norms = jnp.sum(flat**2, axis=1)

    def project(i):
        def against(j, g):
            conflict = jnp.minimum(jnp.vdot(g, flat[j]), 0.0) / jnp.maximum(norms[j], 1e-30)
            return jnp.where(i == j, g, g - conflict * flat[j])

        return jax.lax.fori_loop(0, count, against, flat[i])

    total = jnp.sum(jax.lax.map(project, jnp.arange(count)), axis=0)
    parts = jnp.split(total, np.cumsum([leaf[0].size for leaf in leaves])[:-1])
    return [part.reshape(leaf.shape[1:]) for part, leaf in zip(parts, leaves, strict=True)], state
