"""The compiled unit: a block of steps over a chunk of replicates.

One program per stage and chunk shape. The number of steps to run is traced, so a block can be made
as long as a second takes without compiling again; where a block ends changes no bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from omics_jax.training.devices import Devices
from omics_jax.training.order import NOISE, stage_key
from omics_jax.training.packing import pack
from omics_jax.training.parallel import compile_block
from omics_jax.training.plateau import update_plateau
from omics_jax.training.stage import Batch, Stage, Term, monitored_values
from omics_jax.training.state import TrainState, trained_part
from omics_jax.training.step import train_step

VALIDATION_LOSS = "validation_loss"  # the monitored value by which an explosion is seen
Log = dict[str, jax.Array]  # name -> (log_length,), an entry per epoch


@dataclass(frozen=True)
class BlockShape:
    """What a block's program is compiled for.

    Attributes:
      length: the most steps a block may run.
      per_epoch: steps of an epoch on the chunk's shared time axis.
      epochs: of the whole stage; the last one is always monitored.
      stage: index of the stage, folded into every key.
      monitored: names of the monitor's values other than "monitor".
      strategy: "map" (replicates one after another, finished ones skipped) or "vmap" (all at once).
    """

    length: int
    per_epoch: int
    epochs: int
    stage: int
    monitored: tuple[str, ...]
    strategy: str

    @property
    def starts_trained(self) -> bool:
        """Whether another stage has trained the variables before, so that they may be the best."""
        return self.stage > 0

    @property
    def log_length(self) -> int:
        """The most epochs that can end within a block."""
        return (self.length - 1) // self.per_epoch + 1


def make_block(stage: Stage, shape: BlockShape, devices: Devices) -> Callable:
    """The jitted block.

    Returns:
      block(state, seed, table, replicate_table, rows, validation, origin, start, count) ->
      (state, log): `count` steps from time `start`; all but `table` and the times have a leading
      replicate axis c.
        table: field -> (N, ...), rows on the device that all replicates share.
        replicate_table: field -> (c, N, ...), rows of one replicate (computed features, rows that
          were gathered on the host).
        rows: slot -> {"row", "at", "live"} (c, length, width): row ids, their places in the tables,
          padding mask; of the times from `origin` on.
        validation: {"table", "replicate_table", "rows": slot -> {"row", "at", "live"} (c, m)}.
        log: name -> (c, log_length), entry e for the e-th epoch that ends from `origin` on; blank
          where it does not end within these steps.
    """

    def one_replicate(
        state, seed, table, replicate_table, rows, validation, origin, start, count
    ) -> tuple[TrainState, Log]:
        key = stage_key(seed, NOISE, shape.stage)
        end = start + count
        first_epoch = start // shape.per_epoch
        last_epoch = (end - 1) // shape.per_epoch

        def run_step(time, state):
            row = jax.tree.map(lambda x: x[time - origin], rows)
            batch = _gather(table, replicate_table, row)
            return train_step(stage, state, batch, jax.random.fold_in(key, state.step))

        def end_epoch(epoch, state, log):
            place = epoch - origin // shape.per_epoch
            return _end_epoch(stage, shape, state, log, epoch, place, validation)

        def run_epoch(epoch, carry):
            # Epoch -1 has no steps: its end is the start of the stage, see `_end_epoch`.
            # Epoch ends stand outside the loop over steps: a condition there would copy the state
            # at every step.
            state, log = carry
            epoch_end = (epoch + 1) * shape.per_epoch
            low = jnp.maximum(start, epoch * shape.per_epoch)
            high = jnp.minimum(end, epoch_end)
            state = jax.lax.fori_loop(low, high, run_step, state)
            return jax.lax.cond(
                high == epoch_end,
                lambda state, log: end_epoch(epoch, state, log),
                lambda state, log: (state, log),
                state,
                log,
            )

        # The variables that a stage starts from are monitored, too, as epoch -1.
        before_first = (start == 0) & (stage.monitor is not None)
        carry = (state, _blank_log(stage, shape, state))
        return jax.lax.fori_loop(first_epoch - before_first, last_epoch + 1, run_epoch, carry)

    return compile_block(_over_replicates(one_replicate, stage, shape), devices)


def _over_replicates(one_replicate: Callable, stage: Stage, shape: BlockShape) -> Callable:
    """The block of a chunk: that of one replicate, mapped over the leading axis."""

    def block(state, seed, table, replicate_table, rows, validation, *times):
        validation_table = validation["table"]
        validation = {name: tree for name, tree in validation.items() if name != "table"}
        mapped = (state, seed, replicate_table, rows, validation)

        def train(state, seed, replicate_table, rows, validation):
            validation = {**validation, "table": validation_table}
            return one_replicate(state, seed, table, replicate_table, rows, validation, *times)

        def skip(state, *_):
            return state, _blank_log(stage, shape, state)

        def train_unless_done(arguments):
            return jax.lax.cond(arguments[0].done, skip, train, *arguments)

        if shape.strategy == "vmap":
            return jax.vmap(train)(*mapped)
        if len(seed) == 1:  # of a chunk whose other replicates run in other threads
            only = train_unless_done(jax.tree.map(lambda x: x[0], mapped))
            return jax.tree.map(lambda x: x[None], only)
        return jax.lax.map(train_unless_done, mapped)

    return block


def _gather(table: Mapping, replicate_table: Mapping, rows: Mapping) -> Batch:
    """slot -> the fields of its rows, with "row", "at" and "live"."""
    tables = {**table, **replicate_table}
    batch = {}
    for slot, row in rows.items():
        fields = {name: values[row["at"]] for name, values in tables.items()}
        batch[slot] = {**fields, **row}
    return batch


def _blank_log(stage: Stage, shape: BlockShape, state: TrainState) -> Log:
    terms = [f"term/{name}" for name in state.epoch.sums]
    names = ["objective", "update_norm", "monitor", *shape.monitored, *terms]
    if stage.scales_updates:
        names.append("rate")
    blank = jnp.full((shape.log_length,), jnp.nan, jnp.float32)
    return {**dict.fromkeys(names, blank), "trained": jnp.zeros((shape.log_length,), bool)}


def _end_epoch(
    stage: Stage, shape: BlockShape, state: TrainState, log: Log, epoch, place, validation
) -> tuple[TrainState, Log]:
    """State and log after an epoch, whose entry in the log is `place`.

    Epoch -1 is the start of the stage, which is monitored and not logged.
    """
    entry = _epoch_means(stage, state)
    state = state.replace(epoch=jax.tree.map(jnp.zeros_like, state.epoch))
    values = dict.fromkeys(("monitor", *shape.monitored), jnp.float32(jnp.nan))
    if stage.monitor is not None:
        is_due = ((epoch + 1) % stage.monitor_every == 0) | (epoch + 1 == shape.epochs)
        state, values = jax.lax.cond(
            (is_due & entry["trained"]) | (epoch < 0),
            lambda state: _monitor(stage, shape, state, epoch, validation),
            lambda state: (state, values),
            state,
        )
    entry |= values
    place = jnp.where(epoch < 0, shape.log_length, place)  # beyond the log: dropped
    log = {name: column.at[place].set(entry[name], mode="drop") for name, column in log.items()}
    return state, log


def _epoch_means(stage: Stage, state: TrainState) -> Log:
    """What the log says of an epoch's steps; all ()."""
    sums = state.epoch
    steps = jnp.maximum(sums.steps, 1)
    entry = {
        "objective": sums.objective / steps,
        "update_norm": sums.update_norm / steps,
        # Not where a step was not finite: whether the block goes on to this epoch's end depends on
        # where it ends.
        "trained": (sums.steps > 0) & (state.bad_step < 0),
    }
    if stage.scales_updates:
        entry["rate"] = state.rate
    for name, total in sums.sums.items():
        entry[f"term/{name}"] = jnp.sum(Term(total, sums.weights[name]).mean)
    return entry


