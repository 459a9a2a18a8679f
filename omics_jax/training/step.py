"""One optimiser step: gradient of an objective over sums, right on any number of devices.

With S_k = sum over devices of the local sums s_k(theta) and objective F(S), dF/dtheta = sum over devices of
vjp(s)(dF/dS): one vjp of the local sums with the objective's cotangent, then one sum over devices. No mean of means
exists, so ragged batches and any device count give the same gradient.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from omics_jax.nn.collective import sum_over_devices
from omics_jax.training.freezing import freeze, keep_frozen_stats, trainable_leaves
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.state import EpochSums, TrainState


def gradient(stage: Stage, variables: Variables, batch: Batch, key: jax.Array, balance: Any = ()):
    """Gradient with respect to the trainable parameters (zero elsewhere).

    Returns:
      (gradient, objective (), terms, new batch_stats, new balance state).
    """

    # Only trainable leaves are differentiated, so that neither a norm nor a sum over devices sees the others.
    moving, among = trainable_leaves(stage.trainable, variables["params"])

    def local_sums(leaves):
        terms, stats = stage.loss({**variables, "params": among(leaves, variables["params"])}, batch, key)
        return {k: t.sum for k, t in terms.items()}, ({k: t.weight for k, t in terms.items()}, stats)

    sums, pull_back, (weights, stats) = jax.vjp(local_sums, moving, has_aux=True)
    sums, weights = sum_over_devices((sums, weights))
    terms = lambda s: {k: Term(s[k], weights[k]) for k in s}
    objective, cotangent = jax.value_and_grad(lambda s: stage.objective(terms(s)))(sums)
    if stage.balance is None:
        grads = sum_over_devices(pull_back(cotangent)[0])
    else:
        losses, tasks_back = jax.vjp(lambda s: stage.balance.tasks(terms(s)), sums)
        each = lambda one_hot: pull_back(tasks_back(one_hot)[0])[0]
        per_task = sum_over_devices(jax.vmap(each)(jnp.eye(len(losses), dtype=losses.dtype)))
        grads, balance = stage.balance.combine(per_task, losses, balance)
    return among(grads, jax.tree.map(jnp.zeros_like, variables["params"])), objective, terms(sums), stats, balance


def train_step(stage: Stage, state: TrainState, batch: Batch, key: jax.Array) -> TrainState:
    """The state after one step on `batch`; unchanged where it has no live row, is stopped or would turn non-finite."""
    live = sum_over_devices(sum(jnp.sum(slot["live"]) for slot in batch.values())) > 0
    grads, objective, terms, stats, balance = gradient(stage, state.variables, batch, key, state.balance)
    tx = freeze(stage.optimizer, stage.trainable, state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    norm = optax.tree.norm(updates)
    stats = keep_frozen_stats(stage.trainable, state.batch_stats, stats)
    # A gradient whose square overflows gives Adam an infinite second moment and with it an update of 0 for ever.
    finite = jnp.isfinite(objective) & jnp.isfinite(norm) & jnp.isfinite(optax.tree.norm(grads))
    finite &= jnp.all(jnp.array([jnp.isfinite(s).all() for s in jax.tree.leaves(stats)], bool))
    act = live & ~state.done
    moved = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=stats,
        opt_state=opt_state,
        balance=balance,
        epoch=_add(state.epoch, terms, objective, norm),
    )
    kept = jax.tree.map(lambda new, old: jnp.where(act & finite, new, old), moved, state)
    return kept.replace(bad_step=jnp.where(act & ~finite, state.step, state.bad_step))


def _add(epoch: EpochSums, terms: Terms, objective: jax.Array, norm: jax.Array) -> EpochSums:
    return EpochSums(
        sums={k: epoch.sums[k] + t.sum for k, t in terms.items()},
        weights={k: epoch.weights[k] + t.weight for k, t in terms.items()},
        objective=epoch.objective + objective,
        update_norm=epoch.update_norm + norm,
        steps=epoch.steps + 1,
    )
