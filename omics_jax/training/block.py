"""The compiled unit: a block of steps over a chunk of replicates.

One program per stage and chunk shape. The number of steps to run is traced, so a block can be made
as long as a
second takes without compiling again; where a block ends changes no bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from omics_jax.training.devices import Devices, over_devices
from omics_jax.training.order import NOISE
from omics_jax.training.packing import pack
from omics_jax.training.plateau import follow_plateau
from omics_jax.training.stage import Stage, Term, monitored_values
from omics_jax.training.state import TrainState, moved
from omics_jax.training.step import train_step


@dataclass(frozen=True)
class BlockShape:
    """What a block's program is compiled for.

    Attributes:
      length: the most steps a block may run.
      per_epoch: steps of an epoch on the chunk's shared time axis.
      epochs: of the whole stage; the last one is always monitored.
      stage: index of the stage, folded into every key.
      monitored: names of what the monitor gives besides "monitor".
      strategy: "map" (replicates one after another, finished ones skipped) or "vmap" (all at once).
    """

    length: int
    per_epoch: int
    epochs: int
    stage: int
    monitored: tuple[str, ...]
    strategy: str

    @property
    def inherits(self) -> bool:
        """Whether the stage begins with what another has trained, so that its start may be its
        best.
        """
        return self.stage > 0

    @property
    def log_length(self) -> int:
        """The most epochs that can end within a block."""
        return (self.length - 1) // self.per_epoch + 1


def make_block(stage: Stage, shape: BlockShape, devices: Devices) -> Callable:
    """The jitted block.

    Returns:
      block(state, seed, table, own, rows, validation, origin, start, count) -> (state, log):
      `count` steps from time `start`; all but `table` and the times have a leading replicate axis
      c.
        table: field -> (N, ...), resident rows shared by all replicates.
        own: field -> (c, N, ...), rows of one replicate's own (computed features, host-gathered
          rows).
        rows: slot -> {"row", "at", "live"} (c, length, width): row ids, their places in the tables,
          padding mask; of the times from `origin` on.
        validation: {"table", "own", "rows": slot -> {"row", "at", "live"} (c, m)}.
        log: name -> (c, log_length), entry e for the e-th epoch that ends from `origin` on; blank
          where it does not end within these steps.
    """

    def one(state, seed, table, own, rows, validation, origin, start, count):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), NOISE), shape.stage)
        first, last, end = (
            start // shape.per_epoch,
            (start + count - 1) // shape.per_epoch,
            start + count,
        )

        def step(time, state):
            here = jax.tree.map(lambda x: x[time - origin], rows)
            return train_step(
                stage, state, _gather(table, own, here), jax.random.fold_in(key, state.step)
            )

        def epoch(e, carry):
            # Epoch -1 has no steps: its end is the start of the stage, see `_close_epoch`.
            # Epoch ends stand outside the loop over steps: a condition there would copy the state
            # at every step.
            closes = (e + 1) * shape.per_epoch
            low, high = jnp.maximum(start, e * shape.per_epoch), jnp.minimum(end, closes)
            state, log = jax.lax.fori_loop(low, high, step, carry[0]), carry[1]
            close = lambda s, entries: _close_epoch(
                stage, shape, s, entries, e, origin // shape.per_epoch, validation
            )
            return jax.lax.cond(high == closes, close, lambda s, entries: (s, entries), state, log)

        from_start = (start == 0) & shape.inherits
        return jax.lax.fori_loop(
            first - from_start, last + 1, epoch, (state, _empty_log(stage, shape, state))
        )

    return over_devices(_over_replicates(one, stage, shape), devices)


def _over_replicates(one: Callable, stage: Stage, shape: BlockShape) -> Callable:
    def block(state, seed, table, own, rows, validation, *times):
        shared = validation["table"]
        mapped = (state, seed, own, rows, {k: v for k, v in validation.items() if k != "table"})

        def single(state, seed, own, rows, validation):
            return one(state, seed, table, own, rows, {**validation, "table": shared}, *times)

        def unless_done(arguments):
            skip = lambda state, *_: (state, _empty_log(stage, shape, state))
            return jax.lax.cond(arguments[0].done, skip, single, *arguments)

        if shape.strategy == "vmap":
            return jax.vmap(single)(*mapped)
        if len(seed) == 1:  # others may still train
            lift = lambda tree: jax.tree.map(lambda x: x[None], tree)
            return lift(unless_done(jax.tree.map(lambda x: x[0], mapped)))
        return jax.lax.map(unless_done, mapped)

    return block


def _gather(table, own, rows):
    return {
        slot: {**{name: values[at["at"]] for name, values in {**table, **own}.items()}, **at}
        for slot, at in rows.items()
    }


def _empty_log(stage: Stage, shape: BlockShape, state: TrainState) -> dict[str, jax.Array]:
    blank = jnp.full((shape.log_length,), jnp.nan, jnp.float32)
    names = [
        "objective",
        "update_norm",
        "monitor",
        *shape.monitored,
        *(f"term/{name}" for name in state.epoch.sums),
    ]
    names += ["rate"] if stage.adapts else []
    return {**dict.fromkeys(names, blank), "trained": jnp.zeros((shape.log_length,), bool)}


def _close_epoch(
    stage, shape, state: TrainState, log, epoch, first, validation
) -> tuple[TrainState, dict[str, Any]]:
    """State and log after an epoch. Epoch -1 is the start of the stage, monitored and not logged."""
    sums = state.epoch
    steps = jnp.maximum(sums.steps, 1)
    entry = {
        "objective": sums.objective / steps,
        "update_norm": sums.update_norm / steps,
        # Not where a step was not finite: whether the block goes on to this epoch's end depends on
        # where it ends.
        "trained": (sums.steps > 0) & (state.bad_step < 0),
        **({"rate": state.rate} if stage.adapts else {}),
        **{f"term/{k}": jnp.sum(Term(s, sums.weights[k]).mean) for k, s in sums.sums.items()},
    }
    after = state.replace(epoch=jax.tree.map(jnp.zeros_like, sums))
    seen = dict.fromkeys(("monitor", *shape.monitored), jnp.float32(jnp.nan))
    if stage.monitor is not None:
        due = ((epoch + 1) % stage.monitor_every == 0) | (epoch + 1 == shape.epochs)
        look = lambda s: _watch(stage, s, epoch, validation)
        after, seen = jax.lax.cond(
            (due & entry["trained"]) | (epoch < 0), look, lambda s: (s, seen), after
        )
    place = jnp.where(epoch < 0, shape.log_length, epoch - first)  # beyond the log: dropped
    entry |= seen
    log = {name: values.at[place].set(entry[name], mode="drop") for name, values in log.items()}
    return after, log


def _watch(
    stage: Stage, state: TrainState, epoch, validation
) -> tuple[TrainState, dict[str, jax.Array]]:
    batch = _gather(validation["table"], validation["own"], validation["rows"])
    seen = {
        name: jnp.asarray(v, jnp.float32)
        for name, v in monitored_values(stage, state.variables, batch).items()
    }
    value = seen["monitor"]
    sound = state.bad_step < 0  # after a step that was not finite the state stays as it was
    better = sound & (value < state.best_value)  # False for NaN: a broken epoch is never the best
    now = pack(moved(stage, state.params, state.batch_stats))
    stale = jnp.where(better | (epoch < 0), 0, state.stale + 1)
    watched = state.replace(
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), now, state.best),
        best_value=jnp.where(better, value, state.best_value),
        best_epoch=jnp.where(better, epoch, state.best_epoch).astype(jnp.int32),
        stale=jnp.where(sound, stale, state.stale),
        stopped=state.stopped | (sound & (stale >= stage.patience))
        if stage.patience is not None
        else state.stopped,
    )
    if stage.plateau is not None:
        plateau, rate = follow_plateau(
            stage.plateau, state.plateau, state.rate, seen[stage.plateau.watch]
        )
        keep = lambda new, old: jnp.where(sound & (epoch >= 0), new, old)
        watched = watched.replace(
            plateau=jax.tree.map(keep, plateau, state.plateau), rate=keep(rate, state.rate)
        )
    return watched, seen
