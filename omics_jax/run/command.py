"""The commands, which take a config and write a run directory.

    train      read, make the arms, train and predict every replicate, score, conclude, report
    tune       only choose the tuned constants
    inspect    only show how the data were understood, and what would be trained
    evaluate   score and report a finished training again
    predict    predict new rows with a finished training

Training resumes where it was interrupted; all later steps depend on the saved predictions alone.
Each command imports its own steps, so that `--help` and mistakes in a config are answered before
JAX is loaded.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import omics_jax.systems
from omics_jax.errors import UserError
from omics_jax.run.directory import check_config, log_to, open_directory, tuning_file
from omics_jax.run.lock import locked
from omics_jax.run.manifest import (
    BEGUN_WITH,
    check_begun,
    check_files,
    check_version,
    lost_files,
    named,
    read_manifest,
    set_aside_damaged_manifest,
)
from omics_jax.run.progress import print_and_log
from omics_jax.settings.checks import check_present, check_values
from omics_jax.settings.sections import SHARED_RULES


def run(config: Any, mode: str, workdir: str) -> Path:
    """Carries out one command; returns the run directory.

    mode: one of `MODES`.
    workdir: the run directory; "" for runs/SYSTEM-EXPERIMENT.

    Raises:
      UserError: something in the command, in the data or in the run directory is wrong, or
        another process is at work there.
      Stopped: a signal came; the state is saved.
      TrainingDiverged: an objective or an update was not finite.
    """
    check_values({"system": config.system}, SHARED_RULES)
    method = system_module(config.system)
    rules = getattr(method, "SETTINGS", {})
    check_present(config, rules)
    check_values(config, {**SHARED_RULES, **rules})
    choose_experiment(method, config)
    folder = open_directory(workdir or f"runs/{config.system}-{config.experiment}")
    from omics_jax.training.devices import fix_order_of_sums

    with locked(folder, shared=mode == "predict"), log_to(folder):
        _use_compilation_cache()
        fix_order_of_sums()
        COMMANDS[mode](method, config, folder)
    return folder


def system_module(name: str) -> ModuleType:
    """The module of a system by name.

    Raises:
      UserError: there is none of that name.
    """
    known = sorted(module.name for module in pkgutil.iter_modules(omics_jax.systems.__path__))
    if name not in known:
        raise UserError(f"config.system is {name!r}; choose one of {', '.join(known)}")
    return importlib.import_module(f"omics_jax.systems.{name}")


def train(method: ModuleType, config: Any, folder: Path) -> None:
    """Trains, predicts, scores and reports; goes on where an earlier command stopped."""
    from omics_jax.run.outputs import earlier_timing, list_training, score_and_report
    from omics_jax.run.prepare import prepare_arms
    from omics_jax.run.train import train_arms

    start = time.monotonic()
    check_version(folder)
    set_aside_damaged_manifest(folder)
    check_config(folder, config.to_dict())
    if read_manifest(folder).finished:
        lost = lost_files(folder)
        if not lost:
            report = folder / "report.html"
            print_and_log(
                f"this run is finished; its report is {report} (name another --workdir to run it "
                "again)"
            )
            return
        print_and_log(f"missing or damaged in this finished run, and made again: {named(lost)}")
    arms, options = prepare_arms(method, config, folder)
    timing = train_arms(arms, options, folder)
    list_training(folder, arms)
    timing["total_s"] = time.monotonic() - start
    if not timing.get("train_s"):
        timing = earlier_timing(folder) or timing
    score_and_report(method, arms, config, folder, timing)


def tune(method: ModuleType, config: Any, folder: Path) -> None:
    """Chooses the tuned constants of the experiment, and trains only the arms they start from.

    --mode=train on the same directory goes on from there. It tunes by itself what was not tuned
    before.

    Raises:
      UserError: nothing of this experiment is tuned.
    """
    from omics_jax.run.prepare import prepare_arms
    from omics_jax.run.train import train_arms

    check_version(folder)
    set_aside_damaged_manifest(folder)
    check_config(folder, config.to_dict())
    arms, options = prepare_arms(method, config, folder, to_tune=True)
    tuned = [arm for arm in arms if arm.tuning]
    sources = {name for arm in tuned for name in arm.sources}
    needed = [arm for arm in arms if arm.tuning or arm.name in sources]
    train_arms(needed, options, folder, tune_only=True)
    print_and_log(f"every trial: {tuning_file(folder, tuned[0]).parent}")


def inspect(method: ModuleType, config: Any, folder: Path) -> None:
    """Shows how the data were understood and what would be trained; trains nothing.

    Raises:
      UserError: the experiment cannot be trained on these data, which are shown all the same.
    """
    from omics_jax.run.description import describe_data, write_summary
    from omics_jax.run.inspection import data_lines, training_line
    from omics_jax.run.prepare import arms_of, notes_of, read_data, with_notes

    dataset = read_data(method, config)
    description = describe_data(dataset)
    write_summary(folder, dataset, description)
    for line in data_lines(dataset, description):
        print_and_log(line)
    arms = arms_of(method, config, dataset)
    write_summary(folder, with_notes(dataset, arms), description)
    for note in notes_of(arms):
        print_and_log(f"note: {note}")
    for arm in arms:
        print_and_log(training_line(arm))


def evaluate(method: ModuleType, config: Any, folder: Path) -> None:
    """Scores and reports a finished training again, from its saved predictions.

    Raises:
      UserError: the training here is not finished, or of another config.
    """
    from omics_jax.run.description import describe_data, write_summary
    from omics_jax.run.outputs import earlier_timing, missing_predictions, score_and_report
    from omics_jax.run.prepare import arms_of, read_data, with_notes

    check_version(folder)
    check_begun(folder)
    check_config(folder, config.to_dict())
    check_files(folder, BEGUN_WITH)
    dataset = read_data(method, config)
    arms = arms_of(method, config, dataset)
    write_summary(folder, with_notes(dataset, arms), describe_data(dataset))
    missing = missing_predictions(folder, arms)
    if missing:
        raise UserError(
            f"{folder} lacks the predictions of {len(missing)} replicates, such as {missing[0]}; "
            "finish it with --mode=train first"
        )
    score_and_report(method, arms, config, folder, earlier_timing(folder))


def predict(method: ModuleType, config: Any, folder: Path) -> None:
    """Predicts new rows with a finished training, see `run.predict`."""
    from omics_jax.run.predict import predict_new_rows

    check_version(folder)
    check_begun(folder)
    print_and_log(predict_new_rows(method, config, folder))


COMMANDS = {
    "train": train,
    "tune": tune,
    "inspect": inspect,
    "evaluate": evaluate,
    "predict": predict,
}
MODES = tuple(COMMANDS)


def choose_experiment(method: ModuleType, config: Any) -> None:
    """Sets the system's first experiment where the config names none; refuses an unknown one."""
    config.experiment = config.experiment or next(iter(method.EXPERIMENTS))
    if config.experiment not in method.EXPERIMENTS:
        known = ", ".join(method.EXPERIMENTS)
        raise UserError(
            f"config.experiment is {config.experiment!r}, which is not an experiment of "
            f"{config.system}; choose one of {known} (its sizes, such as smoke or paper, stand in "
            "its file in configs/)"
        )


def _use_compilation_cache() -> None:
    """Keeps compiled programs between processes, in $OMICS_JAX_CACHE or the user's cache folder."""
    import jax

    user_cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    cache = os.environ.get("OMICS_JAX_CACHE", str(user_cache / "omics_jax"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
