"""Perturbation experiments as a `Dataset`: pairs of control and treated profiles, and singletons.

Source of the design: the PertVAE paper (pairs of one cell line before and after a drug, plus
singletons that were never treated). Left out are normalisation and log transforms, which are fitted
on training rows elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.columns import as_names, as_numbers, as_text
from omics_jax.data.formats.files import stem
from omics_jax.data.formats.gct import gctx_ids
from omics_jax.data.formats.matrix import Matrix, checked_matrix
from omics_jax.data.formats.messages import averaged_note, count_phrase
from omics_jax.data.formats.npz import annotation_columns, npz_arrays, take_array
from omics_jax.data.formats.options import below_detection
from omics_jax.data.formats.read import read_matrix
from omics_jax.data.perturbation.conditions import (
    Conditions,
    matrix_conditions,
    read_sample_conditions,
)
from omics_jax.data.perturbation.design import (
    Design,
    pair_by_conditions,
    pair_by_table,
    select_treated,
)
from omics_jax.data.perturbation.pairing import Pair
from omics_jax.data.perturbation.platforms import (
    Block,
    condition_columns,
    join_blocks,
    pair_block,
    pair_groups,
    singleton_blocks,
    unpaired_block,
)
from omics_jax.data.perturbation.settings import (
    check_settings,
    column_names,
    groups_by_cell_line,
    locate_source,
    repeated_features,
)
from omics_jax.errors import UserError


def read_perturbations(settings) -> Dataset:
    """Reads pairs of control and treated profiles, and singletons.

    Args:
      settings: an object with the attributes that `settings` describes (`config.data` of a run).

    Returns:
      a Dataset. Modalities: "control" (x1) and "treated" (x2, unobserved in singletons) over the
      shared genes in the order of the main file. ids: the treated sample, or "control|treated"
      where a treated sample is in more than one pair by design ("each", or repeated in `pairs`),
      "platform:id" for singletons of other files, the stored sample or "stem:row" for stored pairs.
      table: drug, cell_line, dose, time, batch, platform, control_id (ids joined by ";" under
      "mean"), treated_id, all text, "" where unknown. notes: what was understood, dropped or looks
      suspicious.

    Raises:
      UserError: for anything wrong with settings or files.
    """
    columns = column_names(settings.columns)
    check_settings(settings)
    path, kind = locate_source(settings)
    read_pairs = _read_stored_pairs if kind == "pairs" else _read_matched_pairs
    blocks, notes = read_pairs(path, settings, columns)
    blocks += singleton_blocks(
        path,
        settings.singletons,
        settings.orientation,
        columns,
        settings.group_by,
        repeated_features(settings),
        below_detection(settings),
    )
    by_cell_line = groups_by_cell_line(settings, columns)
    return join_blocks(blocks, settings.min_genes, by_cell_line, notes)


# --- pairs that are stored as such ----------------------------------------------------------------


def _read_stored_pairs(
    path: Path, settings, columns: Mapping[str, str]
) -> tuple[list[Block], list[str]]:
    """The pairs of an .npz with arrays x1 and x2, and notes."""
    if settings.conditions or settings.pairs:
        raise UserError(f"{path} already holds pairs; leave conditions and pairs empty")
    arrays = npz_arrays(path)
    controls, treated = _stored_matrices(path, arrays, repeated_features(settings))
    n = len(controls.ids)
    table = annotation_columns(arrays, n, ("x1", "x2", "features", "samples")).apply(as_text)
    all_conditions = Conditions(str(path), table, [f"row {row + 1}" for row in range(n)], columns)
    rows, selection_notes = select_treated(all_conditions, list(range(n)), settings)
    conditions = all_conditions.take(rows)
    unknown_ids = [""] * len(rows)
    block = Block(
        source=str(path),
        ids=[str(controls.ids[row]) for row in rows],
        features=controls.features.tolist(),
        x1=controls.values[rows],
        m1=controls.mask[rows],
        x2=treated.values[rows],
        m2=treated.mask[rows],
        table=condition_columns(conditions, stem(path), unknown_ids, unknown_ids),
        groups=pair_groups(conditions, settings.group_by),
    )
    note = f"{path.name} holds {n} stored pairs, of which {len(rows)} are used."
    return [block], [note, *averaged_note(path.name, controls), *selection_notes]


def _stored_matrices(
    path: Path, arrays: Mapping[str, np.ndarray], repeated: str
) -> tuple[Matrix, Matrix]:
    """x1 and x2 with the ids of their pairs, after their shapes agree."""
    x1 = as_numbers(path, "x1", take_array(path, arrays, ("x1",), 2))
    x2 = as_numbers(path, "x2", take_array(path, arrays, ("x2",), 2))
    features = as_names(path, take_array(path, arrays, ("features",), 1))
    if x1.shape != x2.shape or x1.shape[1] != len(features):
        raise UserError(
            f"{path}: x1 is {x1.shape}, x2 {x2.shape}, for {len(features)} features; "
            "store one row per pair in both and one column per feature"
        )
    n = len(x1)
    ids = [f"{stem(path)}:{row}" for row in range(n)]
    if "samples" in arrays:
        ids = as_names(path, take_array(path, arrays, ("samples",), 1)).tolist()
    if len(ids) != n:
        raise UserError(
            f"{path}: array 'samples' names {len(ids)} of {n} pairs; give one id per pair"
        )
    controls = checked_matrix(path, ids, features, x1, repeated=repeated)
    treated = checked_matrix(path, ids, features, x2, repeated=repeated)
    return controls, treated


# --- pairs that are made from a matrix ------------------------------------------------------------


def _read_matched_pairs(
    path: Path, settings, columns: Mapping[str, str]
) -> tuple[list[Block], list[str]]:
    """Pairs from a matrix, by an explicit table or by agreeing conditions, and notes.

    A GCTX with its own table of conditions may be far larger than memory: its ids are paired first
    and only the profiles in use are read.
    """
    ids_alone = bool(settings.conditions) and path.suffix.lower() == ".gctx"
    matrix = None if ids_alone else _read_annotated_matrix(path, settings, columns)
    ids = gctx_ids(path).tolist() if matrix is None else matrix.ids.tolist()
    if settings.conditions:
        conditions = read_sample_conditions(str(path), settings.conditions, columns, ids)
    else:
        conditions = matrix_conditions(str(path), matrix, columns)
    pair_samples = pair_by_table if settings.pairs else pair_by_conditions
    design = pair_samples(settings, ids, conditions)

    single_rows = design.unpaired if settings.unpaired_controls else []
    rows = sorted({*design.used_rows(), *single_rows})
    if matrix is None:
        matrix = read_matrix(
            path, samples=[ids[row] for row in rows], repeated=repeated_features(settings)
        )
    else:
        matrix = matrix.take(np.array(rows), slice(None))
    position = {row: k for k, row in enumerate(rows)}
    blocks = [_block_of_design(path, matrix, design, position, settings)]
    if single_rows:
        singles = matrix.take(np.array([position[row] for row in single_rows]), slice(None))
        single_conditions = conditions.take(single_rows)
        blocks.append(unpaired_block(path, singles, single_conditions, settings.group_by))
    notes = [
        f"{path.name} holds {len(ids)} profiles.",
        *design.notes,
        *_unpaired_note([ids[row] for row in design.unpaired], settings.unpaired_controls),
        *averaged_note(path.name, matrix),
    ]
    return blocks, notes


def _read_annotated_matrix(path: Path, settings, columns: Mapping[str, str]) -> Matrix:
    """The matrix, whose columns of conditions are annotations even where they hold numbers."""
    annotations = [*columns.values(), *settings.pair_by, settings.group_by]
    return read_matrix(
        path,
        settings.orientation,
        annotations=[name for name in annotations if name],
        repeated=repeated_features(settings),
        below_detection=below_detection(settings),
    )


def _block_of_design(
    path: Path, matrix: Matrix, design: Design, position: Mapping[int, int], settings
) -> Block:
    """The block of the design's pairs; `position`: row of the file -> row of the matrix."""
    pairs = [
        (position[treated], tuple(position[control] for control in controls))
        for treated, controls in design.pairs
    ]
    named_by_pair = _repeats_treated(pairs) or (
        settings.control_profile == "each" and not settings.pairs
    )
    return pair_block(path, matrix, pairs, design.conditions, settings.group_by, named_by_pair)


def _repeats_treated(pairs: Sequence[Pair]) -> bool:
    """Whether a treated sample is in more than one pair."""
    return len({treated for treated, _ in pairs}) < len(pairs)


def _unpaired_note(controls: Sequence[str], used: bool) -> list[str]:
    if not controls:
        return []
    some = count_phrase(len(controls), "control", controls)
    return [f"{some} in no pair and {'used as singletons' if used else 'left out'}."]
