"""The loop: chunks of replicates through stages, block by block, with what a long run needs around
it.

Replicates are cut into chunks that share one program; a chunk goes through all stages before the
next begins, so results appear early and memory holds one chunk. Whatever acts on the outside world
(history, checkpoints, signals, progress, reports of non-finite steps) acts at the end of a block.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.durable import DamagedFile, as_user_error, load_arrays, save_arrays
from omics_jax.errors import Stopped, TrainingDiverged, UserError
from omics_jax.training import nonfinite
from omics_jax.training.checkpoints import Checkpoints
from omics_jax.training.chunks import filled
from omics_jax.training.devices import programs_in_turn
from omics_jax.training.freezing import leaf_path
from omics_jax.training.history import History
from omics_jax.training.order import NOISE
from omics_jax.training.plan import (
    CompiledStage,
    Options,
    Plan,
    first_variables,
    run_block,
    start_stage,
)
from omics_jax.training.stage import Stage, Variables
from omics_jax.training.state import TrainState, outcome

log = logging.getLogger(__name__)


@dataclass
class RunContext:
    """The outside world of a training: where it writes, whom it tells, who may stop it.

    folder: of checkpoints and of what finished stages hand on. progress: (steps done, steps in all,
    what is running). stop: the number of the signal that asks to stop, or None. train_s: seconds
    spent in blocks, added to as they pass. prune: (replicate, epoch, that epoch's values in the
    history) -> whether to stop that replicate. Asked in the last
      stage, at the end of a block, for every epoch trained in it: epoch by epoch and, within one,
      replicate by replicate. A replicate that was stopped is asked no more and the history ends for
      it there; the variables that it hands on may be those of a few epochs later, because it
      trained to the block's end. One whose step is not finite ends there, too, and the history says
      so in a line with "diverged", which is shown to `prune` after an interruption alone; the
      others go on. A resumed training first
      replays the history through `prune`, so that what it remembers, and with it the outcome of the
      others, depends neither on interruptions nor on where blocks end.
    """

    folder: Path
    history: History
    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    stop: Callable[[], int | None] = lambda: None
    train_s: float = 0.0
    prune: Callable[[int, int, Mapping[str, float]], bool] | None = None


def fit(plan: Plan, context: RunContext) -> Iterator[tuple[list[int], dict[str, Variables]]]:
    """Trains all replicates; yields, chunk by chunk, their indices and stage name -> variables (c,
    ...), host arrays.

    A stage found finished on disk is loaded, a running one is resumed from its newest intact
    checkpoint.

    Raises:
      Stopped: a signal arrived; the running state is saved.
      TrainingDiverged: a step was not finite.
      UserError: what lies in the folder is of another model, or cannot be written.
    """
    with as_user_error(context.folder):
        context.folder.mkdir(parents=True, exist_ok=True)
    total = sum(compiled.steps for compiled in plan.stages) * len(plan.chunks)
    done = 0
    for chunk in plan.chunks:
        variables: Variables = {}
        by_stage = {}
        for compiled in plan.stages:
            on_progress = lambda steps, what, before=done: context.progress(
                before + steps, total, what
            )
            handed_on = _load(plan, compiled, context, chunk)
            if handed_on:
                _replay(
                    _pruner(plan, compiled, context),
                    context.history,
                    compiled.stage,
                    chunk,
                    compiled.stage.epochs,
                )
            else:
                variables = variables or first_variables(plan, filled(chunk, plan.size))
                handed_on = _train(plan, compiled, context, chunk, variables, on_progress)
            variables = handed_on
            by_stage[compiled.stage.name] = variables
            on_progress(compiled.steps, compiled.stage.name)
            done += compiled.steps
        yield chunk, jax.tree.map(lambda x, n=len(chunk): x[:n], by_stage)


def stage_file(folder: Path, stage: str, replicate: int) -> Path:
    """Where a replicate's variables at the end of a stage lie."""
    return folder / f"{replicate:04d}-{stage}.npz"


def is_finished(plan: Plan, folder: Path) -> bool:
    """Whether every replicate has handed on what its last stage is to find."""
    last = plan.stages[-1].stage.name
    return all(stage_file(folder, last, r).exists() for r in range(len(plan.training.replicates)))


def _load(plan: Plan, compiled: CompiledStage, context, chunk) -> Variables | None:
    """What a finished stage handed on (c, ...); None where a replicate has not finished or its file
    is damaged.
    """
    found = [
        _load_one(stage_file(context.folder, compiled.stage.name, r), plan.shapes) for r in chunk
    ]
    if any(variables is None for variables in found):
        return None
    return jax.tree.map(lambda *parts: np.stack(parts), *filled(found, plan.size))


