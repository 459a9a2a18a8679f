"""Blocks of profiles from several platforms, joined over the genes they share into one `Dataset`.

A block is what one file contributes: pairs, or singletons whose treated side is unobserved. Names
of genes
are compared as they are; nothing is rescaled between platforms.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.files import existing_file, stem
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.formats.read import read_matrix
from omics_jax.data.perturbation import pairing
from omics_jax.data.perturbation.conditions import Conditions, own_conditions
from omics_jax.errors import UserError

COLUMNS = ("drug", "cell_line", "dose", "time", "batch", "platform", "control_id", "treated_id")
# log2 intensities and log counts stay far below; raw counts and linear intensities do not.
_LOG_SCALE_MAX = 100.0


@dataclass(frozen=True)
class Block:
    """Rows of one platform before files are joined.

    x1, m1, x2, m2: (n, g) control and treated values and masks; table: the columns of the dataset's
      table;
    groups: (n,) text of the grouping column, "" where unknown; source, places: for messages.
    """

    source: str
    ids: list[str]
    features: list[str]
    x1: np.ndarray
    m1: np.ndarray
    x2: np.ndarray
    m2: np.ndarray
    table: pd.DataFrame
    groups: list[str]
    paired: bool = True

    def select_features(self, genes: Sequence[str]) -> Block:
        """The block on these genes, in this order."""
        if list(genes) == self.features:
            return self
        where = {name: j for j, name in enumerate(self.features)}
        columns = [where[name] for name in genes]
        parts = {part: getattr(self, part)[:, columns] for part in ("x1", "m1", "x2", "m2")}
        return replace(self, features=list(genes), **parts)


def pair_block(
    path: Path,
    matrix: Matrix,
    pairs: Sequence[pairing.Pair],
    conditions: Conditions,
    group_by: str,
    by_pair: bool,
) -> Block:
    """The block of pairs of a matrix's rows, with the conditions of the pairs.

    by_pair: rows are named "control|treated" instead of by the treated sample alone.
    """
    treated = [t for t, _ in pairs]
    control_ids = [";".join(str(matrix.ids[c]) for c in controls) for _, controls in pairs]
    treated_ids = [str(matrix.ids[t]) for t in treated]
    x1, m1 = pairing.control_profiles(matrix.values, matrix.mask, pairs)
    return Block(
        str(path),
        [f"{c}|{t}" for c, t in zip(control_ids, treated_ids, strict=True)]
        if by_pair
        else treated_ids,
        matrix.features.tolist(),
        x1,
        m1,
        matrix.values[treated],
        matrix.mask[treated],
        condition_columns(conditions, stem(path), control_ids, treated_ids),
        pair_groups(conditions, group_by),
    )


def unpaired_block(path: Path, matrix: Matrix, conditions: Conditions, group_by: str) -> Block:
    """Controls of the main file that are in no pair, as singletons under their own ids."""
    ids = [str(i) for i in matrix.ids]
    table = condition_columns(conditions, stem(path), ids, [""] * len(ids)).assign(drug="", dose="")
    groups = (
        conditions.column(group_by, "group_by")
        if group_by and conditions.has(group_by)
        else table["cell_line"]
    )
    return _singletons(path, ids, matrix, table, list(groups))


def singleton_blocks(
    main: Path,
    paths: Sequence[str | os.PathLike],
    orientation: str,
    columns: Mapping[str, str],
    group_by: str,
    repeated: str,
) -> list[Block]:
    """A block per file of unpaired profiles; the platform is the file's stem."""
    seen = {stem(main): main}
    blocks = []
    for path in map(existing_file, paths):
        platform = stem(path)
        if platform in seen:
            raise UserError(
                f"{path} and {seen[platform]} would both be the platform {platform!r}; rename one "
                "of the files"
            )
        seen[platform] = path
        annotations = [name for name in (*columns.values(), group_by) if name]
        matrix = read_matrix(path, orientation, annotations=annotations, repeated=repeated)
        absent = {key: name if name in matrix.table else "" for key, name in columns.items()}
        conditions = own_conditions(str(path), matrix, absent)
        ids = [str(i) for i in matrix.ids]
        table = condition_columns(conditions, platform, ids, [""] * len(ids)).assign(
            drug="", dose=""
        )
        table["cell_line"] = [line or i for line, i in zip(table["cell_line"], ids, strict=True)]
        groups = table["cell_line"]
        if group_by and group_by != "cell_line" and conditions.has(group_by):
            groups = conditions.column(group_by, "group_by")
        blocks.append(
            _singletons(path, [f"{platform}:{i}" for i in ids], matrix, table, list(groups))
        )
    return blocks


