"""The files in which a finished stage hands on its variables, one for every replicate."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from omics_jax.durable import DamagedFile, load_arrays, load_meta, save_arrays
from omics_jax.errors import UserError
from omics_jax.file_names import file_name
from omics_jax.training.freezing import leaf_path, split_leaf_path
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
    outcomes: Sequence[StageOutcome] = (),
) -> None:
    """Writes the variables (c, ...) that the replicates of a chunk hand on, and how they fared.

    outcomes: of every replicate; () for a stage without a monitor.

    Raises:
      UserError: they cannot be written.
    """
    for i, replicate in enumerate(chunk):
        arrays = {path: np.asarray(leaf[i]) for path, leaf in _by_path(variables).items()}
        meta: dict[str, Any] = {"replicate": replicate}
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
    folder: Path, stage: str, chunk: Sequence[int], shapes: Variables
) -> list[Variables] | None:
    """The variables that each replicate of a chunk handed on; None unless all have finished.

    A damaged file is renamed and counts as not finished.

    Args:
      shapes: of one replicate's variables.

    Raises:
      UserError: a file is of another model.
    """
    loaded = [_load_replicate(stage_file(folder, stage, one), shapes) for one in chunk]
    return None if any(variables is None for variables in loaded) else loaded


def load_variables(folder: Path, stage: str) -> Iterator[tuple[int, Variables]]:
    """Every replicate whose stage has finished: its index, and its variables (1, ...).

    Raises:
      DamagedFile: a file's bytes are not those that were written.
    """
    ending = f"-{file_name(stage)}.npz"
    for file in sorted(folder.glob(f"*{ending}")):
        number = file.name.removesuffix(ending)
        if not number.isdecimal():  # the file of a stage whose name ends in this one's
            continue
        arrays, _ = load_arrays(file)
        variables: dict = {"params": {}, "batch_stats": {}, "constants": {}}
        for path, values in arrays.items():
            *parents, leaf = split_leaf_path(path)
            node = variables
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = values[None]
        yield int(number), variables


def _load_replicate(file: Path, shapes: Variables) -> Variables | None:
    if not file.exists():
        return None
    try:
        arrays, _ = load_arrays(file)
    except DamagedFile as error:
        _log.warning("%s It is set aside and the stage is trained again.", error)
        file.replace(file.with_suffix(".damaged"))
        return None
    _check_shapes(file, arrays, shapes)
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
