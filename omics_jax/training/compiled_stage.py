"""A stage made ready to run: its programs, and the index arrays of all replicates.

Programs are traced at their first call; everything that can be refused before that is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.errors import UserError
from omics_jax.training.block import BlockShape, make_block
from omics_jax.training.devices import padded_batch_size
from omics_jax.training.freezing import trainable_labels
from omics_jax.training.job import Options, Training
from omics_jax.training.order import padded_rows
from omics_jax.training.rows import compile_row_function
from omics_jax.training.stage import Replicate, Stage, Variables, fields_read, monitored_values
from omics_jax.training.state import initial_state

# Steps; enough to hide a block's overhead even where a step takes a tenth of a millisecond.
LONGEST_BLOCK = 128
GATHERED_BYTES = 256 << 20  # of rows that are gathered on the host for one block of one replicate
FEATURE_ROWS = 256  # rows of which features are computed at once

# What a line of the history holds besides the monitored values.
RESERVED_NAMES = (
    "arm",
    "stage",
    "replicate",
    "label",
    "epoch",
    "objective",
    "update_norm",
    "rate",
    "trained",
)

Shapes = Mapping[str, jax.ShapeDtypeStruct]  # of the fields of a row, or of a batch


@dataclass(frozen=True)
class CompiledStage:
    """A stage with its programs and index arrays.

    Attributes:
      block: see `block.make_block`.
      initial_state: variables (c, ...) -> TrainState (c, ...).
      features: computes the stage's features, see `rows.compile_row_function`; None without any.
      widths: (slot, rows of it in a batch, padding included).
      rows: of all replicates, see `order.padded_rows`.
      validation: slot -> {"row", "live"} (R, m) of all replicates; {} without a monitor.
    """

    stage: Stage
    shape: BlockShape
    block: Callable
    initial_state: Callable
    features: Callable | None
    widths: tuple[tuple[str, int], ...]
    rows: Any
    validation: Any

    @property
    def steps(self) -> int:
        """Of the whole stage, on the shared time axis."""
        return self.stage.epochs * self.shape.per_epoch


def compile_stage(
    training: Training,
    options: Options,
    index: int,
    strategy: str,
    resident: bool,
    variables: Variables,
) -> CompiledStage:
    """The stage of that index, made ready.

    Args:
      strategy: "map" or "vmap".
      resident: whether the table lies on the device.
      variables: shapes of one replicate's variables.

    Raises:
      UserError: impossible sampling weights, a monitor without validation rows, or a plateau that
        watches what is not monitored.
      ValueError: a pattern of `trainable` that matches no parameter, or a monitor whose values have
        impossible names.
    """
    stage = training.stages[index]
    trainable_labels(stage.trainable, variables["params"])
    rows = padded_rows(training.replicates, stage.batch_size)
    widths = tuple(
        (slot, padded_batch_size(size, options.devices))
        for slot, size in sorted(stage.batch_size.items())
    )
    features = feature_shapes(stage, training, variables)
    fields = fields_read(stage, {**_table_shapes(training), **features})
    batch = {slot: _batch_shapes(fields, width) for slot, width in widths}
    validation = {} if stage.monitor is None else _validation_rows(stage, training.replicates)
    validation_batch = {
        slot: _batch_shapes(fields, slot_rows["row"].shape[1])
        for slot, slot_rows in validation.items()
    }
    per_epoch = int(rows["steps"].max())
    shape = BlockShape(
        length=_block_length(stage.epochs * per_epoch, batch, resident),
        per_epoch=per_epoch,
        epochs=stage.epochs,
        stage=index,
        monitored=_monitored_names(stage, variables, validation_batch),
        strategy=strategy,
    )
    return CompiledStage(
        stage=stage,
        shape=shape,
        block=make_block(stage, shape, options.devices),
        initial_state=_compile_initial_state(stage, variables, batch),
        features=_compile_features(stage, len(training.ids)),
        widths=widths,
        rows=rows,
        validation=validation,
    )


def feature_batch_size(rows: int) -> int:
    """Of how many of a table's rows features are computed at once."""
    return min(FEATURE_ROWS, rows)


def _compile_features(stage: Stage, rows: int) -> Callable | None:
    if stage.features is None:
        return None
    return compile_row_function(stage.features, feature_batch_size(rows))


