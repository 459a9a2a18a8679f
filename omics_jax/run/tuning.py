"""Choosing hyper-parameters that are constants of a replicate, with Optuna.

All trials are one batch of replicates in the trainer: the same rows, seed and start, each with its
own constants, so that they share a program. Hyperband prunes them as they train. All are drawn
before any has ended, so that the sampler (TPE) cannot learn from one trial for the next and draws
at random from the ranges. Left out: hyper-parameters that change a shape.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from omics_jax.durable import as_user_error, check_origin, read_record, write_record
from omics_jax.errors import UserError
from omics_jax.run.directory import to_json
from omics_jax.run.progress import OnProgress
from omics_jax.study.system import Arm, Tuning
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.plan import Options, Plan, Training, make_plan
from omics_jax.training.stage import Replicate, Variables

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import FloatDistribution

Constants = Mapping[str, np.ndarray]
Parameters = Mapping[str, float]  # constant -> the value that a trial tries


def choose_constants(
    arm: Arm,
    start: Variables | None,
    options: Options,
    file: Path,
    stop: Callable[[], int | None] = lambda: None,
    on_progress: OnProgress = lambda done, total, doing: None,
    origin: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The constants of the best trial that was neither pruned nor diverged.

    A trial's value is its least watched value over the epochs; the best trial has the least. The
    choice is written to `file` (JSON) at the end, and read from there by a later call. Until then
    the folder of the same name beside it holds the trials' checkpoints and history; an interrupted
    tuning goes on from these and ends with the same choice.

    Args:
      arm: one with a tuning.
      start: variables (R, ...) of the arm's replicates to start from, see `Training.start`.
      stop, on_progress, origin: as in `RunContext`; the choice says its origin, too.

    Returns:
      (constant -> () float32, frame with the columns trial, one per constant, state ("complete",
      "pruned" or "diverged"), value, epochs (trained until its end), best (the chosen one)).

    Raises:
      UserError: no Optuna, a watched value that is not monitored or never finite, or a file of
        another tuning.
      Stopped: as `fit`. TrainingDiverged: in a stage before the last, where nothing is tuned.
    """
    tuning = arm.tuning
    if file.exists():
        table = _read_trials(file, tuning, origin)
        return _best_constants(tuning, table), table
    study = _create_study(tuning, arm.system.stages[-1].epochs)
    trials = [study.ask(_distributions(tuning)) for _ in range(tuning.trials)]
    parameters = [trial.params for trial in trials]
    plan = _trial_plan(arm, start, options, parameters)
    _check_watched(arm, plan)
    folder = file.with_suffix("")
    with as_user_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pruned: set[int] = set()
    history = History(folder / "history.jsonl")
    prune = _pruner(tuning.watch, trials, pruned)
    context = RunContext(
        folder / "checkpoints",
        history,
        on_progress,
        stop,
        prune=prune,
        origin={**origin, "tuning": True},
    )
    for _ in fit(plan, context):
        pass
    table = _trial_table(arm, parameters, pruned, history)
    record = {"arm": arm.name, "tuning": asdict(tuning), "trials": table.to_dict("records")}
    write_record(file, to_json({**record, **origin}))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return _best_constants(tuning, table), table


def with_constants(arm: Arm, constants: Constants) -> Arm:
    """The arm with these constants in all its replicates."""
    return replace(arm, replicates=[_add_constants(r, constants) for r in arm.replicates])


def _add_constants(replicate: Replicate, constants: Constants) -> Replicate:
    return replace(replicate, constants={**replicate.constants, **constants})


def _read_trials(file: Path, tuning: Tuning, origin: Mapping[str, str]) -> pd.DataFrame:
    """The trials of a finished tuning; refuses those of another one."""
    record = read_record(file)
    check_origin(file, record, origin)
    if record["tuning"] != asdict(tuning):
        raise UserError(
            f"{file} is of another tuning; give the config of that run, or another --workdir"
        )
    return pd.DataFrame(record["trials"])


