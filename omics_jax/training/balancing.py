"""Task balancing: ways to make one gradient of several tasks'.

PCGrad (Yu et al. 2020) projects the gradients; GradNorm (Chen et al. 2018) and homoscedastic
uncertainty (Kendall et al. 2018) weight them, by weights that learn beside the network. A task
without a label in a batch has loss 0 and gradient 0 there; it keeps its weight and moves no
other's. Fixed weights are left out: they are a stage's objective.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from omics_jax.errors import UserError
from omics_jax.training.stage import Balance, Terms

LEAST_WEIGHT = 1e-3  # what a GradNorm weight may fall to; the weights' mean is 1


def pcgrad(tasks: Callable[[Terms], jax.Array]) -> Balance:
    """Projecting conflicting gradients (Yu et al. 2020, algorithm 1), tasks projected in their
    given order.

    g_i <- g_i - min(0, <g_i, g_j>) / |g_j|^2 * g_j for every j != i in turn, against the other
    tasks' original gradients; the result is sum_i g_i. Deviates: the paper visits j in random
    order; a fixed order keeps the step
    a function of the batch alone.
    """
    return Balance(tasks=tasks, init=lambda params: (), combine=_project)


def _project(
    leaves: list[jax.Array], losses: jax.Array, state: tuple
) -> tuple[list[jax.Array], tuple]:
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


class GradNormState(NamedTuple):
    """What GradNorm remembers of T tasks.

    Attributes:
      weights: w (T,), above 0, of sum T.
      first: L(0) (T,), each task's loss in the first step of the stage that had one; 0 before it.
      moments: the weights' optimiser's state, every leaf (T,).
    """

    weights: Array
    first: Array
    moments: Any


def gradnorm(
    tasks: Callable[[Terms], jax.Array],
    count: int,
    optimizer: optax.GradientTransformation,
    alpha: float = 1.5,
) -> Balance:
    """Gradient normalisation (Chen et al. 2018, algorithm 1): tasks that train slower than the
    others pull harder.

    The network's gradient is sum_i w_i g_i, then w descends sum_i |G_i - target_i| with
      G_i = w_i |g_i|, target_i = mean_j(G_j) r_i^alpha held constant, r_i = (L_i / L_i(0)) /
    mean_j(L_j / L_j(0)), and is scaled back to sum T. Means and the scaling are over the tasks with
    a gradient in the batch; the others keep w_i and their moments. The norm is over the trainable
    parameters that at least two tasks of the batch reach: a task's own head is nobody else's to
    balance, and as every task's whole gradient is there anyway, taking the last shared layer alone,
    as the paper does to save backward passes, would save nothing.

    Deviates: w is kept above 0 (`LEAST_WEIGHT`, before the scaling), where algorithm 1 and the code
      of OmiEmbed let
    it turn negative, which climbs the task's loss. L(0) is frozen once (OmiEmbed reads it anew
    every epoch).

    Args:
      tasks: terms -> (T,) losses; L_i is compared as a ratio, so a task begins with its first
        finite loss above 0,
        and a later loss below 0 counts as 0.
      count: T.
      optimizer: of each weight by itself, such as `optax.adam(0.025)`; a schedule counts the task's
        own steps.
      alpha: 0 or more; how hard slow tasks are favoured (0: equal norms; the paper's examples have
        0.12 and 1.5).

    Raises:
      UserError: alpha below 0.
    """
    if not alpha >= 0:
        raise UserError(f"GradNorm's alpha is {alpha}; it must be 0 or more")

    def init(params):
        weights = jnp.ones(count, _state_dtype(params))
        return GradNormState(weights, jnp.zeros_like(weights), jax.vmap(optimizer.init)(weights))

    def combine(leaves, losses, state):
        _check_count("GradNorm", losses, count)
        w, losses = state.weights, losses.astype(state.weights.dtype)
        begins = (state.first == 0) & (losses > 0) & jnp.isfinite(losses)
        first = jnp.where(begins, losses, state.first)
        norm = _shared_norms(leaves).astype(w.dtype)
        present = (norm > 0) & (first > 0) & jnp.isfinite(norm) & jnp.isfinite(losses)
        slope = _gradnorm_slope(
            w, norm, jnp.maximum(losses, 0) / jnp.where(first > 0, first, 1), present, alpha
        )
        moved, moments = _descend(optimizer, w, slope, state.moments, present)
        moved = jnp.where(present, jnp.maximum(moved, LEAST_WEIGHT), 0)
        scale = jnp.sum(jnp.where(present, w, 0)) / jnp.where(present.any(), jnp.sum(moved), 1)
        weights = jnp.where(present, moved * scale, w)
        return _weighted(w, leaves), GradNormState(weights, first, moments)

    return Balance(tasks=tasks, init=init, combine=combine)


def _gradnorm_slope(
    w: Float[Array, " T"],
    norm: Float[Array, " T"],
    ratio: Float[Array, " T"],
    present: Bool[Array, " T"],
    alpha: float,
) -> Float[Array, " T"]:
    """Gradient of sum_i |w_i norm_i - target_i| with respect to w, whose entries are above 0."""
    mean = lambda x: jnp.sum(jnp.where(present, x, 0)) / jnp.maximum(jnp.sum(present), 1)
    typical = mean(ratio)
    target = mean(w * norm) * (ratio / jnp.where(typical > 0, typical, 1)) ** alpha
    return jnp.sign(w * norm - target) * norm


def _shared_norms(leaves: list[jax.Array]) -> Float[Array, " T"]:
    """|g_i| over the entries in which at least two tasks have a gradient; 0 where there are none."""

    def squares(leaf):
        flat = leaf.reshape(len(leaf), -1)
        shared = (
            jnp.sum(flat != 0, axis=0) > 1
        )  # entries and not leaves: heads may be columns of one matrix
        return jnp.sum(jnp.where(shared, flat**2, 0), axis=1)

    return jnp.sqrt(sum(squares(leaf) for leaf in leaves))


class UncertaintyState(NamedTuple):
    """s (T,), the log variances log sigma_i^2, and their optimiser's state, every leaf (T,)."""

    log_variance: Array
    moments: Any


