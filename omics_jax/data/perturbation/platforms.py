"""Blocks of profiles from several platforms, joined over the genes they share into one `Dataset`.

A block is what one file contributes: pairs, or singletons whose treated side is unobserved. Names
of genes are compared as they are; nothing is rescaled between platforms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32

from omics_jax.data import identity
from omics_jax.data.dataset.account import Use
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.quality import is_far, robust_spread
from omics_jax.data.formats.files import existing_file, stem
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import averaged_note, count_phrase
from omics_jax.data.formats.options import below_detection
from omics_jax.data.formats.read import read_grid, read_matrix
from omics_jax.data.perturbation import pairing
from omics_jax.data.perturbation.conditions import Conditions, matrix_conditions
from omics_jax.data.perturbation.settings import (
    annotation_names,
    groups_by_cell_line,
    missing_values,
    repeated_features,
)
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

_TABLE_CONDITIONS = ("drug", "cell_line", "dose", "time", "batch")
# log2 intensities and log counts stay far below; raw counts and linear intensities do not.
_LOG_SCALE_MAX = 100.0


@dataclass(frozen=True)
class Block:
    """Rows of one platform before files are joined.

    Attributes:
      source: the file, for messages.
      ids, features: of the n rows and g genes.
      x1, m1, x2, m2: control and treated values (0 where unobserved) and their masks.
      table: the rows' part of the dataset's table, see `condition_columns`.
      groups: of the n rows, "" where unknown.
      paired: False for singletons.
      notes, warnings: sentences on how the file was understood.
      uses: what became of its rows and columns.
    """

    source: str
    ids: list[str]
    features: list[str]
    x1: Float32[np.ndarray, "n g"]
    m1: Bool[np.ndarray, "n g"]
    x2: Float32[np.ndarray, "n g"]
    m2: Bool[np.ndarray, "n g"]
    table: pd.DataFrame
    groups: list[str]
    paired: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()

    def select_features(self, genes: Sequence[str]) -> Block:
        """The block on these genes, in this order; it must hold them all."""
        if list(genes) == self.features:
            return self
        position = {name: j for j, name in enumerate(self.features)}
        columns = [position[name] for name in genes]
        return replace(
            self,
            features=list(genes),
            x1=self.x1[:, columns],
            m1=self.m1[:, columns],
            x2=self.x2[:, columns],
            m2=self.m2[:, columns],
        )


def pair_block(
    path: Path,
    matrix: Matrix,
    pairs: Sequence[pairing.Pair],
    conditions: Conditions,
    group_by: str,
    named_by_pair: bool,
) -> Block:
    """The block of pairs of a matrix's rows; `conditions` are those of the pairs.

    named_by_pair: ids are "control|treated" instead of the treated sample alone.
    """
    treated = [row for row, _ in pairs]
    treated_ids = [str(matrix.ids[row]) for row in treated]
    control_ids = [
        ";".join(str(matrix.ids[control]) for control in controls) for _, controls in pairs
    ]
    both_ids = [
        f"{control}|{treated_id}"
        for control, treated_id in zip(control_ids, treated_ids, strict=True)
    ]
    x1, m1 = pairing.control_profiles(matrix.values, matrix.mask, pairs)
    return Block(
        source=str(path),
        ids=both_ids if named_by_pair else treated_ids,
        features=matrix.features.tolist(),
        x1=x1,
        m1=m1,
        x2=matrix.values[treated],
        m2=matrix.mask[treated],
        table=condition_columns(conditions, stem(path), control_ids, treated_ids),
        groups=pair_groups(conditions, group_by),
        uses=matrix.uses,
    )


def unpaired_block(path: Path, matrix: Matrix, conditions: Conditions, group_by: str) -> Block:
    """Controls of the main file that are in no pair, as singletons under their own ids."""
    table = _untreated_columns(conditions, stem(path), matrix)
    groups = table["cell_line"]
    if group_by and conditions.has(group_by):
        groups = conditions.column(group_by, "--config.data.group_by")
    return _singletons(path, table["control_id"].tolist(), matrix, table, list(groups))


def singleton_blocks(main: Path, settings, columns: Mapping[str, str]) -> list[Block]:
    """A block per file of unpaired profiles; the platform is the file's stem."""
    file_of_platform = {stem(main): main}
    blocks = []
    for path in map(existing_file, settings.singletons):
        platform = stem(path)
        if platform in file_of_platform:
            raise UserError(
                f"{path} and {file_of_platform[platform]} would both be the platform "
                f"{platform!r}; rename one of the files"
            )
        file_of_platform[platform] = path
        blocks.append(_platform_block(path, read_profiles(path, settings), columns, settings))
    return blocks


def read_profiles(path: Path, settings, genes: Sequence[str] = ()) -> Matrix:
    """The matrix; its columns of conditions are annotations even where they hold numbers.

    genes: where they are known, the side that bears more of their names is the genes', whatever the
      settings say of the orientation.
    """
    matrix = read_matrix(
        path,
        _orientation_of(path, genes) or settings.orientation,
        annotations=annotation_names(settings),
        repeated=repeated_features(settings),
        below_detection=below_detection(settings),
        missing=missing_values(settings),
    )
    return without_missing(matrix, missing_values(settings))


