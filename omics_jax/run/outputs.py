"""The outputs of a finished training: `tables/`, `vectors/`, predictions, scores and the report.

All of it follows from the saved predictions, so that it can be made again without training.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from omics_jax.durable import (
    MADE_AGAIN,
    as_user_error,
    check_origin,
    load_arrays,
    write_arrays,
    write_atomically,
    write_content,
)
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Table
from omics_jax.file_names import file_name
from omics_jax.report.page import write_report
from omics_jax.run.annotated import FOLDER as VECTORS
from omics_jax.run.annotated import save_vectors
from omics_jax.run.directory import (
    checkpoint_folder,
    parts_of,
    prediction_file,
    read_json,
    tuning_file,
    write_json,
)
from omics_jax.run.doubts import doubt_records, doubt_tables, find_doubts
from omics_jax.run.identity import Origin, origins
from omics_jax.run.manifest import (
    Manifest,
    check_files,
    describe,
    is_as_listed,
    list_files,
    read_manifest,
    write_manifest,
)
from omics_jax.run.progress import print_and_log, progress
from omics_jax.run.scores import metrics_json, score_arms
from omics_jax.run.tuning import tuning_tables
from omics_jax.study.system import Arm, Predictions, Results
from omics_jax.training.stage_files import stage_file

Origins = Mapping[str, Origin]  # arm -> its origin


def score_and_report(
    method: ModuleType,
    arms: Sequence[Arm],
    config: Any,
    folder: Path,
    timing: Mapping[str, float],
) -> None:
    """Scores all replicates, draws the experiment's conclusions, writes every output.

    The run is finished when this returns.

    Raises:
      UserError: predictions, or what the report reads, are missing or damaged.
    """
    listed = read_manifest(folder).files
    tuned = [_name(folder, tuning_file(folder, arm)) for arm in arms if arm.tuning]
    read = ["environment.json", "history.jsonl", *tuned]
    check_files(folder, [name for name in read if name in listed])
    origin_of = origins(folder)
    results = _score(arms, folder, origin_of)
    findings = method.EXPERIMENTS[config.experiment].conclude(results)
    doubts = find_doubts(arms, folder)
    trainings = {arm.name: len(arm.replicates) for arm in arms}
    records = doubt_records(doubts, trainings, results.scores)
    for record in records:
        print_and_log(f"warning: {record['sentence']}")
    chosen = tuning_tables(folder, arms, origin_of)
    shown = {**doubt_tables(doubts), **findings.tables, **chosen}
    tables = save_tables(folder / "tables", shown, results)
    save_predictions(folder, arms, origin_of)
    vectors = save_vectors(folder, arms, partial(_load_predictions, folder, origin_of))
    metrics = metrics_json(config, arms, results, findings, timing)
    write_json(folder / "metrics.json", {**metrics, "doubtful": records})
    report = write_report(folder)
    outputs = [*tables, *vectors, folder / "predictions.npz", folder / "metrics.json", report]
    finish_run(folder, outputs, training_files(folder, arms))
    print_and_log(f"report: {report}")


def finish_run(folder: Path, outputs: Iterable[Path], trained: Iterable[Path]) -> None:
    """Lists everything in the manifest and calls the run finished.

    trained: what the training left behind; what of it is listed already stays as it is listed.
    """
    manifest = read_manifest(folder)
    made_again = ("tables/", f"{VECTORS}/")
    kept = {k: entry for k, entry in manifest.files.items() if not k.startswith(made_again)}
    new = [path for path in trained if path.exists() and _name(folder, path) not in kept]
    listed = {_name(folder, path): describe(path) for path in [*outputs, *new]}
    write_manifest(folder, Manifest({**kept, **listed}, finished=True))


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def training_files(folder: Path, arms: Iterable[Arm]) -> list[Path]:
    """What a finished training leaves behind: all that is needed to score it again or to predict.

    Some may be missing where predictions were made without a training.
    """
    names = ("config.json", "data.json", "training.json", "environment.json", "history.jsonl")
    files = [folder / name for name in names]
    for arm in arms:
        files += [tuning_file(folder, arm)] if arm.tuning else []
        for r in range(len(arm.replicates)):
            stages = (stage.name for stage in arm.system.stages)
            files += [stage_file(checkpoint_folder(folder, arm), stage, r) for stage in stages]
            files += [prediction_file(folder, arm, r, part) for part in parts_of(arm)]
    return files


def list_training(folder: Path, arms: Iterable[Arm]) -> None:
    """Lists what a training left behind; call it where all of it was just written or verified."""
    list_files(folder, [_name(folder, p) for p in training_files(folder, arms) if p.exists()])


def missing_predictions(folder: Path, arms: Iterable[Arm]) -> list[Path]:
    """The files of predictions of test rows that do not stand."""
    files = [prediction_file(folder, arm, r) for arm in arms for r in range(len(arm.replicates))]
    return [file for file in files if not file.exists()]


def earlier_timing(folder: Path) -> dict[str, float]:
    """The seconds in an intact `metrics.json`; {} where there is none."""
    if not is_as_listed(folder, "metrics.json", read_manifest(folder)):
        return {}
    try:
        return read_json(folder / "metrics.json")["timing"]
    except (UserError, KeyError, TypeError):  # it is not listed and not intact
        return {}


def _score(arms: Sequence[Arm], folder: Path, origin_of: Origins) -> Results:
    """The scores; what a library warns of meanwhile is said once."""
    with progress("scoring") as on_progress, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        results = score_arms(arms, partial(_load_predictions, folder, origin_of), on_progress)
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    for message in dict.fromkeys(messages):
        print_and_log(f"note, while scoring: {message}")
    return results


def save_tables(folder: Path, tables: Mapping[str, Table], results: Results) -> list[Path]:
    """`tables/NAME.csv` with their index, and `tables/scores.csv`, every score of every model.

    Beside `NAME.csv` stand the table's other formats, such as `NAME.graphml`.

    Returns:
      the files.
    """
    with as_user_error(folder):
        folder.mkdir(exist_ok=True)
    frames = {f"{file_name(name)}.csv": table.frame for name, table in tables.items()}
    frames["scores.csv"] = results.scores
    for file, frame in frames.items():
        write_atomically(folder / file, frame.to_csv(index=False))
    contents = {
        f"{file_name(name)}.{ending}": content
        for name, table in tables.items()
        for ending, content in table.formats.items()
    }
    for file, content in contents.items():
        write_content(folder / file, content)
    keys = ("kind", "title", "caption", "x_label", "y_label")
    index = []
    for name, table in tables.items():
        described = {key: getattr(table, key) for key in keys}
        files = {"file": f"{file_name(name)}.csv", "formats": list(table.formats)}
        index.append({"name": name, **files, **described})
    write_atomically(folder / "index.json", json.dumps(index, indent=1))
    return [folder / file for file in (*frames, *contents, "index.json")]


def save_predictions(folder: Path, arms: Sequence[Arm], origin_of: Origins) -> None:
    """`predictions.npz`: what every arm's replicates predict for their test rows.

    Under "ARM/FIELD" stand the rows of all replicates, one replicate after the other; "ARM/id" and
    "ARM/replicate" say whose they are.
    """
    arrays = {}
    for arm in arms:
        for field, values in _pool_predictions(folder, arm, origin_of).items():
            arrays[f"{arm.name}/{field}"] = values
    write_arrays(folder / "predictions.npz", arrays)


def _load_predictions(
    folder: Path, origin_of: Origins, arm: Arm, replicate: int, part: str
) -> Predictions:
    """What a replicate predicts of its test (validation, training) rows.

    Raises:
      UserError: the file is missing or damaged, or belongs elsewhere.
    """
    file = prediction_file(folder, arm, replicate, part)
    if not file.exists():
        raise UserError(f"{file} is missing; put back a copy, or {MADE_AGAIN}")
    predictions, meta = load_arrays(file)
    check_origin(file, meta, {**origin_of[arm.name], "replicate": replicate, "part": part})
    return predictions


def _pool_predictions(folder: Path, arm: Arm, origin_of: Origins) -> dict[str, np.ndarray]:
    """Field -> (rows of all replicates, ...), with id and replicate of each row."""
    replicates = [
        _load_predictions(folder, origin_of, arm, r, "test") for r in range(len(arm.replicates))
    ]
    pooled = {
        field: np.concatenate([fields[field] for fields in replicates]) for field in replicates[0]
    }
    tested = [replicate.test for replicate in arm.replicates]
    pooled["id"] = np.concatenate([arm.dataset.ids[rows].astype(str) for rows in tested])
    pooled["replicate"] = np.repeat(np.arange(len(tested)), [len(rows) for rows in tested])
    return pooled
