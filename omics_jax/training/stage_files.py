"""The files in which a finished stage hands on its variables, one for every replicate.

Each says whose it is (its origin, stage and replicate), and keeps the seal of its replicate's lines
in the history.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from omics_jax.durable import (
    MADE_AGAIN,
    DamagedFile,
    as_user_error,
    check_origin,
    load_arrays,
    load_meta,
    save_arrays,
)
from omics_jax.errors import UserError
from omics_jax.file_names import file_name
from omics_jax.training.freezing import leaf_path, split_leaf_path
from omics_jax.training.history import History, Seal
from omics_jax.training.outcome import StageOutcome
from omics_jax.training.stage import Variables

_log = logging.getLogger(__name__)


def stage_file(folder: Path, stage: str, replicate: int) -> Path:
    """Where a replicate's variables at the end of a stage lie."""
    return folder / f"{replicate:04d}-{file_name(stage)}.npz"


def save_stage(
    folder: Path,
    stage: str,
    chunk: Sequence[int],
    variables: Variables,
    origin: Mapping[str, Any],
    history: History,
    outcomes: Sequence[StageOutcome] = (),
) -> None:
    """Writes the variables (c, ...) that the replicates of a chunk hand on, and how they fared.

    outcomes: of every replicate; () for a stage without a monitor.

    Raises:
      UserError: they cannot be written.
    """
    seals = history.seal(stage, chunk)
    for i, replicate in enumerate(chunk):
        arrays = {path: np.asarray(leaf[i]) for path, leaf in _by_path(variables).items()}
        meta = {**_place(origin, stage, replicate), "history": seals[str(replicate)]}
        if outcomes:
            meta["outcome"] = asdict(outcomes[i])
        save_arrays(stage_file(folder, stage, replicate), arrays, meta)


def load_outcome(folder: Path, stage: str, replicate: int) -> StageOutcome | None:
    """How a replicate's stage ended; None where it is unknown, for lack of a monitor or a file.

    Raises:
      DamagedFile: the file's record is not that which was written.
    """
    file = stage_file(folder, stage, replicate)
    meta = load_meta(file) if file.exists() else {}
    return StageOutcome(**meta["outcome"]) if "outcome" in meta else None


def load_stage(
    folder: Path,
    stage: str,
    chunk: Sequence[int],
    shapes: Variables,
    origin: Mapping[str, Any],
) -> list[Variables] | None:
    """The variables that each replicate of a chunk handed on; None unless all have finished.

    A damaged file is renamed and counts as not finished.

    Args:
      shapes: of one replicate's variables.

    Raises:
      UserError: a file belongs elsewhere or is of another model.
    """
    loaded: list[Variables | None] = []
    for replicate in chunk:
        file = stage_file(folder, stage, replicate)
        stored = _load_intact(file)
        if stored is None:
            loaded.append(None)
            continue
        arrays, meta = stored
        check_origin(file, meta, _place(origin, stage, replicate))
        _check_shapes(file, arrays, shapes)
        loaded.append(_as_tree(arrays, shapes))
    return None if any(variables is None for variables in loaded) else loaded


def seals_of_history(
    folder: Path, stage: str, replicates: Iterable[int], origin: Mapping[str, Any]
) -> Iterator[Seal]:
    """The seals that the intact files of a stage keep; others are `load_stage`'s business."""
    for replicate in replicates:
        file = stage_file(folder, stage, replicate)
        if file.exists():
            with suppress(UserError):
                meta = load_meta(file)
                check_origin(file, meta, _place(origin, stage, replicate))
                yield Seal(stage, replicate, meta["history"], file)


def load_variables(
    folder: Path, stage: str, replicates: Sequence[int], origin: Mapping[str, Any]
) -> Iterator[tuple[int, Variables]]:
    """Every replicate's index, and its variables (1, ...) at the end of a stage.

    Raises:
      UserError: a file is missing or damaged, or belongs elsewhere.
    """
    for replicate in replicates:
        file = stage_file(folder, stage, replicate)
        if not file.exists():
            raise UserError(f"{file} is missing; put back a copy, or {MADE_AGAIN}")
        arrays, meta = load_arrays(file)
        check_origin(file, meta, _place(origin, stage, replicate))
        variables: dict = {"params": {}, "batch_stats": {}, "constants": {}}
        for path, values in arrays.items():
            *parents, leaf = split_leaf_path(path)
            node = variables
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = values[None]
        yield replicate, variables


def _place(origin: Mapping[str, Any], stage: str, replicate: int) -> dict[str, Any]:
    return {**origin, "stage": stage, "replicate": replicate}


def _load_intact(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    if not file.exists():
        return None
    try:
        return load_arrays(file)
    except DamagedFile as error:
        _log.warning("%s It is set aside and the stage is trained again.", error)
        with as_user_error(file):
            file.replace(file.with_suffix(".damaged"))
        return None


def _as_tree(arrays: Mapping[str, np.ndarray], shapes: Variables) -> Variables:
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[leaf_path(path)], dict(shapes))


def _check_shapes(file: Path, arrays: dict[str, np.ndarray], shapes: Variables) -> None:
    expected = {path: leaf.shape for path, leaf in _by_path(shapes).items()}
    stored = {path: array.shape for path, array in arrays.items()}
    paths = expected.keys() | stored.keys()
    differing = [path for path in paths if expected.get(path) != stored.get(path)]
    if differing:
        path = min(differing)
        raise UserError(
            f"{file} is of another model: {path!r} is {stored.get(path, 'absent')} there and "
            f"{expected.get(path, 'absent')} here. Give the configuration it was trained with, or "
            "another --workdir."
        )


def _by_path(variables: Variables) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(dict(variables))
    return {leaf_path(path): leaf for path, leaf in leaves}
