"""Choosing hyper-parameters that are constants of a replicate, with Optuna.

All trials are one batch of replicates in the trainer: the same rows, seed and start, each with its
own constants, so that they share a program. Hyperband prunes them as they go. Because all are drawn
before any has ended, the sampler (TPE) cannot learn from one trial for the next and draws them at
random from the ranges. Left out: hyper-parameters
that change a shape.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omics_jax.durable import as_user_error
from omics_jax.errors import UserError
from omics_jax.run.directory import read_json, write_json
from omics_jax.study.system import Arm, Tuning
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.plan import Options, Plan, Training, make_plan
from omics_jax.training.stage import Variables

Constants = Mapping[str, np.ndarray]


def tune(
    arm: Arm,
    start: Variables | None,
    options: Options,
    file: Path,
    stop: Callable[[], int | None] = lambda: None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The constants of the trial whose watched value became least among those that were neither
    pruned nor diverged.

    A trial's value is its least watched value over the epochs. What was found is written to `file`
    (JSON) at the end, and read from there by a later call. Until then the folder beside it, of the
    same name, holds the trials' checkpoints and history; an interrupted tuning goes on from these
    and ends with the same choice.

    Args:
      arm: one with a tuning.
      start: variables (R, ...) of the arm's replicates to start from, see `Training.start`.
      stop, tell: as in `Surroundings`.

    Returns:
      (constant -> () float32, frame with the columns trial, one per constant, state ("complete",
      "pruned" or "diverged"), value, epochs (trained until its end), best (the chosen one)).

    Raises:
      UserError: no Optuna, a watched value that is not monitored or never finite, or a file of
        another tuning.
      Stopped: as `fit`. TrainingDiverged: in a stage before the last, where nothing is tuned.
    """
    tuning, settings = arm.tuning, asdict(arm.tuning)
    if file.exists():
        record = read_json(file)
        if record["tuning"] != settings:
            raise UserError(
                f"{file} is of another tuning; give the config of that run, or another --workdir"
            )
        trials = pd.DataFrame(record["trials"])
        return _chosen(tuning, trials), trials
    study = _study(tuning, arm.system.stages[-1].epochs)
    asked = [study.ask(_distributions(tuning)) for _ in range(tuning.trials)]
    plan = _plan(arm, start, options, [trial.params for trial in asked])
    _check_watched(arm, plan)
    folder, pruned = file.with_suffix(""), set()
    with as_user_error(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def prune(replicate: int, epoch: int, values: Mapping[str, float]) -> bool:
        if not math.isnan(values.get(tuning.watch, math.nan)):  # in an epoch that is not monitored
            asked[replicate].report(values[tuning.watch], epoch)
            pruned.update({replicate} if asked[replicate].should_prune() else ())
        return replicate in pruned

    history = History(folder / "history.jsonl")
    for _ in fit(plan, RunContext(folder / "checkpoints", history, on_progress, stop, prune=prune)):
        pass
    trials = _table(arm, [trial.params for trial in asked], pruned, history)
    write_json(file, {"arm": arm.name, "tuning": settings, "trials": trials.to_dict("records")})
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return _chosen(tuning, trials), trials


def with_constants(arm: Arm, chosen: Constants) -> Arm:
    """The arm with these constants in all its replicates."""
    return replace(
        arm, replicates=[replace(r, constants={**r.constants, **chosen}) for r in arm.replicates]
    )


def _study(tuning: Tuning, epochs: int):
    """An Optuna study in memory. Its name is fixed, because Hyperband puts trials into brackets by
    it.
    """
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
            return optuna.create_study(
                study_name="tuning",
                sampler=optuna.samplers.TPESampler(seed=tuning.seed),
                # "auto" would prune nothing before a first trial is complete, and all end together.
                pruner=optuna.pruners.HyperbandPruner(
                    min_resource=1, max_resource=epochs, reduction_factor=3
                ),
            )
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(tuning: Tuning) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution

    return {name: FloatDistribution(r.low, r.high, log=r.log) for name, r in tuning.space.items()}


def _plan(
    arm: Arm, start: Variables | None, options: Options, asked: Sequence[Mapping[str, float]]
) -> Plan:
    """The trials as replicates of one chunk."""
    system, replicate = arm.system, arm.replicates[arm.tuning.replicate]
    trials = [
        replace(
            replicate,
            constants={**replicate.constants, **_constants(p)},
            labels={**replicate.labels, "trial": n},
        )
        for n, p in enumerate(asked)
    ]
    starts = [arm.tuning.replicate] * len(trials)
    training = Training(
        system.stages,
        system.init,
        system.arrays(arm.dataset),
        arm.dataset.ids,
        trials,
        start,
        starts,
    )
    return make_plan(training, replace(options, chunk=len(trials)))


def _check_watched(arm: Arm, plan: Plan) -> None:
    last = plan.stages[-1]
    monitored = ("monitor", *last.shape.monitored) if last.stage.monitor is not None else ()
    if arm.tuning.watch not in monitored:
        raise UserError(
            f"the tuning of {arm.name} watches {arm.tuning.watch!r}, which stage "
            f"{last.stage.name!r} does not monitor; watch one of "
            f"{', '.join(monitored) or 'a stage with a monitor'}"
        )


def _table(
    arm: Arm, asked: Sequence[Mapping[str, float]], pruned: set[int], history: History
) -> pd.DataFrame:
    """The trials as `tune` returns them, from what they logged."""
    stage, watch = arm.system.stages[-1], arm.tuning.watch
    watched: dict[int, list[float]] = {n: [] for n in range(len(asked))}
    diverged = set()
    for n, _, values in history.values(stage.name, list(watched), stage.epochs):
        if "diverged" in values:
            diverged.add(n)
        else:
            watched[n].append(values[watch])
    state = [
        "pruned" if n in pruned else "diverged" if n in diverged else "complete" for n in watched
    ]
    least = [
        pd.Series(values, dtype=float).min() for values in watched.values()
    ]  # NaN where none is a number
    epochs = [len(values) for values in watched.values()]
    trials = pd.DataFrame(
        {
            "trial": list(watched),
            **_columns(asked),
            "state": state,
            "value": least,
            "epochs": epochs,
        }
    )
    value = trials["value"].where(trials["state"] == "complete")
    if value.isna().all():
        raise UserError(
            f"no trial of the tuning of {arm.name} ended with a finite {watch!r}; narrow its ranges"
        )
    return trials.assign(best=trials.index == value.idxmin())


def _columns(asked: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {name: [parameters[name] for parameters in asked] for name in asked[0]}


def _chosen(tuning: Tuning, trials: pd.DataFrame) -> dict[str, np.ndarray]:
    best = trials[trials["best"]].iloc[0]
    return _constants({name: best[name] for name in tuning.space})


def _constants(values: Mapping[str, float]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}