def _load_one(file: Path, like: Variables) -> Variables | None:
    if not file.exists():
        return None
    try:
        arrays, _ = load_arrays(file)
    except DamagedFile as error:
        log.warning("%s It is set aside and the stage is trained again.", error)
        file.replace(file.with_suffix(".damaged"))
        return None
    wanted = {
        leaf_path(path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(like))
    }
    stored = {path: array.shape for path, array in arrays.items()}
    differing = [
        path for path in wanted.keys() | stored.keys() if wanted.get(path) != stored.get(path)
    ]
    if differing:
        path = min(differing)
        raise UserError(
            f"{file} is of another model: {path!r} is {stored.get(path, 'absent')} there and "
            f"{wanted.get(path, 'absent')} here. Give the configuration it was trained with, or "
            "another --workdir."
        )
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[leaf_path(path)], dict(like))


def load_variables(folder: Path, stage: str) -> Iterator[tuple[int, Variables]]:
    """Every replicate with what its finished stage handed on: index, variables with a leading axis
    of 1.

    Raises:
      DamagedFile: a file's bytes are not those that were written.
    """
    for file in sorted(folder.glob(f"*-{stage}.npz")):
        number = file.name.removesuffix(f"-{stage}.npz")
        if not number.isdecimal():  # the file of a stage whose name ends in this one's
            continue
        arrays, _ = load_arrays(file)
        variables: dict = {"params": {}, "batch_stats": {}, "constants": {}}
        for path, values in arrays.items():
            *parents, leaf = path.split("/")
            node = variables
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = values[None]
        yield int(number), variables