def _singletons(
    path: Path, ids: list[str], matrix: Matrix, table: pd.DataFrame, groups: list[str]
) -> Block:
    unseen = np.zeros_like(matrix.values)
    groups = [group or i for group, i in zip(groups, ids, strict=True)]
    return Block(
        str(path),
        ids,
        matrix.features.tolist(),
        matrix.values,
        matrix.mask,
        unseen,
        unseen > 0,
        table,
        groups,
        paired=False,
    )


def condition_columns(
    conditions: Conditions, platform: str, control_ids: Sequence[str], treated_ids: Sequence[str]
) -> pd.DataFrame:
    """The dataset's table of n rows, its columns `COLUMNS`, all text."""
    columns = {name: conditions.optional(name) for name in COLUMNS[:5]}
    table = pd.DataFrame(columns, index=range(len(control_ids)), dtype=object)
    return table.assign(
        platform=platform, control_id=list(control_ids), treated_id=list(treated_ids)
    )


def pair_groups(conditions: Conditions, group_by: str) -> list[str]:
    """(n,) the grouping column of pairs, which must have it; all "" for group_by="" (every row
    alone).
    """
    if not group_by:
        return [""] * len(conditions.places)
    values = list(conditions.column(group_by, f"group_by={group_by!r}"))
    if "" in values:
        raise UserError(
            f"{conditions.source}: {conditions.places[values.index('')]} has no {group_by} and so "
            "belongs to no group; fill it in or remove the row"
        )
    return values


def joined(blocks: list[Block], min_genes: int, by_cell_line: bool, notes: list[str]) -> Dataset:
    """All blocks as one dataset over the genes that all of them hold; the first is the main file's."""
    genes, lost = _genes_of_all(blocks, min_genes)
    on_genes = [block.select_features(genes) for block in blocks]
    ids = np.asarray([i for b in blocks for i in b.ids], dtype=str)
    groups = [group or i for b in blocks for group, i in zip(b.groups, b.ids, strict=True)]
    features = np.asarray(genes, dtype=str)
    sides = {
        name: Modality(
            np.concatenate([getattr(b, x) for b in on_genes]), np.concatenate(masks), features
        )
        for name, x, masks in (
            ("control", "x1", [b.m1 for b in on_genes]),
            ("treated", "x2", [b.m2 for b in on_genes]),
        )
    }
    return Dataset(
        ids=ids,
        groups=np.asarray(pairing.cell_line_groups(groups) if by_cell_line else groups, dtype=str),
        modalities=sides,
        table=pd.concat([b.table for b in blocks]).set_axis(ids, axis=0),
        notes=tuple([_summary(blocks, genes), *notes, *lost, *_scale_notes(blocks)]),
    )


def _genes_of_all(blocks: list[Block], min_genes: int) -> tuple[list[str], list[str]]:
    main = blocks[0]
    genes, lost = main.features, []
    for block in blocks[1:]:
        shared = pairing.shared_genes([genes, block.features])
        if len(shared) < max(min_genes, 1):
            raise UserError(
                f"{block.source} shares {len(shared)} of the {len(genes)} genes of {main.source}, "
                f"fewer than min_genes={min_genes}; {pairing.naming_hint(genes, block.features)}: "
                "use the same names in both"
            )
        if len(shared) < len(genes):
            gone = [name for name in genes if name not in set(shared)]
            lost.append(
                f"{count_phrase(len(gone), 'gene', gone)} not in {Path(block.source).name} and left out."
            )
        genes = shared
    if len(genes) < min_genes:
        raise UserError(
            f"{main.source} has {len(genes)} genes, fewer than min_genes={min_genes}; lower "
            "min_genes"
        )
    return genes, lost


def _summary(blocks: list[Block], genes: list[str]) -> str:
    pairs = sum(len(b.ids) for b in blocks if b.paired)
    rows = sum(len(b.ids) for b in blocks)
    table = pd.concat([b.table for b in blocks])
    drugs, lines = (len(set(table[name]) - {""}) for name in ("drug", "cell_line"))
    return (
        f"{pairs} pairs and {rows - pairs} singletons over {len(genes)} genes; {drugs} drugs, "
        f"{lines} cell lines, {len(set(table['platform']))} platform(s)."
    )


def _scale_notes(blocks: list[Block]) -> list[str]:
    top: dict[str, float] = {}
    for block in blocks:
        top[block.source] = max(
            top.get(block.source, 0.0), float(block.x1.max()), float(block.x2.max())
        )
    return [
        f"{Path(source).name} has values up to {high:g}, which looks like raw counts or linear "
        "intensities; take log2 (of counts + 1) before training."
        for source, high in top.items()
        if high > _LOG_SCALE_MAX
    ]
