"""Prediction of new rows with a finished run: a file in, tables of predictions out.

A prediction is the mean over the replicates (folds) of a group, with their standard deviation,
unless the system pools it in another way (`System.pool_new`). A replicate that was not trained on a
feature does not predict its cells; the mean is over the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.quality import range_warnings
from omics_jax.data.formats.annotated import AnnotatedMatrix, can_write
from omics_jax.data.memory import memory_limit
from omics_jax.durable import as_user_error, write_arrays, write_atomically
from omics_jax.errors import UserError
from omics_jax.file_names import file_name
from omics_jax.run.annotated import Matrices, not_written, write_matrices
from omics_jax.run.bounds import NO_QUANTILES, stored_quantiles
from omics_jax.run.description import describe_data
from omics_jax.run.directory import read_json
from omics_jax.run.manifest import check_files, read_manifest
from omics_jax.settings.sections import PREDICTION_SECTIONS, prediction_config
from omics_jax.study.members import over_replicates
from omics_jax.study.records import from_record
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.training.rows import apply_to_rows, compile_row_function
from omics_jax.training.stage import Variables
from omics_jax.training.stage_files import load_variables, stage_file

# Modality -> the smallest and the largest training value of each feature, nan for none.
Ranges = Mapping[str, tuple[np.ndarray, np.ndarray]]


def predict_new_rows(method: ModuleType, config: Any, folder: Path) -> str:
    """Predicts new rows (`config.data.path`) with every trained replicate of one arm of the run.

    The arm is `config.run.arm`, or the one that the run's summary speaks of. Writes
    `predictions-ARM-FILE/`: for each group of replicates (drug) GROUP.FIELD.csv, the mean over its
    replicates (of a series, a line per row and step), and their standard deviation as
    GROUP.FIELD_between_replicates.csv; for each replicate GROUP-N.npz with every field.

    Returns:
      what was written, in words.

    Raises:
      UserError: no finished training here, a file of it that is missing or damaged, no arm of that
        name, or data that lack what it was trained on.
    """
    arm, record = _trained_arm(folder, config.run.arm)
    origin = {"arm": arm, "training": record["identity"]}
    system = _rebuild(method, config, record, folder)
    with memory_limit(config.run.memory_gb):
        new = system.read_new(config)
    predict = _compile_prediction(system, new)
    source = Path(system.sources(config)[0])
    out = _prediction_folder(folder, arm, source, new.ids)
    replicates = range(len(record["labels"]))
    checkpoints, stage = folder / "checkpoints" / file_name(arm), system.stages[-1].name
    # All of them before the first prediction is written: a mean over a part is another number.
    files = [stage_file(checkpoints, stage, r) for r in replicates]
    check_files(folder, [file.relative_to(folder).as_posix() for file in files])
    quantiles = stored_quantiles(folder, arm)
    with as_user_error(out):
        out.mkdir(exist_ok=True)
    by_group: dict[str, list[Predictions]] = {}
    vectors: dict[str, Matrices] = {}  # as the first replicate of each group has them
    warnings = list(describe_data(new).warnings)
    ranges: Ranges = {}
    shares: dict[str, list[float]] = {}
    for r, variables in load_variables(checkpoints, stage, replicates, origin):
        of_replicate = jax.tree.map(lambda leaf: leaf[0], variables)
        ranges = _wider(ranges, system.training_range(of_replicate))
        group = str(record["labels"][r].get("group", "all"))
        fields = _within_range(system.prediction_range(of_replicate), predict(variables), shares)
        arrays = {"id": new.ids.astype(str), **fields}
        write_arrays(out / f"{file_name(group)}-{r}.npz", arrays)
        if group not in vectors:
            vectors[group] = system.annotated(fields, new)
        by_group.setdefault(group, []).append(_fields_to_keep(system, fields))
    warnings += [*_range_warnings(system, ranges, new), *_clipping_warnings(shares)]
    for group, predictions in by_group.items():
        of_group = quantiles[quantiles["group"] == group]
        _write_group(out / file_name(group), predictions, new, system, vectors[group], of_group)
        warnings += [f"{group}: {warning}" for warning in system.prediction_warnings(predictions)]
    names = dict.fromkeys([*system.matrices, *(name for own in vectors.values() for name in own)])
    if names and not can_write():
        warnings.append(not_written(names))
    without = [NO_QUANTILES] if system.bounds and quantiles.empty else []
    notes = "".join(f"note: {note}\n" for note in (*new.notes, *without))
    notes += "".join(f"warning: {warning}\n" for warning in warnings)
    groups, models = ", ".join(by_group), _models_text(map(len, by_group.values()))
    return f"{notes}{len(new)} rows predicted by {arm!r} for {groups} ({models}): {out}"


def _models_text(counts: Iterable[int]) -> str:
    """How many models a group's prediction is the mean of."""
    least, most = (counts := sorted(counts))[0], counts[-1]
    number = str(most) if least == most else f"{least} to {most}"
    return f"each the mean of {number} model{'s' if most > 1 else ''}"