def uncertainty(
    tasks: Callable[[Terms], jax.Array],
    factors: Sequence[float],
    optimizer: optax.GradientTransformation,
) -> Balance:
    """Weights from homoscedastic uncertainty (Kendall et al. 2018, eq. 7 and 10).

    Descends sum_i a_i exp(-s_i) L_i + s_i / 2 in the network and in s_i = log sigma_i^2, from s =
    0: the network's gradient is sum_i a_i exp(-s_i) g_i, that of s_i is 1/2 - a_i exp(-s_i) L_i,
    both at the s before the step. At rest sigma_i^2 = 2 a_i L_i: the residual variance where L_i is
    a mean squared error and a_i = 1/2. A task with
    L_i = 0, as without a label, keeps s_i and its moments. Deviates: s has an optimiser of its own,
    beside the stage's.

    Args:
      tasks: terms -> (T,) losses, none below 0 (s_i would fall for ever): mean squared errors,
      cross-entropies. factors: a (T,), 1/2 for a mean squared error, 1 for a cross-entropy (the
      paper's approximation of it).
      optimizer: of each s_i by itself, such as `optax.adam(1e-3)`; a schedule counts the task's own
        steps.

    Raises:
      UserError: a factor that is not above 0.
    """
    for i, factor in enumerate(factors):
        if not factor > 0:
            raise UserError(
                f"the uncertainty weighting's factor of task {i} is {factor}; it must be above 0"
            )

    def init(params):
        s = jnp.zeros(len(factors), _state_dtype(params))
        return UncertaintyState(s, jax.vmap(optimizer.init)(s))

    def combine(leaves, losses, state):
        _check_count("uncertainty weighting", losses, len(factors))
        s = state.log_variance
        precision = jnp.asarray(factors, s.dtype) * jnp.exp(-s)
        present = (losses != 0) & jnp.isfinite(losses)
        moved, moments = _descend(
            optimizer, s, 0.5 - precision * losses.astype(s.dtype), state.moments, present
        )
        return _weighted(precision, leaves), UncertaintyState(moved, moments)

    return Balance(tasks=tasks, init=init, combine=combine)


def beside(plain: Callable[[Terms], jax.Array], balance: Balance) -> Balance:
    """`balance`, and beside the tasks that it weighs a loss that it does not: the gradient of
    plain(terms) is added.

    So OmiEmbed's GradNorm leaves the embedding's loss alone while it weighs the heads'.
    """

    def combine(leaves, losses, state):
        found, state = balance.combine([leaf[:-1] for leaf in leaves], losses[:-1], state)
        return [g + leaf[-1] for g, leaf in zip(found, leaves, strict=True)], state

    tasks = lambda terms: jnp.append(balance.tasks(terms), plain(terms))
    return Balance(tasks=tasks, init=balance.init, combine=combine)


def _descend(
    optimizer,
    values: Float[Array, " T"],
    slope: Float[Array, " T"],
    moments,
    present: Bool[Array, " T"],
):
    """(values, moments) after a step of the entries that are present, each with an optimiser state
    of its own.
    """
    updates, after = jax.vmap(optimizer.update)(slope, moments, values)
    moved, after = jax.tree.map(
        lambda new, old: jnp.where(present, new, old),
        (optax.apply_updates(values, updates), after),
        (values, moments),
    )
    return moved, after


def _weighted(weights: Float[Array, " T"], leaves: list[jax.Array]) -> list[jax.Array]:
    """sum_i w_i g_i, leaf by leaf. A product and a sum, because accelerators shorten the operands
    of a dot product.
    """
    along = lambda leaf: weights.astype(leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1))
    return [jnp.sum(along(leaf) * leaf, axis=0) for leaf in leaves]


def _state_dtype(params: list) -> Any:
    return jnp.result_type(jnp.float32, *params)


def _check_count(name: str, losses: jax.Array, count: int) -> None:
    if losses.shape != (count,):
        raise ValueError(
            f"{name} was made for {count} tasks, and `tasks` gives losses of shape {losses.shape}"
        )
