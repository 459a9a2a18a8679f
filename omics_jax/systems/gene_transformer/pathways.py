"""Pathways in place of genes (config.model.attention = "pathways"), and their genes in every fold.

    config.model.pathways    gene sets, whose genes are matched to the features of all modalities
    config.model.least_genes, most_genes    of a pathway, among the features of the data

Which pathways there are depends on the names of the features alone; a fold's pathways hold those of
their genes that it chose. What becomes of them is in `nn.pathway_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped
from scipy import sparse

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.dataset.splits import Split
from omics_jax.data.gene_networks.aliases import read_aliases
from omics_jax.data.knowledge.gene_sets import GeneSets, memberships, read_gene_sets
from omics_jax.errors import UserError
from omics_jax.nn.pathway_tokens import plan_members
from omics_jax.systems.gene_transformer.known_genes import digest_of, places_among
from omics_jax.systems.gene_transformer.model import MEMBERS

PATHWAYS = "pathways"  # `config.model.attention`

# split -> constants of its fold.
ConstantsOf = Callable[[Split], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Pathways:
    """P pathways.

    names: of them.
    members: modality -> (F, P) which features are in each.
    notes: how many there are, and how many features are in one.
    digest: of their names and members.
    """

    names: Shaped[np.ndarray, " P"]
    members: Mapping[str, sparse.csr_array]
    notes: Sequence[str]
    digest: str


def read_pathways(config: Any, dataset: Dataset) -> Pathways | None:
    """The pathways that `config.model` names; None where genes attend to each other.

    Raises:
      UserError: pathways without their kind of attention or the reverse, what a reader refuses,
        genes of which the data have none, or no pathway of a size within the limits.
    """
    _check(config)
    if config.model.attention != PATHWAYS:
        return None
    sets = read_gene_sets(config.model.pathways)
    genes = np.unique([gene for own in sets.genes.values() for gene in own])
    aliases = read_aliases(config.network.aliases) if config.network.aliases else None
    places, notes = places_among(dataset, genes, aliases, Path(sets.source).name)
    is_member = memberships(sets, genes)
    members = {name: is_member[own] for name, own in places.items()}
    sizes = np.sum([own.sum(axis=0) for own in members.values()], axis=0)
    fits, said = _fitting(config, sets, sizes)
    members = {name: own[:, fits] for name, own in members.items()}
    names = np.array(list(sets.genes))[fits]
    parts = [part for own in members.values() for part in (own.indptr, own.indices)]
    return Pathways(
        names, members, (*sets.notes, *notes, said, _alone(members)), digest_of([names, *parts])
    )


def _check(config: Any) -> None:
    model = config.model
    if model.attention == PATHWAYS and not model.pathways:
        raise UserError(
            "config.model.attention is pathways and config.model.pathways is empty; name a file of "
            "gene sets, such as MSigDB's h.all.v2024.1.Hs.symbols.gmt"
        )
    if model.pathways and model.attention != PATHWAYS:
        raise UserError(
            f"config.model.pathways names {model.pathways} and config.model.attention is "
            f"{model.attention!r}; set it to pathways, or name no file"
        )
    if model.least_genes > model.most_genes:
        raise UserError(
            f"config.model.least_genes is {model.least_genes} and config.model.most_genes is "
            f"{model.most_genes}; give a least number that is not above the most"
        )


def _fitting(
    config: Any, sets: GeneSets, sizes: Int[np.ndarray, " K"]
) -> tuple[Bool[np.ndarray, " K"], str]:
    """Which sets have a size within the limits, and a note. sizes: of all, in features."""
    least, most = config.model.least_genes, config.model.most_genes
    smaller, larger = sizes < least, sizes > most
    fits = ~(smaller | larger)
    if not fits.any():
        raise UserError(
            f"none of the {len(sets):,} sets of {sets.source} has {least} to {most} of the genes "
            f"of the data (the largest has {sizes.max():,}); change config.model.least_genes or "
            "config.model.most_genes"
        )
    return fits, (
        f"{fits.sum():,} of the {len(sets):,} sets of {Path(sets.source).name} have {least} to "
        f"{most:,} genes of the data, and are the pathways; left out: {smaller.sum():,} smaller, "
        f"{larger.sum():,} larger."
    )


def _alone(members: Mapping[str, sparse.csr_array]) -> str:
    """A note on the features that are in no pathway."""
    counts = {name: int((own.sum(axis=1) == 0).sum()) for name, own in members.items()}
    parts = [f"{count:,} of {members[name].shape[0]:,} of {name}" for name, count in counts.items()]
    return f"genes in no pathway, which take no part: {', '.join(parts)}."


# --- of a fold ------------------------------------------------------------------------------------


def member_constants(
    pathways: Pathways | None,
    dataset: Dataset,
    table: Dataset,
    splits: Sequence[Split],
    chosen_of: ConstantsOf,
) -> tuple[ConstantsOf, list[str]]:
    """The constants `MEMBERS` of every fold, of one shape, and a note; none without pathways.

    dataset: all features. table: those that any fold uses.
    chosen_of: the constants of a fold; M_columns (w,) are places in the table.

    Raises:
      UserError: a fold that chose no gene of any pathway.
    """
    if pathways is None:
        return lambda split: {}, []
    in_table = {name: _of_table(pathways, dataset, table, name) for name in table.modalities}
    chosen = [chosen_of(split) for split in splits]
    pairs = [_pairs(in_table, own) for own in chosen]
    counts = [len(np.unique(own[:, 0])) for own in pairs]
    if min(counts) == 0:
        split = splits[int(np.argmin(counts))]
        raise UserError(
            f"fold {split.fold}, repeat {split.repeat}: none of the genes that it chose is in a "
            "pathway; let it choose among those alone (config.preprocess.genes, the file of "
            "config.model.pathways), or more genes (config.preprocess.top_k)"
        )
    width = sum(len(chosen[0][f"{name}_columns"]) for name in table.modalities)
    plans = plan_members(pairs, width, len(pathways.names))
    constants = {
        _key(split): dict(zip(MEMBERS, plan, strict=True))
        for split, plan in zip(splits, plans, strict=True)
    }
    return lambda split: constants[_key(split)], [_read_note(width, counts)]


def _key(split: Split) -> tuple[int, int]:
    return split.repeat, split.fold


def _of_table(pathways: Pathways, dataset: Dataset, table: Dataset, name: str) -> sparse.csr_array:
    """(u, P) which features of a table are in each pathway."""
    features = dataset.modalities[name].features.tolist()
    place = {feature: i for i, feature in enumerate(features)}
    own = [place[feature] for feature in table.modalities[name].features.tolist()]
    return pathways.members[name][own]


def _pairs(
    in_table: Mapping[str, sparse.csr_array], chosen: Mapping[str, np.ndarray]
) -> Int[np.ndarray, "_ 2"]:
    """The memberships of a fold's genes, whose places go through all modalities."""
    pairs, first = [], 0
    for name, members in in_table.items():
        columns, alive = chosen[f"{name}_columns"], chosen[f"{name}_alive"]
        place, pathway = members[columns[alive]].nonzero()
        pairs.append(np.stack([first + np.flatnonzero(alive)[place], pathway], axis=1))
        first += len(columns)
    return np.concatenate(pairs)


def _read_note(width: int, counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    note = f"of the {width:,} genes that a fold chooses {span} are in a pathway"
    if low == width:
        return f"{note}."
    return f"{note}; config.preprocess.genes, of the same file, chooses among these alone."
