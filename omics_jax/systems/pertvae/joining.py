"""Two sets of pairs as one dataset: those a model is trained on, and external ones to test it.

Only drugs and genes of both sets count. Refused are sets that share none, and measurements that are
in both. Left out: whether doses and times agree, which are those that each file has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ml_collections import ConfigDict

from omics_jax.data import identity
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.perturbation.settings import column_names, groups_by_cell_line
from omics_jax.errors import UserError
from omics_jax.study.external import Settings, check_repeated_rows, join_sets, repeated_names

FILES = Settings()


def join_pairs(
    settings: ConfigDict, platform: str, internal: Dataset, external: Dataset
) -> Dataset:
    """The internal pairs and singletons, and below them the external pairs, on the genes of both.

    settings: the section `data`.
    platform: of the external pairs, one that the training knows.

    Raises:
      UserError: no pair, drug or too few genes in common, or a measurement of both sets.
    """
    external = external.take(external.modalities["treated"].observed_rows)
    _check_measurements(internal, external)
    check_repeated_rows(internal, external, ("control", "treated"), "pair", FILES)
    ids = np.array([f"external {name}" for name in external.ids])
    table = external.table.assign(platform=platform).set_axis(ids, axis=0)
    internal, external = _in_one_spelling(
        settings, internal, replace(external, ids=ids, table=table)
    )
    internal, external, drug_notes = _on_shared_drugs(internal, external)
    internal, external, gene_notes = _on_shared_genes(settings, internal, external)
    taken = f"external: {len(external):,} pairs, taken to be of the platform {platform}"
    return join_sets(
        internal, external, [taken, *drug_notes, *gene_notes, *_line_notes(internal, external)]
    )


def _check_measurements(internal: Dataset, external: Dataset) -> None:
    """Refuses profiles, treated or controls, that are in both sets by their ids."""
    ours, theirs = (_measurements(d) for d in (internal, external))
    both = repeated_names(ours, theirs)
    if both:
        raise UserError(
            f"{count_phrase(len(both), 'profile', both)} in {FILES.internal} and in "
            f"{FILES.external}; a model cannot be tested on what it was trained on: remove them "
            "from one of the files, or rename them if they are different measurements"
        )


def _measurements(dataset: Dataset) -> np.ndarray:
    """The ids of all profiles; averaged controls are joined by ";"."""
    cells = [*dataset.table["treated_id"], *dataset.table["control_id"]]
    return np.array(sorted({name for cell in cells for name in str(cell).split(";")} - {""}))


def _in_one_spelling(
    settings: ConfigDict, internal: Dataset, external: Dataset
) -> tuple[Dataset, Dataset]:
    """Both sets with drugs, cell lines and groups of cell lines spelled as first met."""
    count, sets = len(internal), (internal, external)
    columns = {}
    for name, forms in (("drug", identity.drug_forms), ("cell_line", _line_forms)):
        cells = [cell for d in sets for cell in d.table[name].astype(str)]
        columns[name] = identity.one_spelling(cells, forms(cells))[0].astype(str)
    groups = np.concatenate([d.groups for d in sets])
    if groups_by_cell_line(settings, column_names(settings.columns)):
        groups = identity.one_spelling(groups.tolist(), _line_forms(groups.tolist()))[0].astype(str)
    parts = (slice(count), slice(count, None))
    spelled = [
        replace(
            d,
            groups=groups[rows],
            table=d.table.assign(**{name: cells[rows] for name, cells in columns.items()}),
        )
        for d, rows in zip(sets, parts, strict=True)
    ]
    return spelled[0], spelled[1]


def _line_forms(names: Sequence[str]) -> list[str]:
    return [identity.cell_line_form(name) for name in names]


def _on_shared_drugs(internal: Dataset, external: Dataset) -> tuple[Dataset, Dataset, list[str]]:
    """The pairs of drugs of both sets, with all singletons, and notes on what is left out."""
    paired = internal.modalities["treated"].observed_rows
    ours, theirs = internal.table["drug"].to_numpy(str), external.table["drug"].to_numpy(str)
    shared = np.intersect1d(ours[paired], theirs)
    if not len(shared):
        raise UserError(
            f"{FILES.external} has pairs of {_listed(theirs)}, and {FILES.internal} of "
            f"{_listed(ours[paired])}; name drugs alike, or give pairs of a drug of both"
        )
    notes = [
        f"{count_phrase(len(alone), 'drug', alone)} in {source} only, and left out"
        for source, alone in (
            (FILES.internal, np.setdiff1d(ours[paired], shared).tolist()),
            (FILES.external, np.setdiff1d(theirs, shared).tolist()),
        )
        if alone
    ]
    kept = ~paired | np.isin(ours, shared)
    return internal.take(kept), external.take(np.isin(theirs, shared)), notes


def _listed(drugs: np.ndarray) -> str:
    names = np.unique(drugs).tolist()
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "no drug"


def _on_shared_genes(
    settings: ConfigDict, internal: Dataset, external: Dataset
) -> tuple[Dataset, Dataset, list[str]]:
    """Both sets on the genes of both, in the internal order, and a note where some are left out."""
    ours, theirs = (d.modalities["control"].features.astype(str) for d in (internal, external))
    shared = ours[np.isin(ours, theirs)]
    least = settings.min_genes if settings.path else 1
    if len(shared) < max(least, 1):
        raise UserError(
            f"{FILES.external} shares {len(shared):,} of {len(ours):,} genes with "
            f"{FILES.internal}, as {theirs[0]!r} against {ours[0]!r}, fewer than the "
            f"{least:,} of data.min_genes; name genes alike, or lower --config.data.min_genes"
        )
    notes = []
    if len(shared) < max(len(ours), len(theirs)):
        notes = [
            f"{len(shared):,} genes of both sets are used, of {len(ours):,} in {FILES.internal} "
            f"and {len(theirs):,} in {FILES.external}"
        ]
    on_shared = [
        replace(d, modalities={name: m.select_features(shared) for name, m in d.modalities.items()})
        for d in (internal, external)
    ]
    return on_shared[0], on_shared[1], notes


def _line_notes(internal: Dataset, external: Dataset) -> list[str]:
    """A note on cell lines that have pairs in both sets."""
    paired = internal.modalities["treated"].observed_rows
    ours, theirs = (d.table["cell_line"].to_numpy(str) for d in (internal, external))
    both = repeated_names(ours[paired], theirs[theirs != ""])
    if not both:
        return []
    return [
        f"{count_phrase(len(both), 'cell line', both)} in both sets: their scores say how well new "
        "measurements of known lines are predicted, and not new lines"
    ]