def _create_study(tuning: Tuning, epochs: int) -> Study:
    """An Optuna study in memory. Its name is fixed, for Hyperband assigns brackets by it."""
    try:
        import optuna
    except ImportError:
        raise UserError(
            "tuning needs Optuna; install it with pip install 'omics_jax[tune]'"
        ) from None
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=tuning.seed)
            # max_resource="auto" would prune nothing before a first trial is complete, and all end
            # together.
            pruner = optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=epochs, reduction_factor=3
            )
            return optuna.create_study(study_name="tuning", sampler=sampler, pruner=pruner)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(tuning: Tuning) -> dict[str, FloatDistribution]:
    from optuna.distributions import FloatDistribution

    return {name: FloatDistribution(r.low, r.high, log=r.log) for name, r in tuning.space.items()}


def _trial_plan(
    arm: Arm, start: Variables | None, options: Options, parameters: Sequence[Parameters]
) -> Plan:
    """The trials as replicates of one chunk."""
    system, replicate = arm.system, arm.replicates[arm.tuning.replicate]
    trials = [
        replace(
            _add_constants(replicate, _as_constants(values)),
            labels={**replicate.labels, "trial": number},
        )
        for number, values in enumerate(parameters)
    ]
    table, ids = system.arrays(arm.dataset), arm.dataset.ids
    starts = [arm.tuning.replicate] * len(trials)
    training = Training(system.stages, system.init, table, ids, trials, start, starts)
    return make_plan(training, replace(options, chunk=len(trials)))


def _check_watched(arm: Arm, plan: Plan) -> None:
    """Refuses a watched value that the last stage does not monitor."""
    last = plan.stages[-1]
    monitored = ("monitor", *last.shape.monitored) if last.stage.monitor is not None else ()
    if arm.tuning.watch not in monitored:
        raise UserError(
            f"the tuning of {arm.name} watches {arm.tuning.watch!r}, which stage "
            f"{last.stage.name!r} does not monitor; watch one of "
            f"{', '.join(monitored) or 'a stage with a monitor'}"
        )


def _pruner(
    watch: str, trials: Sequence[Trial], pruned: set[int]
) -> Callable[[int, int, Mapping[str, float]], bool]:
    """`RunContext.prune` by Optuna's pruner; adds the trials that it stops to `pruned`."""

    def prune(number: int, epoch: int, values: Mapping[str, float]) -> bool:
        value = values.get(watch, math.nan)
        if not math.isnan(value):  # it is in an epoch without monitor
            trials[number].report(value, epoch)
            if trials[number].should_prune():
                pruned.add(number)
        return number in pruned

    return prune


def _trial_table(
    arm: Arm, parameters: Sequence[Parameters], pruned: set[int], history: History
) -> pd.DataFrame:
    """The trials as `choose_constants` returns them, from what they logged."""
    stage, watch = arm.system.stages[-1], arm.tuning.watch
    watched: dict[int, list[float]] = {number: [] for number in range(len(parameters))}
    diverged = set()
    for number, _, values in history.values(stage.name, list(watched), stage.epochs):
        if "diverged" in values:
            diverged.add(number)
        else:
            watched[number].append(values[watch])

    def state(number: int) -> str:
        if number in pruned:
            return "pruned"
        return "diverged" if number in diverged else "complete"

    columns = {"trial": list(watched)}
    for name in parameters[0]:
        columns[name] = [values[name] for values in parameters]
    columns["state"] = [state(number) for number in watched]
    columns["value"] = [_least(values) for values in watched.values()]
    columns["epochs"] = [len(values) for values in watched.values()]
    table = pd.DataFrame(columns)
    complete = table["value"].where(table["state"] == "complete")
    if complete.isna().all():
        raise UserError(
            f"no trial of the tuning of {arm.name} ended with a finite {watch!r}; narrow its ranges"
        )
    return table.assign(best=table.index == complete.idxmin())


def _least(values: Sequence[float]) -> float:
    """The least of the numbers, NaN where there is none."""
    return pd.Series(values, dtype=float).min()


def _best_constants(tuning: Tuning, table: pd.DataFrame) -> dict[str, np.ndarray]:
    best = table[table["best"]].iloc[0]
    return _as_constants({name: best[name] for name in tuning.space})


def _as_constants(values: Parameters) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}
