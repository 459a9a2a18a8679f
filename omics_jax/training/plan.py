"""A training made ready: programs, index arrays, tables, first variables, and how to run a block.

`loop` drives these; nothing here reads or writes a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.errors import UserError
from omics_jax.training.block_inputs import BlockInputs, place_rows
from omics_jax.training.chunks import chunk_size, pad_chunk
from omics_jax.training.compiled_stage import (
    CompiledStage,
    compile_stage,
    feature_batch_size,
    feature_shapes,
    tree_bytes,
)
from omics_jax.training.initial_variables import (
    initializer_inputs,
    make_initializer,
    replace_by_start,
    replicate_seeds,
    shapes_of_variables,
)
from omics_jax.training.job import Options, Training
from omics_jax.training.memory import release_free_memory
from omics_jax.training.order import block_rows
from omics_jax.training.rows import apply_to_all_rows, is_on_device
from omics_jax.training.stage import Variables
from omics_jax.training.state import TrainState


@dataclass(frozen=True)
class Plan:
    """A training made ready: one program per stage, shared by chunks of `size` replicates.

    Attributes:
      table: field -> (N, ...), on the device, or on the host where it does not fit.
      init: (seeds (c,), batch, constants) -> variables (c, ...).
      shapes: of one replicate's variables.
    """

    training: Training
    options: Options
    stages: Sequence[CompiledStage]
    size: int
    table: Mapping[str, Any]
    init: Callable
    shapes: Variables

    @property
    def resident(self) -> bool:
        """Whether the table lies on the device."""
        return is_on_device(self.table)

    @property
    def chunks(self) -> list[list[int]]:
        """Indices of the replicates, chunk by chunk."""
        n = len(self.training.replicates)
        starts = range(0, n, self.size)
        return [list(range(start, min(start + self.size, n))) for start in starts]


def make_plan(training: Training, options: Options) -> Plan:
    """Programs, index arrays and resident tables of a training.

    Raises:
      UserError: an unknown strategy, impossible sampling weights, a monitor without validation
        rows, or a plateau that watches what is not monitored.
      ValueError: a pattern of `trainable` that matches no parameter, a monitor whose values have
        impossible names, or a start that does not fit the network.
    """
    strategy = _choose_strategy(options)
    fits = sum(values.nbytes for values in training.table.values()) <= options.resident_bytes
    table = {
        name: jnp.asarray(values) if fits else values for name, values in training.table.items()
    }
    shapes = shapes_of_variables(training)
    stages = [
        compile_stage(training, options, index, strategy, fits, shapes)
        for index in range(len(training.stages))
    ]
    features = [feature_shapes(stage, training, shapes) for stage in training.stages]
    size = chunk_size(
        len(training.replicates),
        options.chunk,
        options.devices,
        strategy,
        state_bytes=4 * tree_bytes(shapes),  # parameters, their best copy and two moments
        feature_bytes=len(training.ids) * tree_bytes(features),
        together=training.together,
    )
    initialize = make_initializer(training)
    init = jax.jit(lambda *inputs: jax.lax.map(lambda one: initialize(*one), inputs))
    return Plan(training, options, stages, size, table, init, shapes)


def _choose_strategy(options: Options) -> str:
    strategy = options.strategy
    if strategy == "auto":
        strategy = "map" if jax.default_backend() == "cpu" else "vmap"
    if strategy not in ("map", "vmap"):
        raise UserError(f"run.strategy is {strategy!r}; choose one of auto, map, vmap")
    if options.devices.spread == "cores" and options.devices.count > 1:
        return "map"
    return strategy


def first_variables(plan: Plan, chunk: Sequence[int]) -> Variables:
    """Variables (c, ...) at the start of the first stage."""
    variables = plan.init(*initializer_inputs(plan.training, chunk))
    return replace_by_start(plan.training, variables, chunk)


def start_stage(
    plan: Plan, compiled: CompiledStage, chunk: Sequence[int], real: int, variables: Variables
) -> tuple[TrainState, BlockInputs]:
    """The state and the inputs with which a chunk starts a stage.

    Args:
      chunk: indices of c replicates; those from position `real` on only fill the axis.
      variables: (c, ...) at the start of the stage.
    """
    training, stage = plan.training, compiled.stage
    features = {}
    if compiled.features is not None:
        n = len(training.ids)
        width = feature_batch_size(n)
        features = apply_to_all_rows(compiled.features, width, variables, plan.table, n)
    only_fills = np.arange(len(chunk)) >= real
    state = compiled.initial_state(variables).replace(stopped=jnp.asarray(only_fills))

    index = np.asarray(chunk)
    order, validation_rows = jax.tree.map(lambda x: x[index], (compiled.rows, compiled.validation))
    table, replicate_table, placed = place_rows(stage, plan.table, features, validation_rows)
    validation = {"table": table, "replicate_table": replicate_table, "rows": placed}
    seeds = replicate_seeds(training, chunk)
    return state, BlockInputs(seeds, order, features, validation)


def run_block(
    plan: Plan,
    compiled: CompiledStage,
    state: TrainState,
    inputs: BlockInputs,
    start: int,
    count: int,
) -> tuple[TrainState, Any, Any]:
    """`count` steps from time `start`. The state is donated.

    Returns:
      (state, log as host arrays (c, epochs), rows slot -> {"row", "live"} (c, length, width)).
    """
    shape = compiled.shape
    rows = block_rows(
        inputs.order,
        np.int32(start),
        stage=shape.stage,
        length=shape.length,
        per_epoch=shape.per_epoch,
        widths=compiled.widths,
    )
    table, replicate_table, placed = place_rows(
        compiled.stage, plan.table, inputs.replicate_table, rows
    )
    state, log = compiled.block(
        state,
        inputs.seeds,
        table,
        replicate_table,
        placed,
        inputs.validation,
        np.int32(start),  # the origin of the rows
        np.int32(start),
        np.int32(count),
    )
    return state, jax.tree.map(np.asarray, log), rows


def compile_program(
    plan: Plan, compiled: CompiledStage, state: TrainState, inputs: BlockInputs
) -> TrainState:
    """The state as it was, with the block's program compiled and no step run. It is donated."""
    state, _, _ = run_block(plan, compiled, state, inputs, start=1, count=0)
    release_free_memory()
    return state


def estimate_seconds(plan: Plan) -> tuple[float, float]:
    """(seconds to compile, seconds to train at most).

    Measured on a few steps of the first chunk, which are thrown away. Early stopping makes a
    training shorter than the second figure; so do replicates of a chunk that stop before others.
    """
    chunk = pad_chunk(plan.chunks[0], plan.size)
    variables = first_variables(plan, chunk)
    compile_seconds = train_seconds = 0.0
    for compiled in plan.stages:
        state, inputs = start_stage(plan, compiled, chunk, len(chunk), variables)
        started = time.monotonic()
        state = compile_program(plan, compiled, state, inputs)
        compile_seconds += time.monotonic() - started

        about_an_epoch = max(2, min(compiled.shape.per_epoch, 8))
        count = min(compiled.shape.length, about_an_epoch, compiled.steps)
        started = time.monotonic()
        run_block(plan, compiled, state, inputs, 0, count)
        seconds_per_step = (time.monotonic() - started) / count
        train_seconds += seconds_per_step * compiled.steps * len(plan.chunks)
    return compile_seconds, train_seconds
