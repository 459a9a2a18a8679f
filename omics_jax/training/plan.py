"""What a training is made ready with: its programs, its index arrays, its first state.

`loop` drives these; nothing here reads or writes a file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.errors import UserError
from omics_jax.training.block import BlockShape, make_block
from omics_jax.training.chunks import chunk_size, filled
from omics_jax.training.devices import Devices, width
from omics_jax.training.freezing import leaf_path, trainable_labels
from omics_jax.training.order import block_rows, padded_rows
from omics_jax.training.rows import compile_rows, over_all_rows
from omics_jax.training.stage import Replicate, Stage, Variables, monitored_values
from omics_jax.training.state import TrainState, initial_state

# steps; enough to hide a block's overhead even where a step takes a tenth of a millisecond
LONGEST_BLOCK = 128
GATHERED_BYTES = 256 << 20  # of rows that are gathered on the host for one block of one replicate
FEATURE_ROWS = 256
# What a line of the history is made of besides the monitored values.
TAKEN = (
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


@dataclass(frozen=True)
class Options:
    """How to run, never what is computed (but for float rounding between strategies and device
    counts).

    strategy: "map" (replicates in turn), "vmap" (at once) or "auto" (map on CPU, vmap on
      accelerators). Replicates
      that are spread over several cores train one by one.
    chunk: replicates that train together; 0 chooses, see `chunks.chunk_size`.
    block_seconds: about how long a program of a block may take; where replicates queue for cores, a
      block is several programs in turn. block_steps: the steps of a block instead, as far as its
      program goes; 0 leaves it to the seconds.
    checkpoint_seconds: at least so long between two saves of a running stage.
    resident_bytes: a larger table stays on the host, and each block's rows are gathered for it.
    """

    devices: Devices = field(default_factory=Devices)
    strategy: str = "auto"
    chunk: int = 0
    block_seconds: float = 1.0
    block_steps: int = 0
    checkpoint_seconds: float = 60.0
    resident_bytes: int = 4 << 30


@dataclass(frozen=True)
class Training:
    """What is trained: stages, initialisation, the table of rows and the replicates.

    init: (key, batch, constants) -> {"params", "batch_stats"}; the batch is one of real training
    rows, none padded. table: field -> (N, ...) host arrays. ids: (N,) row names, for messages.
    start: {"params", "batch_stats"} with a leading axis of its own. The top-level modules that
      `init` makes too are taken from here; what else it holds is left out.
    starts: for every replicate its place on that axis; () for the replicate's own.
    """

    stages: Sequence[Stage]
    init: Callable[[jax.Array, Any, Any], Variables]
    table: Mapping[str, np.ndarray]
    ids: np.ndarray
    replicates: Sequence[Replicate]
    start: Variables | None = None
    starts: Sequence[int] = ()


@dataclass(frozen=True)
class CompiledStage:
    """A stage with its programs (traced at their first call) and the index arrays of all
    replicates.
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
        return self.stage.epochs * self.shape.per_epoch


