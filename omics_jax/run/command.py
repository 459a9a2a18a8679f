"""A config in, a run directory out.

    read -> arms -> train and predict, replicate by replicate -> score beside the baselines ->
    conclude -> report

Training and prediction are resumable; everything after them is a function of what they wrote.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.run.directory import (
    check_config,
    check_data,
    environment,
    log_to,
    open_directory,
    prediction_file,
    read_json,
    slug,
    tuning_file,
    write_json,
)
from omics_jax.run.progress import duration, progress
from omics_jax.run.reuse import take_over
from omics_jax.settings.checks import check_choices, check_least

log = logging.getLogger(__name__)

MODES = ("train", "tune", "inspect", "evaluate", "predict")


def run(config: Any, mode: str, workdir: str) -> Path:
    """Carries out one command; returns the run directory.

    Raises:
      UserError: something given is wrong. Stopped: a signal came, the state is saved.
        TrainingDiverged: see there.
    """
    _check_run(config)
    system = system_module(config.system)
    _choose_experiment(system, config)
    folder = open_directory(workdir or f"runs/{config.system}-{config.experiment}")
    from omics_jax.training.devices import fix_order_of_sums

    with log_to(folder):
        _use_compilation_cache()
        fix_order_of_sums()
        if mode == "predict":
            from omics_jax.run.predict import predict

            print_and_log(predict(system, config, folder))
            return folder
        return {"train": train, "tune": tune, "inspect": inspect, "evaluate": evaluate}[mode](
            system, config, folder
        )


def _choose_experiment(system: ModuleType, config: Any) -> None:
    """Sets the system's first experiment where the config names none; refuses an unknown one."""
    config.experiment = config.experiment or next(iter(system.EXPERIMENTS))
    if config.experiment not in system.EXPERIMENTS:
        known = ", ".join(system.EXPERIMENTS)
        raise UserError(
            f"{config.experiment!r} is neither an experiment of {config.system} ({known}) nor a "
            "size that its config knows"
        )


def system_module(name: str) -> ModuleType:
    """The module of a system by name.

    Raises:
      UserError: there is none of that name.
    """
    folder = Path(__file__).parent.parent / "systems"
    known = sorted(p.stem for p in folder.iterdir() if not p.stem.startswith("__"))
    if name not in known:
        raise UserError(f"config.system is {name!r}; choose one of {', '.join(known)}")
    return importlib.import_module(f"omics_jax.systems.{name}")


def train(system: ModuleType, config: Any, folder: Path) -> Path:
    """Trains, predicts, scores and reports; goes on where an earlier command of the same config
    stopped.
    """
    began = time.monotonic()
    check_config(folder, config.to_dict())
    if (folder / "metrics.json").exists():
        print_and_log(
            f"this run is finished; its report is {folder / 'report.html'} (name another --workdir "
            "to run it again)"
        )
        return folder
    arms, options = prepare_arms(system, config, folder)
    timing = train_arms(arms, options, folder)
    score_and_report(system, arms, config, folder, {**timing, "total_s": time.monotonic() - began})
    return folder


def tune(system: ModuleType, config: Any, folder: Path) -> Path:
    """Chooses the tuned hyper-parameters of the experiment, and trains only what they start from.

    --mode=train on the same directory goes on from there (and does all this by itself where it was
    not done before).

    Raises:
      UserError: nothing of this experiment is tuned.
    """
    check_config(folder, config.to_dict())
    arms, options = prepare_arms(system, config, folder, to_tune=True)
    tuned = [arm for arm in arms if arm.tuning]
    sources = {arm.start_from for arm in tuned}
    train_arms(
        [arm for arm in arms if arm.tuning or arm.name in sources], options, folder, tune_only=True
    )
    for arm in tuned:
        chosen = [t for t in read_json(tuning_file(folder, arm))["trials"] if t["best"]][0]
        values = ", ".join(f"{name} {chosen[name]:.3g}" for name in arm.tuning.space)
        print_and_log(
            f"{arm.name}: {values} of {arm.tuning.trials} trials ({tuning_file(folder, arm)})"
        )
    return folder


def prepare_arms(system: ModuleType, config: Any, folder: Path, to_tune: bool = False):
    """The arms of the experiment and how to run them; what was understood of command and data is
    written down.
    """
    dataset = read(system, config)
    arms = system.EXPERIMENTS[config.experiment].arms(config, dataset)
    options = run_options(config)
    if to_tune and not any(arm.tuning for arm in arms):
        raise UserError(
            f"no arm of {config.experiment!r} is tuned; choose another experiment, or --mode=train"
        )
    # Only now is the run begun: what could be wrong with the command has been asked.
    write_summary(folder, dataset)
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", config.to_dict())
    write_json(folder / "training.json", {arm.name: _record(arm) for arm in arms})
    for other in filter(None, (name.strip() for name in config.run.reuse.split(","))):
        print_and_log(
            f"taken over from {other}: "
            f"{', '.join(take_over(Path(other), arms, folder)) or 'nothing new'}"
        )
    return arms, options