def _trained_arm(folder: Path, chosen: str) -> tuple[str, dict[str, Any]]:
    """Name and record of the arm to predict with."""
    if not read_manifest(folder).finished:
        raise UserError(
            f"{folder} holds no finished training; name one with --workdir, or finish it with "
            "--mode=train"
        )
    check_files(folder, ["training.json"] if chosen else ["training.json", "metrics.json"])
    records = read_json(folder / "training.json")
    name = chosen or next(iter(read_json(folder / "metrics.json")["arms"]))
    if name not in records:
        raise UserError(
            f"the run in {folder} has no arm {name!r}; set config.run.arm to one of "
            f"{', '.join(records)}"
        )
    return name, records[name]


def _rebuild(method: ModuleType, config: Any, record: Mapping[str, Any], folder: Path) -> System:
    """The system as it was trained, with the command's own settings of a prediction."""
    _check_version(config.to_dict(), record["config"], folder)
    trained = prediction_config(ConfigDict(record["config"]), config)
    spec = from_record(getattr(method, "Spec", DataSpec), record["spec"])
    return method.build(trained, spec)


def _check_version(
    current: Mapping[str, Any], trained: Mapping[str, Any], folder: Path, place: str = "config"
) -> None:
    """Refuses a run whose config lacks a field that this version's config has."""
    for key, value in current.items():
        if key not in trained:
            raise UserError(
                f"the run in {folder} is of an older version, which knew no {place}.{key}; predict "
                "with the version that its environment.json names, or train it again"
            )
        nested = isinstance(value, Mapping) and isinstance(trained[key], Mapping)
        if nested and key not in PREDICTION_SECTIONS:
            _check_version(value, trained[key], folder, f"{place}.{key}")


def _compile_prediction(system: System, new: Dataset) -> Callable[[Variables], Predictions]:
    """A function of one replicate's variables that predicts the new rows in the user's units."""
    table = system.arrays(system.prepare_new(new))
    rows = np.arange(len(new))
    width = min(system.predict_batch, len(rows))
    predictor = compile_row_function(system.predict_new or system.predict, width)

    def predict(variables: Variables) -> Predictions:
        (fields,) = apply_to_rows(predictor, width, variables, table, [rows])
        return system.finish_new(fields, new)

    return predict


def _wider(ranges: Ranges, others: Ranges) -> Ranges:
    """The ranges of features that include both; a feature has none where both are nan."""
    wider = dict(others)
    for name, (low, high) in ranges.items():
        wider[name] = np.fmin(low, others[name][0]), np.fmax(high, others[name][1])
    return wider


def _range_warnings(system: System, ranges: Ranges, new: Dataset) -> list[str]:
    """Sentences on new values outside the range of the training values of all replicates."""
    prepared = system.prepare_new(new)
    warnings = []
    for name, (low, high) in ranges.items():
        warnings += range_warnings(name, prepared.modalities[name], low, high)
    return warnings