@dataclass(frozen=True)
class Plan:
    """A training made ready: one program per stage, shared by chunks of `size` replicates.

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
        return any(isinstance(v, jax.Array) for v in self.table.values())

    @property
    def chunks(self) -> list[list[int]]:
        """Indices of the replicates, chunk by chunk."""
        n = len(self.training.replicates)
        return [list(range(i, min(i + self.size, n))) for i in range(0, n, self.size)]


@dataclass(frozen=True)
class Inputs:
    """What the blocks of one stage of one chunk read, besides the state: see `block.make_block`."""

    seeds: np.ndarray
    order: Any
    own: Mapping[str, Any]
    validation: Any


def make_plan(training: Training, options: Options) -> Plan:
    """Programs, index arrays and resident tables of a training.

    Raises:
      UserError: an unknown strategy, impossible sampling weights, a monitor without validation
        rows, or a plateau
        that watches what is not monitored.
      ValueError: a pattern of `trainable` that matches no parameter, a monitor whose values have
        impossible names, or a start that does not fit the network.
    """
    strategy = options.strategy
    if strategy == "auto":
        strategy = "map" if jax.default_backend() == "cpu" else "vmap"
    if strategy not in ("map", "vmap"):
        raise UserError(f"run.strategy is {strategy!r}; choose one of auto, map, vmap")
    if options.devices.spread == "cores" and options.devices.count > 1:
        strategy = "map"
    fits = sum(v.nbytes for v in training.table.values()) <= options.resident_bytes
    table = {k: jnp.asarray(v) if fits else v for k, v in training.table.items()}
    batch, constants = _init_inputs(training, [0])
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    if training.start is not None:
        _check_start(
            training.start,
            jax.eval_shape(training.init, jax.random.key(0), first(batch), first(constants)),
        )
    start = lambda seed, b, c: {
        "batch_stats": {},
        **training.init(jax.random.key(seed), b, c),
        "constants": c,
    }
    shapes = jax.eval_shape(start, np.uint32(0), first(batch), first(constants))
    stages = [
        _compile(training, options, i, strategy, fits, shapes) for i in range(len(training.stages))
    ]
    init = jax.jit(lambda *inputs: jax.lax.map(lambda a: start(*a), inputs))
    own = len(training.ids) * sum(
        _bytes(_features(stage, training, shapes)) for stage in training.stages
    )
    held = {"state": 4 * _bytes(shapes), "own": own}  # parameters, their best copy and two moments
    size = chunk_size(len(training.replicates), options.chunk, options.devices, strategy, **held)
    return Plan(training, options, stages, size, table, init, shapes)


def _compile(
    training: Training, options: Options, index: int, strategy: str, resident, variables
) -> CompiledStage:
    stage = training.stages[index]
    trainable_labels(stage.trainable, variables["params"])
    rows = padded_rows(training.replicates, stage.batch_size)
    per_epoch = int(rows["steps"].max())
    widths = tuple(
        (slot, width(stage.batch_size[slot], options.devices)) for slot in sorted(stage.batch_size)
    )
    fields = _read_by(stage, {**_fields(training), **_features(stage, training, variables)})
    batch = {slot: _shapes_of_rows(fields, size) for slot, size in widths}
    validation = _validation_rows(stage, training.replicates) if stage.monitor is not None else {}
    looked_at = {
        slot: _shapes_of_rows(fields, rows["row"].shape[1]) for slot, rows in validation.items()
    }
    length = min(stage.epochs * per_epoch, LONGEST_BLOCK)
    if not resident:
        step = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
        length = min(length, GATHERED_BYTES // step)
    length = max(
        2, length
    )  # XLA drops an axis of 1, fuses otherwise, and the last bits would depend on the length
    shape = BlockShape(
        length, per_epoch, stage.epochs, index, _monitored(stage, variables, looked_at), strategy
    )
    terms = jax.eval_shape(lambda v, b: stage.loss(v, b, jax.random.key(0))[0], variables, batch)
    return CompiledStage(
        stage=stage,
        shape=shape,
        block=make_block(stage, shape, options.devices),
        initial_state=jax.jit(jax.vmap(lambda v: initial_state(stage, v, terms))),
        features=compile_rows(stage.features, min(FEATURE_ROWS, len(training.ids)))
        if stage.features
        else None,
        widths=widths,
        rows=rows,
        validation=validation,
    )


def first_variables(plan: Plan, chunk: Sequence[int]) -> Variables:
    """Variables (c, ...) at the start of the first stage."""
    training = plan.training
    batch, constants = _init_inputs(training, chunk)
    variables = plan.init(_seeds(training, chunk), batch, constants)
    places = np.asarray(chunk)
    places = np.asarray(training.starts)[places] if training.starts else places
    return variables if training.start is None else _begun_from(training.start, variables, places)


def _begun_from(start: Variables, made: Variables, places: np.ndarray) -> Variables:
    """`made` (c, ...) with the modules that `start` (R, ...) has as well taken from its `places`
    (c,).
    """
    taken = {
        kind: {
            name: jax.tree.map(lambda x: x[places], start[kind][name])
            for name in made[kind].keys() & start[kind]
        }
        for kind in ("params", "batch_stats")
    }
    return {**made, **{kind: {**made[kind], **modules} for kind, modules in taken.items()}}


def _check_start(start: Variables, made: Variables) -> None:
    """Refuses a start that shares no module with what `init` makes, or one of another shape."""
    if not start["params"].keys() & made["params"].keys():
        raise ValueError(
            f"the start has the modules {', '.join(sorted(start['params']))}, of which the network "
            f"has none; it has {', '.join(sorted(made['params']))}"
        )
    for kind in ("params", "batch_stats"):
        for name in start[kind].keys() & made.get(kind, {}).keys():
            theirs, ours = (
                {
                    leaf_path(path): x.shape[skip:]
                    for path, x in jax.tree_util.tree_leaves_with_path(tree[kind][name])
                }
                for tree, skip in ((start, 1), (made, 0))
            )
            if theirs != ours:
                raise ValueError(
                    f"the start's module {name!r} is of another shape: {theirs} there and {ours} "
                    "here"
                )


def start_stage(
    plan: Plan, compiled: CompiledStage, chunk: Sequence[int], real: int, variables: Variables
):
    """The state and the inputs with which a chunk starts a stage; replicates from `real` on only
    fill the axis.
    """
    training, index = plan.training, np.asarray(chunk)
    own = {}
    if compiled.features:
        n = len(training.ids)
        own = over_all_rows(compiled.features, min(FEATURE_ROWS, n), variables, plan.table, n)
    state = compiled.initial_state(variables).replace(
        stopped=jnp.asarray(np.arange(len(chunk)) >= real)
    )
    pick = lambda tree: jax.tree.map(lambda x: x[index], tree)
    table, mine, placed = _place(plan, compiled.stage, own, pick(compiled.validation))
    validation = {"table": table, "own": mine, "rows": placed}
    return state, Inputs(_seeds(training, chunk), pick(compiled.rows), own, validation)


def run_block(
    plan: Plan, compiled: CompiledStage, state: TrainState, inputs: Inputs, at: int, count: int
):
    """`count` steps from time `at`. The state is donated.

    Returns:
      (state, log as host arrays (c, epochs), rows slot -> {"row", "live"} (c, length, width)).
    """
    shape = compiled.shape
    rows = block_rows(
        inputs.order,
        np.int32(at),
        stage=shape.stage,
        length=shape.length,
        per_epoch=shape.per_epoch,
        widths=compiled.widths,
    )
    table, own, placed = _place(plan, compiled.stage, inputs.own, rows)
    state, log = compiled.block(
        state,
        inputs.seeds,
        table,
        own,
        placed,
        inputs.validation,
        np.int32(at),
        np.int32(at),
        np.int32(count),
    )
    return state, jax.tree.map(np.asarray, log), rows


def estimate_seconds(plan: Plan) -> tuple[float, float]:
    """(seconds to compile, seconds to train at most), measured on a few steps of the first chunk,
    thrown away.

    Early stopping makes a training shorter than the second figure; replicates of a chunk that stop
    earlier than
    others too.
    """
    chunk = filled(plan.chunks[0], plan.size)
    variables = first_variables(plan, chunk)
    compile_s = train_s = 0.0
    for compiled in plan.stages:
        state, inputs = start_stage(plan, compiled, chunk, len(chunk), variables)
        began = time.monotonic()
        state, _, _ = run_block(plan, compiled, state, inputs, 0, 1)
        compile_s += time.monotonic() - began
        few = min(compiled.shape.length, max(2, min(compiled.shape.per_epoch, 8)), compiled.steps)
        began = time.monotonic()
        run_block(plan, compiled, state, inputs, 0, few)
        train_s += (time.monotonic() - began) / few * compiled.steps * len(plan.chunks)
    return compile_s, train_s


def _seeds(training: Training, chunk: Sequence[int]) -> np.ndarray:
    return np.array([training.replicates[i].seed for i in chunk], np.uint32)


def _init_inputs(training: Training, chunk: Sequence[int]):
    """A batch of real rows per replicate (the first rows of each slot, repeated if there are fewer)
    and constants.

    A slot without rows borrows training rows of the others.
    """
    replicates = [training.replicates[i] for i in chunk]
    batch = {}
    for slot, size in training.stages[0].batch_size.items():
        source = [
            r.rows[slot] if len(r.rows[slot]) else np.concatenate([*r.rows.values()])
            for r in replicates
        ]
        rows = np.stack([np.resize(np.sort(s), size) for s in source]).astype(np.int32)
        fields = {name: values[rows] for name, values in training.table.items()}
        batch[slot] = {**fields, "row": rows, "live": np.ones(rows.shape, bool)}
    constants = {
        name: np.stack([r.constants[name] for r in replicates]) for name in replicates[0].constants
    }
    return batch, constants


def _monitored(stage: Stage, variables, batch) -> tuple[str, ...]:
    """Names of what the monitor gives besides "monitor"."""
    if stage.monitor is None:
        return ()
    names = jax.eval_shape(lambda v, b: monitored_values(stage, v, b), variables, batch).keys()
    taken = sorted(name for name in names if name in TAKEN or name.startswith("term/"))
    if "monitor" not in names or taken:
        raise ValueError(
            f"the monitor of stage {stage.name!r} gives {', '.join(sorted(names))}: "
            + (
                f"{taken[0]!r} stands for something else in the history"
                if taken
                else "one must be 'monitor'"
            )
        )
    if stage.plateau is not None and stage.plateau.watch not in names:
        raise UserError(
            f"the learning rate of stage {stage.name!r} watches {stage.plateau.watch!r}, which is "
            f"not monitored; set learning_rate.watch to one of {', '.join(sorted(names))}"
        )
    return tuple(sorted(name for name in names if name != "monitor"))


def _validation_rows(stage: Stage, replicates: Sequence[Replicate]):
    for r in replicates:
        if not sum(len(rows) for rows in r.validation.values()):
            raise UserError(
                f"{r.name} has no validation rows, which the monitor of stage {stage.name!r} "
                "needs; use fewer folds, or more rows"
            )
    slots = {}
    for slot in replicates[0].validation:
        longest = max(1, *(len(r.validation[slot]) for r in replicates))
        row = np.zeros((len(replicates), longest), np.int32)
        live = np.zeros((len(replicates), longest), bool)
        for i, r in enumerate(replicates):
            row[i, : len(r.validation[slot])] = r.validation[slot]
            live[i, : len(r.validation[slot])] = True
        slots[slot] = {"row": row, "live": live}
    return slots


def _read_by(stage: Stage, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that the stage reads."""
    return {
        name: v
        for name, v in fields.items()
        if any(re.fullmatch(pattern, name) for pattern in stage.reads)
    }