def _monitor(
    stage: Stage, shape: BlockShape, state: TrainState, epoch, validation: Mapping
) -> tuple[TrainState, Log]:
    """The state after a look at the monitor, and the monitored values ().

    Epoch -1 is the start of the stage. Untrained variables are never the best ones: their value is
    kept only to judge the training by.
    """
    batch = _gather(validation["table"], validation["replicate_table"], validation["rows"])
    monitored = monitored_values(stage, state.variables, batch)
    values = {name: jnp.asarray(value, jnp.float32) for name, value in monitored.items()}
    value = values["monitor"]
    loss = values.get(VALIDATION_LOSS, value)
    # After a step that was not finite the state stays as it was.
    is_finite = state.bad_step < 0
    counts = is_finite & ((epoch >= 0) | shape.starts_trained)
    better = counts & (value < state.best_value)  # False for NaN: never the best
    current = pack(trained_part(stage, state.params, state.batch_stats))
    stale = jnp.where(better | (epoch < 0), 0, state.stale + 1)
    stopped = state.stopped
    if stage.patience is not None:
        stopped = stopped | (is_finite & (stale >= stage.patience))
    after = state.replace(
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), current, state.best),
        best_value=jnp.where(better, value, state.best_value),
        best_epoch=jnp.where(better, epoch, state.best_epoch).astype(jnp.int32),
        start_value=jnp.where(epoch < 0, value, state.start_value),
        start_loss=jnp.where(epoch < 0, loss, state.start_loss),
        best_loss=jnp.where(better, loss, state.best_loss),
        stale=jnp.where(is_finite, stale, state.stale),
        stopped=stopped,
    )
    if stage.balance is not None and stage.balance.observe is not None:
        after = after.replace(balance=_observed_balance(stage, state, values, is_finite))
    if stage.plateau is not None:
        after = _lower_rate(stage, after, values[stage.plateau.watch], is_finite & (epoch >= 0))
    return after, values


def _observed_balance(stage: Stage, state: TrainState, values: Log, counts: jax.Array) -> PyTree:
    """The balance's state after it has seen the monitored values, unchanged where they do not
    count.
    """
    observed = stage.balance.observe(state.balance, values)
    return jax.tree.map(lambda new, old: jnp.where(counts, new, old), observed, state.balance)


def _lower_rate(
    stage: Stage, state: TrainState, watched: jax.Array, counts: jax.Array
) -> TrainState:
    """The state after the plateau's rule has seen a value, unchanged where it does not count."""
    plateau, rate = update_plateau(stage.plateau, state.plateau, state.rate, watched)

    def where_it_counts(new, old):
        return jnp.where(counts, new, old)

    return state.replace(
        plateau=jax.tree.map(where_it_counts, plateau, state.plateau),
        rate=where_it_counts(rate, state.rate),
    )