def _orientation_of(path: Path, genes: Sequence[str]) -> str:
    """What the rows of a table are, by the names of the genes; "" where these do not tell."""
    grid = read_grid(path) if genes else None
    if grid is None:
        return ""
    known = set(genes)
    in_rows, in_columns = len(known.intersection(grid.rows)), len(known.intersection(grid.columns))
    if in_rows == in_columns:
        return ""
    return "genes" if in_rows > in_columns else "samples"


def far_values_warning(path: Path, matrix: Matrix) -> list[str]:
    """A sentence on the values of a file that cannot be, before any of them is averaged."""
    spread = robust_spread(matrix.values, matrix.mask, one_unit=True)
    far = is_far(spread, matrix.values, matrix.mask)
    if not far.any():
        return []
    values, counts = np.unique(matrix.values[far], return_counts=True)
    value, count = values[counts.argmax()], counts.max()
    i, j = np.argwhere(far & (matrix.values == value))[0]
    place = f"profile {str(matrix.ids[i])!r}, gene {str(matrix.features[j])!r}"
    return [
        f"{path.name}: far from all others are {far.sum():,} of its values, most often {value:g} "
        f"({count:,}, as in {place}); if it stands for a missing value, set "
        f"--config.data.missing_values={value:g}."
    ]


def without_missing(matrix: Matrix, missing: Missing) -> Matrix:
    """The matrix, unobserved where a value is one of the user's numbers for a missing one."""
    is_missing = matrix.mask & missing.is_number(matrix.values)
    if not is_missing.any():
        return matrix
    values = np.where(is_missing, 0, matrix.values)
    return replace(matrix, values=values, mask=matrix.mask & ~is_missing)


def _platform_block(path: Path, matrix: Matrix, columns: Mapping[str, str], settings) -> Block:
    """The singletons of another platform, under ids "platform:id"."""
    platform, group_by = stem(path), settings.group_by
    known_columns = {key: name if name in matrix.table else "" for key, name in columns.items()}
    conditions = matrix_conditions(str(path), matrix, known_columns, settings)
    table = _untreated_columns(conditions, platform, matrix)
    ids = table["control_id"].tolist()
    # A profile without a cell line is a line of its own.
    table["cell_line"] = [line or name for line, name in zip(table["cell_line"], ids, strict=True)]
    groups = table["cell_line"]
    if group_by and group_by != "cell_line" and conditions.has(group_by):
        groups = conditions.column(group_by, "--config.data.group_by")
    platform_ids = [f"{platform}:{name}" for name in ids]
    block = _singletons(path, platform_ids, matrix, table, list(groups))
    return replace(
        block,
        notes=(*conditions.notes, *averaged_note(path.name, matrix)),
        uses=(
            *matrix.uses,
            Use(path.name, "profiles", "singletons", tuple(ids)),
            *conditions.uses(settings),
        ),
    )


def _singletons(
    path: Path, ids: list[str], matrix: Matrix, table: pd.DataFrame, groups: list[str]
) -> Block:
    return Block(
        source=str(path),
        ids=ids,
        features=matrix.features.tolist(),
        x1=matrix.values,
        m1=matrix.mask,
        x2=np.zeros_like(matrix.values),
        m2=np.zeros_like(matrix.mask),
        table=table,
        groups=[group or name for group, name in zip(groups, ids, strict=True)],
        paired=False,
    )


def condition_columns(
    conditions: Conditions, platform: str, control_ids: Sequence[str], treated_ids: Sequence[str]
) -> pd.DataFrame:
    """The dataset's table of n rows, all text.

    Its columns are drug, cell_line, dose, time, batch, platform, control_id and treated_id.
    """
    columns = {name: conditions.column_or_blank(name) for name in _TABLE_CONDITIONS}
    table = pd.DataFrame(columns, index=range(len(control_ids)), dtype=object)
    return table.assign(
        platform=platform, control_id=list(control_ids), treated_id=list(treated_ids)
    )


def _untreated_columns(conditions: Conditions, platform: str, matrix: Matrix) -> pd.DataFrame:
    """`condition_columns` of profiles without a treated side: no drug, no dose, no treated id."""
    ids = [str(name) for name in matrix.ids]
    table = condition_columns(conditions, platform, ids, [""] * len(ids))
    return table.assign(drug="", dose="")


def pair_groups(conditions: Conditions, group_by: str) -> list[str]:
    """(n,) the grouping column of pairs, all "" for group_by="" (every row by itself).

    Raises:
      UserError: no such column, or a pair without a value in it.
    """
    if not group_by:
        return [""] * len(conditions.places)
    groups = list(conditions.column(group_by, f"--config.data.group_by={group_by}"))
    if "" in groups:
        raise UserError(
            f"{conditions.source}: {conditions.places[groups.index('')]} has no {group_by} and so "
            "belongs to no group; fill it in or remove the row"
        )
    return groups