def _place(plan: Plan, stage: Stage, own, rows):
    """Where a block finds its rows: in the resident tables, or in a host gather of just these rows."""
    if plan.resident:
        return plan.table, own, {slot: {**r, "at": r["row"]} for slot, r in rows.items()}
    rows = jax.tree.map(np.asarray, rows)
    if not rows:
        return {}, {}, {}
    flat = np.concatenate([r["row"].reshape(len(r["row"]), -1) for r in rows.values()], axis=1)
    mine = {name: values[flat] for name, values in _read_by(stage, plan.table).items()}
    replicate = np.arange(len(flat))[:, None]
    mine |= {name: values[replicate, flat] for name, values in own.items()}
    placed, offset = {}, 0
    for slot, r in rows.items():
        shape = r["row"].shape
        at = np.arange(int(np.prod(shape[1:])), dtype=np.int32).reshape(shape[1:]) + offset
        placed[slot] = {**r, "at": np.broadcast_to(at, shape)}
        offset += at.size
    return {}, mine, placed


def _fields(training: Training) -> dict[str, jax.ShapeDtypeStruct]:
    """Fields of a row of the table."""
    return {
        k: jax.ShapeDtypeStruct(v.shape[1:], jnp.asarray(v[:0]).dtype)
        for k, v in training.table.items()
    }


def _features(stage: Stage, training: Training, variables) -> dict[str, jax.ShapeDtypeStruct]:
    """Fields of a row that the stage computes by itself."""
    if stage.features is None:
        return {}
    made = jax.eval_shape(stage.features, variables, _shapes_of_rows(_fields(training), 1))
    return {k: jax.ShapeDtypeStruct(v.shape[1:], v.dtype) for k, v in made.items()}


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _shapes_of_rows(fields, size: int):
    rows = {k: jax.ShapeDtypeStruct((size, *v.shape), v.dtype) for k, v in fields.items()}
    return {
        **rows,
        "row": jax.ShapeDtypeStruct((size,), jnp.int32),
        "live": jax.ShapeDtypeStruct((size,), bool),
    }