def _train(
    plan: Plan, compiled: CompiledStage, context, chunk, variables, on_progress
) -> Variables:
    """One stage of one chunk, from its start or its newest checkpoint to its end."""
    stage, real, prune = compiled.stage, len(chunk), _pruner(plan, compiled, context)
    names = [plan.training.replicates[i].name for i in chunk]
    what = f"{stage.name}: {names[0]}" + (f" and {real - 1} more" if real > 1 else "")
    state, inputs = start_stage(plan, compiled, filled(chunk, plan.size), real, variables)
    # Named by its replicates, because another number of devices may cut the chunks elsewhere.
    path = context.folder / f"{chunk[0]:04d}-{chunk[-1]:04d}-{stage.name}"
    with Checkpoints(path) as checkpoints:
        state, at = _resume(checkpoints, state, real)
        context.history.forget(stage.name, chunk, at // compiled.shape.per_epoch)
        stopped = _replay(prune, context.history, stage, chunk, at // compiled.shape.per_epoch)
        state = _stop(state, chunk, stopped)
        pace, saved = Pace(plan.options, compiled.shape.length), time.monotonic()
        while at < compiled.steps and not np.asarray(state.done).all():
            in_turn = programs_in_turn(plan.options.devices, int(np.sum(~np.asarray(state.done))))
            count, began = pace.steps(compiled.steps - at), time.monotonic()
            state, entries, rows = run_block(plan, compiled, state, inputs, at, count)
            seconds = time.monotonic() - began
            pace.took(seconds / in_turn, count)
            context.train_s += seconds
            if prune is None and (np.asarray(state.bad_step)[:real] >= 0).any():
                raise TrainingDiverged(_diagnosis(plan, compiled, chunk, state, inputs, rows, at))
            stopped = _record(
                prune, context.history, _lines(compiled, entries, names, chunk, at, count), stopped
            )
            state = _stop(state, chunk, stopped)
            at += count
            on_progress(at, what)
            signum = context.stop()
            if signum is not None or time.monotonic() - saved > plan.options.checkpoint_seconds:
                checkpoints.save(
                    at, jax.tree.map(lambda x: np.asarray(x)[:real], state), {"time": at}
                )
                saved = time.monotonic()
            if signum is not None:
                raise Stopped(signum)
        _record_diverged(context.history, stage, names, chunk, state, inputs, stopped)
    _warn_of_blind_monitors(stage, names, state)
    handed_on = outcome(stage, state)
    for i, replicate in enumerate(chunk):
        leaves = jax.tree_util.tree_leaves_with_path(dict(handed_on))
        arrays = {leaf_path(key): np.asarray(leaf[i]) for key, leaf in leaves}
        save_arrays(
            stage_file(context.folder, stage.name, replicate), arrays, {"replicate": replicate}
        )
    shutil.rmtree(path, ignore_errors=True)
    return handed_on


def _resume(checkpoints: Checkpoints, state: TrainState, real: int) -> tuple[TrainState, int]:
    """The newest checkpoint's state and time, or the given state at time 0. Only real replicates
    were saved.
    """
    restored = checkpoints.restore(
        jax.eval_shape(lambda s: jax.tree.map(lambda x: x[:real], s), state)
    )
    if restored is None:
        return state, 0
    saved, meta = restored
    log.info("resuming %s at step %d", checkpoints.directory.name, meta["time"])
    whole = jax.tree.map(
        lambda old, idle: np.concatenate([old, np.asarray(idle)[real:]]), saved, state
    )
    return jax.device_put(whole), meta["time"]


def _warn_of_blind_monitors(stage: Stage, names: Sequence[str], state: TrainState) -> None:
    if stage.monitor is None:
        return
    for name, value in zip(names, np.asarray(state.best_value), strict=False):
        if value == np.inf:
            log.warning(
                "stage %s, %s: the monitor was never finite; the last variables are kept",
                stage.name,
                name,
            )


class Pace:
    """How many steps the next block gets, so that its programs take `block_seconds` each (or
    `block_steps`).
    """

    def __init__(self, options: Options, longest: int):
        self.seconds, self.longest = options.block_seconds, longest
        self.fixed = bool(options.block_steps)
        self.next = options.block_steps or 1

    def steps(self, left: int) -> int:
        """Steps of the next block, of which `left` remain."""
        return min(max(self.next, 1), self.longest, left)

    def took(self, seconds: float, count: int) -> None:
        """A program of the last block, which had `count` steps, took so long."""
        if not self.fixed:
            self.next = int(min(self.seconds / max(seconds / count, 1e-6), 8 * count))


def _lines(
    compiled: CompiledStage, entries, names, chunk, at: int, count: int
) -> Iterator[tuple[dict, dict]]:
    """The epochs that ended in a block, epoch by epoch: what a line of the history is of, and its
    values.
    """
    per_epoch = compiled.shape.per_epoch
    first = at // per_epoch
    for e in range((at + count) // per_epoch - first):
        for i, name in enumerate(names):
            if entries["trained"][i, e]:
                values = {k: float(v[i, e]) for k, v in entries.items() if k != "trained"}
                yield (
                    {
                        "stage": compiled.stage.name,
                        "replicate": chunk[i],
                        "label": name,
                        "epoch": first + e,
                    },
                    values,
                )


def _pruner(plan: Plan, compiled: CompiledStage, context: RunContext) -> Callable | None:
    return context.prune if compiled is plan.stages[-1] else None


def _record(
    prune: Callable | None, history: History, lines: Iterable[tuple[dict, dict]], stopped: set[int]
) -> set[int]:
    """Writes the lines of replicates that are not stopped and asks `prune` about each; returns all
    that are stopped.
    """
    stopped = set(stopped)
    for place, values in lines:
        if place["replicate"] not in stopped:
            # As the history gives them back: it knows no infinity.
            values = {k: v if math.isfinite(v) else math.nan for k, v in values.items()}
            history.write({**place, **values})
            if prune is not None and prune(place["replicate"], place["epoch"], values):
                stopped.add(place["replicate"])
    return stopped


def _record_diverged(
    history: History, stage: Stage, names, chunk, state: TrainState, inputs, stopped
) -> None:
    """A line for every replicate that ended in a step that was not finite before it was stopped."""
    for i, bad in enumerate(np.asarray(state.bad_step)[: len(chunk)]):
        if bad >= 0 and chunk[i] not in stopped:
            epoch = int(bad) // int(inputs.order["steps"][i])
            place = {"stage": stage.name, "replicate": chunk[i], "label": names[i], "epoch": epoch}
            history.write({**place, "diverged": True})


def _replay(
    prune: Callable | None, history: History, stage: Stage, chunk: Sequence[int], epochs: int
) -> set[int]:
    """Asks `prune` about the epochs before `epochs` again; returns the replicates that it stops."""
    stopped: set[int] = set()
    if prune is not None:
        for replicate, epoch, values in history.values(stage.name, chunk, epochs):
            if replicate not in stopped and prune(replicate, epoch, values):
                stopped.add(replicate)
    return stopped


def _stop(state: TrainState, chunk: Sequence[int], replicates: set[int]) -> TrainState:
    """The state with these replicates of the chunk stopped."""
    before = np.asarray(state.stopped)
    after = before | np.isin(
        np.arange(len(before)), [i for i, r in enumerate(chunk) if r in replicates]
    )
    return state if (after == before).all() else state.replace(stopped=jnp.asarray(after))


def _diagnosis(plan: Plan, compiled: CompiledStage, chunk, state, inputs, rows, at: int) -> str:
    """Replays the first bad step on its own batch, see `nonfinite.explain`."""
    training, bad = plan.training, np.asarray(state.bad_step)
    i = int(np.flatnonzero(bad >= 0)[0])
    replicate, steps = training.replicates[chunk[i]], int(inputs.order["steps"][i])
    epoch, position = divmod(int(bad[i]), steps)
    step_of_block = epoch * compiled.shape.per_epoch + position - at
    batch = {}
    for slot, r in rows.items():
        row, live = np.asarray(r["row"])[i, step_of_block], np.asarray(r["live"])[i, step_of_block]
        fields = {k: v[row] for k, v in training.table.items()}
        fields |= {k: np.asarray(v)[i, row] for k, v in inputs.own.items()}
        batch[slot] = {**fields, "row": row, "live": live}
    key = jax.random.key(replicate.seed)
    for part in (NOISE, compiled.shape.stage, int(bad[i])):
        key = jax.random.fold_in(key, part)
    where = f"stage {compiled.stage.name!r}, {replicate.name}, epoch {epoch}, batch {position + 1} of {steps}"
    variables, optimiser = jax.tree.map(
        lambda x: np.asarray(x)[i], (state.variables, state.opt_state)
    )
    return nonfinite.explain(
        compiled.stage, variables, optimiser, batch, key, where=where, ids=training.ids
    )