def join_blocks(blocks: list[Block], settings, columns: Mapping[str, str]) -> Dataset:
    """All blocks as one dataset over the genes that all of them hold.

    Spellings of one cell line count as one over all files.

    blocks: the first is the main file's; its genes give the order.
    """
    genes, gene_notes = _genes_of_all(blocks, settings.min_genes)
    ids = np.asarray([name for block in blocks for name in block.ids], dtype=str)
    table = pd.concat([block.table for block in blocks]).set_axis(ids, axis=0)
    table["cell_line"], replaced = _one_spelling_of_lines(table["cell_line"])
    return Dataset(
        ids=ids,
        groups=_groups(blocks, groups_by_cell_line(settings, columns)),
        modalities=_modalities([block.select_features(genes) for block in blocks], genes),
        table=table,
        notes=(
            _summary(blocks, table, genes),
            *(note for block in blocks for note in block.notes),
            *_spelling_notes(replaced),
            *gene_notes,
            *_scale_notes(blocks),
        ),
        warnings=tuple(warning for block in blocks for warning in block.warnings),
        uses=tuple(use for block in blocks for use in block.uses),
    )


def _one_spelling_of_lines(lines: Iterable[str]) -> tuple[np.ndarray, dict[str, list[str]]]:
    lines = list(lines)
    return identity.one_spelling(lines, map(identity.cell_line_form, lines))


def _spelling_notes(replaced: Mapping[str, Sequence[str]]) -> list[str]:
    """A note on cell lines that other files spell otherwise."""
    if not replaced:
        return []
    others = [f"{other} as {line}" for line, spellings in replaced.items() for other in spellings]
    return [f"{count_phrase(len(others), 'cell line', others)} counted, over all files."]


def _modalities(blocks: list[Block], genes: list[str]) -> dict[str, Modality]:
    features = np.asarray(genes, dtype=str)
    control_values = np.concatenate([block.x1 for block in blocks])
    control_mask = np.concatenate([block.m1 for block in blocks])
    treated_values = np.concatenate([block.x2 for block in blocks])
    treated_mask = np.concatenate([block.m2 for block in blocks])
    return {
        "control": Modality(control_values, control_mask, features, one_unit=True),
        "treated": Modality(treated_values, treated_mask, features, one_unit=True),
    }


def _groups(blocks: list[Block], by_cell_line: bool) -> np.ndarray:
    """(n,) str; a row without a group is one by itself, under its own id."""
    groups = [
        group or name
        for block in blocks
        for group, name in zip(block.groups, block.ids, strict=True)
    ]
    if by_cell_line:
        groups, _ = _one_spelling_of_lines(groups)
    return np.asarray(groups, dtype=str)


def _genes_of_all(blocks: list[Block], min_genes: int) -> tuple[list[str], list[str]]:
    """The shared genes in the order of the main file, and notes on the genes left out."""
    main = blocks[0]
    genes, notes = main.features, []
    for block in blocks[1:]:
        shared = pairing.shared_genes(genes, block.features)
        if len(shared) < max(min_genes, 1):
            raise UserError(
                f"{block.source} shares {len(shared)} of the {len(genes)} genes of {main.source}, "
                f"fewer than min_genes={min_genes}; {pairing.naming_hint(genes, block.features)}: "
                "use the same names in both"
            )
        if len(shared) < len(genes):
            in_both = set(shared)
            dropped = [name for name in genes if name not in in_both]
            some = count_phrase(len(dropped), "gene", dropped)
            notes.append(f"{some} not in {Path(block.source).name} and left out.")
        genes = shared
    if len(genes) < min_genes:
        raise UserError(
            f"{main.source} has {len(genes)} genes, fewer than min_genes={min_genes}; lower "
            "min_genes (--config.data.min_genes)"
        )
    return genes, notes


def _summary(blocks: list[Block], table: pd.DataFrame, genes: list[str]) -> str:
    rows = len(table)
    pairs = sum(len(block.ids) for block in blocks if block.paired)
    drugs = set(table["drug"]) - {""}
    cell_lines = set(table["cell_line"]) - {""}
    platforms = set(table["platform"])
    return (
        f"{pairs} pairs and {rows - pairs} singletons over {len(genes)} genes; {len(drugs)} drugs, "
        f"{len(cell_lines)} cell lines, {len(platforms)} platform(s)."
    )


def _scale_notes(blocks: list[Block]) -> list[str]:
    """A warning per file whose values look as if no logarithm was taken."""
    highest_of_source: dict[str, float] = {}
    for block in blocks:
        highest = max(float(block.x1.max()), float(block.x2.max()))
        before = highest_of_source.get(block.source, 0.0)
        highest_of_source[block.source] = max(before, highest)
    return [
        f"{Path(source).name} has values up to {highest:g}, which looks like raw counts or linear "
        "intensities; take log2 (of counts + 1) before training."
        for source, highest in highest_of_source.items()
        if highest > _LOG_SCALE_MAX
    ]
