"""The loop: chunks of replicates through stages, block by block, with what a long run needs around it.

Replicates are cut into chunks that share one program; a chunk goes through all stages before the next begins, so
results appear early and memory holds one chunk. Whatever acts on the outside world (history, checkpoints, signals,
progress, reports of non-finite steps) acts at the end of a block.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from omics_jax.errors import Stopped, TrainingDiverged
from omics_jax.training import nonfinite
from omics_jax.training.checkpoints import Checkpoints
from omics_jax.training.durable import DamagedFile, load_arrays, save_arrays
from omics_jax.training.freezing import leaf_path
from omics_jax.training.history import History
from omics_jax.training.order import NOISE
from omics_jax.training.plan import CompiledStage, Options, Plan, filled, first_variables, run_block, start_stage
from omics_jax.training.stage import Variables

log = logging.getLogger(__name__)


@dataclass
class Surroundings:
    """The outside world of a training: where it writes, whom it tells, who may stop it.

    folder: of checkpoints and of what finished stages hand on. progress: (steps done, steps in all, what is running).
    stop: the number of the signal that asks to stop, or None. train_s: seconds spent in blocks, added to as they pass.
    """

    folder: Path
    history: History
    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    stop: Callable[[], int | None] = lambda: None
    train_s: float = 0.0


def fit(plan: Plan, around: Surroundings) -> Iterator[tuple[list[int], dict[str, Variables]]]:
    """Trains all replicates; yields, chunk by chunk, their indices and stage name -> variables (c, ...), host arrays.

    A stage found finished on disk is loaded, a running one is resumed from its newest intact checkpoint.

    Raises:
      Stopped: a signal arrived; the running state is saved.
      TrainingDiverged: a step was not finite.
    """
    around.folder.mkdir(parents=True, exist_ok=True)
    total = sum(compiled.steps for compiled in plan.stages) * len(plan.chunks)
    done = 0
    for number, chunk in enumerate(plan.chunks):
        variables = first_variables(plan, filled(chunk, plan.size))
        by_stage = {}
        for compiled in plan.stages:
            tell = lambda steps, what, before=done: around.progress(before + steps, total, what)
            path = around.folder / f"{number:04d}-{compiled.stage.name}"
            variables = _load(path, variables, around) or _train(plan, compiled, around, path, chunk, variables, tell)
            by_stage[compiled.stage.name] = variables
            tell(compiled.steps, compiled.stage.name)
            done += compiled.steps
        yield chunk, jax.tree.map(lambda x, n=len(chunk): x[:n], by_stage)


def _load(path: Path, like: Variables, around: Surroundings) -> Variables | None:
    """What a finished stage handed on; None if it has not finished, or if its file is damaged."""
    file = path.with_suffix(".npz")
    if not file.exists():
        return None
    try:
        arrays, meta = load_arrays(file)
    except DamagedFile as error:
        log.warning("%s It is set aside and the stage is trained again.", error)
        file.rename(file.with_suffix(".damaged"))
        return None
    around.history.confirm(meta["history"])
    return jax.tree_util.tree_map_with_path(lambda key, _: arrays[leaf_path(key)], dict(like))


def load_variables(folder: Path, stage: str) -> Iterator[tuple[int, Variables]]:
    """Every replicate with what its finished stage handed on: index, variables with a leading axis of 1.

    Raises:
      DamagedFile: a file's bytes are not those that were written.
    """
    for file in sorted(folder.glob(f"*-{stage}.npz")):
        arrays, meta = load_arrays(file)
        for place, replicate in enumerate(meta["replicates"]):
            variables: dict = {"params": {}, "batch_stats": {}, "constants": {}}
            for path, values in arrays.items():
                *parents, leaf = path.split("/")
                node = variables
                for parent in parents:
                    node = node.setdefault(parent, {})
                node[leaf] = values[place : place + 1]
            yield replicate, variables


def _train(plan: Plan, compiled: CompiledStage, around, path: Path, chunk, variables, tell) -> Variables:
    """One stage of one chunk, from its start or its newest checkpoint to its end."""
    names = [plan.training.replicates[i].name for i in chunk]
    what = f"{compiled.stage.name}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    state, inputs = start_stage(plan, compiled, filled(chunk, plan.size), len(chunk), variables)
    with Checkpoints(path) as checkpoints:
        state, at = _resume(checkpoints, state, around)
        around.history.rewind()
        pace, saved = Pace(plan.options, compiled.shape.length), time.monotonic()
        while at < compiled.steps and not np.asarray(state.done).all():
            count, began = pace.steps(compiled.steps - at), time.monotonic()
            state, entries, rows = run_block(plan, compiled, state, inputs, at, count)
            pace.took(time.monotonic() - began, count)
            around.train_s += time.monotonic() - began
            if (np.asarray(state.bad_step)[: len(chunk)] >= 0).any():
                raise TrainingDiverged(_diagnosis(plan, compiled, chunk, state, inputs, rows, at))
            _write_history(around.history, compiled, entries, names, chunk, at, count)
            at += count
            tell(at, what)
            signum = around.stop()
            if signum is not None or time.monotonic() - saved > plan.options.checkpoint_seconds:
                checkpoints.save(at, state, {"time": at, "history": around.history.length})
                saved = time.monotonic()
            if signum is not None:
                raise Stopped(signum)
    outcome = jax.tree.map(np.asarray, state.outcome)
    arrays = {leaf_path(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(dict(outcome))}
    save_arrays(path.with_suffix(".npz"), arrays, {"history": around.history.length, "replicates": list(chunk)})
    shutil.rmtree(path, ignore_errors=True)
    return outcome


def _resume(checkpoints: Checkpoints, state, around):
    restored = checkpoints.restore(jax.eval_shape(lambda s: s, state))
    if restored is None:
        return state, 0
    state, meta = restored
    around.history.confirm(meta["history"])
    log.info("resuming %s at step %d", checkpoints.directory.name, meta["time"])
    return jax.device_put(state), meta["time"]


class Pace:
    """How many steps the next block gets, so that it takes about `block_seconds` (or `block_steps`, where set)."""

    def __init__(self, options: Options, longest: int):
        self.seconds, self.longest = options.block_seconds, longest
        self.fixed = bool(options.block_steps)
        self.next = longest if self.fixed else 1

    def steps(self, left: int) -> int:
        """Steps of the next block, of which `left` remain."""
        return min(max(self.next, 1), self.longest, left)

    def took(self, seconds: float, count: int) -> None:
        """The last block of `count` steps took so long."""
        if not self.fixed:
            self.next = int(min(self.seconds / max(seconds / count, 1e-6), 8 * count))


def _write_history(history: History, compiled: CompiledStage, entries, names, chunk, at: int, count: int) -> None:
    per_epoch = compiled.shape.per_epoch
    first = at // per_epoch
    for e in range((at + count) // per_epoch - first):
        for i, name in enumerate(names):
            if entries["trained"][i, e]:
                values = {k: float(v[i, e]) for k, v in entries.items() if k != "trained"}
                place = {"stage": compiled.stage.name, "replicate": chunk[i], "label": name, "epoch": first + e}
                history.write({**place, **values})


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
    variables = jax.tree.map(lambda x: np.asarray(x)[i], state.variables)
    return nonfinite.explain(compiled.stage, variables, batch, key, where=where, ids=training.ids)
