"""The loop: chunks of replicates through stages, block by block.

Replicates are cut into chunks that share one program. A chunk goes through all stages before the
next begins, so results appear early and memory holds one chunk. Everything that concerns the
outside world (history, checkpoints, signals, progress, reports of non-finite steps) happens at the
end of a block.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from omics_jax.durable import as_user_error, check_origin
from omics_jax.errors import Stopped, TrainingDiverged
from omics_jax.file_names import file_name
from omics_jax.training import nonfinite
from omics_jax.training.block_inputs import BlockInputs
from omics_jax.training.block_sizer import BlockSizer
from omics_jax.training.checkpoints import Checkpoints
from omics_jax.training.chunks import pad_chunk
from omics_jax.training.devices import programs_in_turn
from omics_jax.training.history import History, Seal
from omics_jax.training.order import NOISE, stage_key
from omics_jax.training.outcome import stage_outcomes
from omics_jax.training.plan import CompiledStage, Plan, first_variables, run_block, start_stage
from omics_jax.training.recording import EpochRecorder, Prune
from omics_jax.training.stage import Stage, Variables
from omics_jax.training.stage_files import load_stage, save_stage, seals_of_history, stage_file
from omics_jax.training.state import TrainState, final_variables

log = logging.getLogger(__name__)


@dataclass
class RunContext:
    """The outside world of a training: where it writes, whom it reports to, who may stop it.

    Attributes:
      folder: of checkpoints and of the variables of finished stages.
      origin: what tells these files from those of another training, such as {"arm": "main"}; they
        say it and are refused where they say something else.
      history: a line per epoch and replicate.
      progress: called with (steps done, steps in all, what is running).
      stop: returns the number of the signal that asks to stop, or None.
      train_s: seconds spent in blocks, added to as they pass.
      prune: (replicate, epoch, that epoch's values in the history) -> whether to stop that
        replicate.

    `prune` is asked in the last stage, at the end of a block, for every epoch trained in it: epoch
    by epoch and, within one, replicate by replicate. A replicate that was stopped is asked no more
    and the history ends for it there; the variables that it hands on may be those of a few epochs
    later, because it trained to the block's end. One whose step is not finite ends there, too: the
    history says so in a line with "diverged", which is shown to `prune` after an interruption
    alone; the others go on. A resumed training first replays the history through `prune`, so that
    what it remembers, and with it the outcome of the others, depends neither on interruptions nor
    on where blocks end.
    """

    folder: Path
    history: History
    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    stop: Callable[[], int | None] = lambda: None
    train_s: float = 0.0
    prune: Prune | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)


def fit(plan: Plan, context: RunContext) -> Iterator[tuple[list[int], dict[str, Variables]]]:
    """Trains all replicates, chunk by chunk.

    A stage found finished on disk is loaded; a running one is resumed from its newest intact
    checkpoint.

    Yields:
      Of every chunk the indices of its c replicates, and stage name -> variables (c, ...), host
      arrays.

    Raises:
      Stopped: a signal arrived; the running state is saved.
      TrainingDiverged: a step was not finite.
      UserError: what lies in the folder belongs to another training, or cannot be written, or
        lines of the history are damaged.
    """
    with as_user_error(context.folder):
        context.folder.mkdir(parents=True, exist_ok=True)
    _check_history(plan, context)
    total = sum(compiled.steps for compiled in plan.stages) * len(plan.chunks)
    done = 0
    for chunk in plan.chunks:
        variables: Variables = {}
        by_stage = {}
        for compiled in plan.stages:

            def on_progress(steps, what, before=done):
                context.progress(before + steps, total, what)

            handed_on = _load(plan, compiled, context, chunk)
            if handed_on is None:
                variables = variables or first_variables(plan, pad_chunk(chunk, plan.size))
                handed_on = _train(plan, compiled, context, chunk, variables, on_progress)
            variables = handed_on
            by_stage[compiled.stage.name] = handed_on
            on_progress(compiled.steps, compiled.stage.name)
            done += compiled.steps
        yield chunk, jax.tree.map(lambda x, n=len(chunk): x[:n], by_stage)


def _check_history(plan: Plan, context: RunContext) -> None:
    """Refuses to go on where lines of finished stages were lost or changed."""
    replicates = range(len(plan.training.replicates))
    seals = [
        seal
        for compiled in plan.stages
        for seal in seals_of_history(
            context.folder, compiled.stage.name, replicates, context.origin
        )
    ]
    context.history.check(seals)


def is_finished(plan: Plan, folder: Path) -> bool:
    """Whether the file of the last stage exists for every replicate."""
    last = plan.stages[-1].stage.name
    replicates = range(len(plan.training.replicates))
    return all(stage_file(folder, last, replicate).exists() for replicate in replicates)


def _load(
    plan: Plan, compiled: CompiledStage, context: RunContext, chunk: list[int]
) -> Variables | None:
    """The variables (c, ...) of a finished stage, padded; None where it must be trained."""
    name = compiled.stage.name
    loaded = load_stage(context.folder, name, chunk, plan.shapes, context.origin)
    if loaded is None:
        return None
    _make_recorder(plan, compiled, context, chunk).replay(compiled.stage.epochs)
    return jax.tree.map(lambda *parts: np.stack(parts), *pad_chunk(loaded, plan.size))


def _make_recorder(
    plan: Plan, compiled: CompiledStage, context: RunContext, chunk: list[int]
) -> EpochRecorder:
    return EpochRecorder(
        context.history,
        compiled.stage.name,
        chunk,
        names=_names(plan, chunk),
        per_epoch=compiled.shape.per_epoch,
        prune=context.prune if compiled is plan.stages[-1] else None,
    )


def _names(plan: Plan, chunk: Sequence[int]) -> list[str]:
    return [plan.training.replicates[i].name for i in chunk]


def _train(
    plan: Plan,
    compiled: CompiledStage,
    context: RunContext,
    chunk: list[int],
    variables: Variables,
    on_progress: Callable[[int, str], None],
) -> Variables:
    """One stage of one chunk, from its start or its newest checkpoint to its end."""
    stage, real = compiled.stage, len(chunk)
    state, inputs = start_stage(plan, compiled, pad_chunk(chunk, plan.size), real, variables)
    recorder = _make_recorder(plan, compiled, context, chunk)
    what = _describe(stage, _names(plan, chunk))
    # Named by its replicates, because another number of devices may cut the chunks elsewhere.
    path = context.folder / f"{chunk[0]:04d}-{chunk[-1]:04d}-{file_name(stage.name)}"
    place = {**context.origin, "stage": stage.name, "replicates": list(chunk)}
    with Checkpoints(path) as checkpoints:
        state, start, seals = _resume(checkpoints, state, place)
        recorder.resume(start, seals)
        state = recorder.stop(state)
        sizer = BlockSizer(plan.options, compiled.shape.length)
        last_save = time.monotonic()
        while start < compiled.steps and not np.asarray(state.done).all():
            count = sizer.next_size(compiled.steps - start)
            programs = programs_in_turn(plan.options.devices, _count_live(state))
            block_start = time.monotonic()
            state, entries, rows = run_block(plan, compiled, state, inputs, start, count)
            seconds = time.monotonic() - block_start
            sizer.record(seconds / programs, count)
            context.train_s += seconds

            if not recorder.prunes:
                _raise_if_diverged(plan, compiled, chunk, state, inputs, rows, start)
            recorder.record(entries, start, count)
            state = recorder.stop(state)
            start += count
            on_progress(start, what)

            signum = context.stop()
            is_due = time.monotonic() - last_save > plan.options.checkpoint_seconds
            if signum is not None or is_due:
                seals = context.history.seal(stage.name, chunk)
                _save(checkpoints, state, start, {**place, "history": seals})
                last_save = time.monotonic()
            if signum is not None:
                raise Stopped(signum)
        recorder.record_diverged(np.asarray(state.bad_step), inputs.order["steps"])
    _warn_of_blind_monitors(stage, _names(plan, chunk), state)
    handed_on = final_variables(stage, state)
    outcomes = stage_outcomes(plan.training, compiled.shape.stage, plan.shapes["params"], state)
    save_stage(
        context.folder, stage.name, chunk, handed_on, context.origin, context.history, outcomes
    )
    shutil.rmtree(path, ignore_errors=True)
    return handed_on


def _describe(stage: Stage, names: Sequence[str]) -> str:
    others = len(names) - 1
    return f"{stage.name}: {names[0]}" + (f" and {others} more" if others else "")


def _count_live(state: TrainState) -> int:
    """Replicates that still train."""
    return int(np.sum(~np.asarray(state.done)))


def _save(checkpoints: Checkpoints, state: TrainState, time: int, meta: Mapping[str, Any]) -> None:
    """A checkpoint of the real replicates, `meta["replicates"]`."""
    real = len(meta["replicates"])
    saved = jax.tree.map(lambda x: np.asarray(x)[:real], state)
    checkpoints.save(time, saved, {"time": time, **meta})


def _resume(
    checkpoints: Checkpoints, state: TrainState, place: Mapping[str, Any]
) -> tuple[TrainState, int, list[Seal]]:
    """The newest checkpoint's state, time and seals of the history, or the given state at time 0.

    Only real replicates were saved; those that fill the axis are taken from the given state.

    place: what a checkpoint of this training says of itself.
    """
    real = len(place["replicates"])

    def real_part(state):
        return jax.tree.map(lambda x: x[:real], state)

    restored = checkpoints.restore(jax.eval_shape(real_part, state))
    if restored is None:
        return state, 0, []
    saved, meta = restored
    check_origin(checkpoints.directory, meta, place)
    log.info("resuming %s at step %d", checkpoints.directory.name, meta["time"])

    def pad(saved, initial):
        return np.concatenate([saved, np.asarray(initial)[real:]])

    stage, folder = place["stage"], checkpoints.directory
    seals = [Seal(stage, int(r), sha256, folder) for r, sha256 in meta["history"].items()]
    return jax.device_put(jax.tree.map(pad, saved, state)), meta["time"], seals


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


# --- reports of steps that are not finite ---------------------------------------------------------


def _raise_if_diverged(
    plan: Plan,
    compiled: CompiledStage,
    chunk: list[int],
    state: TrainState,
    inputs: BlockInputs,
    rows: dict,
    start: int,
) -> None:
    """Replays the first bad step of the block from time `start` on its own batch.

    Raises:
      TrainingDiverged: a step was not finite; the message is that of `nonfinite.explain`.
    """
    bad_steps = np.asarray(state.bad_step)[: len(chunk)]
    if (bad_steps < 0).all():
        return
    i = int(np.flatnonzero(bad_steps >= 0)[0])
    bad_step, steps = int(bad_steps[i]), int(inputs.order["steps"][i])
    epoch, position = divmod(bad_step, steps)
    replicate = plan.training.replicates[chunk[i]]
    step_of_block = epoch * compiled.shape.per_epoch + position - start
    key = stage_key(replicate.seed, NOISE, compiled.shape.stage)
    variables, optimizer_state = jax.tree.map(
        lambda x: np.asarray(x)[i], (state.variables, state.opt_state)
    )
    raise TrainingDiverged(
        nonfinite.explain(
            compiled.stage,
            variables,
            optimizer_state,
            _batch_of_step(plan, inputs, rows, i, step_of_block),
            jax.random.fold_in(key, bad_step),
            place=(
                f"stage {compiled.stage.name!r}, {replicate.name}, epoch {epoch}, "
                f"batch {position + 1} of {steps}"
            ),
            ids=plan.training.ids,
        )
    )


def _batch_of_step(plan: Plan, inputs: BlockInputs, rows: dict, i: int, step: int) -> dict:
    """The batch of the i-th replicate of a chunk in one step of a block, as host arrays."""
    batch = {}
    for slot, slot_rows in rows.items():
        row = np.asarray(slot_rows["row"])[i, step]
        live = np.asarray(slot_rows["live"])[i, step]
        fields = {name: values[row] for name, values in plan.training.table.items()}
        for name, values in inputs.replicate_table.items():
            fields[name] = np.asarray(values)[i, row]
        batch[slot] = {**fields, "row": row, "live": live}
    return batch
