"""`TrainState`: everything that a training must remember, with no random state.

Keys, noise and row order are functions of (seed, stage, step, row), so this state and two integers
(stage, position of the block) resume a run bit for bit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from omics_jax.training.freezing import freeze, trainable_leaves
from omics_jax.training.packing import pack, unpack
from omics_jax.training.plateau import initial_plateau
from omics_jax.training.stage import Stage, Terms, Variables


@struct.dataclass
class EpochSums:
    """Sums over the steps of the running epoch so far.

    Attributes:
      sums, weights: of each term, by name.
      objective, update_norm: () of every step's objective and norm of the update.
      steps: () float32, how many steps were added.
    """

    sums: dict[str, Any]
    weights: dict[str, Any]
    objective: Any
    update_norm: Any
    steps: Any


@struct.dataclass
class TrainState:
    """The state of one replicate within one stage.

    Its leaves may be arrays of jax or numpy, or their shapes.

    Attributes:
      step: () int32, optimiser steps taken in this stage; the noise of a step is keyed by it.
      params, batch_stats, opt_state, balance: pytrees.
      constants: fitted on the replicate's training rows; never trained.
      rate: () float32, which multiplies every update.
      plateau: the `PlateauState` that lowers the rate; () in a stage without one.
      best: `trained_part` of the best monitored epoch, packed; None in a stage without a monitor.
      best_value: () its monitor value (lower is better, infinite as long as there is none).
      best_epoch: () int32, its epoch; -1 for the variables that another stage handed on, which are
        monitored before the first step.
      start_value: () the monitor's value before the first step; NaN without a monitor.
      start_loss, best_loss: () the validation loss then and in the best epoch: the monitored value
        of that name, else the monitor itself.
      stale: () int32, monitored epochs since the best.
      stopped: () bool, patience is used up (or the replicate only fills the axis).
      bad_step: () int32, the step whose objective or update was not finite; -1 while there is none.
        From that step on the state is frozen.
      epoch: sums of the running epoch.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    balance: Any
    constants: Any
    rate: Any
    plateau: Any
    best: Any
    best_value: Any
    best_epoch: Any
    start_value: Any
    start_loss: Any
    best_loss: Any
    stale: Any
    stopped: Any
    bad_step: Any
    epoch: EpochSums

    @property
    def variables(self) -> Variables:
        return {"params": self.params, "batch_stats": self.batch_stats, "constants": self.constants}

    @property
    def done(self) -> jax.Array | np.ndarray:
        """Whether no further step is taken."""
        return self.stopped | (self.bad_step >= 0)


def initial_state(stage: Stage, variables: Variables, terms: Terms) -> TrainState:
    """The state at the start of a stage.

    terms: as `stage.loss` returns them, or their shapes (as `jax.eval_shape` does).
    """
    params, stats = variables["params"], variables["batch_stats"]
    constants = variables["constants"]
    best = None
    if stage.monitor is not None:
        # A copy, because the state is donated and one buffer may not be donated twice.
        best = jax.tree.map(jnp.copy, pack(trained_part(stage, params, stats)))
    balance = ()
    opt_state = freeze(stage.optimizer, stage.trainable, params).init(params)
    if stage.balance is not None:
        balance = stage.balance.init(trainable_leaves(stage.trainable, params)[0])
    rate = 1 if stage.rate is None else stage.rate(constants)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=stats,
        opt_state=opt_state,
        balance=balance,
        constants=constants,
        rate=jnp.asarray(rate, jnp.float32),
        plateau=() if stage.plateau is None else initial_plateau(),
        best=best,
        best_value=jnp.float32(jnp.inf),
        best_epoch=jnp.int32(-1),
        start_value=jnp.float32(jnp.nan),
        start_loss=jnp.float32(jnp.nan),
        best_loss=jnp.float32(jnp.nan),
        stale=jnp.int32(0),
        stopped=jnp.bool_(False),
        bad_step=jnp.int32(-1),
        epoch=_no_sums(terms),
    )


def _no_sums(terms: Terms) -> EpochSums:
    def zeros(leaf):
        return jnp.zeros(leaf.shape, jnp.float32)

    return EpochSums(
        sums={name: zeros(term.sum) for name, term in terms.items()},
        weights={name: zeros(term.weight) for name, term in terms.items()},
        objective=jnp.float32(0),
        update_norm=jnp.float32(0),
        steps=jnp.float32(0),
    )


def trained_part(stage: Stage, params: Any, stats: Any) -> dict[str, Any]:
    """What a stage changes: the leaves of the trainable parameters, and the statistics."""
    return {"params": trainable_leaves(stage.trainable, params)[0], "batch_stats": stats}


def final_variables(stage: Stage, state: TrainState) -> Variables:
    """The variables that the stage hands on, as host arrays.

    Those of the best epoch, or the last ones where nothing was monitored or the monitor was never a
    number. All leaves of `state` have a leading replicate axis c.
    """
    last = jax.tree.map(np.asarray, state.variables)
    if state.best is None:
        return last
    last_leaves, merge = trainable_leaves(stage.trainable, last["params"])
    last_part = {"params": last_leaves, "batch_stats": last["batch_stats"]}
    shapes = jax.tree.map(lambda x: x[0], last_part)
    best_part = unpack(jax.tree.map(np.asarray, state.best), shapes)
    has_best = np.asarray(state.best_value) < np.inf

    def choose(best, last):
        trailing = [1] * (last.ndim - 1)
        return np.where(has_best.reshape(-1, *trailing), best, last)

    chosen = jax.tree.map(choose, best_part, last_part)
    params = merge(chosen["params"], last["params"])
    return {**last, "params": params, "batch_stats": chosen["batch_stats"]}