def _record(arm) -> dict[str, Any]:
    """What a prediction of new rows needs to know of a trained arm."""
    from omics_jax.study.records import to_record

    return {
        "spec": to_record(arm.spec),
        "config": arm.config.to_dict(),
        "labels": [r.labels for r in arm.replicates],
    }


def read(system: ModuleType, config: Any) -> Dataset:
    """The data, with progress while they are read."""
    with progress("reading") as on_progress:
        return system.read(config, on_progress)


def train_arms(arms, options, folder: Path, tune_only: bool = False) -> dict[str, float]:
    """Trains all arms and saves each replicate's predictions; `tune_only` stops at the choice where
    an arm is tuned.

    Returns:
      seconds: {"compile_s", "train_s"}.
    """
    import jax

    from omics_jax.training.signals import stop_signals

    write_json(
        folder / "environment.json",
        environment(f"{jax.device_count()} x {jax.devices()[0].device_kind}"),
    )
    timing, last = {"compile_s": 0.0, "train_s": 0.0}, {}
    with stop_signals() as request:
        stop = lambda: request.received
        for arm in arms:
            start = last[arm.start_from] if arm.start_from else None
            if arm.tuning:
                arm = _tuned(arm, start, options, folder, stop)
            if arm.tuning and tune_only:
                continue
            spent, last[arm.name] = _train_arm(arm, start, options, folder, stop)
            timing = {key: timing[key] + spent[key] for key in timing}
    return timing


def _tuned(arm, start, options, folder: Path, stop):
    """The arm with the constants that its tuning chooses, or chose before."""
    from omics_jax.run.tuning import tune as run_trials
    from omics_jax.run.tuning import with_constants

    with progress(f"tuning {arm.name}") as on_progress:
        return with_constants(
            arm, run_trials(arm, start, options, tuning_file(folder, arm), stop, on_progress)[0]
        )


def _train_arm(arm, start, options, folder: Path, stop):
    """One arm; returns seconds and the final variables (R, ...)."""
    import jax

    from omics_jax.durable import save_arrays
    from omics_jax.run.scores import rows_of
    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit, is_finished
    from omics_jax.training.plan import Training, estimate_seconds, make_plan
    from omics_jax.training.rows import apply_to_rows, compile_row_function

    system, dataset = arm.system, arm.dataset
    table = system.arrays(dataset)
    training = Training(
        system.stages, system.init, table, dataset.ids, arm.replicates, start, arm.starts
    )
    plan = make_plan(training, options)
    compile_s, checkpoints = 0.0, folder / "checkpoints" / slug(arm.name)
    if not is_finished(plan, checkpoints):
        compile_s, train_s = estimate_seconds(plan)
        trained = f"{len(arm.replicates)} replicates, together on {_rows_used(arm)}"
        print_and_log(f"{arm.name}: {trained}, at most {duration(train_s)} of training")
    parts = ("test", *system.extra_parts)
    width = min(
        system.predict_batch, max(len(rows_of(r, part)) for r in arm.replicates for part in parts)
    )
    predictor = compile_row_function(system.predict, width)
    history = History(folder / "history.jsonl", {"arm": arm.name})
    kept = []
    with progress(arm.name) as on_progress:
        context = RunContext(checkpoints, history, on_progress, stop)
        for chunk, by_stage in fit(plan, context):
            variables = by_stage[system.stages[-1].name]
            kept.append(variables)
            for part in parts:
                rows = [rows_of(arm.replicates[r], part) for r in chunk]
                for r, found in zip(
                    chunk, apply_to_rows(predictor, width, variables, plan.table, rows), strict=True
                ):
                    save_arrays(prediction_file(folder, arm, r, part), found, {})
    variables = jax.tree.map(lambda *parts: np.concatenate(parts), *kept)
    return {"compile_s": compile_s, "train_s": context.train_s}, variables


def evaluate(system: ModuleType, config: Any, folder: Path) -> Path:
    """Scores and reports a finished training again, from its saved predictions.

    Raises:
      UserError: the training here is not finished, or of another config.
    """
    check_config(folder, config.to_dict())
    dataset = read(system, config)
    write_summary(folder, dataset)
    arms = system.EXPERIMENTS[config.experiment].arms(config, dataset)
    missing = [
        r
        for arm in arms
        for r in range(len(arm.replicates))
        if not prediction_file(folder, arm, r).exists()
    ]
    if missing:
        raise UserError(
            f"{folder} lacks the predictions of {len(missing)} replicates; finish it with "
            "--mode=train first"
        )
    old = folder / "metrics.json"
    timing = read_json(old)["timing"] if old.exists() else {}
    score_and_report(system, arms, config, folder, timing)
    return folder


