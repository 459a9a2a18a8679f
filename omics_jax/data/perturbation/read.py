"""Perturbation experiments as a `Dataset`: pairs of control and treated profiles, and singletons.

Source of the design: the PertVAE paper (pairs of one cell line before and after a drug, plus
singletons that were never treated). Left out are normalisation and log transforms, which are fitted
on training rows elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from omics_jax.data.dataset.account import Use
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.columns import as_names, as_numbers, as_text
from omics_jax.data.formats.files import stem
from omics_jax.data.formats.gct import gctx_ids
from omics_jax.data.formats.matrix import Matrix, checked_matrix
from omics_jax.data.formats.messages import averaged_note, count_phrase
from omics_jax.data.formats.npz import annotation_columns, npz_arrays, take_array
from omics_jax.data.formats.read import read_matrix
from omics_jax.data.perturbation.conditions import (
    Conditions,
    in_one_spelling,
    matrix_conditions,
    read_sample_conditions,
)
from omics_jax.data.perturbation.design import (
    Design,
    left_out_notes,
    pair_by_conditions,
    pair_by_table,
    select_pairs,
)
from omics_jax.data.perturbation.pairing import Pair
from omics_jax.data.perturbation.platforms import (
    Block,
    condition_columns,
    far_values_warning,
    join_blocks,
    pair_block,
    pair_groups,
    read_profiles,
    singleton_blocks,
    unpaired_block,
    without_missing,
)
from omics_jax.data.perturbation.settings import (
    check_settings,
    column_names,
    locate_source,
    missing_values,
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
      suspicious. uses: what became of the profiles and of the columns of conditions.

    Raises:
      UserError: for anything wrong with settings or files.
    """
    columns = column_names(settings.columns)
    check_settings(settings)
    path, kind = locate_source(settings)
    read_pairs = _read_stored_pairs if kind == "pairs" else _read_matched_pairs
    blocks = read_pairs(path, settings, columns)
    blocks += singleton_blocks(path, settings, columns)
    return join_blocks(blocks, settings, columns)


# --- pairs that are stored as such ----------------------------------------------------------------


def _read_stored_pairs(path: Path, settings, columns: Mapping[str, str]) -> list[Block]:
    """The pairs of an .npz with arrays x1 and x2."""
    if settings.conditions or settings.pairs:
        raise UserError(
            f"{path} already holds pairs; leave --config.data.conditions and --config.data.pairs "
            "empty"
        )
    arrays = npz_arrays(path)
    controls, treated = (
        without_missing(matrix, missing_values(settings))
        for matrix in _stored_matrices(path, arrays, repeated_features(settings))
    )
    n = len(controls.ids)
    table = annotation_columns(arrays, n, ("x1", "x2", "features", "samples")).apply(as_text)
    places = [f"row {row + 1}" for row in range(n)]
    all_conditions = in_one_spelling(Conditions(str(path), table, places, columns), settings)
    selection = select_pairs(settings, all_conditions)
    rows = selection.rows
    conditions = all_conditions.take(rows)
    ids = [str(name) for name in controls.ids]
    unknown_ids = [""] * len(rows)
    note = f"{path.name} holds {n} stored pairs, of which {len(rows)} are used."
    block = Block(
        source=str(path),
        ids=[ids[row] for row in rows],
        features=controls.features.tolist(),
        x1=controls.values[rows],
        m1=controls.mask[rows],
        x2=treated.values[rows],
        m2=treated.mask[rows],
        table=condition_columns(conditions, stem(path), unknown_ids, unknown_ids),
        groups=pair_groups(conditions, settings.group_by),
        notes=(
            note,
            *averaged_note(path.name, controls),
            *all_conditions.notes,
            *left_out_notes(ids, selection.left_out, "pair"),
            *selection.notes,
        ),
        uses=(
            *_row_uses(path, "pairs", ids, {"pairs": rows}, selection.left_out),
            *all_conditions.uses(settings),
        ),
    )
    return [block]


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


def _read_matched_pairs(path: Path, settings, columns: Mapping[str, str]) -> list[Block]:
    """Pairs from a matrix, by an explicit table or by agreeing conditions.

    A GCTX with its own table of conditions may be far larger than memory: its ids are paired first
    and only the profiles in use are read.
    """
    ids_alone = bool(settings.conditions) and path.suffix.lower() == ".gctx"
    matrix = None if ids_alone else read_profiles(path, settings)
    ids = gctx_ids(path).tolist() if matrix is None else matrix.ids.tolist()
    if settings.conditions:
        conditions = read_sample_conditions(str(path), settings.conditions, columns, ids, settings)
    else:
        conditions = matrix_conditions(str(path), matrix, columns, settings)
    pair_samples = pair_by_table if settings.pairs else pair_by_conditions
    design = pair_samples(settings, ids, conditions)

    single_rows = design.unpaired if settings.unpaired_controls else []
    rows = sorted({*design.used_rows(), *single_rows})
    if matrix is None:
        matrix = read_matrix(
            path, samples=[ids[row] for row in rows], repeated=repeated_features(settings)
        )
        matrix = without_missing(matrix, missing_values(settings))
    else:
        matrix = matrix.take(np.array(rows), slice(None))
    position = {row: k for k, row in enumerate(rows)}
    block = _block_of_design(path, matrix, design, position, settings)
    notes = [
        f"{path.name} holds {len(ids)} profiles.",
        *conditions.notes,
        *design.notes,
        *_unpaired_note([ids[row] for row in design.unpaired], settings.unpaired_controls),
        *averaged_note(path.name, matrix),
    ]
    warnings = [*design.warnings, *far_values_warning(path, matrix)]
    uses = [
        *matrix.uses,
        *_design_uses(path, ids, design, settings.unpaired_controls),
        *conditions.uses(settings),
    ]
    blocks = [replace(block, notes=tuple(notes), warnings=tuple(warnings), uses=tuple(uses))]
    if single_rows:
        singles = matrix.take(np.array([position[row] for row in single_rows]), slice(None))
        single_conditions = conditions.take(single_rows)
        blocks.append(unpaired_block(path, singles, single_conditions, settings.group_by))
    return blocks


def _design_uses(
    path: Path, ids: Sequence[str], design: Design, unpaired_are_used: bool
) -> list[Use]:
    """What became of the profiles of the main file."""
    used = {"treated": design.treated_rows(), "controls": design.control_rows()}
    left_out = dict(design.left_out)
    if unpaired_are_used:
        used["singletons"] = design.unpaired
    else:
        left_out["controls in no pair"] = design.unpaired
    return _row_uses(path, "profiles", ids, used, left_out)


def _row_uses(
    path: Path,
    part: str,
    ids: Sequence[str],
    used: Mapping[str, Sequence[int]],
    left_out: Mapping[str, Sequence[int]],
) -> list[Use]:
    uses = [(name, "", rows) for name, rows in used.items()]
    uses += [("left out", why, rows) for why, rows in left_out.items()]
    return [
        Use(path.name, part, name, tuple(ids[row] for row in rows), why)
        for name, why, rows in uses
        if len(rows)
    ]


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