def _compile_initial_state(stage: Stage, variables: Variables, batch: Mapping) -> Callable:
    def terms_of(variables, batch):
        return stage.loss(variables, batch, jax.random.key(0))[0]

    terms = jax.eval_shape(terms_of, variables, batch)
    return jax.jit(jax.vmap(lambda variables: initial_state(stage, variables, terms)))


def _block_length(steps: int, batch: Mapping[str, Shapes], resident: bool) -> int:
    """The most steps of a block, for a stage of so many steps."""
    length = min(steps, LONGEST_BLOCK)
    if not resident:
        length = min(length, GATHERED_BYTES // tree_bytes(batch))
    # XLA drops an axis of 1 and then fuses otherwise: the last bits would depend on the length.
    return max(2, length)


def _monitored_names(stage: Stage, variables: Variables, batch: Mapping) -> tuple[str, ...]:
    """Names of the monitor's values other than "monitor"."""
    if stage.monitor is None:
        return ()

    def monitor(variables, batch):
        return monitored_values(stage, variables, batch)

    names = jax.eval_shape(monitor, variables, batch).keys()
    reserved = sorted(name for name in names if _is_reserved(name))
    monitors = f"the monitor of stage {stage.name!r} gives {', '.join(sorted(names))}"
    if reserved:
        raise ValueError(f"{monitors}: {reserved[0]!r} stands for something else in the history")
    if "monitor" not in names:
        raise ValueError(f"{monitors}: one must be 'monitor'")
    if stage.plateau is not None and stage.plateau.watch not in names:
        raise UserError(
            f"the learning rate of stage {stage.name!r} watches {stage.plateau.watch!r}, which is "
            f"not monitored; set learning_rate.watch to one of {', '.join(sorted(names))}"
        )
    return tuple(sorted(name for name in names if name != "monitor"))


def _is_reserved(name: str) -> bool:
    return name in RESERVED_NAMES or name.startswith("term/")


def _validation_rows(
    stage: Stage, replicates: Sequence[Replicate]
) -> dict[str, dict[str, np.ndarray]]:
    """slot -> {"row", "live"} (R, m), padded."""
    for replicate in replicates:
        if not sum(len(rows) for rows in replicate.validation.values()):
            raise UserError(
                f"{replicate.name} has no validation rows, which the monitor of stage "
                f"{stage.name!r} needs; use fewer folds, or more rows"
            )
    slots = {}
    for slot in replicates[0].validation:
        longest = max(1, *(len(replicate.validation[slot]) for replicate in replicates))
        row = np.zeros((len(replicates), longest), np.int32)
        live = np.zeros((len(replicates), longest), bool)
        for i, replicate in enumerate(replicates):
            rows = replicate.validation[slot]
            row[i, : len(rows)] = rows
            live[i, : len(rows)] = True
        slots[slot] = {"row": row, "live": live}
    return slots


# --- shapes ---------------------------------------------------------------------------------------


def feature_shapes(stage: Stage, training: Training, variables: Variables) -> Shapes:
    """Shapes of the fields of a row that the stage computes by itself."""
    if stage.features is None:
        return {}
    one_row = _batch_shapes(_table_shapes(training), 1)
    made = jax.eval_shape(stage.features, variables, one_row)
    return {name: jax.ShapeDtypeStruct(v.shape[1:], v.dtype) for name, v in made.items()}


def tree_bytes(tree: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _table_shapes(training: Training) -> Shapes:
    """Shapes of the fields of a row of the table, in jax's dtypes."""
    shapes = {}
    for name, values in training.table.items():
        dtype = jnp.asarray(values[:0]).dtype
        shapes[name] = jax.ShapeDtypeStruct(values.shape[1:], dtype)
    return shapes


def _batch_shapes(fields: Shapes, width: int) -> Shapes:
    """Shapes of so many rows, with "row" and "live"."""
    rows = {
        name: jax.ShapeDtypeStruct((width, *field.shape), field.dtype)
        for name, field in fields.items()
    }
    return {
        **rows,
        "row": jax.ShapeDtypeStruct((width,), jnp.int32),
        "live": jax.ShapeDtypeStruct((width,), bool),
    }