def score_and_report(
    system: ModuleType, arms, config: Any, folder: Path, timing: dict[str, float]
) -> None:
    """Scores, conclusions, tables, `metrics.json`, `predictions.npz` and the report, from the saved
    predictions.
    """
    from omics_jax.report.page import write_report
    from omics_jax.run.scores import metrics_json, save_tables, score_arms

    with progress("scoring") as on_progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        results = score_arms(arms, partial(prediction_file, folder), on_progress)
    for message in dict.fromkeys(
        str(w.message) for w in caught if issubclass(w.category, UserWarning)
    ):
        print_and_log(f"note, while scoring: {message}")
    findings = system.EXPERIMENTS[config.experiment].conclude(results)
    save_tables(folder / "tables", findings.tables, results)
    save_predictions(folder, arms)
    write_json(folder / "metrics.json", metrics_json(config, arms, results, findings, timing))
    print_and_log(f"report: {write_report(folder)}")


def save_predictions(folder: Path, arms) -> None:
    """`predictions.npz`: for every arm and replicate the test rows' ids and what was predicted of
    them.

    Keys "ARM/FIELD" with all replicates' rows one below the other, "ARM/id" and "ARM/replicate"
    naming them.
    """
    from omics_jax.durable import load_arrays

    out = {}
    for arm in arms:
        found = [
            load_arrays(prediction_file(folder, arm, r))[0] for r in range(len(arm.replicates))
        ]
        for field in found[0]:
            out[f"{arm.name}/{field}"] = np.concatenate([f[field] for f in found])
        out[f"{arm.name}/id"] = np.concatenate(
            [arm.dataset.ids[r.test].astype(str) for r in arm.replicates]
        )
        out[f"{arm.name}/replicate"] = np.repeat(
            np.arange(len(found)), [len(r.test) for r in arm.replicates]
        )
    part = folder / "predictions.part.npz"
    np.savez(part, **out)
    os.replace(part, folder / "predictions.npz")


def inspect(system: ModuleType, config: Any, folder: Path) -> Path:
    """Says what was understood of the data and what would be trained; trains nothing."""
    from omics_jax.data.dataset.summary import overlaps
    from omics_jax.evaluation.overlap_text import overlap_text

    dataset = read(system, config)
    write_summary(folder, dataset)
    arms = system.EXPERIMENTS[config.experiment].arms(config, dataset)
    for label, value in read_json(folder / "data.json")["summary"]:
        print_and_log(f"{label:>32}  {value}")
    for note in dataset.notes:
        print_and_log(f"note: {note}")
    if any(not m.observed_rows.all() for m in dataset.modalities.values()):
        print_and_log(f"who has what:\n{overlap_text(overlaps(dataset).head(15))}")
    for arm in arms:
        stages = ", ".join(f"{s.name} (at most {s.epochs} epochs)" for s in arm.system.stages)
        trained = f"{len(arm.replicates)} replicates of {stages}, together on {_rows_used(arm)}"
        print_and_log(f"would train {arm.name}: {trained}")
    return folder


def _rows_used(arm) -> str:
    """How many rows the arm is about: those that any replicate trains on, validates or tests."""
    parts = [
        rows for r in arm.replicates for rows in (*r.rows.values(), *r.validation.values(), r.test)
    ]
    used, there = len(np.unique(np.concatenate(parts))), len(arm.dataset)
    return f"all {there:,} rows" if used == there else f"{used:,} of {there:,} rows"


def write_summary(folder: Path, dataset: Dataset) -> None:
    """`data.json`: what was understood of the data. Refuses a directory begun with other data."""
    from omics_jax.data.dataset.summary import summary

    fingerprint = dataset.fingerprint()
    check_data(folder, fingerprint)
    write_json(
        folder / "data.json",
        {"summary": summary(dataset), "notes": dataset.notes, "fingerprint": fingerprint},
    )


def run_options(config: Any):
    """`config.run` as the trainer's options.

    Raises:
      UserError: more devices than there are.
    """
    from omics_jax.training.devices import choose_devices
    from omics_jax.training.plan import Options

    r = config.run
    return Options(
        devices=choose_devices(r.devices, r.spread),
        strategy=r.strategy,
        chunk=r.chunk,
        block_seconds=r.block_seconds,
        block_steps=r.block_steps,
        checkpoint_seconds=r.checkpoint_seconds,
        resident_bytes=r.resident_mb << 20,
    )


def print_and_log(text: str) -> None:
    """To the user and to the log."""
    print(text, flush=True)
    log.info(text)


def _check_run(config: Any) -> None:
    if not 0 <= config.seed < 2**31:
        raise UserError(f"config.seed is {config.seed}; give a whole number from 0 to {2**31 - 1}")
    check_choices(
        config, {"run.strategy": ("auto", "map", "vmap"), "run.spread": ("data", "replicates")}
    )
    keys = ("devices", "chunk", "block_seconds", "block_steps", "checkpoint_seconds", "resident_mb")
    check_least(config, {f"run.{key}": 0 for key in keys})


def _use_compilation_cache() -> None:
    """Keeps compiled programs between processes, in $OMICS_JAX_CACHE or the user's cache folder."""
    import jax

    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "omics_jax"
    jax.config.update("jax_compilation_cache_dir", os.environ.get("OMICS_JAX_CACHE", str(default)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
