"""A config in, a run directory out.

    read -> arms -> train and predict, replicate by replicate -> score beside the baselines -> conclude -> report

Training and prediction are resumable; everything after them is a function of what they wrote.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from omics_jax.data.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.progress import duration, progress
from omics_jax.run_directory import check_config, check_data, environment, log_to, open_directory, read_json, write_json

log = logging.getLogger(__name__)

MODES = ("train", "inspect", "evaluate", "predict")


def run(config: Any, mode: str, workdir: str) -> Path:
    """Carries out one command; returns the run directory.

    Raises:
      UserError: something given is wrong. Stopped: a signal came, the state is saved. TrainingDiverged: see there.
    """
    _check_run(config)
    system = system_module(config.system)
    if config.experiment not in system.EXPERIMENTS:
        known = ", ".join(system.EXPERIMENTS)
        raise UserError(f"config.experiment is {config.experiment!r}; {config.system} has {known}")
    folder = open_directory(workdir or f"runs/{config.system}-{config.experiment}")
    with log_to(folder):
        _use_compilation_cache()
        return {"train": train, "inspect": inspect, "evaluate": evaluate, "predict": predict}[mode](
            system, config, folder
        )


def system_module(name: str) -> ModuleType:
    """The module of a system by name.

    Raises:
      UserError: there is none of that name.
    """
    folder = Path(__file__).parent / "systems"
    known = sorted(p.stem for p in folder.iterdir() if p.stem != "system" and not p.stem.startswith("__"))
    if name not in known:
        raise UserError(f"config.system is {name!r}; choose one of {', '.join(known)}")
    return importlib.import_module(f"omics_jax.systems.{name}")


def train(system: ModuleType, config: Any, folder: Path) -> Path:
    """Trains, predicts, scores and reports; goes on where an earlier command of the same config stopped."""
    began = time.monotonic()
    check_config(folder, config.to_dict())
    if (folder / "metrics.json").exists():
        say(f"this run is finished; its report is {folder / 'report.html'} (name another --workdir to run it again)")
        return folder
    dataset = system.read(config)
    arms, options = system.EXPERIMENTS[config.experiment](config, dataset), run_options(config)
    # Only now is the run begun: what could be wrong with the command has been asked.
    write_summary(folder, dataset)
    if not (folder / "config.json").exists():
        write_json(folder / "config.json", config.to_dict())
    record = {a.name: {"spec": asdict(a.spec), "labels": [r.labels for r in a.replicates]} for a in arms}
    write_json(folder / "training.json", record)
    timing = train_arms(arms, options, folder)
    finish(arms, config, folder, {**timing, "total_s": time.monotonic() - began})
    return folder


def train_arms(arms, options, folder: Path) -> dict[str, float]:
    """Trains all arms and saves each replicate's predictions of its test rows.

    Returns:
      seconds: {"compile_s", "train_s"}.
    """
    import jax

    from omics_jax.training.signals import stop_signals

    write_json(folder / "environment.json", environment(f"{jax.device_count()} x {jax.devices()[0].device_kind}"))
    timing, last = {"compile_s": 0.0, "train_s": 0.0}, {}
    with stop_signals() as request:
        for arm in arms:
            spent, last[arm.name] = _train_arm(arm, last, options, folder, lambda: request.received)
            timing = {key: timing[key] + spent[key] for key in timing}
    return timing


def _train_arm(arm, last, options, folder: Path, stop):
    """One arm; returns seconds and the final variables (R, ...)."""
    import jax

    from omics_jax.durable import save_arrays
    from omics_jax.training.history import History
    from omics_jax.training.loop import Surroundings, fit
    from omics_jax.training.plan import Training, estimate_seconds, make_plan
    from omics_jax.training.rows import compile_rows, over_rows

    system, dataset = arm.system, arm.dataset
    start = last[arm.start_from] if arm.start_from else None
    plan = make_plan(
        Training(system.stages, system.init, system.arrays(dataset), dataset.ids, arm.replicates, start), options
    )
    compile_s, train_s = estimate_seconds(plan)
    say(f"{arm.name}: {len(arm.replicates)} replicates, at most {duration(train_s)} of training")
    width = min(system.predict_batch, max(len(r.test) for r in arm.replicates))
    predictor = compile_rows(system.predict, width)
    history = History(folder / "history.jsonl", {"arm": arm.name})
    kept = []
    with progress(arm.name) as tell:
        around = Surroundings(folder / "checkpoints" / slug(arm.name), history, tell, stop)
        for chunk, by_stage in fit(plan, around):
            variables = by_stage[system.stages[-1].name]
            kept.append(variables)
            rows = [arm.replicates[r].test for r in chunk]
            for r, found in zip(chunk, over_rows(predictor, width, variables, plan.table, rows), strict=True):
                save_arrays(prediction_file(folder, arm, r), found, {})
    variables = jax.tree.map(lambda *parts: np.concatenate(parts), *kept)
    return {"compile_s": compile_s, "train_s": around.train_s}, variables


def evaluate(system: ModuleType, config: Any, folder: Path) -> Path:
    """Scores and reports a finished training again, from its saved predictions.

    Raises:
      UserError: the training here is not finished, or of another config.
    """
    check_config(folder, config.to_dict())
    dataset = system.read(config)
    write_summary(folder, dataset)
    arms = system.EXPERIMENTS[config.experiment](config, dataset)
    missing = [r for arm in arms for r in range(len(arm.replicates)) if not prediction_file(folder, arm, r).exists()]
    if missing:
        raise UserError(
            f"{folder} lacks the predictions of {len(missing)} replicates; finish it with --mode=train first"
        )
    old = folder / "metrics.json"
    timing = read_json(old)["timing"] if old.exists() else {}
    finish(arms, config, folder, timing)
    return folder


def finish(arms, config: Any, folder: Path, timing: dict[str, float]) -> None:
    """Scores, conclusions, tables, `metrics.json`, `predictions.npz` and the report, from the saved predictions."""
    from omics_jax.report.page import write_report
    from omics_jax.scores import metrics_json, save_tables, score_arms

    with progress("scoring") as tell:
        results = score_arms(arms, lambda arm, r: prediction_file(folder, arm, r), tell)
    findings = arms[0].system.conclude(results)
    save_tables(folder / "tables", findings.tables, results)
    save_predictions(folder, arms)
    write_json(folder / "metrics.json", metrics_json(config, arms, results, findings, timing))
    say(f"report: {write_report(folder)}")


def save_predictions(folder: Path, arms) -> None:
    """`predictions.npz`: for every arm and replicate the test rows' ids and what was predicted of them.

    Keys "ARM/FIELD" with all replicates' rows one below the other, "ARM/id" and "ARM/replicate" naming them.
    """
    from omics_jax.durable import load_arrays

    out = {}
    for arm in arms:
        found = [load_arrays(prediction_file(folder, arm, r))[0] for r in range(len(arm.replicates))]
        for field in found[0]:
            out[f"{arm.name}/{field}"] = np.concatenate([f[field] for f in found])
        out[f"{arm.name}/id"] = np.concatenate([arm.dataset.ids[r.test].astype(str) for r in arm.replicates])
        out[f"{arm.name}/replicate"] = np.repeat(np.arange(len(found)), [len(r.test) for r in arm.replicates])
    part = folder / "predictions.part.npz"
    np.savez(part, **out)
    os.replace(part, folder / "predictions.npz")


def inspect(system: ModuleType, config: Any, folder: Path) -> Path:
    """Says what was understood of the data and what would be trained; trains nothing."""
    dataset = system.read(config)
    write_summary(folder, dataset)
    arms = system.EXPERIMENTS[config.experiment](config, dataset)
    for label, value in read_json(folder / "data.json")["summary"]:
        say(f"{label:>32}  {value}")
    for note in dataset.notes:
        say(f"note: {note}")
    for arm in arms:
        stages = ", ".join(f"{s.name} (at most {s.epochs} epochs)" for s in arm.system.stages)
        say(f"would train {arm.name}: {len(arm.replicates)} replicates of {stages}")
    return folder


def predict(system: ModuleType, config: Any, folder: Path) -> Path:
    """Predicts new rows (`config.data.path`) with every trained replicate of the run in the directory.

    Writes `predictions-NAME/GROUP.FIELD.csv`, NAME being the file's, for each group of replicates (drug): the mean over
    its replicates, and their s.d. as FIELD_between_replicates.

    Raises:
      UserError: no finished training of one arm here, or data that lack what it was trained on.
    """
    import pandas as pd
    from ml_collections import ConfigDict

    from omics_jax.systems.system import DataSpec
    from omics_jax.training.loop import load_variables
    from omics_jax.training.rows import compile_rows, over_rows

    if not (folder / "metrics.json").exists():
        raise UserError(f"{folder} holds no finished training; name one with --workdir, or finish it with --mode=train")
    record = read_json(folder / "training.json")
    if len(record) > 1:
        raise UserError(f"the run in {folder} compares {len(record)} arms; predict with a run that trained one")
    (name, arm), trained = next(iter(record.items())), ConfigDict(read_json(folder / "config.json"))
    tuples = lambda part: {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
    spec = DataSpec(**{field: tuples(part) for field, part in arm["spec"].items()})
    new, model = system.read_new(config, spec), system.build(trained, spec)
    rows, table = np.arange(len(new)), model.arrays(new)
    width = min(model.predict_batch, len(rows))
    predictor = compile_rows(model.predict, width)
    by_group: dict[str, list[dict[str, np.ndarray]]] = {}
    for r, variables in load_variables(folder / "checkpoints" / slug(name), model.stages[-1].name):
        group = str(arm["labels"][r].get("group", "all"))
        by_group.setdefault(group, []).append(over_rows(predictor, width, variables, table, [rows])[0])
    out = folder / f"predictions-{slug(Path(config.data.path).stem)}"
    out.mkdir(exist_ok=True)
    for group, found in by_group.items():
        for field, columns in model.columns.items():
            stacked = np.stack([f[field] for f in found])
            for suffix, values in (("", stacked.mean(axis=0)), ("_between_replicates", stacked.std(axis=0))):
                frame = pd.DataFrame(values, index=pd.Index(new.ids, name="id"), columns=list(columns))
                frame.to_csv(out / f"{slug(group)}.{field}{suffix}.csv")
    for note in new.notes:
        say(f"note: {note}")
    say(f"{len(rows)} rows predicted for {', '.join(by_group)}: {out}")
    return folder


def write_summary(folder: Path, dataset: Dataset) -> None:
    """`data.json`: what was understood of the data. Refuses a directory begun with other data."""
    fingerprint = dataset.fingerprint()
    check_data(folder, fingerprint)
    write_json(folder / "data.json", {"summary": summary(dataset), "notes": dataset.notes, "fingerprint": fingerprint})


def summary(dataset: Dataset) -> list[tuple[str, str]]:
    """Labels and values: rows, groups, what is observed of each modality, the commonest annotations."""
    lines = [
        ("rows", f"{len(dataset):,}"),
        ("groups that are never split", f"{len(np.unique(dataset.groups.astype(str))):,}"),
    ]
    for name, m in dataset.modalities.items():
        rows = int(m.observed_rows.sum())
        cells = m.mask[m.observed_rows].mean() if rows else 0.0
        lines.append(
            (f"{name}", f"{rows:,} rows x {len(m.features):,} features, {1 - cells:.1%} of their cells missing")
        )
        if rows:
            low, high = np.quantile(m.values[m.mask], [0.01, 0.99])
            lines.append((f"{name}, 1st to 99th percentile", f"{low:.3g} to {high:.3g}"))
    for column in dataset.table.columns:
        text = dataset.table[column].astype(str)
        counts = text[text != ""].value_counts()
        if 0 < len(counts) <= max(20, len(dataset) // 4):
            shown = ", ".join(f"{k} ({v})" for k, v in counts.head(6).items())
            lines.append((str(column), shown + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")))
    return lines


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


def prediction_file(folder: Path, arm, replicate: int) -> Path:
    """Where a replicate's predictions of its test rows lie."""
    return folder / "checkpoints" / slug(arm.name) / f"predictions-{replicate:04d}.npz"


def slug(name: str) -> str:
    """A name as part of a path."""
    return "".join(c if c.isalnum() else "-" for c in name)


def say(text: str) -> None:
    """To the user and to the log."""
    print(text, flush=True)
    log.info(text)


def _check_run(config: Any) -> None:
    if not 0 <= config.seed < 2**31:
        raise UserError(f"config.seed is {config.seed}; give a whole number from 0 to {2**31 - 1}")
    choices = {"strategy": ("auto", "map", "vmap"), "spread": ("data", "replicates")}
    for key, allowed in choices.items():
        if config.run[key] not in allowed:
            raise UserError(f"config.run.{key} is {config.run[key]!r}; choose one of {', '.join(allowed)}")
    for key in ("devices", "chunk", "block_seconds", "block_steps", "checkpoint_seconds", "resident_mb"):
        if config.run[key] < 0:
            raise UserError(f"config.run.{key} is {config.run[key]}; give 0 or more")


def _use_compilation_cache() -> None:
    """Keeps compiled programs between processes, in $OMICS_JAX_CACHE or the user's cache folder."""
    import jax

    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "omics_jax"
    jax.config.update("jax_compilation_cache_dir", os.environ.get("OMICS_JAX_CACHE", str(default)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
