"""`TrainState`: everything a training has to remember, and nothing random.

Keys, noise and row order are functions of (seed, stage, step, row), so this state and the two
integers (stage, block position) resume a run bit for bit.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from omics_jax.training.freezing import freeze, trainable_leaves
from omics_jax.training.packing import pack, unpack
from omics_jax.training.plateau import begin_plateau
from omics_jax.training.stage import Stage, Terms, Variables


@struct.dataclass
class EpochSums:
    """What the running epoch has added up so far: each term's sum and weight, and per-step
    quantities.
    """

    sums: dict[str, Any]
    weights: dict[str, Any]
    objective: Any
    update_norm: Any
    steps: Any


@struct.dataclass
class TrainState:
    """The state of one replicate within one stage; its leaves may be arrays of jax or numpy, or
    their shapes.

    Attributes:
      step: () int32, optimiser steps taken in this stage; the noise of a step is keyed by it.
      params, batch_stats, opt_state, balance: pytrees.
      constants: fitted on the replicate's training rows; never trained.
      rate: () float32, what every update is multiplied with.
      plateau: the `PlateauState` that lowers the rate; () in a stage without one.
      best: what the stage moves (see `moved`), packed, of the best monitored epoch; None in a stage
      without a monitor. best_value, best_epoch: its monitor value (lower is better, infinite as
      long as there is none) and epoch; -1 for
        what the stage was handed by another, which is monitored before its first step.
      stale: () int32, monitored epochs since the best.
      stopped: () bool, patience is used up (or the replicate only fills the axis).
      bad_step: () int32, the step whose objective or update was not finite; -1 while all are well.
        From that step
        on the state is frozen.
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
    stale: Any
    stopped: Any
    bad_step: Any
    epoch: EpochSums

    @property
    def variables(self) -> Variables:
        return {"params": self.params, "batch_stats": self.batch_stats, "constants": self.constants}

    @property
    def done(self) -> jax.Array | np.ndarray:
        return self.stopped | (self.bad_step >= 0)


def initial_state(stage: Stage, variables: Variables, terms: Terms) -> TrainState:
    """The state at the start of a stage; `terms` gives names and shapes (as `jax.eval_shape` does)."""
    params, stats = variables["params"], variables["batch_stats"]
    best = None
    if stage.monitor is not None:
        # A copy, because the state is donated and one buffer may not be donated twice.
        best = jax.tree.map(jnp.copy, pack(moved(stage, params, stats)))
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=stats,
        opt_state=freeze(stage.optimizer, stage.trainable, params).init(params),
        balance=stage.balance.init(trainable_leaves(stage.trainable, params)[0])
        if stage.balance
        else (),
        constants=variables["constants"],
        rate=jnp.asarray(
            1 if stage.rate is None else stage.rate(variables["constants"]), jnp.float32
        ),
        plateau=() if stage.plateau is None else begin_plateau(),
        best=best,
        best_value=jnp.float32(jnp.inf),
        best_epoch=jnp.int32(-1),
        stale=jnp.int32(0),
        stopped=jnp.bool_(False),
        bad_step=jnp.int32(-1),
        epoch=EpochSums(
            sums={name: jnp.zeros(term.sum.shape, jnp.float32) for name, term in terms.items()},
            weights={
                name: jnp.zeros(term.weight.shape, jnp.float32) for name, term in terms.items()
            },
            objective=jnp.float32(0),
            update_norm=jnp.float32(0),
            steps=jnp.float32(0),
        ),
    )


def moved(stage: Stage, params: Any, stats: Any) -> dict[str, Any]:
    """What a stage moves: the leaves of the trainable parameters, and the statistics."""
    return {"params": trainable_leaves(stage.trainable, params)[0], "batch_stats": stats}


def outcome(stage: Stage, state: TrainState) -> Variables:
    """What the stage hands on, of a state with a leading replicate axis c: the best epoch's
    variables, host arrays.

    The last ones, where nothing was monitored or the monitor was never a number.
    """
    last = jax.tree.map(np.asarray, state.variables)
    if state.best is None:
        return last
    moving, among = trainable_leaves(stage.trainable, last["params"])
    now = {"params": moving, "batch_stats": last["batch_stats"]}
    best = unpack(jax.tree.map(np.asarray, state.best), jax.tree.map(lambda x: x[0], now))
    found = np.asarray(state.best_value) < np.inf
    pick = lambda b, now: np.where(found.reshape(-1, *[1] * (now.ndim - 1)), b, now)
    picked = jax.tree.map(pick, best, now)
    return {
        **last,
        "params": among(picked["params"], last["params"]),
        "batch_stats": picked["batch_stats"],
    }