def _within_range(
    limits: Ranges, fields: Predictions, shares: dict[str, list[float]]
) -> Predictions:
    """The predictions within the limits of a replicate; `shares` gets how many were not."""
    inside = dict(fields)
    for field, (low, high) in limits.items():
        inside[field] = np.clip(fields[field], low, high)
        known = ~np.isnan(fields[field])
        changed = known & (inside[field] != fields[field])
        shares.setdefault(field, []).append(float(changed.sum() / max(1, known.sum())))
    return inside


def _fields_to_keep(system: System, fields: Predictions) -> Predictions:
    """What is pooled over replicates, written to tables, or read by `prediction_warnings`."""
    if system.pool_new:
        return fields
    return {
        name: values
        for name, values in fields.items()
        if name in system.columns or name.endswith("clipped")
    }


def _clipping_warnings(shares: Mapping[str, Sequence[float]]) -> list[str]:
    return [
        f"{field}: {np.mean(parts):.2%} of the predicted values were outside the range of the "
        "training values and its margin, and were set to its limits."
        for field, parts in shares.items()
        if any(parts)
    ]


def _prediction_folder(folder: Path, arm: str, source: Path, ids: np.ndarray) -> Path:
    """`predictions-ARM-FILE`, with a number behind it where that holds the predictions of other
    rows, from a file of the same name.
    """
    base = f"predictions-{file_name(arm)}-{file_name(source.stem)}"
    for number in itertools.count(1):
        out = folder / (base if number == 1 else f"{base}-{number}")
        earlier = sorted(out.glob("*.npz"))
        if not earlier or any(_rows_are(file, ids) for file in earlier):
            return out
    raise AssertionError("unreachable")


def _rows_are(file: Path, ids: np.ndarray) -> bool:
    """Whether a file holds predictions of these rows; False where it cannot be read."""
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            return np.array_equal(arrays["id"], ids.astype(str))
    except Exception:  # zip and npy parsers stumble over damage in many ways
        return False


def _write_group(
    stem: Path,
    replicates: Sequence[Predictions],
    new: Dataset,
    system: System,
    vectors: Matrices,
    quantiles: pd.DataFrame,
) -> None:
    """STEM.FIELD.csv and STEM.FIELD_between_replicates.csv for every field with columns.

    Those in `System.matrices` also become STEM.FIELD.h5ad, and so do the vectors. The first table
    has the columns of `System.bounds`, too.
    """
    matrices = dict(vectors)
    pooled = system.pool_new(replicates) if system.pool_new else {}
    for field, names in system.columns.items():
        stacked = np.stack([fields[field] for fields in replicates])
        mean, sd = pooled[field] if field in pooled else over_replicates(stacked)
        bounds = system.bounds(field, mean, quantiles) if system.bounds else {}
        for suffix, values, further in (("", mean, bounds), ("_between_replicates", sd, {})):
            file = stem.with_name(f"{stem.name}.{file_name(field)}{suffix}.csv")
            frame = pd.concat([as_frame(new.ids, values, names), pd.DataFrame(further)], axis=1)
            write_atomically(file, frame.to_csv(index=False))
        if field in system.matrices:
            matrices[field] = AnnotatedMatrix(mean, new.ids, names, new.table)
    if can_write():
        write_matrices(stem, matrices)


def as_frame(ids: np.ndarray, values: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """Predictions beside their ids.

    values: (n,), (n, columns) or (n, steps, columns), of which each row gets a line per step.
    """
    values = values.reshape(len(values), 1) if values.ndim == 1 else values
    index = {"id": np.asarray(ids).astype(str)}
    if values.ndim == 3:
        n, steps = values.shape[:2]
        index = {"id": np.repeat(index["id"], steps), "step": np.tile(np.arange(steps), n)}
    cells = pd.DataFrame(values.reshape(-1, values.shape[-1]), columns=list(columns))
    return pd.concat([pd.DataFrame(index), cells], axis=1)
